"""The sequential test against every path of counts, and against the bound of a single look."""

from __future__ import annotations

from itertools import pairwise, product
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.bounds import upper_bound
from clucert.core.group_sequential import Path, boundaries

looks = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(
    lambda steps: [sum(steps[: i + 1]) for i in range(len(steps))]
)


def crossing(trials, allowed, p) -> list[float]:
    """P[some look up to k has an error count within its boundary], per k, by adding up every path of counts."""
    steps = [after - before for before, after in pairwise([0, *trials])]
    reached = [0.0] * len(trials)
    for increments in product(*(range(step + 1) for step in steps)):
        weight, count, crossed = 1.0, 0, False
        for k, (new, step) in enumerate(zip(increments, steps, strict=True)):
            weight *= comb(step, new) * p**new * (1 - p) ** (step - new)
            count += new
            crossed = crossed or count <= allowed[k]
            increments_left = steps[k + 1 :]
            if not increments_left or all(i == 0 for i in increments[k + 1 :]):
                # Paths that differ later only are one path up to k: count it once, with their joint weight.
                reached[k] += weight * crossed
    return reached


@settings(max_examples=80, deadline=None)
@given(looks, st.floats(0.02, 0.5), st.floats(0.05, 0.6), st.data())
def test_no_error_rate_at_or_above_the_threshold_is_missed_more_often_than_was_spent(trials, threshold, alpha, data):
    shares = sorted(data.draw(st.lists(st.floats(0.01, 1), min_size=len(trials), max_size=len(trials))))
    spent = tuple(alpha * share for share in shares)
    allowed = boundaries(tuple(trials), spent, threshold)
    for p in (threshold, min(1.0, threshold * 1.2), 0.7, 1.0):
        if p >= threshold:
            assert all(r <= s + 1e-12 for r, s in zip(crossing(trials, allowed, p), spent, strict=True))
    # Nothing is given away: one count more at the last look would spend too much.
    bolder = (*allowed[:-1], allowed[-1] + 1)
    assert allowed[-1] == trials[-1] or crossing(trials, bolder, threshold)[-1] > spent[-1] * (1 - 1e-6)


@given(st.integers(1, 300), st.data(), st.sampled_from([0.001, 0.05, 0.3]), st.floats(0.01, 0.99))
def test_one_look_is_the_clopper_pearson_bound(trials, data, alpha, threshold):
    errors = data.draw(st.integers(0, trials))
    bound = upper_bound(errors, trials, alpha)
    if abs(bound - threshold) > 1e-6:
        assert Path((trials,), (errors,), (alpha,)).below(threshold) == (bound < threshold)
    assert bound <= Path((trials,), (errors,), (alpha,)).upper + 1e-9 <= bound + 1e-4 + 1e-9


def test_nothing_drawn_and_nothing_left_to_show():
    assert not Path((), (), ()).below(0.5)
    assert not Path((10,), (0,), (0.05,)).below(0.0)
    assert Path((), (), ()).upper == 1.0


def test_a_look_that_an_earlier_one_would_have_settled_costs_nearly_nothing():
    """Unanimous at 60 after not being so at 50 is impossible: both looks may spend all of α on it."""
    assert boundaries((50, 60), (0.05, 0.05), 0.06)[0] == 0
    assert boundaries((50,), (0.04,), 0.06) == (-1,)
    assert boundaries((50, 60), (0.04, 0.05), 0.06) == (-1, 0)


def test_samples_that_were_all_dropped_between_looks_change_nothing():
    assert boundaries((30, 30), (0.05, 0.05), 0.3)[0] == boundaries((30,), (0.05,), 0.3)[0]


@pytest.mark.parametrize("tiny", [1e-3, 1e-6, 1e-9])
def test_small_levels_are_exact_too(tiny):
    most = boundaries((1000,), (tiny,), 0.3)[0]
    assert upper_bound(most, 1000, tiny) < 0.3 < upper_bound(most + 1, 1000, tiny)
