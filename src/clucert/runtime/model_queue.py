"""The queue of queries to one language model: each is asked once, many at a time, and stored when it is answered.

A queue serves many inputs at once. Their queries wait in the order in which they came; a model with
``answer_async`` is sent up to ``connections`` of them at a time, any other gets full batches in a thread of its own.
An answer is in the cache before it is returned.

Where a model's arithmetic depends on the batch that a query is in (half precision, some GPU kernels), the same query
may be answered differently in another batch. The cache keeps such a run reproducible: what was answered once is read,
never computed again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from clucert.cache.base import AnswerCache
from clucert.cache.keys import ModelIdentity, answer_key
from clucert.cache.server_identity import ACCEPT_FLAG, OneModelCache, identifying_query
from clucert.errors import BadAnswerError, FatalModelError, ModelError, ModelUnavailableError
from clucert.protocols import LanguageModel, Task
from clucert.redact import clean_base_url
from clucert.runtime.answer_store import AnswerStore
from clucert.runtime.budget import Budget, Reservation
from clucert.runtime.queue_entries import AskCall, Asked, QueuedQuery, SharedClock
from clucert.runtime.queued_models import AsyncModel, GatheringModel, Keyed, QueueOptions
from clucert.types import Answer, Query, Usage

SETTLE_SECONDS = 0.02
"""Seconds between two checks whether all inputs wait."""


class ModelQueue:
    """The queue of queries to one model. Belongs to one event loop: ``start`` first, ``stop`` at the end."""

    def __init__(
        self,
        model: LanguageModel | AsyncModel,
        *,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
        options: QueueOptions | None = None,
        watch: Callable[[int, int], None] | None = None,
    ) -> None:
        """``watch(answered, wanted)`` is told of the answers to each batch that is asked, as they arrive."""
        self.model = model
        self._watch = watch
        self.options = options or QueueOptions()
        self.budget = budget or Budget()
        self.identity = ModelIdentity(
            model.name, clean_base_url(self.options.base_url), self.options.identity, model.deterministic
        )
        own_cache = None if cache is None else OneModelCache(cache, getattr(model, "server_identity", None))
        self._store = AnswerStore(own_cache, model.name, stored=self._deliver, failed=self._fail)
        self._identifying = asyncio.Lock()
        self._open: dict[str, QueuedQuery] = {}
        self._waiting: deque[QueuedQuery] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._clock = SharedClock()
        self._workers: list[asyncio.Task[None]] = []
        self._stopping = False
        self.settled: Callable[[], bool] = lambda: True
        """Whether no more queries come before those that wait are answered; a :class:`GatheringModel` waits for that.
        """

    @property
    def capacity(self) -> int:
        """Queries that the model works on at a time."""
        if isinstance(self.model, AsyncModel):
            return self.options.connections
        if isinstance(self.model, GatheringModel):
            return self.model.gather_size
        return int(getattr(self.model, "batch_size", self.options.batch_size))

    @property
    def must_identify(self) -> bool:
        """Whether the model has to be asked a short question, to identify it, before cached answers may be used."""
        return self._store.must_identify and hasattr(self.model, "identify")

    @property
    def gathers(self) -> bool:
        """Whether the model is a :class:`GatheringModel`."""
        return isinstance(self.model, GatheringModel)

    @property
    def busy(self) -> bool:
        """Whether something is looked up, asked or stored; for a :class:`GatheringModel`, not asked."""
        return self._store.busy or bool(self._open and not self.gathers)

    def key(self, query: Query, draw: int | None = None) -> Keyed:
        """``query`` with its key, as a draw of its own where the model may not repeat itself. Safe from any thread."""
        if draw is not None and not self.identity.deterministic:
            query = replace(query, draw=draw)
        if query.blanks is not None and not getattr(self.model, "fills", False):
            query = replace(query, blanks=None)
        return query, answer_key(self.identity, query)

    def keys(self, task: Task, texts: Sequence[str], first_draw: int) -> list[Keyed]:
        """The question of ``task`` about each text, numbered as draws. Safe from any thread."""
        return [self.key(task.query(text, draw=d), d) for d, text in enumerate(texts, first_draw)]

    async def ask(self, batch: Sequence[Keyed]) -> Asked:
        """Answer each query, in order.

        Raises what the model raises for one of them (the others are then not asked any more, unless somebody else
        waits for them), :class:`CacheError`, and :class:`BudgetExceededError` when a query was waiting when the
        budget was spent.
        """
        if not batch:
            return Asked([], Usage(), Usage(), 0.0)
        group = AskCall(len(batch))
        if self._watch:
            self._watch(0, len(batch))
        fresh = self._join(group, batch)
        try:
            await self._look_up(fresh)
            await group.done
        finally:
            group.alive = False
            if group.done.done() and not group.done.cancelled():
                # A caller that was cancelled during the look-up never retrieves the failure: mark it as retrieved.
                group.done.exception()
            if self.options.abandon and group.missing:
                self._abandon(group)
            # They know the group: left to the search for garbage, a gate's memory grew with every request.
            group.entries.clear()
        return group.asked()

    def start(self) -> None:
        """Begin to ask; a queue that was stopped may begin anew, on any event loop."""
        self._stopping = False
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-model")
        self._store.open()
        self.budget.freed.append(self._wake)
        if isinstance(self.model, AsyncModel):
            work = [self._connection(self.model) for _ in range(self.options.connections)]
        elif isinstance(self.model, GatheringModel):
            work = [self._gathered(self.model)]
        else:
            work = [self._batches(self.model)]
        self._workers = [asyncio.create_task(coroutine) for coroutine in work]

    async def stop(self, *, now: bool = False) -> None:
        """Ask nothing more. Calls in flight are waited for and their answers stored; ``now`` gives them up.

        A batch of a local model cannot be given up half-way: it is always waited for, and stored.
        """
        self._stopping = True
        self._waiting.clear()
        for worker in self._workers:
            if now and isinstance(self.model, AsyncModel | GatheringModel):
                worker.cancel()
        self._wake()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._store.close()
        # A model behind a server keeps connections on this loop.
        if (release := getattr(self.model, "release", None)) is not None:
            release()
        self._model_thread.shutdown()

    def _join(self, group: AskCall, batch: Sequence[Keyed]) -> list[QueuedQuery]:
        """Have ``group`` wait for each query; returns those that nobody has asked for yet."""
        fresh = []
        for place, (query, key) in enumerate(batch):
            entry = None if key is None else self._open.get(key)
            if entry is None:
                entry = QueuedQuery(query, key)
                fresh.append(entry)
                if key is not None:
                    # Before the look-up: the next caller must wait for this query instead of asking it again.
                    self._open[key] = entry
            entry.waiting.append((group, place))
            group.entries.append(entry)
        return fresh

    def _abandon(self, group: AskCall) -> None:
        """Cancel the queries that only ``group`` waited for. Those that were not sent yet are skipped later."""
        for entry in group.entries:
            if not entry.wanted:
                self._close(entry)
                if entry.call is not None:
                    entry.abandoned = True
                    entry.call.cancel()

    async def _look_up(self, fresh: list[QueuedQuery]) -> None:
        """Deliver what the cache has; queue the rest."""
        keys = [entry.key for entry in fresh if entry.key is not None]
        try:
            known = await self._store.find(keys, lambda: self._identify(fresh[0].query)) if keys else {}
        except BaseException as error:
            for entry in fresh:
                self._fail(entry, error)
            if not isinstance(error, Exception):
                raise
            return
        unknown = [entry for entry in fresh if entry.key not in known]
        for entry in fresh:
            if entry.key in known:
                self._deliver(entry, known[entry.key], cached=True)
        self._waiting.extend(unknown)
        self._wake()

    async def _identify(self, query: Query) -> None:
        """Identify the model before its cached answers are used: one short question in each run that uses the cache."""
        identify = getattr(self.model, "identify", None)
        async with self._identifying:
            if identify is None or not self._store.must_identify:
                return
            query = identifying_query(query)
            while (reserved := self.budget.reserve(query, self.options.price))[0] == "wait":
                await asyncio.sleep(SETTLE_SECONDS)
            verdict, aside = reserved
            if verdict != "go":
                raise self.budget.exceeded()
            usage: Usage | None = None
            try:
                usage = (await identify(query)).usage
            except ModelUnavailableError as error:
                raise ModelUnavailableError(
                    f"{error} (to use the cache without asking which model answers: {ACCEPT_FLAG})"
                ) from None
            finally:
                self.budget.settle(aside, usage, self.options.price)

    def _wake(self) -> None:
        for _ in range(len(self._idle) if self._stopping else min(len(self._waiting), len(self._idle))):
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)

    def _reserved(self) -> tuple[QueuedQuery, Reservation] | None:
        """The next query that somebody still waits for and the budget allows; None when there is none now."""
        while self._waiting:
            entry = self._waiting[0]
            if not entry.wanted:
                self._close(self._waiting.popleft())
                continue
            verdict, aside = self.budget.reserve(entry.query, self.options.price)
            if verdict == "go":
                return self._waiting.popleft(), aside
            if verdict == "wait":
                return None
            error = self.budget.exceeded()
            while self._waiting:
                self._fail(self._waiting.popleft(), error)
        return None

    async def _next(self) -> tuple[QueuedQuery, Reservation] | None:
        """Wait for something to ask; None when the queue stops."""
        while not self._stopping:
            if (found := self._reserved()) is not None:
                return found
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return None

    async def _connection(self, model: AsyncModel) -> None:
        """One call after the other until the queue stops."""
        while found := await self._next():
            entry, aside = found
            usage: Usage | None = None
            began = self._clock.enter()
            try:
                answer = await self._call(model, entry)
            except BaseException as error:
                self._clock.leave(began)
                self._fail(entry, error)
                if not (isinstance(error, Exception) or entry.abandoned):
                    raise
            else:
                entry.share = self._clock.leave(began)
                usage = answer.usage
                self._store.put(entry, answer)
            finally:
                self.budget.settle(aside, usage, self.options.price)
            # A slow disk slows the calls down, so that a kill can lose only a few answers.
            if self._store.unwritten >= self.options.connections:
                await self._store.written(self.options.connections)

    async def _call(self, model: AsyncModel, entry: QueuedQuery) -> Answer:
        if not self.options.abandon:
            return await model.answer_async(entry.query)
        entry.call = asyncio.ensure_future(model.answer_async(entry.query))
        return await entry.call

    async def _batches(self, model: LanguageModel) -> None:
        """One batch after the other until the queue stops. A batch shares its prefix: it is then computed once."""
        while found := await self._next():
            await self._answer_batch(model, [found, *self._more(found[0].query.prefix, self.capacity - 1)])

    async def _gathered(self, model: GatheringModel) -> None:
        """All queries at once, as soon as all inputs in flight wait for answers, until the queue stops."""
        while found := await self._next():
            # An input that was answered a moment ago may be about to ask its next query.
            await asyncio.sleep(SETTLE_SECONDS)
            while not self.settled():
                await asyncio.sleep(SETTLE_SECONDS)
            batch = [found]
            while len(batch) < model.gather_size and (found := self._reserved()):
                batch.append(found)
            await self._answer_gathered(model, batch)
            await self._store.written()

    async def _answer_gathered(self, model: GatheringModel, batch: Sequence[tuple[QueuedQuery, Reservation]]) -> None:
        left = dict(enumerate(batch))
        began = time.perf_counter()

        def done(index: int, came: Answer | BaseException) -> None:
            entry, aside = left.pop(index)
            if isinstance(came, Answer):
                entry.share = (time.perf_counter() - began) / len(batch)
                self._store.put(entry, came)
            else:
                self._fail(entry, came)
            self.budget.settle(aside, came.usage if isinstance(came, Answer) else None, self.options.price)

        try:
            await model.answer_gathered([(entry.query, entry.key) for entry, _ in batch], done)
            if left:
                raise BadAnswerError(f"{model.name} left {len(left)} of {len(batch)} queries without an answer")  # noqa: TRY301
        except BaseException as error:
            for index in list(left):
                done(index, error)
            if not isinstance(error, Exception):
                raise

    def _more(self, prefix: str, size: int) -> list[tuple[QueuedQuery, Reservation]]:
        """Up to ``size`` more queries of the same prefix; the others keep their places."""
        batch: list[tuple[QueuedQuery, Reservation]] = []
        passed: list[QueuedQuery] = []
        while self._waiting and len(batch) < size:
            if self._waiting[0].query.prefix != prefix:
                passed.append(self._waiting.popleft())
            elif found := self._reserved():
                batch.append(found)
            else:
                break
        self._waiting.extendleft(reversed(passed))
        return batch

    async def _answer_batch(self, model: LanguageModel, batch: Sequence[tuple[QueuedQuery, Reservation]]) -> None:
        """Answer ``batch``; when that fails, each half of it, so that one bad query fails alone."""
        queries = [entry.query for entry, _ in batch]
        began = time.perf_counter()
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._model_thread, model.answer, queries)
            if len(answers) != len(batch):
                raise BadAnswerError(f"{model.name} gave {len(answers)} answers to {len(batch)} queries")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - raised to whoever asked
            if len(batch) > 1 and isinstance(error, ModelError) and not isinstance(error, FatalModelError):
                half = len(batch) // 2
                await self._answer_batch(model, batch[:half])
                await self._answer_batch(model, batch[half:])
                return
            for entry, aside in batch:
                self._fail(entry, error)
                self.budget.settle(aside, None, self.options.price)
            return
        share = (time.perf_counter() - began) / len(batch)
        for (entry, aside), answer in zip(batch, answers, strict=True):
            entry.share = share
            self._store.put(entry, answer)
            self.budget.settle(aside, answer.usage, self.options.price)

    def _deliver(self, entry: QueuedQuery, answer: Answer, *, cached: bool = False) -> None:
        self._close(entry)
        owner = entry.waiting[0][0]
        owner.seconds += entry.share
        charged: set[AskCall] = set()
        for group, place in entry.waiting:
            group.answers[place] = answer
            group.missing -= 1
            if group not in charged:
                charged.add(group)
                group.charged.append(answer.usage)
                if cached or group is not owner:
                    group.reused.append(answer.usage)
            if self._watch:
                self._watch(len(group.answers) - group.missing, len(group.answers))
            if not group.missing and not group.done.done():
                group.done.set_result(None)

    def _fail(self, entry: QueuedQuery, error: BaseException) -> None:
        self._close(entry)
        for group, _ in entry.waiting:
            if not group.alive or group.done.done():
                continue
            group.alive = False
            if isinstance(error, asyncio.CancelledError):
                group.done.cancel()
            else:
                group.done.set_exception(error)

    def _close(self, entry: QueuedQuery) -> None:
        if entry.key is not None and self._open.get(entry.key) is entry:
            del self._open[entry.key]
