"""Posts to one server over connections that are kept open: a fifth of the work of a general HTTP client.

A study makes a million small requests to one address. The official client spends milliseconds of processor time on
each; with hundreds of connections that, not the server, is what limits a run. Here asyncio moves the bytes and
``httptools`` (the parser of Node.js) reads them; what is rare (proxies, redirects) is left to the official client.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httptools


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, whatever its status."""

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    """The headers as received."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers, their names in lower case; decoded when asked for: only those of error responses are."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.fields}


class Transport(Protocol):
    """What posts to one address; belongs to one event loop."""

    async def post(self, body: bytes) -> Reply:
        """The response to ``body``, whatever its status.

        Raises ``TimeoutError`` when no answer came in time, and ``OSError`` when the server cannot be reached or closes
        the connection.
        """
        ...

    def close(self) -> None:
        """Close every connection; calling it twice is harmless."""
        ...


Handler = Callable[[str, str, bytes], Reply]
"""A server as a function of the method, the URL and the body. It may raise what :meth:`Transport.post` raises."""


@dataclass(frozen=True, slots=True)
class FunctionTransport:
    """A transport that calls a function in place of a server."""

    handler: Handler
    url: str

    async def post(self, body: bytes) -> Reply:
        """What the function returns."""
        return self.handler("POST", self.url, body)

    def close(self) -> None:
        """Nothing is open."""


def behind_proxy(url: str) -> bool:
    """Whether the environment sends requests to ``url`` through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not proxy_bypass(parts.hostname or "")


PRECISION = 0.05
"""A request times out at most this share of its timeout late."""


class KeepAlive:
    """Connections to one server, as many as there are requests under way; belongs to one event loop.

    ``post`` raises ``TimeoutError`` when no answer came in time and ``OSError`` when the server cannot be reached or
    closes the connection. A request on a kept connection that the server had closed already is sent once more on a
    fresh one: it was not read.
    """

    connection: ClassVar[type[Connection]]

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout: float, connect_timeout: float) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _trusted() if parts.scheme == "https" else None
        self._timeout, self._connect_timeout = timeout, connect_timeout
        fixed = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"POST {target} HTTP/1.1\r\n{lines}Content-Type: application/json\r\nContent-Length: "
        self._head = head.encode("latin-1")
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self._watch: asyncio.TimerHandle | None = None

    async def post(self, body: bytes) -> Reply:
        """Send ``body`` and wait for the response."""
        request = self.request(body)
        while (kept := self.kept()) is not None:
            try:
                return await self._ask(kept, request)
            except NotReadError:
                continue
        fresh = await self._connect()
        try:
            return await self._ask(fresh, request)
        except NotReadError:
            raise ConnectionResetError("the server closed the connection") from None

    def request(self, body: bytes) -> bytes:
        """What is sent for ``body``."""
        return b"%s%d\r\n\r\n%s" % (self._head, len(body), body)

    def kept(self) -> Connection | None:
        """A connection that was kept open and is so still, for one request."""
        while self._idle:
            kept = self._idle.pop()
            if kept.usable:
                return kept
            self._open.discard(kept)
        return None

    def drop(self, connection: Connection) -> None:
        """Close a connection."""
        connection.close()
        self._open.discard(connection)

    def close(self) -> None:
        """Close every connection; calling it twice is harmless. A later ``post`` opens a connection for itself."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for connection in list(self._open):
            connection.close()
        self._open.difference_update(self._idle)
        self._idle.clear()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_timeout):
            _, connection = await loop.create_connection(self.connection, self._host, self._port, ssl=self._tls)
        self._open.add(connection)
        if self._watch is None:
            self._look(loop)
        return connection

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Time out overdue requests at intervals: a timer for each request would cost as much as reading its answer."""
        now = loop.time()
        for connection in self._open:
            connection.give_up(now)
        self._watch = loop.call_later(self._timeout * PRECISION, self._look, loop) if self._open else None

    async def _ask(self, connection: Connection, request: bytes) -> Reply:
        reply: Reply | None = None
        try:
            reply = await connection.ask(request, self._timeout)
        finally:
            # The wait ended early: bytes of the old answer may still come, so the connection is not used again.
            if reply is None or self._closed or not connection.usable:
                self.drop(connection)
            else:
                self._idle.append(connection)
        return reply


def _trusted() -> ssl.SSLContext:
    """The certificates that the official client trusts: the user's, else certifi's, else the system's."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=importlib.import_module("certifi").where())
    except ImportError:
        return ssl.create_default_context()


class NotReadError(OSError):
    """The connection was closed before a byte of the answer came."""


class Connection(asyncio.Protocol):
    """One request at a time. Its ``on_…`` methods are called by the parser."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._deadline = 0.0
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._clear()
        self._silent = True

    async def ask(self, request: bytes, timeout: float) -> Reply:
        """Send ``request`` and wait for the whole answer."""
        if self._transport is None:
            raise NotReadError
        self._clear()
        self._silent = True
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._answer = answer
        self._deadline = self._loop.time() + timeout
        self._transport.write(request)
        try:
            return await answer
        finally:
            self._answer = None

    def give_up(self, now: float) -> None:
        """End a request whose time is over."""
        if now >= self._deadline:
            self._fail(TimeoutError())

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self.usable = True
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.usable = False
        self._transport = None
        if self._answer is None or self._answer.done():
            return
        if self._silent:
            self._fail(NotReadError("the server closed the connection"))
        elif self._parser_until_close():
            self.on_message_complete()
        else:
            self._fail(ConnectionResetError("the server closed the connection in the middle of an answer"))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._answer is None:
            # Unrequested bytes: the next answer must not be read from this connection.
            self.close()
            return
        self._silent = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.usable = False
            self._fail(ConnectionError(f"the server does not speak HTTP ({error})"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self._fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status < 200:
            # An interim answer; the real one follows.
            self._clear()
            return
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status, self._fields, b"".join(self._body)))

    def _parser_until_close(self) -> bool:
        """Whether the answer has no length, so that it ends where the connection ends."""
        names = {name.lower() for name, _ in self._fields}
        return bool(names) and not names & {b"content-length", b"transfer-encoding"}

    def _clear(self) -> None:
        """Begin to read a response."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


KeepAlive.connection = Connection
