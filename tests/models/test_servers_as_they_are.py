"""Servers that call themselves compatible, each with an oddity of its own, are asked, or refused in words that help."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_server import completion
from raw_servers import Listening, certificate, http, listening, proxy, raw_server

from clucert.errors import (
    AuthenticationError,
    BadAnswerError,
    InputError,
    MissingExtraError,
    ModelError,
    ModelStatusError,
)
from clucert.models.http_client import proxy_of
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.models.replies import Reply
from clucert.models.retries import MAX_WAIT, RetryPolicy
from clucert.models.server_address import Endpoint, local_endpoint, openai_endpoint
from clucert.types import Answer, Message, Query

KEY = "sk-verysecret0123456789"
OK = completion("ok").body


def reply(body: Any, status: int = 200, *fields: tuple[bytes, bytes]) -> Reply:
    return Reply(status, fields, body if isinstance(body, bytes) else json.dumps(body).encode())


def query(text: str = "a warm story", **fields: Any) -> Query:
    return Query((Message("user", text),), **{"max_tokens": 4, **fields})


class Server:
    """Answers by a function of the URL and the request; notes every question."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], Reply]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, method: str, url: str, body: bytes) -> Reply:
        if method == "GET":
            return reply({}, 404)
        self.asked.append((url, json.loads(body)))
        return self.answer(url, self.asked[-1][1])

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.asked]


@contextmanager
def model_of(server: Server | None, endpoint: Endpoint, **options: Any) -> Iterator[OpenAIModel]:
    made = OpenAIModel(
        "openai/m", "m", endpoint, ModelOptions(**{"timeout": 5.0, **options}), max_wait=0.01, server=server
    )
    try:
        yield made
    finally:
        made.close()


def asked(server: Server, asks: Query | None = None, url: str = "http://host", **options: Any) -> Answer:
    with model_of(server, Endpoint.of(url, KEY, model="m"), **options) as model:
        return model.answer([asks or query()])[0]


def refused(answer: Reply, kind: type[ModelError] = ModelStatusError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        asked(Server(lambda _, __: answer), **options)
    assert type(caught.value) is kind
    return str(caught.value)


# Addresses


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("https://models.github.ai/inference", "https://models.github.ai/inference/chat/completions"),
        ("https://api.perplexity.ai", "https://api.perplexity.ai/chat/completions"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai/chat/completions"),
        (
            "https://dbc.databricks.com/serving-endpoints",
            "https://dbc.databricks.com/serving-endpoints/chat/completions",
        ),
        (
            "https://dbc.databricks.com/serving-endpoints/a/invocations",
            "https://dbc.databricks.com/serving-endpoints/a/invocations",
        ),
        ("http://chat.example/api", "http://chat.example/api/chat/completions"),
        ("http://gate.example/llama", "http://gate.example/llama/v1/chat/completions"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://open.bigmodel.cn/api/paas/v4/", "https://open.bigmodel.cn/api/paas/v4/chat/completions"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://x.openai.azure.com/?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://x.services.ai.azure.com/models?api-version=2024-05-01-preview",
            "https://x.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
        ),
        ("http://host:8000/v1?deployment=a+b", "http://host:8000/v1/chat/completions?deployment=a+b"),
    ],
)
def test_the_address_that_answers_is_found_and_kept(written: str, there: str) -> None:
    server = Server(lambda url, _: reply(OK) if url == there else reply(b"<h1>Not Found</h1>", 404))
    with model_of(server, Endpoint.of(written, KEY, model="m")) as model:
        answers = [model.answer([query(str(i))])[0].text for i in range(3)]
    assert answers == ["ok"] * 3
    assert server.urls[-3:] == [there] * 3
    assert len(server.urls) <= 4


def test_a_page_for_every_address_is_no_answer() -> None:
    server = Server(lambda url, _: reply(b"<html>", 200) if "/v1/" not in url else reply({"detail": "Not Found"}, 404))
    with pytest.raises(ModelStatusError, match=r"404\): Not Found"):
        asked(server, url="http://host/app")


