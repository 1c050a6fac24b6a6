"""A gate before upstreams that are broken, slow, hostile, or far away: real sockets, and one process for most."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from serve_world import KEY, Serving, post, served
from tests.models.raw_servers import (
    ODD_ANSWERS,
    Listening,
    certificate,
    framed,
    http,
    listening,
    proxy,
    raw_server,
    read_request,
)
from upstream import SECRET

from clucert.errors import AuthenticationError, InputError, ModelStatusError, ModelUnavailableError
from clucert.serve.passthrough import Upstream

CHAT = {"model": "stub", "messages": [{"role": "user", "content": "how is bread baked?"}]}
RESPONSES = {"model": "stub", "input": "how is bread baked?"}
OK = b'{"id": "1", "object": "chat.completion", "choices": []}'
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
STREAM = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id": "1", "choices": []}\n\n'
DONE = b"data: [DONE]\n\n"
RULE = """
def rule(text):
    return "harmful" if "bomb" in text else "safe"
"""


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@dataclass
class Scripted:
    """An upstream that sends what the test has put into ``answer``, and keeps the connection where ``kept``."""

    server: Listening
    answer: Iterable[bytes] = ()
    kept: bool = False
    served: list[int] = field(default_factory=list)
    """The connection of each request, by the client's port."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set once a client has hung up in the middle of an answer."""


@contextmanager
def scripted() -> Iterator[Scripted]:
    def handle(connection: socket.socket, found: Listening) -> None:
        while True:
            head, _ = read_request(connection)
            if not head:
                return
            if head.startswith(b"GET"):
                connection.sendall(framed(b"{}"))
                continue
            found.asked.append(head)
            script.served.append(connection.getpeername()[1])
            try:
                for part in script.answer:
                    connection.sendall(part)
            except OSError:
                script.gone.set()
                raise
            if not script.kept:
                return

    with listening(handle) as server:
        script = Scripted(server)
        yield script


@contextmanager
def gate_before(url: str, folder: Path, *flags: str) -> Iterator[Serving]:
    (folder / "rule.py").write_text(RULE)
    usual = ("--gate", "jailbreak", "--gate-model", f"python:{folder / 'rule.py'}:rule", "--deterministic")
    with served(url, folder, *usual, "--method", "windows", "--size", "4", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def upstream() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture(scope="module")
def serving(upstream: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with gate_before(upstream.server.url, tmp_path_factory.mktemp("gate"), "--request-timeout", "8") as running:
        yield running


def sent(upstream: Scripted, *parts: bytes, kept: bool = False) -> None:
    upstream.answer, upstream.kept = parts, kept


def is_free(serving: Serving) -> bool:
    """Whether no request holds a place, once what ended is over."""
    for _ in range(100):
        found = serving.metrics()
        if not found["clucert_in_flight"] and not found["clucert_upstream_in_flight"]:
            return True
        time.sleep(0.02)
    return False


# Odd answers


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_an_odd_answer_is_an_error_in_the_apis_shape_whole_or_streamed(
    serving: Serving, upstream: Scripted, name: str
) -> None:
    answer, _, code = ODD_ANSWERS[name]
    upstream.kept = False
    upstream.answer = answer()
    status, body, headers = post(serving, "/chat/completions", CHAT)
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (429 if code == "rate_limit" else 502, f"upstream_{code}")
    assert set(error) == {"message", "type", "param", "code"}
    assert headers["retry-after"] == ("1" if status == 429 else None)
    assert headers["location"] is headers["x-clucert-state"] is None
    if name in ("length", "chunks", "until the end"):  # A stream may be so long.
        return
    # The same, said to be events.
    first, *rest = answer()
    upstream.answer = [first.replace(b"application/json", b"text/event-stream", 1), *rest]
    status, body, _ = post(serving, "/responses", {**RESPONSES, "stream": True})
    if status != 200:
        assert json.loads(body)["error"]["code"] in (f"upstream_{code}", "upstream_bad_answer")
    elif name not in ("too short a length", "a page"):  # as long as they say
        assert b"\n\nevent: error\ndata: " in body
        error = json.loads(body.rpartition(b"data: ")[2])
        assert (error["type"], error["code"]) == ("error", error["error"]["code"])
        assert error["code"] in ("upstream_broke_off", "upstream_bad_answer")
    assert is_free(serving)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (framed(OK.replace(b"}", b', "usage": {"prompt_tokens": -9, "total_tokens": 1e999}}')), True),
        (framed(OK, b"Connection: close"), False),
        (framed(OK, status=b"201 Made"), True),
        (framed(OK) + b"\r\n\r\n", True),
        (framed(OK) + b"garbage", True),
        (framed(OK, b"Connection: close") + framed(b"{}"), True),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + framed(OK), True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(OK) + b"0\r\nX: y\r\n\r\ngarbage", True),
        (b"HTTP/1.1 200 OK\r\n\r\n" + OK, False),
    ],
)
def test_what_is_harmless_passes_unchanged(serving: Serving, upstream: Scripted, raw: bytes, kept: bool) -> None:
    for _ in range(2):
        sent(upstream, raw, kept=kept)
        status, body, headers = post(serving, "/chat/completions", CHAT)
        assert status == (201 if b" 201 " in raw else 200)
        assert body in raw
        assert body.startswith(OK[:-1])
        assert headers["x-clucert-decision"] == "passed"


