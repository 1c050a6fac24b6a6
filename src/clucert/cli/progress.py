"""A progress bar on standard error: samples, model calls, seconds left. Silent when nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clucert.cli import terminal
from clucert.types import Stage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from clucert.evaluate.study import Snapshot

NAMES = {"predict": "choosing the answer", "certify": "certifying it", "refine": "refining"}


class Bar:
    """One bar a stage. A stage is announced with its samples; the answers of its calls fill the bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = progress.add_task("loading", total=None)

    def __call__(self, stage: Stage, samples: int) -> None:
        """A stage begins."""
        self._finish()
        self._task = self._progress.add_task(f"{NAMES[stage]} ({samples} samples)", total=None)

    def answered(self, done: int, wanted: int) -> None:
        """``done`` of the ``wanted`` calls are answered; samples that are equal share a call."""
        if self._task is None:
            self._task = self._progress.add_task(NAMES["refine"], total=None)
        self._progress.update(self._task, completed=done, total=wanted)

    def _finish(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _progress(label: str, counted: str) -> Progress:
    """Columns around a bar, drawn on a terminal only, and cleared when the work is done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(counted),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=terminal.console(err=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def vote_bar() -> Generator[Bar]:
    """The bar of one certificate."""
    with _progress("{task.description}", "calls") as progress:
        yield Bar(progress)


@contextmanager
def study_bar() -> Generator[Callable[[Snapshot], None]]:
    """A bar of inputs with what was spent."""
    progress = _progress("inputs", "{task.fields[spent]}")
    task = progress.add_task("", total=None, spent="")

    def show(snapshot: Snapshot) -> None:
        money = "" if snapshot.cost is None else f", ${snapshot.cost:.2f}"
        failed = f", {snapshot.failed} failed" if snapshot.failed else ""
        stopping = ", stopping" if snapshot.stopping else ""
        workers = "" if snapshot.workers is None else f", {snapshot.workers} workers"
        spent = f"{snapshot.spent.calls} calls{money}{failed}{workers}{stopping}"
        progress.update(task, completed=snapshot.done + snapshot.failed, total=snapshot.total, spent=spent)

    with progress:
        yield show


@contextmanager
def audit_bar() -> Generator[Callable[[int, int, int], None]]:
    """A bar of claims under attack, with how many broke."""
    with _progress("{task.description}", "claims") as progress:
        task = progress.add_task("attacking claims", total=None)

        def show(done: int, total: int, broken: int) -> None:
            progress.update(task, completed=done, total=total, description=f"attacking claims, {broken} broken")

        yield show