def test_a_model_that_is_not_there_is_still_named() -> None:
    server = Server(lambda _, __: reply({"error": {"message": "model 'm' not found", "code": "model_not_found"}}, 404))
    with pytest.raises(ModelStatusError, match=r"no model 'm' \(404\): model 'm' not found"):
        asked(server)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://x.openai.azure.com/openai/deployments/d?api-version=1", {"api-key": KEY}),
        ("http://gate.example/openai/deployments/d?api-version=1", {"api-key": KEY}),
        ("https://models.inference.ai.azure.com", {"Authorization": f"Bearer {KEY}"}),
        ("http://host", {"Authorization": f"Bearer {KEY}"}),
    ],
)
def test_azure_takes_its_key_in_its_own_header(url: str, header: dict[str, str]) -> None:
    endpoint = Endpoint.of(url, KEY)
    assert endpoint.headers == header
    assert KEY not in repr(endpoint)


def test_a_key_in_the_query_is_sent_and_shown_nowhere() -> None:
    endpoint = Endpoint.of("http://host/v1?api-key=hunter2hunter2&api-version=1", None)
    assert endpoint.base_url == "http://host/v1?api-version=1"
    assert endpoint.addresses[0].chat == "http://host/v1/chat/completions?api-key=hunter2hunter2&api-version=1"
    assert "hunter2" not in repr(endpoint) + endpoint.scrub("no key hunter2hunter2")


def test_organisation_and_project_go_to_openais_key_alone() -> None:
    env = {"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1\n", "OPENAI_PROJECT_ID": "proj_2", "VLLM_API_KEY": "v"}
    headers = openai_endpoint("http://host", env).headers
    assert headers == {
        "Authorization": f"Bearer {KEY}",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj_2",
    }
    assert local_endpoint("http://host", "VLLM_API_KEY", None, env).headers == {"Authorization": "Bearer v"}


@pytest.mark.parametrize("key", ["sk-…", "sk-a\nb", "sk-\u200b1", "ключ"])
def test_a_key_that_no_header_can_hold_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(InputError, match="copy it anew") as caught:
        Endpoint.of("http://host", key)
    assert key not in str(caught.value)


def test_headers_are_sent_over_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = openai_endpoint("http://nowhere.example", {"OPENAI_API_KEY": KEY, "OPENAI_ORG_ID": "org-1"})
    heads = []
    for through in (False, True):
        with raw_server(lambda _: http(json.dumps(OK).encode())) as server, proxy(server.port) as between:
            monkeypatch.setenv("http_proxy", between.url)
            direct = Endpoint.of(server.url, KEY, extra={"OpenAI-Organization": "org-1"})
            with model_of(None, endpoint if through else direct) as model:
                assert model.answer([query()])[0].text == "ok"
            heads.append(server.asked[-1].lower())
            assert bool(between.asked) == through
    for head in heads:
        assert f"authorization: bearer {KEY}".encode() in head
        assert b"openai-organization: org-1" in head


# What servers say


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
            "body.seed: Extra inputs are not permitted",
        ),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "Wrong"}]}}, "body.n: Wrong"),
        ({"error": "a string"}, "a string"),
        ({"error": {"message": "said"}}, "said"),
        (
            {"error": {"message": None, "type": "t"}, "message": "outside"},
            '{"error": {"message": null, "type": "t"}, "message": "outside"}',
        ),
        ({"errors": [{"code": 7003, "message": "No route"}], "success": False}, "No route"),
        ({"error_code": "BAD_REQUEST", "message": "INVALID_PARAMETER_VALUE"}, "INVALID_PARAMETER_VALUE"),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login fail"),
        (b"<html><title>Bad gateway</title></html>", "Bad gateway"),
        (b"just text", "just text"),
        (b"", "no reason given"),
        ([], "no reason given"),
    ],
)
def test_what_was_said_is_read_from_every_shape(body: Any, said: str) -> None:
    assert refused(reply(body, 418), max_retries=0).endswith(f"answered 418: {said}")


