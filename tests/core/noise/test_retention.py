from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from fractions import Fraction
from itertools import combinations, product
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from tests.strategies import mask_rates, ordinary_texts, pools

from clucert.core.noise.retention import (
    MaskRecovery,
    SynonymRecovery,
    every_retention,
    kernel_overlap,
    parse_mask_rate,
    retained_count,
    rng_for,
    sample_retention,
)
from clucert.core.words import WordedText, split
from clucert.errors import InputError
from clucert.types import Recovered

ALMOST_NEVER = 1e-6
"""Level of the statistical tests; their seeds are fixed, so each passes always or never."""


def finish(steps: Generator[Any, Any, Recovered], answers: Sequence[str] = ()) -> Recovered:
    """Run a recovery, answering its only request, if it has one, with ``answers``."""
    try:
        next(steps)
        steps.send(list(answers))
    except StopIteration as stop:
        result: Recovered = stop.value
        return result
    raise AssertionError("a recovery asks at most once")


class TestMaskRate:
    @pytest.mark.parametrize(
        ("value", "rate"),
        [("0.9", Fraction(9, 10)), (0.9, Fraction(9, 10)), ("1/3", Fraction(1, 3)), (Fraction(3, 10), Fraction(3, 10))],
    )
    def test_is_exact(self, value: str | float | Fraction, rate: Fraction) -> None:
        assert parse_mask_rate(value) == rate

    @pytest.mark.parametrize("value", ["0", "1", 1.0, "-0.1", "1.5", "most", "", "nan", float("nan"), "1/0", True])
    def test_out_of_range_is_refused(self, value: Any) -> None:
        with pytest.raises(InputError, match="mask rate"):
            parse_mask_rate(value)

    @pytest.mark.parametrize(
        ("n", "rate", "kept"),
        [(10, "0.9", 1), (10, "0.7", 3), (20, "0.3", 14), (1, "0.5", 1), (0, "0.5", 0)],
    )
    def test_retained_count(self, n: int, rate: str, kept: int) -> None:
        assert retained_count(n, parse_mask_rate(rate)) == kept

    @given(st.integers(1, 5_000), mask_rates)
    def test_retained_count_is_the_exact_floor(self, n: int, rate: Fraction) -> None:
        s = retained_count(n, rate)
        assert s == 1 or s <= (1 - rate) * n < s + 1
        assert 1 <= s <= n


class TestRetention:
    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20), st.integers(0, 99))
    def test_rows_have_exactly_s_kept_words(self, n: int, s: int, samples: int, seed: int) -> None:
        rows = sample_retention(np.random.default_rng(seed), n, min(n, s), samples)
        assert rows.shape == (samples, n)
        assert rows.dtype == np.bool_
        assert (rows.sum(axis=1) == min(n, s)).all()

    @pytest.mark.parametrize(("n", "s"), [(4, 2), (5, 1), (6, 3), (7, 5)])
    def test_every_set_is_equally_likely(self, n: int, s: int) -> None:
        rows = sample_retention(np.random.default_rng(7), n, s, 400 * comb(n, s))
        counts = Counter(tuple(np.flatnonzero(row)) for row in rows)
        assert set(counts) == set(combinations(range(n), s))
        assert chisquare(list(counts.values())).pvalue > ALMOST_NEVER

    def test_successive_rows_are_independent(self) -> None:
        rows = sample_retention(np.random.default_rng(3), 4, 2, 72_000)
        sets = [tuple(np.flatnonzero(row)) for row in rows]
        pairs = Counter(zip(sets[::2], sets[1::2], strict=True))
        assert len(pairs) == 36
        assert chisquare(list(pairs.values())).pvalue > ALMOST_NEVER

    @pytest.mark.parametrize(("n", "s", "samples"), [(3, 4, 1), (3, -1, 1), (3, 1, -1)])
    def test_impossible_counts_are_refused(self, n: int, s: int, samples: int) -> None:
        with pytest.raises(InputError):
            sample_retention(np.random.default_rng(0), n, s, samples)

    @pytest.mark.parametrize(("n", "s"), [(0, 0), (1, 1), (5, 2), (6, 6), (7, 3)])
    def test_every_retention_lists_each_set_once(self, n: int, s: int) -> None:
        rows = every_retention(n, s)
        assert [tuple(np.flatnonzero(row)) for row in rows] == list(combinations(range(n), s))


class TestRng:
    def test_is_pinned(self) -> None:
        # A changed stream would silently change every stored certificate's provenance.
        assert rng_for(0, "a text", "certify").integers(10**6, size=3).tolist() == [493964, 912338, 180712]

    def test_an_index_survives_a_file(self) -> None:
        assert rng_for(1, 12, "predict").random() == rng_for(1, "12", "predict").random()

    def test_streams_differ(self) -> None:
        keys = product((0, 1, 2**40), ("a", "b", 0, "0:a", "ü", "\ud800"), ("predict", "certify"))
        assert len({rng_for(*key).integers(2**62) for key in keys}) == 3 * 6 * 2

    def test_negative_seed_is_refused(self) -> None:
        with pytest.raises(InputError, match="seed"):
            rng_for(-1, "a", "predict")


TEXT = split("the film, though slow, is a quiet joy .")
POOLS = (
    ("the",),
    ("film", "movie", "picture"),
    ("though",),
    ("slow", "sluggish"),
    ("is",),
    ("a",),
    ("quiet",),
    ("joy", "delight"),
)
ROWS = sample_retention(np.random.default_rng(0), len(TEXT), 4, 300)


