"""Drives sans-I/O computations on an event loop: one, or thousands with full batches or all connections busy.

It is the only driver: ``certify``, ``evaluate``, the guard, the audit, the attacks and the dry run go through it. A
certificate depends neither on how many inputs were in flight nor on who asked (:mod:`tests.oracle` has the plain loop
that it is compared with, to the bit).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from clucert.errors import BudgetExceededError, CluCertError, FatalModelError, InputError, ModelError, UsageError
from clucert.protocols import Steps
from clucert.runtime.classifiers import BaseClassifier
from clucert.runtime.computation import Backends, Computation, Finished, Question
from clucert.runtime.model_queue import ModelQueue
from clucert.types import Classify, Cost, Encode, Generate, Scored, SideBySide, Usage, Work

T = TypeVar("T")

_NO_HELPER = "this method asks a helper model (refine or fill): give one with --helper-model"
_NO_ENCODER = "this method compares texts: give an encoder"
_NO_CLASSIFIER = "this computation votes: give a classifier"


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One input: ``steps`` makes its computation, ``tag`` is handed back with the outcome."""

    tag: T
    steps: Callable[[], Steps]


@dataclass(frozen=True, slots=True)
class JobOutcome(Generic[T]):
    """What became of a job: its result, or the error of this input alone; and what it cost."""

    tag: T
    result: Any
    error: CluCertError | None
    cost: Cost

    @property
    def reused(self) -> Usage:
        """The part of ``cost.total`` that was not paid for now."""
        return self.cost.reused


@dataclass(slots=True)
class Activity:
    """What the executor is doing, for whoever shows it."""

    in_flight: int = 0
    votes: int = 0
    abandoned: int = 0
    """Inputs given up because the budget was spent; their answers are in the cache."""
    draining: bool = False
    workers: int | None = None
    """Workers of a cluster that are certifying now; None where there is none."""


@dataclass(slots=True)
class _Threads:
    """Noise, filter and certificate run in one thread, the encoder in another: the event loop is the models'."""

    work: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="clucert-work"))
    encode: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="clucert-encode")
    )

    def close(self) -> None:
        """Finish what the threads are at, and end them."""
        self.work.shutdown(cancel_futures=True)
        self.encode.shutdown(cancel_futures=True)


