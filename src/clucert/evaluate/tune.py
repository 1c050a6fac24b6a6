"""Choosing the parameters of a method on a validation split, so that no test input ever has a say in them.

The criterion: among the settings whose clean accuracy is at most ``MAX_DROP`` below the best one's, the largest r_avg
of the published radius; of equals, the higher clean accuracy, and then the one that comes first in the grid. r_avg
alone would be won by settings that certify the easy inputs far and get the others wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clucert.document import read
from clucert.errors import InputError, UsageError
from clucert.evaluate.engine import Engine, open_engine
from clucert.evaluate.metrics import Outcome, r_avg
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.runs import Record, open_run
from clucert.evaluate.study import RunSummary, Snapshot, left_to_do, run_inputs, summary_of

MAX_DROP = 0.02
"""Clean accuracy that a setting may lack of the best one's, to be chosen for its radius."""

MASK_RATES = ("0.3", "0.5", "0.7", "0.9")
THRESHOLDS = (0.3, 0.5, 0.7)
LENGTHS = (None, 20)

Point = Mapping[str, Any]
"""Values of the method's fields."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one setting came to on the validation split."""

    point: Point
    r_avg: float
    """Mean of the published radius; 0 for an abstention and for a wrong answer."""
    clean_accuracy: float
    """Share of the inputs whose smoothed answer is the gold label; an abstention is not."""
    abstained: float
    """Share of the inputs without an answer."""
    inputs: int
    failed: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """All settings in the order of the grid, and the best; ``stopped`` says why some are missing."""

    rows: tuple[Row, ...]
    best: Row
    method: str
    """A method file with the best values, for the task they were found on."""
    stopped: str | None = None


def grid_of(
    mask_rates: Sequence[str] = MASK_RATES,
    thresholds: Sequence[float] = THRESHOLDS,
    lengths: Sequence[int | None] = LENGTHS,
) -> list[Point]:
    """Every combination; a length of None is no refine, other lengths keep the method's way to refine."""
    return [
        {"mask_rate": rate, "threshold": tau} | ({"refine": "off"} if length is None else {"refine_length": length})
        for rate, tau, length in itertools.product(mask_rates, thresholds, lengths)
    ]


def tune(
    config: StudyConfig,
    grid: Sequence[Point],
    progress: Callable[[int, Snapshot], None] | None = None,
    *,
    max_drop: float = MAX_DROP,
) -> Tuned:
    """Evaluate every setting of ``grid`` on the data of ``config``, which must be a validation split.

    Each setting is a run of its own below the run directory: after an interruption nothing is done twice. Models and
    cache are shared, and the caps hold for all settings together. ``progress`` is told the setting's number and how far
    it is.

    Raises :class:`InputError` when the data have no labels or nothing could be scored.
    """
    if not grid:
        raise UsageError("the grid is empty: name at least one value of each parameter")
    rows: list[Row] = []
    stopped = None
    base = make_plan(config)
    with ExitStack() as stack:
        engine = open_engine(config, stack)
        for number, point in enumerate(grid):
            plan = _plan(config, base.run_dir, point)
            told = None if progress is None else lambda snapshot, n=number: progress(n, snapshot)
            row, summary = _evaluate(plan, point, engine, told)
            if summary.stopped:
                stopped = summary.reason
                break
            rows.append(row)
    if not any(row.inputs for row in rows):
        raise InputError(f"no setting was finished: {stopped or 'every input failed'}")
    best = choose(rows, max_drop)
    return Tuned(tuple(rows), best, method_file(base, best, max_drop), stopped)


def choose(rows: Sequence[Row], max_drop: float = MAX_DROP) -> Row:
    """The best row, by the criterion of this module."""
    scored = [row for row in rows if row.inputs]
    enough = max(row.clean_accuracy for row in scored) - max_drop
    # A hair of room: accuracies are ratios of small whole numbers.
    good = [row for row in scored if row.clean_accuracy >= enough - 1e-9]
    return max(good, key=lambda row: (row.r_avg, row.clean_accuracy))


def method_file(plan: Plan, best: Row, max_drop: float = MAX_DROP) -> str:
    """YAML of the plan's method with the best values for the plan's task."""
    method = plan.method.model_dump(mode="json")
    tasks = {**method.pop("tasks"), plan.task.name: dict(best.point)}
    head = (
        f"# Chosen on {plan.dataset.source.path}: {best.inputs} inputs, r_avg {best.r_avg:.3f}, clean accuracy "
        f"{best.clean_accuracy:.3f};\n# the largest r_avg among the settings within {max_drop:g} of the best clean "
        "accuracy.\n"
    )
    fields = {**method, "name": f"{plan.method.name}-tuned", "tasks": tasks}
    return head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _plan(config: StudyConfig, folder: Path, point: Point) -> Plan:
    name = "-".join(f"{key}={value}" for key, value in point.items())
    return make_plan(config.model_copy(update={**point, "run_dir": folder / name}))


def _evaluate(
    plan: Plan, point: Point, engine: Engine, progress: Callable[[Snapshot], None] | None
) -> tuple[Row, RunSummary]:
    with open_run(plan.run_dir, plan.manifest, plan.inputs) as run:
        left = left_to_do(plan, run)
        summary = run_inputs(plan, run, left, engine, progress) if left else summary_of(plan, run)
        outcomes = [_outcome(record) for record in run.records.values() if record.status == "done"]
    scored = [outcome for outcome in outcomes if outcome.scored]
    count = max(len(scored), 1)
    row = Row(
        point=point,
        r_avg=r_avg(scored) or 0.0 if scored else 0.0,
        clean_accuracy=sum(outcome.correct for outcome in scored) / count,
        abstained=sum(outcome.prediction is None for outcome in scored) / count,
        inputs=len(scored),
        failed=summary.failed,
    )
    return row, summary


def _outcome(record: Record) -> Outcome:
    certificate = read(record.document or {})[0].certificate
    radius = certificate.radius
    votes = certificate.votes
    return Outcome(
        id=record.id,
        gold=record.gold,
        prediction=certificate.prediction,
        radius=None if radius is None else radius.words,
        words=certificate.n,
        unparsed=votes.unparsed,
        kept=votes.kept,
        drawn=votes.drawn,
        everything=radius is not None and radius.everything,
        nothing_to_attack=radius is not None and radius.nothing_to_attack,
    )
