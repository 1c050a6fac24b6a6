"""Which queries are computed together, and what happens when a batch does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from clucert.errors import ModelError
from clucert.models.hf.rows import padded_length
from clucert.models.labels import Tokens

_R = TypeVar("_R")

PAIRS_PER_TOKEN = 4096
"""Pairs of query and key that may stand for a computed token: what attention holds grows with the square of a length,
and is not shared."""


@dataclass(slots=True)
class LargestBatch:
    """The largest batch. ``rows`` only ever shrinks: what did not fit once is not tried again."""

    rows: int
    """Most queries in one batch."""
    tokens: int
    """Most computed tokens in one batch of more than one query."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The order in which queries are computed."""

    order: Sequence[int]
    tokens: Sequence[int]
    """Of each in ``order``, those that the one before it has not computed, or what its attention counts for if more."""


def by_length(lengths: Sequence[int]) -> Schedule:
    """Shorter queries first; each computes all of its tokens."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return Schedule(order, [lengths[i] for i in order])


def by_beginning(lengths: Sequence[int], prompts: Sequence[Tokens]) -> Schedule:
    """Queries of one padded length together, those with a common prefix next to each other: it is computed once."""
    order = sorted(range(len(lengths)), key=lambda i: (padded_length(lengths[i]), prompts[i], i))
    tokens = [lengths[i] for i in order]
    for at, (before, after) in enumerate(pairwise(order), start=1):
        if padded_length(lengths[before]) == padded_length(lengths[after]):
            own = tokens[at] - _common(prompts[before], prompts[after])
            tokens[at] = max(own, padded_length(lengths[after]) ** 2 // PAIRS_PER_TOKEN)
    return Schedule(order, tokens)


def _common(a: Tokens, b: Tokens) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def next_batch(schedule: Schedule, limits: LargestBatch) -> Sequence[int]:
    """The longest prefix of ``schedule`` within ``limits``, at least one query."""
    total = 0
    for taken, added in enumerate(schedule.tokens):
        total += added
        if taken and (taken >= limits.rows or total > limits.tokens):
            return schedule.order[:taken]
    return schedule.order


def in_batches(
    schedule: Schedule,
    work: Callable[[Sequence[int]], Sequence[_R]],
    limits: LargestBatch,
    out_of_memory: Callable[[Exception], bool],
) -> list[_R]:
    """``work`` on every query of ``schedule``, in batches in that order; the results by index.

    A batch that does not fit into memory is tried again at half the size, and ``limits.rows`` stays there.

    Raises :class:`ModelError` when one query alone does not fit.
    """
    results: dict[int, _R] = {}
    while schedule.order:
        batch = next_batch(schedule, limits)
        try:
            done = work(batch)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ModelError("a query does not fit into memory on its own: use a smaller model or text") from error
            limits.rows = len(batch) // 2
            continue
        results.update(zip(batch, done, strict=True))
        schedule = Schedule(schedule.order[len(batch) :], schedule.tokens[len(batch) :])
    return [results[i] for i in range(len(results))]
