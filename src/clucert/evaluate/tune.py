"""Choosing the parameters of a method on a validation split, so that no test input ever has a say in them.

The criterion: among the settings whose clean accuracy is at most ``MAX_DROP`` below the best one's, the largest r_avg
of the radius asked for (published, or proved for a threat model); of equals, the higher clean accuracy, and then the
one that comes first in the grid. r_avg alone would be won by settings that certify the easy inputs far and get the
others wrong. A failed input counts as not certified.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from clucert.certificate_json import read
from clucert.core.certificate import Certificate
from clucert.errors import InputError, UsageError
from clucert.evaluate.engine import Engine, open_engine
from clucert.evaluate.metrics import Outcome, r_avg
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.radii import class_of_label
from clucert.evaluate.run_directory import Record, open_run
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.standing import standing_of
from clucert.evaluate.study import RunSummary, Snapshot, data_notes, left_to_do, run_inputs, summary_of
from clucert.methods import Method
from clucert.methods.exact import ExactMethod

MAX_DROP = 0.02
"""Clean accuracy that a setting may lack of the best one's, to be chosen for its radius."""

MASK_RATES = ("0.5", "0.7", "0.9", "0.95")
THRESHOLDS = (0.3, 0.5, 0.7)
LENGTHS = (None, 20)

Point = Mapping[str, Any]
"""Values of the method's fields."""

Radius = Literal["published", "word", "synonym"]
"""Whose mean is made large: the published radius, or the one proved for a threat model."""


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one setting on the validation split."""

    point: Point
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


@dataclass(frozen=True, slots=True)
class Tuned:
    """All settings in the order of the grid, and the best; ``stopped`` says why some are missing."""

    rows: tuple[Row, ...]
    best: Row
    method: str
    """A complete method file with the best values, which says what it was tuned on."""
    stopped: str | None = None
    notes: tuple[str, ...] = ()
    """What ought to be known about the choice, in words."""


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
    radius: Radius = "published",
) -> Tuned:
    """Evaluate every setting of ``grid`` on the data of ``config``, which must be a validation split.

    Fields that the method does not use are left out of the settings, so that none is evaluated twice.

    Each setting is a run of its own below the run directory: after an interruption nothing is done twice. Models and
    cache are shared, and the caps hold for all settings together. ``progress`` is told the setting's number and how far
    it is.

    Raises :class:`InputError` when the data have no labels or nothing could be scored, and :class:`UsageError` for a
        radius that the method does not have.
    """
    if not grid:
        raise UsageError("the grid is empty: name at least one value of each parameter")
    if config.shard:
        raise UsageError("a grid cannot be divided into shards: remove shard from the configuration")
    rows: list[Row] = []
    stopped = None
    base = make_plan(config)
    if isinstance(base.method, ExactMethod):
        raise UsageError(f"{base.method.name} asks a fixed family of sub-texts: it is not tuned here yet")
    if radius == "published" and base.method.keep is not None:
        raise UsageError(f"{base.method.name} has no published radius to make large: give --radius word")
    points = _distinct(base.method, grid)
    with ExitStack() as stack:
        engine = open_engine(config, stack)
        for number, point in enumerate(points):
            plan = _plan(config, base.run_dir, point)
            told = None if progress is None else lambda snapshot, n=number: progress(n, snapshot)
            row, summary = _evaluate(plan, point, radius, engine, told)
            if summary.stopped:
                stopped = summary.reason
                break
            rows.append(row)
    if not any(row.inputs for row in rows):
        raise InputError(f"no setting was finished: {stopped or 'every input failed'}")
    best = choose(rows, max_drop)
    record = _record(base, points, best, max_drop=max_drop, radius=radius)
    return Tuned(
        tuple(rows), best, method_file(base, best, record), stopped, (*data_notes(base), *_doubts(best, radius))
    )


def _distinct(method: Method, grid: Sequence[Point]) -> list[Point]:
    """The settings of ``grid`` without what changes nothing in ``method``, each once."""
    unused = {
        "threshold": method.clustering == "none",
        "refine": method.refine == "off",
        "refine_length": method.refine == "off",
        "mask_rate": method.recovery == "characters" or isinstance(method.keep, int),
    }
    points = [{name: value for name, value in point.items() if not unused.get(name)} for point in grid]
    return [point for i, point in enumerate(points) if point not in points[:i]]


def _doubts(best: Row, radius: Radius) -> Iterator[str]:
    if best.r_avg == 0:
        yield f"no setting reaches a {radius} radius above 0: the choice is by clean accuracy alone"
    if best.constant_answer is not None and best.clean_accuracy < best.constant_answer:
        yield (
            f"the best setting is right on {best.clean_accuracy:.0%}, less than answering the commonest label to "
            f"everything ({best.constant_answer:.0%})"
        )


def choose(rows: Sequence[Row], max_drop: float = MAX_DROP) -> Row:
    """The best row, by the criterion of this module."""
    scored = [row for row in rows if row.inputs]
    enough = max(row.clean_accuracy for row in scored) - max_drop
    # A hair of room: accuracies are ratios of small whole numbers.
    good = [row for row in scored if row.clean_accuracy >= enough - 1e-9]
    return max(good, key=lambda row: (row.r_avg, row.clean_accuracy))


def _record(
    plan: Plan, points: Sequence[Point], best: Row, *, max_drop: float, radius: Radius
) -> dict[str, str | int | float | list[str]]:
    """What the values were chosen on and how: enough to say whether two methods were tuned alike. Names no folder."""
    data = plan.dataset
    return {
        "task": plan.task.name,
        "model": "+".join(plan.config.model),
        "radius": radius,
        "data": data.source.path if data.source.path.startswith("hf:") else Path(data.source.path).name,
        "data_sha256": data.digest,
        "inputs": len(data.examples),
        "samples": plan.config.samples,
        "certify_samples": plan.config.certify_samples,
        "max_drop": max_drop,
        "mask_rates": sorted({str(point["mask_rate"]) for point in points if "mask_rate" in point}, key=float),
        "settings": len(points),
        "r_avg": best.r_avg,
        "clean_accuracy": best.clean_accuracy,
    }


def method_file(plan: Plan, best: Row, record: Mapping[str, Any]) -> str:
    """YAML of the plan's whole method with the best values: it applies to whatever task it is used for."""
    method = plan.method.model_dump(mode="json", exclude={"tasks", "tuned"})
    name = f"{plan.method.name.removesuffix('-tuned')}-tuned"
    fields = {**method, **best.point, "name": name, "tuned": dict(record)}
    head = (
        f"# Tuned on {best.inputs} validation rows: the largest mean {record['radius']} radius "
        f"({best.r_avg:.3f} words) among the settings\n# within {record['max_drop']:g} of the best clean accuracy; "
        f"this one's is {best.clean_accuracy:.3f}.\n"
    )
    return head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _plan(config: StudyConfig, folder: Path, point: Point) -> Plan:
    name = "-".join(f"{key}={value}" for key, value in point.items()) or "as-it-is"
    return make_plan(config.model_copy(update={**point, "run_dir": folder / name}))


