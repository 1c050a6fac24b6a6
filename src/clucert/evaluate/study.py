"""``clucert evaluate``: data, a task, a method and a model in, a run directory out; interruptible at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clucert.build import task_of
from clucert.cache.server_identity import ServerIdentity
from clucert.errors import CluCertError, InputError, UsageError
from clucert.evaluate.data import Example
from clucert.evaluate.engine import Engine, FunctionEngine, open_engine
from clucert.evaluate.gold import written_map
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.read_certificates import certificate_of
from clucert.evaluate.recorder import HOPELESS, Recorder, reason_of
from clucert.evaluate.run_directory import FUNCTION_COMMAND, RunWriter, open_run, read_manifest, read_records
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.shards import read_shards, shard_of, take_shards
from clucert.notebook import Shown
from clucert.protocols import Task
from clucert.runtime import event_loop as loops
from clucert.runtime.callable_classifiers import classifier_of
from clucert.runtime.interrupts import two_step_interrupt
from clucert.tasks.classification import ClosedTask
from clucert.types import Usage
from clucert.vote_rows import frame

TICK = 0.25
"""Seconds between two reports of progress."""

Stopped = Literal["budget", "interrupted", "error"]

EXIT_OK, EXIT_FAILURE, EXIT_BUDGET, EXIT_INTERRUPTED = 0, 1, 4, 130
"""2 is a usage error, 3 a gate that was not met (``--fail-under``)."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is. Calls, tokens and money are those of this invocation."""

    total: int
    done: int
    """Inputs with a certificate, those of earlier invocations included."""
    failed: int
    in_flight: int
    votes: int
    """Noised texts voted on by now."""
    spent: Usage
    cost: float | None
    """US dollars; None when the price of a model is not known."""
    stopping: bool
    """Asked to stop: what is in flight is being finished."""
    workers: int | None = None
    """Workers of a cluster that are certifying now; None where there is none."""


ProgressCallback = Callable[[Snapshot], None]
"""Called a few times a second, and once more at the end."""


@dataclass(frozen=True, slots=True, repr=False)
class RunSummary(Shown):
    """The result of one invocation, or (:func:`clucert.load_run`) how a run stands that was made before."""

    run_dir: Path
    total: int
    done: int
    failed: int
    new: int
    """Inputs that this invocation finished, failed ones included."""
    spent: Usage
    cost: float | None
    stopped: Stopped | None = None
    """Why there are inputs left, other than that they failed."""
    reason: str | None = None
    """The same in words."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Why inputs failed, by id."""
    notes: tuple[str, ...] = ()
    """Remarks for the user: rows left out, a repaired record, other versions than before."""

    def to_pandas(self) -> Any:
        """One row an input: id, gold label, answer, and by threat how many operations are proved."""
        from clucert.evaluate.frames import input_rows

        return frame(input_rows(self.run_dir))

    def votes(self) -> Any:
        """One row a vote, of all inputs, as a data frame: the input's id, noised text, positions kept, vote, kept."""
        from clucert.evaluate.frames import run_votes

        return frame(run_votes(self.run_dir))

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """How far it is, by threat the share of its rows that are right and proved, and what there is to know."""
        from clucert.evaluate.frames import standing

        failed = f", {self.failed} failed" if self.failed else ""
        state = f"{self.done} of {self.total} rows certified{failed} in {self.run_dir}"
        first = [f"the first that failed ({name}): {why}" for name, why in self.errors.items()][:1]
        return state, standing(self.run_dir, self.total), [*([self.reason] if self.reason else []), *first, *self.notes]

    @property
    def exit_code(self) -> int:
        """0 when every input has its certificate, 1 when some failed, 4 out of budget, 130 interrupted."""
        if self.stopped == "interrupted":
            return EXIT_INTERRUPTED
        if self.stopped == "budget":
            return EXIT_BUDGET
        return EXIT_FAILURE if self.stopped or self.failed else EXIT_OK


