"""The cache as a queue uses it: read and written in a thread of its own, so that the event loop never blocks."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from clucert.cache.server_identity import NEVER_STORED, OneModelCache
from clucert.errors import BadAnswerError
from clucert.runtime.queue_entries import QueuedQuery
from clucert.types import Answer


class AnswerStore:
    """Finds the answers of one model in ``cache`` and writes new ones to it; without a cache, finds and writes none.

    ``stored(entry, answer)`` is called once an answer is written, or is not to be; ``failed(entry, error)`` where
    writing it fails. Belongs to one event loop: ``open`` first, ``close`` at the end.
    """

    def __init__(
        self,
        cache: OneModelCache | None,
        model: str,
        *,
        stored: Callable[[QueuedQuery, Answer], None],
        failed: Callable[[QueuedQuery, BaseException], None],
    ) -> None:
        self._cache, self._model, self._stored, self._failed = cache, model, stored, failed
        self.unwritten = 0
        """Answers that came and are not in the cache yet."""
        self._next: list[tuple[QueuedQuery, Answer]] = []
        self._writing: asyncio.Task[None] | None = None
        self._reads = 0

    @property
    def must_identify(self) -> bool:
        """Whether the model has to answer a question before answers of an earlier process may be used."""
        return self._cache is not None and self._cache.must_identify

    @property
    def busy(self) -> bool:
        """Whether something is read or written."""
        return bool(self._reads or self.unwritten)

    def open(self) -> None:
        """Begin; a store that was closed may begin anew, on any event loop."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-cache")

    async def close(self) -> None:
        """Write what is left, and end the thread."""
        await self.written()
        self._thread.shutdown()

    async def find(self, keys: Sequence[str], identify: Callable[[], Awaitable[None]]) -> dict[str, Answer]:
        """What this model has answered under ``keys``; ``identify()`` is awaited before any of it is used.

        Raises :class:`clucert.errors.CacheError`, and what ``identify`` raises.
        """
        if self._cache is None:
            return {}
        loop = asyncio.get_running_loop()
        self._reads += 1
        try:
            found = await loop.run_in_executor(self._thread, self._cache.cache.get_many, keys)
            if not found:
                return {}
            await identify()
            return await loop.run_in_executor(self._thread, self._cache.own, found)
        finally:
            self._reads -= 1

    def put(self, entry: QueuedQuery, answer: Answer) -> None:
        """Write ``answer``, unless its finish reason forbids it; one transaction writes all that wait.

        One with a log-probability that is no number is no answer, with a cache and without.
        """
        if any(math.isnan(score) or score == math.inf for score in answer.label_logprobs or ()):
            self._failed(entry, BadAnswerError(f"{self._model} gave a log-probability that is no number"))
            return
        if self._cache is None or entry.key is None or answer.finish_reason in NEVER_STORED:
            self._stored(entry, answer)
            return
        self.unwritten += 1
        self._next.append((entry, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(self._cache))

    async def written(self, limit: int = 1) -> None:
        """Wait until fewer than ``limit`` answers are unwritten."""
        while self._writing is not None and self.unwritten >= limit:
            await asyncio.shield(self._writing)

    async def _write(self, cache: OneModelCache) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._next:
                part, self._next = self._next, []
                rows = {entry.key: answer for entry, answer in part if entry.key is not None}
                try:
                    await loop.run_in_executor(self._thread, functools.partial(cache.put_many, rows, model=self._model))
                except Exception as error:  # noqa: BLE001 - raised to whoever asked
                    for entry, _ in part:
                        self._failed(entry, error)
                else:
                    for entry, answer in part:
                        self._stored(entry, answer)
                self.unwritten -= len(part)
        finally:
            self._writing = None
