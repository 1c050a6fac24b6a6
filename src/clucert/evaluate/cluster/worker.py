"""A worker: the models of a study in a process of its own, behind the same executor as a local run's.

Knows nothing of how it is reached. It raises nothing: an error travels as :class:`Trouble`, without the causes and
frames in which a key may show.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from importlib.metadata import version

from clucert.build import any_method_of, base_of, task_of
from clucert.core.exact import ExactSmoother
from clucert.core.smoothing import Smoother
from clucert.errors import BudgetExceededError, UsageError
from clucert.evaluate.cluster.budget_leases import Grant, LeasedBudget
from clucert.evaluate.cluster.messages import Heartbeat, Order, Ready, Reply, Rows, Trouble
from clucert.evaluate.plan import named_files
from clucert.runtime.budget import Limits
from clucert.runtime.executor import Executor, Job
from clucert.runtime.resources import Resources, inputs_in_flight, open_resources

TICK = 0.25
"""Seconds between two heartbeats when no call waits for room."""


class Worker:
    """All its methods but the constructor run on one event loop, as the model's queues want it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stack = ExitStack()
        self._resources: Resources | None = None
        self._budget: LeasedBudget | None = None
        self._run = AsyncExitStack()
        self._executor: Executor | None = None
        self._smoother: Smoother | ExactSmoother | None = None
        self._rows: Rows = ()
        self._under_way: set[asyncio.Task[Reply]] = set()

    def __repr__(self) -> str:
        # Shown in logs and dashboards.
        return f"clucert {self.name}"

    async def ready(self) -> str:
        """That there is a process, and on which machine."""
        return socket.gethostname()

    async def prepare(self, order: Order, rows: Rows) -> Ready:
        """Load the models of ``order``, unless that is done, and begin its run over ``rows``."""
        machine, config = socket.gethostname(), order.config
        try:
            if self._resources is None:
                # Loading takes its time: the loop must stay free for the news of our end.
                loading = asyncio.get_running_loop().run_in_executor(None, _load, order, self._stack)
                self._resources = await loading
                self._budget = LeasedBudget(self._resources.budget.limits)
                self._resources.budget = self._budget
            self._executor = self._make(self._resources, order)
            self._rows, self._run = rows, AsyncExitStack()
            await self._run.enter_async_context(self._executor.opened())
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            return Ready(0, 0, machine, False, trouble=Trouble.of(error, f"{self.name} on {machine}: "))
        backends = self._executor.backends
        return Ready(
            in_flight=inputs_in_flight(config, backends, exact=isinstance(self._smoother, ExactSmoother)),
            capacity=sum(queue.capacity for queue in backends.queues),
            machine=machine,
            file_cache=config.cache is None or isinstance(config.cache, os.PathLike),
            models=tuple(queue.identity for queue in backends.queues),
        )

    def _make(self, resources: Resources, order: Order) -> Executor:
        config = order.config
        task = task_of(config)
        method = any_method_of(config, base_of(config, task)).model_dump(
            mode="json", exclude={"name", "description", "tasks", "models"}
        )
        if method != order.parameters:
            raise UsageError(f"method {config.method!r} is not the driver's here: share its file at the same path")
        self._smoother = resources.certifier(config, task)
        return Executor(resources.backends(config, task, self._smoother))

    @property
    def _started(self) -> Executor:
        if self._executor is None:
            raise UsageError("prepare comes first")
        return self._executor

    def _job(self, number: int) -> Job[int]:
        identity, text = self._rows[number]
        if self._smoother is None:
            raise UsageError("prepare comes first")
        return Job(number, functools.partial(self._smoother.steps, text, identity))

    async def certify(self, number: int) -> Reply:
        """Run one input to its end."""
        task = asyncio.create_task(self._certify(number))
        self._under_way.add(task)
        try:
            return await task
        finally:
            self._under_way.discard(task)

    async def _certify(self, number: int) -> Reply:
        try:
            outcome = await self._started.outcome(self._job(number))
        except BudgetExceededError:
            return Reply()
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            return Reply(trouble=Trouble.of(error, f"{self.name} on {socket.gethostname()}: "))
        if outcome.error is None:
            return Reply(outcome)
        return Reply(replace(outcome, error=None), Trouble.of(outcome.error))

    async def heartbeat(self, grant: Grant) -> Heartbeat:
        """Take ``grant``; returns after ``TICK`` seconds, or at once when a call waits for room."""
        if self._budget is not None:
            self._budget.take(grant)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._budget.needs_room.wait(), TICK)
        return self._heartbeat()

    async def end(self, now: bool) -> Heartbeat:
        """End the run: no further call; those in flight are stored, or with ``now`` given up."""
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        with suppress(asyncio.CancelledError):
            # An executor that is left by a cancellation gives its calls up.
            error = asyncio.CancelledError() if now else None
            await self._run.__aexit__(type(error) if error else None, error, None)
        self._run = AsyncExitStack()
        return self._heartbeat()

    async def close(self) -> None:
        """Free models and cache."""
        await asyncio.get_running_loop().run_in_executor(None, self._stack.close)

    def _heartbeat(self) -> Heartbeat:
        budget = self._budget or LeasedBudget(Limits())
        return Heartbeat(budget.report(), self._executor.activity.votes if self._executor else 0)


def _load(order: Order, stack: ExitStack) -> Resources:
    mine = version("clucert")
    if mine != order.version:
        raise UsageError(f"it has clucert {mine} and the driver {order.version}: install the same one on every node")
    with suppress(OSError):
        os.chdir(order.folder)
    os.environ.update(order.environment)
    for role, digest in named_files(order.config).items():
        if order.files.get(role) != digest:
            raise UsageError(f"its {role} file is missing or not the driver's: share it at the same path on every node")
    return open_resources(order.config, stack)
