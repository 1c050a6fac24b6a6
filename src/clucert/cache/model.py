"""A language model that never asks what it was answered before."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clucert.cache.base import AnswerCache, ClaimingCache
from clucert.cache.keys import ModelIdentity, answer_key
from clucert.errors import BadAnswerError, CacheError
from clucert.types import Answer, Query, Usage

if TYPE_CHECKING:
    from clucert.protocols import LanguageModel  # imports numpy, which the cache itself does without


CHUNK = 128
FIRST_LOOK, LONGEST_LOOK = 0.05, 1.0
"""Seconds between two looks at what other processes are asking: doubled as long as nothing changes."""


@runtime_checkable
class AnswersEach(Protocol):
    """A model that hands over each answer as it arrives, so that a later failure loses none."""

    def answer_each(self, queries: Sequence[Query], done: Callable[[int, Answer], None]) -> None:
        """Answer each query and call ``done(index, answer)`` at once, in any order, from any thread."""
        ...


class CachedModel:
    """``model`` behind ``cache``: looks a batch up at once, asks only what is missing, stores answers as they arrive.

    Identical queries that must have one answer (:func:`answer_key`) are asked once. Queries at a temperature above 0
    that do not say which draw they are cannot be told apart and are never cached. An answer from the cache has the
    usage of no call at all; what it had cost is added to ``saved``. Errors are never stored: they pass through, and the
    answers before them stay.

    A model with ``answer_each`` (:class:`AnswersEach`) loses nothing when a query of the batch fails or the process is
    killed; any other is asked in chunks of ``chunk`` queries, and loses at most the chunk it was at.
    """

    def __init__(
        self,
        model: LanguageModel,
        cache: AnswerCache,
        *,
        base_url: str = "",
        identity: str = "",
        chunk: int | None = None,
    ) -> None:
        """``base_url`` and ``identity`` are parts of every key: the server, and a digest of local weights.

        ``chunk`` is 128, or a batch of the model where that is larger.
        """
        self.model = model
        self.cache = cache
        self.name = model.name
        self.deterministic = model.deterministic
        self.hits = 0
        self.saved = Usage()
        self._who = ModelIdentity(model.name, base_url, identity, model.deterministic)
        self._chunk = chunk or max(CHUNK, getattr(model, "batch_size", 0))
        self._lock = threading.Lock()

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order. Raises what the model raises, and ``CacheError``."""
        keys = [answer_key(self._who, query) for query in queries]
        known = self.cache.get_many([key for key in keys if key is not None])
        asked = _first_of_each(keys, known)
        fresh: dict[int, Answer] = {}
        if isinstance(self.cache, ClaimingCache):
            self._share(self.cache, queries, keys, asked, fresh, known)
        else:
            self._ask(queries, keys, asked, fresh)
        first = {keys[i]: i for i in asked}
        answers = []
        reused: list[Usage] = []
        for i, key in enumerate(keys):
            if i in fresh:
                answers.append(fresh[i])
                continue
            stored = known[key] if key in known else fresh[first[key]]
            reused.append(stored.usage)
            answers.append(dataclasses.replace(stored, usage=Usage()))
        self._count(reused)
        return answers

    def _share(
        self,
        cache: ClaimingCache,
        queries: Sequence[Query],
        keys: Sequence[str | None],
        asked: Sequence[int],
        fresh: dict[int, Answer],
        known: dict[str, Answer],
    ) -> None:
        """Ask what no other process is asking, chunk by chunk; then wait for what others do, or take it over."""
        left = [i for i in asked if keys[i] is not None]
        self._ask(queries, keys, [i for i in asked if keys[i] is None], fresh)
        pause = FIRST_LOOK
        while left:
            elsewhere: list[int] = []
            before = len(left)
            for start in range(0, len(left), self._chunk):
                part = left[start : start + self._chunk]
                claimed = cache.claim_many([key for i in part if (key := keys[i]) is not None])
                known.update(claimed.known)
                elsewhere += [i for i in part if keys[i] not in claimed.mine and keys[i] not in known]
                try:
                    self._ask(queries, keys, [i for i in part if keys[i] in claimed.mine], fresh)
                except BaseException:
                    with suppress(CacheError):
                        cache.release_many(list(claimed.mine))
                    raise
            left = elsewhere
            if left:
                pause = FIRST_LOOK if len(left) < before else min(2 * pause, LONGEST_LOOK)
                time.sleep(pause)

    def close(self) -> None:
        """Close the model; the cache belongs to whoever opened it."""
        self.model.close()

    def _ask(
        self, queries: Sequence[Query], keys: Sequence[str | None], asked: Sequence[int], fresh: dict[int, Answer]
    ) -> None:
        """Ask the model about ``queries[i]`` for each i of ``asked``; put the answers into the cache and ``fresh``."""
        model = self.model

        def keep(indices: Sequence[int], answers: Sequence[Answer]) -> None:
            if len(answers) != len(indices):
                raise BadAnswerError(f"{self.name} gave {len(answers)} answers to {len(indices)} queries")
            got = dict(zip(indices, answers, strict=True))
            fresh.update(got)
            named = {key: a for i, a in got.items() if (key := keys[i]) is not None}
            self.cache.put_many(named, model=self.name)

        if isinstance(model, AnswersEach):
            wanted = [queries[i] for i in asked]
            if wanted:
                model.answer_each(wanted, lambda at, answer: keep([asked[at]], [answer]))
            if len(fresh) != len(asked):
                raise BadAnswerError(f"{self.name} gave {len(fresh)} answers to {len(asked)} queries")
            return
        for start in range(0, len(asked), self._chunk):
            part = asked[start : start + self._chunk]
            keep(part, model.answer([queries[i] for i in part]))

    def _count(self, reused: Iterable[Usage]) -> None:
        with self._lock:
            for usage in reused:
                self.hits += 1
                self.saved += usage


def _first_of_each(keys: Sequence[str | None], known: dict[str, Answer]) -> list[int]:
    """Indices to ask about: the first of each unknown key, and every query without one."""
    seen: set[str] = set()
    asked = []
    for i, key in enumerate(keys):
        if key is not None:
            if key in known or key in seen:
                continue
            seen.add(key)
        asked.append(i)
    return asked
