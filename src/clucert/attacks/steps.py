"""One attack on one victim, as a sans-I/O computation for the executor."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from clucert.attacks.base import Ask, Attack, AttackResult
from clucert.attacks.victims import Victim
from clucert.models.encoders import load_encoder
from clucert.protocols import Encoder, Steps
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.computation import Backends
from clucert.types import Encode, Request

SIDE_BY_SIDE = 32
"""Attacks under way at once: what they ask goes to the model together."""


def attack_steps(
    attack: Attack, victim: Victim, text: str, gold: str, rng: np.random.Generator, max_queries: int | None = None
) -> Generator[Request, Any, AttackResult]:
    """Attack the answer of ``victim`` to ``text``, whose right answer is ``gold``."""
    steps = attack.steps(text, gold, rng, max_queries=max_queries)
    reply: Any = None
    with closing(steps):
        while True:
            try:
                request = steps.send(reply)
            except StopIteration as stop:
                result: AttackResult = stop.value
                return result
            if isinstance(request, Ask):
                reply = yield from victim.steps(request.texts)
            else:
                reply = yield Encode(request.texts, request.stage)


class LazyEncoder:
    """MiniLM, loaded when an attack first compares sentences: most never do."""

    name = "minilm"

    def __init__(self) -> None:
        self._loaded: Encoder | None = None

    def encode(self, texts: Any) -> Any:
        """As :class:`clucert.protocols.Encoder`."""
        if self._loaded is None:
            self._loaded = load_encoder()
        return self._loaded.encode(texts)


def attack_text(
    attack: Attack,
    victim: Victim,
    text: str,
    gold: str,
    rng: np.random.Generator,
    *,
    max_queries: int | None = None,
    encoder: Encoder | None = None,
) -> AttackResult:
    """Attack the answer of ``victim`` to ``text``, whose right answer is ``gold``, and wait for the end.

    ``encoder`` measures sentences for attacks that ask for it; MiniLM is loaded when none is given. Raises what the
    victim raises: an attack that lost an answer has no result.
    """

    def steps() -> Steps:
        return attack_steps(attack, victim, text, gold, rng, max_queries)

    result: AttackResult = run_blocking(victim, steps, encoder)
    return result


def run_blocking(victim: Victim, steps: Callable[[], Steps], encoder: Encoder | None = None) -> Any:
    """The result of ``steps``, which ask ``victim``."""
    queues = victim.backends.queues if hasattr(victim, "backends") else ()
    executor = BlockingExecutor(Backends(queues=queues, encoder=encoder or LazyEncoder()))
    try:
        return executor.run(steps)[0]
    finally:
        executor.close()
