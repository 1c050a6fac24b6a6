"""When a failed request to a server is sent again, and how long that waits. The loop itself is tenacity's."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np

from clucert.models.replies import FailedReply

MAX_WAIT = 60.0
"""Longest wait between two tries, in seconds, whatever ``Retry-After`` says."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Of what failed for no stated time, doubled each time."""
FIRST_LIMITED = 2.0
"""The same after a rate limit (429), which lasts up to a minute: 2, 4, 8, 16, 32 seconds."""
_T = TypeVar("_T")


class ToldError(OSError):
    """A failure whose message says what happened, for ``HOST …``; ``proxy``: on the way there."""

    def __init__(self, said: str, *, proxy: bool = False) -> None:
        super().__init__(said)
        self.proxy = proxy


class FinalError(ToldError):
    """What no repetition changes: no HTTP there, a proxy that refuses."""


class UnreachedError(TimeoutError):
    """No connection was opened in time. The message says so, for ``HOST …``."""


class RetryPolicy:
    """Repeats what failed for a passing reason: a timeout, a lost connection, a server that is busy or broken.

    A refused connection is final as long as the server has never answered: it is not there. So are an exhausted quota,
    which a server reports like a rate limit, and a certificate that is not trusted. ``Retry-After`` is obeyed, up to
    ``max_wait`` seconds.
    """

    def __init__(self, max_retries: int, max_wait: float) -> None:
        self.max_retries, self._max_wait = max_retries, max_wait
        self.server_answered = False
        """Set once the server has answered."""
        self._jitter = np.random.default_rng()

    async def call(self, work: Callable[[], Awaitable[_T]], stop: asyncio.Event | None = None) -> _T:
        """``await work()``, at most ``max_retries`` times more; raises its last failure.

        Raises ``CancelledError`` in place of a further try once ``stop`` is set; no wait outlasts that.
        """
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - raised again below
            first = [error]

        async def again() -> _T:
            # tenacity takes longer than all else that is done for a call, so a first try goes without it.
            if first:
                raise first.pop()
            if stop is not None and stop.is_set():
                raise asyncio.CancelledError
            return await work()

        import tenacity

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._is_passing),
            stop=tenacity.stop_after_attempt(self.max_retries + 1),
            wait=self._wait,
            sleep=functools.partial(_sleep, stop=stop),
            reraise=True,
        )
        return await retrying(again)

    def _is_passing(self, failure: BaseException) -> bool:
        match failure:
            case FailedReply():
                return failure.passing
            case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
                return True
            case ssl.SSLError() | FinalError():
                return False
            case TimeoutError():
                return True
            case OSError():
                return self.server_answered or not was_refused(failure)
        return False

    def _wait(self, state: Any) -> float:
        """Seconds until the next try: what the server asks for, or twice as long each time."""
        failure, doubled = state.outcome.exception(), 2.0 ** min(state.attempt_number - 1, 60)
        asked = failure.retry_after if isinstance(failure, FailedReply) else None
        if asked is None and isinstance(failure, FailedReply) and failure.status == 429:
            asked = FIRST_LIMITED * doubled * float(self._jitter.uniform(1.0, 1.25))
        elif asked is None:
            asked = min(FIRST_WAIT * doubled, LONGEST_WAIT) * float(self._jitter.uniform(0.75, 1.0))
        return min(asked, self._max_wait)


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    """Sleep for so long, or until ``stop`` is set."""
    try:
        await (asyncio.sleep(seconds) if stop is None else asyncio.wait_for(stop.wait(), seconds))
    except TimeoutError:
        return


def causes(failure: BaseException | None) -> list[BaseException]:
    """``failure`` and what is behind it, the outermost first."""
    found: list[BaseException] = []
    while failure is not None and failure not in found:
        found.append(failure)
        failure = failure.__cause__ or failure.__context__
    return found


def was_refused(failure: BaseException | None) -> bool:
    """Whether a refused connection or an unknown host is at the bottom of it."""
    # With several addresses (::1 and 127.0.0.1), asyncio tells of all refusals in one message.
    several = f"Multiple exceptions: [Errno {errno.ECONNREFUSED}]"
    return any(
        isinstance(each, ConnectionRefusedError | socket.gaierror) or str(each).startswith(several)
        for each in causes(failure)
    )
