"""Hundreds of requests at once, limits reached, and an end in the middle of it all: nothing is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import openai
import pytest
from serve_world import CALLS, KEY, PROMPT, Serving, ask, order, served, stats, stub

from clucert.core.repeats import probes_needed


async def one(client: openai.AsyncOpenAI, number: int, **what: Any) -> str:
    """What became of one request: its status, or what is wrong with its answer."""
    prompt = f"{PROMPT} number{number}"
    try:
        found = await client.chat.completions.create(
            model="stub",
            messages=[order(**what), {"role": "user", "content": prompt}],
            temperature=0,
        )
    except openai.APIStatusError as error:
        if error.status_code == 503 and not error.response.headers.get("retry-after", "").isdigit():
            return "no retry-after"
        return str(error.status_code)
    if found.choices[0].message.content.split()[-1] not in (f"number{number}", "[MASK]"):
        return "another's answer"
    return "200" if found.model_extra["clucert"]["cost"]["samples"] == CALLS else "votes missing"


def many(serving: Serving, count: int, **what: Any) -> Counter[str]:
    """``count`` requests at once: how many got which status."""

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=serving.url, api_key=KEY, max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, i, **what) for i in range(count)))

    return Counter(asyncio.run(run()))


def test_hundreds_at_once_are_all_answered_and_the_metrics_add_up(tmp_path: Path) -> None:
    count = 200
    with stub() as upstream, served(upstream, tmp_path, "--max-in-flight", "16", "--max-queue", "300") as serving:
        assert many(serving, count) == {"200": count}
        metrics, upstream_stats = serving.metrics(), stats(upstream)
        assert metrics['clucert_requests_total{status="200"}'] == count
        assert metrics['clucert_decisions_total{decision="complied",source="majority"}'] == count
        answered = metrics['clucert_upstream_calls_total{outcome="answered"}']
        assert answered == upstream_stats["answered"] == metrics['clucert_upstream_tokens_total{direction="in"}'] / 1000
        assert count <= answered <= count * (CALLS + probes_needed(0.05))
        assert metrics["clucert_request_seconds_count"] == count
        assert metrics["clucert_in_flight"] == metrics["clucert_waiting"] == 0
        assert metrics["clucert_upstream_in_flight"] == 0
        assert serving.stop() == 0
        assert serving.log.read_text().count(" 200 complied ") == count


def test_beyond_the_limits_requests_are_refused_at_once_and_the_others_answered(upstream: str, tmp_path: Path) -> None:
    before = stats(upstream)["answered"] if stats(upstream).get("answered") else 0
    with served(upstream, tmp_path, "--max-in-flight", "2", "--max-queue", "5", "--max-connections", "8") as serving:
        found = many(serving, 100, delay=0.05)
        assert set(found) == {"200", "503"}
        assert found.total() == 100
        assert found["200"] >= 7
        metrics = serving.metrics()
        assert metrics['clucert_requests_total{status="503"}'] == found["503"]
        assert metrics['clucert_faults_total{code="overloaded"}'] == found["503"]
        assert metrics['clucert_upstream_calls_total{outcome="answered"}'] == stats(upstream)["answered"] - before
        # Clients that retry as they are told get through.
        with serving.client(max_retries=2) as client:
            assert ask(client).choices[0].message.content.startswith("Sure")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_finishes_what_is_in_flight(upstream: str, tmp_path: Path, number: signal.Signals) -> None:
    async def scene(serving: Serving) -> str:
        async with openai.AsyncOpenAI(base_url=serving.url, api_key=KEY, max_retries=0, timeout=30) as client:
            asked = asyncio.create_task(one(client, 0, delay=0.3))
            while not serving.metrics()["clucert_in_flight"]:
                await asyncio.sleep(0.01)
            serving.process.send_signal(number)
            return await asked

    with served(upstream, tmp_path, "--max-connections", "8") as serving:
        assert asyncio.run(scene(serving)) == "200"
        assert serving.process.wait(20) == 0
        host, port = serving.root.removeprefix("http://").split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        assert "Traceback" not in serving.log.read_text()


def test_a_request_has_only_so_long_and_waiting_counts(upstream: str, tmp_path: Path) -> None:
    flags = ("--request-timeout", "0.5", "--max-in-flight", "1", "--shutdown-timeout", "1")
    with served(upstream, tmp_path, *flags, key=None) as serving:
        with serving.client(key="any") as client, pytest.raises(openai.InternalServerError) as raised:
            ask(client, delay=5)
        assert (raised.value.status_code, raised.value.code) == (504, "timeout")
        assert many(serving, 3, delay=5) == {"504": 3}
        metrics = serving.metrics()
        assert metrics["clucert_upstream_in_flight"] == metrics["clucert_in_flight"] == 0
        assert metrics['clucert_faults_total{code="timeout"}'] == 4


def test_a_dead_upstream_is_told_apart_from_a_dead_endpoint(tmp_path: Path) -> None:
    with stub() as upstream:
        pass
    with served(upstream, tmp_path) as serving:
        health = get(f"{serving.root}/health")
        assert health == (503, {"status": "waiting", "upstream": "unreachable"})
        assert get(f"{serving.root}/health/live")[0] == 200
        with serving.client() as client, pytest.raises(openai.InternalServerError) as raised:
            ask(client)
        assert (raised.value.status_code, raised.value.code) == (502, "upstream_unreachable")
        assert "does not answer yet" in serving.log.read_text()


def test_an_undefended_answer_is_labelled_and_prompts_are_logged_on_request(upstream: str, tmp_path: Path) -> None:
    with served(upstream, tmp_path, "--on-abstain", "pass", "--log-prompts") as serving:
        with serving.client() as client:
            found = ask(client, refuse=0.5)
        assert found.model_extra["clucert"]["source"] == "undefended"
        assert stats(upstream)["last"]["messages"][-1]["content"] == PROMPT
        assert PROMPT in serving.log.read_text()
        assert KEY not in serving.log.read_text()


def get(url: str) -> tuple[int, Any]:
    try:
        with urlopen(url) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
