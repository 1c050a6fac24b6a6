from __future__ import annotations

import asyncio
import gc
import logging
import math
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_server import Reply, Request, Server, completion, error, serving
from tests.processes import free_port

from clucert.errors import (
    AuthenticationError,
    BadAnswerError,
    CluCertError,
    InputError,
    ModelStatusError,
    ModelUnavailableError,
)
from clucert.models.load import ModelOptions, load_model
from clucert.models.openai import OpenAIModel
from clucert.models.retries import RetryPolicy
from clucert.models.server_address import Endpoint
from clucert.protocols import LanguageModel
from clucert.tasks import load_task
from clucert.types import Answer, Message, Query

KEY = "sk-very-secret-0123456789"
SST2 = load_task("sst2")


def ask(text: str = "fine", **fields: Any) -> Query:
    return Query(messages=(Message("user", text),), **fields)


@contextmanager
def model(server: Server, *, max_wait: float = 0.05, key: str | None = KEY, **options: Any) -> Iterator[OpenAIModel]:
    made = OpenAIModel(
        "openai/m", "m", Endpoint.of(server.url, key), ModelOptions(**{"timeout": 5.0, **options}), max_wait=max_wait
    )
    try:
        yield made
    finally:
        made.close()


def text_of(request: Request) -> str:
    return str(request.body["messages"][-1]["content"])


def test_answers_are_in_order_though_replies_are_not() -> None:
    def respond(request: Request, number: int) -> Reply:
        reply = completion(f"echo {text_of(request)}")
        reply.delay = 0.05 if number == 0 else 0.0
        return reply

    with serving(respond) as server, model(server) as asked:
        answers = asked.answer([ask(f"t{i}") for i in range(6)])
    assert [a.text for a in answers] == [f"echo t{i}" for i in range(6)]
    assert answers[0].usage.input == 500
    assert answers[0].usage.calls == 1
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_it_is_a_language_model_that_loses_no_answer() -> None:
    with serving([completion("x")]) as server, model(server) as asked:
        assert isinstance(asked, LanguageModel)


def test_concurrency_reaches_and_never_exceeds_max_connections() -> None:
    active, peak, lock = 0, 0, threading.Lock()
    together = threading.Barrier(4, timeout=5)

    def respond(_: Request, number: int) -> Reply:
        nonlocal active, peak
        with lock:
            active += 1
            peak = max(peak, active)
        together.wait()  # passes only when four requests are here at once
        with lock:
            active -= 1
        return completion("ok")

    with serving(respond) as server, model(server, max_connections=4) as asked:
        assert len(asked.answer([ask(str(i)) for i in range(12)])) == 12
    assert peak == 4