def test_fields_that_are_refused_in_mistrals_way_are_left_out() -> None:
    def answer(_: str, body: dict[str, Any]) -> Reply:
        for name in ("seed", "logprobs"):
            if name in body:
                wrong = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
                return reply({"detail": [wrong]}, 422)
        return reply(OK)

    server = Server(answer)
    assert asked(server, query(seed=3, temperature=0.5, labels=("ok", "no"))).text == "ok"
    assert not {"seed", "logprobs"} & set(server.asked[-1][1])
    assert len(server.asked) <= 6


def test_a_field_that_is_named_by_chance_is_not_left_out_for_ever() -> None:
    """A refusal may repeat the prompt: leaving the field out does not help then, and nothing is learnt."""

    def answer(_: str, body: dict[str, Any]) -> Reply:
        text = body["messages"][-1]["content"]
        return reply({"error": {"message": f"flagged: {text}"}}, 400) if "flagged" in text else reply(OK)

    server = Server(answer)
    with model_of(server, Endpoint.of("http://host", KEY)) as model:
        with pytest.raises(ModelStatusError, match="answered 400: flagged"):
            model.answer([query("flagged: stop the seed", stop=("\n",))])
        model.answer([query(stop=("\n",))])
    assert server.asked[-1][1]["stop"] == ["\n"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Unsupported parameter: 'temperature' is not supported with this model."),
        (400, "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value."),
        (422, "temperature: must be 1"),
        (500, "temperature is not supported"),
    ],
)
def test_a_temperature_is_never_changed_in_silence(status: int, message: str) -> None:
    body = {"error": {"message": message, "param": "temperature", "code": "unsupported_value"}}
    assert "--temperature 1" in refused(reply(body, status))
    server = Server(lambda _, sent: reply(body, status) if "temperature" in sent else reply(OK))
    assert asked(server, query(temperature=1.0, seed=1), temperature=1.0).text == "ok"


def test_a_reasoning_model_is_asked_in_its_way() -> None:
    """What OpenAI's o-series refuses, one after the other."""

    def answer(_: str, body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            )
            return reply({"error": {"message": message, "param": "max_tokens"}}, 400)
        if "logprobs" in body:
            return reply({"error": {"message": "You are not allowed to request logprobs from this model"}}, 403)
        for name in ("stop", "temperature"):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return reply({"error": {"message": message, "param": name}}, 400)
        return reply(OK)

    server = Server(answer)
    asks = query(temperature=1.0, seed=1, labels=("ok", "no"), stop=("\n",))
    assert asked(server, asks, temperature=1.0).text == "ok"
    assert set(server.asked[-1][1]) == {"model", "messages", "max_completion_tokens", "seed"}


def test_a_limit_that_is_too_small_names_its_flag() -> None:
    message = "Could not finish the message because max_tokens or model output limit was reached."
    assert "--answer-tokens" in refused(reply({"error": {"message": message}}, 400))


# 403


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "Input requires moderation. Your input was flagged"}}, ModelStatusError),
        ({"error": {"message": "not allowed", "param": "top_logprobs"}}, ModelStatusError),
        ({"error": {"message": "the value of max_tokens is too large"}}, ModelStatusError),
        ({"error": {"message": "Country, region, or territory not supported"}}, AuthenticationError),
        ({"error": {"message": "Denied", "code": "content_policy_violation"}}, ModelStatusError),
        ({"error": {"message": "Input contains a token that is not allowed"}}, ModelStatusError),
        ({"error": {"message": "Access denied: your account was flagged"}}, AuthenticationError),
        ({"error": {"message": "invalid key"}}, AuthenticationError),
        (b"", AuthenticationError),
    ],
)
def test_a_403_is_about_the_key_only_where_it_says_so(body: Any, kind: type[ModelError]) -> None:
    refused(reply(body, 403), kind)


def test_once_a_key_was_good_a_403_is_about_one_question() -> None:
    denied = reply(b"<title>Access denied</title>", 403)
    server = Server(lambda _, body: denied if "attack" in body["messages"][-1]["content"] else reply(OK))
    with model_of(server, Endpoint.of("http://host", KEY)) as model:
        model.answer([query()])
        with pytest.raises(ModelStatusError, match="answered 403: Access denied"):
            model.answer([query("attack")])
        model.answer([query("more")])


