"""The base classifier of a guard: let the model answer a noised prompt, detect whether it refused, keep the answer.

One form for a plain driver and one for an event loop; both cast the same votes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from clucert.guard.conversation import GuardTask
from clucert.models.prompted import PromptedClassifier
from clucert.protocols import LanguageModel
from clucert.refusals import JudgeDetector
from clucert.refusals.base import heads_of, votes_on
from clucert.runtime.classifiers import Judge, Voted
from clucert.runtime.model_queue import Keyed, Lane
from clucert.types import Answer, Predictions, Vote


@dataclass(slots=True)
class Heard:
    """The first answer of each side, in the order of the draws.

    Draws are independent and of one distribution, so the first answer of a side is a random one of that side.
    """

    first: dict[str, Answer] = field(default_factory=dict)

    def keep(self, answers: Sequence[Answer], votes: Sequence[Vote]) -> None:
        """Take note of the answers to one batch of draws."""
        for answer, vote in zip(answers, votes, strict=True):
            if vote is not None:
                self.first.setdefault(vote, answer)


class RefusalClassifier:
    """A :class:`clucert.protocols.Classifier` over prompts: did ``model`` refuse?"""

    def __init__(self, model: LanguageModel, task: GuardTask, heard: Heard) -> None:
        self._prompted = PromptedClassifier(model, task)
        self._detector, self._heard = task.detector, heard
        self.name = self._prompted.name
        self.deterministic = self._prompted.deterministic and getattr(task.detector, "deterministic", False)
        self.labels: tuple[str, ...] | None = task.labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """``refused`` or ``complied`` for the answer to each text, in order."""
        _, answers, usage = self._prompted.ask(texts, first_draw=first_draw)
        heads, detector = heads_of(answers), self._detector
        if isinstance(detector, JudgeDetector):
            labels, judging = detector.judge(heads, texts, first_draw)
            usage += judging
        else:
            labels = detector.labels(heads, texts)
        votes = votes_on(answers, heads, labels)
        self._heard.keep(answers, votes)
        return Predictions(tuple(votes), usage)


@dataclass(frozen=True, slots=True)
class _Asked:
    texts: Sequence[str]
    queries: list[Keyed]
    first_draw: int


class RefusalVoter:
    """The votes of :class:`RefusalClassifier`, as a :class:`clucert.runtime.classifiers.Voter` on ``lane``.

    A ``judge`` comes before the detector of ``task``: it asks the same model, on a lane.
    """

    def __init__(self, lane: Lane, task: GuardTask, heard: Heard, judge: Judge | None = None) -> None:
        self._lane, self._task, self._heard, self._judge = lane, task, heard, judge

    def prepare(self, texts: Sequence[str], first_draw: int) -> _Asked:
        """The queries, numbered as draws, and their keys."""
        return _Asked(texts, self._lane.keys(self._task, texts, first_draw), first_draw)

    async def vote(self, prepared: _Asked) -> Voted:
        """Ask, then detect."""
        asked = await self._lane.ask(prepared.queries)
        read = await self._read(asked.answers, prepared)
        self._heard.keep(asked.answers, read.votes)
        return Voted(read.votes, asked.usage + read.usage, asked.reused + read.reused, asked.seconds + read.seconds)

    async def _read(self, answers: Sequence[Answer], prepared: _Asked) -> Voted:
        texts = prepared.texts
        if self._judge is not None:
            return await self._judge.read(answers, texts, prepared.first_draw)
        # In a thread: a detector of somebody's own may take its time.
        heads = heads_of(answers)
        labels = await asyncio.to_thread(self._task.detector.labels, heads, texts)
        return Voted(list(votes_on(answers, heads, labels)))
