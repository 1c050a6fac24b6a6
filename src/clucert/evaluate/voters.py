"""Base classifiers that vote for many inputs at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from clucert.evaluate.lanes import Keyed, Lane
from clucert.models.ensemble import plurality
from clucert.protocols import Classifier, Task
from clucert.refusals.judge import JUDGE, exchanges, verdicts
from clucert.tasks.closed import ClosedTask
from clucert.types import Answer, Usage, Vote


@dataclass(frozen=True, slots=True)
class Voted:
    """Votes in order; see :class:`clucert.evaluate.lanes.Asked` for what they cost."""

    votes: list[Vote]
    usage: Usage = field(default_factory=Usage)
    reused: Usage = field(default_factory=Usage)
    seconds: float = 0.0


class Voter(Protocol):
    """A base classifier in two steps, so that only the second runs on the event loop."""

    def prepare(self, texts: Sequence[str], first_draw: int) -> Any:
        """What ``vote`` needs to know about ``texts``. May be called from any thread."""
        ...

    async def vote(self, prepared: Any) -> Voted:
        """One vote for each text, in order."""
        ...


class PromptedVoter:
    """Asks the question of ``task`` on ``lane``: the votes of :class:`clucert.models.prompted.PromptedClassifier`.

    A model that is to be calibrated is asked about the content-free texts once, by whichever input comes first; that
    is on nobody's bill, so that an input costs the same in every run.
    """

    def __init__(self, task: Task, lane: Lane) -> None:
        self._task, self._lane = task, lane
        self._calibrating = asyncio.Lock()
        self._uncalibrated = bool(getattr(lane.model, "calibrate", False)) and isinstance(task, ClosedTask)

    def prepare(self, texts: Sequence[str], first_draw: int) -> list[Keyed]:
        """The queries, numbered as draws, and their keys."""
        return self._lane.keys(self._task, texts, first_draw)

    async def vote(self, prepared: list[Keyed]) -> Voted:
        """Ask and read."""
        if self._uncalibrated:
            await self._calibrate()
        asked = await self._lane.ask(prepared)
        return Voted(self._read(asked.answers), asked.usage, asked.reused, asked.seconds)

    def _read(self, answers: Sequence[Answer]) -> list[Vote]:
        """The vote of each answer. Servers give few different ones: each is read once, as parsers take their time."""
        votes: dict[tuple[str, tuple[float, ...] | None], Vote] = {}
        for answer in answers:
            said = (answer.text, answer.label_logprobs)
            if said not in votes:
                votes[said] = self._task.read(answer)
        return [votes[answer.text, answer.label_logprobs] for answer in answers]

    async def _calibrate(self) -> None:
        async with self._calibrating:
            task = self._task
            if self._uncalibrated and isinstance(task, ClosedTask):
                asked = await self._lane.ask([self._lane.key(task.query(text)) for text in task.content_free])
                self._task = task.calibrated(asked.answers)
                self._uncalibrated = False


class Judge:
    """Labels answers as :class:`clucert.refusals.JudgeDetector` does, on a lane of its own."""

    def __init__(self, lane: Lane) -> None:
        self._voter = PromptedVoter(JUDGE, lane)

    async def read(self, answers: Sequence[Answer], texts: Sequence[str], first_draw: int) -> Voted:
        """The label of each answer to the text at the same place; a judge that samples numbers its draws, too."""
        shown = exchanges([answer.text for answer in answers], texts)
        judged = await self._voter.vote(self._voter.prepare(list(shown.values()), first_draw)) if shown else Voted([])
        votes = verdicts(len(texts), dict(zip(shown, judged.votes, strict=True)))
        return Voted(list(votes), judged.usage, judged.reused, judged.seconds)


class JudgedVoter:
    """Asks ``task`` on ``lane`` and the judge on a lane of its own: the votes of
    :class:`clucert.models.judged.JudgedClassifier`.
    """

    def __init__(self, task: Task, lane: Lane, judge: Lane) -> None:
        self._task, self._lane = task, lane
        self._judge = Judge(judge)

    def prepare(self, texts: Sequence[str], first_draw: int) -> tuple[Sequence[str], list[Keyed], int]:
        """The texts, and the keyed queries about them, numbered as draws from ``first_draw``."""
        return texts, self._lane.keys(self._task, texts, first_draw), first_draw

    async def vote(self, prepared: tuple[Sequence[str], list[Keyed], int]) -> Voted:
        """Ask, then have the answers judged."""
        texts, queries, first_draw = prepared
        asked = await self._lane.ask(queries)
        judged = await self._judge.read(asked.answers, texts, first_draw)
        return Voted(
            judged.votes, asked.usage + judged.usage, asked.reused + judged.reused, asked.seconds + judged.seconds
        )


class EnsembleVoter:
    """Several voters, asked at the same time: the votes of :class:`clucert.models.ensemble.Ensemble`."""

    def __init__(self, members: Sequence[Voter]) -> None:
        self._members = members

    def prepare(self, texts: Sequence[str], first_draw: int) -> list[Any]:
        """What each member needs."""
        return [member.prepare(texts, first_draw) for member in self._members]

    async def vote(self, prepared: list[Any]) -> Voted:
        """Ask all, combine text by text."""
        ballots = await asyncio.gather(*(m.vote(p) for m, p in zip(self._members, prepared, strict=True)))
        votes = [plurality(row) for row in zip(*(ballot.votes for ballot in ballots), strict=True)]
        usage = Usage.total([ballot.usage for ballot in ballots])
        reused = Usage.total([ballot.reused for ballot in ballots])
        return Voted(votes, usage, reused, sum(ballot.seconds for ballot in ballots))


class ClassifierVoter:
    """Any :class:`Classifier`, called in a thread of its own, one request at a time; its answers are not cached."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-classifier")

    def prepare(self, texts: Sequence[str], first_draw: int) -> tuple[Sequence[str], int]:
        """Nothing to do."""
        return texts, first_draw

    async def vote(self, prepared: tuple[Sequence[str], int]) -> Voted:
        """Call ``predict``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, *prepared)

    def _predict(self, texts: Sequence[str], first_draw: int) -> Voted:
        began = time.perf_counter()
        predictions = self._classifier.predict(texts, first_draw=first_draw)
        return Voted(list(predictions.votes), predictions.usage, seconds=time.perf_counter() - began)
