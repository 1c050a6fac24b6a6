"""Metrics against brute force, and intervals against the coverage that they claim."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.errors import InputError, UsageError
from clucert.evaluate.compare import compare_runs
from clucert.evaluate.metrics import (
    Outcome,
    certified_accuracy,
    certified_curve,
    coe,
    proportion,
    r_avg,
    r_avg_interval,
    radii,
    summarise,
)

LABELS = ("a", "b")


def rng():
    return np.random.default_rng(0)


def outcome(name, gold="a", prediction="a", radius=0, **options):
    counts = {"words": 10, "unparsed": 1, "kept": 8, "drawn": 20} | options
    return Outcome(str(name), gold, prediction, radius, **counts)


@st.composite
def an_outcome(draw, name):
    prediction = draw(st.none() | st.sampled_from(LABELS))
    kept = draw(st.integers(0, 20))
    return Outcome(
        id=str(name),
        gold=draw(st.none() | st.sampled_from(LABELS)),
        prediction=prediction,
        radius=None if prediction is None else draw(st.none() | st.integers(0, 5)),
        words=10,
        unparsed=draw(st.integers(0, kept)),
        kept=kept,
        drawn=draw(st.integers(kept, 20)),
        failed=draw(st.booleans()),
    )


@st.composite
def a_run(draw, names=None):
    chosen = names if names is not None else draw(st.lists(st.integers(0, 30), unique=True, max_size=15))
    return [draw(an_outcome(name)) for name in chosen]


def oracle_radius(o):
    """Section 2 of the guarantees, end: an abstention or a wrong answer is certified nowhere."""
    if o.failed or o.prediction is None or o.prediction != o.gold or o.radius is None:
        return None
    return o.radius


def in_play(run, leave_out_failed=False):
    """A failed input counts as not certified, unless it is asked that it be left out."""
    return [o for o in run if o.gold is not None and not (leave_out_failed and o.failed)]


@settings(deadline=None)
@given(a_run(), st.booleans())
def test_summary_against_brute_force(run, leave_out):
    got = summarise(run, rng(), leave_out_failed=leave_out)
    scored = in_play(run, leave_out)
    n = len(scored)
    answered = [o for o in run if not o.failed]
    assert (got.inputs, got.scored) == (len(run), n)
    assert got.judged == len(in_play(run, leave_out_failed=True))
    assert got.inputs == got.failed + got.unlabelled + got.judged
    drawn, kept = sum(o.drawn for o in answered), sum(o.kept for o in answered)
    assert got.kept == (kept / drawn if drawn else None)
    assert got.unparsed == (sum(o.unparsed for o in answered) / kept if kept else None)
    if n == 0:
        assert (got.r_avg, got.coe, got.clean_accuracy, got.abstained, got.uncertified, got.certified) == (None,) * 6
        return
    values = [Fraction(oracle_radius(o) or 0) for o in scored]
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / n
    assert got.r_avg.value == pytest.approx(float(mean))
    assert got.coe == (pytest.approx(math.sqrt(variance) / float(mean)) if mean else None)
    assert got.clean_accuracy.value == sum(o.prediction == o.gold and not o.failed for o in scored) / n
    assert got.abstained.value == sum(o.prediction is None and not o.failed for o in scored) / n
    assert got.uncertified.value == sum(oracle_radius(o) is None for o in scored) / n
    for delta, point in zip(got.certified.deltas, got.certified.points, strict=True):
        held = sum(1 for o in scored if oracle_radius(o) is not None and oracle_radius(o) >= delta)
        assert point.value == held / n
        assert certified_accuracy(scored, delta).value == held / n
    assert got.certified.points[-1].value == 0
    assert got.uncertified.value == pytest.approx(1 - got.certified.points[0].value)


@settings(deadline=None)
@given(a_run(), a_run(names=["x", "y"]))
def test_failed_inputs_lower_every_share_unless_left_out_and_unlabelled_ones_change_none(run, more):
    fields = [f.name for f in dataclasses.fields(summarise([], rng()))]
    same = [f for f in fields if f not in ("inputs", "failed", "unlabelled")]
    bare = [dataclasses.replace(o, gold=None, failed=True) for o in more]
    failed = [dataclasses.replace(o, gold="a", failed=True) for o in more]
    for added, options in ((bare, {}), (bare, {"leave_out_failed": True}), (failed, {"leave_out_failed": True})):
        before, after = summarise(run, rng(), **options), summarise(run + added, rng(), **options)
        assert all(getattr(before, f) == getattr(after, f) for f in same)
        assert after.failed == before.failed + 2
    before, after = summarise(run, rng()), summarise(run + failed, rng())
    assert (after.scored, after.judged) == (before.scored + 2, before.judged)
    if before.scored:
        share = before.scored / after.scored
        assert after.clean_accuracy.value == pytest.approx(before.clean_accuracy.value * share)
        assert after.r_avg.value == pytest.approx(before.r_avg.value * share)
        assert after.abstained.value == pytest.approx(before.abstained.value * share)


def test_abstaining_is_not_being_right_about_an_unlabelled_input():
    """None == None is no correct prediction."""
    assert not outcome(0, gold=None, prediction=None, radius=None).correct
    assert certified_accuracy([outcome(0, gold=None, prediction=None, radius=3)], 0) is None


def test_by_hand():
    run = [
        outcome(0, radius=4),
        outcome(1, radius=0),
        outcome(2, prediction="b", radius=9),
        outcome(3, prediction=None, radius=None),
        outcome(4, radius=9, failed=True),
    ]
    assert radii(run).tolist() == [4, 0, 0, 0, 0]
    assert r_avg(run) == 4 / 5
    assert summarise(run, rng()).clean_accuracy.value == 2 / 5
    assert coe(run[:4]) == pytest.approx(math.sqrt(3))
    got = summarise(run, rng(), leave_out_failed=True)
    assert got.r_avg.value == 1
    assert (got.clean_accuracy.value, got.abstained.value, got.uncertified.value) == (0.5, 0.25, 0.5)
    assert [p.value for p in got.certified.points] == [0.5, 0.25, 0.25, 0.25, 0.25, 0]


def test_an_input_counts_once():
    with pytest.raises(InputError, match="'0' has two outcomes"):
        summarise([outcome(0), outcome(0)], rng())


@pytest.mark.parametrize("n", [1, 2, 30, 1000])
def test_no_interval_has_width_zero(n):
    sure, never = proportion(n, n), proportion(0, n)
    assert 0 < sure.low < sure.high == 1
    assert 0 == never.low < never.high < 1
    # Clopper and Pearson at the ends: (α/2)^(1/n)
    assert sure.low == pytest.approx(0.025 ** (1 / n))
    assert never.high == pytest.approx(1 - 0.025 ** (1 / n))
    for band in ("dkw", "bonferroni"):
        curve = certified_curve([outcome(i, radius=2) for i in range(n)], band=band)
        assert all(p.low < p.high for p in curve.points)


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("n", [10, 60])
def test_shares_are_covered(n, p):
    """Exactly, by summing the binomial distribution over the counts whose interval misses p."""
    missed = sum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k)
        for k in range(n + 1)
        if not proportion(k, n, 0.9).low <= p <= proportion(k, n, 0.9).high
    )
    assert missed <= 0.1


@pytest.mark.parametrize("band", ["dkw", "bonferroni"])
def test_bands_cover_the_whole_curve_at_once(band):
    draws, level, n = rng(), 0.9, 40
    chances = np.array([0.3, 0.1, 0.25, 0.2, 0.15])  # of uncertified, and of radius 0 to 3
    truth = 1 - np.cumsum(chances)  # CertAcc at 0, 1, 2, 3, 4
    missed = 0
    for _ in range(600):
        drawn = draws.choice(5, n, p=chances)
        run = [outcome(i, prediction="a" if r else "b", radius=int(r) - 1 if r else 0) for i, r in enumerate(drawn)]
        points = certified_curve(run, deltas=range(5), level=level, band=band).points
        missed += any(not p.low <= t + 1e-12 or not t <= p.high + 1e-12 for p, t in zip(points, truth, strict=True))
    # at most 10 % of 600 may miss: 60, standard deviation 7.3
    assert missed < 60 + 4 * 7.3


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.sampled_from(["dkw", "bonferroni"]))
def test_a_curve_never_rises_and_neither_do_its_bands(values, band):
    points = certified_curve([outcome(i, radius=r) for i, r in enumerate(values)], band=band).points
    for a, b in itertools.pairwise(points):
        assert a.value >= b.value
        assert a.low >= b.low
        assert a.high >= b.high
    assert all(0 <= p.low <= p.value <= p.high <= 1 for p in points)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_the_bootstrap_says_none_rather_than_nonsense(values):
    got = r_avg_interval([outcome(i, radius=r) for i, r in enumerate(values)], rng())
    assert got.value == pytest.approx(np.mean(values))
    if len(set(values)) == 1:
        assert (got.low, got.high) == (None, None)
    else:
        assert min(values) <= got.low < got.high <= max(values)


def test_the_bootstrap_is_seeded_and_covers():
    draws, covered = rng(), 0
    run = [outcome(i, radius=int(r)) for i, r in enumerate(draws.poisson(2, 80))]
    assert r_avg_interval(run, rng()) == r_avg_interval(run, rng())
    for _ in range(100):
        got = r_avg_interval([outcome(i, radius=int(r)) for i, r in enumerate(draws.poisson(2, 80))], draws)
        covered += got.low <= 2 <= got.high
    # about 95 of 100, standard deviation 2.2
    assert covered >= 95 - 4 * 2.2


@pytest.mark.parametrize("level", [0, 1, -1, 2])
def test_levels(level):
    with pytest.raises(UsageError, match="between 0 and 1"):
        summarise([outcome(0)], rng(), level=level)
    with pytest.raises(UsageError, match="is no share"):
        proportion(0, 0)


def sign_flips(differences):
    """Two-sided p-value of the mean over all 2ⁿ sign patterns, in whole numbers."""
    observed = sum(differences)
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    above, below = sum(s >= observed for s in sums), sum(s <= observed for s in sums)
    return min(1.0, 2 * min(above, below) / len(sums))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_comparison_against_brute_force(data):
    names = data.draw(st.lists(st.integers(0, 12), unique=True, max_size=9))
    first = data.draw(a_run(names=names))
    second = [
        dataclasses.replace(data.draw(an_outcome(o.id)), gold=o.gold) for o in first if data.draw(st.integers(0, 9))
    ] + data.draw(a_run(names=["new"]))
    other = {o.id: o for o in second}
    pairs = [(a, other[a.id]) for a in first if a.id in other]
    leave_out = data.draw(st.booleans())
    answered = [(a, b) for a, b in pairs if not a.failed and not b.failed]
    usable = [(a, b) for a, b in (answered if leave_out else pairs) if a.gold is not None]
    if all(a.gold is None for a, _ in answered):
        with pytest.raises(InputError, match="nothing can be compared"):
            compare_runs(first, second, rng(), leave_out_failed=leave_out)
        return
    got = compare_runs(first, second, rng(), deltas=(0, 2), leave_out_failed=leave_out)
    assert got.pairs == len(usable)
    assert got.missing == len(set(map(str, names)) ^ set(other))
    assert got.failed == len(pairs) - len(answered)
    assert got.unlabelled == sum(a.gold is None for a, _ in answered)
    differences = [(oracle_radius(b) or 0) - (oracle_radius(a) or 0) for a, b in usable]
    assert got.r_avg.value == pytest.approx(sum(differences) / len(usable))
    assert got.second_r_avg - got.first_r_avg == pytest.approx(got.r_avg.value)
    assert got.p_value == pytest.approx(sign_flips(differences))
    for test in got.certified:
        held = [tuple(oracle_radius(o) is not None and oracle_radius(o) >= test.delta for o in pair) for pair in usable]
        table = {key: held.count(key) for key in itertools.product((True, False), repeat=2)}
        assert (test.both, test.first_only, test.second_only, test.neither) == tuple(table.values())
        m, k = test.first_only + test.second_only, min(test.first_only, test.second_only)
        tail = Fraction(sum(math.comb(m, i) for i in range(k + 1)), 2**m)
        assert test.p_value == pytest.approx(min(1.0, float(2 * tail)))
        assert test.difference == pytest.approx((table[False, True] - table[True, False]) / len(usable))
        assert test.p_value <= test.p_holm <= 1
    low, high = sorted(got.certified, key=lambda t: t.p_value)
    assert low.p_holm == pytest.approx(min(1, 2 * low.p_value))
    assert high.p_holm == pytest.approx(max(low.p_holm, high.p_value))


def test_a_real_difference_is_found_and_none_is_not():
    draws = rng()
    base = draws.integers(0, 4, 150)
    first = [outcome(i, radius=int(r)) for i, r in enumerate(base)]
    better = [outcome(i, radius=int(r) + int(draws.random() < 0.4)) for i, r in enumerate(base)]
    got = compare_runs(first, better, rng())
    assert got.p_value < 0.001
    assert 0 < got.r_avg.low <= got.r_avg.value <= got.r_avg.high
    assert got == compare_runs(first, better, rng())
    mirrored = compare_runs(better, first, rng())
    assert mirrored.r_avg.value == pytest.approx(-got.r_avg.value)
    assert [t.p_value for t in mirrored.certified] == [t.p_value for t in got.certified]
    same = compare_runs(first, first[::-1], rng())
    assert (same.p_value, same.r_avg.value, same.r_avg.low) == (1.0, 0.0, None)


def test_permutation_p_values_are_valid():
    """Under no difference, p ≤ 0.2 at most about a fifth of the time."""
    draws, small = rng(), 0
    for _ in range(200):
        a, b = draws.integers(0, 4, (2, 30))
        got = compare_runs(
            [outcome(i, radius=int(r)) for i, r in enumerate(a)],
            [outcome(i, radius=int(r)) for i, r in enumerate(b)],
            draws,
            deltas=(1,),
        )
        small += got.p_value <= 0.2
    # 40 of 200, standard deviation 5.7
    assert small < 40 + 4 * 5.7


def test_runs_on_other_data_are_not_compared():
    with pytest.raises(InputError, match="gold label 'a' in one run and 'b' in the other"):
        compare_runs([outcome(0)], [outcome(0, gold="b")], rng())
