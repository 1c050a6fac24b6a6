"""What every answer cache can do, whatever it is stored in, and how an answer is written down."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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

    Safe to use from many threads and many processes at once. An answer is there for everybody once ``put_many`` has
    returned, and stays if this process is killed. Every method raises :class:`clucert.errors.CacheError` when the store
    cannot be read or written; what was stored before stays.
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


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of questions that were to be claimed; what is in neither field is being asked by somebody else."""

    mine: frozenset[str]
    """Nobody else asks these until they are stored, released, or this process is dead for a lease."""
    known: Mapping[str, Answer]
    """Answered already."""


@runtime_checkable
class ClaimingCache(AnswerCache, Protocol):
    """A cache whose users ask no question that another one is asking at the moment.

    Claims end when an answer is stored under the key, when they are released, when the cache is closed, and when the
    process that holds them has been dead for a lease.
    """

    def claim_many(self, keys: Sequence[str]) -> Claimed:
        """Claim the questions that are neither answered nor claimed by another process, all in one step."""
        ...

    def release_many(self, keys: Sequence[str]) -> None:
        """Give claims back: these questions will not be asked now."""
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
        finish_reason = value.get("finish_reason")
        well_formed = (
            isinstance(text, str)
            and isinstance(finish_reason, str | None)
            and all(isinstance(n, int) for n in usage.document().values())
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CacheError("an entry is not an answer") from error
    if not well_formed:
        raise CacheError("an entry is not an answer")
    if min(usage.document().values()) < 0:  # stored before such a usage was refused: it must not lower a sum
        usage = Usage(1, estimated=1)
    return Answer(text, numbers, usage, finish_reason)
