"""Choosing the parameters of a method on a validation split, so that no test input ever has a say in them.

The criterion: among the settings whose clean accuracy is at most ``MAX_DROP`` below the best one's, the largest r_avg
of the radius asked for (published, or proved for a threat model); of equals, the higher clean accuracy, and then the
one that comes first in the grid. r_avg alone would be won by settings that certify the easy inputs far and get the
others wrong. A failed input counts as not certified.

Of an exact method it is the share of inputs that are right and proved at R changes of one threat, balanced: the mean
over the labels. Of equals, the higher balanced accuracy, then the fewer questions, then the first in the grid. Each
setting is also read with a bias and a temperature by length of the sub-text (:mod:`clucert.evaluate.calibrated`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from clucert.config import ExactOptions
from clucert.core.exact import ExactCertificate
from clucert.core.radius import Kind
from clucert.errors import InputError, UsageError
from clucert.evaluate.calibrated import Calibration, Row, calibrations
from clucert.evaluate.engine import Engine, open_engine
from clucert.evaluate.metrics import Outcome, r_avg
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.radii import AnyCertificate, check_kind, class_of_label, kind_of, outcome_of, radii_of
from clucert.evaluate.read_certificates import certificate_of
from clucert.evaluate.record import Record
from clucert.evaluate.run_directory import open_run
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.standing import balanced_at, standing_of
from clucert.evaluate.study import RunSummary, Snapshot, data_notes, left_to_do, run_inputs, summary_of
from clucert.evaluate.trials import MAX_DROP, GridPoint, Trial, by_length, choose, choose_exact
from clucert.methods import Method
from clucert.methods.exact import ExactMethod
from clucert.section import checked, options_of

MASK_RATES = ("0.5", "0.7", "0.9", "0.95")
THRESHOLDS = (0.3, 0.5, 0.7)
LENGTHS = (None, 20)

EXACT: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "blocks": {"count": (3, 5, 7, 9), "sharpness": (2.0, 8.0)},
    "groups": {"count": (3, 5, 7, 9), "sharpness": (2.0, 8.0)},
    "chunks": {"every": (3, 4, 6, 8), "sharpness": (2.0, 8.0)},
    "windows": {"size": (6, 12, 20)},
    "erase": {"suffix": (10, 20, 40)},
    "each": {"sharpness": (2.0, 8.0, 20.0)},
}
"""What is tried of each family of sub-texts, unless it is said."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Whose mean is made large: the published radius, or the one proved for a threat. Of an exact method, what share is
    proved ``at`` so many changes.
    """

    kind: Kind
    at: int | None = None

    @classmethod
    def of(cls, written: str) -> Aim:
        """Read ``insert@2`` or ``word``. Raises :class:`UsageError` for a number that is none."""
        kind, _, at = written.partition("@")
        if at and not (at.isdecimal() and int(at) > 0):
            raise UsageError(f"--radius {written}: write it like insert@2")
        return cls(kind, int(at) if at else None)

    def __str__(self) -> str:
        return self.kind if self.at is None else f"{self.kind}@{self.at}"


@dataclass(frozen=True, slots=True)
class Tuned:
    """All settings in the order of the grid, and the best; ``stopped`` says why some are missing."""

    rows: tuple[Trial, ...]
    best: Trial
    method: str
    """A complete method file with the best values, which says what it was tuned on."""
    stopped: str | None = None
    notes: tuple[str, ...] = ()
    """What ought to be known about the choice, in words."""


def grid_of(
    mask_rates: Sequence[str] = MASK_RATES,
    thresholds: Sequence[float] = THRESHOLDS,
    lengths: Sequence[int | None] = LENGTHS,
) -> list[GridPoint]:
    """Every combination; a length of None is no refine, other lengths keep the method's way to refine."""
    return [
        {"mask_rate": rate, "threshold": tau} | ({"refine": "off"} if length is None else {"refine_length": length})
        for rate, tau, length in itertools.product(mask_rates, thresholds, lengths)
    ]


