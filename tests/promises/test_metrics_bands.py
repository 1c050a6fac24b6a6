"""The intervals of the tables, against numbers that are not computed the same way, and by exact coverage."""

from __future__ import annotations

from math import comb, sqrt

import numpy as np
import pytest

from clucert.evaluate.columns import DataSource
from clucert.evaluate.data import Dataset, Example
from clucert.evaluate.metrics import Outcome, certified_accuracy, certified_curve, proportion, summarise


def outcome(number: int, radius: int | None, **changes: object) -> Outcome:
    fields = {"gold": "a", "prediction": "a", "words": 9, "unparsed": 0, "kept": 10, "drawn": 10}
    return Outcome(str(number), radius=radius, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("total", [50, 400])
def test_the_band_has_the_width_of_kolmogorovs_quantile(total: int) -> None:
    """Massart's constant is asymptotically exact: 1.3581 is the 95 % quantile of the Kolmogorov distribution."""
    curve = certified_curve([outcome(i, i % 5) for i in range(total)])
    assert curve is not None
    middle = curve.points[2]
    assert middle.high is not None
    assert middle.low is not None
    assert (middle.high - middle.value) * sqrt(total) == pytest.approx(1.3581, rel=1e-3)
    assert (middle.value - middle.low) * sqrt(total) == pytest.approx(1.3581, rel=1e-3)


def test_the_band_covers_the_whole_curve_and_not_much_more() -> None:
    rng, total, runs = np.random.default_rng(0), 60, 400
    inside = 0
    for _ in range(runs):
        curve = certified_curve([outcome(i, int(r)) for i, r in enumerate(rng.integers(0, 40, total))])
        assert curve is not None
        inside += all(
            point.low <= (40 - delta) / 40 <= point.high  # type: ignore[operator]
            for delta, point in zip(curve.deltas, curve.points, strict=True)
        )
    assert 0.94 <= inside / runs <= 0.995


@pytest.mark.parametrize(("total", "truth"), [(12, 0.3), (40, 0.9), (25, 0.02)])
def test_a_share_is_covered_at_its_level_each_side_alone(total: int, truth: float) -> None:
    above = below = 0.0
    for hits in range(total + 1):
        weight = comb(total, hits) * truth**hits * (1 - truth) ** (total - hits)
        found = proportion(hits, total)
        assert found.low is not None
        assert found.high is not None
        above += weight * (found.low > truth)
        below += weight * (found.high < truth)
    assert above <= 0.025
    assert below <= 0.025


def test_the_bonferroni_band_is_each_share_at_its_part_of_the_level() -> None:
    outcomes = [outcome(i, i % 4) for i in range(40)]
    curve = certified_curve(outcomes, deltas=[0, 1, 2, 3], band="bonferroni")
    assert curve is not None
    for delta, point in zip(curve.deltas, curve.points, strict=True):
        alone = certified_accuracy(outcomes, delta, level=1 - 0.05 / 4)
        assert alone is not None
        assert (point.low, point.high) == (alone.low, alone.high)


def test_failed_and_unlabelled_rows_stand_where_they_are_said_to() -> None:
    outcomes = [
        outcome(0, 2),
        outcome(1, 0),
        outcome(2, None, prediction=None),
        outcome(3, 3, prediction="b"),
        outcome(4, 1, gold=None, kept=4),
        outcome(5, None, gold=None, prediction=None),
        outcome(6, None, prediction=None, failed=True, drawn=99),
    ]
    found = summarise(outcomes, np.random.default_rng(0))
    assert (found.inputs, found.failed, found.unlabelled, found.scored) == (7, 1, 2, 5)
    shares = (found.clean_accuracy, found.abstained, found.uncertified)
    assert [share.value for share in shares if share] == [0.4, 0.2, 0.6]
    assert found.r_avg is not None
    assert found.r_avg.value == 0.4
    assert found.coe == pytest.approx(np.std([2, 0, 0, 0, 0]) / 0.4)
    assert found.kept == 54 / 60


def test_the_digest_of_the_data_tells_every_field_of_every_example() -> None:
    first = Example("1", "good", "a", {"k": 1})
    others = [
        Example("2", "good", "a", {"k": 1}),
        Example("1", "bad", "a", {"k": 1}),
        Example("1", "good", "b", {"k": 1}),
    ]
    others += [Example("1", "good", None, {"k": 1}), Example("1", "good", "a", {"k": 2})]
    digests = {
        Dataset(DataSource("x.csv"), rows, ()).digest for rows in ((first,), (first, first), *[(o,) for o in others])
    }
    assert len(digests) == 7
