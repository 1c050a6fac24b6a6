"""The driver's side of a run on many workers: it hands out inputs and records their outcomes.

Each worker is given as many inputs as keep its models busy, and no more than its share of all. Restarting a worker that
died, and repeating the calls that it had in progress, is left to whatever transports the calls
(:class:`clucert.evaluate.cluster.messages.Remote`). Where a worker stays away, the others take its inputs.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from clucert.errors import ClusterError, UsageError
from clucert.evaluate.cluster.messages import Order, Ready, Remote, WorkerLostError
from clucert.evaluate.cluster.shared_budget import BudgetService, Totals
from clucert.evaluate.data import Example
from clucert.evaluate.engine import Done
from clucert.runtime.executor import Activity, JobOutcome
from clucert.types import Cost

TRIES = 3
"""Workers that may be lost over one input, or over loading, before it is given up."""
PATIENCE = 120.0
"""Seconds that a run goes on without a single worker, for the cluster to find room for one."""
GRACE = 60.0
"""Seconds for calls in flight to come back and be stored when a run ends."""
POLL_SECONDS = 0.25
"""Between two looks at what was spent."""


@dataclass(slots=True)
class WorkerPool:
    """The workers of an engine and what is known of them; shared by its runs."""

    workers: Sequence[Remote]
    budget: BudgetService
    totals: Totals = field(default_factory=Totals)
    machines: set[str] = field(default_factory=set)
    file_caches: bool = False
    _models: tuple[object, ...] = ()

    def register(self, name: str, ready: Ready) -> None:
        """A worker is ready. Raises :class:`UsageError` when its models are not those of the others."""
        self._models = self._models or ready.models
        if self._models != ready.models:
            raise UsageError(f"{name} on {ready.machine} has other models than the first worker: share the same files")
        self.machines.add(ready.machine)
        self.file_caches |= ready.file_cache


class Dispatcher:
    """One run over the workers of ``pool``."""

    def __init__(self, pool: WorkerPool, order: Order) -> None:
        self._pool, self._order = pool, order
        self.activity = Activity(workers=0)
        self._todo: asyncio.Queue[Example] = asyncio.Queue()
        self._losses: Counter[str] = Counter()
        """How often an input was in progress on a worker that stayed away, by its id."""
        self._finished = asyncio.Event()

    def drain(self) -> None:
        """Start no further input; finish those in flight."""
        self.activity.draining = True
        self._check_finished()

    async def run(self, examples: Sequence[Example], done: Done) -> None:
        """Certify ``examples``; returns, raises and is cancelled like :meth:`Executor.run`."""
        now = False
        for example in examples:
            self._todo.put_nowait(example)
        self._check_finished()
        most = math.ceil(len(examples) / len(self._pool.workers))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._use(worker, most, done)) for worker in self._pool.workers]
                tasks.append(group.create_task(self._watch()))
                await self._finished.wait()
                for task in tasks:
                    task.cancel()
        except asyncio.CancelledError:
            now = True
            raise
        except ExceptionGroup as errors:
            raise _first_of(errors) from None
        finally:
            alive = (await self._pool.budget.totals()).alive
            await asyncio.gather(*(self._end(worker, now) for worker in self._pool.workers if worker.name in alive))
            self._pool.totals = await self._pool.budget.totals()

    async def _use(self, worker: Remote, most: int, done: Done) -> None:
        """Have ``worker`` certify up to ``most`` inputs at a time, whenever it is there, until the run is over."""
        while True:
            try:
                ready = await worker.prepare(self._order)
            except WorkerLostError as lost:
                raise ClusterError(f"{TRIES} workers died in a row, the last one ({worker.name}): {lost}") from lost
            if ready.trouble:
                raise ready.trouble.error()
            self._pool.register(worker.name, ready)
            # Should it be restarted on another machine, its models have to be the same there.
            order = replace(self._order, models=ready.models)
            async with asyncio.TaskGroup() as group:
                feeds = [group.create_task(self._feed(worker, order, done)) for _ in range(min(ready.in_flight, most))]
                await self._until_silent(worker)
                for feed in feeds:
                    feed.cancel()

    async def _until_silent(self, worker: Remote) -> None:
        while True:
            await asyncio.sleep(2 * POLL_SECONDS)
            if worker.name not in self._pool.totals.alive:
                return

    async def _feed(self, worker: Remote, order: Order, done: Done) -> None:
        """Give ``worker`` one input after the other."""
        while True:
            example = await self._todo.get()
            if self.activity.draining:
                continue
            self.activity.in_flight += 1
            try:
                outcome = await self._outcome(worker, order, example)
                if outcome is None:
                    self.activity.abandoned += 1
                    self.activity.draining = True
                else:
                    await done(outcome)
            finally:
                self.activity.in_flight -= 1
                self._check_finished()

    async def _outcome(self, worker: Remote, order: Order, example: Example) -> JobOutcome[Example] | None:
        """What became of ``example``; None when the budget was spent. Cancelled, it leaves it to other workers."""
        error = ClusterError(f"{TRIES} workers died while they were working on this input")
        lost = JobOutcome(example, None, error, Cost())
        if self._losses[example.id] >= TRIES:
            return lost
        try:
            reply = await worker.certify(order, example.id, example.text)
        except WorkerLostError:
            return lost
        except asyncio.CancelledError:
            self._losses[example.id] += 1
            self._todo.put_nowait(example)
            raise
        if reply.trouble:
            raise reply.trouble.error()
        if reply.outcome is None:
            return None
        failure = reply.failure.error() if reply.failure else None
        return JobOutcome(example, reply.outcome.result, failure, reply.outcome.cost)

    def _check_finished(self) -> None:
        if not self.activity.in_flight and (self.activity.draining or self._todo.empty()):
            self._finished.set()

    async def _watch(self) -> None:
        """Follow what the workers spend. Raises :class:`ClusterError` when there has been none for too long."""
        loop = asyncio.get_running_loop()
        began, before = loop.time(), self._pool.totals.votes
        while True:
            totals = self._pool.totals = await self._pool.budget.totals()
            self.activity.votes, self.activity.workers = totals.votes - before, len(totals.alive)
            if min(totals.silence, loop.time() - began) > PATIENCE:
                raise ClusterError(
                    f"the cluster had no room for a worker for {PATIENCE:.0f} seconds: what was done is kept, run the "
                    "same command again when it has"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _end(self, worker: Remote, now: bool) -> None:
        # One that is dead, or hangs, has nothing to end; the engine kills it.
        with suppress(WorkerLostError, TimeoutError):
            await asyncio.wait_for(worker.end(now=now), GRACE)


def _first_of(errors: ExceptionGroup[Exception]) -> Exception:
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, ExceptionGroup) else first
