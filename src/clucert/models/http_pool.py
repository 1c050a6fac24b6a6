"""Asks one server over connections that are kept open: a fifth of the work of a general HTTP client.

A study makes a million small requests to one address. The official client spends milliseconds of processor time on
each; with hundreds of connections that, not the server, is what limits a run. Here asyncio moves the bytes and
``httptools`` (the parser of Node.js) reads them, within limits of length and time; what is rare (proxies, redirects)
is left to :mod:`clucert.models.http_client`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import urlsplit

import httptools

from clucert.errors import BadAnswerError, InputError
from clucert.models.replies import MOST_BYTES, Reply, ends_with_connection, too_long, unpacked
from clucert.models.retries import FinalError, UnreachedError

T = TypeVar("T")
LONGEST_HEAD = 65_536
"""Bytes of a status line with its headers, and of trailers, that are read at most."""


class Transport(Protocol):
    """What asks one server; belongs to one event loop."""

    async def send(self, method: str, url: str, body: bytes = b"") -> Reply:
        """The response, whatever its status, with its content encoding undone.

        Raises ``TimeoutError`` when no answer came in time, ``OSError`` when the server cannot be reached or closes
        the connection, and :class:`clucert.errors.BadAnswerError` when the answer is longer than what is read.
        """
        ...

    def close(self) -> None:
        """Close every connection; calling it twice is harmless."""
        ...


Handler = Callable[[str, str, bytes], Reply]
"""A server as a function of the method, the URL and the body. It may raise what :meth:`Transport.send` raises."""


@dataclass(frozen=True, slots=True)
class FunctionTransport:
    """A transport that calls a function in place of a server."""

    handler: Handler

    async def send(self, method: str, url: str, body: bytes = b"") -> Reply:
        """What the function returns."""
        return unpacked(self.handler(method, url, body), MOST_BYTES)

    def close(self) -> None:
        """Nothing is open."""


PRECISION = 0.05
"""A request times out at most this share of its timeout late."""


class KeepAlive:
    """Connections to the one server of ``url``, as many as requests are under way; belongs to one event loop.

    ``send`` raises what :class:`Transport` says. A request on a kept connection that the server had closed already is
    sent once more on a fresh one: it was not read. No more than ``limit`` bytes of an answer are held.
    """

    connection: ClassVar[type[Connection]]

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connect_timeout: float,
        limit: int = MOST_BYTES,
        ca_file: Path | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = trusted(ca_file) if parts.scheme == "https" else None
        self._timeout, self._connect_timeout, self._limit = timeout, connect_timeout, limit
        fixed = {"Host": parts.netloc.rpartition("@")[2], "Accept": "application/json", "Accept-Encoding": "identity"}
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in (fixed | {**headers}).items())
        self._heads: dict[tuple[str, str], bytes] = {}
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, method: str, url: str, body: bytes = b"") -> Reply:
        """Send the request, whose ``url`` is one of the same server, and wait for the response."""
        return await self._sent(self._ask, self._request(method, url, body))

    async def _sent(self, ask: Callable[[Connection, bytes], Awaitable[T]], request: bytes) -> T:
        """What ``ask`` gets for ``request``: on a kept connection, on a fresh one where the server had closed that."""
        if (kept := self._kept()) is not None:
            # Once: it may be the request that a server dies of, on as many connections as there are.
            with suppress(NotReadError):
                return await ask(kept, request)
        fresh = await self._connect()
        try:
            return await ask(fresh, request)
        except NotReadError:
            raise ConnectionResetError("the server closed the connection") from None

    def _request(self, method: str, url: str, body: bytes) -> bytes:
        """What is sent for ``body``."""
        head = self._heads.get((method, url)) or self._heads.setdefault((method, url), self._head(method, url))
        return b"%s%d\r\n\r\n%s" % (head, len(body), body)

    def _kept(self) -> Connection | None:
        """A connection that was kept open and is so still, for one request."""
        while self._idle:
            kept = self._idle.pop()
            if kept.usable and kept.quiet:
                return kept
            kept.close()
            self._open.discard(kept)
        return None

    def give_back(self, connection: Connection, *, ended: bool) -> None:
        """Keep a connection whose answer was read to its end; close any other: bytes of that answer may still come."""
        if ended and connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
            self._open.discard(connection)

    def close(self) -> None:
        """Close every connection; calling it twice is harmless. A later ``send`` opens a connection for itself."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for connection in list(self._open):
            connection.close()
        self._open.difference_update(self._idle)
        self._idle.clear()

    def _head(self, method: str, url: str) -> bytes:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = f"{method} {target} HTTP/1.1\r\n{self._lines}Content-Type: application/json\r\nContent-Length: "
        return head.encode("latin-1")

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        make = partial(self.connection, self._limit)
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(make, self._host, self._port, ssl=self._tls)
        except TimeoutError:
            raise UnreachedError(f"could not be reached within {self._connect_timeout:g} s") from None
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
            self.give_back(connection, ended=reply is not None)
        return unpacked(reply, self._limit)


