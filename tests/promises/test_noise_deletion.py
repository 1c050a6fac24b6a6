"""Deletion: every text in the ball, all classifiers at once (an exact linear program), and cases at equality."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.optimize import linprog

from clucert.core.noise.deletion import Deletion, KeepSome
from clucert.core.noise.overlap import NEVER, SharedNoise, largest
from clucert.core.radius import Radius, known
from clucert.errors import InputError
from tests.promises.noise_worlds import OPERATIONS, ball, common, lowest, texts

THREATS = ("insert", "delete", "edit")
RATES = (Fraction(1, 2), Fraction(4, 5), Fraction(9, 10))


@cache
def law(noise, x):
    """The exact law of the sub-text."""
    out = Counter()
    n = len(x)
    for kept in range(n + 1):
        for places in combinations(range(n), kept):
            if isinstance(noise, Deletion):
                p = noise.p ** (n - kept) * (1 - noise.p) ** kept
            else:
                p = Fraction(kept == min(noise.kept, n), comb(n, kept))
            out[tuple(x[i] for i in places)] += p
    return {z: p for z, p in out.items() if p}


NOISES = [Deletion(p) for p in RATES] + [KeepSome(s) for s in (1, 2)]
# From texts with and without repeated words, the empty one too, to all texts over them and one new word.
SOURCES = [
    (),
    ("a",),
    ("a", "a"),
    ("a", "b"),
    ("a", "b", "a"),
    ("a", "b", "c"),
    ("a", "b", "c", "d"),
    ("a", "a", "b", "a"),
]
PAIRS = [(x, y) for x in SOURCES for y in texts((*sorted({*x, "z"}),), 5) if abs(len(x) - len(y)) <= 3]


def differences(x, y):
    shared = common(x, y)
    return len(x) - shared, len(y) - shared


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_no_classifier_loses_a_margin_above_the_slack(noise):
    """At a margin of exactly the slack the worst classifier of all has a tie at least; above, it keeps the answer."""
    rng = random.Random(0)
    tight = Counter()
    checked = 0
    for x, y in PAIRS if isinstance(noise, KeepSome) else rng.sample(PAIRS, 1500):
        a, b = differences(x, y)
        overlap = noise.overlap(len(x), a, b)
        if overlap.slack > 1:
            continue
        checked += 1
        worst = lowest(law(noise, x), law(noise, y), overlap.slack, -1)
        assert worst >= 0, (x, y)
        tight[a > 0, b > 0] += worst == 0
        margin = overlap.slack + (1 - overlap.slack) * Fraction(rng.randint(1, 100), 100)
        if margin > overlap.slack:
            assert lowest(law(noise, x), law(noise, y), margin, -1) > 0
    assert checked > 50
    # The bound is attained for insertions, for deletions, and (where a margin can exceed it) for both together.
    assert tight[False, True]
    assert tight[True, False]
    assert tight[True, True] or (noise.overlap(4, 1, 1).slack > 1)


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_no_classifier_falls_below_the_floor(noise):
    rng = random.Random(1)
    tight = Counter()
    for x, y in rng.sample(PAIRS, 1200):
        a, b = differences(x, y)
        overlap = noise.overlap(len(x), a, b)
        low = Fraction(rng.randint(0, 20), 20)
        worst = lowest(law(noise, x), law(noise, y), low, 0)
        assert worst >= overlap.floor(low), (x, y, low)
        tight[a > 0, b > 0] += worst == overlap.floor(low) > 0
    assert tight[False, True]
    assert tight[True, False]


def test_the_exact_program_is_the_linear_program():
    """`lowest` against scipy's solver, so that the tests above do not rest on a rule of their own."""
    rng = random.Random(2)
    for x, y in rng.sample([pair for pair in PAIRS if max(map(len, pair)) <= 4], 40):
        noise = Deletion(Fraction(rng.choice(RATES)))
        before, after = law(noise, x), law(noise, y)
        outcomes = sorted({*before, *after})
        margin = Fraction(rng.randint(0, 10), 10)
        solved = linprog(
            [float(after.get(z, 0)) for z in outcomes],
            A_ub=[[-float(before.get(z, 0)) for z in outcomes]],
            b_ub=[-float(margin)],
            bounds=(-1, 1),
        )
        assert solved.fun == pytest.approx(float(lowest(before, after, margin, -1)), abs=1e-9)


