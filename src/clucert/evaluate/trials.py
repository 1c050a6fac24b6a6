"""Settings that `clucert tune` has evaluated, and which of them is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clucert.evaluate.metrics import Outcome, r_avg
from clucert.evaluate.standing import balanced_at

MAX_DROP = 0.02
"""Clean accuracy that a setting may lack of the best one's, to be chosen for its radius."""


GridPoint = Mapping[str, Any]
"""Values of the method's fields."""

LENGTHS_BY = (10, 20, 40, 80)
"""Units up to which texts may have another number of blocks."""
LEAST = 20
"""Rows of a length that a number of blocks is chosen on."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one setting on the validation split."""

    point: GridPoint
    r_avg: float
    """Mean of the radius asked for; 0 for an abstention, a wrong answer and a failed input."""
    clean_accuracy: float
    """Share of the inputs whose smoothed answer is the gold label; an abstention is not."""
    abstained: float
    """Share of the inputs without an answer."""
    inputs: int
    failed: int
    balanced_accuracy: float | None = None
    """Mean over the labels of their clean accuracy."""
    constant_answer: float | None = None
    """What answering the commonest label to everything would get right."""
    at_cap: float | None = None
    """Share of the published radii that equal the number of attackable words."""
    attackable: float | None = None
    """Median number of attackable words."""
    proved: float | None = None
    """Of an exact method: right and proved at the changes asked for, mean over the labels."""
    questions: float | None = None
    """Of an exact method: questions of an input, on average."""
    calibration: str | None = None
    """Of an exact method: what was fitted here, and is in ``point``; the method's own bias where it is None."""


def choose(rows: Sequence[Trial], max_drop: float = MAX_DROP) -> Trial:
    """The best row, by the criterion of :mod:`clucert.evaluate.tune`."""
    scored = [row for row in rows if row.inputs]
    enough = max(row.clean_accuracy for row in scored) - max_drop
    # A hair of room: accuracies are ratios of small whole numbers.
    good = [row for row in scored if row.clean_accuracy >= enough - 1e-9]
    return max(good, key=lambda row: (row.r_avg, row.clean_accuracy))


def choose_exact(rows: Sequence[Trial]) -> Trial:
    """The best row of an exact method, by the criterion of :mod:`clucert.evaluate.tune`; the first of equals."""
    scored = [row for row in rows if row.inputs]
    return max(scored, key=lambda row: (row.proved or 0.0, row.balanced_accuracy or 0.0, -(row.questions or 0.0)))


def by_length(tried: Sequence[tuple[Trial, Sequence[Outcome]]], best: Trial, at: int) -> Trial | None:
    """``best`` with a number of blocks for each length of text, each the one that proves most on the rows of that
    length; None where that proves no more. A length with fewer than :data:`LEAST` rows is joined to the next.

    The number of questions and other figures that are not of this choice stay those of ``best``.
    """
    others = {name: value for name, value in best.point.items() if name != "count"}
    runs = {
        row.point["count"]: {o.id: o for o in outcomes}
        for row, outcomes in tried
        if row.inputs and "count" in row.point and {**row.point, "count": 0} == {**others, "count": 0}
    }
    own = best.point.get("count")
    if own is None or len(runs) < 2 or own not in runs:
        return None
    table: list[tuple[int, int]] = []
    mixed: list[Outcome] = []
    low, count = 0, int(own)
    for high in (*LENGTHS_BY, None):
        held = [o.id for o in runs[own].values() if low < o.words and (high is None or o.words <= high)]
        if len(held) < LEAST and high is not None:
            continue
        if len(held) >= LEAST:
            count = max(runs, key=lambda k: (balanced_at([runs[k][i] for i in held], at) or 0.0, k == own))
        mixed += [runs[count][i] for i in held]
        table += [(high, count)] if high is not None else []
        low = high or low
    mixed += [o for o in runs[own].values() if not o.words]
    proved = balanced_at(mixed, at) or 0.0
    if proved <= (best.proved or 0.0):
        return None
    right = sum(o.correct for o in mixed) / len(mixed)
    point = {**best.point, "count": count, "counts": table}
    return replace(best, point=point, proved=proved, clean_accuracy=right, r_avg=r_avg(mixed) or 0.0)
