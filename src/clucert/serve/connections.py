"""Limits of a connection, held before a request is anything: the size of its head, its time, and what nobody reads."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from clucert.serve.http_errors import Fault, invalid, overloaded
from clucert.serve.options import ServeOptions

PIPELINED = 16
"""Requests that may wait behind one on a connection; clients of HTTP APIs send none."""

_OF_BODIES = (b"content-length", b"transfer-encoding")


class _TooMuchError(Exception):
    """A client sends more, or something else, than it may."""


class LimitedHttp(HttpToolsProtocol):
    """HTTP/1.1 for clients that mean harm or are slow: each limit ends one connection, with a response where one can
    still be sent.

    * the request line and headers have at most ``max_header`` bytes (431) and ``body_timeout`` seconds (408), and so
      have bytes that mean nothing yet: a header, a trailer or the extension of a chunk that does not end;
    * ``max_clients`` connections are open at a time (503);
    * ``PIPELINED`` requests at most wait on a connection; a client that sends more is hung up on;
    * a client that has not read what was sent to it for ``body_timeout`` seconds is hung up on;
    * so is one that goes on sending for that long after its response, but no further request.
    """

    limits: ServeOptions

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = self._pending = 0
        self._clock: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio."""
        super().connection_made(transport)
        # asyncio does so only where the listening socket names its protocol. Without it the body of a response waits
        # until the client has acknowledged the head, which takes it 40 ms.
        self._connected().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > self.limits.max_clients:
            self._refuse(overloaded(5.0))
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._stop("_clock")
        self._stop("_unread")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        # What a refused client still sends is thrown away.
        if self.transport.is_closing():
            return
        self._pending += len(data)
        super().data_received(data)
        # The parser holds a line until it ends, however long it is.
        if self._pending > self.limits.max_header:
            self._refuse_head()
        # Any byte stops uvicorn's clock of idle connections, also one that begins no request.
        if self._clock is None and self.timeout_keep_alive_task is None and self._answered():
            self._clock = self._later(self._close)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        self._head = self._pending = 0
        if len(self.pipeline) >= PIPELINED:
            self._hang_up()
            raise _TooMuchError
        if self._clock is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._stop("_clock")
        self._pending = 0
        # The parser takes the body after it for a further request. Without one the wish is not heeded, as HTTP has it.
        if self.parser.should_upgrade() and any(name in _OF_BODIES and value != b"0" for name, value in self.headers):
            self._refuse(invalid("this endpoint speaks HTTP/1.1 alone: leave out Upgrade", "invalid_http"))
            raise _TooMuchError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._pending = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Called by asyncio: the client does not read as fast as it is sent to."""
        super().pause_writing()
        self._unread = self._unread or self._later(self._hang_up)

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._stop("_unread")
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Called by uvicorn."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        """Called by uvicorn where no further request has come."""
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP, and where a callback of the parser fails."""
        if self._head > self.limits.max_header:
            self._refuse_head()
        else:
            self._refuse(invalid(msg, "invalid_http"))

    def _refuse_head(self) -> None:
        limit = f"the head of the request is larger than {self.limits.max_header:,} bytes"
        self._refuse(invalid(limit, "header_too_large", status=431))

    def _answered(self) -> bool:
        """Whether no request is under way, but for the body of one that has its response already."""
        return self.cycle is None or self.cycle.response_complete

    def _count(self, size: int) -> None:
        self._head += size
        self._pending = 0
        if self._head > self.limits.max_header:
            raise _TooMuchError

    def _wait(self) -> None:
        self._clock = self._later(self._late)

    def _later(self, what: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(self.limits.body_timeout, what)

    def _late(self) -> None:
        seconds = self.limits.body_timeout
        self._refuse(invalid(f"no request within {seconds:g} s", "request_timeout", status=408))

    def _stop(self, timer: str) -> None:
        handle = getattr(self, timer)
        if handle is not None:
            handle.cancel()
            setattr(self, timer, None)

    def _refuse(self, fault: Fault) -> None:
        """Say why, and hang up; without a word where another response is due, or has begun."""
        if self.transport.is_closing():
            return
        if self.pipeline or not (self._answered() or self.cycle.more_body):
            self._hang_up()
            return
        body = json.dumps(fault.body()).encode()
        headers = {"content-type": "application/json", "content-length": len(body), "connection": "close"}
        lines = [f"{name}: {value}\r\n".encode() for name, value in {**headers, **fault.headers()}.items()]
        self.transport.write(b"".join([STATUS_LINE[fault.status], *lines, b"\r\n", body]))
        self._close()

    def _close(self) -> None:
        """Hang up once what was sent is read, which has its time as well."""
        self.transport.close()
        self._unread = self._unread or self._later(self._hang_up)

    def _hang_up(self) -> None:
        """Hang up now, and throw away what was not read, in the kernel too."""
        self._connected().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _connected(self) -> socket.socket:
        found: socket.socket = self.transport.get_extra_info("socket")
        return found


def limited(options: ServeOptions) -> type[LimitedHttp]:
    """The protocol with its limits."""
    return type("LimitedHttp", (LimitedHttp,), {"limits": options})
