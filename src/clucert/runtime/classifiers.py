"""Base classifiers: they cast the votes that the executor asks for, for many inputs at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from clucert.errors import InputError, UnreadableError
from clucert.models.legible import FirstAnswers, unread_of
from clucert.protocols import Task
from clucert.refusals.base import RefusalLabel, heads_of, votes_on
from clucert.refusals.judge import JUDGE, exchanges, verdicts
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queue_entries import Asked
from clucert.runtime.queued_models import Keyed
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Unread, Usage, Vote

Shares = Mapping[str, float]
"""Probability of each label, for one text."""


@dataclass(frozen=True, slots=True)
class Voted:
    """Votes in order; see :class:`clucert.runtime.queue_entries.Asked` for what they cost."""

    votes: list[Vote]
    usage: Usage = field(default_factory=Usage)
    reused: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    unread: tuple[Unread, ...] = ()
    """Examples of the answers behind votes that are None."""
    shares: list[Shares] | None = None
    """Label probabilities behind each vote, where the classifier gives them."""


class _First:
    """Asks a queue for its first answers alone, so that a run stops before it pays for more that cannot be read."""

    def __init__(self, queue: ModelQueue) -> None:
        self._queue = queue
        self._answers = FirstAnswers(queue.identity.name)
        self._alone = asyncio.Lock()
        self._unreadable: UnreadableError | None = None

    async def ask(self, queries: Sequence[Keyed], read: Callable[[Sequence[Answer]], Sequence[Vote]]) -> Asked:
        """The answers; raises :class:`clucert.errors.UnreadableError` when most first answers are no votes.

        A batch API takes hours: it is asked everything at once.
        """
        if not self._answers.left:
            return await self._queue.ask(queries)
        if self._queue.gathers:
            asked = await self._queue.ask(queries)
            self._answers.check(asked.answers, read(asked.answers))
            return asked
        # Equal queries share an answer: only different ones tell about the model.
        place: dict[str | int, int] = {}
        where = [place.setdefault(i if key is None else key, len(place)) for i, (_, key) in enumerate(queries)]
        different = [queries[where.index(i)] for i in range(len(place))]
        async with self._alone:
            if self._unreadable:
                raise UnreadableError(str(self._unreadable))
            first = await self._queue.ask(different[: self._answers.left])
            try:
                self._answers.check(first.answers, read(first.answers))
            except UnreadableError as error:
                # Inputs that wait for the lock ask nothing more.
                self._unreadable = error
                raise
        rest = await self._queue.ask(different[len(first.answers) :])
        answers = [*first.answers, *rest.answers]
        usage, reused = first.usage + rest.usage, first.reused + rest.reused
        return Asked([answers[i] for i in where], usage, reused, first.seconds + rest.seconds)


@runtime_checkable
class BaseClassifier(Protocol):
    """The base classifier f, in two steps, so that only the second runs on the event loop."""

    name: str
    deterministic: bool
    """Whether equal texts always get equal votes, so that one vote may serve them all."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        ...

    def prepare(self, texts: Sequence[str], first_draw: int) -> Any:
        """What ``vote`` needs to know about ``texts``. May be called from any thread."""
        ...

    async def vote(self, prepared: Any) -> Voted:
        """One vote for each text, in order."""
        ...


class PromptedClassifier:
    """Asks the question of ``task`` on ``queue``, and reads the label off each answer.

    A model that is to be calibrated is asked about the content-free texts once, by the first input that needs it.
    Calibration calls are not charged to any input, so that an input costs the same in every run.
    """

    def __init__(self, task: Task, queue: ModelQueue, *, watched: bool = True) -> None:
        self.name = f"{queue.model.name}:{task.name}"
        # A task that samples does so on a model that answers equal queries alike, too: the draws differ.
        self.deterministic = queue.model.deterministic and task.query("", draw=0) == task.query("", draw=1)
        self._task, self._queue = task, queue
        self._first = _First(queue) if watched else None
        self._calibrating = asyncio.Lock()
        self._uncalibrated = bool(getattr(queue.model, "calibrate", False)) and isinstance(task, ClosedTask)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The task's labels."""
        return self._task.labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> list[Keyed]:
        """The queries, numbered as draws, and their keys."""
        return self._queue.keys(self._task, texts, first_draw)

    async def vote(self, prepared: list[Keyed]) -> Voted:
        """Ask and read."""
        if self._uncalibrated:
            await self._calibrate()
        asked = await (self._first.ask(prepared, self._read) if self._first else self._queue.ask(prepared))
        votes = self._read(asked.answers)
        shares = [label_shares(self._task, a, v) for a, v in zip(asked.answers, votes, strict=True)]
        return Voted(votes, asked.usage, asked.reused, asked.seconds, unread_of(asked.answers, votes), shares)

    def _read(self, answers: Sequence[Answer]) -> list[Vote]:
        """The vote of each answer. Few of them differ, and parsing is slow: each different answer is read once."""
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
                asked = await self._queue.ask([self._queue.key(task.query(text)) for text in task.content_free])
                self._task = task.calibrated(asked.answers)
                self._uncalibrated = False


