"""Attacks side by side: the same results, fewer calls, and an error stays with whom it meets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from attack_world import LABELS, ROWS, probabilities

from clucert.attacks.recipes import deepwordbug, textbugger
from clucert.attacks.steps import attack_steps, attack_text
from clucert.attacks.victims import BareVictim, Victim
from clucert.core.noise.retention import rng_for
from clucert.errors import AuthenticationError, BadAnswerError, ModelError
from clucert.protocols import LanguageModel
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.classifiers import PromptedClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.executor import Executor, Job
from clucert.runtime.model_queue import ModelQueue
from clucert.tasks import load_task
from clucert.types import Answer, Query


class Counting:
    """Knows the size of every call; breaks where it is told to."""

    def __init__(self, broken: str = "\0", error: type[ModelError] = ModelError) -> None:
        self.calls: list[int] = []
        self.broken, self.error = broken, error

    def __call__(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(len(texts))
        if any(self.broken in text for text in texts):
            raise self.error("no answer")
        return probabilities(texts)

    @property
    def victim(self) -> BareVictim:
        return BareVictim(Backends(CallableClassifier(self, LABELS)))


def jobs(victim: Victim, make: Any = deepwordbug) -> Iterator[Job[int]]:
    for i, (text, gold) in enumerate(ROWS):
        yield Job(i, partial(attack_steps, make(), victim, text, gold, rng_for(0, str(i), "x")))


def run(victim: BareVictim, width: int, make: Any = deepwordbug) -> dict[int, Any]:
    found: dict[int, Any] = {}

    async def done(outcome: Any) -> None:
        found[outcome.tag] = outcome.error or outcome.result

    executor = Executor(Backends(queues=victim.backends.queues), in_flight=width)
    asyncio.run(executor.run(jobs(victim, make), done))
    return found


@pytest.mark.parametrize("make", [deepwordbug, textbugger])
def test_results_are_those_of_each_attack_alone_and_calls_are_fewer(make: Any) -> None:
    alone, together = Counting(), Counting()
    if make is textbugger:
        pytest.importorskip("onnxruntime")
    expected = [attack_text(make(), alone.victim, t, g, rng_for(0, str(i), "x")) for i, (t, g) in enumerate(ROWS)]
    for width in (1, 3, 50):
        together.calls.clear()
        executor_results = run_with_encoder(together.victim, width, make)
        assert [executor_results[i] for i in range(len(ROWS))] == expected
        assert sum(together.calls) <= sum(alone.calls)
    assert len(together.calls) < 2 * len(alone.calls) / 3


def run_with_encoder(victim: BareVictim, width: int, make: Any) -> dict[int, Any]:
    from clucert.attacks.steps import LazyEncoder

    found: dict[int, Any] = {}

    async def done(outcome: Any) -> None:
        found[outcome.tag] = outcome.error or outcome.result

    asyncio.run(Executor(Backends(encoder=LazyEncoder()), in_flight=width).run(jobs(victim, make), done))
    return found


class Sampling(LanguageModel):
    """Its answers depend on the text and on the number of the draw."""

    name, deterministic = "sampling", True

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [Answer(("positive", "negative")[(len(q.suffix) + (q.seed or 0)) % 3 > 1], None) for q in queries]

    def close(self) -> None:
        """Nothing is held."""


def test_the_draws_of_a_victim_that_samples_do_not_depend_on_the_other_attacks() -> None:
    queue = ModelQueue(Sampling())
    victim = BareVictim(Backends(PromptedClassifier(replace(load_task("sst2"), temperature=1.0), queue), [queue]))
    expected = [attack_text(deepwordbug(), victim, t, g, rng_for(0, str(i), "x")) for i, (t, g) in enumerate(ROWS)]
    found = run(victim, 50)
    assert [found[i] for i in range(len(ROWS))] == expected


def test_an_error_ends_only_the_attacks_that_meet_it() -> None:
    whole, found = run(Counting().victim, 5), run(Counting("clumsy").victim, 5)
    failed = {i for i, outcome in found.items() if isinstance(outcome, ModelError)}
    assert failed == {i for i, (text, _) in enumerate(ROWS) if "clumsy" in text}
    assert {i: outcome for i, outcome in found.items() if i not in failed} == {
        i: outcome for i, outcome in whole.items() if i not in failed
    }
    with pytest.raises(ModelError, match="no answer"):
        attack_text(deepwordbug(), Counting("clumsy").victim, *ROWS[3], rng_for(0, "3", "x"))


def test_a_wrong_key_ends_everything_at_once() -> None:
    with pytest.raises(AuthenticationError):
        run(Counting("clumsy", AuthenticationError).victim, 5)


def test_a_victim_that_answers_too_little_is_named() -> None:
    silent = BareVictim(Backends(CallableClassifier(lambda _: [], LABELS)))
    with pytest.raises(BadAnswerError, match="one answer for each text, got 0"):
        attack_text(deepwordbug(), silent, *ROWS[0], rng_for(0, "0", "x"))
