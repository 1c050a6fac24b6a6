"""Bounds of clucert.core.bounds against scipy, exact coverage and simulation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from clucert.core.bounds import (
    UNPARSED,
    abstention_p_value,
    class_bounds,
    exact_bounds,
    leader,
    lower_bound,
    unfiltered_bounds,
    upper_bound,
)
from clucert.types import Votes

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
alphas = st.floats(0.001, 0.3)


@given(counts, alphas)
def test_one_sided_bounds_agree_with_scipy(count, alpha):
    k, n = count
    assert lower_bound(k, n, alpha) == pytest.approx(
        binomtest(k, n, alternative="greater").proportion_ci(1 - alpha, "exact").low, abs=1e-9
    )
    assert upper_bound(k, n, alpha) == pytest.approx(
        binomtest(k, n, alternative="less").proportion_ci(1 - alpha, "exact").high, abs=1e-9
    )


@pytest.mark.parametrize("p", [0.02, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("n", [1, 20, 200])
def test_coverage_is_at_least_nominal_exactly(p, n):
    ks = np.arange(n + 1)
    missed_low = sum(binom.pmf(k, n, p) for k in ks if lower_bound(int(k), n, 0.05) > p)
    missed_high = sum(binom.pmf(k, n, p) for k in ks if upper_bound(int(k), n, 0.05) < p)
    assert missed_low <= 0.05 + 1e-12
    assert missed_high <= 0.05 + 1e-12


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d")])
def test_a_margin_and_each_pair_of_bounds_hold_over_many_simulated_runs(labels):
    rng = np.random.default_rng(7)
    k = len(labels)
    p = np.array([0.55, *([0.4 / (k - 1)] * (k - 1)), 0.05])
    runs, alpha = 4000, 0.05
    margins, misses = 0, np.zeros(k, dtype=int)
    for row in rng.multinomial(120, p, size=runs):
        votes = Votes(dict(zip(labels, map(int, row[:-1]), strict=True)), unparsed=int(row[-1]))
        bounds = class_bounds(votes, "a", labels, alpha)
        truth = dict(zip((*labels, UNPARSED), p, strict=True))
        nearest = max(p for c, p in truth.items() if c != "a")
        margins += bounds.margin > truth["a"] - nearest
        misses += np.array([bounds.low > truth["a"] or bounds.high[c] < truth[c] for c in bounds.high])
    for count in (margins, *misses):
        assert binomtest(int(count), runs, alpha, alternative="greater").pvalue > 1e-4


def test_two_labels_spend_all_of_alpha_on_one_bound():
    votes = Votes({"pos": 90, "neg": 10})
    bounds = class_bounds(votes, "pos", ("pos", "neg"), 0.05)
    assert bounds.low == lower_bound(90, 100, 0.05)
    assert bounds.high == {"neg": 1 - bounds.low, UNPARSED: 1 - bounds.low}
    assert bounds.margin == pytest.approx(2 * bounds.low - 1)


def test_four_labels_halve_alpha_and_bound_unseen_classes():
    votes = Votes({"a": 80, "b": 15}, unparsed=5)
    bounds = class_bounds(votes, "a", ("a", "b", "c", "d"), 0.05)
    assert bounds.low == lower_bound(80, 100, 0.025)
    assert bounds.high["b"] == upper_bound(15, 100, 0.025)
    assert bounds.high["c"] == upper_bound(0, 100, 0.025) > 0
    assert bounds.high[UNPARSED] == upper_bound(5, 100, 0.025)


def test_open_labels_use_the_single_bound():
    bounds = class_bounds(Votes({"42": 70, "41": 30}), "42", None, 0.05)
    assert bounds.margin == pytest.approx(2 * lower_bound(70, 100, 0.05) - 1)


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4), st.integers(0, 30), st.integers(0, 30), alphas)
def test_upper_bounds_never_exceed_what_the_winner_leaves(row, unparsed, dropped, alpha):
    votes = Votes(dict(zip("abcd", row, strict=True)), unparsed, dropped)
    for bounds in (
        class_bounds(votes, "a", tuple("abcd"), alpha),
        unfiltered_bounds(votes, "a", tuple("abcd"), alpha),
    ):
        assert set(bounds.high) >= {UNPARSED}
        if votes.kept:
            assert all(h <= 1 - bounds.low for h in bounds.high.values())


@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=2),
    st.integers(0, 20),
    st.lists(st.sampled_from(["a", "b", UNPARSED]), max_size=25),
)
def test_dropped_samples_count_as_the_worst_they_could_have_been(row, unparsed, hidden):
    """The bound with samples dropped never beats the bound after any way of voting on them."""
    a, b = row
    with_drop = unfiltered_bounds(Votes({"a": a, "b": b}, unparsed, len(hidden)), "a", ("a", "b", "c"), 0.05)
    seen = Votes({"a": a + hidden.count("a"), "b": b + hidden.count("b")}, unparsed + hidden.count(UNPARSED))
    full = unfiltered_bounds(seen, "a", ("a", "b", "c"), 0.05)
    assert with_drop.low <= full.low + 1e-12
    assert with_drop.margin <= full.margin + 1e-12


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 20), alphas)
def test_more_votes_for_the_winner_never_lower_the_margin(a, b, unparsed, alpha):
    labels = ("a", "b", "c")

    def margin(extra: int) -> float:
        return float(class_bounds(Votes({"a": a + extra, "b": b}, unparsed), "a", labels, alpha).margin)

    assert margin(1) >= margin(0) - 1e-12


def test_exact_bounds_are_the_shares_themselves():
    bounds = exact_bounds(Votes({"a": 2, "b": 1}), "a")
    assert (bounds.low, bounds.margin) == (Fraction(2, 3), Fraction(1, 3))
    with pytest.raises(ValueError, match="every retention set"):
        exact_bounds(Votes({"a": 2}, dropped=1), "a")


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (Votes({"a": 100, "b": 0}), binomtest(100, 100).pvalue),
        (Votes({"a": 60, "b": 40}), binomtest(60, 100).pvalue),
        (Votes({"a": 50, "b": 50}), 1.0),
        (Votes({"a": 60, "b": 10}, unparsed=30), binomtest(60, 90).pvalue),
        (Votes({"a": 10, "b": 5}, unparsed=80), 1.0),
        (Votes({}), 1.0),
    ],
)
def test_abstention_compares_the_two_largest_counts(votes, expected):
    assert abstention_p_value(votes) == pytest.approx(expected)


def test_unparsed_never_leads_and_ties_are_deterministic():
    assert leader(Votes({"a": 1, "b": 1}, unparsed=9)) == "a"
    assert leader(Votes({"a": 0}, unparsed=9)) is None


@settings(max_examples=25)
@given(st.integers(-3, 3), st.sampled_from([0.0, 1.0, -0.1, 1.5]))
def test_nonsense_is_refused(k, alpha):
    with pytest.raises(ValueError, match="successes of"):
        lower_bound(k if k < 0 else k + 3, 2, 0.05)
    with pytest.raises(ValueError, match="alpha"):
        upper_bound(1, 2, alpha)


def test_three_labels_are_bounded_one_by_one_and_two_by_what_is_left():
    votes = Votes({"a": 60, "b": 25, "c": 15})
    three = class_bounds(votes, "a", ("a", "b", "c"), 0.05)
    assert three.low == lower_bound(60, 100, 0.025)
    assert three.high["b"] == upper_bound(25, 100, 0.025) < 1 - three.low
    two = class_bounds(Votes({"a": 60, "b": 40}), "a", ("a", "b"), 0.05)
    assert two.low == lower_bound(60, 100, 0.05)
    assert two.high["b"] == 1 - two.low
