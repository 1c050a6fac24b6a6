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
    """A language model that is handed all there is to ask at once and takes its time: a provider's batch API."""

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
    """Queries in a batch at most, for any other; a ``batch_size`` of the model's own comes first. A kill loses one."""
    base_url: str = ""
    identity: str = ""
    """What else tells two models of one name apart, such as a digest of the weights."""
    price: Price | None = None
    abandon: bool = False
    """Hang up on an :class:`AsyncModel` once nobody waits for its answer any more. A study would rather keep it."""
