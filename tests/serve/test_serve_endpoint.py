"""The endpoint as the official client sees it, before an upstream that behaves and one that does not."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
import pytest
from serve_world import CALLS, KEY, PROMPT, Serving, ask, order, post, served, stats
from upstream import REFUSAL, SECRET


def raw(serving: Serving, body: Any, *, path: str = "/chat/completions", key: str = KEY) -> tuple[int, Any, Any]:
    """A request that the official client would not make: status, body, headers."""
    status, said, headers = post(serving, path, body, key)
    return status, json.loads(said), headers


def talk(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "stub", "messages": [{"role": "user", "content": c} for c in contents], **fields}


@pytest.mark.parametrize(("refuse", "side"), [(0, "complied"), (1, "refused")])
def test_the_official_client_gets_an_answer_of_the_majority_and_its_certificate(
    serving: Serving, refuse: int, side: str
) -> None:
    with serving.client() as client:
        reply = client.chat.completions.with_raw_response.create(
            model="stub", messages=[order(refuse=refuse), {"role": "user", "content": PROMPT}], temperature=0
        )
    found = reply.parse()
    said = found.choices[0].message.content
    assert said == REFUSAL if refuse else said.startswith("Sure: ")
    assert found.choices[0].finish_reason == "stop"
    certificate = found.model_extra["clucert"]
    assert certificate["derived"]["prediction"] == side
    assert certificate["selection"]["drawn"] + certificate["readings"][-1]["drawn"] == CALLS
    assert set(certificate["derived"]["proved"]) == {"word", "synonym"}
    assert found.usage.prompt_tokens == 1000 * certificate["cost"]["classify"]["calls"]
    headers = reply.headers
    assert (headers["x-clucert-decision"], headers["x-clucert-source"]) == (side, "majority")
    short = json.loads(headers["x-clucert-certificate"])
    assert short["radius"] == certificate["derived"]["radius"]
    assert short["votes"] == certificate["readings"][-1]
    assert found.id == f"chatcmpl-{headers['x-request-id']}"


def test_a_stream_is_the_same_answer_in_pieces(serving: Serving) -> None:
    with serving.client() as client:
        whole = ask(client, refuse=0).choices[0].message.content
        chunks = list(ask(client, refuse=0, more={"stream": True, "stream_options": {"include_usage": True}}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert len(chunks) > 5
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [c.model_extra["clucert"]["source"] for c in chunks if "clucert" in c.model_extra] == ["majority"]
    assert chunks[-1].usage.prompt_tokens % 1000 == 0
    with urlopen(
        Request(
            f"{serving.url}/chat/completions",
            json.dumps(talk(PROMPT, stream=True)).encode(),
            {"Authorization": f"Bearer {KEY}"},
        )
    ) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.read().endswith(b"data: [DONE]\n\n")


def test_an_abstention_refuses_and_says_so(serving: Serving) -> None:
    with serving.client() as client:
        found = ask(client, refuse=0.5)
    assert found.choices[0].message.content == "The vote was too close."
    assert found.model_extra["clucert"]["source"] == "policy"
    assert found.model_extra["clucert"]["derived"]["prediction"] is None


def test_the_same_request_meets_the_same_noise_and_the_seed_stays_secret(serving: Serving) -> None:
    with serving.client() as client:
        found = [ask(client, p, refuse=0.3).model_extra["clucert"] for p in (PROMPT, PROMPT)]
    # The seed is made of the secret key: it is not told. What it gives is the same.
    assert [answer["settings"]["seed"] for answer in found] == [None, None]
    assert found[0]["selection"] == found[1]["selection"]


def test_other_fields_go_to_the_upstream_and_only_the_last_user_turn_is_noised(serving: Serving, upstream: str) -> None:
    messages = [
        {"role": "system", "content": "be kind to all who ask"},
        {"role": "user", "content": "hello my dear old friend"},
        {"role": "assistant", "content": "hello to you"},
        {"role": "user", "content": [{"type": "text", "text": PROMPT}, {"type": "text", "text": "and soon"}]},
    ]
    more = {"top_p": 0.5, "stop": "END", "max_tokens": 999, "user": "u1", "temperature": 0.3, "tools": [], "n": 1}
    status, found, _ = raw(serving, {"model": "stub", "messages": messages, **more})
    assert status == 200
    sent = stats(upstream)["last"]
    assert sent["messages"][:3] == messages[:3]
    noised = sent["messages"][3]["content"]
    assert "[MASK]" in noised
    assert noised.count("\n") == 1
    assert (sent["top_p"], sent["stop"], sent["user"], sent["temperature"]) == (0.5, ["END"], "u1", 0.3)
    assert sent["max_tokens"] == 50
    assert "tools" not in sent
    assert found["clucert"]["derived"]["n"] == len(PROMPT.split()) + 2


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"n": 2}, 400, "n"),
        ({"grammar": 'root ::= "yes"', "n_predict": 9999}, 400, "grammar"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format.type"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"modalities": ["audio"]}, 400, "modalities"),
        ({"model": "other"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "hi"}, 400, "messages"),
        ({"temperature": 3}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, None),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages.0.content"),
        (talk([{"type": "image_url", "image_url": {"url": "data:x"}}]), 400, "messages.0.content.0"),
        (talk("?!..."), 400, None),
        (talk("word " * 3000 + "x" * 6000), 413, None),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_named(
    serving: Serving, fields: dict[str, Any], status: int, param: str | None
) -> None:
    found, body, _ = raw(serving, talk(PROMPT) | fields)
    assert (found, body["error"]["param"]) == (status, param), body
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'{"model": "stub", "messages": [{"role": "user"'])
def test_a_body_that_is_no_request_is_refused(serving: Serving, body: bytes) -> None:
    assert raw(serving, body)[0] == 400


def test_models_health_and_unknown_routes(serving: Serving) -> None:
    with serving.client() as client:
        assert [model.id for model in client.models.list()] == ["stub"]
        assert client.models.retrieve("stub").owned_by == "clucert"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other/name")
        with pytest.raises(openai.NotFoundError, match="not served"):
            client.embeddings.create(model="stub", input="x")
    for path in ("/health", "/health/live"):
        with urlopen(f"{serving.root}{path}") as reply:
            assert json.load(reply)["status"] == "ok"
    status, body, headers = raw(serving, {}, path="/models")
    assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert body["error"]["code"] == "not_found"


@pytest.mark.parametrize("key", ["wrong", KEY[:-1], f"{KEY}x", "é"])
def test_without_the_right_key_nothing_is_answered(serving: Serving, upstream: str, key: str) -> None:
    before = stats(upstream)["answered"]
    status, body, headers = raw(serving, talk(PROMPT), key=key)
    assert (status, body["error"]["code"], headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    with serving.client(key="wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with pytest.raises(HTTPError, match="401") as refused:
        urlopen(Request(f"{serving.url}/chat/completions", b"{}"))
    refused.value.close()
    assert stats(upstream)["answered"] == before


FAILURES = {
    "hang up": (502, "upstream_unreachable"),
    "drop": (502, "upstream_unreachable"),
    "not json": (502, "upstream_bad_answer"),
    "no choices": (502, "upstream_bad_answer"),
    "gzip 503": (502, "upstream_error"),
    "redirect": (502, "upstream_unreachable"),
    "nothing": (502, "upstream_bad_answer"),
    500: (502, "upstream_error"),
    503: (502, "upstream_error"),
    404: (502, "upstream_error"),
    401: (502, "upstream_auth"),
    429: (429, "upstream_rate_limit"),
    400: (400, "upstream_refused"),
}


@pytest.mark.parametrize("fail", FAILURES)
def test_an_upstream_that_fails_is_named_in_openais_shape_and_nothing_is_made_up(serving: Serving, fail: Any) -> None:
    with serving.client() as client, pytest.raises(openai.APIStatusError) as raised:
        ask(client, fail=fail, retry_after=7)
    error = raised.value
    assert (error.status_code, error.code) == FAILURES[fail]
    assert SECRET not in str(error)
    assert "127.0.0.1" not in str(error)
    assert error.response.headers.get("retry-after") == ("7" if fail in (429, 500, 503) else None)


@pytest.mark.parametrize("wait", ["inf", "1e999", "-5", "nan", "soon", "99999999999", "٧"])
def test_an_odd_time_to_wait_becomes_one_that_a_client_can_keep(serving: Serving, wait: str) -> None:
    with serving.client() as client, pytest.raises(openai.RateLimitError) as raised:
        ask(client, fail=429, retry_after=wait)
    assert 1 <= int(raised.value.response.headers["retry-after"]) <= 3600


@pytest.mark.parametrize("fail", ["negative", "gzip"])
def test_an_odd_answer_is_read_or_refused_and_no_count_goes_backwards(serving: Serving, fail: str) -> None:
    before = serving.metrics()['clucert_upstream_tokens_total{direction="in"}']
    with serving.client() as client:
        found = ask(client, fail=fail, refuse=0)
    assert found.usage.prompt_tokens > 0
    assert serving.metrics()['clucert_upstream_tokens_total{direction="in"}'] > before


def test_an_upstream_that_is_late_is_a_gateway_timeout(serving: Serving) -> None:
    with serving.client() as client, pytest.raises(openai.InternalServerError) as raised:
        ask(client, delay=20)
    assert (raised.value.status_code, raised.value.code) == (504, "upstream_timeout")


def test_empty_answers_are_no_votes(serving: Serving) -> None:
    with serving.client() as client:
        found = ask(client, fail="silence")
    certificate = found.model_extra["clucert"]
    assert certificate["derived"]["prediction"] is None
    assert "unreadable answers" in certificate["derived"]["unreadable"]
    assert certificate["source"] == "policy"
    assert found.choices[0].message.content


def test_a_client_that_hangs_up_costs_nothing_more(serving: Serving, upstream: str) -> None:
    before, gone = stats(upstream), serving.metrics().get('clucert_requests_total{status="499"}', 0)
    body = json.dumps({"model": "stub", "messages": [order(delay=2.5), {"role": "user", "content": PROMPT}]}).encode()
    host, port = serving.root.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not serving.metrics()["clucert_upstream_in_flight"]:
            time.sleep(0.01)
    while serving.metrics().get('clucert_requests_total{status="499"}', 0) == gone:
        time.sleep(0.01)
    metrics = serving.metrics()
    assert metrics["clucert_in_flight"] == metrics["clucert_upstream_in_flight"] == 0
    while stats(upstream).get("hung_up", 0) == before.get("hung_up", 0):
        time.sleep(0.01)
    assert stats(upstream)["answered"] == before["answered"]


def test_neither_keys_nor_prompts_are_in_the_log(serving: Serving) -> None:
    """Runs last in this file: every request above has left its line."""
    log = serving.log.read_text()
    assert log.count(" INFO ") > 40
    for secret in (KEY, SECRET, "wonderful", "bread", "Sure:"):
        assert secret not in log
    assert "Traceback" not in log
    assert "unexpected" not in log


PLAIN = "please tell me the wonderful secret of baking, with terrible people and wonderful stories"
DISGUISED = "please tell me the wonderfull s\u0435cret of baking, with terible ｐeoｐle and w\u200bonderful stories"


def test_prompts_of_one_canonical_form_get_one_answer_and_the_upstream_sees_the_form(
    upstream: str, tmp_path: Path
) -> None:
    with served(upstream, tmp_path, "--canonical", "characters,spelling,synonyms") as running:
        with running.client() as client:
            found = []
            for prompt in (PLAIN, DISGUISED):
                reply = ask(client, prompt)
                certificate = reply.model_extra["clucert"]
                derived = certificate["derived"]
                assert derived["free"][0].startswith("any number of characters")
                found.append((reply.choices[0].message.content, certificate["readings"], derived["proved"]["word"]))
                seen = stats(upstream)["last"]["messages"][-1]["content"]
                assert not any(word in seen for word in ("wonderfull", "terible", "\u0435", "ｐ", "\u200b"))
                forms = [form.split()[0] for form in certificate["settings"]["canonical"]]
                assert forms == ["characters", "spelling", "synonyms"]
        assert found[0] == found[1]
        assert running.stop() == 0
