"""A model behind a function in place of a server: no socket, and all else as it is over the network."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence

import pytest

from clucert.errors import AuthenticationError, ModelStatusError, ModelTimeoutError, ModelUnavailableError
from clucert.models.http_pool import Handler
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.models.replies import Reply
from clucert.models.retries import ToldError, UnreachedError
from clucert.models.server_address import Endpoint, openai_endpoint
from clucert.types import Message, Query

ADDRESS = "http://nowhere.invalid/v1"
KEY = "sk-verysecret0123456789"


def query(text: str = "a warm story") -> Query:
    return Query((Message("user", text),), max_tokens=4)


def completion(text: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> Reply:
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "model": "m"}
    return Reply(200, fields, json.dumps(body).encode())


def refusal(status: int, message: str, fields: Sequence[tuple[bytes, bytes]] = ()) -> Reply:
    return Reply(status, fields, json.dumps({"error": {"message": message}}).encode())


class Server:
    """Answers with ``replies`` in turn, the last one for ever; lists no models."""

    def __init__(self, *replies: Reply | OSError) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, method: str, url: str, body: bytes) -> Reply:
        if method == "GET":
            return refusal(404, "no list here")
        self.asked.append((method, url, json.loads(body)))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, OSError):
            raise reply
        return reply


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", refuse)


@pytest.fixture
def model_of(request: pytest.FixtureRequest) -> Callable[..., OpenAIModel]:
    endpoint: Endpoint = openai_endpoint(ADDRESS, {"OPENAI_API_KEY": KEY})

    def make(server: Handler, **options: int) -> OpenAIModel:
        model = OpenAIModel("openai/m", "m", endpoint, ModelOptions(**options), max_wait=0.01, server=server)
        request.addfinalizer(model.close)
        return model

    return make


def test_a_function_answers_blocking_and_asynchronous_calls(model_of):
    server = Server(completion("positive"))
    model = model_of(server)
    assert [answer.text for answer in model.answer([query(), query("other")])] == ["positive"] * 2
    assert asyncio.run(model.answer_async(query())).text == "positive"
    assert {(method, url) for method, url, _ in server.asked} == {("POST", f"{ADDRESS}/chat/completions")}
    assert server.asked[0][2]["messages"] == [{"role": "user", "content": "a warm story"}]


def test_what_the_function_refuses_once_is_tried_again(model_of):
    server = Server(
        refusal(429, "slow down", [(b"Retry-After", b"0")]), ConnectionResetError(), TimeoutError(), completion("ok")
    )
    assert model_of(server).answer([query()])[0].text == "ok"
    assert len(server.asked) == 4


def test_a_refused_field_is_left_out(model_of):
    refused = refusal(400, "logprobs are not supported")
    server = Server(refused, refused, completion("yes"), completion("good"))
    asked = Query((Message("user", "x"),), max_tokens=4, labels=("good", "bad"))
    assert model_of(server).answer([asked])[0].text == "good"
    assert ["logprobs" in body for _, _, body in server.asked] == [True, True, False, False]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (refusal(401, f"wrong key {KEY}"), AuthenticationError, "OPENAI_API_KEY"),
        (refusal(404, "gone"), ModelStatusError, "no model 'm'"),
        (refusal(500, f"broken {KEY}"), ModelStatusError, "answered 500"),
        (TimeoutError(), ModelTimeoutError, "raise --timeout"),
        (ConnectionRefusedError(), ModelUnavailableError, "refused the connection"),
        (ConnectionResetError(), ModelUnavailableError, "closed the connection"),
        (UnreachedError("could not be reached within 1 s"), ModelTimeoutError, "within 1 s: is the server running"),
        (
            ToldError("cannot be reached: the proxy answered 502", proxy=True),
            ModelUnavailableError,
            "502: are HTTP_PROXY",
        ),
    ],
)
def test_a_failure_is_the_error_that_a_server_would_cause(model_of, reply, error, said):
    with pytest.raises(error, match=said) as raised:
        model_of(Server(reply), max_retries=0).answer([query()])
    assert KEY not in str(raised.value)


def test_a_redirect_is_followed(model_of):
    there = f"{ADDRESS}/elsewhere"

    def server(method: str, url: str, body: bytes) -> Reply:
        if method == "GET":
            return refusal(404, "no list here")
        return completion("there") if url == there else Reply(307, [(b"Location", there.encode())], b"")

    assert model_of(server).answer([query()])[0].text == "there"


def test_the_model_list_comes_from_the_function(model_of):
    def server(method: str, url: str, body: bytes) -> Reply:
        return Reply(200, (), b'{"data": [{"id": "m", "owned_by": "us"}]}') if method == "GET" else completion("yes")

    answer = model_of(server).answer([query()])[0]
    assert answer.answered_by is not None
    assert answer.answered_by.startswith("m | ")
