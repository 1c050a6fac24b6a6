"""``--engine ray``: the workers are Ray actors, and so is the budget.

Ray restarts an actor that died, on whatever node has room, and repeats the calls that it had in progress. Each call
brings all that a new process needs; the answers that its predecessor stored are in the cache.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clucert.errors import ClusterError, UsageError
from clucert.evaluate.cluster import shared_budget
from clucert.evaluate.cluster.dispatch import TRIES, Dispatcher, WorkerPool
from clucert.evaluate.cluster.messages import InputReply, Order, Ready, WorkerLostError
from clucert.evaluate.cluster.rayconnect import Sizes, connect, import_ray, last_line, sizes_of
from clucert.evaluate.cluster.shared_budget import BudgetService, Grant, Process, Report, SharedBudget, Totals
from clucert.evaluate.cluster.worker import Worker
from clucert.evaluate.engine import Engine, Runner
from clucert.evaluate.plan import Plan, named_files
from clucert.evaluate.runconfig import StudyConfig
from clucert.protocols import Task
from clucert.runtime.budget import Limits

ENVIRONMENT = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "VLLM_API_KEY", "OLLAMA_API_KEY", "HF_TOKEN", "HF_HOME"),
    *("PGPASSWORD", "CLUCERT_CACHE"),
)
"""Variables that reach the workers, where the driver has them; ``worker_env`` names more."""

MOST_CALLS = 10_000
"""Methods of an actor under way at once: one for each input in flight, which ``--in-flight`` may raise, and a few."""
CLOSING = 10.0
"""Seconds for models to be freed in good order."""


def open_ray(config: StudyConfig, _: Task, stack: ExitStack) -> Engine:
    """Connect to the cluster, or start one of this process's own. Models are loaded by the first run, and workers read
    the task by themselves.

    Raises :class:`clucert.errors.MissingExtraError`, :class:`ClusterError` when the cluster cannot be reached, and
    :class:`UsageError` when it has no room for a single worker.
    """
    if config.batch:
        raise UsageError("--batch waits for hours and needs no cluster: leave --engine out")
    ray = import_ray()
    connect(ray, config.ray_address, stack)
    return RayEngine(ray, config, sizes_of(ray, config), stack)


class RayEngine:
    """Actors that hold the models, and one that holds the budget; they live as long as the engine."""

    def __init__(self, ray: Any, config: StudyConfig, sizes: Sizes, stack: ExitStack) -> None:
        self._ray, self._config = ray, config
        caps = Limits(config.max_requests, config.max_tokens, config.max_cost)
        # Beside the driver: it is lost only where the driver is lost, too.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._budget = ray.remote(num_cpus=0, scheduling_strategy=here)(SharedBudget).remote(caps, shared_budget.SILENT)
        actor = ray.remote(
            num_cpus=sizes.cpus,
            num_gpus=sizes.gpus,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            max_concurrency=MOST_CALLS,
            scheduling_strategy="SPREAD",
        )(Worker)
        # No constructor argument but the name: Ray keeps these in its own store.
        names = [f"worker {number}" for number in range(1, sizes.workers + 1)]
        self._workers = [RayWorker(ray, name, actor.remote(name)) for name in names]
        self._pool = WorkerPool(self._workers, RayBudget(self._budget))
        stack.callback(self._close)

    @property
    def meter(self) -> Totals:
        """What the workers have spent."""
        return self._pool.totals

    @property
    def notes(self) -> Sequence[str]:
        """Workers that died, and caches that are not shared."""
        pool, notes = self._pool, []
        if lost := pool.totals.lost:
            notes.append(f"{lost} workers died; the inputs that they were working on were begun again")
        if pool.file_caches and len(pool.machines) > 1:
            notes.append(f"{len(pool.machines)} machines kept a cache each: share one, --cache postgresql+psycopg://…")
        return notes

    def runner(self, plan: Plan) -> Runner:
        """A dispatcher for ``plan``."""
        return Dispatcher(self._pool, order_of(plan, self._pool.budget, self._config.worker_env))

    def _close(self) -> None:
        alive = self._pool.totals.alive
        closing = [worker.close() for worker in self._workers if worker.name in alive]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
        for actor in (self._budget, *(worker.actor for worker in self._workers)):
            self._ray.kill(actor)


class RayBudget:
    """The budget's actor as a :class:`clucert.evaluate.cluster.shared_budget.BudgetService`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def account(self, process: Process, report: Report, calls: int) -> Grant:
        """Settle, then reserve."""
        grant: Grant = await self._actor.account.remote(process, report, calls)
        return grant

    async def totals(self) -> Totals:
        """What was spent."""
        from ray.exceptions import RayError

        try:
            totals: Totals = await self._actor.totals.remote()
        except RayError as error:
            raise ClusterError(f"the budget of the run is lost: {last_line(error)}") from None
        return totals


class RayWorker:
    """A :class:`Remote` that is an actor."""

    def __init__(self, ray: Any, name: str, actor: Any) -> None:
        self.name, self.actor, self._ray = name, actor, ray

    async def prepare(self, order: Order) -> Ready:
        """Load and begin."""
        ready: Ready = await self._result(self.actor.prepare.remote(order))
        return ready

    async def certify(self, order: Order, identity: str, text: str) -> InputReply:
        """Certify one input."""
        call = self.actor.certify.remote(order, identity, text)
        try:
            reply: InputReply = await self._result(call)
        except asyncio.CancelledError:
            # The worker stops, and nobody repeats it should the worker die.
            self._ray.cancel(call)
            raise
        return reply

    async def end(self, *, now: bool) -> None:
        """End the run."""
        await self._result(self.actor.end.options(max_task_retries=0).remote(now))

    def close(self) -> Any:
        """Free models and cache; what is returned can be waited for."""
        return self.actor.close.options(max_task_retries=0).remote()

    async def _result(self, call: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return await call
        except errors.RayTaskError as error:
            raise ClusterError(f"{self.name}: {last_line(error)}") from None
        except errors.RayError as error:
            raise WorkerLostError(last_line(error)) from None


def order_of(plan: Plan, budget: BudgetService, more: Sequence[str] = (), env: Mapping[str, str] = os.environ) -> Order:
    """What the workers of ``plan`` are told; ``more`` names further variables that they need."""
    return Order(
        run=uuid.uuid4().hex,
        budget=budget,
        config=plan.config,
        folder=str(Path.cwd()),
        version=version("clucert"),
        files=named_files(plan.config, plan.manifest.parameters),
        parameters=plan.manifest.parameters,
        environment={name: env[name] for name in (*ENVIRONMENT, *more) if name in env},
    )
