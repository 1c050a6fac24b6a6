"""What a run of attacks would ask, counted before anything is spent.

The victims are those of the run around a model that always gives the right answer, so no attack ends early: every word
is tried, and the success that an attack might still have is confirmed. Nothing is sent. How many candidates a word has
can depend on what was changed before it, so this is about the most that is asked, and no strict bound; with
``--max-queries`` it is one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from clucert.attacks.defences import open_defences
from clucert.attacks.steps import LazyEncoder
from clucert.attacks.study import AttackJob, AttackStudy, Progress, Todo, planned
from clucert.evaluate.dry_run import Counting, DryRun
from clucert.evaluate.run_directory import read_records
from clucert.protocols import Task
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.computation import Backends
from clucert.types import Request

ROWS = 5
"""Rows that are looked at; the others are taken to be like them."""


def dry_run_attacks(study: AttackStudy, rows: int | None = ROWS, progress: Progress | None = None) -> DryRun:
    """Estimate what is left of ``study`` from the attacks on its first ``rows`` rows, or on all of them (None).

    ``inputs`` of the result are attacks. ``progress`` is told of each that was counted: noise is drawn for all of them.
    Raises :class:`clucert.errors.UsageError` as the run itself would.
    """
    wanted = planned(study)
    records = read_records(wanted.folder)[0] if wanted.folder.is_dir() else {}
    left = wanted.left(records)
    first = list(dict.fromkeys(job.example.id for job in left))[:rows]
    seen = [job for job in left if job.example.id in first]
    with ExitStack() as stack:
        return _count(study, wanted.plan.task, left, seen, stack, progress)


def _count(
    study: AttackStudy,
    task: Task,
    left: Sequence[AttackJob],
    seen: Sequence[AttackJob],
    stack: ExitStack,
    progress: Progress | None,
) -> DryRun:
    opened = open_defences(study.config, task, study.defences, stack)
    counting = Counting.of(opened.resources, opened.config, task, opened.resources.opened)
    todo = Todo.of(study, opened.victims(counting.backends))
    executor = BlockingExecutor(Backends(queues=counting.backends.queues, encoder=LazyEncoder()))
    try:
        for done, job in enumerate(seen, 1):
            counting.classifier.answer = job.example.label or counting.classifier.answer
            executor.run(partial(_steps, todo, job))
            if progress:
                progress(done, len(seen))
    finally:
        executor.close()
    return counting.scaled(len(left), len(seen))


def _steps(todo: Todo, job: AttackJob) -> Generator[Request, Any, None]:
    """The attack, which fails, and the question by which a success would be confirmed."""
    yield from todo.steps(job)
    if fresh := todo.fresh.get(job.defence):
        yield from fresh.steps([job.example.text])
