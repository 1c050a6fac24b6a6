"""Collapsed masks: exact laws, every text in the ball, all classifiers at once; and where the marks leak."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations, product
from math import comb

import numpy as np
import pytest

from clucert.core.noise.deletion import Deletion
from clucert.core.noise.ellipsis import MARK, THREATS, CollapsedMask, collapse
from clucert.core.radius import Radius, delta, known
from clucert.errors import InputError
from tests.promises.noise_worlds import ball, lowest, texts

RATES = (Fraction(4, 5), Fraction(9, 10), Fraction(1, 2))


@cache
def law(p, x):
    out = Counter()
    for kept in product((False, True), repeat=len(x)):
        out[collapse(x, kept)] += p ** (len(x) - sum(kept)) * (1 - p) ** sum(kept)
    return dict(out)


def appended(x, r, vocabulary):
    """x with at most r tokens before and behind."""
    for before in range(r + 1):
        for behind in range(r + 1 - before):
            for new in product(vocabulary, repeat=before + behind):
                yield (*new[:before], *x, *new[before:])


def reached(x, threat, r, vocabulary):
    return set(appended(x, r, vocabulary)) if threat == "append" else ball(x, threat, r, vocabulary)


SOURCES = [(), ("a",), ("a", "b"), ("a", "a"), ("a", "b", "c"), ("a", "b", "a"), ("a", "b", "c", "d"), ("a", MARK, "b")]
SOURCES.append(("a", "b", "c", "d", "e"))  # A move can open two gaps that share no neighbour.


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("threat", THREATS)
def test_no_classifier_loses_a_margin_above_the_slack(threat, p):
    noise = CollapsedMask(p)
    rng = random.Random(0)
    tight, checked = 0, 0
    for x in SOURCES:
        vocabulary = tuple(sorted({*x[:2], "z", MARK}))
        for r in (0, 1, 2) if len(x) < 4 else (1,):
            slack = noise.slack(threat, len(x), r)
            if slack > 1:
                continue
            ys = sorted(reached(x, threat, r, vocabulary))
            for y in rng.sample(ys, min(len(ys), 150)) if r == 2 else ys:
                checked += 1
                worst = lowest(law(p, x), law(p, y), slack, -1)
                assert worst >= 0, (x, y)
                tight += worst == 0 and r > 0 and slack > 0
    assert checked > 10
    attainable = {"replace": 0.5, "append": 0, "insert": 0.5, "delete": 0, "edit": 0.5}[threat] < p
    assert tight or not attainable


@pytest.mark.parametrize("p", RATES)
@pytest.mark.parametrize("threat", THREATS)
def test_no_classifier_falls_below_the_floor(threat, p):
    noise = CollapsedMask(p)
    rng = random.Random(1)
    tight = 0
    for x in SOURCES:
        for r in (1, 2) if len(x) < 4 else (1,):
            ys = sorted(reached(x, threat, r, ("a", "z")))
            for y in rng.sample(ys, min(len(ys), 60)):
                low = Fraction(rng.randint(10, 20), 20)
                floor = noise.floor(threat, len(x), r, low)
                worst = lowest(law(p, x), law(p, y), low, 0)
                assert worst >= floor, (x, y)
                tight += worst == floor > 0
    assert tight


@pytest.mark.parametrize("p", RATES)
def test_the_most_gaps_are_the_worst(p):
    """(1 − q²)^g is the chance that no one-sided gap has both neighbours kept, and a bound on it where gaps touch."""
    q = 1 - p
    for n in range(2, 6):
        for g in range(n):
            for gaps in combinations(range(n - 1), g):
                chance = sum(
                    p ** (n - sum(kept)) * q ** sum(kept)
                    for kept in product((False, True), repeat=n)
                    if not any(kept[i] and kept[i + 1] for i in gaps)
                )
                bound = (1 - q**2) ** g
                assert chance >= bound
                if all(j - i > 1 for i, j in combinations(gaps, 2)):
                    assert chance == bound


@pytest.mark.parametrize("p", RATES)
def test_the_formulas_of_the_guide(p):
    noise, q = CollapsedMask(p), 1 - p
    for r in range(4):
        assert noise.slack("replace", 9, r) == 2 * (1 - p**r)
        assert noise.slack("append", 9, r) == p**-r - 1
        assert noise.slack("insert", 9, r) == p**-r + 1 - 2 * (1 - q**2) ** r
        assert noise.slack("insert", 9, r) >= Deletion(p).slack("insert", 9, r) == noise.slack("append", 9, r)
    # One token has no inner gap, so nothing leaks; a text of two has one.
    assert noise.slack("insert", 1, 3) == noise.slack("insert", 0, 3) == p**-3 - 1
    assert noise.slack("insert", 2, 3) == p**-3 + 1 - 2 * (1 - q**2)


def test_slack_grows_with_the_number_of_operations():
    """So "at most r" is what the slack of r covers, deletions among them, where all n leak less than some."""
    for p, n, threat in product(RATES, range(6), THREATS):
        slacks = [CollapsedMask(p).slack(threat, n, r) for r in range(8)]
        assert slacks == sorted(slacks)
        floors = [CollapsedMask(p).floor(threat, n, r, Fraction(9, 10)) for r in range(8)]
        assert floors == sorted(floors, reverse=True)


def test_collapsed_text_is_a_function_of_the_masked_one():
    """Substitution bounds of masks hold: the text can be read off what each place shows, and nothing else."""
    of_masked = {}
    for x in texts("ab…", 4):
        for kept in product((False, True), repeat=len(x)):
            masked = tuple(word if here else None for word, here in zip(x, kept, strict=True))
            text = collapse(x, kept)
            assert of_masked.setdefault(masked, text) == text
            gapped = collapse(x, kept, gaps=[", "] * (len(x) + 1))
            assert of_masked.setdefault((", ", masked), gapped) == gapped


def test_substitution_with_a_fixed_number_kept():
    """s of n kept at random: the slack is that of RanMASK, against all classifiers."""
    for x, s in product([("a", "b", "c"), ("a", "b", "a", "b")], (1, 2)):
        n = len(x)

        def fixed(y, n=n, s=s):
            out = Counter()
            for places in combinations(range(n), s):
                out[collapse(y, [i in places for i in range(n)])] += Fraction(1, comb(n, s))
            return dict(out)

        for r in range(n):
            if 2 * delta(n, s, r) <= 1:
                assert all(
                    lowest(fixed(x), fixed(y), 2 * delta(n, s, r), -1) >= 0 for y in ball(x, "replace", r, "abz")
                )


def test_collapse():
    assert collapse(("a", "b", "c", "d"), (True, True, False, True)) == "… a b … d …"
    assert collapse(("a", "b"), (False, False)) == "…" == collapse((), ())
    assert collapse(("a", "b", "c"), (False, True, False)) == "… b …"
    assert collapse(("it", "s", "x"), (True, True, False), ["", "'", " ", "!"]) == "… it's …"
    with pytest.raises(ValueError, match="zip"):
        collapse(("a",), ())


def test_radii():
    noise = CollapsedMask(Fraction(9, 10))
    assert noise.radius(known(Fraction(1)), "replace", 20) == Radius(6)
    assert noise.radius(known(Fraction(99, 100)), "append", 20) == Radius(6)
    assert noise.radius(known(Fraction(99, 100)), "insert", 20) == Radius(5)
    assert noise.radius(known(Fraction(2, 10)), "replace", 20) == Radius(0)  # 2·(1 − 0.9) is exactly that.
    assert noise.radius(known(Fraction(1)), "delete", 2) == Radius(2, everything=True)
    assert noise.flag_radius(Fraction(1), Fraction(1, 2), "append", 20) == Radius(6)
    assert noise.flag_radius(Fraction(1), Fraction(9, 10), "append", 20) == Radius(1)
    assert noise.flag_radius(Fraction(1, 10), Fraction(1, 2), "append", 20) is None


def test_samples_and_refusals():
    kept = CollapsedMask(Fraction(4, 5)).sample(np.random.default_rng(0), 50, 4000)
    assert abs(kept.mean() - 0.2) < 6 * (0.16 / kept.size) ** 0.5
    with pytest.raises(InputError):
        CollapsedMask(Fraction(1))
    with pytest.raises(InputError):
        CollapsedMask(Fraction(1, 2)).flag_radius(Fraction(1), 2, "insert", 3)
