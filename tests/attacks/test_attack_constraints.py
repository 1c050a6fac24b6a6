from __future__ import annotations

from collections.abc import Sequence
from math import acos, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.attacks.base import Words
from clucert.attacks.constraints import (
    Constraint,
    EditDistance,
    SentenceSimilarity,
    WithinPools,
    WordSubstitution,
    levenshtein,
)
from clucert.attacks.stopwords import STOPWORDS, is_stopword
from clucert.core.words import WordedText, split
from clucert.types import Encode

short = st.text(alphabet="ab ", max_size=7)


def slow_levenshtein(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_levenshtein(a[1:], b) + 1,
        slow_levenshtein(a, b[1:]) + 1,
        slow_levenshtein(a[1:], b[1:]) + (a[0] != b[0]),
    )


def admit(constraint: Constraint, text: WordedText, candidates: Sequence[Words], reply: object = None):
    steps = constraint.admit(text, candidates)
    try:
        request = next(steps)
        assert isinstance(request, Encode)
        steps.send(reply)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("asked twice")


@given(short, short)
@settings(deadline=None, max_examples=60)
def test_levenshtein_is_what_it_is_defined_as(a: str, b: str) -> None:
    assert levenshtein(a, b) == slow_levenshtein(a, b) == levenshtein(b, a)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=12), min_size=1, max_size=6), st.data())
@settings(deadline=None)
def test_the_edit_distance_is_that_of_the_texts(words: list[str], data: st.DataObject) -> None:
    text = split(" ".join(words))
    new = tuple(data.draw(st.text(alphabet="abc", min_size=1, max_size=12)) for _ in words)
    distance = levenshtein(text.text, text.join(new))
    assert admit(EditDistance(distance), text, [new]) == ([True], None)
    assert distance == 0 or admit(EditDistance(distance - 1), text, [new]) == ([False], None)


@pytest.mark.parametrize("cosine", [0.5, 0.8, 0.809, 0.8091, 0.95])
def test_sentences_are_compared_by_their_angle(cosine: float) -> None:
    text = split("a dull film")
    rows = np.array([[1, 0], [cosine, (1 - cosine**2) ** 0.5]], dtype=np.float32)
    passed, similarity = admit(SentenceSimilarity(0.8), text, [("a", "dul", "film")], rows)
    assert passed == [1 - acos(cosine) / pi >= 0.8]
    assert similarity == pytest.approx([cosine])


def test_no_candidates_need_no_embedding() -> None:
    assert admit(SentenceSimilarity(), split("a film"), []) == ([], [])


def test_words_must_stay_words_in_their_places() -> None:
    text = split("a dull film")
    candidates = [("a", "du ll", "film"), ("a", "dall", "film"), ("a", "d@@l", "film"), ("a", "", "film")]
    assert admit(WordSubstitution(), text, candidates) == ([False, True, False, False], None)


def test_pools_bound_what_a_word_may_become() -> None:
    constraint = WithinPools((("a",), ("dull", "tame"), ("film", "movie")))
    candidates = [("a", "tame", "movie"), ("the", "dull", "film"), ("a", "movie", "film")]
    assert admit(constraint, split("a dull film"), candidates) == ([True, False, False], None)


@pytest.mark.parametrize(
    ("word", "stop"),
    [
        *[(word, True) for word in ("the", "'s", "’s", "don't", "don’t")],
        *[(word, False) for word in ("The", "n't", "film", "-")],
    ],
)
def test_stop_words_as_textattack_takes_them(word: str, stop: bool) -> None:
    assert is_stopword(word) is stop


def test_the_stop_words_are_lower_case_words() -> None:
    assert len(STOPWORDS) > 170
    assert all(word == word.lower() and " " not in word for word in STOPWORDS)
