"""Where the inputs of a study are worked on: in this process or on a cluster. A study does not know which.

Whatever the engine, an input is one sans-I/O computation that a :class:`clucert.runtime.executor.Executor` runs; an
engine decides in which process. The driver alone writes records.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from clucert.core.exact import ExactSmoother
from clucert.errors import UsageError
from clucert.registry import Registry
from clucert.runtime.budget import Budget, Limits
from clucert.runtime.executor import Activity, Executor, Job, JobOutcome
from clucert.runtime.resources import Resources, function_backends, inputs_in_flight, open_resources
from clucert.types import Usage

if TYPE_CHECKING:
    from clucert.core.smoothing import Smoother
    from clucert.errors import BudgetExceededError
    from clucert.evaluate.data import Example
    from clucert.evaluate.plan import Plan
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.protocols import Task
    from clucert.runtime.classifiers import BaseClassifier

Done = Callable[[JobOutcome["Example"]], Awaitable[None]]
"""Awaited with each outcome as it comes, in no particular order."""

ENGINES = Registry(
    "engine",
    "clucert.engines",
    {"local": "clucert.evaluate.engine:open_local", "ray": "clucert.evaluate.cluster.rayengine:open_ray"},
)
"""Openers by name, each called as ``opener(config, stack)``."""


class Meter(Protocol):
    """What an invocation has spent, and whether a cap stopped it."""

    @property
    def spent(self) -> Usage:
        """Calls and tokens of the calls that came back."""
        ...

    @property
    def dollars(self) -> float | None:
        """US dollars; None when the price of a model that was asked is not known."""
        ...

    @property
    def reached(self) -> str | None:
        """The cap that stopped the work, as the user wrote it."""
        ...

    def exceeded(self) -> BudgetExceededError:
        """The cap that was reached, as an error."""
        ...


class Runner(Protocol):
    """One run on an engine."""

    @property
    def activity(self) -> Activity:
        """What it is doing."""
        ...

    def drain(self) -> None:
        """Start no further input; finish those in flight."""
        ...

    async def run(self, examples: Sequence[Example], done: Done) -> None:
        """Certify ``examples``; errors, cancelling and a spent budget are as in :meth:`Executor.run`."""
        ...


class Engine(Protocol):
    """Loaded models, wherever they are; several runs may share them and what they may cost."""

    @property
    def meter(self) -> Meter:
        """What was spent on all runs."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Remarks for the user on how the work was done."""
        ...

    def runner(self, plan: Plan) -> Runner:
        """A runner of ``plan``, whose configuration may differ from the engine's in the method only."""
        ...


def open_engine(config: StudyConfig, task: Task, stack: ExitStack) -> Engine:
    """The engine that ``config`` names, for ``task``; ``stack`` frees it. An unknown name lists the known ones."""
    engine: Engine = ENGINES.get(config.engine)(config, task, stack)
    return engine


def open_local(config: StudyConfig, task: Task, stack: ExitStack) -> Engine:
    """Everything in this process. Raises :class:`UsageError` for what only a cluster has."""
    for name in ("ray_address", "workers", "worker_cpus", "worker_gpus"):
        if getattr(config, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for --engine ray")
    return LocalEngine(open_resources(config, stack, task))


class LocalEngine:
    """One executor in this process."""

    notes: Sequence[str] = ()

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @property
    def meter(self) -> Meter:
        """The budget."""
        return self._resources.budget

    def runner(self, plan: Plan) -> Runner:
        """An executor with queues of its own."""
        smoother = self._resources.certifier(plan.config, plan.task)
        backends = self._resources.backends(
            plan.config, plan.task, smoother, batches=plan.run_dir if plan.config.batch else None
        )
        exact = isinstance(smoother, ExactSmoother)
        return _LocalRunner(
            Executor(backends, in_flight=inputs_in_flight(plan.config, backends, exact=exact)), smoother
        )


class FunctionEngine:
    """One executor in this process around a classifier of the user's own, which costs nothing that is counted."""

    notes: Sequence[str] = ()

    def __init__(self, classifier: BaseClassifier, stack: ExitStack) -> None:
        self._classifier, self._stack = classifier, stack
        self.meter: Meter = Budget(Limits())

    def runner(self, plan: Plan) -> Runner:
        """An executor; many inputs are in flight, whose texts go to the function together."""
        smoother, backends = function_backends(plan.config, plan.task, self._classifier, self._stack)
        return _LocalRunner(Executor(backends, in_flight=plan.config.in_flight or TOGETHER), smoother)


TOGETHER = 64
"""Inputs of which a function is asked at a time."""


class _LocalRunner:
    def __init__(self, executor: Executor, smoother: Smoother | ExactSmoother) -> None:
        self._executor, self._smoother = executor, smoother
        self.activity = executor.activity
        models = [queue.model for queue in executor.backends.queues]
        identities = {model.name: getattr(model, "server_identity", None) for model in models}
        self.server_identities = {name: found for name, found in identities.items() if found is not None}
        """By the model's name, of the models behind servers."""
        self.drain = executor.drain

    async def run(self, examples: Sequence[Example], done: Done) -> None:
        jobs = (Job(e, functools.partial(self._smoother.steps, e.text, e.id)) for e in examples)
        await self._executor.run(jobs, done)
