"""What waits in a queue: the groups that asked, the queries they ask, and the clock that divides the model's time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from clucert.types import Answer, Query, Usage


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers in order, and what they cost the caller.

    ``usage`` counts every distinct query, wherever its answer came from, so that it depends on nothing but the queries
    and answers. ``reused`` is the part of it that was not paid for now: answers from the cache, and answers that
    another input had asked for already. ``seconds`` is a share of the time that the model was busy, which at each
    moment is divided equally among the calls in flight: over all inputs the shares sum to the time it was busy.
    """

    answers: list[Answer]
    usage: Usage
    reused: Usage
    seconds: float


class AskCall:
    """One call of ``ask``, and the answers that it still waits for."""

    __slots__ = ("alive", "answers", "charged", "done", "entries", "missing", "reused", "seconds")

    def __init__(self, size: int) -> None:
        self.answers: list[Answer | None] = [None] * size
        self.missing = size
        self.entries: list[QueuedQuery] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.alive = True
        self.charged: list[Usage] = []
        """What each answer cost; one that it waits for in several places costs once."""
        self.reused: list[Usage] = []
        """Those of ``charged`` that another input paid for, or an earlier run."""
        self.seconds = 0.0

    def asked(self) -> Asked:
        """The answers, once all have come, and what they cost."""
        answers = [answer for answer in self.answers if answer is not None]
        return Asked(answers, Usage.total(self.charged), Usage.total(self.reused), self.seconds)


class QueuedQuery:
    """One query, and all groups that wait for its answer."""

    __slots__ = ("abandoned", "call", "key", "query", "share", "waiting")

    def __init__(self, query: Query, key: str | None) -> None:
        self.query, self.key = query, key
        self.waiting: list[tuple[AskCall, int]] = []
        self.share = 0.0
        self.call: asyncio.Future[Answer] | None = None
        """The call under way, where it can be cancelled."""
        self.abandoned = False

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        # Called for every query of a study: a generator expression would take three times as long.
        for group, _ in self.waiting:  # noqa: SIM110
            if group.alive:
                return True
        return False


class SharedClock:
    """Elapsed time, divided equally at every moment among the calls in flight."""

    __slots__ = ("_calls", "_share", "_then")

    def __init__(self) -> None:
        self._calls = 0
        self._share = 0.0
        self._then = 0.0

    def enter(self) -> float:
        """A call begins; pass the returned value to ``leave``."""
        self._tick()
        self._calls += 1
        return self._share

    def leave(self, entered: float) -> float:
        """A call ends; returns its share of the time, in seconds."""
        self._tick()
        self._calls -= 1
        return self._share - entered

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._calls:
            self._share += (now - self._then) / self._calls
        self._then = now
