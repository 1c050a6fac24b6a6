"""The guard on an event loop: the noised prompts of many requests wait in one line for the upstream's connections."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

from clucert.config import Config
from clucert.errors import ModelError
from clucert.guard.classifier import Heard, RefusalVoter
from clucert.guard.model import NoiseKey, assemble_guard
from clucert.guard.result import Guarded, chosen
from clucert.protocols import LanguageModel
from clucert.runtime.classifiers import Judge
from clucert.runtime.computation import Conductor, Course, Crew
from clucert.runtime.model_queue import AsyncModel, Lane, LaneOptions
from clucert.serve.metrics import MeteredModel, Metrics
from clucert.serve.options import GuardOptions
from clucert.types import Query

READY_SECONDS = 2.0
"""How long what is known of the upstream is taken for true."""


class Engine:
    """Answers of :class:`clucert.guard.SmoothedModel`, many at a time. ``start`` and ``stop`` it on its event loop.

    The noise of a request is seeded by a keyed digest of its messages. The key is secret unless ``options.seed``
    fixes it, for studies: nobody can foresee the noise and look for a prompt that it happens to spare, and asking
    the same again gives the same noise, so that patience does not buy a better draw.
    """

    def __init__(self, config: Config, options: GuardOptions, metrics: Metrics, stack: ExitStack) -> None:
        assembly, self._defence = assemble_guard(config, stack, options.detector, options.policy)
        self._config, self._metrics = config, metrics
        self._models = assembly.models
        self._encoder = assembly.backends.encoder
        self._key = NoiseKey(options.seed)
        self._checked = (-READY_SECONDS, False)
        self._checking = asyncio.Lock()

    async def start(self) -> None:
        """Open the lanes to the models."""
        self._conductor = Conductor()
        self._lanes = {name: self._lane(model) for name, model in self._models.items()}
        for lane in self._lanes.values():
            lane.start()
        self._judge = Judge(self._lanes[self._config.judge]) if self._config.judge else None

    async def stop(self) -> None:
        """Close them; calls in flight, which nobody waits for any more, are given up."""
        for lane in self._lanes.values():
            await lane.stop(now=True)
        self._conductor.close()

    async def respond(self, query: Query) -> Guarded:
        """Answer the last user turn of ``query``, whose seed is the client's or None.

        Cancelling it hangs up on the upstream wherever nobody else waits for the same. Raises like
        :meth:`clucert.guard.SmoothedModel.respond`.
        """
        turn, smoother = self._defence.prepare(query, self._key)
        heard = Heard()
        lane = self._lanes[self._config.model[0]]
        crew = Crew(
            voter=RefusalVoter(lane, self._defence.task(turn), heard, self._judge),
            helper=self._lanes.get(self._config.helper_model or "", lane),
            encoder=self._encoder,
        )
        course = Course(lambda: smoother.steps(turn.text))
        certified = await self._conductor.run(course, crew)
        answer, source = chosen(certified.certificate, heard, self._defence.policy)
        if answer is None:
            asked = await lane.ask([lane.key(turn.asked(turn.text, 0))])
            answer = asked.answers[0]
            course.cost.classify += asked.usage
        return Guarded(answer, source, certified.certificate, certified.samples, course.cost)

    async def ready(self) -> bool:
        """Whether the upstream answers, asked anew every ``READY_SECONDS``."""
        async with self._checking:
            when, ready = self._checked
            if time.monotonic() - when >= READY_SECONDS:
                ready = await self._reachable()
                self._checked = (time.monotonic(), ready)
        return ready

    async def _reachable(self) -> bool:
        reach = getattr(self._models[self._config.model[0]], "reach", None)
        try:
            if reach is not None:
                await reach(min(5.0, self._config.timeout))
        except ModelError:
            return False
        return True

    def _lane(self, model: LanguageModel) -> Lane:
        counted = MeteredModel(model, self._metrics) if isinstance(model, AsyncModel) else model
        base_url = str(getattr(model, "base_url", ""))
        options = LaneOptions(connections=self._config.max_connections, base_url=base_url, abandon=True)
        return Lane(counted, options=options)
