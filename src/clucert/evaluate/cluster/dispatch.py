"""The driver's side of a run on many workers: who certifies which input, and what happens when a worker dies.

Inputs are handed out one by one, to each worker as many as keep its models busy and no more than its share of what is
left. An input whose worker dies goes back to the front of the line, and the worker is replaced where there is room.
Whoever transports the messages is a :class:`clucert.evaluate.cluster.messages.Remote`.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from clucert.errors import ClusterError, UsageError
from clucert.evaluate.cluster.budget_leases import BudgetServer, Grant
from clucert.evaluate.cluster.messages import Heartbeat, Order, Ready, Remote, WorkerLostError
from clucert.evaluate.data import Example
from clucert.evaluate.engine import Done
from clucert.runtime.executor import Activity, Outcome
from clucert.types import Cost

MAX_DEATHS = 3
"""Workers that may die over one input, or in one place in a row, before it is given up."""
PATIENCE = 120.0
"""Seconds that a run goes on without a single worker, for the cluster to find room for one."""
GRACE = 60.0
"""Seconds for calls in flight to come back and be stored when a run ends."""


@dataclass(slots=True)
class WorkerPool:
    """What is known of the workers; shared by the runs of one engine."""

    spawn: Callable[[int], Awaitable[Remote]]
    """Find a worker for a place, which is a number; waits for as long as the cluster has no room."""
    places: int
    budget_server: BudgetServer
    lost: int = 0
    redone: int = 0
    """Inputs that were under way on a worker that died."""
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


@dataclass(slots=True)
class _Load:
    """The inputs that one worker has, and how many it may have."""

    most: int
    under_way: set[int] = field(default_factory=set)


class Dispatcher:
    """One run over the workers of ``pool``. ``share`` puts the inputs where ``Remote.prepare`` finds them."""

    def __init__(self, pool: WorkerPool, order: Order, share: Callable[[Sequence[Example]], None]) -> None:
        self._pool, self._order, self._share = pool, order, share
        self.activity = Activity(workers=0)
        self._todo: deque[int] = deque()
        self._left = 0
        self._given_up = 0
        """Inputs that were the end of too many workers."""
        self._deaths: Counter[int] = Counter()
        self._votes: dict[str, int] = {}
        self._remotes: dict[str, Remote] = {}
        self._recording: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._finished = asyncio.Event()

    def drain(self) -> None:
        """Start no further input; finish those in flight."""
        self.activity.draining = True
        self._notify()

    async def run(self, examples: Sequence[Example], done: Done) -> None:
        """Certify ``examples``; returns, raises and is cancelled like :meth:`Executor.run`."""
        now = False
        self._examples, self._done = examples, done
        self._share(examples)
        self._todo.extend(range(len(examples)))
        self._left = len(examples)
        ends: list[Coroutine[Any, Any, object]] = [self._finished.wait(), self._fail_without_workers()]
        ends += [self._place(number) for number in range(self._pool.places)]
        tasks = [asyncio.create_task(end) for end in ends]
        try:
            await _first_of(tasks)
        except asyncio.CancelledError:
            now = True
            raise
        finally:
            await _cancel(tasks)
            await asyncio.gather(*self._recording, return_exceptions=True)
            await asyncio.gather(*(self._end(remote, now) for remote in self._remotes.values()))
        for task in self._recording:
            # Of an outcome that came just before its worker died.
            task.result()

    async def _place(self, number: int) -> None:
        """Keep one place filled until the run is over."""
        deaths = 0
        while True:
            remote = await self._pool.spawn(number)
            self._remotes[remote.name] = remote
            before = self._left - self._given_up
            try:
                await self._use(remote)
            except WorkerLostError as lost:
                del self._remotes[remote.name]
                remote.kill()
                self._pool.budget_server.mark_dead(remote.name)
                self._pool.lost += 1
                deaths = 1 if self._left - self._given_up < before else deaths + 1
                if deaths >= MAX_DEATHS:
                    raise ClusterError(
                        f"{deaths} workers died in a row, the last one ({remote.name}): {lost}"
                    ) from lost

    async def _use(self, remote: Remote) -> None:
        """Have ``remote`` work until the run is over. Raises :class:`WorkerLostError` when it dies."""
        ready = await remote.prepare(self._order)
        if ready.trouble:
            raise ready.trouble.error()
        self._pool.register(remote.name, ready)
        load = _Load(ready.in_flight)
        self.activity.workers = (self.activity.workers or 0) + 1
        tasks = [asyncio.create_task(self._feed(remote, load)) for _ in range(load.most)]
        tasks += [asyncio.create_task(self._heartbeats(remote, ready.capacity))]
        try:
            await _first_of(tasks)
        except WorkerLostError:
            self._deaths.update(load.under_way)
            self._pool.redone += len(load.under_way)
            raise
        finally:
            await _cancel(tasks)
            self.activity.workers -= 1
            for number in sorted(load.under_way, reverse=True):
                self._put_back(number)

    async def _feed(self, remote: Remote, load: _Load) -> None:
        """Give ``remote`` one input after the other."""
        while True:
            number = await self._next(load)
            reply = await remote.certify(number)
            if reply.trouble:
                raise reply.trouble.error()
            load.under_way.discard(number)
            if reply.outcome is None:
                self.activity.abandoned += 1
                self.activity.in_flight -= 1
                self.drain()
            else:
                came, error = reply.outcome, reply.failure.error() if reply.failure else None
                outcome = Outcome(self._examples[number], came.result, error, came.cost)
                # Once it is here it is recorded, whatever becomes of its worker.
                await asyncio.shield(self._record(outcome))

    async def _next(self, load: _Load) -> int:
        """The number of an input that is to be done now."""
        while True:
            share = math.ceil((len(self._todo) + self.activity.in_flight) / self._pool.places)
            if self._todo and not self.activity.draining and len(load.under_way) < min(load.most, share):
                number = self._todo.popleft()
                load.under_way.add(number)
                self.activity.in_flight += 1
                return number
            await self._changed.wait()

    def _record(self, outcome: Outcome[Example]) -> asyncio.Task[None]:
        async def record() -> None:
            try:
                await self._done(outcome)
                self._left -= 1
            finally:
                self.activity.in_flight -= 1
                self._notify()

        def recorded(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is None:
                self._recording.discard(task)

        task = asyncio.create_task(record())
        self._recording.add(task)
        task.add_done_callback(recorded)
        return task

    def _put_back(self, number: int) -> None:
        """An input whose worker is gone: first in the line, unless it was the end of too many."""
        if self._deaths[number] < MAX_DEATHS:
            self.activity.in_flight -= 1
            self._todo.appendleft(number)
            self._notify()
            return
        # The input is to blame, and not the place where its workers died.
        self._given_up += 1
        error = ClusterError(f"{MAX_DEATHS} workers died while they were working on this input")
        self._record(Outcome(self._examples[number], None, error, Cost()))

    def _notify(self) -> None:
        """Wake all that wait for a change, and see whether the run is over."""
        if self._left == 0 or (self.activity.draining and self.activity.in_flight == 0):
            self._finished.set()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _heartbeats(self, remote: Remote, capacity: int) -> None:
        """Exchange heartbeats: learn what ``remote`` has spent, and let it spend more while the caps allow."""
        budget_server, grant = self._pool.budget_server, Grant()
        while True:
            self._hear(remote, await remote.heartbeat(grant))
            grant = budget_server.grant(remote.name, capacity)

    def _hear(self, remote: Remote, heartbeat: Heartbeat) -> None:
        self._pool.budget_server.note(remote.name, heartbeat.report)
        self._votes[remote.name] = heartbeat.votes
        self.activity.votes = sum(self._votes.values())

    async def _end(self, remote: Remote, now: bool) -> None:
        try:
            self._hear(remote, await asyncio.wait_for(remote.end(now=now), GRACE))
        except (WorkerLostError, TimeoutError):
            self._pool.budget_server.mark_dead(remote.name)
            remote.kill()

    async def _fail_without_workers(self) -> None:
        """Raise when there has been no worker for too long."""
        seconds = 0.0
        while seconds < PATIENCE:
            await asyncio.sleep(1)
            seconds = 0 if self._remotes else seconds + 1
        raise ClusterError(
            f"the cluster had no room for a worker for {PATIENCE:.0f} seconds: what was done is kept, run the same "
            "command again when it has"
        )


async def _first_of(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until one of ``tasks`` ends; raises its error."""
    finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    # Of several errors at once, a worker's death explains the others.
    errors = [error for task in finished if (error := task.exception())]
    errors.sort(key=lambda error: not isinstance(error, WorkerLostError))
    if errors:
        raise errors[0]


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
