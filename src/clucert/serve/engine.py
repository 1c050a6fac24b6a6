"""The guard on an event loop: the noised prompts of many requests wait in one queue for the upstream's connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from clucert.config import Config
from clucert.errors import ModelError
from clucert.guard.model import Guard, NoiseKey, load_guard
from clucert.guard.result import Guarded, Policy
from clucert.protocols import LanguageModel
from clucert.refusals import PhraseDetector, RefusalDetector
from clucert.runtime.classifiers import Judge
from clucert.runtime.computation import Backends
from clucert.runtime.executor import Executor
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queued_models import AsyncModel, QueueOptions
from clucert.serve.metrics import MeteredModel, Metrics
from clucert.types import Query

READY_SECONDS = 2.0
"""How long the result of a health check of the upstream is reused."""


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What the guard does with a vote."""

    policy: Policy = field(default_factory=Policy)
    detector: RefusalDetector = field(default_factory=PhraseDetector)
    seed: int | None = None
    """Fixes the noise and shows its seed, for studies; None draws a secret key: nobody can foresee it then."""


class Reachable:
    """A service of models, which are asked whether they answer at most every ``READY_SECONDS``."""

    def __init__(self, seconds: float, **models: object) -> None:
        """``seconds`` is how long an answer may take; models that are in this process are always there."""
        self._reaches = {name: getattr(model, "reach", None) for name, model in models.items()}
        self._reach_seconds = seconds
        self._checked = (-READY_SECONDS, dict.fromkeys(models, False))
        self._checking = asyncio.Lock()

    async def states(self) -> Mapping[str, bool]:
        """Whether each model answers, asked anew every ``READY_SECONDS``."""
        async with self._checking:
            when, found = self._checked
            if time.monotonic() - when >= READY_SECONDS:
                answered = await asyncio.gather(*map(self._reachable, self._reaches.values()))
                found = dict(zip(self._reaches, answered, strict=True))
                self._checked = (time.monotonic(), found)
        return found

    async def _reachable(self, reach: Callable[[float], Awaitable[None]] | None) -> bool:
        try:
            if reach is not None:
                await reach(self._reach_seconds)
        except ModelError:
            return False
        return True


class GuardService(Reachable):
    """Answers of :class:`clucert.guard.SmoothedModel`, many at a time. ``start`` and ``stop`` it on its event loop.

    The noise of a request is seeded by a keyed digest of the words that are noised. The key is secret unless
    ``options.seed`` fixes it, for studies: nobody can predict the noise and search for a prompt that it happens to
    leave intact; asking the same again gives the same noise, so that repeating a request does not give a better draw.
    """

    def __init__(self, config: Config, options: GuardOptions, metrics: Metrics, stack: ExitStack) -> None:
        resources, self._defence = load_guard(config, stack, options.detector, options.policy)
        self._config, self._metrics = config, metrics
        self._models = resources.models
        self._encoder = resources.encoder(self._defence.smoother)
        self._key = NoiseKey(options.seed)
        super().__init__(min(5.0, config.timeout), upstream=self._models[config.model[0]])

    async def start(self) -> None:
        """Open the queues to the models."""
        queues = {name: self._queue(model) for name, model in self._models.items()}
        self._asking = queues[self._config.model[0]]
        judge = Judge(queues[self._config.judge]) if self._config.judge else None
        helper = queues.get(self._config.helper_model or "")
        self._guard = Guard(self._defence, self._asking, helper, judge, self._encoder)
        self._executor = Executor(Backends(queues=list(queues.values())))
        await self._executor.start()

    async def stop(self) -> None:
        """Close them; calls in flight, which nobody waits for any more, are given up."""
        await self._executor.stop(now=True)

    async def respond(self, query: Query) -> Guarded:
        """Answer the last user turn of ``query``, whose own seed is not used.

        Cancelling it hangs up on the upstream wherever nobody else waits for the same. Raises like
        :meth:`clucert.guard.SmoothedModel.respond`.
        """
        return await self._guard.respond(self._executor, query, self._key)

    def _queue(self, model: LanguageModel) -> ModelQueue:
        counted = MeteredModel(model, self._metrics) if isinstance(model, AsyncModel) else model
        base_url = str(getattr(model, "base_url", ""))
        options = QueueOptions(connections=self._config.max_connections, base_url=base_url, abandon=True)
        return ModelQueue(counted, options=options)