@pytest.mark.parametrize(
    "body",
    [
        [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}],
        {"code": "invalid argument", "error": "Incorrect API key provided: ab***cd."},
    ],
)
def test_a_400_that_begins_with_the_key_is_about_it(body: Any) -> None:
    refused(reply(body, 400), AuthenticationError)
    refused(reply({"error": "the text says: invalid api key"}, 400))


# Errors within a 200


@pytest.mark.parametrize(
    "error_in",
    [
        {"error": {"message": "Provider returned error", "code": 502}},
        {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
        {"error": {"message": "Overloaded", "type": "overloaded_error"}},
        {"error": "Please try again later"},
        {"error": {"message": "odd", "retryable": True}},
        {"choices": [], "error": {"code": 429, "message": "x"}},
        {**OK, "error": {"code": 503, "message": "x"}},
        {"choices": [{"message": {"content": ""}, "error": {"code": 502, "message": "x"}}]},
        {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        [{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}],
    ],
)
def test_an_error_within_a_200_is_retried_where_it_says_so(error_in: Any) -> None:
    replies = [reply(error_in), reply(error_in), reply(OK)]
    server = Server(lambda _, __: replies.pop(0))
    assert asked(server, max_retries=2).text == "ok"
    assert "answered with an error" in refused(reply(error_in), max_retries=1)


@pytest.mark.parametrize("body", [{"error": {"message": "no such field"}}, {"error": {"code": 400, "message": "bad"}}])
def test_any_other_error_within_a_200_is_final(body: Any) -> None:
    server = Server(lambda _, __: reply(body))
    with pytest.raises(ModelStatusError, match="answered with an error"):
        asked(server)
    assert len(server.asked) == 1
    refused(reply({"error": {"message": "Invalid API key", "code": "invalid_api_key"}}), AuthenticationError)


# Waiting


def test_a_rate_limit_without_a_time_is_waited_for_a_minute_in_all() -> None:
    from types import SimpleNamespace

    from clucert.models.replies import FailedReply

    policy = RetryPolicy(ModelOptions().max_retries, MAX_WAIT)

    def waits(failure: Exception) -> list[float]:
        outcome = SimpleNamespace(exception=lambda: failure)
        return [policy._wait(SimpleNamespace(outcome=outcome, attempt_number=n)) for n in range(1, 6)]

    limited = waits(FailedReply(reply({}, 429)))
    assert 60 <= sum(limited) <= 80
    assert waits(FailedReply(reply({}, 429, (b"Retry-After", b"7")))) == [7.0] * 5
    assert waits(FailedReply(reply({}, 429, (b"Retry-After", b"86400")))) == [MAX_WAIT] * 5
    assert sum(waits(FailedReply(reply({}, 503)))) < 20


# Counting


LONG = "word " * 400


def counted(tokens: int, **more: Any) -> Reply:
    return reply({**OK, "usage": {"prompt_tokens": tokens, "completion_tokens": 1, **more}})


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 480}},
        {"prompt_cache_hit_tokens": 480},
        {"cache_read_input_tokens": 480},
        {"cache_creation_input_tokens": 480},
    ],
)
def test_tokens_that_are_counted_beside_are_read(usage: dict[str, Any]) -> None:
    server = Server(lambda _, __: counted(12, **usage))
    assert asked(server, query(LONG)).text == "ok"
    assert len(server.asked) == 1


def test_a_server_that_counts_new_tokens_only_cuts_nothing() -> None:
    """It remembers the longest common beginning, from before this process, too."""
    known: list[list[str]] = [LONG.split()]

    def answer(_: str, body: dict[str, Any]) -> Reply:
        words = body["messages"][-1]["content"].split()
        same = max(next((i for i, (a, b) in enumerate(zip(words, k, strict=False)) if a != b), len(k)) for k in known)
        known.append(words)
        return counted(len(words) - same + 9)

    server = Server(answer)
    with model_of(server, Endpoint.of("http://host", KEY)) as model:
        answers = [model.answer([query(f"{LONG} and {i}")])[0] for i in range(20)]
    assert {each.text for each in answers} == {"ok"}
    assert len(server.asked) <= 22
    assert sum(each.usage.calls for each in answers) == len(server.asked)


