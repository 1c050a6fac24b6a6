"""Choosing the threshold of a guard on a validation split, with a guaranteed false-positive rate (Learn then Test)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import yaml

from clucert.core.certificate import Certificate
from clucert.errors import InputError, UsageError
from clucert.evaluate.engine import open_engine
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.read_certificates import certificate_of
from clucert.evaluate.record import Record
from clucert.evaluate.roc import Chosen, GuardedRow, RocPoint, certified_roc, check_rows, choose, counts_sub_texts
from clucert.evaluate.run_directory import open_run
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.study import Snapshot, data_notes, left_to_do, run_inputs, summary_of
from clucert.methods import load_exact

PROVISIONAL = "0.5"
"""The threshold that the validation rows are certified with; the same votes are read at all others."""
CONFIDENCE = Fraction(95, 100)


@dataclass(frozen=True, slots=True)
class TunedFlag:
    """The certified ROC on the validation rows, and the threshold that was chosen."""

    points: tuple[RocPoint, ...]
    chosen: Chosen
    counts: bool
    """Whether a threshold is a number of sub-texts."""
    method: str
    """A complete method file with the flag, which says what it was tuned on."""
    notes: tuple[str, ...] = ()


def tune_flag(
    config: StudyConfig,
    fpr: Fraction,
    confidence: Fraction = CONFIDENCE,
    progress: Callable[[Snapshot], None] | None = None,
) -> TunedFlag:
    """Certify the validation rows of ``config`` once, and choose the smallest threshold whose false-positive rate is
    shown to be at most ``fpr`` (:func:`clucert.core.thresholds.choose_threshold`).

    Raises :class:`InputError` for too few harmless rows, before anything is asked, and where no threshold will do; and
    :class:`UsageError` without a flag.
    """
    given = config.method_overrides
    if not given["flag"]:
        raise UsageError("say which labels flag a text: --flag harmful")
    if given["flag_threshold"] is None and load_exact(config.method) is None:
        config = config.model_copy(update={"flag_threshold": PROVISIONAL})
    flag, plan = tuple(given["flag"]), make_plan(config)
    if config.run_dir is None:
        plan = replace(plan, run_dir=plan.run_dir.with_name(f"{plan.run_dir.name}-flag"))
    check_rows(sum(e.label is not None and e.label not in flag for e in plan.dataset.examples), fpr, confidence)
    with ExitStack() as stack, open_run(plan.run_dir, plan.manifest, plan.inputs) as run:
        left = left_to_do(plan, run)
        engine = open_engine(config, plan.task, stack) if left else None
        summary = run_inputs(plan, run, left, engine, progress) if engine else summary_of(plan, run)
        records = list(run.records.values())
    if summary.stopped:
        raise InputError(f"not all rows are done ({summary.reason}): the same command goes on")
    rows = rows_of(records, flag)
    points = tuple(certified_roc(rows, flag))
    chosen, counts = (
        choose(points, fpr, confidence),
        any(r.certificate and counts_sub_texts(r.certificate) for r in rows),
    )
    return TunedFlag(points, chosen, counts, method_file(plan, chosen, counts=counts), _notes(plan, rows))


def _notes(plan: Plan, rows: Sequence[GuardedRow]) -> tuple[str, ...]:
    notes = list(data_notes(plan))
    if any(isinstance(row.certificate, Certificate) for row in rows):
        config = plan.config
        notes.append(f"the rate is that of --samples {config.samples} --alpha {config.alpha:g}: deploy with these")
    return tuple(notes)


def rows_of(records: Iterable[Record], flag: Sequence[str]) -> list[GuardedRow]:
    """The records of a run that have a gold label."""
    return [GuardedRow(r.gold in flag, certificate_of(r.document)) for r in records if r.gold is not None]


def method_file(plan: Plan, chosen: Chosen, *, counts: bool) -> str:
    """YAML of the plan's whole method with its flag and the threshold that was chosen."""
    method, point = plan.method, chosen.point
    fields = method.model_dump(mode="json", exclude={"tasks", "models", "tuned"}) | {"name": _name(method.name)}
    fields["flag_threshold"] = None if counts else f"{float(point.threshold):g}"
    if counts:
        fields["at_least"] = int(point.threshold)
    data = plan.dataset
    record = {
        "task": plan.task.name,
        "model": "+".join(plan.config.model),
        "data": data.source.path if data.source.path.startswith("hf:") else Path(data.source.path).name,
        "data_sha256": data.digest,
        "canonical": ",".join(plan.config.canonical or ()),
        "fpr": float(chosen.fpr),
        "confidence": float(chosen.confidence),
        "harmless": point.harmless,
        "false_positives": point.false_positives,
        "harmful": point.harmful,
        "recalled": point.recalled,
        "samples": plan.config.samples,
    }
    head = (
        f"# The smallest threshold with a false-positive rate of at most {float(chosen.fpr):g}, with\n"
        f"# {float(chosen.confidence):g} confidence: {point.false_positives} of {point.harmless} harmless rows are "
        f"flagged, {point.recalled} of {point.harmful} harmful ones.\n"
    )
    return head + yaml.safe_dump(fields | {"tuned": record}, sort_keys=False, allow_unicode=True)


def _name(name: str) -> str:
    return f"{name.removesuffix('-tuned')}-tuned"