class TestMaskRecovery:
    def test_masks_what_is_not_retained_and_nothing_else(self) -> None:
        recovered = finish(MaskRecovery().recover(TEXT, ROWS, np.random.default_rng(0), "certify"))
        expected = [TEXT.join([w if k else "[MASK]" for w, k in zip(TEXT.words, row, strict=True)]) for row in ROWS]
        assert recovered == Recovered(expected, failed=0)

    @given(ordinary_texts(min_words=0), st.data())
    @settings(deadline=None)
    def test_every_text(self, text: WordedText, data: st.DataObject) -> None:
        row = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
        rows = np.array([row, row], dtype=bool).reshape(2, len(text))
        recovered = finish(MaskRecovery("<mask>").recover(text, rows, np.random.default_rng(0), "predict"))
        assert recovered.texts == [text.join([w if k else "<mask>" for w, k in zip(text.words, row, strict=True)])] * 2


class TestSynonymRecovery:
    def draws(self, rows: np.ndarray, **kernel: Any) -> list[tuple[str, ...]]:
        steps = SynonymRecovery(POOLS, **kernel).recover(TEXT, rows, np.random.default_rng(5), "certify")
        return [split(text).words for text in finish(steps).texts]

    def test_retained_words_stay_and_masked_ones_come_from_their_pool(self) -> None:
        for row, words in zip(ROWS, self.draws(ROWS), strict=True):
            for i, word in enumerate(words):
                assert word == TEXT.words[i] if row[i] else word in POOLS[i]

    def test_gaps_stay(self) -> None:
        texts = finish(SynonymRecovery(POOLS).recover(TEXT, ROWS, np.random.default_rng(1), "certify")).texts
        assert {split(text).gaps for text in texts} == {TEXT.gaps}

    def test_masked_words_are_uniform_and_independent(self) -> None:
        words = self.draws(np.zeros((24_000, len(TEXT)), dtype=bool))
        counts = Counter((row[1], row[3], row[7]) for row in words)
        assert len(counts) == 3 * 2 * 2
        assert chisquare(list(counts.values())).pvalue > ALMOST_NEVER

    def test_the_noised_text_has_the_law_of_the_channel(self) -> None:
        rng = np.random.default_rng(11)
        rows = sample_retention(rng, 2, 1, 36_000)
        steps = SynonymRecovery([("a", "b"), ("b", "c", "d")]).recover(split("a b"), rows, rng, "certify")
        counts = Counter(finish(steps).texts)
        # Keep "b" and draw from {a, b}, or keep "a" and draw from {b, c, d}: "a b" arises both ways.
        law = {"a b": 1 / 4 + 1 / 6, "b b": 1 / 4, "a c": 1 / 6, "a d": 1 / 6}
        assert set(counts) == set(law)
        assert chisquare([counts[t] for t in law], [36_000 * p for p in law.values()]).pvalue > ALMOST_NEVER

    def test_redraw_does_not_depend_on_what_is_retained(self) -> None:
        words = self.draws(np.ones((24_000, len(TEXT)), dtype=bool), retained="redraw")
        counts = Counter((row[1], row[3], row[7]) for row in words)
        assert len(counts) == 12
        assert chisquare(list(counts.values())).pvalue > ALMOST_NEVER

    def test_a_pool_is_a_set(self) -> None:
        assert SynonymRecovery([("a", "b", "a")]).pools == (("a", "b"),)

    def test_a_singleton_need_not_be_the_word(self) -> None:
        steps = SynonymRecovery([("only",)]).recover(
            split("word"), np.array([[False], [True]]), np.random.default_rng(0), "certify"
        )
        assert finish(steps).texts == ["only", "word"]

    def test_deterministic_only_without_a_choice(self) -> None:
        assert SynonymRecovery([("a",), ("b",)]).deterministic
        assert not SynonymRecovery([("a",), ("b", "c")]).deterministic

    def test_the_same_seed_gives_the_same_texts(self) -> None:
        assert self.draws(ROWS) == self.draws(ROWS)

    @given(ordinary_texts(min_words=0), st.data(), st.sampled_from(["keep", "redraw"]))
    @settings(deadline=None)
    def test_every_text_is_reachable_and_no_other(self, text: WordedText, data: st.DataObject, kernel: Any) -> None:
        drawn = tuple(data.draw(pools) for _ in text.words)
        row = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
        rows = np.array([row] * 3, dtype=bool).reshape(3, len(text))
        steps = SynonymRecovery(drawn, retained=kernel).recover(text, rows, np.random.default_rng(0), "certify")
        for noised in finish(steps).texts:
            rest = noised
            for i, (gap, word, pool) in enumerate(zip(text.gaps, text.words, drawn, strict=False)):
                options = (word,) if row[i] and kernel == "keep" else pool
                hits = [gap + option for option in options if rest.startswith(gap + option)]
                assert hits
                rest = rest[len(max(hits, key=len)) :]
            assert rest == text.gaps[-1]

    def test_wrong_arguments_are_refused(self) -> None:
        with pytest.raises(InputError, match="empty"):
            SynonymRecovery([("a",), ()])
        with pytest.raises(InputError, match="this very text"):
            finish(SynonymRecovery([("a",)]).recover(TEXT, ROWS, np.random.default_rng(0), "certify"))


class TestOverlap:
    @given(pools, pools)
    def test_is_one_minus_the_total_variation(self, a: tuple[str, ...], b: tuple[str, ...]) -> None:
        mass = {word: (Fraction(word in a, len(a)), Fraction(word in b, len(b))) for word in (*a, *b)}
        variation = sum(abs(p - q) for p, q in mass.values()) / 2
        assert kernel_overlap(a, b) == 1 - variation

    @given(pools)
    def test_of_a_pool_with_itself_is_one(self, pool: tuple[str, ...]) -> None:
        assert kernel_overlap(pool, pool[::-1]) == 1

    def test_empty_pools_are_refused(self) -> None:
        with pytest.raises(InputError):
            kernel_overlap((), ("a",))
