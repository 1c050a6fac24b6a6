"""Responses that are read as they come: what a gate passes on, byte by byte.

The connections are those of :mod:`clucert.models.http_pool`. The server is not read faster than whoever takes the
bytes: a slow client costs ``MOST_BUFFERED`` bytes, not a whole answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from clucert.models.http_pool import LONGEST_HEAD, Connection, KeepAlive
from clucert.models.replies import Reply, ends_with_connection

MOST_BUFFERED = 1 << 18
"""Bytes of a response that wait to be taken."""


class _Streaming(Connection):
    """A connection whose answer is there as soon as its headers are; the body follows through :meth:`chunk`."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._reading = False
        self._broken: Exception | None = None
        self._more: asyncio.Future[None] | None = None
        self._seconds = 0.0

    async def ask(self, request: bytes, timeout: float) -> Reply:
        """Send ``request`` and wait for the headers of the answer."""
        self._chunks.clear()
        self._buffered, self._broken, self._seconds = 0, None, timeout
        return await super().ask(request, timeout)

    @property
    def ended(self) -> bool:
        """Whether the whole answer has come and was taken."""
        return not self._reading and not self._chunks and self._broken is None

    async def chunk(self) -> bytes:
        """The next bytes of the body; none at its end.

        Raises ``TimeoutError`` when nothing comes for as long as an answer may take, and ``OSError`` when the server
        closes the connection in the middle.
        """
        while not self._chunks:
            if self._broken is not None:
                raise self._broken
            if not self._reading:
                return b""
            self._deadline = self._loop.time() + self._seconds
            self._more = self._loop.create_future()
            try:
                await self._more
            finally:
                self._more = None
        found = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return found

    def give_up(self, now: float) -> None:
        """End a request, or the wait for more of an answer, whose time is over."""
        if self._more is not None or not self._reading:
            super().give_up(now)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        super().on_headers_complete()
        if self._headed and self._answer is not None and not self._answer.done():
            self._reading = True
            self._answer.set_result(Reply(self._parser.get_status_code(), self._fields, b""))

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._room_of_head = LONGEST_HEAD
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > MOST_BUFFERED and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if not self._reading:
            super().on_message_complete()
            return
        self._reading = False
        self._end()
        self._wake()

    @property
    def _expecting(self) -> bool:
        return self._reading or super()._expecting

    def _fail(self, error: Exception) -> None:
        if not self._reading:
            super()._fail(error)
            return
        self._broken, self._reading = error, False
        self._wake()
        self.close()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


class Stream:
    """A response, whatever its status, whose body is still to be read. Close it, read or not."""

    def __init__(
        self, reply: Reply, chunk: Callable[[], Awaitable[bytes]], close: Callable[[], Awaitable[None] | None]
    ) -> None:
        """``chunk()`` gives what comes next of the body, nothing at its end; ``close()`` is called once."""
        self.status, self.headers, self.fields = reply.status, reply.headers, reply.fields
        self._chunk, self._close, self._closed = chunk, close, False

    @property
    def unframed(self) -> bool:
        """Whether the body ends where the connection ends, so that one that was cut off looks whole."""
        return ends_with_connection(self.fields)

    async def chunk(self) -> bytes:
        """What comes next of the body; nothing at its end, or once this is closed.

        Raises ``TimeoutError`` when nothing comes for as long as an answer may take, and ``OSError`` when the server
        closes the connection in the middle.
        """
        return b"" if self._closed else await self._chunk()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises like :meth:`chunk`."""
        while chunk := await self.chunk():
            yield chunk

    async def read(self, most: int) -> bytes | None:
        """The whole body; None where it is larger than ``most`` bytes. Raises like :meth:`chunk`."""
        parts, size = [], 0
        async for part in self:
            size += len(part)
            if size > most:
                return None
            parts.append(part)
        return b"".join(parts)

    async def close(self) -> None:
        """Give the connection back, or, where the body has not ended, hang up. Calling it twice is harmless."""
        closed, self._closed = self._closed, True
        if not closed and (closing := self._close()) is not None:
            await closing


class StreamPool(KeepAlive):
    """Connections to one address whose answers are read as they come."""

    connection = _Streaming

    async def open(self, url: str, body: bytes) -> Stream:
        """Post ``body`` to ``url`` and wait for the headers of the response. Raises like :meth:`KeepAlive.send`."""
        return await self._sent(self._opened, self._request("POST", url, body))

    async def _opened(self, connection: Connection, request: bytes) -> Stream:
        if not isinstance(connection, _Streaming):
            raise TypeError("a pool holds connections of its own kind")
        try:
            reply = await connection.ask(request, self._timeout)
        except BaseException:
            self.give_back(connection, ended=False)
            raise
        return Stream(reply, connection.chunk, lambda: self.give_back(connection, ended=connection.ended))
