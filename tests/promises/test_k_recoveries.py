"""A vote that reads k recoveries of one masked text reads k draws: exact total variation of the channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from clucert.core.noise.retention import kernel_overlap
from clucert.core.radius import Overlap, Radius
from clucert.core.words import WordedText
from tests.core.test_smoothing import always, play, smoother

POOLS = {"a": ("a", "b"), "b": ("b", "a", "c"), "c": ("c",), "d": ("d", "e"), "e": ("e", "d")}
"""Open pools: a and b share two words of three, b and c one of three. d and e are a closed class."""


def law(words: Sequence[str], s: int, k: int, redraw: bool) -> Counter[tuple[tuple[str, ...], ...]]:
    """Exact law of all that a vote reads: one retention set, and k independent fills of it."""
    n = len(words)
    out: Counter[tuple[tuple[str, ...], ...]] = Counter()
    for kept in combinations(range(n), s):
        pools = [(w,) if i in kept and not redraw else POOLS[w] for i, w in enumerate(words)]
        draws = list(product(*[list(product(pool, repeat=k)) for pool in pools]))
        for draw in draws:
            out[draw] += Fraction(1, comb(n, s) * len(draws))
    return out


def total_variation(a: Counter, b: Counter) -> Fraction:
    return sum((max(Fraction(0), a[x] - b[x]) for x in a), Fraction(0))


def overlap_of(words: Sequence[str], redraw: bool) -> Overlap:
    swappable = [w for w in words if len(POOLS[w]) > 1]
    kappas = tuple(min(kernel_overlap(POOLS[w], POOLS[v]) for v in POOLS[w]) for w in swappable)
    return Overlap(kappas, min(kappas) if redraw else Fraction(0))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("words", [("a", "d"), ("b", "c"), ("d", "e")])
def test_no_swap_moves_the_law_by_more_than_the_slack_of_k_draws(words, redraw, k):
    here, overlap = law(words, 1, k, redraw), overlap_of(words, redraw).drawn(k)
    for d in range(1, len(overlap.masked) + 1):
        for other in product(*[POOLS[w] for w in words]):
            if sum(x != y for x, y in zip(words, other, strict=True)) <= d:
                moved = total_variation(here, law(other, 1, k, redraw))
                assert moved <= 1 - overlap.omega(len(words), 1, d)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_the_overlap_of_one_draw_is_too_much_for_k(k):
    words, other = ("a", "c"), ("b", "c")
    moved, once = total_variation(law(words, 1, k, False), law(other, 1, k, False)), overlap_of(words, False)
    assert moved > 1 - once.omega(2, 1, 1)
    assert moved <= 1 - once.drawn(k).omega(2, 1, 1)


@dataclass(frozen=True)
class NineOfTen:
    """good and fine have pools of ten words of which they share nine."""

    name: str = "nine of ten"

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        shared = ("good", "fine", "p", "q", "r", "u", "v", "x", "y")
        own = {"good": (*shared, "g"), "fine": (*shared, "f"), "g": ("g", *shared), "f": ("f", *shared)}
        own |= {word: (*shared, "g") for word in shared if word not in own}
        return tuple(own.get(word, (word,)) for word in text.words)


def encode(texts: Sequence[str]) -> np.ndarray:
    return np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (len(texts), 1))


@pytest.mark.parametrize(("k", "radius"), [(1, Radius(1, everything=True)), (5, Radius(0)), (40, Radius(0))])
def test_forty_recoveries_prove_what_forty_draws_share(k, radius):
    """κ = 9/10 at mask rate 0.8: one draw hides a swap 72 times of 100, forty draws 1.2 times."""
    made = smoother(recovery="synonym", recoveries=k, mask_rate=Fraction(8, 10), lexicon=NineOfTen())
    result, _ = play(made.steps("the good plot of it"), always, encode)
    certificate = result.certificate
    assert certificate.overlaps["synonym"].masked == (Fraction(9, 10),)
    assert certificate.vote_overlaps["synonym"].masked == (Fraction(9, 10) ** k,)
    assert certificate.proved["synonym"] == radius


def test_closed_classes_lose_nothing_to_more_recoveries():
    closed = Overlap((Fraction(1),) * 3, Fraction(1))
    assert closed.drawn(5) == closed
