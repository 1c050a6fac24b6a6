"""Runs the endpoint until it is told to stop."""

from __future__ import annotations

import ctypes
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn

from clucert.errors import UsageError
from clucert.serve.app import Engine, Routes, make_app
from clucert.serve.connections import limited
from clucert.serve.metrics import Metrics
from clucert.serve.options import ServeOptions

Opener = Callable[[Metrics, ExitStack], Engine]
"""Opens what answers; the stack frees it."""


def serve(opener: Opener, routes_of: type[Routes], options: ServeOptions, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is in flight; a second Ctrl-C does not wait.

    ``listening(url)`` is called once connections are taken. Raises :class:`CluCertError` for what is wrong before.
    """
    _return_memory()
    with ExitStack() as stack:
        metrics = Metrics()
        engine = opener(metrics, stack)
        bound = stack.enter_context(_bind(options.host, options.port))
        _log_to_stderr()
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(engine, options, metrics, routes_of),
                lifespan="on",
                http=limited(options),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=max(1, round(options.shutdown_timeout)),
            )
        )
        _leave_quietly()
        host = f"[{options.host}]" if ":" in options.host else options.host
        listening(f"http://{host}:{bound.getsockname()[1]}/v1")
        server.run(sockets=[bound])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host} port {port}: {why}: choose another --host or --port") from None


def _return_memory() -> None:
    """Have freed memory go back to the system: what many large requests held would stay with this process for good.

    The C library of most Linux systems raises the size from which it does so to that of the largest block it has freed.
    """
    if sys.platform != "linux":
        return
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        # M_MMAP_THRESHOLD: the parts that bodies come in are larger than this. M_TRIM_THRESHOLD.
        tune(-3, 1 << 16)
        tune(-1, 1 << 17)


def _leave_quietly() -> None:
    """After its shutdown uvicorn raises the signal that ended it again: ignore it, nothing is left to do."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("clucert.serve", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
