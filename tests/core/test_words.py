from __future__ import annotations

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import ordinary_texts, ordinary_words, texts

from clucert.core.words import _WORD, PATH, TAG, URL, WordedText, is_word, same_shape, split


@given(texts)
@settings(deadline=None, max_examples=300)
def test_splitting_loses_nothing(text: str) -> None:
    worded = split(text)
    assert worded.text == text
    assert len(worded.gaps) == len(worded.words) + 1
    assert all(worded.words)
    assert not any(character.isspace() for word in worded.words for character in word)


@given(texts)
@settings(deadline=None)
def test_every_letter_and_ascii_digit_is_in_a_word_unless_it_belongs_to_a_bracket_an_entity_or_a_tag(text: str) -> None:
    worded = split(text)
    if "-" in text or "&" in text or "#" in text:
        return
    assert not any(
        character.isalpha() or character in "0123456789" for gap in worded.gaps for character in regex.sub(TAG, "", gap)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it 's n't -lrb- ham-fisted -rrb- `` wow ''", "it 's n't ham-fisted wow"),
        ("I don't, he'd; don’t 'quote' me", "I don't he'd don’t quote me"),
        ("'tis the '90s -- well--known", "'tis the 90s well known"),
        ("In the U.S. we paid $12, 3.5 or 1,000 on 3/4/2004 at 10:30.", None),
        ("and/or (50%) 5-year-old 1990s 3rd x²", "and or 50 5-year-old 1990s 3rd x²"),
        ("e.g. Ph.D. end.Next it.this I.am", "e.g. Ph.D. end Next it this I am"),
        ("see https://a.b/c?d=e, http://x.org/(y). Mail x.y@z.com.", None),
        ("Amazon.com's AT&T C++ C# rock'n'roll", "Amazon.com's AT&T C++ C# rock'n'roll"),
        (
            "src/a/b.py /usr/bin/x C:\\foo\\bar config.yaml foo_bar",
            "src/a/b.py /usr/bin/x C:\\foo\\bar config.yaml foo_bar",
        ),
        ("month #39;s &lt;B&gt; a &amp; b &#x2F;", "month s B a b"),
        ("the [MASK] __init__", "the MASK init"),
        ("😀👍🏽 ok🇩🇪🇫🇷 1\ufe0f\u20e3 ™ ❤\ufe0f", "😀 👍🏽 ok 🇩🇪 🇫🇷 1\ufe0f\u20e3 ❤\ufe0f"),
        ("👨\u200d👩\u200d👧!", "👨\u200d👩\u200d👧"),
        ("私は東京が好き。コンピューター", "私 は 東 京 が 好 き コンピューター"),
        ("שלום, عالم", "שלום عالم"),
        ("nai\u0308ve re\u00adport می\u200cخواهم", "nai\u0308ve re\u00adport می\u200cخواهم"),
        ("", ""),
        (" \0\n\u0301...!", ""),
    ],
)
def test_words_are_what_a_reader_would_call_one(text: str, words: str | None) -> None:
    expected = {
        "In the": ["In", "the", "U.S.", "we", "paid", "12", "3.5", "or", "1,000", "on", "3/4/2004", "at", "10:30"],
        "see ht": ["see", "https://a.b/c?d=e", "http://x.org/(y", "Mail", "x.y@z.com"],
    }.get(text[:6])
    assert list(split(text).words) == (expected if words is None else words.split(" ") if words else [])


@pytest.mark.parametrize(
    "piece",
    [
        *["-", "a-", "a--", "a.", "ab.a", "a..@", "a@a-", "a@a.", "a/", "../", "\\a", "'s", "&lt", "-lrb", "http://"],
        *[
            "www.",
            "x.com-",
            "1,",
            "1.a",
            "C:",
            "A&",
            "_",
            "\u0301",
            "👨\u200d",
            "🇩",
            "ー",
            "‼",
            "1\ufe0f",
            "http://!! ",
        ],
    ],
)
def test_hostile_repetition_takes_linear_work(piece: str) -> None:
    # The engine gives up at the time-out, far above what a linear pattern needs and far below a quadratic one's needs.
    hostile = piece * (60_000 // len(piece))
    ends = [match.end() for match in _WORD.finditer(hostile, timeout=20)]
    assert ends == sorted(set(ends))


@given(ordinary_texts(), st.data())
@settings(deadline=None)
def test_a_word_for_a_word_keeps_the_shape(text: WordedText, data: st.DataObject) -> None:
    words = data.draw(st.lists(ordinary_words, min_size=len(text), max_size=len(text)))
    assert split(text.text) == text
    assert split(text.join(words)) == WordedText(tuple(words), text.gaps)
    assert same_shape(text, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京", ("する", "する")),
        ("it.no", ("it", "com")),
        ("a b", ("a", "b c")),
        ("a b", ("a",)),
        ("a b", ("a", "[MASK]")),
    ],
)
def test_merged_or_multiple_words_do_not_have_the_same_shape(text: str, words: tuple[str, ...]) -> None:
    assert not same_shape(split(text), words)


@pytest.mark.parametrize(
    ("string", "answer"), [("film", True), ("ham-fisted", True), ("two words", False), ("", False), ("[MASK]", False)]
)
def test_is_word(string: str, answer: bool) -> None:
    assert is_word(string) is answer


@pytest.mark.parametrize(
    "url", ["https://a.b/c", "www.example.org/x", "me+you@mail.example.co.uk", "washingtonpost.com"]
)
def test_urls_are_one_word_and_known_as_such(url: str) -> None:
    assert is_word(url)
    assert URL.fullmatch(url)
    assert not PATH.fullmatch(url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good.<br /><br />Bad", ["Good", "Bad"]),
        ("one<br>two<BR/>three</p>", ["one", "two", "three"]),
        ("<p>A <b>bold</b> <LI>move</LI></p>", ["A", "b", "bold", "b", "move"]),
        ("a < b and <bright>", ["a", "b", "and", "bright"]),
        # What stands in a tag is read by a model, and is to be noised.
        ("<a href='x'>here</a> <b hidden words>", ["a", "href", "x", "here", "a", "b", "hidden", "words"]),
    ],
)
def test_plain_tags_are_no_words_and_hide_none(text: str, words: list[str]) -> None:
    assert list(split(text).words) == words
