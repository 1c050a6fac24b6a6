"""One odd reply is one failed question, in one line, in bounded memory and time: over real sockets and fuzzed."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_server import completion
from raw_servers import ODD_ANSWERS, Listening, http, raw_server

from clucert.cache import open_cache
from clucert.errors import BadAnswerError, CluCertError, ModelError, ModelStatusError
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.models.replies import FailedReply, Reply, retry_after
from clucert.models.server_address import Endpoint
from clucert.tasks import load_task
from clucert.types import Answer

SST2 = load_task("sst2")
KEY = "ab" * 32
LONE = json.dumps(completion("\ud800").body).encode()
BODY = json.dumps(completion("positive").body).encode()


@contextmanager
def model_at(server: Listening, **options: Any) -> Iterator[OpenAIModel]:
    made = OpenAIModel(
        "openai/m",
        "m",
        Endpoint.of(server.url, "sk-0123456789"),
        ModelOptions(**{"timeout": 5.0, "max_retries": 0, **options}),
        max_wait=0.01,
    )
    try:
        yield made
    finally:
        made.close()


def ask(answer: Any, **options: Any) -> Answer:
    with raw_server(lambda _: answer) as server, model_at(server, **options) as model:
        return model.answer([SST2.query("fine")])[0]


def failure(answer: Any, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        ask(answer, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Encodings


@pytest.mark.parametrize("label", [b"gzip", b"deflate", b"x-gzip", b"br", b"gzip, gzip", b"\xff\xfe"])
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
def test_a_mislabelled_encoding_is_read_as_it_is(label: bytes, status: bytes) -> None:
    body = BODY if status[:3] == b"200" else b'{"error": {"message": "too long"}}'
    reply = http(body, b"Content-Encoding: " + label, status=status)
    if status[:3] == b"200":
        assert SST2.read(ask(reply)) == "positive"
    else:
        assert "answered 400: too long" in failure(reply)


@pytest.mark.parametrize(
    ("label", "packed"),
    [
        (b"gzip", gzip.compress(BODY)),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", zlib.compress(BODY)[2:-4]),
        (b"gzip, deflate", zlib.compress(gzip.compress(BODY))),
    ],
)
def test_an_encoding_that_was_not_asked_for_is_undone(label: bytes, packed: bytes) -> None:
    assert SST2.read(ask(http(packed, b"Content-Encoding: " + label))) == "positive"


# Sizes


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_an_odd_answer_is_told_in_one_line_and_within_limits(name: str) -> None:
    answer, said, _ = ODD_ANSWERS[name]
    tracemalloc.start()
    try:
        with raw_server(lambda _: answer()) as server, model_at(server, max_answer_bytes=100_000) as model:
            with pytest.raises(ModelError, match=said) as caught:
                model.answer([SST2.query("fine")])
            assert "\n" not in str(caught.value)
            assert server.sent < 20_000_000  # what was sent before the connection was closed, buffers included
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_is_the_flag_that_the_message_names() -> None:
    long = json.dumps(completion("x" * 5000).body).encode()
    assert "raise --max-answer-bytes" in failure(http(long), max_answer_bytes=5000)
    assert ask(http(long), max_answer_bytes=10_000).text == "x" * 5000


# Waiting


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7.0),
        (b" 0.5 ", 0.5),
        (b"0", 0.0),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        *((odd, None) for odd in (b"inf", b"-1", b"nan", b"1e9", b"", b"\xd9\xa5", b"\xff", b"soon", b"9" * 400)),
        (b"Mon, 99 Foo 2026 99:99:99 GMT", None),
        (b"Wed, 21 Oct 2015 07:28:00", None),
        (b"Fri, 31 Dec 9999 23:59:59 -9999", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_nothing_else(value: bytes, seconds: float | None) -> None:
    assert retry_after(Reply(429, [(b"Retry-After", value)], b"")) == seconds


@pytest.mark.parametrize("value", [b"inf", b"-5", b"nan", "ٱ".encode(), b"\xff\xfe"])
def test_an_odd_retry_after_is_waited_for_as_if_there_were_none(value: bytes) -> None:
    replies = [http(b"{}", b"Retry-After: " + value, status=b"429 Slow"), http(BODY)]
    with raw_server(lambda _: replies.pop(0)) as server, model_at(server, max_retries=1) as model:
        assert SST2.read(model.answer([SST2.query("fine")])[0]) == "positive"


# Contents


def changed(**change: Any) -> bytes:
    body = completion("positive", logprobs=[{"token": "positive", "logprob": -0.1, "top_logprobs": []}]).body
    body["choices"][0] |= change
    return json.dumps(body).encode()


TOP = [{"token": "positive", "logprob": -0.1}, {"token": "negative", "logprob": -2.0}]


@pytest.mark.parametrize(
    "logprobs",
    [
        *(None, 5, "x", [], {}, {"content": None}, {"content": {}}, {"content": [None]}, {"content": [[]]}),
        *({"content": [{}]}, {"content": [{"token": None}]}, {"content": [{"token": "positive"}]}),
        *(
            {"content": [{"token": "positive", "logprob": None, "top_logprobs": top}]}
            for top in (None, {}, [None], [{}], [{"token": "positive"}], [{"token": 1, "logprob": 1}], [*TOP, None])
        ),
        *(
            {"content": [{"token": "positive", "logprob": 0, "top_logprobs": [{"token": "positive", "logprob": p}]}]}
            for p in (float("inf"), float("nan"), float("-inf"), 5, "x", [], True, -(10**400), 10**400)
        ),
    ],
)
def test_odd_logprobs_are_none_and_the_text_is_read_and_can_be_kept(logprobs: Any, tmp_path: Path) -> None:
    answer = ask(http(changed(logprobs=logprobs)))
    assert answer.label_logprobs is None
    assert SST2.read(answer) == "positive"
    with_cache = open_cache(tmp_path / "c.sqlite")
    with_cache.put_many({KEY: answer}, model="m")
    assert with_cache.get_many([KEY]) == {KEY: answer}
    with_cache.close()


@pytest.mark.parametrize(
    "body", [b"[" * 5000, b'{"choices":' * 5000, b"\xef\xbb\xbf{", b"", b"nul", b"1" * 5000, b"\0", LONE]
)
def test_what_is_no_completion_is_one_line(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        ask(http(body))


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000, "positive" * 3000, "\0", "1" * 5000])
def test_odd_texts_are_no_votes(text: str) -> None:
    assert SST2.read(ask(http(json.dumps(completion(text).body).encode()))) is None


@pytest.mark.parametrize("count", [10**4298, -(10**4298), 1e308, "7", None, [], True, 10**30])
def test_impossible_counts_become_an_estimate(count: Any) -> None:
    body = completion("positive").body | {"usage": {"prompt_tokens": count, "completion_tokens": count}}
    answer = ask(http(json.dumps(body).encode()))
    assert (answer.text, answer.usage.estimated) == ("positive", 1)
    assert 0 < answer.usage.input < 10_000


def test_an_answer_with_a_number_that_is_none_fails_alone_with_a_cache_and_without(tmp_path: Path) -> None:
    """A model of the user's own may give such a number, too."""
    import asyncio

    from clucert.runtime.model_queue import ModelQueue

    class Odd:
        name, deterministic = "odd", True

        def answer(self, queries: Any) -> list[Answer]:
            return [Answer("", (float("nan"), 0.0) if "2" in q.messages[-1].content else (0.0, -1.0)) for q in queries]

        def close(self) -> None:
            pass

    async def asked(cache: Any) -> list[Any]:
        queue = ModelQueue(Odd(), cache=cache)
        queue.start()
        try:
            one = [queue.ask([queue.key(SST2.query(f"text {i}"))]) for i in range(4)]
            return await asyncio.gather(*one, return_exceptions=True)
        finally:
            await queue.stop()

    for cache in (None, open_cache(tmp_path / "c.sqlite")):
        found = asyncio.run(asked(cache))
        assert [type(each).__name__ for each in found] == ["Asked", "Asked", "BadAnswerError", "Asked"]
    cache.close()


