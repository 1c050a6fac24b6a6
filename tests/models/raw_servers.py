"""Real sockets that answer with given bytes, and a proxy of both common kinds that notes what passes it."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Listening:
    """A listening socket, and what its clients asked for."""

    port: int
    asked: list[bytes] = field(default_factory=list)
    """The heads of the requests."""
    sent: int = 0
    """Bytes that were sent to clients."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Answer = Callable[[bytes], Iterable[bytes]]
"""Of the head of a request, the bytes that are sent for it, in pieces."""


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head and the body of a request; nothing where the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b"", b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


@contextmanager
def listening(
    handle: Callable[[socket.socket, Listening], None], tls: ssl.SSLContext | None = None
) -> Iterator[Listening]:
    """Each connection is handled in a thread of its own; what goes wrong there is the client's doing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = Listening(server.getsockname()[1])

        def one(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                if tls is None:
                    handle(connection, found)
                    return
                with tls.wrap_socket(connection, server_side=True) as secured:
                    handle(secured, found)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield found
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


@contextmanager
def raw_server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Listening]:
    """A server that sends ``answer(head)`` for each request and closes the connection; it lists no models."""

    def handle(connection: socket.socket, found: Listening) -> None:
        head, _ = read_request(connection)
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        found.asked.append(head)
        for part in answer(head):
            connection.sendall(part)
            found.sent += len(part)

    with listening(handle, tls) as found:
        yield found


def _plain(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Type: application/json", *lines, b"", body])


def framed(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a length on a connection that may be kept."""
    return _plain(*lines, b"Content-Length: %d" % len(body), body=body, status=status)


