"""Ctrl-C once finishes the calls in flight, twice stops at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class Interrupts:
    """How often the user asked to stop."""

    count: int = 0


@contextmanager
def two_step_interrupt(drain: Callable[[], None], task: asyncio.Task[None]) -> Iterator[Interrupts]:
    """While it is open: the first SIGINT calls ``drain``, the second cancels ``task``, a third ends the process.

    SIGTERM cancels ``task`` at once. Off the main thread, and where the event loop takes no signals (Windows), nothing
    is changed: a KeyboardInterrupt then cancels whatever runs.
    """
    loop = asyncio.get_running_loop()
    seen = Interrupts()

    def interrupted() -> None:
        seen.count += 1
        if seen.count == 1:
            drain()
        else:
            loop.remove_signal_handler(signal.SIGINT)
            task.cancel()

    def terminated() -> None:
        seen.count += 2
        task.cancel()

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, interrupted)
        loop.add_signal_handler(signal.SIGTERM, terminated)
    except NotImplementedError:
        yield seen
        return
    try:
        yield seen
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGINT, before)
