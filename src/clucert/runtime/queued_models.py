"""What a queue asks: the models that are not asked batch by batch, the queries, and how many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from clucert.errors import ModelError
from clucert.runtime.budget import Price
from clucert.types import Answer, Query

Keyed = tuple[Query, str | None]
"""A query and its key in the cache; queries without a key are never taken for each other."""


@runtime_checkable
class AsyncModel(Protocol):
    """A language model behind a server: many calls at a time, each on its own."""

    name: str
    deterministic: bool

    async def answer_async(self, query: Query) -> Answer:
        """Answer one query. Raises :class:`ModelError` when it fails for good, retries included."""
        ...


@runtime_checkable
class GatheringModel(Protocol):
    """A language model that takes all queries at once and answers much later: a provider's batch API."""

    name: str
    deterministic: bool
    gather_size: int
    """Queries that are handed over at once, at most."""

    async def answer_gathered(self, batch: Sequence[Keyed], done: Callable[[int, Answer | ModelError], None]) -> None:
        """Answer each query of ``batch``; ``done(index, answer or error)`` is called on this event loop, in any order.

        Raises :class:`ModelError` when none of those that are not done can be answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """How a model is asked, and what it is called in the cache."""

    connections: int = 32
    """Calls in flight at most, for an :class:`AsyncModel`."""
    batch_size: int = 32
    """Most queries in a batch, for any other; the model's own ``batch_size`` overrides it. A kill loses one batch."""
    base_url: str = ""
    identity: str = ""
    """What else tells two models of one name apart, such as a digest of the weights."""
    price: Price | None = None
    abandon: bool = False
    """Cancel calls of an :class:`AsyncModel` that nobody waits for any more. A study keeps their answers instead."""
