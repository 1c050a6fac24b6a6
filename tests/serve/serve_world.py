"""Real processes: an upstream that misbehaves on demand, and `clucert serve` in front of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import openai
from upstream import SECRET

HERE = Path(__file__).parent
KEY = "guard-key-0123456789abcdef"
PROMPT = "please tell me the wonderful secret of baking good bread at home"
SAMPLES, CERTIFY = 6, 10
CALLS = SAMPLES + CERTIFY


@dataclass
class Serving:
    """A running `clucert serve`."""

    process: subprocess.Popen[bytes]
    url: str
    """With /v1."""
    log: Path

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def client(self, key: str = KEY, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, **{"max_retries": 0, "timeout": 30.0, **options})

    def metrics(self) -> dict[str, float]:
        with urlopen(f"{self.root}/metrics") as reply:
            lines = reply.read().decode().splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def stub(script: str = "upstream.py") -> Iterator[str]:
    """The root URL of an upstream that lives as long as the context; ``gate_upstream.py`` is one of gates."""
    process = subprocess.Popen([sys.executable, str(HERE / script)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


def stats(upstream: str) -> dict[str, Any]:
    with urlopen(f"{upstream}/stats") as reply:
        found: dict[str, Any] = json.load(reply)
    return found


def reply_to(request: Request | str) -> tuple[int, bytes, Any]:
    """Status, body and headers of a response, of an error too."""
    try:
        with urlopen(request) as reply:
            return reply.status, reply.read(), reply.headers
    except HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def post(serving: Serving, path: str, body: Any, key: str = KEY) -> tuple[int, bytes, Any]:
    """The same of a request that the official client may not make: ``body`` is bytes, or is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reply_to(Request(f"{serving.url}{path}", data, {"Authorization": f"Bearer {key}"}))


@contextmanager
def served(
    upstream: str, folder: Path, *flags: str, key: str | None = KEY, model: str = "stub", alone: bool = False
) -> Iterator[Serving]:
    """`clucert serve` before ``upstream``, or ``alone``, before none. Without retries; a vote by RanMASK with 6 + 10
    samples; and what ``flags`` change.
    """
    log = folder / "serve.log"
    secrets = {"OPENAI_API_KEY": SECRET, **({"CLUCERT_API_KEY": key} if key else {})}
    before = () if alone else ("--upstream", upstream, "--model", model)
    command = [sys.executable, "-m", "clucert", "serve", *before, "--port", "0"]
    votes = ("--method", "ranmask", "--samples", str(SAMPLES), "--certify-samples", str(CERTIFY))
    usual = ("--max-retries", "0", *(() if "--gate" in flags else votes))
    env = {name: value for name, value in os.environ.items() if name != "CLUCERT_API_KEY"} | secrets
    with log.open("wb") as sink:
        process = subprocess.Popen([*command, *usual, *flags], stderr=sink, env=env)
    try:
        yield Serving(process, _url(process, log), log)
    finally:
        process.kill()
        process.wait()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(1200):
        found = re.search(r"at (https?://\S+/v1)", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"clucert serve did not start: {log.read_text()}")


def order(**what: Any) -> dict[str, str]:
    """The system message that tells the upstream how to behave."""
    return {"role": "system", "content": json.dumps(what)}


def ask(client: openai.OpenAI, prompt: str = PROMPT, *, more: dict[str, Any] | None = None, **what: Any) -> Any:
    """One chat completion, after an order to the upstream."""
    messages: Any = [order(**what), {"role": "user", "content": prompt}]
    return client.chat.completions.create(model="stub", messages=messages, temperature=0, **(more or {}))