def test_r_operations_leave_and_bring_at_most_r_tokens():
    """The slack of a threat is the worst over (a, b); operations, moves among them, reach no others."""
    for x in (("a", "b", "c"), ("a", "a", "b"), ()):
        for r in (1, 2):
            reached = {t: {differences(x, y) for y in ball(x, t, r, "abz")} for t in OPERATIONS}
            assert all(a == 0 and b <= r for a, b in reached["insert"])
            assert all(b == 0 and a <= min(r, len(x)) for a, b in reached["delete"])
            assert all(a <= min(r, len(x)) and b <= r for a, b in reached["edit"])
    for noise in NOISES:
        for n in range(5):
            for r in range(4):
                inside = [noise.overlap(n, a, b) for a in range(min(r, n) + 1) for b in range(r + 1)]
                assert noise.slack("edit", n, r) == max(o.slack for o in inside)
                assert noise.floor("edit", n, r, Fraction(9, 10)) == min(o.floor(Fraction(9, 10)) for o in inside)
                assert noise.slack("insert", n, r) == max(noise.overlap(n, 0, b).slack for b in range(r + 1))
                assert noise.slack("delete", n, r) == max(noise.overlap(n, a, 0).slack for a in range(min(r, n) + 1))


@pytest.mark.parametrize("noise", NOISES, ids=repr)
def test_radii_hold_against_every_text_of_the_ball(noise):
    """Random classifiers on every sub-text; the radius from exact probabilities; every text within it."""
    rng = random.Random(3)
    certified = Counter()
    for trial in range(25):
        x = rng.choice([("a", "b"), ("a", "b", "a"), ("b", "a", "a", "b"), ("a",)])
        labels = ("c", "j") if trial % 2 else ("c", "j", "k")
        table = {z: "c" if rng.random() < 0.9 else rng.choice(labels) for z in texts("ab", 7)}

        def shares(y, table=table):
            out = Counter()
            for z, p in law(noise, y).items():
                out[table[z]] += p
            return out

        here = shares(x)
        margin = here["c"] - max(here["j"], here["k"])
        for threat in THREATS:
            radius = noise.radius(known(margin), threat, len(x))
            flags = noise.flag_radius(here["c"], Fraction(1, 4), threat, len(x))
            for found, holds in (
                (radius, lambda s: s["c"] > max(s["j"], s["k"])),
                (flags, lambda s: s["c"] >= Fraction(1, 4)),
            ):
                if found is None:
                    continue
                certified[threat] += found.words > 0
                for y in ball(x, threat, min(found.words, 2), "ab"):
                    assert holds(shares(y)), (x, y, threat)
    assert certified["insert"]
    assert certified["edit"] or isinstance(noise, KeepSome)


@pytest.mark.parametrize("p", RATES)
def test_the_formulas_of_the_guide(p):
    noise, n = Deletion(p), 9
    for r in range(5):
        assert noise.slack("insert", n, r) == p**-r - 1
        assert noise.slack("delete", n, r) == 1 - p**r
        if 2 * (1 - p**r) < 1:
            assert noise.slack("edit", n, r) == 2 * (1 - p**r)
        assert noise.floor("insert", n, r, Fraction(1, 2)) == p**r / 2
        assert noise.floor("edit", n, r, Fraction(3, 4)) == max(0, p**r - Fraction(1, 4))