def exact_grid(method: ExactMethod, tried: Mapping[str, Sequence[str]]) -> list[GridPoint]:
    """Every combination of what is ``tried`` of the options of ``method``, or of what is usual for its family.

    Raises :class:`UsageError` for what is no option of it, and :class:`InputError` for a value that it cannot have.
    """
    known = options_of(ExactOptions)
    if unknown := next((name for name in tried if name not in known), None):
        raise UsageError(f"--try {unknown}: it is none of {', '.join(known)}")
    if wrong := method.unread(tried):
        raise UsageError(f"--try {wrong[0]}: it goes with {wrong[1]}, and {method.name} does not read it")
    usual = {name: each for name, each in EXACT[method.family].items() if not method.unread([name])}
    values: Mapping[str, Sequence[Any]] = tried or usual
    points = [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]
    # Read as the method reads them: 8 is 8.0.
    read = [checked(ExactMethod, {**method.model_dump(), **point}, "--try") for point in points]
    return [{name: getattr(each, name) for name in values} for each in read]


def tune(
    config: StudyConfig,
    grid: Sequence[GridPoint] | Mapping[str, Sequence[str]],
    progress: Callable[[int, Snapshot], None] | None = None,
    *,
    max_drop: float = MAX_DROP,
    radius: str = "published",
) -> Tuned:
    """Evaluate every setting of ``grid`` on the data of ``config``, which must be a validation split.

    Of an exact method ``grid`` maps its options to the values that are tried, and may be empty; ``radius`` names a
    threat and how many changes, such as ``insert@2``.

    Fields that the method does not use are left out of the settings, so that none is evaluated twice.

    Each setting is a run of its own below the run directory: after an interruption nothing is done twice. Models and
    cache are shared, and the caps hold for all settings together. ``progress`` is told the setting's number and how far
    it is.

    Raises :class:`InputError` when the data have no labels or nothing could be scored, and :class:`UsageError` for a
        radius that the method does not have.
    """
    if config.shard:
        raise UsageError("a grid cannot be divided into shards: remove shard from the configuration")
    tried: list[tuple[Trial, Sequence[Outcome]]] = []
    runs: list[_Run] = []
    stopped, why_not = None, None
    base = make_plan(config, need_labels=True)
    aim, points = _wanted(base.method, grid, Aim.of(radius))
    with ExitStack() as stack:
        engine = open_engine(config, base.task, stack)
        for number, point in enumerate(points):
            told = None if progress is None else lambda snapshot, n=number: progress(n, snapshot)
            run, summary = _evaluate(_plan(config, base.run_dir, point), point, engine, told)
            if summary.stopped:
                stopped = summary.reason
                break
            tried.append(_trial(run, aim))
            runs += [run] if aim.at is not None else []
    if not any(row.inputs for row, _ in tried):
        raise InputError(f"no setting was finished: {stopped or 'every input failed'}")
    if aim.at is not None:
        fitted, why_not = calibrations([row for run in runs for row in run.rows()])
        tried += [_trial(run, aim, each) for each in fitted for run in runs]
    rows = [row for row, _ in tried]
    best = choose(rows, max_drop) if aim.at is None else choose_exact(rows)
    if aim.at is not None and isinstance(base.method, ExactMethod) and base.method.family == "blocks":
        longer = by_length(tried, best, aim.at)
        rows += [longer] if longer else []
        best = longer or best
    record = _record(base, points, best, max_drop=max_drop, aim=aim)
    notes = (*data_notes(base), *_doubts(best, aim), *filter(None, [why_not]))
    return Tuned(tuple(rows), best, method_file(base, best, record), stopped, notes)


def _wanted(
    method: Method | ExactMethod, grid: Sequence[GridPoint] | Mapping[str, Sequence[str]], aim: Aim
) -> tuple[Aim, list[GridPoint]]:
    """What is made large, and the settings that are tried."""
    if isinstance(method, ExactMethod):
        if not isinstance(grid, Mapping):
            raise UsageError(f"{method.name} has no mask rate, threshold or L: name what to try, --try count=3,5,7")
        kind = kind_of(method.noise().threats[0]) if aim.kind == "published" else check_kind(aim.kind, method)
        return Aim(kind, aim.at or 1), exact_grid(method, grid)
    if isinstance(grid, Mapping) or aim.at is not None:
        raise UsageError(f"{method.name} samples: --try and --radius {aim} are for exact methods")
    if not grid:
        raise UsageError("the grid is empty: name at least one value of each parameter")
    return Aim(check_kind(aim.kind, method)), _distinct(method, grid)


