"""Admission control: how many requests are worked on and wait at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from clucert.serve.http_errors import overloaded

LONGEST_WAIT = 60.0
"""Seconds that a client is told to wait at most."""


MOST_HELD = 1 << 27
"""Bytes of requests that are coming in."""


class AdmissionControl:
    """At most ``in_flight`` requests are worked on and ``queue`` wait, first come, first served; others are refused.

    Belongs to one event loop.
    """

    def __init__(self, in_flight: int, queue: int) -> None:
        self.in_flight = self.waiting = 0
        self._most, self._queue = in_flight, queue
        self._slots = asyncio.Semaphore(in_flight)
        self._mean_seconds = 1.0
        """Exponential moving average of the seconds that a request takes."""
        self._held = 0

    def check(self) -> None:
        """Raise :class:`clucert.serve.http_errors.Fault` (503) when a request that came now would be refused."""
        if self._slots.locked() and self.waiting >= self._queue:
            raise overloaded(min(LONGEST_WAIT, self._mean_seconds * (1 + self.waiting / self._most)))

    @contextmanager
    def reading(self, most: int) -> Iterator[Callable[[int], None]]:
        """While a request of at most ``most`` bytes comes in: the caller says how many bytes it keeps, as they come.

        Raises :class:`clucert.serve.http_errors.Fault` (503) there when all that come in hold as much as would fill
        every place and the queue, or ``MOST_HELD``: clients that never finish do not fill the memory.
        """
        own = 0

        def held(size: int) -> None:
            nonlocal own
            own += size
            self._held += size
            if self._held > min(most * (self._most + self._queue), max(most, MOST_HELD)):
                raise overloaded(1.0)

        try:
            yield held
        finally:
            self._held -= own

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. Raises like :meth:`check`."""
        self.check()
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.in_flight += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self._mean_seconds += 0.2 * (time.monotonic() - began - self._mean_seconds)
            self.in_flight -= 1
            self._slots.release()