def trusted(ca_file: Path | None = None) -> ssl.SSLContext:
    """What is trusted: ``ca_file``, else the user's (``SSL_CERT_FILE``), else certifi's, else the system's.

    Raises :class:`InputError` for a file that holds no certificates.
    """
    if ca_file is not None:
        try:
            return ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, FileNotFoundError | PermissionError) else "it is no PEM file"
            raise InputError(f"--ca-file {ca_file} cannot be used: {why}") from None
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=importlib.import_module("certifi").where())
    except ImportError:
        return ssl.create_default_context()


class NotReadError(OSError):
    """The connection was closed before a byte of the answer came."""


class Connection(asyncio.Protocol):
    """One request at a time. Its ``on_…`` methods are called by the parser.

    Bytes beyond an answer, asked for by nobody, close the connection: no part of them is taken for the next answer.
    """

    def __init__(self, limit: int) -> None:
        self.usable = False
        self._limit = limit
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

    @property
    def quiet(self) -> bool:
        """Whether nothing waits in the system that the event loop has not read yet, nor the end of the connection."""
        if self._transport is None:
            return False
        socket = self._transport.get_extra_info("socket")
        if not hasattr(select, "poll"):
            return not select.select([socket], [], [], 0)[0]
        waiting = select.poll()
        waiting.register(socket, select.POLLIN)
        return not waiting.poll(0)

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
        if not self._expecting:
            return
        if self._silent:
            self._fail(NotReadError("the server closed the connection"))
        elif exc is None and self._headed and ends_with_connection(self._fields):
            self.on_message_complete()
        else:
            self._fail(ConnectionResetError("the server closed the connection in the middle of an answer"))

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if not self._expecting:
            # Unrequested bytes: the next answer must not be read from this connection.
            self.close()
            return
        self._silent = False
        # The parser holds a line of a head, of a chunk or of a trailer until it ends: what comes beside the body is
        # counted before it is read.
        self._room_of_head -= len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            spoken = "speaks TLS: write https://" if data[:2] == b"\x15\x03" else f"does not speak HTTP ({error})"
            self._give_up(FinalError(spoken))
        if self._room_of_fields < 0 or self._room_of_head < 0:
            self._give_up(BadAnswerError(f"the server sent headers of more than {LONGEST_HEAD:,} bytes"))
        elif self._room < 0:
            self._give_up(too_long(self._limit))

    def on_message_begin(self) -> None:
        """Called by the parser, at the first byte."""
        if self._whole:
            raise ValueError("bytes beyond the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for trailers as well, which say nothing that is read."""
        self._room_of_fields -= len(name) + len(value) + 2
        if self._room_of_fields >= 0 and not self._headed:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        # Interim answers share the room of a head: an endless row of them comes to an end.
        self._headed = self._parser.get_status_code() >= 200
        if self._headed:
            self._room_of_head = LONGEST_HEAD
        codings = [value.strip().lower() for name, value in self._fields if name.lower() == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            raise ValueError("a transfer encoding that nobody asked for")

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._room_of_head = LONGEST_HEAD
        self._room -= len(body)
        if self._room >= 0:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        status = self._parser.get_status_code()
        if status < 100:
            self._fail(FinalError(f"does not speak HTTP (status {status:03})"))
        if status == 101:
            self._fail(FinalError("wants to speak another protocol (101): is it the address of a chat endpoint?"))
        if status < 200:
            # An interim answer; the real one follows.
            self._fields.clear()
            return
        self._end()
        fits = self._room >= 0 and self._room_of_fields >= 0
        if fits and self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(status, self._fields, b"".join(self._body)))

    @property
    def _expecting(self) -> bool:
        """Whether bytes of an answer are to come."""
        return self._answer is not None and not self._answer.done()

    def _end(self) -> None:
        """The answer is whole."""
        self._whole = True
        self.usable = self.usable and bool(self._parser.should_keep_alive())

    def _clear(self) -> None:
        """Begin to read a response."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._headed = self._whole = False
        self._room, self._room_of_head, self._room_of_fields = self._limit, LONGEST_HEAD, LONGEST_HEAD

    def _give_up(self, error: Exception) -> None:
        """Fail, and read nothing more of what the server sends."""
        self._fail(error)
        self.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


KeepAlive.connection = Connection
