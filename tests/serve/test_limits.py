"""Clients that are slow, large, many, or made to ask by a page in a browser: each is refused, and forgotten."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from serve_world import PROMPT, Serving, order, served, stats

BODY = json.dumps({"model": "stub", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0}).encode()


@pytest.fixture(scope="module")
def open_serving(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """An endpoint without a key, on loopback, with little patience."""
    flags = ("--body-timeout", "1", "--max-clients", "320", "--max-header", "8000", "--max-characters", "3000")
    with served(upstream, tmp_path_factory.mktemp("open"), *flags, key=None) as running:
        yield running


def connect(serving: Serving) -> socket.socket:
    host, port = serving.root.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def head(length: int = len(BODY), *lines: str, host: str = "127.0.0.1", path: str = "/v1/chat/completions") -> bytes:
    sent = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {length}", *lines]
    return "\r\n".join([*sent, "", ""]).encode()


def answer(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, headers and body of the one response, after which the server hangs up or is left alone."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            raise AssertionError(f"hung up after {received!r}")
        received += part
    headers, _, body = received.partition(b"\r\n\r\n")
    told = headers.decode()
    length = int(told.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
    while len(body) < length:
        body += connection.recv(65536)
    return int(told.split()[1]), told, body


def ask(serving: Serving, request: bytes) -> tuple[int, str]:
    """Status and error code."""
    with connect(serving) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        status, _, body = answer(connection)
        return status, json.loads(body).get("error", {}).get("code", "")


@pytest.mark.parametrize(
    "request_",
    [
        head(0, "X: " + "x" * 9000),
        head(0, *(f"X{i}: y" for i in range(1000))),
        head(0, path="/v1/" + "x" * 9000),
        b"POST / HTTP/1.1\r\nX: " + b"x" * 9000,
    ],
)
def test_a_head_that_is_too_large_is_refused_in_the_shape_of_the_api(open_serving: Serving, request_: bytes) -> None:
    status, code = ask(open_serving, request_)
    assert (status, code) in ((431, "header_too_large"), (408, "request_timeout"))
    assert status == 431 or not request_.endswith(b"\r\n\r\n")


CHUNKED = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")


@pytest.mark.parametrize("begun", [b"POST / HTTP/1.1\r\nX: ", CHUNKED + b"1;", CHUNKED + b"0\r\nX: "])
def test_a_line_without_an_end_is_not_held(open_serving: Serving, begun: bytes) -> None:
    with connect(open_serving) as connection:
        connection.sendall(begun)
        sent = 0
        with suppress(ConnectionError):
            while sent < 400:  # MB, far more than the time of a request lets through
                connection.sendall(b"x" * (1 << 20))
                sent += 1
    assert sent < 10


@pytest.mark.parametrize("more", [b"x", b"\r\n"])
def test_who_goes_on_sending_after_the_response_but_no_request_is_hung_up_on(
    open_serving: Serving, more: bytes
) -> None:
    with connect(open_serving) as connection:
        connection.sendall(head(1000 if more == b"x" else 0, path="/none"))
        assert answer(connection)[0] == 404
        connection.sendall(more)
        assert connection.recv(1) == b""


def test_the_rest_of_a_refused_body_has_its_time_too(open_serving: Serving) -> None:
    with connect(open_serving) as connection:
        connection.sendall(head(1_000_000, host="evil.example"))
        assert answer(connection)[0] == 403
        hung_up = False
        while not hung_up:
            time.sleep(0.05)
            try:
                connection.sendall(b"x")
            except ConnectionError:
                hung_up = True


@pytest.mark.parametrize("second", [b"POST / HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", b"nonsense\r\n\r\n"])
def test_an_error_of_a_further_request_is_never_the_answer_to_the_first(open_serving: Serving, second: bytes) -> None:
    slow = json.dumps({"model": "stub", "messages": [order(delay=0.5), {"role": "user", "content": PROMPT}]}).encode()
    with connect(open_serving) as connection:
        connection.sendall(head(len(slow)) + slow + second)
        with pytest.raises((ConnectionError, AssertionError)):
            answer(connection)


def test_what_is_not_http_is_refused_in_the_shape_of_the_api(open_serving: Serving) -> None:
    assert ask(open_serving, b"\x16\x03\x01 hello\r\n\r\n") == (400, "invalid_http")


def test_a_body_after_a_wish_for_another_protocol_is_no_further_request(open_serving: Serving) -> None:
    """A proxy before it that lets ``Upgrade`` pass would take the second answer for another client's."""
    inner = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(open_serving) as connection:
        connection.sendall(head(len(inner), "Connection: Upgrade", "Upgrade: h2c"))
        received = b""
        with suppress(ConnectionError):
            time.sleep(0.05)
            connection.sendall(inner)
            while part := connection.recv(1 << 16):
                received += part
    assert received.count(b"\r\n\r\n") == 1
    assert b"leave out Upgrade" in received
    wish = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert ask(open_serving, wish)[0] == 200


