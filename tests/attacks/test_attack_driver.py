"""Attacks side by side: the same results, fewer calls, and an error stays with whom it meets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from attack_world import ROWS, probabilities

from clucert.attacks.base import AttackResult, Scored
from clucert.attacks.driver import Course, attack_text, course_of, side_by_side
from clucert.attacks.recipes import deepwordbug, textbugger
from clucert.attacks.victims import LabelVictim, ProbabilityVictim, PromptedVictim, Victim
from clucert.core.noise.retention import rng_for
from clucert.errors import AuthenticationError, BadAnswerError, ModelError
from clucert.models.prompted import PromptedClassifier
from clucert.protocols import LanguageModel
from clucert.tasks import load_task
from clucert.types import Answer, Query


class Counting(ProbabilityVictim):
    """Knows the size of every call; breaks where it is told to."""

    def __init__(self, broken: str = "\0", error: type[ModelError] = ModelError) -> None:
        super().__init__(probabilities, ("positive", "negative"))
        self.calls: list[int] = []
        self.broken, self.error = broken, error

    def score(self, texts: Sequence[str]) -> list[Scored]:
        self.calls.append(len(texts))
        if any(self.broken in text for text in texts):
            raise self.error("no answer")
        return super().score(texts)


def courses(victim: Victim, make=deepwordbug) -> Iterator[tuple[int, Course[AttackResult]]]:  # type: ignore[no-untyped-def]
    for i, (text, gold) in enumerate(ROWS):
        yield i, course_of(make(), victim, text, gold, rng_for(0, str(i), "x"))


@pytest.mark.parametrize("make", [deepwordbug, textbugger])
def test_results_are_those_of_each_attack_alone_and_calls_are_fewer(make) -> None:  # type: ignore[no-untyped-def]
    alone, together = Counting(), Counting()
    expected = [attack_text(make(), alone, t, gold, rng_for(0, str(i), "x")) for i, (t, gold) in enumerate(ROWS)]
    for width in (1, 3, 50):
        together.calls.clear()
        found = dict(side_by_side(courses(together, make), width))
        assert [found[i] for i in range(len(ROWS))] == expected
        assert sum(together.calls) == sum(alone.calls)
    assert len(together.calls) < len(alone.calls) / 2
    assert together.calls[0] == len(ROWS)


class Sampling(LanguageModel):
    """Its answers depend on the text and on the number of the draw."""

    name, deterministic = "sampling", True

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [Answer(("positive", "negative")[(len(q.suffix) + (q.seed or 0)) % 3 > 1], None) for q in queries]

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("kind", [PromptedVictim, LabelVictim])
def test_the_draws_of_a_victim_that_samples_do_not_depend_on_the_other_attacks(kind: type) -> None:
    task = replace(load_task("sst2"), temperature=1.0)
    if kind is PromptedVictim:
        victim = PromptedVictim(Sampling(), task)
    else:
        victim = LabelVictim(PromptedClassifier(Sampling(), task))
    expected = [attack_text(deepwordbug(), victim, t, g, rng_for(0, str(i), "x")) for i, (t, g) in enumerate(ROWS)]
    found = dict(side_by_side(courses(victim), 50))
    assert [found[i] for i in range(len(ROWS))] == expected


def test_an_error_ends_only_the_attacks_that_meet_it() -> None:
    whole = dict(side_by_side(courses(Counting()), 5))
    found = dict(side_by_side(courses(Counting("clumsy")), 5))
    failed = {i for i, outcome in found.items() if isinstance(outcome, ModelError)}
    assert failed == {i for i, (text, _) in enumerate(ROWS) if "clumsy" in text}
    assert {i: outcome for i, outcome in found.items() if i not in failed} == {
        i: outcome for i, outcome in whole.items() if i not in failed
    }
    with pytest.raises(ModelError, match="no answer"):
        attack_text(deepwordbug(), Counting("clumsy"), *ROWS[3], rng_for(0, "3", "x"))


def test_a_wrong_key_ends_everything_at_once() -> None:
    victim = Counting("clumsy", AuthenticationError)
    with pytest.raises(AuthenticationError):
        dict(side_by_side(courses(victim), 5))
    assert len(victim.calls) == 1


def test_a_victim_that_answers_too_little_is_named() -> None:
    class Silent(Counting):
        def score(self, texts: Sequence[str]) -> list[Scored]:
            return []

    with pytest.raises(BadAnswerError, match="0 answers to 1 texts"):
        attack_text(deepwordbug(), Silent(), *ROWS[0], rng_for(0, "0", "x"))
