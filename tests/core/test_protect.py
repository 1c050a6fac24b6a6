from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import ordinary_words, texts

from clucert.core.protect import protected, reasons
from clucert.core.words import WordedText, split

NEIGHBOURS = (
    "Mr.",
    "Paris",
    "NASA",
    "IT",
    "I",
    "I'm",
    "A",
    ".",
    "said:",
    "n't",
    "ca",
    "' t",
    "#39;t",
    "`",
    "<b",
    "two",
    "@",
    "--",
)
"""Pieces that would decide on the words around them, did a word's protection look there."""


def of(text: str, *extra: str) -> dict[str, str]:
    """The protected words of a text, with the reason for each."""
    worded = split(text)
    found = zip(worded.words, reasons(worded, extra), strict=True)
    return {word: reason for word, reason in found if reason is not None}


def only(kind: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), kind)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("paid $12 for 1,000 on the 3rd of 1990s", only("number", "12 1,000 3rd 1990s")),
        (
            "two of twenty-one , a five-star second half , twice",
            only("number", "two twenty-one five-star second half twice"),
        ),
        ("a good film , often seen", {}),
    ],
)
def test_numbers(text: str, expected: dict[str, str]) -> None:
    assert of(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it 's not that i never cannot", "not never cannot"),
        ("he ca n't and wo n't", "n't"),
        ("I don't, didn’t, won't", "don't didn’t won't"),
        ("without hope nor glory , hardly a no-nonsense non-issue", "without nor hardly no-nonsense non-issue"),
        ("knot note nothingness another", ""),
    ],
)
def test_negations(text: str, words: str) -> None:
    assert of(text) == only("negation", words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("use foo_bar, camelCase and __init__ with --verbose", "foo_bar camelCase"),
        ("open src/a.py or /usr/bin/env in mp3 or C++", "src/a.py /usr/bin/env mp3 C++"),
        ("run `all` in a <b>bold</b> word, call() it", ""),
        ("the way -- another", ""),
    ],
)
def test_code(text: str, words: str) -> None:
    assert of(text) == only("code", words)


def test_urls() -> None:
    text = "mail x.y@z.com, see http://a.b/c or Amazon.com for it"
    assert of(text) == only("url", "x.y@z.com http://a.b/c Amazon.com")


@pytest.mark.parametrize(
    "text", ["He met Mr. Smith in Paris.", "We saw NASA and @bob", "Woods on Top at Rain-Soaked Phoenix"]
)
def test_capitals_are_no_evidence(text: str) -> None:
    """They are evidence of a name only beside words without, which a swap may change: names are the lexicon's."""
    assert of(text) == {}


def test_listed_words_come_first_and_in_any_case() -> None:
    text = split("the Oracle of 7 oracles, ORACLE")
    assert reasons(text, ["oracle", "7"]) == (None, "listed", None, "listed", None, "listed")
    assert protected(text, ["oracle", "7"]) == (False, True, False, True, False, True)


@given(st.lists(st.sampled_from(NEIGHBOURS) | ordinary_words | ordinary_words.map(str.title), max_size=12))
@settings(deadline=None)
def test_a_word_is_judged_by_itself(pieces: list[str]) -> None:
    text = split(" ".join(pieces))
    alone = [reasons(WordedText((word,), ("", "")), ["film"])[0] for word in text.words]
    assert list(reasons(text, ["film"])) == alone


@given(texts, st.lists(st.text(max_size=3), max_size=3))
@settings(deadline=None)
def test_every_word_of_any_text_gets_a_reason_or_none(text: str, extra: list[str]) -> None:
    worded = split(text)
    why = reasons(worded, extra)
    assert len(why) == len(worded)
    assert protected(worded, extra) == tuple(reason is not None for reason in why)


@given(texts)
@settings(deadline=None)
def test_a_longer_list_protects_no_less(text: str) -> None:
    worded = split(text)
    some, all_listed = protected(worded), protected(worded, worded.words)
    assert all(all_listed)
    assert len(some) == len(all_listed)


@pytest.mark.parametrize("piece", ["`", "`a ", "<a", "&lt;a", "```", "A b. ", "\n", "X", "--a "])
def test_hostile_repetition_is_finished(piece: str) -> None:
    worded = split(piece * (30_000 // len(piece)))
    assert len(reasons(worded)) == len(worded)
