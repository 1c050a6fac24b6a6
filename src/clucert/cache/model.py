"""A language model that never asks what it was answered before."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from clucert.cache.authors import ACCEPT, AuthoredCache, Whose, introduction
from clucert.cache.base import AnswerCache
from clucert.cache.keys import ModelIdentity, answer_key
from clucert.errors import BadAnswerError, ModelUnavailableError
from clucert.types import Answer, Query, Usage

if TYPE_CHECKING:
    from clucert.protocols import LanguageModel  # imports numpy, which the cache itself does without


CHUNK = 128


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
        whose: Whose | None = getattr(model, "whose", None)
        self._mine = AuthoredCache(cache, whose)
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
        found = self.cache.get_many([key for key in keys if key is not None])
        spent: list[Usage] = []
        if found and self._mine.must_ask:
            spent = [
                answer.usage for answer in self._introduced(queries[next(i for i, k in enumerate(keys) if k in found)])
            ]
        known = self._mine.own(found)
        asked = _first_of_each(keys, known)
        fresh: dict[int, Answer] = {}
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
            answers.append(dataclasses.replace(stored, usage=spent.pop() if spent else Usage()))
        self._count(reused)
        return answers

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
            self._mine.put_many(named, model=self.name)

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

    def _introduced(self, query: Query) -> Sequence[Answer]:
        """Hear from the model before an answer of the cache is taken for its own."""
        try:
            return self.model.answer([introduction(query)])
        except ModelUnavailableError as error:
            raise ModelUnavailableError(f"{error} (to use the cache without asking who answers: {ACCEPT})") from None

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
