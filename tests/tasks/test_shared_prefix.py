"""The shared prompt goes first: requests of a task differ only in their tail, so that servers compute it once."""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

import pytest
from tests.models.llama_http import served_smollm2

from clucert.models.chat_api import AcceptedFields, request_of
from clucert.models.load import ModelOptions, load_model
from clucert.tasks import load_task
from clucert.tasks.custom import from_prompt_file

TEXTS = (
    "an utterly moving story",
    "[MASK] film that [MASK] up for its slow start",
    "dull",
    "two good [MASK]\nLabel: x",
)


def common_start(texts: list[str]) -> str:
    same = takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return "".join(column[0] for column in same)


def bodies(task) -> list[str]:
    return [json.dumps(request_of("m", task.query(text), AcceptedFields())["messages"]) for text in TEXTS]


@pytest.mark.parametrize("name", ["sst2", "agnews", "gsm8k", "jailbreak"])
def test_requests_of_a_task_differ_only_in_their_tail(name: str):
    task = load_task(name)
    queries = [task.query(text) for text in TEXTS]
    assert len({query.messages[:-1] for query in queries}) == 1
    assert len({query.prefix for query in queries}) == 1
    sent = bodies(task)
    shared = common_start(sent)
    for text, body in zip(TEXTS, sent, strict=True):
        # What follows the shared part is the text, and nothing else but the end of the message.
        assert body[len(shared) :] == json.dumps(text)[1:-1] + '"}]'


def test_a_prompt_of_ones_own_shares_what_stands_before_the_text(tmp_path: Path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Is this spam or ham? Answer with one of {labels}.\n\nText: {text}")
    shared = common_start(bodies(from_prompt_file(["spam", "ham"], prompt, None)))
    assert shared.endswith("Answer with one of spam, ham.\\n\\nText: ")


@pytest.mark.llm
def test_a_real_server_computes_the_shared_prompt_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    task = load_task("sst2")
    with served_smollm2() as url:
        model = load_model("openai/smollm2", ModelOptions(base_url=url, max_connections=1))
        first, *others = [model.answer([task.query(text)])[0].usage for text in TEXTS]
        model.close()
    assert first.cached == 0
    for usage in others:
        assert usage.cached > 0.75 * usage.input
