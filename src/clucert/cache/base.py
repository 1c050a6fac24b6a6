"""The interface of answer caches, and how an answer is serialised."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from clucert.errors import CacheError
from clucert.types import Answer, Usage


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One stored answer. ``created`` is in seconds since 1970, UTC."""

    key: str
    model: str
    created: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds. ``models`` maps a model's name to its number of answers, most first."""

    location: str
    entries: int
    size_bytes: int
    models: Mapping[str, int]
    oldest: int | None
    newest: int | None


class AnswerCache(Protocol):
    """A shared store of answers by key (:func:`clucert.cache.answer_key`).

    Safe to use from many threads and many processes at once. An answer is visible to all of them once
    ``put_many`` has returned, and survives a kill of this process. Every method raises
    :class:`clucert.errors.CacheError` when the store cannot be read or written; what was stored before stays.
    """

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that are known; keys that are not are left out."""
        ...

    def put_many(self, answers: Mapping[str, Answer], *, model: str) -> None:
        """Store all of ``answers`` or none. The first answer stored under a key stays."""
        ...

    def stats(self) -> CacheStats:
        """Count what is stored."""
        ...

    def clear(self, *, model: str | None = None) -> int:
        """Delete every answer, or those of one model; return how many there were."""
        ...

    def export(self) -> Iterator[CacheEntry]:
        """Every entry that was stored when the iteration began, oldest first."""
        ...

    def close(self) -> None:
        """Free what the cache holds; calling it twice is harmless."""
        ...


def encode_answer(answer: Answer) -> str:
    """``answer`` as strict JSON; a log-probability of -∞ becomes null, and every other number survives exactly.

    Raises :class:`CacheError` for a log-probability that is no number: such an answer must not be stored.
    """
    logprobs = answer.label_logprobs
    if logprobs is not None and any(math.isnan(p) or p == math.inf for p in logprobs):
        raise CacheError("an answer with a log-probability that is no number cannot be cached")
    return json.dumps(
        {
            "text": answer.text,
            "label_logprobs": None if logprobs is None else [None if p == -math.inf else float(p) for p in logprobs],
            "usage": answer.usage.document(),
            **({} if answer.finish_reason is None else {"finish_reason": answer.finish_reason}),
            **({} if answer.answered_by is None else {"answered_by": answer.answered_by}),
        },
        allow_nan=False,
        separators=(",", ":"),
    )


def decode_answer(stored: str | bytes) -> Answer:
    """The inverse of :func:`encode_answer`. Raises :class:`CacheError` for anything else."""
    # Not pydantic: it refuses the unpaired surrogates that a model may answer with.
    try:
        value = json.loads(stored)
        text, logprobs, usage = value["text"], value["label_logprobs"], Usage(**value["usage"])
        numbers = None if logprobs is None else tuple(-math.inf if p is None else float(p) for p in logprobs)
        finish_reason, answered_by = value.get("finish_reason"), value.get("answered_by")
        well_formed = (
            isinstance(text, str)
            and isinstance(finish_reason, str | None)
            and isinstance(answered_by, str | None)
            and all(isinstance(n, int) for n in usage.document().values())
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CacheError("an entry is not an answer") from error
    if not well_formed:
        raise CacheError("an entry is not an answer")
    if min(usage.document().values()) < 0:  # Stored before such a usage was refused: it must not lower a sum.
        usage = Usage(1, estimated=1)
    return Answer(text, numbers, usage, finish_reason, answered_by)