def test_a_403_is_about_the_key_only_where_it_says_so(serving: Serving, upstream: Scripted, tmp_path: Path) -> None:
    """By the rule of models: once a key was good for an answer, a 403 is about one request."""
    about = {"message": "the value of top_logprobs is not allowed", "param": "top_logprobs"}
    said = [
        (b'{"error": {"message": "invalid key sk-abc"}}', AuthenticationError),
        (b'{"error": {"message": "Country, region, or territory not supported"}}', AuthenticationError),
        (b"", AuthenticationError),
        (json.dumps({"error": about}).encode(), ModelStatusError),
        (b'{"error": {"message": "Your input was flagged"}}', ModelStatusError),
        (b'{"error": {"message": "this model is not for you"}}', ModelStatusError),
    ]
    for body, kind in said:
        with raw_server(lambda _, body=body: http(body, status=b"403 No")) as server, pytest.raises(kind) as caught:
            through(server.url)
        assert type(caught.value) is kind
    sent(upstream, framed(OK))
    assert post(serving, "/chat/completions", CHAT)[0] == 200
    for body, _ in said[2:]:
        sent(upstream, framed(body, status=b"403 No"))
        status, answer, _ = post(serving, "/chat/completions", CHAT)
        error = json.loads(answer)["error"]
        assert (status, error["code"]) == (403, "upstream_refused")
        assert "the key" not in error["message"]
    with serving.client() as client, pytest.raises(openai.PermissionDeniedError, match="this model is not for you"):
        client.chat.completions.create(**CHAT)


# Time


@dataclass
class Dripping:
    """A stream that has no end."""

    drop: bytes

    def __iter__(self) -> Iterator[bytes]:
        yield STREAM
        while True:
            time.sleep(0.1)
            yield chunk(self.drop)


def test_an_upstream_that_drips_is_given_up_and_its_place_is_free(serving: Serving, upstream: Scripted) -> None:
    """After --request-timeout, in the shape of each API: two streams, and an answer in one piece, at a time."""
    upstream.kept, upstream.answer = False, Dripping(b": ")
    upstream.gone.clear()
    asked = [("/chat/completions", {**CHAT, "stream": True}), ("/responses", {**RESPONSES, "stream": True})]
    with ThreadPoolExecutor(3) as threads:
        chat, responses, whole = threads.map(lambda each: post(serving, *each), [*asked, ("/chat/completions", CHAT)])
    for status, body, _ in (chat, responses):
        assert status == 200
        assert b"[DONE]" not in body
        assert json.loads(body.rpartition(b"data: ")[2])["error"]["code"] == "upstream_timeout"
    assert b"\n\nevent: error\ndata: " in responses[1]
    assert b"event: " not in chat[1]
    assert (whole[0], json.loads(whole[1])["error"]["code"]) == (504, "timeout")
    assert upstream.gone.wait(5)
    assert is_free(serving)


