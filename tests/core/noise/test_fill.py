"""Filling blanks with a language model: what it is shown, and how its answer is read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.strategies import ordinary_texts

from clucert.core.noise.fill import LlmRecovery
from clucert.core.words import WordedText, split
from clucert.types import Generate, Query, Recovered

TEXT = split("the film , though slow , is a joy .")
ROW = np.array([[True, False, True, True, True, True, False]])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def finish(steps: Generator[Any, Any, Recovered], answers: Sequence[str] = ()) -> Recovered:
    try:
        next(steps)
        steps.send(list(answers))
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it asked twice")


def queries_of(recovery: LlmRecovery, text: WordedText, retained: np.ndarray, seed: int = 0) -> Sequence[Query]:
    request = next(recovery.recover(text, retained, rng(seed), "certify"))
    assert isinstance(request, Generate)
    assert request.stage == "certify"
    return request.queries


def recovered(answer: str) -> Recovered:
    return finish(LlmRecovery().recover(TEXT, ROW, rng(), "certify"), [answer])


@pytest.mark.parametrize(
    "answer",
    [
        "1: movie, 2: treat",
        " 1: movie, 2: treat, 3: more\n",
        "Words: (1): movie, (2): treat.",
        '1. "movie", 2. "treat"',
    ],
)
def test_a_numbered_list_is_taken(answer):
    assert recovered(answer) == Recovered(["the movie , though slow , is a treat ."])


@pytest.mark.parametrize(
    "answer", ["the movie , though slow , is a treat .", "\nthe movie, though slow, is a treat.\n"]
)
def test_the_whole_text_is_taken(answer):
    assert recovered(answer) == Recovered(["the movie , though slow , is a treat ."])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("a movie , though slow , is a treat .", "the [MASK] , though slow , is a [MASK] ."),
        ("the big movie , though slow , is a treat .", "the [MASK] , though slow , is a [MASK] ."),
        ("", "the [MASK] , though slow , is a [MASK] ."),
        ("movie treat", "the [MASK] , though slow , is a [MASK] ."),
        ("2: movie, 1: treat", "the [MASK] , though slow , is a [MASK] ."),
        ("1: movie", "the movie , though slow , is a [MASK] ."),
        ("1: movie, 2: real treat", "the movie , though slow , is a [MASK] ."),
        ("1: motion picture, 2: treat", "the [MASK] , though slow , is a [MASK] ."),
        ("1: movie, 2: (2)", "the movie , though slow , is a [MASK] ."),
    ],
)
def test_what_is_not_beyond_doubt_stays_masked_and_is_counted(answer, text):
    assert recovered(answer) == Recovered([text], failed=1)


def test_blanks_are_numbered_in_the_shared_few_shot_prompt():
    (query,) = queries_of(LlmRecovery(), TEXT, ROW)
    assert query.messages[-1].content == "Text: the (1) , though slow , is a (2) ."
    assert query.suffix == "Text: the (1) , though slow , is a (2) .\nWords:"
    (other,) = queries_of(LlmRecovery(), split("a b"), np.array([[False, True]]))
    assert query.prefix == other.prefix


def test_a_model_that_can_be_held_to_the_text_gets_it_in_pieces_on_one_line():
    (query,) = queries_of(LlmRecovery(), split("(the film,\n though  slow)"), np.array([[True, False, False, True]]))
    assert query.blanks is not None
    assert query.blanks.pieces == ("(the ", ", ", " slow)")
    assert query.blanks.ask == "Text: (the _, _ slow)\nFilled:"
    assert query.blanks.filled(["movie", "if"]) == "(the movie, if slow)"


@given(ordinary_texts(), st.data())
@settings(deadline=None)
def test_masked_words_never_reach_the_model(text, data):
    row = np.array([data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))])
    other = WordedText(tuple(w if k else "zzz" for w, k in zip(text.words, row[0], strict=True)), text.gaps)
    if not row.all():
        assert queries_of(LlmRecovery(), text, row) == queries_of(LlmRecovery(), other, row)


@given(ordinary_texts(), st.data())
@settings(deadline=None)
def test_retained_words_and_gaps_survive_any_answer(text, data):
    row = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    answer = data.draw(st.text() | st.just("1: a, 2: b, 3: c") | st.just(text.text))
    result = finish(LlmRecovery().recover(text, np.array([row]), rng(), "certify"), [answer])
    shown = result.texts[0].replace("[MASK]", "MASK")
    assert [w for w, k in zip(split(shown).words, row, strict=True) if k] == [
        w for w, k in zip(text.words, row, strict=True) if k
    ]
    assert result.failed == ("[MASK]" in result.texts[0])


def test_nothing_masked_asks_nothing():
    steps = LlmRecovery().recover(TEXT, np.ones((2, 7), dtype=bool), rng(), "certify")
    assert finish(steps) == Recovered([TEXT.text] * 2)


def test_a_model_that_samples_gets_a_seed_for_each_draw():
    rows = np.repeat(ROW, 3, axis=0)
    recovery = LlmRecovery(temperature=0.7)
    assert not recovery.deterministic
    seeds = [query.seed for query in queries_of(recovery, TEXT, rows)]
    assert len(set(seeds)) == 3
    assert seeds == [query.seed for query in queries_of(recovery, TEXT, rows)]
    assert {query.seed for query in queries_of(LlmRecovery(), TEXT, rows)} == {None}