def _distinct(method: Method, grid: Sequence[GridPoint]) -> list[GridPoint]:
    """The settings of ``grid`` without what changes nothing in ``method``, each once."""
    unused = {
        "threshold": method.clustering == "none",
        "refine": method.refine == "off",
        "refine_length": method.refine == "off",
        "mask_rate": method.recovery == "characters" or isinstance(method.keep, int),
    }
    points = [{name: value for name, value in point.items() if not unused.get(name)} for point in grid]
    return [point for i, point in enumerate(points) if point not in points[:i]]


def _doubts(best: Trial, aim: Aim) -> Iterator[str]:
    if not (best.r_avg if aim.at is None else best.proved):
        what = "a radius above 0" if aim.at is None else f"a radius of {aim.at}"
        yield f"no setting reaches {what} ({aim.kind}): the choice is by accuracy alone"
    if best.constant_answer is not None and best.clean_accuracy < best.constant_answer:
        yield (
            f"the best setting is right on {best.clean_accuracy:.0%}, less than answering the commonest label to "
            f"everything ({best.constant_answer:.0%})"
        )


def _record(plan: Plan, points: Sequence[GridPoint], best: Trial, *, max_drop: float, aim: Aim) -> dict[str, Any]:
    """What the values were chosen on and how: enough to say whether two methods were tuned alike. Names no folder."""
    data = plan.dataset
    return {
        "task": plan.task.name,
        "model": "+".join(plan.config.model),
        "radius": str(aim),
        "data": data.source.path if data.source.path.startswith("hf:") else Path(data.source.path).name,
        "data_sha256": data.digest,
        "inputs": len(data.examples),
        **_chosen_by(plan, points, best, max_drop=max_drop, aim=aim),
        "settings": len(points),
        "clean_accuracy": best.clean_accuracy,
    }


def _chosen_by(plan: Plan, points: Sequence[GridPoint], best: Trial, *, max_drop: float, aim: Aim) -> dict[str, Any]:
    if aim.at is not None:
        tried = {name: [point[name] for point in points] for name in points[0]}
        return {
            "tried": {name: sorted(set(values)) for name, values in tried.items()},
            "calibration": best.calibration,
            "proved": best.proved,
            "balanced_accuracy": best.balanced_accuracy,
            "questions": best.questions,
        }
    return {
        "samples": plan.config.samples,
        "certify_samples": plan.config.certify_samples,
        "max_drop": max_drop,
        "mask_rates": sorted({str(point["mask_rate"]) for point in points if "mask_rate" in point}, key=float),
        "r_avg": best.r_avg,
    }


def method_file(plan: Plan, best: Trial, record: Mapping[str, Any]) -> str:
    """YAML of the plan's whole method with the best values: it applies to whatever task it is used for."""
    method = plan.method.model_dump(mode="json", exclude={"tasks", "models", "tuned"})
    name = f"{plan.method.name.removesuffix('-tuned')}-tuned"
    fields = {**method, **_plain(best.point), "name": name, "tuned": dict(record)}
    if best.proved is not None:
        head = (
            f"# Tuned on {best.inputs} validation rows: right and proved ({record['radius']}) on {best.proved:.3f} of "
            f"them, mean over\n# the labels, right on {best.balanced_accuracy:.3f}, {best.questions:.1f} questions.\n"
        )
        return head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    head = (
        f"# Tuned on {best.inputs} validation rows: the largest mean {record['radius']} radius "
        f"({best.r_avg:.3f} words) among the settings\n# within {record['max_drop']:g} of the best clean accuracy; "
        f"this one's is {best.clean_accuracy:.3f}.\n"
    )
    return head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def _plain(point: GridPoint) -> dict[str, Any]:
    """As YAML has it."""
    found = {name: list(map(list, value)) if name == "counts" else value for name, value in point.items()}
    if "bias" in point:
        found["bias"] = [each.model_dump(exclude_none=True) for each in point["bias"]]
    return found


