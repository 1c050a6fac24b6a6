"""Runs many sans-I/O computations at once, so that the model always has full batches or all its connections busy.

``drive`` (:mod:`clucert.driver`) and this scheduler send the same replies to the same generators: a certificate does
not depend on which of them ran it, nor on how many inputs were in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from clucert.driver import Cost
from clucert.errors import BudgetExceededError, CluCertError, FatalModelError, InputError, ModelError
from clucert.protocols import Steps
from clucert.runtime.computation import Conductor, Course, Crew
from clucert.types import Usage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One input: ``steps`` makes its computation, ``tag`` is handed back with the outcome."""

    tag: T
    steps: Callable[[], Steps]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a job: its result, or the error of this input alone; and what it cost."""

    tag: T
    result: Any
    error: CluCertError | None
    cost: Cost
    reused: Usage
    """The part of ``cost.total`` that was not paid for now; see :class:`clucert.runtime.model_queue.Asked`."""


@dataclass(slots=True)
class Activity:
    """What the scheduler is doing, for whoever shows it."""

    in_flight: int = 0
    votes: int = 0
    abandoned: int = 0
    """Inputs given up because the budget was spent; their answers are in the cache."""
    draining: bool = False
    workers: int | None = None
    """Workers of a cluster that are certifying now; None where there is none."""


class Scheduler:
    """At most ``in_flight`` inputs at a time, which bounds the memory of a run whatever its length."""

    def __init__(self, crew: Crew, *, in_flight: int = 8) -> None:
        self.crew = crew
        self.activity = Activity()
        self._in_flight = in_flight

    def drain(self) -> None:
        """Start no further input; finish those in flight."""
        self.activity.draining = True

    async def run(self, jobs: Iterable[Job[T]], done: Callable[[Outcome[T]], Awaitable[None]]) -> None:
        """Run all ``jobs``; await ``done`` with each outcome as it comes, in no particular order.

        A ModelError or InputError is an outcome. A refused key, a wrong configuration, a full disk and whatever
        ``done`` raises stop the run: the error is raised once the calls in flight have come back and are stored. So
        does cancelling, which gives up the calls in flight. When the budget is spent, inputs that lack an answer are
        abandoned, the others are finished, and ``run`` returns.
        """
        queue = iter(jobs)
        async with self.opened():
            workers = [asyncio.create_task(self._worker(queue, done)) for _ in range(self._in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Lanes and threads, which ``outcome`` needs. Left by a cancellation, calls in flight are given up."""
        now = False
        self._conductor = Conductor(self._count)
        for lane in self.crew.lanes:
            lane.settled = self._settled
            lane.start()
        try:
            yield
        except asyncio.CancelledError:
            now = True
            raise
        finally:
            for lane in self.crew.lanes:
                await lane.stop(now=now)
            self._conductor.close()

    def _settled(self) -> bool:
        """Whether every input in flight waits for a model that gathers its questions: no more of them will come."""
        waits = self._conductor.waiting == self.activity.in_flight
        return waits and not any(lane.busy for lane in self.crew.lanes)

    async def _worker(self, queue: Iterator[Job[T]], done: Callable[[Outcome[T]], Awaitable[None]]) -> None:
        activity = self.activity
        while not activity.draining and (job := next(queue, None)) is not None:
            activity.in_flight += 1
            try:
                outcome = await self.outcome(job)
            except BudgetExceededError:
                activity.abandoned += 1
                self.drain()
            else:
                await done(outcome)
            finally:
                activity.in_flight -= 1

    async def outcome(self, job: Job[T]) -> Outcome[T]:
        """What becomes of ``job``, while the scheduler is ``opened``; as many at a time as the caller likes.

        Raises :class:`BudgetExceededError` for an input that lacks an answer when the budget is spent, and what stops
        a run (see ``run``).
        """
        course = Course(job.steps)
        result, error = None, None
        try:
            result = await self._conductor.run(course, self.crew)
        except FatalModelError:
            raise
        except (ModelError, InputError) as failure:
            error = failure
        return Outcome(job.tag, result, error, course.cost, course.reused)

    def _count(self, votes: int) -> None:
        self.activity.votes += votes