# Streams


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([STREAM + chunk(EVENT), chunk(DONE), b"0\r\n\r\n"], True),
        ([EVENTS + b"Content-Length: %d\r\n\r\n" % len(EVENT + DONE) + EVENT + DONE], True),
        # An end and a break look alike without a length.
        ([EVENTS + b"\r\n" + EVENT, b"data: [DO", b"NE]\n\n"], True),
        ([EVENTS + b"\r\n" + EVENT, b"event: response.completed\ndata: {}\n\n"], True),
        ([EVENTS + b"\r\n" + EVENT, b'data: {"type":"response.incomplete"}\n\n'], True),
        ([EVENTS + b"\r\n" + EVENT], False),
        ([EVENTS + b"\r\n", b'data: {"say": "data: [DONE]"}\n\n'], False),
        ([EVENTS + b"\r\n"], False),
        # Others.
        ([STREAM + chunk(EVENT)], False),
        ([STREAM + chunk(EVENT), chunk(EVENT[:9])], False),
        ([STREAM + chunk(EVENT), b"nonsense"], False),
        ([STREAM + chunk(EVENT), b"8;" + b"x" * 100_000], False),
        ([EVENTS + b"Content-Length: 999\r\n\r\n" + EVENT], False),
    ],
)
def test_a_stream_passes_whole_or_ends_in_an_error(
    serving: Serving, upstream: Scripted, parts: list[bytes], whole: bool
) -> None:
    sent(upstream, *parts)
    status, body, headers = post(serving, "/chat/completions", {**CHAT, "stream": True})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert b'"error"' not in body or not whole
    if not whole:
        end = body.rpartition(b"\n\ndata: ")[2]
        assert json.loads(end)["error"]["code"] == "upstream_broke_off"
        assert is_free(serving)


def test_the_official_client_is_told_of_a_break_in_every_api(serving: Serving, upstream: Scripted) -> None:
    sent(upstream, STREAM + chunk(EVENT))
    with serving.client() as client:
        for stream in (
            client.chat.completions.create(**CHAT, stream=True),
            client.completions.create(model="stub", prompt="how is bread baked?", stream=True),
            client.responses.create(**RESPONSES, stream=True),
        ):
            with pytest.raises(openai.APIError, match="broke off"):
                list(stream)


def test_the_event_of_a_break_has_the_next_number(serving: Serving, upstream: Scripted) -> None:
    said = b'event: x\ndata: {"type": "x", "sequence_number":%s41, "delta": "\\"sequence_number\\": 7, "}\n\n'
    for parts, number in (
        ([chunk(said % b" "), chunk(EVENT)], 42),
        ([chunk((said % b"")[:47]), chunk((said % b"")[47:])], 42),
        ([chunk(EVENT)], 0),
    ):
        sent(upstream, STREAM, *parts)
        _, body, _ = post(serving, "/responses", {**RESPONSES, "stream": True})
        end = json.loads(body.rpartition(b"\n\nevent: error\ndata: ")[2])
        assert (end["code"], end["sequence_number"]) == ("upstream_broke_off", number)