def test_a_server_that_cuts_is_found_out_whatever_it_counted_before() -> None:
    server = Server(lambda _, body: counted(min(256, 9 + len(body["messages"][-1]["content"].split()))))
    with model_of(server, Endpoint.of("http://host", KEY)) as model:
        assert model.answer([query("word " * 200)])[0].text == "ok"
        for _ in range(2):
            with pytest.raises(BadAnswerError, match="256 tokens of a prompt of 400 words"):
                model.answer([query(LONG)])


# TLS


def test_tls_says_tls_and_takes_the_users_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, file = certificate(tmp_path)
    with raw_server(lambda _: http(json.dumps(OK).encode()), context) as server:
        for url, options, said in (
            (f"https://localhost:{server.port}", {}, "TLS certificate that is not trusted"),
            (f"https://127.0.0.1:{server.port}", {"ca_file": file}, "TLS certificate of another host"),
        ):
            with model_of(None, Endpoint.of(url, KEY), **options) as model, pytest.raises(ModelError, match=said):
                model.answer([query()])
        with model_of(None, Endpoint.of(f"https://localhost:{server.port}", KEY), ca_file=file) as model:
            assert model.answer([query()])[0].text == "ok"
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with model_of(None, Endpoint.of(f"https://localhost:{server.port}", KEY)) as model:
            assert model.answer([query()])[0].text == "ok"
        with pytest.raises(InputError, match="--ca-file"):
            OpenAIModel("openai/m", "m", Endpoint.of("http://h", KEY), ModelOptions(ca_file=tmp_path / "none"))
    with listening(lambda connection, _: connection.sendall(b"HTTP/1.1 400 No\r\n\r\n")) as plain:
        endpoint = Endpoint.of(f"https://localhost:{plain.port}", KEY)
        with model_of(None, endpoint) as model, pytest.raises(ModelError, match="http:// in place of https://"):
            model.answer([query()])


# Proxies


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_to(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_to


def there(server: Listening, between: Listening) -> Answer:
    with model_of(None, Endpoint.of("http://nowhere.example/v1", KEY)) as model:
        first = model.answer([query()])[0]
        assert model.answer([query("again")])[0] == first
    assert len(server.asked) == 2
    assert between.asked
    return first


def test_an_http_proxy_is_used(behind: Callable[..., None]) -> None:
    with raw_server(lambda _: http(json.dumps(OK).encode())) as server, proxy(server.port) as between:
        behind(http_proxy=between.url)
        assert there(server, between).text == "ok"
    assert between.asked[0].startswith((b"POST http://nowhere.example", b"GET http://nowhere.example"))


def test_an_https_proxy_is_asked_to_connect(behind: Callable[..., None], tmp_path: Path) -> None:
    context, file = certificate(tmp_path, "nowhere.example")
    with raw_server(lambda _: http(json.dumps(OK).encode()), context) as server, proxy(server.port) as between:
        behind(https_proxy=between.url.removeprefix("http://"))
        with model_of(None, Endpoint.of("https://nowhere.example/v1", KEY), ca_file=file) as model:
            assert model.answer([query()])[0].text == "ok"
    assert between.asked[0].startswith(b"CONNECT nowhere.example:443")
    assert KEY.encode() not in b"".join(between.asked)


def test_a_proxy_is_read_within_limits_and_its_refusal_is_told(behind: Callable[..., None]) -> None:
    long = json.dumps(completion("x" * 50_000).body).encode()
    with raw_server(lambda _: http(long)) as server, proxy(server.port) as between:
        behind(http_proxy=between.url)
        with (
            model_of(None, Endpoint.of("http://nowhere.example", KEY), max_answer_bytes=10_000) as model,
            pytest.raises(BadAnswerError, match="longer than 10,000 bytes"),
        ):
            model.answer([query()])
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with proxy(1, refusal) as between:
        behind(https_proxy=f"http://me:hunter2hunter2@127.0.0.1:{between.port}")
        with (
            model_of(None, Endpoint.of("https://nowhere.example", KEY)) as model,
            pytest.raises(ModelError, match="the proxy answered 407") as caught,
        ):
            model.answer([query()])
        assert "hunter2" not in str(caught.value)


def test_a_socks_proxy_is_used_or_its_extra_is_named(
    behind: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    behind(all_proxy="socks5://127.0.0.1:1")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "socksio", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'clucert\[socks\]'"):
            OpenAIModel("openai/m", "m", Endpoint.of("http://nowhere.example", KEY), ModelOptions())
    if importlib.util.find_spec("socksio") is None:
        pytest.skip("needs socksio")
    with raw_server(lambda _: http(json.dumps(OK).encode())) as server, proxy(server.port) as between:
        behind(all_proxy=f"socks5h://127.0.0.1:{between.port}")
        assert there(server, between).text == "ok"
    assert between.asked[0] == b"SOCKS nowhere.example"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "a.localhost", "0.0.0.0"])