def _plan(config: StudyConfig, folder: Path, point: GridPoint) -> Plan:
    name = "-".join(f"{key}={value}" for key, value in point.items()) or "as-it-is"
    return make_plan(config.model_copy(update={**point, "run_dir": folder / name}), need_labels=True)


@dataclass(frozen=True, slots=True)
class _Run:
    """One setting on all rows, and the certificates that there are."""

    plan: Plan
    point: GridPoint
    records: Sequence[Record]
    certificates: Mapping[str, AnyCertificate]
    failed: int

    def rows(self) -> Iterator[Row]:
        """The rows that have an exact certificate."""
        for record in self.records:
            found = self.certificates.get(record.id)
            if isinstance(found, ExactCertificate):
                yield Row(record.id, record.gold, found)

    def read(self, calibration: Calibration) -> _Run:
        """The same answers, calibrated."""
        read = {
            name: calibration.read(name, each)
            for name, each in self.certificates.items()
            if isinstance(each, ExactCertificate)
        }
        return replace(self, point={**self.point, "bias": calibration.whole}, certificates=read)


def _evaluate(
    plan: Plan, point: GridPoint, engine: Engine, progress: Callable[[Snapshot], None] | None
) -> tuple[_Run, RunSummary]:
    with open_run(plan.run_dir, plan.manifest, plan.inputs) as run:
        left = left_to_do(plan, run)
        summary = run_inputs(plan, run, left, engine, progress) if left else summary_of(plan, run)
        records = list(run.records.values())
    certificates = {r.id: found for r in records if (found := certificate_of(r.document)) is not None}
    return _Run(plan, point, records, certificates, summary.failed), summary


def _trial(run: _Run, aim: Aim, calibration: Calibration | None = None) -> tuple[Trial, Sequence[Outcome]]:
    run = run.read(calibration) if calibration else run
    certificates = run.certificates
    reader = next(iter(certificates.values()), None)
    outcomes = [_outcome(r.id, class_of_label(r.gold, reader), certificates.get(r.id), aim.kind) for r in run.records]
    scored = [outcome for outcome in outcomes if outcome.scored]
    count = max(len(scored), 1)
    plan = run.plan
    standing = standing_of(outcomes, certificates.values(), _classes(plan.task.labels, reader), plan.dataset.label_map)
    row = Trial(
        point=run.point,
        r_avg=r_avg(scored) or 0.0,
        clean_accuracy=sum(outcome.correct for outcome in scored) / count,
        abstained=sum(outcome.abstained for outcome in scored) / count,
        inputs=len(scored) if any(not outcome.failed for outcome in scored) else 0,
        failed=run.failed,
        balanced_accuracy=standing.balanced_accuracy,
        constant_answer=standing.constant_share,
        at_cap=standing.at_cap,
        attackable=standing.attackable,
        proved=None if aim.at is None else balanced_at(scored, aim.at),
        questions=None if aim.at is None else _questions(certificates.values()),
        calibration=calibration.name if calibration else None,
    )
    return row, scored


def _classes(labels: tuple[str, ...] | None, reader: AnyCertificate | None) -> tuple[str, ...] | None:
    return None if labels is None else tuple(dict.fromkeys(class_of_label(label, reader) or label for label in labels))


def _questions(certificates: Iterable[AnyCertificate]) -> float | None:
    asked = [each.questions for each in certificates if isinstance(each, ExactCertificate)]
    return sum(asked) / len(asked) if asked else None


def _outcome(identity: str, gold: str | None, certificate: AnyCertificate | None, kind: Kind) -> Outcome:
    radius = None if certificate is None else radii_of(certificate).get(kind)
    return outcome_of(identity, gold, certificate, radius)