def label_shares(task: Task, answer: Answer, vote: Vote) -> Shares:
    """Label probabilities where the model scored the labels; probability 1 for the vote otherwise."""
    scores = answer.label_logprobs
    if vote is None:
        return {}
    if scores is None or task.labels is None:
        return {vote: 1.0}
    bias = getattr(task, "bias", ()) or (0.0,) * len(scores)
    return dict(zip(task.labels, softmax([s - b for s, b in zip(scores, bias, strict=True)]), strict=True))


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities of log-scores; −∞ is 0."""
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = sum(weights)
    return [w / total for w in weights]


class Judge:
    """Labels answers as :class:`clucert.runtime.judge.JudgeDetector` does, on a queue of its own."""

    def __init__(self, queue: ModelQueue) -> None:
        self.name = f"judge:{queue.model.name}"
        self.deterministic = queue.model.deterministic
        self._classifier = PromptedClassifier(JUDGE, queue, watched=False)

    async def read(self, answers: Sequence[Answer], texts: Sequence[str], first_draw: int) -> Voted:
        """The label of each answer to the text at the same place; a judge that samples numbers its draws, too."""
        heads = heads_of(answers)
        labels, judged = await self.label(heads, texts, first_draw)
        return Voted(list(votes_on(answers, heads, labels)), judged.usage, judged.reused, judged.seconds)

    async def label(
        self, answers: Sequence[str], prompts: Sequence[str], first_draw: int
    ) -> tuple[list[RefusalLabel | None], Voted]:
        """The label of each answer to the prompt at the same place; the verdicts on those that say something."""
        shown = exchanges(answers, prompts)
        queries = self._classifier.prepare(list(shown.values()), first_draw)
        judged = await self._classifier.vote(queries) if shown else Voted([])
        return verdicts(len(answers), dict(zip(shown, judged.votes, strict=True))), judged


class JudgedClassifier:
    """Asks ``task`` on ``queue``, and the judge on a queue of its own whether each answer refused or complied.

    The judge is shown the text that the model was asked about, noised where it is, so that a vote stays a function of
    the one noised text.
    """

    def __init__(self, task: Task, queue: ModelQueue, judge: ModelQueue) -> None:
        self._task, self._queue = task, queue
        self._first = _First(queue)
        self._judge = Judge(judge)
        asking = PromptedClassifier(task, queue)
        self.name = f"{asking.name}, {self._judge.name}"
        self.deterministic = asking.deterministic and self._judge.deterministic

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The task's labels."""
        return self._task.labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> tuple[Sequence[str], list[Keyed], int]:
        """The texts, and the keyed queries about them, numbered as draws from ``first_draw``."""
        return texts, self._queue.keys(self._task, texts, first_draw), first_draw

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


class Ensemble:
    """A plurality vote of ``members`` on each text, asked at the same time.

    A tie goes to the label whose first voter stands earliest among the members. UNPARSED votes are abstentions: they
    lose to any label, and win only when no member named one. A function of the one text, so its certificates hold.
    """

    def __init__(self, members: Sequence[BaseClassifier]) -> None:
        if not members:
            raise InputError("an ensemble needs a classifier")
        if len({member.labels for member in members}) > 1:
            raise InputError("the classifiers of an ensemble must have the same labels, in the same order")
        self.members = tuple(members)
        self.name = "+".join(member.name for member in members)
        self.deterministic = all(member.deterministic for member in members)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels that all members share."""
        return self.members[0].labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> list[Any]:
        """What each member needs."""
        return [member.prepare(texts, first_draw) for member in self.members]

    async def vote(self, prepared: list[Any]) -> Voted:
        """Ask all, combine text by text."""
        found = await asyncio.gather(*(m.vote(p) for m, p in zip(self.members, prepared, strict=True)))
        votes = [plurality(row) for row in zip(*(voted.votes for voted in found), strict=True)]
        usage = Usage.total([voted.usage for voted in found])
        reused = Usage.total([voted.reused for voted in found])
        unread = tuple(each for voted in found for each in voted.unread) if None in votes else ()
        return Voted(votes, usage, reused, sum(voted.seconds for voted in found), unread)


def plurality(votes: Sequence[Vote]) -> Vote:
    """The commonest label, the earliest of equals; None when nobody named one."""
    named = [vote for vote in votes if vote is not None]
    # max keeps the first of equals, and dict.fromkeys the order in which labels were first named.
    return max(dict.fromkeys(named), key=named.count, default=None)
