"""The guard on an event loop is the guard without one."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from serve_world import PROMPT, order
from upstream import SECRET

from clucert.guard import Guarded, open_guard
from clucert.guard.model import guard_config
from clucert.serve.engine import GuardOptions, GuardService
from clucert.serve.metrics import Metrics
from clucert.types import Message, Query

METHODS: dict[str, dict[str, Any]] = {
    "clucert-no-refine": {"mask_rate": "0.5"},
    "ranmask": {},
    "selfdenoise": {"sampling": "staged"},
}


def respond(query: Query, seed: int, **options: Any) -> Guarded:
    """What an engine of its own answers, on a loop of its own."""

    async def run(engine: GuardService) -> Guarded:
        await engine.start()
        try:
            assert await engine.states() == {"upstream": True}
            return await engine.respond(query)
        finally:
            await engine.stop()

    with ExitStack() as stack:
        return asyncio.run(run(GuardService(guard_config(**options), GuardOptions(seed=seed), Metrics(), stack)))


@pytest.mark.parametrize("method", METHODS)
def test_the_certificate_is_that_of_the_plain_guard_to_the_bit(
    method: str, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    system = Message("system", order(refuse=0.1)["content"])
    query = Query((system, Message("user", PROMPT)), max_tokens=9)
    options = {"model": "openai/stub", "base_url": upstream, "method": method, "samples": 8, "certify_samples": 16}
    found, again, other = (respond(query, seed, **options, **METHODS[method]) for seed in (1, 1, 2))
    assert (found.certificate, found.answer) == (again.certificate, again.answer)
    assert found.certificate.settings.seed != other.certificate.settings.seed
    with open_guard(**options, **METHODS[method], seed=1) as guard:
        plain = guard.respond(query)
    assert plain.certificate == found.certificate
    assert (plain.answer.text, plain.source) == (found.answer.text, found.source)
    assert plain.cost.samples == found.cost.samples