def test_this_machine_is_never_behind_a_proxy(behind: Callable[..., None], host: str) -> None:
    behind(http_proxy="http://proxy:1", https_proxy="http://proxy:1", all_proxy="socks5://proxy:1")
    assert proxy_of(f"http://{host}:8000/v1") is None
    assert proxy_of(f"https://{host}:8000/v1") is None


def test_a_proxy_of_an_unknown_kind_is_refused_without_its_password(behind: Callable[..., None]) -> None:
    behind(all_proxy="gopher://me:hunter2@proxy:1")
    with pytest.raises(InputError, match="of a kind that is not known") as caught:
        proxy_of("http://nowhere.example")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["http://me:hunter2@[::1", "http://me:hunter2@proxy:99999", "http://me:hunter2@a b:1", "http://:1", "//"]
)
def test_a_proxy_that_is_no_url_is_refused_without_its_password(behind: Callable[..., None], written: str) -> None:
    behind(https_proxy=written)
    with pytest.raises(InputError, match="the proxy of the environment is no URL") as caught:
        proxy_of("https://nowhere.example")
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_is_not_there_is_not_taken_for_the_server(behind: Callable[..., None]) -> None:
    behind(https_proxy="http://me:hunter2@127.0.0.1:1")
    with (
        model_of(None, Endpoint.of("https://nowhere.example", KEY)) as model,
        pytest.raises(ModelError, match=r"the proxy of the environment does not answer: are HTTP_PROXY, .* right\?$"),
    ):
        model.answer([query()])


# Redirects


def test_redirects_keep_the_question_and_never_take_the_key_elsewhere() -> None:
    with (
        raw_server(lambda _: http(json.dumps(OK).encode())) as other,
        raw_server(
            lambda _: http(b"", b"Location: " + f"http://localhost:{other.port}/x".encode(), status=b"301 Moved")
        ) as first,
    ):
        with model_of(None, Endpoint.of(first.url, KEY)) as model:
            assert model.answer([query()])[0].text == "ok"
        assert other.asked[0].startswith(b"POST /x")
        assert KEY.encode() not in other.asked[0]
        assert KEY.encode() in first.asked[0]


@pytest.mark.parametrize("location", [b"", b"/v1/chat/completions", b"file:///etc/passwd", b"http://a b", b"\xff"])
def test_a_redirect_to_nowhere_comes_to_an_end(location: bytes) -> None:
    answer = http(b"", b"Location: " + location, status=b"307 Here")
    with (
        raw_server(lambda _: answer) as server,
        model_of(None, Endpoint.of(server.url, KEY), max_retries=0) as model,
        pytest.raises(ModelError),
    ):
        model.answer([query()])
    assert len(list(filter(None, server.asked))) <= (6 if location else 1)


def test_an_unknown_host_is_said_to_be_one() -> None:
    def server(*_: object) -> Reply:
        raise socket.gaierror(-2, "Name or service not known")

    with (
        model_of(server, Endpoint.of("http://host", KEY), max_retries=9) as model,
        pytest.raises(ModelError, match="a host name that is not known here"),
    ):
        model.answer([query()])


def test_several_refusals_of_one_name_are_a_refusal() -> None:
    from clucert.models.retries import was_refused

    both = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0), [Errno 111] Connect call failed"
    assert was_refused(OSError(both))
    assert not was_refused(OSError("Multiple exceptions: [Errno 110] timed out"))