# Fuzzed


def bench(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", Path(__file__).parents[2] / f"bench/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_mutated_replies_are_errors_of_ours_or_votes_that_they_state() -> None:
    found = bench("replies").fuzz(1500, seed=3)
    assert found.tracebacks == []
    assert found.invented == []
    assert found.messages == []
    assert found.counts["vote"] > 150  # not everything is refused
    assert sum(found.counts.values()) == 1500


def test_the_second_reader_of_the_fuzz_is_no_yes_man() -> None:
    stated = bench("replies").stated
    assert stated(BODY) == {"positive"}
    for change in ({"finish_reason": "tool_calls"}, {"error": {"code": 1}}, {"message": {"content": "not positive"}}):
        assert stated(changed(**change)) == set()


def test_errors_of_every_kind_are_one_printable_line() -> None:
    reply = http(b'{"error": {"message": "\\u001b[2J\\u009b31m\\u202eevil\\nnext"}}', status=b"400 No")
    said = failure(reply)
    assert r"\x1b[2J\x9b31m\u202eevil next" in said
    assert said.isprintable()
    assert isinstance(ModelStatusError("\x1b[2J", 400), CluCertError)
    assert str(CluCertError("a\x1b]0;x\x07\nb")) == r"a\x1b]0;x\x07 b"
    assert FailedReply(Reply(500, (), b"\x00\x01binary")).said == "no reason given"
