"""The base classifier of a guard: let the model answer a noised prompt, detect whether it refused, keep the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from clucert.guard.conversation import GuardTask
from clucert.refusals.base import heads_of, votes_on
from clucert.runtime.classifiers import Judge, Voted
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queued_models import Keyed
from clucert.types import Answer, Vote


@dataclass(slots=True)
class SideAnswers:
    """The first answer that refused and the first that complied, in the order of the draws.

    Draws are independent and of one distribution, so the first answer of a side is a random one of that side.
    """

    first: dict[str, Answer] = field(default_factory=dict)

    def keep(self, answers: Sequence[Answer], votes: Sequence[Vote]) -> None:
        """Take note of the answers to one batch of draws."""
        for answer, vote in zip(answers, votes, strict=True):
            if vote is not None:
                self.first.setdefault(vote, answer)


@dataclass(frozen=True, slots=True)
class _Prepared:
    texts: Sequence[str]
    queries: list[Keyed]
    first_draw: int


class RefusalClassifier:
    """A :class:`clucert.runtime.classifiers.BaseClassifier` over prompts: did the model behind ``queue`` refuse?

    A ``judge`` comes before the detector of ``task``.
    """

    def __init__(
        self, queue: ModelQueue, task: GuardTask, side_answers: SideAnswers, judge: Judge | None = None
    ) -> None:
        self.name = f"{queue.model.name}:{task.name}"
        reader = task.detector if judge is None else judge
        fixed = queue.model.deterministic and getattr(reader, "deterministic", False)
        self.deterministic = fixed and task.query("", draw=0) == task.query("", draw=1)
        self._queue, self._task, self._side_answers, self._judge = queue, task, side_answers, judge

    @property
    def labels(self) -> tuple[str, ...] | None:
        """``refused`` and ``complied``."""
        return self._task.labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> _Prepared:
        """The queries, numbered as draws, and their keys."""
        return _Prepared(texts, self._queue.keys(self._task, texts, first_draw), first_draw)

    async def vote(self, prepared: _Prepared) -> Voted:
        """Ask, then detect."""
        asked = await self._queue.ask(prepared.queries)
        read = await self._read(asked.answers, prepared)
        self._side_answers.keep(asked.answers, read.votes)
        return Voted(read.votes, asked.usage + read.usage, asked.reused + read.reused, asked.seconds + read.seconds)

    async def _read(self, answers: Sequence[Answer], prepared: _Prepared) -> Voted:
        texts = prepared.texts
        if self._judge is not None:
            return await self._judge.read(answers, texts, prepared.first_draw)
        # In a thread: a user's own detector may be slow.
        heads = heads_of(answers)
        labels = await asyncio.to_thread(self._task.detector.labels, heads, texts)
        return Voted(list(votes_on(answers, heads, labels)))
