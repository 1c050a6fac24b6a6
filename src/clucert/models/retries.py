"""When a failed request to a server is sent again, and how long that waits. The loop itself is tenacity's."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import numpy as np

_RETRIED = frozenset({408, 409, 429})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_T = TypeVar("_T")


class RetryPolicy:
    """Repeats what failed for a passing reason: a timeout, a lost connection, a server that is busy or broken.

    A refused connection is final as long as the server has never answered: it is not there. So is an exhausted quota,
    which a server reports like a rate limit. ``Retry-After`` is obeyed, up to ``max_wait`` seconds.
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
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        match failure:
            case APITimeoutError():
                return True
            case APIConnectionError():
                return self.server_answered or not was_refused(failure)
            case APIStatusError(status_code=status):
                return (status in _RETRIED or status >= 500) and not out_of_quota(failure)
        return False

    def _wait(self, state: Any) -> float:
        """Seconds until the next try: what the server asks for, or twice as long each time."""
        asked = retry_after(state.outcome.exception())
        if asked is None:
            asked = min(0.5 * 2.0 ** (state.attempt_number - 1), 8.0) * float(self._jitter.uniform(0.75, 1.0))
        return min(asked, self._max_wait)


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    """Sleep for so long, or until ``stop`` is set."""
    try:
        await (asyncio.sleep(seconds) if stop is None else asyncio.wait_for(stop.wait(), seconds))
    except TimeoutError:
        return


def retry_after(failure: Any) -> float | None:
    """Seconds that the server asks to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or a date)."""
    headers = failure.response.headers if hasattr(failure, "response") else {}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if seconds >= 0:
            return seconds
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def out_of_quota(failure: Any) -> bool:
    """Whether the account's quota is used up."""
    return bool({str(failure.code), str(failure.type)} & _QUOTA_CODES)


def was_refused(failure: BaseException | None) -> bool:
    """Whether a refused connection or an unknown host is at the bottom of it."""
    import socket

    while failure is not None:
        if isinstance(failure, ConnectionRefusedError | socket.gaierror):
            return True
        failure = failure.__cause__ or failure.__context__
    return False