def evaluate(
    config: StudyConfig, progress: ProgressCallback | None = None, *, command: Sequence[str] | None = None
) -> RunSummary:
    """Certify every example, or the ones that are left, and keep the records in the run directory.

    The first Ctrl-C finishes what is in flight, the second stops; both, and a spent budget, are told by
    ``RunSummary.stopped``. With ``config.shard``, only those rows are done; without it, records that the run's shards
    hold are taken from them. Raises :class:`clucert.errors.CluCertError` for what makes going on useless: a wrong
    configuration, a refused key, a full disk, another process in the same run directory.
    """
    return _evaluate(
        make_plan(config, command), lambda plan, stack: open_engine(plan.config, plan.task, stack), progress
    )


def read_run(run_dir: Path) -> RunSummary:
    """How a run stands that was made before. Nothing is asked, and nothing is written.

    Raises :class:`InputError` for a folder that is no run.
    """
    manifest, records = read_manifest(run_dir), read_records(run_dir)[0]
    try:
        certificate_of(next((record.document for record in records.values() if record.document), None))
    except InputError:
        raise InputError(f"{run_dir} holds no certificates: clucert.load_run reads runs of evaluate") from None
    errors = {name: record.error or "" for name, record in records.items() if record.status == "failed"}
    done, total = len(records) - len(errors), manifest.data.rows
    return RunSummary(run_dir, max(total, len(records)), done, len(errors), 0, Usage(), 0.0, errors=errors)


def evaluate_callable(
    classify: object, labels: Sequence[str], config: StudyConfig, progress: ProgressCallback | None = None
) -> RunSummary:
    """The same for a function of texts, a fitted scikit-learn classifier, or a classifier of one's own.

    Where ``config`` names a task, it says what the gold labels mean, and must have the same labels. Its models are not
    asked. With an exact method the function must be vouched for (``deterministic``). Raises :class:`UsageError`
    besides for caps, which nothing here counts towards.
    """
    given = [name for name in ("max_requests", "max_tokens", "max_cost", "shard", "batch") if getattr(config, name)]
    if given:
        raise UsageError(f"{given[0]} is about models that are asked one by one, and this is a function: leave it out")
    classifier = classifier_of(classify, labels, config.deterministic)
    task: Task = task_of(config) if config.task else ClosedTask(classifier.name, tuple(labels), "")
    if sorted(task.labels or ()) != sorted(labels):
        raise UsageError(f"the labels of {task.name} are {', '.join(task.labels or ())}, not {', '.join(labels)}")
    said = True if getattr(classifier, "declared", False) else config.deterministic
    named = config.model_copy(update={"model": [classifier.name], "cache": False, "deterministic": said})
    plan = make_plan(named, FUNCTION_COMMAND, task)
    return _evaluate(plan, lambda _, stack: FunctionEngine(classifier, stack), progress)


def _evaluate(
    plan: Plan, engine_of: Callable[[Plan, ExitStack], Engine], progress: ProgressCallback | None
) -> RunSummary:
    if plan.config.shard:
        plan = shard_of(plan)
    # Before anything is written: a refused shard leaves no run behind.
    shards = read_shards(plan)
    with open_run(plan.run_dir, plan.manifest, plan.inputs) as run, ExitStack() as stack:
        notes = take_shards(shards, plan, run)
        left = left_to_do(plan, run)
        engine = engine_of(plan, stack) if left else None
        summary = run_inputs(plan, run, left, engine, progress) if engine else summary_of(plan, run)
        return replace(summary, notes=(*summary.notes, *notes))


def left_to_do(plan: Plan, run: RunWriter) -> list[Example]:
    """The examples that have no certificate yet; those that failed are tried again."""
    done = {identity for identity, record in run.records.items() if record.status == "done"}
    return [example for example in plan.dataset.examples if example.id not in done]


