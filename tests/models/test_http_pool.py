"""Kept connections against a server that answers in every legal way, and some others."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from raw_servers import Listening, listening, read_request

from clucert.models.http_client import proxy_of
from clucert.models.http_pool import KeepAlive
from clucert.models.replies import Reply

Handler = Callable[[bytes, asyncio.StreamWriter, int], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Pool(KeepAlive):
    def __init__(self, url: str, headers: dict[str, str], **options: Any) -> None:
        super().__init__(url, headers, **options)
        self.url = url

    async def post(self, body: bytes) -> Reply:
        return await self.send("POST", self.url, body)


def serve(handler: Handler, use: Callable[[Pool], Awaitable[Any]], tls: Any = None, **options: Any) -> tuple[Any, int]:
    """What ``use`` returns, and how many connections the server saw."""
    opened = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        number = opened
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                await handler(await reader.readexactly(length), writer, number)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> Any:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        scheme = "https" if tls else "http"
        options.setdefault("timeout", 5)
        pool = Pool(f"{scheme}://localhost:{port}/v1/x?y=1", {"X-Key": "k"}, connect_timeout=5, **options)
        try:
            return await use(pool)
        finally:
            pool.close()
            server.close()
            await asyncio.sleep(0)

    return asyncio.run(main()), opened


def answering(raw: bytes, *, close: bool = False) -> Handler:
    async def handler(_body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(raw)
        if close:
            writer.close()

    return handler


async def twice(pool: Pool) -> list[Reply]:
    return [await pool.post(b"{}"), await pool.post(b"{}")]


@pytest.mark.parametrize(
    ("raw", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 1),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
    ],
)
def test_every_way_to_say_ok_is_read_and_connections_are_kept_when_they_may_be(raw: bytes, connections: int):
    replies, opened = serve(answering(raw), twice)
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"ok")] * 2
    assert opened == connections


def test_a_trailer_is_no_header():
    body = b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\nRetry-After: 7\r\n\r\n"
    replies, opened = serve(answering(b"HTTP/1.1 429 Slow\r\n" + body), twice)
    assert [reply.headers for reply in replies] == [{"transfer-encoding": "chunked"}] * 2
    assert opened == 1


def test_an_answer_may_end_with_the_connection():
    replies, opened = serve(answering(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nok", close=True), twice)
    assert [reply.body for reply in replies] == [b"ok", b"ok"]
    assert opened == 2


def test_status_headers_and_request_are_passed_as_they_are():
    seen = []

    async def echo(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        seen.append(body)
        writer.write(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")

    reply, _ = serve(echo, lambda pool: pool.post("größe".encode()))
    assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "7", b"")
    assert seen == ["größe".encode()]


def test_answers_in_pieces_are_put_together():
    async def slowly(_body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        for i in range(len(OK)):
            writer.write(OK[i : i + 1])
            await writer.drain()
            await asyncio.sleep(0)

    replies, opened = serve(slowly, twice)
    assert [reply.body for reply in replies] == [b"ok", b"ok"]
    assert opened == 1


def test_many_at_once_have_a_connection_each_and_get_their_own_answers():
    async def echo(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def many(pool: Pool) -> list[Reply]:
        first = await asyncio.gather(*(pool.post(str(i).encode()) for i in range(20)))
        return [*first, *await asyncio.gather(*(pool.post(str(i).encode()) for i in range(20, 40)))]

    replies, opened = serve(echo, many)
    assert [reply.body for reply in replies] == [str(i).encode() for i in range(40)]
    assert opened == 20


def test_a_kept_connection_that_the_server_has_closed_costs_nothing():
    asked = []

    async def once(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        asked.append(body)
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def with_a_pause(pool: Pool) -> list[Reply]:
        return [await pool.post(b"1"), await pool.post(b"2")]

    replies, _ = serve(once, with_a_pause)
    assert [reply.body for reply in replies] == [b"ok", b"ok"]
    assert asked == [b"1", b"2"]


def test_a_request_that_a_server_dies_of_is_sent_twice_at_most_however_many_connections_are_kept():
    asked = []

    async def handler(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        asked.append(body)
        if body == b"poison":
            writer.close()
            return
        await asyncio.sleep(0.01)
        writer.write(OK)

    async def poisoned(pool: Pool) -> None:
        await asyncio.gather(*(pool.post(b"fine") for _ in range(5)))
        with pytest.raises(ConnectionResetError):
            await pool.post(b"poison")

    serve(handler, poisoned)
    assert asked.count(b"poison") == 2


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "in the middle"),
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not speak HTTP"),
    ],
)
def test_a_broken_answer_is_an_os_error(raw: bytes, error: str):
    with pytest.raises(OSError, match=error):
        serve(answering(raw, close=True), lambda pool: pool.post(b"{}"))


def test_silence_is_a_timeout_and_the_connection_is_not_used_again():
    async def late(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        await asyncio.sleep(0.3 if body == b"slow" else 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def two(pool: Pool) -> Reply:
        with pytest.raises(TimeoutError):
            await pool.post(b"slow")
        return await pool.post(b"next")

    reply, opened = serve(late, two, timeout=0.1)
    assert reply.body == b"next"
    assert opened == 2


def test_a_try_after_the_close_is_not_waited_for_without_end():
    async def late(_body: bytes, writer: asyncio.StreamWriter, number: int) -> None:
        await asyncio.sleep(0 if number == 1 else 0.3)
        writer.write(OK)

    async def closed_between(pool: Pool) -> int:
        await pool.post(b"{}")
        pool.close()
        with pytest.raises(TimeoutError):
            await pool.post(b"{}")
        return len(pool._open)

    assert serve(late, closed_between, timeout=0.1) == (0, 2)


def test_connections_that_the_server_has_closed_are_forgotten():
    async def once(_body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def pausing(pool: Pool) -> int:
        for _ in range(5):
            await pool.post(b"{}")
            await asyncio.wait_for(closed(pool), 5)
        return len(pool._open)

    async def closed(pool: Pool) -> None:
        while pool._idle[-1].usable:
            await asyncio.sleep(0.001)

    assert serve(once, pausing) == (1, 5)


def test_a_cancelled_request_leaves_no_answer_behind_for_the_next():
    async def late(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def cancel_one(pool: Pool) -> Reply:
        task = asyncio.create_task(pool.post(b"first"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await pool.post(b"second")

    assert serve(late, cancel_one)[0].body == b"second"


def test_bytes_that_nobody_asked_for_are_never_an_answer():
    async def talkative(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        writer.write(reply)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")

    async def later(pool: Pool) -> list[bytes]:
        first = await pool.post(b"first")
        await asyncio.sleep(0.1)
        return [first.body, (await pool.post(b"second")).body]

    assert serve(talkative, later)[0] == [b"first", b"second"]


@pytest.mark.parametrize("cut", [1, 30, -2, None])
def test_bytes_beyond_an_answer_in_its_packet_close_the_connection(cut: int | None):
    beyond = b"HTTP/1.1 200 OK\r\nX: beyond\r\nContent-Length: 6\r\n\r\nbeyond"

    async def talkative(body: bytes, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body) + beyond[:cut])

    async def two(pool: Pool) -> list[Reply]:
        return [await pool.post(b"first"), await pool.post(b"second")]

    replies, opened = serve(talkative, two)
    assert [(reply.body, reply.headers) for reply in replies] == [
        (b"first", {"content-length": "5"}),
        (b"second", {"content-length": "6"}),
    ]
    assert opened == 2


def test_bytes_that_nobody_has_read_yet_are_no_answer_either():
    """They came while the event loop was busy elsewhere."""
    told = threading.Event()

    def handle(connection: socket.socket, _: Listening) -> None:
        while body := read_request(connection)[1]:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            if body == b"first":
                read.wait(5)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
                told.set()

    async def two(url: str) -> list[bytes]:
        pool = Pool(url, {}, timeout=5, connect_timeout=5)
        found = [(await pool.post(b"first")).body]
        read.set()
        assert told.wait(5)
        time.sleep(0.02)  # the event loop stands still
        found.append((await pool.post(b"second")).body)
        pool.close()
        return found

    read = threading.Event()
    with listening(handle) as server:
        assert asyncio.run(two(server.url)) == [b"first", b"second"]


def test_a_refused_connection_is_an_os_error():
    async def main() -> None:
        await Pool("http://127.0.0.1:9/x", {}, timeout=1, connect_timeout=1).post(b"{}")

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(main())


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    with pytest.raises(ssl.SSLError):
        serve(answering(OK), twice, tls=server)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    replies, opened = serve(answering(OK), twice, tls=server)
    assert ([reply.body for reply in replies], opened) == ([b"ok", b"ok"], 1)


def test_proxies_are_noticed(monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_of("https://api.openai.com/v1") is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert proxy_of("https://api.openai.com/v1") == "http://proxy:3128"
    assert proxy_of("http://elsewhere:8000/v1") is None
    monkeypatch.setenv("no_proxy", ".openai.com")
    assert proxy_of("https://api.openai.com/v1") is None