def test_worked_figures():
    """100 of 100 votes, p = 0.9: 6 edits by majority, 19 at η = 0.1; 6 insertions, not the 26 of another formula."""
    noise, low = Deletion(Fraction(9, 10)), Fraction("0.9704")
    margin = 2 * low - 1
    assert noise.radius(known(margin), "insert", 30) == Radius(6)
    assert noise.radius(known(margin), "delete", 30) == Radius(26)
    assert noise.radius(known(margin), "edit", 30) == Radius(6)
    assert noise.flag_radius(low, Fraction(1, 2), "edit", 30) == Radius(6)
    assert noise.flag_radius(low, Fraction(1, 10), "edit", 30) == Radius(19)


def test_equality_certifies_no_majority_and_keeps_a_flag():
    noise = Deletion(Fraction(1, 2))
    assert noise.radius(known(Fraction(1)), "insert", 3) == Radius(0)  # p^-1 − 1 = 1
    assert noise.radius(known(Fraction(1, 2)), "delete", 3) == Radius(0)
    assert noise.radius(known(Fraction(0)), "edit", 3) is None
    assert noise.flag_radius(Fraction(1), Fraction(1, 2), "insert", 3) == Radius(1)
    assert noise.flag_radius(Fraction(1, 4), Fraction(1, 2), "insert", 3) is None


def test_deleting_everything_is_the_end_of_deletions():
    noise = Deletion(Fraction(1, 2))
    assert noise.radius(known(Fraction(15, 16)), "delete", 3) == Radius(3, everything=True)
    assert noise.radius(known(Fraction(7, 8)), "delete", 3) == Radius(2)
    assert noise.radius(known(Fraction(1, 8)), "delete", 0) == Radius(0, everything=True)


def test_a_constant_number_kept_proves_nothing_where_texts_are_too_short():
    noise = KeepSome(3)
    assert noise.overlap(2, 0, 1) == SharedNoise(Fraction(0), Fraction(0))
    assert noise.slack("insert", 2, 1) == NEVER
    assert noise.slack("delete", 3, 1) == NEVER
    assert SharedNoise(Fraction(0), Fraction(1, 2)).slack == SharedNoise(Fraction(1, 2), Fraction(0)).slack == NEVER
    assert noise.floor("delete", 3, 1, Fraction(1)) == 0
    assert noise.slack("edit", 2, 0) == 0


def test_fewer_kept_tokens_than_with_masks_are_never_worse():
    """(1 − s/n)^d against C(n−d, s)/C(n, s) at the same s: deletion keeps fewer tokens for the same slack."""
    for n in range(2, 20):
        for s in range(1, n):
            for d in range(1, n):
                assert Fraction(n - s, n) ** d >= Fraction(comb(n - d, s), comb(n, s))


def test_samples_have_the_stated_law():
    rng = np.random.default_rng(0)
    kept = Deletion(Fraction(9, 10)).sample(rng, 50, 4000)
    assert kept.shape == (4000, 50)
    assert abs(kept.mean() - 0.1) < 6 * (0.09 / kept.size) ** 0.5
    some = KeepSome(3).sample(rng, 5, 2000)
    assert (some.sum(axis=1) == 3).all()
    assert np.abs(some.mean(axis=0) - 0.6).max() < 6 * (0.24 / 2000) ** 0.5
    assert KeepSome(3).sample(rng, 2, 4).all()
    assert Deletion(Fraction(1, 2)).sample(rng, 0, 4).shape == (4, 0)


def test_refusals():
    for wrong in (Fraction(0), Fraction(1), Fraction(3, 2)):
        with pytest.raises(InputError):
            Deletion(wrong)
    with pytest.raises(InputError):
        KeepSome(0)
    with pytest.raises(InputError, match="threshold"):
        Deletion(Fraction(1, 2)).flag_radius(Fraction(1), 0, "insert", 3)
    with pytest.raises(InputError):
        Deletion(Fraction(1, 2**64)).sample(np.random.default_rng(0), 3, 1)


def test_a_radius_stops_at_the_first_that_fails():
    assert largest(lambda r: r != 2) == Radius(1)
    assert largest(lambda _: True, 4) == Radius(4, everything=True)
    assert largest(lambda r: r > 0, 4) is None
