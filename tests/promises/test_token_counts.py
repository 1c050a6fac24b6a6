"""Tokens are counted also where a server counts none, wrongly, or below zero; caps hold by them, and it is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clucert.cache.base import decode_answer, encode_answer
from clucert.errors import BadAnswerError
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.study import RunSummary, evaluate
from clucert.models.chat_api import answer_of
from clucert.report.summary import read_summaries
from clucert.runtime.budget import Budget
from clucert.types import Answer, Message, Query, Usage
from tests.processes import QuietHandler, answering

QUERY = Query(messages=(Message("user", "one two three four"),), max_tokens=16)
INPUT = 5 + 4
"""18 characters at four a token, and one message."""


def read(usage, text="positive"):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    reply = {"choices": [choice]} | ({} if usage == "none" else {"usage": usage})
    return answer_of(reply, QUERY).usage


def counts(prompt, completion, cached=None):
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **details}


@pytest.mark.parametrize(
    "usage",
    [
        *("none", None, {}, counts(None, None), counts(0, 0), counts(-500, 1), counts(500, -1), counts(-1, -1)),
        *(counts(10**12, 1), counts(5, 10**12), counts(12, 0), {"completion_tokens": 3}, {"prompt_tokens": 30}),
    ],
)
def test_no_usage_and_impossible_usage_become_an_estimate_that_says_so(usage):
    assert read(usage) == Usage(1, INPUT, 2, 0, 1)


def test_a_possible_usage_is_taken_as_it_is():
    assert read(counts(9, 2)) == Usage(1, 9, 2)
    assert read(counts(9, 2, 4)) == Usage(1, 9, 2, 4)
    assert read(counts(9, 0), text="") == Usage(1, 9, 0)
    for cached, counted in ((99, 9), (-7, 0)):
        assert read(counts(9, 2, cached)) == Usage(1, 9, 2, counted)


def test_a_prompt_that_was_cut_is_noticed_whatever_else_the_usage_says():
    long = Query(messages=(Message("user", "word " * 3000),), max_tokens=16)
    choice = {"message": {"role": "assistant", "content": "positive"}}
    for usage in ({"prompt_tokens": 500}, counts(500, 1), counts(500, -1)):
        with pytest.raises(BadAnswerError, match="cuts long prompts"):
            answer_of({"choices": [choice], "usage": usage}, long)


def test_a_usage_below_zero_lowers_no_budget():
    budget = Budget(spent=Usage(3, 100, 3))
    _, aside = budget.reserve(QUERY, None)
    budget.settle(aside, Usage(1, -500, 1), None)
    assert budget.spent == Usage(4, 100, 3)


def test_estimates_add_up_and_survive_the_cache():
    total = Usage.total([read(None), read(counts(9, 2)), read(None)])
    assert (total.calls, total.estimated, total.input) == (3, 2, 2 * INPUT + 9)
    answer = Answer("positive", usage=read(None))
    assert decode_answer(encode_answer(answer)) == answer


def test_a_stored_usage_below_zero_lowers_no_sum():
    stored = json.loads(encode_answer(Answer("positive", usage=Usage(1, 5, 1))))
    stored["usage"]["input"] = -500
    assert decode_answer(json.dumps(stored)).usage == Usage(1, estimated=1)


@contextmanager
def server(usage) -> Iterator[str]:
    class Handler(QuietHandler):
        def do_POST(self) -> None:
            self.posted()
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "positive"}}
            self.reply({"object": "chat.completion", "choices": [choice], "usage": usage})

    with answering(Handler) as url:
        yield url


def study(tmp_path, url, **flags) -> RunSummary:
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"a warm story about two old friends number {i},1\n" for i in range(6)))
    config = {
        **{"task": "sst2", "data": str(data), "model": "openai/test", "base_url": url, "method": "ranmask"},
        **{"samples": 5, "certify_samples": 10, "max_retries": 0, "in_flight": 1, "max_connections": 1},
        **{"cache": False, "run_dir": tmp_path / "run"},
    }
    return evaluate(load_config(None, config | flags), command=["clucert"])


@pytest.mark.parametrize("usage", [None, counts(-1000, 1), counts(0, 0)])
def test_max_tokens_holds_on_a_server_that_counts_nothing(tmp_path, monkeypatch, usage):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-to-see-here")
    with server(usage) as url:
        part = study(tmp_path, url, max_tokens=2000)
        assert part.stopped == "budget"
        assert "--max-tokens 2,000" in str(part.reason)
        assert 0 < part.spent.input + part.spent.output <= 2000
        assert part.spent.estimated == part.spent.calls > 0
        whole = study(tmp_path, url)
    assert whole.stopped is None
    assert any(f"of {whole.spent.calls:,} calls are an estimate" in note for note in whole.notes)
    (figures,) = read_summaries([tmp_path / "run"])
    assert figures.usage.estimated == figures.usage.calls > 0
    assert figures.usage.input > 0


def test_a_server_that_counts_is_not_said_to_be_estimated(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-to-see-here")
    with server(counts(200, 1)) as url:
        whole = study(tmp_path, url)
    assert whole.spent == Usage(whole.spent.calls, 200 * whole.spent.calls, whole.spent.calls)
    assert not any("estimate" in note for note in whole.notes)