def http(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> list[bytes]:
    """A whole response, with which the connection ends."""
    return [framed(body, *lines, b"Connection: close", status=status)]


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()


@contextmanager
def proxy(to: int, refuse: bytes | None = None) -> Iterator[Listening]:
    """An HTTP and SOCKS5 proxy that sends everybody to port ``to`` of this machine, or answers ``refuse``."""

    def handle(connection: socket.socket, found: Listening) -> None:
        if connection.recv(1, socket.MSG_PEEK) == b"\x05":
            connection.recv(2 + connection.recv(2, socket.MSG_PEEK)[1])
            connection.sendall(b"\x05\x00")
            request = connection.recv(4 + 1 + 255 + 2)
            found.asked.append(b"SOCKS " + request[5:-2])
            connection.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            with socket.create_connection(("127.0.0.1", to)) as server:
                _pass_on(connection, server)
            return
        head = connection.recv(65536, socket.MSG_PEEK).partition(b"\r\n\r\n")[0]
        found.asked.append(head)
        if refuse is not None:
            connection.recv(65536)
            connection.sendall(refuse)
            return
        with socket.create_connection(("127.0.0.1", to)) as server:
            if head.startswith(b"CONNECT"):
                connection.recv(len(head) + 4)
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            _pass_on(connection, server)

    with listening(handle) as found:
        yield found


def certificate(folder: Path, host: str = "localhost") -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate that it signed itself, and the file of that certificate."""
    key, path = folder / "key.pem", folder / "cert.pem"
    names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path, key)
    return context, path


PART = b"a" * 10_000
WHOLE = b'{"choices": []}'


def endless(head: bytes, part: bytes) -> Iterator[bytes]:
    yield head
    for _ in range(20_000):
        yield part


def _bomb(megabytes: int) -> bytes:
    """Less than 100 kB that unpack to so much, made in little memory."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * 1_000_000) for _ in range(megabytes)) + packer.flush()


CHUNKED = _plain(b"Transfer-Encoding: chunked")
CHUNK = b"%x\r\n%s\r\n" % (len(WHOLE), WHOLE)
SLOW = framed(b'{"error": {"message": "slow"}}', status=b"429 Slow")
ODD_ANSWERS: Mapping[str, tuple[Callable[[], Iterable[bytes]], str, str]] = {
    "length": (lambda: endless(_plain(b"Content-Length: 200000000"), PART), "longer than", "bad_answer"),
    "chunks": (lambda: endless(CHUNKED, b"2710\r\n" + PART + b"\r\n"), "longer than", "bad_answer"),
    "until the end": (lambda: endless(_plain(b"X: y"), PART), "longer than", "bad_answer"),
    "one header": (lambda: endless(_plain()[:-2] + b"X: ", PART), "headers of more than", "bad_answer"),
    "headers": (lambda: endless(_plain()[:-2], b"X-7: y\r\n" * 1000), "headers of more than", "bad_answer"),
    "trailers": (lambda: endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000), "headers of more than", "bad_answer"),
    "one trailer": (lambda: endless(CHUNKED + b"0\r\nX: ", PART), "headers of more than", "bad_answer"),
    "one line of a chunk": (lambda: endless(CHUNKED + b"1;", PART), "headers of more than", "bad_answer"),
    "status line": (lambda: endless(b"HTTP/1.1 200 ", PART), "headers of more than", "bad_answer"),
    "interim answers": (lambda: endless(b"", b"HTTP/1.1 100 Go\r\n\r\n" * 500), "headers of more than", "bad_answer"),
    "no answer": (lambda: [b""], "closed the connection", "unreachable"),
    "half a head": (lambda: [b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Le"], "closed the connection", "unreachable"),
    "half a body": (lambda: [_plain(b"Content-Length: 99", body=WHOLE)], "closed the connection", "unreachable"),
    "half of the chunks": (lambda: [CHUNKED + CHUNK], "closed the connection", "unreachable"),
    "too short a length": (lambda: [_plain(b"Content-Length: 5", body=WHOLE)], "is not JSON", "bad_answer"),
    "another protocol": (
        lambda: [b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
        "101",
        "unreachable",
    ),
    "101 alone": (lambda: [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], "101", "unreachable"),
    "TLS": (lambda: [b"\x15\x03\x01\x00\x02\x02\x50"], "write https://", "unreachable"),
    "SSH": (lambda: [b"SSH-2.0-OpenSSH_9\r\n"], "does not speak HTTP", "unreachable"),
    "a huge length": (lambda: [_plain(b"Content-Length: " + b"9" * 20)], "does not speak HTTP", "unreachable"),
    "a header's odd name": (lambda: [_plain(b"\xff\xfe: a")], "does not speak HTTP", "unreachable"),
    "a header in two lines": (lambda: [_plain(b"A: b", b" x-clucert-state: c")], "not speak HTTP", "unreachable"),
    "a header with CR": (lambda: [_plain(b"A: b\rx-clucert-state: c")], "does not speak HTTP", "unreachable"),
    "a negative length": (lambda: [_plain(b"Content-Length: -15", body=WHOLE)], "not speak HTTP", "unreachable"),
    "two lengths": (lambda: [framed(WHOLE, b"Content-Length: 4")], "does not speak HTTP", "unreachable"),
    "the length twice": (lambda: [framed(WHOLE, b"Content-Length: 15")], "does not speak HTTP", "unreachable"),
    "a length and chunks": (
        lambda: [_plain(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNK + b"0\r\n\r\n")],
        "does not speak HTTP",
        "unreachable",
    ),
    "chunked twice": (
        lambda: [_plain(*(b"Transfer-Encoding: chunked",) * 2, body=CHUNK + b"0\r\n\r\n")],
        "does not speak HTTP",
        "unreachable",
    ),
    "chunked, and more": (
        lambda: [_plain(b"Transfer-Encoding: chunked, identity", body=CHUNK + b"0\r\n\r\n")],
        "does not speak HTTP",
        "unreachable",
    ),
    "packed chunks": (
        lambda: [_plain(b"Transfer-Encoding: gzip, chunked", body=CHUNK + b"0\r\n\r\n")],
        "does not speak HTTP",
        "unreachable",
    ),
    "status 000": (lambda: [framed(WHOLE, status=b"000 No")], "does not speak HTTP", "unreachable"),
    "status 20": (lambda: [framed(WHOLE, status=b"20 No")], "does not speak HTTP", "unreachable"),
    "status 999": (lambda: [framed(WHOLE, status=b"999 No")], "answered 999", "error"),
    "204": (lambda: [b"HTTP/1.1 204 Nothing\r\n\r\n"], "answered 204", "error"),
    "204 with a body": (lambda: [framed(WHOLE, status=b"204 Nothing")], "answered 204", "error"),
    "304": (lambda: [framed(WHOLE, status=b"304 As before")], "answered 304", "error"),
    "303": (lambda: [framed(WHOLE, b"Location: http://evil.example/", status=b"303 Go")], "answered 303", "error"),
    "206": (lambda: [framed(WHOLE, status=b"206 A part")], "answered 206", "error"),
    "no limit that is one": (lambda: [SLOW.replace(b"\r\n", b"\r\nRetry-After: inf\r\n", 1)], "429", "rate_limit"),
    "a limit in Arabic": (
        lambda: [SLOW.replace(b"\r\n", b"\r\nRetry-After: \xd9\xa5\r\n", 1)],
        "answered 429",
        "rate_limit",
    ),
    "a limit that is packed": (
        lambda: [framed(gzip.compress(b'{"error": "slow"}'), b"Content-Encoding: gzip", status=b"429 No")],
        "answered 429: slow",
        "rate_limit",
    ),
    "a limit that is mislabelled": (
        lambda: [SLOW.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1)],
        "answered 429: slow",
        "rate_limit",
    ),
    "a page": (lambda: [framed(b"<html>It works!</html>")], "is not JSON", "bad_answer"),
    "a bomb": (
        lambda: [framed(_bomb(70), b"Content-Encoding: gzip")],
        "longer than",
        "bad_answer",
    ),
    "an error's bomb": (
        lambda: [framed(_bomb(60), b"Content-Encoding: gzip", status=b"500 No")],
        "longer than",
        "bad_answer",
    ),
}
"""By name: what is sent, what the error of a model says of it, and how a gate's error code ends."""
