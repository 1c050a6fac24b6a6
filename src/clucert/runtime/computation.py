"""Runs single sans-I/O computations on an event loop: many at once, each against a crew that answers its requests.

``drive`` (:mod:`clucert.driver`) does the same for one computation without a loop, and sends the same replies.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from clucert.driver import Cost
from clucert.errors import UsageError
from clucert.protocols import Encoder, Steps
from clucert.runtime.classifiers import Voter
from clucert.runtime.model_queue import Lane
from clucert.types import Classify, Encode, Generate, Phase, Usage, Work

T = TypeVar("T")

_NO_HELPER = "this method asks a helper model (refine or fill): give one with --helper-model"


@dataclass(frozen=True, slots=True)
class Crew:
    """Who answers the requests. ``lanes`` are all lanes that ``voter`` and ``helper`` use."""

    voter: Voter
    lanes: Sequence[Lane] = ()
    helper: Lane | None = None
    encoder: Encoder | None = None


@dataclass(slots=True)
class Course:
    """One computation under way, and what it has cost so far."""

    make: Callable[[], Steps]
    cost: Cost = field(default_factory=Cost)
    reused: Usage = field(default_factory=Usage)
    """The part of ``cost.total`` that was not paid for now; see :class:`clucert.runtime.model_queue.Asked`."""
    work: Work = "noise"
    steps: Steps | None = None

    def spend(self, work: Work, seconds: float) -> None:
        """Account ``seconds`` to ``work``."""
        # typeshed has a Counter count in whole numbers only.
        clock: Any = self.cost.seconds
        clock[work] += seconds

    def advance(self, reply: Any) -> _Turn | _Finished:
        """Send ``reply``, pass over the phases, and return the next question or the result."""
        if self.steps is None:
            self.steps = self.make()
        while True:
            began = time.perf_counter()
            try:
                request = self.steps.send(reply)
            except StopIteration as stop:
                return _Finished(stop.value)
            finally:
                self.spend(self.work, time.perf_counter() - began)
            if not isinstance(request, Phase):
                return _Turn(request)
            self.work, reply = request.work, None


class Conductor:
    """Noise, filter and certificate run in one thread, the encoder in another, so that the event loop is free for the
    models. An Encode request is one call of the encoder, as in ``drive``: an embedding may depend on its company.

    ``voted(count)`` is told of the votes as they come.
    """

    def __init__(self, voted: Callable[[int], None] = lambda _: None) -> None:
        self._voted = voted
        self.waiting = 0
        """Computations that wait for a language model."""
        self._work = ThreadPoolExecutor(1, thread_name_prefix="clucert-work")
        self._encode = ThreadPoolExecutor(1, thread_name_prefix="clucert-encode")

    def close(self) -> None:
        """Finish what the threads are at, and end them."""
        self._work.shutdown(cancel_futures=True)
        self._encode.shutdown(cancel_futures=True)

    async def run(self, course: Course, crew: Crew) -> Any:
        """The result of ``course``. Raises whatever it or ``crew`` raises; the lanes must have been started."""
        loop = asyncio.get_running_loop()
        reply: Any = None
        while True:
            turn = await loop.run_in_executor(self._work, _advance, course, crew, reply)
            if isinstance(turn, _Finished):
                return turn.result
            match turn.request:
                case Encode():
                    reply = await self._embed(turn.request, course, crew)
                case Generate():
                    reply = await self._waited(_generate(turn.prepared, course, crew))
                case Classify():
                    reply = await self._waited(self._classify(turn.prepared, _samples(turn.request), course, crew))

    async def _waited(self, answers: Awaitable[T]) -> T:
        self.waiting += 1
        try:
            return await answers
        finally:
            self.waiting -= 1

    async def _embed(self, request: Encode, course: Course, crew: Crew) -> Any:
        encoder = crew.encoder
        if encoder is None:
            raise UsageError("this method compares texts: give an encoder")

        def encode() -> tuple[Any, float]:
            began = time.perf_counter()
            return encoder.encode(request.texts), time.perf_counter() - began

        embeddings, seconds = await asyncio.get_running_loop().run_in_executor(self._encode, encode)
        course.spend("encode", seconds)
        return embeddings

    async def _classify(self, prepared: Any, samples: int, course: Course, crew: Crew) -> list[Any]:
        voted = await crew.voter.vote(prepared)
        course.cost.classify += voted.usage
        course.cost.show(voted.unread)
        course.reused += voted.reused
        course.spend("model", voted.seconds)
        self._voted(samples)
        return voted.votes


async def _generate(prepared: Any, course: Course, crew: Crew) -> list[str]:
    if crew.helper is None:
        raise UsageError(_NO_HELPER)
    asked = await crew.helper.ask(prepared)
    course.cost.generate += asked.usage
    course.reused += asked.reused
    course.spend(course.work, asked.seconds)
    return [answer.text for answer in asked.answers]


def _samples(request: Classify) -> int:
    return len(request.texts) if request.samples is None else request.samples


def _advance(course: Course, crew: Crew, reply: Any) -> _Turn | _Finished:
    """Up to the next question; in the work thread."""
    turn = course.advance(reply)
    if isinstance(turn, _Finished) or isinstance(turn.request, Encode):
        return turn
    began = time.perf_counter()
    if isinstance(turn.request, Classify):
        work: Work = "model"
        prepared = crew.voter.prepare(turn.request.texts, turn.request.first_draw)
        course.cost.samples += _samples(turn.request)
    else:
        work, helper = course.work, crew.helper
        if helper is None:
            raise UsageError(_NO_HELPER)
        prepared = [helper.key(query) for query in turn.request.queries]
    course.spend(work, time.perf_counter() - began)
    return _Turn(turn.request, prepared)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question, and what was prepared for whoever answers it."""

    request: Classify | Generate | Encode
    prepared: Any = None


@dataclass(frozen=True, slots=True)
class _Finished:
    result: Any