def test_events_that_nobody_asked_for_or_that_are_compressed_are_refused(serving: Serving, upstream: Scripted) -> None:
    sent(upstream, STREAM + chunk(DONE) + b"0\r\n\r\n")
    status, body, _ = post(serving, "/chat/completions", CHAT)
    assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_bad_answer")
    sent(upstream, STREAM.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer") + chunk(DONE) + b"0\r\n\r\n")
    status, body, _ = post(serving, "/chat/completions", {**CHAT, "stream": True})
    assert (status, json.loads(body)["error"]["code"]) == (502, "upstream_bad_answer")


# Between clients

SMUGGLED = framed(b'{"id": "smuggled", "choices": []}', b"Set-Cookie: who=other", b"X-Other: yes")


@pytest.mark.parametrize("kind", ["whole", "chunked", "stream"])
@pytest.mark.parametrize("cut", [1, 20, -4, None])
def test_bytes_beyond_an_answer_are_never_another_clients(
    serving: Serving, upstream: Scripted, kind: str, cut: int | None
) -> None:
    first = {
        "whole": framed(OK),
        "chunked": framed(b"")[:-21] + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(OK) + b"0\r\n\r\n",
        "stream": STREAM + chunk(DONE) + b"0\r\n\r\n",
    }[kind]
    upstream.served.clear()
    sent(upstream, first + SMUGGLED[:cut], kept=True)
    _, body, headers = post(serving, "/chat/completions", {**CHAT, "stream": kind == "stream"})
    assert body == (DONE if kind == "stream" else OK)
    assert headers["x-other"] is None
    sent(upstream, framed(OK), kept=True)
    status, body, headers = post(serving, "/chat/completions", CHAT)
    assert (status, body, headers["set-cookie"]) == (200, OK, None)
    assert len(set(upstream.served)) == 2


def raw(serving: Serving, request: bytes) -> bytes:
    """What is sent back for the bytes of a request, until the endpoint hangs up."""
    host, port = serving.root.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head, _, body = request.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        found = b""
        if b"100-continue" in head:
            found = connection.recv(1000)
            assert found == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        while part := connection.recv(65536):
            found += part
    return found


def test_nothing_of_one_side_or_of_one_client_reaches_another(serving: Serving, upstream: Scripted) -> None:
    """Two clients over one connection to the upstream, with every header that is about a connection, or about us."""
    theirs = (
        b"x-clucert-decision: blocked", b"X-Clucert-Certificate: {}", b"Set-Cookie: who=first", b"Keep-Alive: max=9",
        b"Trailer: x-clucert-state", b"Proxy-Authenticate: Basic", b"Location: http://evil.example/", b"Server: secret",
        b"Content-Type: text/html", b"Access-Control-Allow-Origin: *", b"x-request-id: forged", b"Alt-Svc: h3",
        b"Connection: keep-alive, x-hop", b"x-hop: 1", b"Upgrade: h2c", b"Cache-Control: public, max-age=9",
    )  # fmt: skip
    ours = (
        b"Cookie: who=client", b"x-clucert-decision: passed", b"Connection: close, x-hop", b"x-hop: 1", b"TE: trailers",
        b"Expect: 100-continue", b"X-Forwarded-For: 1.2.3.4", b"OpenAI-Organization: theirs", b"traceparent: nonsense",
        b"Host: 127.0.0.1", b"Authorization: Bearer " + KEY.encode(), b"Accept-Encoding: gzip", b"User-Agent: odd",
    )  # fmt: skip
    body = json.dumps(CHAT).encode()
    head = b"\r\n".join([b"POST /v1/chat/completions HTTP/1.1", *ours, b"Content-Length: %d" % len(body)])
    upstream.served.clear()
    upstream.server.asked.clear()
    for _ in range(2):
        sent(upstream, framed(OK, *theirs), kept=True)
        told, _, answer = raw(serving, head + b"\r\n\r\n" + body).removeprefix(CONTINUE).partition(b"\r\n\r\n")
        assert answer == OK
        lines = dict(line.split(b": ", 1) for line in told.split(b"\r\n")[1:])
        assert lines.pop(b"x-clucert-decision") == b"passed"
        assert lines.pop(b"content-type") == b"application/json"
        assert lines.pop(b"x-request-id") != b"forged"
        assert set(lines) <= {
            *(b"x-clucert-source", b"x-clucert-state", b"x-clucert-certificate"),
            *(b"date", b"content-length", b"connection"),
        }
    assert len(set(upstream.served)) == 1  # one connection
    for asked in upstream.server.asked:
        names = {line.partition(b":")[0].lower() for line in asked.split(b"\r\n")[1:]}
        assert names == {
            *(b"host", b"accept", b"accept-encoding", b"authorization", b"user-agent"),
            *(b"content-type", b"content-length"),
        }
        assert KEY.encode() not in asked
        assert SECRET.encode() in asked


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_client_that_hangs_up_in_a_stream_leaves_its_bytes_to_nobody(serving: Serving, upstream: Scripted) -> None:
    upstream.gone.clear()
    upstream.answer, upstream.kept = Dripping(EVENT), True
    with serving.client() as client, client.chat.completions.create(**CHAT, stream=True) as stream:
        next(iter(stream))
    assert upstream.gone.wait(5)
    assert is_free(serving)
    sent(upstream, framed(OK), kept=True)
    assert post(serving, "/chat/completions", CHAT)[1] == OK


# Far away


def through(url: str, body: bytes = b"{}", **options: Any) -> bytes:
    """The answers to two requests by way of a gate's upstream, one after the other."""

    async def asked() -> bytes:
        upstream = Upstream(url, "stub", timeout=5, connections=4, **options)
        found = b""
        try:
            for path in ("/v1/chat/completions", "/v1/responses"):
                stream = await upstream.open(path, body)
                found += await upstream.answer(stream)
                await stream.close()
        finally:
            await upstream.close()
        return found

    return asyncio.run(asked())


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    return monkeypatch


def test_an_upstream_behind_a_proxy_of_either_kind(behind: pytest.MonkeyPatch) -> None:
    """Where bytes beyond an answer are no answer to the next request either, and no cookie is kept."""
    twice = [framed(OK, b"Set-Cookie: who=first; path=/"), SMUGGLED]
    with scripted() as server:
        for scheme, name, said in (("", "http_proxy", b"POST http://nowhere"), ("socks5h://", "all_proxy", b"SOCKS ")):
            sent(server, b"".join(twice), kept=True)
            server.server.asked.clear()
            with proxy(server.server.port) as between, behind.context() as here:
                here.setenv(name, f"{scheme}127.0.0.1:{between.port}")
                assert through("http://nowhere.example") == OK + OK
            assert all(head.startswith(said) for head in between.asked)
            assert len(between.asked) == 2
            for head in server.server.asked:
                assert SECRET.encode() in head
                assert b"cookie" not in head.lower()
        # This machine is never behind one.
        behind.setenv("http_proxy", "http://127.0.0.1:9")
        sent(server, framed(OK), kept=True)
        assert through(server.server.url) == OK + OK


def test_a_proxy_that_refuses_or_is_of_no_use_is_said_so(behind: pytest.MonkeyPatch) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with proxy(1, refusal) as between:
        behind.setenv("https_proxy", f"http://me:hunter2hunter2@127.0.0.1:{between.port}")
        with pytest.raises(ModelUnavailableError, match="the proxy answered 407") as caught:
            through("https://nowhere.example")
        assert "hunter2" not in str(caught.value)
    behind.setenv("https_proxy", "gopher://proxy:1")
    with pytest.raises(InputError, match="of a kind that is not known"):
        through("https://nowhere.example")


def test_a_gate_behind_a_proxy_that_trusts_an_authority_and_lets_a_stream_last(
    behind: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Longer than a request may take: what counts is the time between its bytes, and ``--stream-timeout``."""
    context, file = certificate(tmp_path, "nowhere.example")

    def slow(head: bytes) -> Iterator[bytes]:
        yield STREAM
        for part in [EVENT] * 30 + [DONE]:
            time.sleep(0.2)
            yield chunk(part)
        yield b"0\r\n\r\n"

    flags = ("--request-timeout", "5", "--stream-timeout", "60")
    with raw_server(slow, context) as server, proxy(server.port) as between:
        behind.setenv("https_proxy", between.url)
        with gate_before("https://nowhere.example", tmp_path, "--ca-file", str(file), *flags) as serving:
            status, body, headers = post(serving, "/chat/completions", {**CHAT, "stream": True})
            assert (status, body) == (200, EVENT * 30 + DONE)
            assert headers["x-clucert-decision"] == "passed"
    assert all(head.startswith(b"CONNECT nowhere.example:443") for head in between.asked)
    assert SECRET.encode() not in b"".join(between.asked)


def test_who_is_not_trusted_gets_no_request_and_the_log_says_why(
    behind: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context, file = certificate(tmp_path)
    with raw_server(lambda _: http(OK), context) as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(ModelUnavailableError, match="name its authority with --ca-file or SSL_CERT_FILE"):
            through(url)
        assert not server.asked
        assert "upstream: " in caplog.text
        assert "a TLS certificate that is not trusted" in caplog.text
        assert through(url, ca_file=file) == OK + OK
        behind.setenv("SSL_CERT_FILE", str(file))
        assert through(url) == OK + OK
    with pytest.raises(InputError, match="--ca-file"):
        through(url, ca_file=tmp_path / "none")
