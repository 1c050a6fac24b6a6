"""Votes of base classifiers and answers of victims, for tests that have no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from clucert.attacks.steps import run_blocking
from clucert.attacks.victims import SmoothedVictim, Victim
from clucert.cache import AnswerCache
from clucert.protocols import LanguageModel, Task
from clucert.runtime.classifiers import BaseClassifier, JudgedClassifier, PromptedClassifier, Voted
from clucert.runtime.model_queue import ModelQueue
from clucert.types import Answer, Predictions, Query, Scored, Votes


def vote(classifier: BaseClassifier, texts: Sequence[str], *queues: ModelQueue, first_draw: int = 0) -> Voted:
    """What ``classifier`` votes; ``queues`` are those that it asks."""

    async def run() -> Voted:
        for queue in queues:
            queue.start()
        try:
            return await classifier.vote(classifier.prepare(texts, first_draw))
        finally:
            for queue in queues:
                await queue.stop()

    return asyncio.run(run())


def prompted_vote(model: LanguageModel, task: Task, texts: Sequence[str], first_draw: int = 0) -> Voted:
    """What ``task`` asked of ``model`` votes."""
    queue = ModelQueue(model)
    return vote(PromptedClassifier(task, queue), texts, queue, first_draw=first_draw)


def score(victim: Victim, texts: Sequence[str]) -> list[Scored]:
    """The answers of ``victim``."""
    scored: list[Scored] = run_blocking(victim, lambda: victim.steps(texts))
    return scored


def votes_of(victim: SmoothedVictim, texts: Sequence[str]) -> list[Votes]:
    """The votes behind its answers."""
    votes: list[Votes] = run_blocking(victim, lambda: victim.votes(texts))
    return votes


class Asked:
    """``task`` asked of ``model`` behind ``cache``, as a classifier that blocks; with a judge, one that is judged."""

    def __init__(
        self, model: LanguageModel, task: Task, cache: AnswerCache | None = None, judge: LanguageModel | None = None
    ) -> None:
        self._queues = [ModelQueue(each, cache=cache) for each in (model, judge) if each is not None]
        self._classifier: BaseClassifier = (
            PromptedClassifier(task, self._queues[0]) if judge is None else JudgedClassifier(task, *self._queues)
        )
        self.name, self.deterministic = self._classifier.name, self._classifier.deterministic
        self.labels = self._classifier.labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        voted = vote(self._classifier, texts, *self._queues, first_draw=first_draw)
        return Predictions(tuple(voted.votes), voted.usage, voted.unread)


def answers_to(model: LanguageModel, cache: AnswerCache | None, queries: Sequence[Query]) -> list[Answer]:
    """The answers of ``model`` behind ``cache``."""

    async def run() -> list[Answer]:
        queue = ModelQueue(model, cache=cache)
        queue.start()
        try:
            return (await queue.ask([queue.key(query) for query in queries])).answers
        finally:
            await queue.stop()

    return asyncio.run(run())