@pytest.mark.parametrize(
    "trouble",
    [
        error(429),
        error(429, headers={"Retry-After": "0"}),
        error(429, headers={"Retry-After": "3600"}),
        error(429, headers={"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}),
        error(500),
        error(503),
        Reply(drop=True),
    ],
    ids=["429", "429 at once", "429 in an hour", "429 in 2099", "500", "503", "dropped"],
)
def test_passing_trouble_is_waited_out(trouble: Reply) -> None:
    with serving([trouble, trouble, completion("ok")]) as server, model(server, max_retries=2) as asked:
        assert asked.answer([ask()])[0].text == "ok"
    assert len(server.requests) == 3


def test_retries_come_to_an_end() -> None:
    with (
        serving([error(500, "out of order")]) as server,
        model(server, max_retries=2) as asked,
        pytest.raises(ModelUnavailableError, match="answered 500: out of order"),
    ):
        asked.answer([ask()])
    assert len(server.requests) == 3


def test_retry_after_is_waited_for() -> None:
    when: list[float] = []

    def respond(_: Request, number: int) -> Reply:
        when.append(time.monotonic())
        return completion("ok") if number else error(429, headers={"retry-after-ms": "300"})

    with serving(respond) as server, model(server, max_wait=5.0) as asked:
        asked.answer([ask()])
    assert when[1] - when[0] >= 0.3  # a lower bound: the client must not come back earlier


@pytest.mark.parametrize("status", [429, 403, 400])
def test_an_exhausted_quota_is_not_retried(status: int) -> None:
    reply = error(status, "You exceeded your current quota", code="insufficient_quota")
    with serving([reply]) as server, model(server) as asked, pytest.raises(CluCertError, match="quota"):
        asked.answer([ask()])
    assert len(server.requests) == 1


def test_a_slow_server_times_out() -> None:
    slow = completion("late")
    slow.delay = 1.0
    with (
        serving([slow]) as server,
        model(server, timeout=0.1, max_retries=0) as asked,
        pytest.raises(ModelUnavailableError, match=r"did not answer within 0\.1 s: raise --timeout"),
    ):
        asked.answer([ask()])


def test_a_timeout_is_retried() -> None:
    slow = completion("late")
    slow.delay = 1.0
    with serving([slow, completion("ok")]) as server, model(server, timeout=0.3) as asked:
        assert asked.answer([ask()])[0].text == "ok"


def test_a_refused_connection_fails_at_once_with_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    asked = OpenAIModel("vllm/m", "m", Endpoint.of(url, None), ModelOptions(max_retries=50))
    with pytest.raises(ModelUnavailableError, match=r"^http://127\S+/v1 refused the connection: .*--base-url right\?$"):
        asked.answer([ask()])
    asked.close()


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"{not json", "application/json"),
        (b"<html>hello</html>", "text/html"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b'{"choices": []}', "application/json"),
        (b'{"choices": [{}]}', "application/json"),
        (b'{"choices": [{"message": {"content": 5}}]}', "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_a_broken_answer_is_no_vote(raw: bytes, content_type: str) -> None:
    reply = Reply(raw=raw, headers={"Content-Type": content_type})
    with serving([reply]) as server, model(server) as asked, pytest.raises(BadAnswerError) as caught:
        asked.answer([ask()])
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_names_the_variable(status: int) -> None:
    with (
        serving([error(status, f"bad key {KEY}")]) as server,
        model(server) as asked,
        pytest.raises(AuthenticationError, match="OPENAI_API_KEY"),
    ):
        asked.answer([ask()])
    assert len(server.requests) == 1


def test_an_unknown_model_is_named() -> None:
    with (
        serving([error(404, "model does not exist")]) as server,
        model(server) as asked,
        pytest.raises(ModelUnavailableError, match=r"no model 'm' \(404\): model does not exist"),
    ):
        asked.answer([ask()])


def test_what_was_answered_before_a_failure_is_handed_over() -> None:
    def respond(request: Request, _: int) -> Reply:
        return error(400, "no") if text_of(request) == "t5" else completion(text_of(request))

    got: dict[int, Answer] = {}
    with (
        serving(respond) as server,
        model(server, max_connections=2) as asked,
        pytest.raises(ModelUnavailableError, match="answered 400"),
    ):
        asked.answer_each([ask(f"t{i}") for i in range(40)], got.__setitem__)
    assert {0, 1, 2, 3} <= set(got)
    assert all(got[i].text == f"t{i}" for i in got)
    answered = {int(text_of(r)[1:]) for r in server.requests} - {5}
    assert answered == set(got)
    assert len(server.requests) < 40


def test_an_error_in_the_callback_stops_the_batch() -> None:
    def refuse(index: int, answer: Answer) -> None:
        raise BadAnswerError("cap reached")

    with serving([completion("ok")]) as server, model(server, max_connections=1) as asked:
        with pytest.raises(BadAnswerError, match="cap reached"):
            asked.answer_each([ask(str(i)) for i in range(50)], refuse)
        assert len(server.requests) < 50
        assert asked.answer([ask()])[0].text == "ok"


def test_it_can_be_awaited_from_another_loop() -> None:
    async def both(asked: OpenAIModel) -> list[Answer]:
        answers = await asyncio.gather(asked.answer_async(ask("a")), asked.answer_async(ask("b")))
        asked.release()
        return list(answers)

    with serving(lambda request, _: completion(text_of(request))) as server, model(server) as asked:
        assert [a.text for a in asyncio.run(both(asked))] == ["a", "b"]


def test_closed_as_the_http_library_begins_a_task_it_leaves_nothing_unawaited() -> None:
    asked = OpenAIModel("openai/m", "m", Endpoint.of(f"http://127.0.0.1:{free_port()}", KEY), ModelOptions())

    async def close_then() -> None:
        while not any("try_connect" in task.get_name() for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        await asked._close()

    asked._submit(asked._with_client(lambda api: api.models.list()))
    asyncio.run_coroutine_threadsafe(close_then(), asked._loop).result(timeout=10)
    asked.close()
    gc.collect()  # whatever was never awaited warns here, and a warning is an error


def test_closed_it_says_so() -> None:
    with serving([completion("ok")]) as server, model(server) as asked:
        asked.close()
        asked.close()
        with pytest.raises(InputError, match="closed"):
            asked.answer([ask()])


# Label scores


def top(**logprobs: float) -> list[dict[str, Any]]:
    entries = [{"token": token, "logprob": p} for token, p in logprobs.items()]
    return [{**entries[0], "top_logprobs": entries}]


def test_labels_are_scored_where_the_server_gives_logprobs() -> None:
    logprobs = top(Negative=math.log(0.6), Positive=math.log(0.2), positive=math.log(0.1), Neg=-3.0, The=-9.0)
    reply = completion("Negative", logprobs=logprobs)
    with serving([reply]) as server, model(server) as asked:
        answer = asked.answer([SST2.query("dull")])[0]
    assert server.requests[0].body["logprobs"] is True
    assert answer.label_logprobs == pytest.approx((math.log(0.3), math.log(0.6)))
    assert SST2.read(answer) == "negative"


@pytest.mark.parametrize(
    ("text", "logprobs"),
    [
        ("The answer is negative", top(The=-0.1, Pos=-3.0, Neg=-5.0)),
        ("negative", None),
        ("negative", []),
        ("negative", top(Neg=-0.1, Pos=-3.0)),
    ],
)
def test_text_is_read_where_logprobs_tell_nothing(text: str, logprobs: Any) -> None:
    with serving([completion(text, logprobs=logprobs)]) as server, model(server) as asked:
        answer = asked.answer([SST2.query("dull")])[0]
    assert answer.label_logprobs is None
    assert SST2.read(answer) == "negative"


def test_refused_logprobs_are_asked_for_once() -> None:
    def respond(request: Request, _: int) -> Reply:
        if "logprobs" in request.body:
            return error(400, "This model does not support logprobs")
        return completion("**positive**")

    with serving(respond) as server, model(server) as asked:
        votes = [SST2.read(asked.answer([SST2.query(text)])[0]) for text in "abc"]
    assert votes == ["positive"] * 3
    # The second and the third are the question of our own that this is learned from.
    assert ["logprobs" in r.body for r in server.requests] == [True, True, False, False, False, False]


def test_max_tokens_gives_way_to_its_new_name() -> None:
    def respond(request: Request, _: int) -> Reply:
        if "max_tokens" in request.body:
            return error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return completion("ok")

    with serving(respond) as server, model(server) as asked:
        assert asked.answer([ask(max_tokens=7)])[0].text == "ok"
    assert server.requests[-1].body["max_completion_tokens"] == 7


PROBE = [{"role": "user", "content": "Say yes."}]


@pytest.mark.parametrize(
    "said", ["the seed field is not supported", "use max_completion_tokens", "stop", "top_logprobs"]
)
def test_what_a_server_says_about_the_text_of_others_teaches_nothing(said: str) -> None:
    """It repeats the text, or is about a value in it; all fields are fine."""

    def respond(request: Request, _: int) -> Reply:
        if said in str(request.body["messages"]):
            return error(400, f"cannot process: {said}")
        return completion("ok")

    asks = {"max_tokens": 7, "seed": 3, "stop": ("x",), "temperature": 0.5, "labels": ("ok", "no")}
    with serving(respond) as server, model(server, temperature=0.5) as asked:
        for _ in range(3):
            with pytest.raises(ModelStatusError):
                asked.answer([ask(said, **asks)])
        assert asked.answer([ask("fine", **asks)])[0].text == "ok"
    sent = [request.body for request in server.requests]
    assert sum(body["messages"] == PROBE for body in sent) == 1
    assert all({"max_tokens", "seed", "stop", "logprobs"} <= body.keys() for body in sent)


def test_a_field_is_not_left_out_where_that_does_not_help() -> None:
    with serving(lambda request, _: error(400, "seed: no")) as server, model(server, temperature=0.5) as asked:
        with pytest.raises(ModelStatusError):
            asked.answer([ask(seed=3, temperature=0.5)])
        with pytest.raises(ModelStatusError):
            asked.answer([ask(seed=3, temperature=0.5)])
    assert "seed" in server.requests[-1].body


def test_several_fields_are_left_out_at_once_and_by_their_whole_names() -> None:
    def respond(request: Request, _: int) -> Reply:
        for name in ("max_tokens", "stop", "seed"):
            if name in request.body:
                return error(400, f"Unknown name {name!r}; max_completion_tokens, seed_offset and nonstop are known")
        return completion("ok")

    with serving(respond) as server, model(server, temperature=0.5) as asked:
        assert asked.answer([ask(seed=3, stop=("x",), temperature=0.5)])[0].text == "ok"
        before = len(server.requests)
        assert asked.answer([ask(seed=3, stop=("x",), temperature=0.5)])[0].text == "ok"
        assert len(server.requests) == before + 1


def test_a_cut_prompt_is_noticed() -> None:
    long = "word " * 500
    with serving([completion("ok", prompt_tokens=256)]) as server, model(server) as asked:
        with pytest.raises(BadAnswerError, match="256 tokens of a prompt of 500 words"):
            asked.answer([ask(long)])
        assert asked.answer([ask("word " * 200)])[0].text == "ok"


def test_sampling_draws_carry_their_seed() -> None:
    with serving([completion("ok")]) as server, model(server, temperature=0.7) as asked:
        assert not asked.deterministic
        asked.answer([ask(temperature=0.7, seed=3)])
    assert server.requests[0].body["seed"] == 3
    assert server.requests[0].body["temperature"] == 0.7


# Secrets


@pytest.mark.parametrize("status", [400, 401, 404, 500])
@pytest.mark.parametrize("userinfo", [False, True])
def test_no_secret_in_errors_repr_or_logs(status: int, userinfo: bool, caplog: pytest.LogCaptureFixture) -> None:
    password = "hunter2-is-the-password"

    def respond(request: Request, _: int) -> Reply:
        return error(status, f"got {request.headers['authorization']} {KEY} {password if userinfo else None}")

    caplog.set_level(logging.DEBUG)
    with serving(respond) as server:
        url = server.url.replace("://", f"://user:{password}@") if userinfo else server.url
        endpoint = Endpoint.of(url, KEY)
        asked = OpenAIModel("openai/m", "m", endpoint, ModelOptions(max_retries=0))
        with pytest.raises(CluCertError) as caught:
            asked.answer([ask()])
        shown = "".join(traceback.format_exception(caught.value)) + str(caught.value) + repr(asked) + repr(endpoint)
        asked.close()
    sent = server.requests[0].headers["authorization"]
    assert sent.startswith("Basic " if userinfo else "Bearer ")
    for secret in (KEY, password, sent.partition(" ")[2]):
        assert secret not in shown
        assert secret not in caplog.text


def test_openai_wants_a_key_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(AuthenticationError, match="set OPENAI_API_KEY"):
        load_model("openai/gpt-4o-mini")


def test_other_servers_need_no_key_and_never_get_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving([completion("ok")]) as server:
        for name in ("vllm/m", "ollama/m"):
            asked = load_model(name, ModelOptions(base_url=server.url))
            asked.answer([ask()])
            asked.close()
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer none"] * 2


def test_openai_base_url_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving([completion("ok")]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        asked = load_model("openai/m")
        assert asked.answer([ask()])[0].text == "ok"
        asked.close()


# Retries


def test_no_wait_outlasts_a_stop() -> None:
    tries = 0

    async def busy() -> None:
        nonlocal tries
        tries += 1
        raise TimeoutError

    async def stopped() -> float:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stop.set)
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await RetryPolicy(max_retries=9, max_wait=60.0).call(busy, stop)
        return time.monotonic() - began

    assert asyncio.run(stopped()) < 0.3  # the first wait alone is 0.375 s at least
    assert tries == 1


@pytest.mark.parametrize("answered", [False, True])
def test_a_refused_connection_is_final_until_the_server_has_answered(answered: bool) -> None:
    tries = 0

    async def refused() -> None:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError

    policy = RetryPolicy(max_retries=2, max_wait=0.01)
    policy.server_answered = answered
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(policy.call(refused))
    assert tries == (3 if answered else 1)
