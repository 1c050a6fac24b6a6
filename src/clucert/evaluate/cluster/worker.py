"""A worker: the models of a study in a process of its own, behind the same executor as a local run's.

Knows nothing of how it is reached. It raises nothing: an error travels as :class:`Trouble`, without the causes and
frames in which a key may show.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import uuid
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from importlib.metadata import version

from clucert.build import any_method_of, base_of
from clucert.cache.keys import ModelIdentity
from clucert.core.exact import ExactSmoother
from clucert.core.smoothing import Smoother
from clucert.errors import BudgetExceededError, UsageError
from clucert.evaluate.cluster.messages import InputReply, Order, Ready, Trouble
from clucert.evaluate.cluster.shared_budget import WorkerBudget
from clucert.evaluate.plan import NOT_PARAMETERS, named_files
from clucert.runtime.budget import Limits
from clucert.runtime.executor import Executor, Job
from clucert.runtime.resources import Resources, inputs_in_flight, open_resources

REPORT_SECONDS = 0.25
"""Between two reports of what was spent, when no call waits for room."""


class Worker:
    """All its methods but the constructor run on one event loop, as the model's queues want it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = (name, uuid.uuid4().hex)
        self._stack = ExitStack()
        self._resources: Resources | None = None
        self._budget = WorkerBudget(Limits())
        self._lock = asyncio.Lock()
        self._order: Order | None = None
        self._over: str | None = None
        """The run that was ended last: a call that comes late must not begin it again."""
        self._run = AsyncExitStack()
        self._executor: Executor | None = None
        self._smoother: Smoother | ExactSmoother | None = None
        self._votes = 0
        """Of the runs before this one."""
        self._reporting: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        # Shown in logs and dashboards.
        return f"clucert {self.name}"

    async def prepare(self, order: Order) -> Ready:
        """Load the models of ``order``, unless that is done, and begin its run."""
        machine, config = socket.gethostname(), order.config
        try:
            executor, smoother = await self._started(order)
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            return Ready(0, machine, False, trouble=self._trouble(error))
        return Ready(
            in_flight=inputs_in_flight(config, executor.backends, exact=isinstance(smoother, ExactSmoother)),
            machine=machine,
            file_cache=config.cache is None or isinstance(config.cache, os.PathLike),
            models=_models_of(executor),
        )

    async def certify(self, order: Order, identity: str, text: str) -> InputReply:
        """Run one input to its end."""
        try:
            executor, smoother = await self._started(order)
            outcome = await executor.outcome(Job(identity, functools.partial(smoother.steps, text, identity)))
        except BudgetExceededError:
            return InputReply()
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            return InputReply(trouble=self._trouble(error))
        if outcome.error is None:
            return InputReply(outcome)
        return InputReply(replace(outcome, error=None), Trouble.of(outcome.error))

    async def end(self, now: bool) -> None:
        """End the run: no further call; those in flight are stored, or with ``now`` given up."""
        async with self._lock:
            self._over = self._order.run if self._order else None
            await self._stop(now)

    async def close(self) -> None:
        """Free models and cache."""
        await asyncio.get_running_loop().run_in_executor(None, self._stack.close)

    async def _started(self, order: Order) -> tuple[Executor, Smoother | ExactSmoother]:
        """The executor of the run that ``order`` is about, begun by the first call of this process that needs it."""
        async with self._lock:
            if order.run == self._over:
                raise UsageError("the run is over")
            if self._executor is None or self._smoother is None or self._order is None or self._order.run != order.run:
                await self._stop(now=True)
                self._order = order
                try:
                    self._executor, self._smoother = await self._start(order)
                except BaseException:
                    await self._stop(now=True)
                    raise
            return self._executor, self._smoother

    async def _start(self, order: Order) -> tuple[Executor, Smoother | ExactSmoother]:
        config = order.config
        if self._resources is None:
            self._budget = WorkerBudget(Limits(config.max_requests, config.max_tokens, config.max_cost))
        self._reporting = asyncio.create_task(self._report(order))
        if self._resources is None:
            # Loading takes its time: the loop must stay free to report that this process is alive.
            self._resources = await asyncio.get_running_loop().run_in_executor(None, _load, order, self._stack)
            self._resources.budget = self._budget
        task = self._resources.task
        method = any_method_of(config, base_of(config, task)).model_dump(mode="json", exclude=NOT_PARAMETERS)
        if method != order.parameters:
            raise UsageError(f"method {config.method!r} is not the driver's here: share its file at the same path")
        smoother = self._resources.certifier(config, task)
        executor = Executor(self._resources.backends(config, task, smoother))
        if order.models and order.models != _models_of(executor):
            raise UsageError("it has other models than the first worker: share the same files")
        await self._run.enter_async_context(executor.opened())
        return executor, smoother

    async def _stop(self, now: bool) -> None:
        with suppress(asyncio.CancelledError):
            # An executor that is left by a cancellation gives its calls up.
            error = asyncio.CancelledError() if now else None
            await self._run.__aexit__(type(error) if error else None, error, None)
        if self._reporting is not None and self._order is not None:
            self._reporting.cancel()
            await asyncio.gather(self._reporting, return_exceptions=True)
            await self._settle(self._order)
        self._votes += self._executor.activity.votes if self._executor else 0
        self._run, self._executor, self._reporting = AsyncExitStack(), None, None

    async def _report(self, order: Order) -> None:
        """Settle what was spent, and take the room that calls wait for, until cancelled."""
        while True:
            await self._settle(order)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._budget.needs_room.wait(), REPORT_SECONDS)

    async def _settle(self, order: Order) -> None:
        votes = self._votes + (self._executor.activity.votes if self._executor else 0)
        capacity = sum(queue.capacity for queue in self._executor.backends.queues) if self._executor else 1
        self._budget.take(await order.budget.account(self._process, self._budget.report(votes), capacity))

    def _trouble(self, error: Exception) -> Trouble:
        return Trouble.of(error, f"{self.name} on {socket.gethostname()}: ")


def _models_of(executor: Executor) -> tuple[ModelIdentity, ...]:
    """What tells the models from others of the same name, weights included."""
    return tuple(queue.identity for queue in executor.backends.queues)


def _load(order: Order, stack: ExitStack) -> Resources:
    mine = version("clucert")
    if mine != order.version:
        raise UsageError(f"it has clucert {mine} and the driver {order.version}: install the same one on every node")
    with suppress(OSError):
        os.chdir(order.folder)
    os.environ.update(order.environment)
    own = named_files(order.config, order.parameters)
    for role in {**order.files, **own}:
        if order.files.get(role) != own.get(role):
            raise UsageError(f"its {role} file is missing or not the driver's: share it at the same path on every node")
    return open_resources(order.config, stack)
