"""A real vLLM server on the CPU. Needs its environment: python bench/servers.py --setup; a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from vllm_http import MAX_TOKENS, served_vllm, vllm_python

import clucert
from clucert.errors import AuthenticationError, ModelStatusError
from clucert.models.load import ModelOptions, load_model
from clucert.models.weights import smollm2_path
from clucert.protocols import LanguageModel
from clucert.tasks.sst2 import SST2
from clucert.types import Message, Query

KEY = "sk-vllm-secret-0123456789"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.llm,
    pytest.mark.skipif(vllm_python() is None, reason="vLLM is not installed: python bench/servers.py --setup"),
    pytest.mark.skipif(not find_spec("gguf"), reason="the extra clucert[hf] is not installed"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    import torch

    from clucert.models.hf.convert import converted_gguf

    with served_vllm(converted_gguf(smollm2_path(), torch.bfloat16), "smollm2", key=KEY) as url:
        yield url


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)


@contextmanager
def model(url: str, name: str = "vllm/smollm2", **options: Any) -> Iterator[LanguageModel]:
    made = load_model(name, ModelOptions(base_url=url, timeout=120, **options))
    try:
        yield made
    finally:
        made.close()  # type: ignore[attr-defined]


def test_a_certificate_uses_its_scores_and_its_prefix_cache(server: str) -> None:
    found = clucert.certify(
        "The airline's response to the delayed flights was thoughtful and quick.",
        task="sst2",
        model="vllm/smollm2",
        base_url=server,
        samples=10,
        certify_samples=40,
        cache=False,
    )
    assert found.prediction == "positive"
    cost = found.cost.classify
    assert cost.calls > 10
    # Four shots of nine blocks of 16 tokens; the text itself is a block or two.
    assert cost.cached > cost.input / 2


def test_labels_are_scored_and_texts_stop(server: str) -> None:
    with model(server) as asked:
        scored = asked.answer([SST2.query("a gorgeous , moving film"), SST2.query("a dull and pointless mess")])
        text = asked.answer([Query((Message("user", "Count: one, two, three,"),), max_tokens=30, stop=(",",))])[0]
    assert all(answer.label_logprobs is not None for answer in scored)
    margins = [answer.label_logprobs[0] - answer.label_logprobs[1] for answer in scored if answer.label_logprobs]
    assert margins[0] > margins[1]
    assert "," not in text.text
    assert 0 < text.usage.output < 30


def test_equal_questions_get_equal_answers_when_asked_alone(server: str) -> None:
    with model(server, max_connections=1) as asked:
        first, second = (asked.answer([SST2.query("fine , if a little slow")])[0] for _ in range(2))
    assert first.label_logprobs == pytest.approx(second.label_logprobs, abs=0.1)


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [
        ("vllm/nobody", SST2.query("fine"), "nobody"),
        ("vllm/smollm2", SST2.query("word " * MAX_TOKENS), "context length"),
    ],
)
def test_what_it_refuses_is_one_line(server: str, name: str, query: Query, said: str) -> None:
    with model(server, name) as asked, pytest.raises(ModelStatusError, match=said) as error:
        asked.answer([query])
    assert "\n" not in str(error.value)


def test_a_wrong_key_is_said(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-wrong-secret")
    with model(server) as asked, pytest.raises(AuthenticationError) as error:
        asked.answer([SST2.query("fine")])
    assert "sk-wrong-secret" not in str(error.value)
