"""The blocking face of the executor: one event loop in one thread, kept for the life of the process."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from clucert.protocols import Steps
from clucert.runtime.computation import Backends, Computation, Progress
from clucert.runtime.executor import Executor
from clucert.types import Cost

T = TypeVar("T")

LONGEST_END = 5.0
"""Seconds that interrupted work has to end."""

_loops: dict[int, asyncio.AbstractEventLoop] = {}
"""By process: a fork does not inherit the thread."""
_lock = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="clucert-loop", daemon=True).start()
        return loop


def wait(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, run on the kept loop. Interrupted, it is cancelled and waited for before this returns.

    May be called from any thread but the loop's own.
    """
    ended = threading.Event()

    async def tracked() -> T:
        try:
            return await work
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(tracked(), _loop())
    try:
        return future.result()
    except BaseException:
        if not ended.is_set():
            future.cancel()
            ended.wait(timeout=LONGEST_END)
        raise


_started: weakref.WeakSet[BlockingExecutor] = weakref.WeakSet()


@atexit.register
def end() -> None:
    """Close what was never closed, while the loop still runs: the end of a script is no place to complain."""
    if os.getpid() in _loops:
        for each in list(_started):
            each.close()


class BlockingExecutor:
    """Runs computations against ``backends`` for callers without an event loop; safe to call from several threads.

    Queues are opened with the first computation and live until ``close``.
    """

    def __init__(self, backends: Backends) -> None:
        self.backends = backends
        self._executor = Executor(backends)
        self._started = False
        self._starting = threading.Lock()

    def run(self, steps: Callable[[], Steps], progress: Progress | None = None) -> tuple[Any, Cost]:
        """The result of one computation, and what it cost. Raises whatever it or its backends raise."""
        computation = Computation(steps, progress)
        return self.call(lambda executor: executor.compute(computation)), computation.cost

    def call(self, work: Callable[[Executor], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work(executor)``, awaited on the loop."""
        with self._starting:
            if not self._started:
                wait(self._executor.start())
                self._started = True
                _started.add(self)
        return wait(work(self._executor))

    def close(self) -> None:
        """Close queues and threads and cancel calls in flight; calling it twice is harmless."""
        with self._starting:
            if self._started:
                wait(self._executor.stop(now=True))
                self._started = False

    def __del__(self) -> None:
        """Stop what was never closed, as in a cell of a notebook; not waited for, as this may be the loop's thread."""
        loop = _loops.get(os.getpid())
        if getattr(self, "_started", False) and loop and loop.is_running() and not sys.is_finalizing():
            asyncio.run_coroutine_threadsafe(self._executor.stop(now=True), loop)