class Executor:
    """Runs computations against ``backends``; of a run's inputs at most ``in_flight`` at a time, which bounds its
    memory whatever its length. Belongs to one event loop, and works while it is ``opened``.

    An Encode request is one call of the encoder: embeddings can depend on the batch, so requests are not merged.
    """

    def __init__(self, backends: Backends, *, in_flight: int = 8) -> None:
        self.backends = backends
        self.activity = Activity()
        self._in_flight = in_flight
        self._waiting = 0
        """Computations that wait for a language model."""

    def drain(self) -> None:
        """Start no further input; finish those in flight."""
        self.activity.draining = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Queues and threads, which computations need. Left by a cancellation, calls in flight are given up."""
        now = False
        await self.start()
        try:
            yield
        except asyncio.CancelledError:
            now = True
            raise
        finally:
            await self.stop(now=now)

    async def start(self) -> None:
        """Begin to ask."""
        self._threads = _Threads()
        for queue in self.backends.queues:
            queue.settled = self._settled
            queue.start()

    async def stop(self, *, now: bool = False) -> None:
        """Ask nothing more: calls in flight are waited for and stored, or given up ``now``."""
        for queue in self.backends.queues:
            await queue.stop(now=now)
        self._threads.close()

    async def run(self, jobs: Iterable[Job[T]], done: Callable[[JobOutcome[T]], Awaitable[None]]) -> None:
        """Run all ``jobs``; await ``done`` with each outcome as it comes, in no particular order.

        A ModelError or InputError is an outcome. A refused key, a wrong configuration, a full disk and whatever
        ``done`` raises stop the run: the error is raised once the calls in flight have come back and are stored. So
        does cancelling, which gives up the calls in flight. When the budget is spent, inputs that lack an answer are
        abandoned, the others are finished, and ``run`` returns.
        """
        line = iter(jobs)
        async with self.opened():
            workers = [asyncio.create_task(self._worker(line, done)) for _ in range(self._in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def outcome(self, job: Job[T]) -> JobOutcome[T]:
        """What becomes of ``job``; as many at a time as the caller likes.

        Raises :class:`BudgetExceededError` for an input that lacks an answer when the budget is spent, and what stops
        a run (see ``run``).
        """
        computation = Computation(job.steps)
        result, error = None, None
        self.activity.in_flight += 1
        try:
            result = await self.compute(computation)
        except FatalModelError:
            raise
        except (ModelError, InputError) as failure:
            error = failure
        finally:
            self.activity.in_flight -= 1
        return JobOutcome(job.tag, result, error, computation.cost)

    async def compute(self, computation: Computation, backends: Backends | None = None, *, short: bool = False) -> Any:
        """The result of ``computation`` against ``backends``, by default the executor's own; cost is kept in it.

        One that is ``short``, of a millisecond or so between its questions, runs on the event loop itself: each turn
        of the work thread costs as much, and waits in its line.

        Raises whatever the computation or its backends raise; a vote is never made up.
        """
        backends = backends or self.backends
        loop = asyncio.get_running_loop()
        reply: Any = None
        while True:
            if short:
                turn = _advance(computation, backends, reply)
            else:
                turn = await loop.run_in_executor(self._threads.work, _advance, computation, backends, reply)
            if isinstance(turn, Finished):
                return turn.result
            match turn.request:
                case SideBySide():
                    reply = await self._side_by_side(turn.request, computation, backends, short=short)
                case Encode():
                    reply = await self._embed(turn.request, computation, backends)
                case Generate():
                    reply = await self._waited(_generate(turn.prepared, computation, backends))
                case Classify():
                    reply = await self._waited(self._classify(turn, computation, backends))

    async def _side_by_side(
        self, request: SideBySide, computation: Computation, backends: Backends, *, short: bool
    ) -> list[Any]:
        parts = [Computation(make, computation.progress) for make in request.computations]
        # For `_settled` they are one input: it waits when every part waits or has ended.
        self._waiting -= len(parts) - 1
        tasks = [asyncio.create_task(self._part(part, request.backends or backends, short=short)) for part in parts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            # None goes on asking for nobody.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._waiting -= 1
            for part in parts:
                computation.cost.add(part.cost)

    async def _part(self, part: Computation, backends: Backends, *, short: bool) -> Any:
        try:
            return await self.compute(part, backends, short=short)
        finally:
            self._waiting += 1

    async def _worker(self, line: Iterator[Job[T]], done: Callable[[JobOutcome[T]], Awaitable[None]]) -> None:
        while not self.activity.draining and (job := next(line, None)) is not None:
            try:
                outcome = await self.outcome(job)
            except BudgetExceededError:
                self.activity.abandoned += 1
                self.drain()
            else:
                await done(outcome)

    def _settled(self) -> bool:
        """Whether every input in flight waits for a model that gathers its questions: no more of them will come."""
        waits = self._waiting == self.activity.in_flight
        return waits and not any(queue.busy for queue in self.backends.queues)

    async def _waited(self, answers: Awaitable[T]) -> T:
        self._waiting += 1
        try:
            return await answers
        finally:
            self._waiting -= 1

    async def _embed(self, request: Encode, computation: Computation, backends: Backends) -> Any:
        encoder = backends.encoder
        if encoder is None:
            raise UsageError(_NO_ENCODER)

        def encode() -> tuple[Any, float]:
            began = time.perf_counter()
            return encoder.encode(request.texts), time.perf_counter() - began

        embeddings, seconds = await asyncio.get_running_loop().run_in_executor(self._threads.encode, encode)
        computation.cost.seconds["encode"] += seconds
        return embeddings

    async def _classify(self, turn: Question, computation: Computation, backends: Backends) -> list[Any]:
        voted = await _classifier(backends).vote(turn.prepared)
        cost = computation.cost
        cost.classify += voted.usage
        cost.reused += voted.reused
        cost.show(voted.unread)
        cost.seconds["model"] += voted.seconds
        self.activity.votes += _samples(turn.request)
        if isinstance(turn.request, Classify) and turn.request.scored:
            shares = voted.shares or [{} if vote is None else {vote: 1.0} for vote in voted.votes]
            return [Scored(vote, share) for vote, share in zip(voted.votes, shares, strict=True)]
        return voted.votes


async def _generate(prepared: Any, computation: Computation, backends: Backends) -> list[str]:
    asked = await _helper(backends).ask(prepared)
    cost = computation.cost
    cost.generate += asked.usage
    cost.reused += asked.reused
    cost.seconds[computation.work] += asked.seconds
    return [answer.text for answer in asked.answers]


def _samples(request: Any) -> int:
    """Samples that a Classify request is for: equal ones may share a text."""
    return len(request.texts) if request.samples is None else request.samples


def _helper(backends: Backends) -> ModelQueue:
    if backends.helper is None:
        raise UsageError(_NO_HELPER)
    return backends.helper


def _classifier(backends: Backends) -> BaseClassifier:
    if backends.classifier is None:
        raise UsageError(_NO_CLASSIFIER)
    return backends.classifier


def _advance(computation: Computation, backends: Backends, reply: Any) -> Question | Finished:
    """Run the computation up to its next question, in the work thread."""
    turn = computation.advance(reply)
    if isinstance(turn, Finished) or isinstance(turn.request, Encode | SideBySide):
        return turn
    request, cost = turn.request, computation.cost
    began = time.perf_counter()
    if isinstance(request, Classify):
        work: Work = "model"
        if computation.progress:
            computation.progress(request.stage, _samples(request))
        prepared = _classifier(backends).prepare(request.texts, request.first_draw)
        cost.samples += _samples(request)
    else:
        work, helper = computation.work, _helper(backends)
        prepared = [helper.key(query) for query in request.queries]
    cost.seconds[work] += time.perf_counter() - began
    return Question(request, prepared)