def run_inputs(
    plan: Plan, run: RunWriter, examples: Sequence[Example], engine: Engine, progress: ProgressCallback | None
) -> RunSummary:
    """Certify ``examples`` on ``engine`` and record them in ``run``."""
    runner = engine.runner(plan)
    # Only a runner in this process hears the servers itself.
    identities: Mapping[str, ServerIdentity] = getattr(runner, "server_identities", {})
    for name, one in identities.items():
        one.expect(run.manifest.answered_by.get(name))
    recorder = Recorder(run, plan.method, fail_fast=plan.config.fail_fast, identities=identities)

    def snapshot() -> Snapshot:
        activity, (done, failed) = runner.activity, _counts(run)
        return Snapshot(
            total=len(plan.dataset.examples),
            done=done,
            failed=failed,
            in_flight=activity.in_flight,
            votes=activity.votes,
            spent=engine.meter.spent,
            cost=engine.meter.dollars,
            stopping=activity.draining and engine.meter.reached is None,
            workers=activity.workers,
        )

    async def main() -> tuple[Stopped | None, str | None]:
        task = asyncio.create_task(runner.run(examples, recorder))
        ticker = asyncio.create_task(_tick(progress, snapshot)) if progress else None
        with two_step_interrupt(runner.drain, task) as interrupts:
            try:
                await task
            except asyncio.CancelledError:
                if not interrupts.count:
                    raise
            except CluCertError as error:
                if recorder.failed_fast is not error:
                    raise
                first = f"after {HOPELESS} inputs that all failed" if recorder.hopeless else "at the first failure"
                return "error", f"stopped {first}: {reason_of(error)}"
            finally:
                if ticker:
                    ticker.cancel()
        if interrupts.count:
            return "interrupted", "interrupted: run the same command again to go on"
        return ("budget", str(engine.meter.exceeded())) if engine.meter.reached else (None, None)

    try:
        stopped, reason = loops.run(main())
    except KeyboardInterrupt as interrupt:  # A notebook's, whose own loop takes the signal.
        interrupt.add_note(f"{_counts(run)[0]} rows are certified and kept in {plan.run_dir}: the same call goes on")
        raise
    finally:
        recorder.close()
    if progress:
        progress(snapshot())
    # An interrupt that comes when all is done changes nothing.
    if _counts(run) == (len(plan.dataset.examples), 0):
        stopped, reason = None, None
    return summary_of(plan, run, engine=engine, stopped=stopped, reason=reason)


async def _tick(progress: ProgressCallback, snapshot: Callable[[], Snapshot]) -> None:
    while True:
        progress(snapshot())
        await asyncio.sleep(TICK)


def _counts(run: RunWriter) -> tuple[int, int]:
    failed = run.failures
    return len(run.records) - failed, failed


def summary_of(
    plan: Plan,
    run: RunWriter,
    *,
    engine: Engine | None = None,
    stopped: Stopped | None = None,
    reason: str | None = None,
) -> RunSummary:
    """How the run stands."""
    done, failed = _counts(run)
    records = run.records
    return RunSummary(
        run_dir=plan.run_dir,
        total=len(plan.dataset.examples),
        done=done,
        failed=failed,
        new=run.appended,
        spent=engine.meter.spent if engine else Usage(),
        cost=engine.meter.dollars if engine else 0.0,
        stopped=stopped,
        reason=reason,
        errors={identity: record.error or "" for identity, record in records.items() if record.status == "failed"},
        notes=(*_notes(plan, run), *(engine.notes if engine else ()), *_spent_notes(engine)),
    )


def _notes(plan: Plan, run: RunWriter) -> Iterator[str]:
    yield from data_notes(plan)
    if skipped := len(plan.dataset.skipped):
        yield f"{skipped} malformed rows were left out, the first: {plan.dataset.skipped[0].where}"
    if run.repaired:
        yield "the last record was torn by a kill; that input was done again"
    if run.unsealed:
        yield f"{run.unsealed} records of an earlier version have no checksum: an edit of them would not be noticed"
    changed = [
        f"{name} {was} became {now}"
        for name, was in run.manifest.versions.items()
        if (now := plan.manifest.versions.get(name)) != was
    ]
    if changed:
        yield f"the run was begun with other versions: {', '.join(changed)}"


def _spent_notes(engine: Engine | None) -> Iterator[str]:
    spent = engine.meter.spent if engine else Usage()
    if spent.estimated:
        yield (
            f"tokens of {spent.estimated:,} of {spent.calls:,} calls are an estimate (a token per four characters): "
            "the server reports none or impossible ones; caps and cost go by the estimate"
        )


def data_notes(plan: Plan) -> Iterator[str]:
    """How the labels were read where they are written otherwise, and what the choice of rows may do to the figures."""
    if plan.dataset.label_map:
        yield f"labels were read as {written_map(plan.dataset.label_map)}; --label-map says otherwise"
    yield from plan.dataset.notes