def test_a_prompt_that_is_too_long_costs_nothing(open_serving: Serving, upstream: str) -> None:
    before = stats(upstream).get("answered", 0)
    body = json.dumps({"model": "stub", "messages": [{"role": "user", "content": "a____" * 601}]}).encode()
    assert ask(open_serving, head(len(body)) + body) == (413, "request_too_large")
    assert stats(upstream).get("answered", 0) == before


@pytest.mark.parametrize(
    ("host", "more", "status"),
    [
        ("127.0.0.1:8080", (), 200),
        ("localhost", ("Origin: http://localhost:3000",), 200),
        ("[::1]:1", ("Sec-Fetch-Site: same-origin",), 200),
        ("evil.example", (), 403),
        ("127.0.0.1.evil.example", (), 403),
        ("localhost@evil.example", (), 403),
        ("", (), 403),
        ("localhost", ("Origin: https://evil.example",), 403),
        ("localhost", ("Origin: null",), 403),
        ("localhost", ("Host: evil.example",), 403),
        ("localhost", ("Sec-Fetch-Site: cross-site",), 403),
        ("[::1", (), 403),
    ],
)
def test_without_a_key_only_this_machine_by_its_own_name_is_answered(
    open_serving: Serving, host: str, more: tuple[str, ...], status: int
) -> None:
    counter = 'clucert_faults_total{code="forbidden_host"}'
    before = open_serving.metrics().get(counter, 0)
    found, code = ask(open_serving, head(len(BODY), *more, host=host) + BODY)
    assert (found, code) == (status, "forbidden_host" if status == 403 else "")
    assert open_serving.metrics().get(counter, 0) == before + (status == 403)


def test_with_a_key_any_name_is_answered_unless_names_are_given(serving: Serving) -> None:
    assert ask(serving, head(len(BODY), host="guard.example") + BODY) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/models/", "//evil.example/", "/health/"])
def test_nobody_is_redirected(serving: Serving, path: str) -> None:
    with connect(serving) as connection:
        connection.sendall(head(0, "Authorization: Bearer x", host="evil.example", path=path))
        status, headers, _ = answer(connection)
        assert status in (401, 404, 405)
        assert "location" not in headers.lower()


@pytest.mark.parametrize("together", [1, 1000])
def test_who_does_not_read_what_is_sent_to_it_is_hung_up_on(open_serving: Serving, together: int) -> None:
    with connect(open_serving) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        asked = head(0, path="/metrics").replace(b"POST", b"GET") * together
        while True:
            try:
                connection.sendall(asked)
                time.sleep(0.001)
            except TimeoutError:
                continue
            except ConnectionError:
                break
    # Nothing of it is left.
    assert ask(open_serving, head() + BODY)[0] == 200


def memory(serving: Serving) -> int:
    """Kilobytes of the endpoint's process that are in memory."""
    told = Path(f"/proc/{serving.process.pid}/status").read_text()
    return int(told.partition("VmRSS:")[2].split()[0])


def test_clients_that_stall_are_counted_and_their_memory_comes_back(open_serving: Serving) -> None:
    def stall(size: int) -> None:
        with ExitStack() as stack:
            stalled = [stack.enter_context(connect(open_serving)) for _ in range(300)]
            for connection in stalled:
                connection.sendall(head(1_000_000) + b"x" * size)
            answers = [answer(connection)[0] for connection in stalled]
            assert set(answers) <= {408, 503}
            assert 408 in answers

    stall(10_000)
    before = memory(open_serving)
    stall(500_000)
    while memory(open_serving) > before + 20_000:
        time.sleep(0.1)
    with ExitStack() as stack:
        for _ in range(330):
            last = stack.enter_context(connect(open_serving))
        assert answer(last)[0] == 503
    # Who has hung up is forgotten, once the endpoint has seen it.
    deadline = time.monotonic() + 30
    while (status := ask(open_serving, head() + BODY)[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 200
    assert open_serving.metrics()["clucert_in_flight"] == 0
