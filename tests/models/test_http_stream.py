"""Streams over kept connections: in pieces, held back, broken off, given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from clucert.models.http_stream import MOST_BUFFERED, Stream, StreamPool
from clucert.models.retries import FinalError

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Addressed(StreamPool):
    url: str


def run(handle: Server, work: Callable[[Addressed], Awaitable[Any]], timeout: float = 5.0) -> Any:
    """What ``work`` returns before a server that reads each request and then does as ``handle`` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                await handle(reader, writer)
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = Addressed(f"http://127.0.0.1:{port}/v1", {}, timeout=timeout, connect_timeout=2)
        pool.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        try:
            return await work(pool)
        finally:
            pool.close()
            server.close()

    return asyncio.run(main())


async def whole(stream: Stream) -> bytes:
    try:
        return b"".join([part async for part in stream])
    finally:
        await stream.close()


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def test_each_piece_is_there_before_the_next_is_written_and_the_connection_is_kept() -> None:
    asked = asyncio.Semaphore(0)
    peers = set()

    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(3):
            writer.write(chunked(b"part %d" % i))
            await asked.acquire()
        writer.write(b"0\r\n\r\n")

    async def work(pool: Addressed) -> None:
        for _ in range(2):
            stream, found = await pool.open(pool.url, b"{}"), []
            async for part in stream:
                found.append(part)
                asked.release()
            await stream.close()
            await stream.close()
            assert found == [b"part 0", b"part 1", b"part 2"]
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")

    run(handle, work)
    assert len(peers) == 1


def test_a_server_is_not_read_faster_than_its_bytes_are_taken() -> None:
    size, written = 64 << 20, [0]

    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        while written[0] < size:
            writer.write(bytes(1 << 18))
            await writer.drain()
            written[0] += 1 << 18

    async def work(pool: Addressed) -> int:
        stream = await pool.open(pool.url, b"{}")
        before = -1
        while written[0] != before:
            before = written[0]
            await asyncio.sleep(0.1)
        assert written[0] < size
        assert next(iter(pool._open))._buffered <= MOST_BUFFERED + (1 << 18)
        return len(await whole(stream))

    assert run(handle, work, 30) == size


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (HEAD + b"Content-Length: 9\r\n\r\nhalf", ConnectionResetError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"half"), ConnectionResetError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense", FinalError),
        (b"", ConnectionResetError),
        (b"nonsense\r\n\r\n", FinalError),
    ],
)
def test_half_an_answer_is_an_error_and_never_the_whole(answer: bytes, error: type[Exception]) -> None:
    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def work(pool: Addressed) -> None:
        with pytest.raises(error):
            await whole(await pool.open(pool.url, b"{}"))
        assert not pool._idle
        assert not pool._open

    run(handle, work)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\nall of it")
        await writer.drain()
        writer.close()

    async def work(pool: Addressed) -> bytes:
        return await whole(await pool.open(pool.url, b"{}"))

    assert run(handle, work) == b"all of it"


@pytest.mark.parametrize("begun", [False, True])
def test_silence_is_a_timeout(begun: bool) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if begun:
            writer.write(HEAD + b"Content-Length: 9\r\n\r\nhalf")
        await reader.read(1)

    async def work(pool: Addressed) -> None:
        with pytest.raises(TimeoutError):
            await whole(await pool.open(pool.url, b"{}"))

    run(handle, work, 0.3)


def test_closing_early_hangs_up_on_the_server_and_large_bodies_are_not_read_whole() -> None:
    ended = asyncio.Event()

    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(chunked(b"x" * 1000))
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def work(pool: Addressed) -> None:
        stream = await pool.open(pool.url, b"{}")
        assert await stream.read(5000) is None
        await stream.close()
        await asyncio.wait_for(ended.wait(), 5)
        assert not pool._idle

    run(handle, work)


def test_a_kept_connection_that_the_server_closed_is_not_the_callers_problem() -> None:
    async def handle(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    async def work(pool: Addressed) -> list[bytes]:
        return [await whole(await pool.open(pool.url, b"{}")) for _ in range(3)]

    assert run(handle, work) == [b"ok"] * 3
