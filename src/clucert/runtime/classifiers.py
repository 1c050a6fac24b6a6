"""Base classifiers that vote for many inputs at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from clucert.errors import UnreadableError
from clucert.models.ensemble import plurality
from clucert.models.legible import FirstAnswers, unread_of
from clucert.protocols import Classifier, Task
from clucert.refusals.base import heads_of, votes_on
from clucert.refusals.judge import JUDGE, exchanges, verdicts
from clucert.runtime.model_queue import Asked, Keyed, Lane
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Unread, Usage, Vote


@dataclass(frozen=True, slots=True)
class Voted:
    """Votes in order; see :class:`clucert.runtime.model_queue.Asked` for what they cost."""

    votes: list[Vote]
    usage: Usage = field(default_factory=Usage)
    reused: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    unread: tuple[Unread, ...] = ()
    """Examples of the answers behind votes that are None."""


class _First:
    """Asks a lane for its first answers alone, so that a run stops before it pays for more that nobody can read."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._answers = FirstAnswers(lane.identity.name)
        self._alone = asyncio.Lock()
        self._unreadable: UnreadableError | None = None

    async def ask(self, queries: Sequence[Keyed], read: Callable[[Sequence[Answer]], Sequence[Vote]]) -> Asked:
        """What the lane says; raises :class:`clucert.errors.UnreadableError` when most first answers are no votes.

        A batch API answers a batch in hours: there all is asked at once.
        """
        if not self._answers.left:
            return await self._lane.ask(queries)
        if self._lane.gathers:
            asked = await self._lane.ask(queries)
            self._answers.check(asked.answers, read(asked.answers))
            return asked
        # Equal queries share an answer: only different ones tell about the model.
        place: dict[str | int, int] = {}
        where = [place.setdefault(i if key is None else key, len(place)) for i, (_, key) in enumerate(queries)]
        different = [queries[where.index(i)] for i in range(len(place))]
        async with self._alone:
            if self._unreadable:
                raise UnreadableError(str(self._unreadable))
            first = await self._lane.ask(different[: self._answers.left])
            try:
                self._answers.check(first.answers, read(first.answers))
            except UnreadableError as error:
                # Whoever waits for its turn asks nothing more.
                self._unreadable = error
                raise
        rest = await self._lane.ask(different[len(first.answers) :])
        answers = [*first.answers, *rest.answers]
        usage, reused = first.usage + rest.usage, first.reused + rest.reused
        return Asked([answers[i] for i in where], usage, reused, first.seconds + rest.seconds)


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

    def __init__(self, task: Task, lane: Lane, *, watched: bool = True) -> None:
        self._task, self._lane = task, lane
        self._first = _First(lane) if watched else None
        self._calibrating = asyncio.Lock()
        self._uncalibrated = bool(getattr(lane.model, "calibrate", False)) and isinstance(task, ClosedTask)

    def prepare(self, texts: Sequence[str], first_draw: int) -> list[Keyed]:
        """The queries, numbered as draws, and their keys."""
        return self._lane.keys(self._task, texts, first_draw)

    async def vote(self, prepared: list[Keyed]) -> Voted:
        """Ask and read."""
        if self._uncalibrated:
            await self._calibrate()
        asked = await (self._first.ask(prepared, self._read) if self._first else self._lane.ask(prepared))
        votes = self._read(asked.answers)
        return Voted(votes, asked.usage, asked.reused, asked.seconds, unread_of(asked.answers, votes))

    def _read(self, answers: Sequence[Answer]) -> list[Vote]:
        """The vote of each answer. Servers give few different ones: each is read once, as parsers take their time."""
        votes: dict[tuple[object, ...], Vote] = {}
        keys = [(answer.text, answer.label_logprobs, answer.finish_reason) for answer in answers]
        for key, answer in zip(keys, answers, strict=True):
            if key not in votes:
                votes[key] = self._task.read(answer)
        return [votes[key] for key in keys]

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
        self._voter = PromptedVoter(JUDGE, lane, watched=False)

    async def read(self, answers: Sequence[Answer], texts: Sequence[str], first_draw: int) -> Voted:
        """The label of each answer to the text at the same place; a judge that samples numbers its draws, too."""
        heads = heads_of(answers)
        shown = exchanges(heads, texts)
        judged = await self._voter.vote(self._voter.prepare(list(shown.values()), first_draw)) if shown else Voted([])
        labels = verdicts(len(texts), dict(zip(shown, judged.votes, strict=True)))
        return Voted(list(votes_on(answers, heads, labels)), judged.usage, judged.reused, judged.seconds)


class JudgedVoter:
    """Asks ``task`` on ``lane`` and the judge on a lane of its own: the votes of
    :class:`clucert.models.judged.JudgedClassifier`.
    """

    def __init__(self, task: Task, lane: Lane, judge: Lane) -> None:
        self._task, self._lane = task, lane
        self._first = _First(lane)
        self._judge = Judge(judge)

    def prepare(self, texts: Sequence[str], first_draw: int) -> tuple[Sequence[str], list[Keyed], int]:
        """The texts, and the keyed queries about them, numbered as draws from ``first_draw``."""
        return texts, self._lane.keys(self._task, texts, first_draw), first_draw

    async def vote(self, prepared: tuple[Sequence[str], list[Keyed], int]) -> Voted:
        """Ask, then have the answers judged."""
        texts, queries, first_draw = prepared
        asked = await self._first.ask(queries, lambda answers: [self._task.read(answer) for answer in answers])
        judged = await self._judge.read(asked.answers, texts, first_draw)
        return Voted(
            judged.votes,
            asked.usage + judged.usage,
            asked.reused + judged.reused,
            asked.seconds + judged.seconds,
            unread_of(asked.answers, judged.votes),
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
        unread = tuple(each for ballot in ballots for each in ballot.unread) if None in votes else ()
        return Voted(votes, usage, reused, sum(ballot.seconds for ballot in ballots), unread)


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
        seconds = time.perf_counter() - began
        return Voted(list(predictions.votes), predictions.usage, seconds=seconds, unread=predictions.unread)
