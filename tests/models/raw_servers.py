"""Real sockets that answer with given bytes, and a proxy of both common kinds that notes what passes it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
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


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> list[bytes]:
    """A whole response."""
    lines = b"".join(line + b"\r\n" for line in (*headers, b"Content-Length: %d" % len(body), b"Connection: close"))
    return [b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, lines, body)]


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