def _evaluate(
    plan: Plan, point: Point, radius: Radius, engine: Engine, progress: Callable[[Snapshot], None] | None
) -> tuple[Row, RunSummary]:
    with open_run(plan.run_dir, plan.manifest, plan.inputs) as run:
        left = left_to_do(plan, run)
        summary = run_inputs(plan, run, left, engine, progress) if left else summary_of(plan, run)
        records = list(run.records.values())
    certificates = {r.id: read(r.document or {})[0].certificate for r in records if r.status == "done"}
    reader = next(iter(certificates.values()), None)
    named = [record.model_copy(update={"gold": class_of_label(record.gold, reader)}) for record in records]
    classes = tuple(dict.fromkeys(class_of_label(label, reader) or label for label in plan.task.labels or ()))
    outcomes = [_outcome(record, certificates.get(record.id), radius) for record in named]
    scored = [outcome for outcome in outcomes if outcome.scored]
    count = max(len(scored), 1)
    standing = standing_of(outcomes, certificates.values(), classes or None, plan.dataset.label_map)
    row = Row(
        point=point,
        r_avg=r_avg(scored) or 0.0,
        clean_accuracy=sum(outcome.correct for outcome in scored) / count,
        abstained=sum(outcome.abstained for outcome in scored) / count,
        inputs=len(scored) if any(not outcome.failed for outcome in scored) else 0,
        failed=summary.failed,
        balanced_accuracy=standing.balanced_accuracy,
        constant_answer=standing.constant_share,
        at_cap=standing.at_cap,
        attackable=standing.attackable,
    )
    return row, summary


def _outcome(record: Record, certificate: Certificate | None, kind: Radius) -> Outcome:
    if certificate is None:
        return Outcome(record.id, record.gold, None, None, 0, 0, 0, 0, failed=True)
    radius = certificate.radius if kind == "published" else certificate.proved.get(kind)
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
