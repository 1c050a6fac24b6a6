"""``--engine ray``: the workers are Ray actors.

Ray's own restarts are not used: an actor that comes back would have lost its models, its run and its part of the
budget. The driver replaces it instead (:mod:`clucert.evaluate.cluster.dispatch`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clucert.errors import ClusterError, UsageError
from clucert.evaluate.cluster.budget_leases import BudgetServer, Grant
from clucert.evaluate.cluster.dispatch import Dispatcher, WorkerPool
from clucert.evaluate.cluster.messages import Heartbeat, Order, Ready, Remote, Reply, Rows, WorkerLostError
from clucert.evaluate.cluster.rayconnect import Sizes, connect, import_ray, last_line, sizes_of
from clucert.evaluate.cluster.worker import Worker
from clucert.evaluate.data import Example
from clucert.evaluate.engine import Engine, Runner
from clucert.evaluate.plan import Plan, named_files
from clucert.evaluate.runconfig import StudyConfig
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


def open_ray(config: StudyConfig, stack: ExitStack) -> Engine:
    """Connect to the cluster, or start one of this process's own. Models are loaded by the first run.

    Raises :class:`clucert.errors.MissingExtraError`, :class:`ClusterError` when the cluster cannot be reached, and
    :class:`UsageError` when it has no room for a single worker.
    """
    if config.batch:
        raise UsageError("--batch waits for hours and needs no cluster: leave --engine out")
    ray = import_ray()
    connect(ray, config.ray_address, stack)
    return RayEngine(ray, config, sizes_of(ray, config), stack)


class RayEngine:
    """Actors that hold the models; they live as long as the engine."""

    def __init__(self, ray: Any, config: StudyConfig, sizes: Sizes, stack: ExitStack) -> None:
        self._ray, self._config, self._sizes = ray, config, sizes
        self._meter = BudgetServer(Limits(config.max_requests, config.max_tokens, config.max_cost))
        self._pool = WorkerPool(self._spawn, sizes.workers, self._meter)
        self._workers: dict[int, RayWorker] = {}
        self._names = itertools.count(1)
        self._rows: Any = None
        stack.callback(self._close)

    @property
    def meter(self) -> BudgetServer:
        """What the workers have spent."""
        return self._meter

    @property
    def notes(self) -> Sequence[str]:
        """Workers that died, and caches that are not shared."""
        pool, notes = self._pool, []
        if pool.lost:
            notes.append(f"{pool.lost} workers died; {pool.redone} inputs that they were working on were begun again")
        if pool.file_caches and len(pool.machines) > 1:
            notes.append(f"{len(pool.machines)} machines kept a cache each: share one, --cache postgresql+psycopg://…")
        return notes

    def runner(self, plan: Plan) -> Runner:
        """A dispatcher for ``plan``."""
        return Dispatcher(self._pool, order_of(plan, self._config.worker_env), self._share)

    def _share(self, examples: Sequence[Example]) -> None:
        """Put the inputs where every worker finds them: tasks carry a number only."""
        rows: Rows = tuple((example.id, example.text) for example in examples)
        self._rows = self._ray.put(rows)

    async def _spawn(self, number: int) -> Remote:
        """The actor in this place, or a new one; waits for as long as the cluster has no room for it."""
        held = self._workers.get(number)
        if held is not None and not held.killed:
            return held
        name = f"worker {next(self._names)}"
        # No constructor argument but the name: Ray keeps these in its own store.
        remote = self._ray.remote(
            num_cpus=self._sizes.cpus,
            num_gpus=self._sizes.gpus,
            max_restarts=0,
            max_concurrency=MOST_CALLS,
            scheduling_strategy="SPREAD",
        )
        worker = RayWorker(self._ray, name, remote(Worker).remote(name), lambda: self._rows)
        self._workers[number] = worker
        with suppress(WorkerLostError):
            # One that dies on the way counts as spawned, too: it says so when it is asked for something.
            await worker.placed()
        return worker

    def _close(self) -> None:
        closing = [worker.close() for worker in self._workers.values() if not worker.killed]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
        for worker in self._workers.values():
            worker.kill()


class RayWorker:
    """A :class:`Remote` that is an actor."""

    def __init__(self, ray: Any, name: str, actor: Any, rows: Callable[[], Any]) -> None:
        self.name, self.killed = name, False
        self._ray, self._actor, self._rows = ray, actor, rows

    async def placed(self) -> None:
        """Wait for a process."""
        await self._call("ready")

    async def prepare(self, order: Order) -> Ready:
        """Load and begin. The rows go by reference."""
        ready: Ready = await self._call("prepare", order, self._rows())
        return ready

    async def certify(self, number: int) -> Reply:
        """Certify one input."""
        reply: Reply = await self._call("certify", number)
        return reply

    async def heartbeat(self, grant: Grant) -> Heartbeat:
        """Bring room under the caps."""
        heartbeat: Heartbeat = await self._call("heartbeat", grant)
        return heartbeat

    async def end(self, *, now: bool) -> Heartbeat:
        """End the run."""
        heartbeat: Heartbeat = await self._call("end", now)
        return heartbeat

    def close(self) -> Any:
        """Free models and cache; what is returned can be waited for."""
        return self._actor.close.remote()

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        self.killed = True
        self._ray.kill(self._actor)

    async def _call(self, method: str, *arguments: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except errors.RayTaskError as error:
            raise ClusterError(f"{self.name}: {last_line(error)}") from None
        except errors.RayError as error:
            raise WorkerLostError(last_line(error)) from None


def order_of(plan: Plan, more: Sequence[str] = (), env: Mapping[str, str] = os.environ) -> Order:
    """What the workers of ``plan`` are told; ``more`` names further variables that they need."""
    return Order(
        config=plan.config,
        folder=str(Path.cwd()),
        version=version("clucert"),
        files=named_files(plan.config),
        parameters=plan.manifest.parameters,
        environment={name: env[name] for name in (*ENVIRONMENT, *more) if name in env},
    )
