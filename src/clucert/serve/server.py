"""Runs the endpoint until it is told to stop."""

from __future__ import annotations

import ctypes
import logging
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn

from clucert.errors import UsageError
from clucert.serve.app import Engine, Routes, make_app
from clucert.serve.connections import limited
from clucert.serve.logs import log_to_stderr
from clucert.serve.metrics import Metrics
from clucert.serve.options import ServeOptions
from clucert.serve.traces import open_tracer

log = logging.getLogger("clucert.serve")

SWITCH_SECONDS = 0.0005
Opener = Callable[[Metrics, ExitStack], Engine]
"""Opens what answers; the stack frees it."""


def serve(opener: Opener, routes_of: type[Routes], options: ServeOptions, listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what is in flight; a second Ctrl-C does not wait.

    ``listening(url)`` is called once connections are taken. Raises :class:`CluCertError` for what is wrong before.
    """
    _return_memory()
    # A classifier in a thread of this process holds the interpreter for as long, each time the event loop has sent or
    # received something: the default, 5 ms, is what a request waited some times over.
    sys.setswitchinterval(SWITCH_SECONDS)
    with ExitStack() as stack:
        metrics = Metrics()
        engine = opener(metrics, stack)
        _check_tls(options)
        bound = stack.enter_context(_bind(options.host, options.port))
        log_to_stderr(options.log_format)
        tracer = open_tracer(options.traces, stack)
        server = _Server(
            uvicorn.Config(
                make_app(engine, options, metrics, routes_of, tracer),
                lifespan="on",
                http=limited(options),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ssl_certfile=options.tls_cert,
                ssl_keyfile=options.tls_key,
                timeout_graceful_shutdown=max(1, round(options.shutdown_timeout)),
            )
        )
        _leave_quietly()
        host = f"[{options.host}]" if ":" in options.host else options.host
        listening(f"http{'s' if options.tls_cert else ''}://{host}:{bound.getsockname()[1]}/v1")
        server.run(sockets=[bound])


class _Server(uvicorn.Server):
    """Says in the log that it was told to stop, what it waits for, and that it has stopped."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called by uvicorn, once a signal has come."""
        left, seconds = len(self.server_state.tasks), self.config.timeout_graceful_shutdown
        log.info("stopping: no more connections are taken, %d under way have %s s", left, seconds)
        await super().shutdown(sockets)
        log.info("stopped")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host} port {port}: {why}: choose another --host or --port") from None


def _check_tls(options: ServeOptions) -> None:
    """Raise :class:`UsageError` for a certificate and key that nothing can be served with."""
    if options.tls_cert is None:
        if options.tls_key is not None:
            raise UsageError("--tls-key goes with --tls-cert: give both")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(options.tls_cert, options.tls_key, "")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not a PEM file without a password"
        raise UsageError(f"--tls-cert {options.tls_cert}: cannot be used ({str(why).lower()})") from None


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
