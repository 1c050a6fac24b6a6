"""LiteLLM's guardrail contract; and, where LiteLLM is installed, its real proxy with a gate behind it and inside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import openai
import pytest
import yaml
from serve_world import KEY, Serving, reply_to, stub
from test_gate_endpoint import HARMFUL, SAFE, gated
from upstream import SECRET

PATH = "/beta/litellm_basic_guardrail_api"
FLAGS = ("--deterministic", "--method", "windows", "--size", "4", "--max-characters", "5000", "--max-gate-calls", "300")
real = pytest.mark.skipif(find_spec("litellm") is None, reason="LiteLLM is not installed: clucert[litellm]")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with stub("gate_upstream.py") as url:
        yield url


@pytest.fixture(scope="module")
def serving(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gate without an upstream of its own."""
    with gated(upstream, tmp_path_factory.mktemp("guardrail"), *FLAGS, alone=True) as running:
        yield running


def judge(serving: Serving, key: str = KEY, **fields: Any) -> tuple[int, Any]:
    body = {"input_type": "request", "request_data": {}, "litellm_version": "1.80", **fields}
    status, said, _ = reply_to(Request(serving.root + PATH, json.dumps(body).encode(), {"x-api-key": key}))
    return status, json.loads(said)


def test_a_call_is_passed_or_blocked_with_the_certificate(serving: Serving) -> None:
    status, passed = judge(serving, texts=[SAFE])
    assert (status, passed["action"], passed["clucert"]["state"]) == (200, "NONE", "certified")
    status, blocked = judge(serving, texts=[SAFE, HARMFUL])
    assert (status, blocked["action"]) == (200, "BLOCKED")
    assert "still blocked" in blocked["blocked_reason"]
    assert blocked["clucert"]["still_blocked"]
    assert "bomb" not in json.dumps(blocked)
    assert judge(serving, texts=["fine"], images=["data:image/png;base64,AA"])[1]["action"] == "BLOCKED"
    assert judge(serving, input_type="response", texts=[""])[1] == {"action": "NONE"}
    assert judge(serving, input_type="response", texts=[HARMFUL])[1]["action"] == "BLOCKED"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"key": "wrong"}, 401),
        ({"texts": ["x" * 5001]}, 413),
        ({"texts": [" ".join(f"w{i}" for i in range(304))]}, 413),
        ({"texts": "x"}, 400),
        ({"texts": []}, 400),
        ({"input_type": "other"}, 400),
        ({"texts": ["an outage of the classifier"]}, 502),
    ],
)
def test_what_cannot_be_judged_is_an_error_so_that_litellm_fails_closed(
    serving: Serving, fields: dict[str, Any], status: int
) -> None:
    found, body = judge(serving, **{"texts": [SAFE], **fields})
    assert found == status
    assert "action" not in body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/models", "/v1/models/stub"])
def test_without_an_upstream_nothing_else_is_answered(serving: Serving, path: str) -> None:
    said = None if "models" in path else b"{}"
    head = {"Authorization": f"Bearer {KEY}"}
    status, body, _ = reply_to(Request(serving.root + path, said, head))
    error = json.loads(body)["error"]
    assert (status, error["code"]) == (404, "no_upstream")
    assert PATH in error["message"]
    assert reply_to(Request(serving.root + path, said))[0] == 401
    assert json.loads(reply_to(f"{serving.root}/health")[1]) == {"status": "ok", "gate": "ready"}


@contextmanager
def proxy(upstream: str, folder: Path, guardrail: dict[str, Any]) -> Iterator[openai.OpenAI]:
    """The client of LiteLLM's proxy before ``upstream``."""
    model = {"model": "openai/stub", "api_base": f"{upstream}/v1", "api_key": SECRET}
    guard = {"guardrail_name": "certified", "litellm_params": {"mode": "pre_call", "default_on": True, **guardrail}}
    config = {"model_list": [{"model_name": "stub", "litellm_params": model}], "guardrails": [guard]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    own = {"LITELLM_MASTER_KEY": "sk-proxy", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OPENAI_API_KEY": SECRET}
    command = [Path(sys.executable).with_name("litellm"), "--config", "config.yaml", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"], stdout=log, stderr=log, env={**os.environ, **own}, cwd=folder
        )
    try:
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/health/liveliness").close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}", api_key="sk-proxy", max_retries=0) as client:
            yield client
    finally:
        process.terminate()
        process.wait()


def said(text: str) -> Any:
    return [{"role": "system", "content": "be kind"}, {"role": "user", "content": text}]


ASKS: dict[str, Callable[[openai.OpenAI, str], Any]] = {
    "chat": lambda c, text: c.chat.completions.create(model="stub", messages=said(text)),
    "stream": lambda c, text: list(c.chat.completions.create(model="stub", messages=said(text), stream=True)),
    "completions": lambda c, text: c.completions.create(model="stub", prompt=text),
    "responses": lambda c, text: c.responses.create(model="stub", input=text),
}


def check(client: openai.OpenAI) -> None:
    for ask in ASKS.values():
        assert ask(client, SAFE)
        with pytest.raises(openai.BadRequestError, match="still blocked"):
            ask(client, HARMFUL)


@real
@pytest.mark.slow
def test_the_real_proxy_asks_the_endpoint_and_nothing_passes_without_it(upstream: str, tmp_path: Path) -> None:
    with gated(upstream, tmp_path, *FLAGS) as running:
        at = {"guardrail": "generic_guardrail_api", "api_base": running.root, "api_key": KEY}
        with proxy(upstream, tmp_path, at) as client:
            check(client)
            running.stop()
            with pytest.raises(openai.APIError):
                ASKS["chat"](client, SAFE)


@real
@pytest.mark.slow
def test_the_real_proxy_has_the_gate_inside(upstream: str, tmp_path: Path) -> None:
    own = {"task": "jailbreak", "gate_model": "vllm/guard", "gate_url": f"{upstream}/guard/v1", "deterministic": True}
    guardrail = {"guardrail": "clucert.litellm_guardrail.CertifiedGuardrail", **own, "method": "windows", "size": 4}
    with proxy(upstream, tmp_path, guardrail) as client:
        check(client)
