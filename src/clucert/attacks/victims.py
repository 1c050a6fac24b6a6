"""Whom an attack asks. A smoothed classifier is a classifier: it is the defended model that is attacked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from clucert.attacks.base import Scored
from clucert.attacks.together import drive_together
from clucert.core.bounds import leader
from clucert.core.smoothing import Smoother
from clucert.core.words import split
from clucert.driver import Backends
from clucert.errors import BadAnswerError
from clucert.models.prompted import PromptedClassifier
from clucert.protocols import Classifier, LanguageModel, Task
from clucert.tasks.classification import check_labels
from clucert.types import Answer, Request, Votes


@runtime_checkable
class Victim(Protocol):
    """A classifier that says how sure it is."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        ...

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Answer each text, in order."""
        ...


class ProbabilityVictim:
    """Any callable that returns a row of label probabilities for each text (``predict_proba`` of a pipeline)."""

    def __init__(
        self, predict: Callable[[list[str]], Sequence[Sequence[float]]], labels: Sequence[str], name: str = "callable"
    ) -> None:
        check_labels(labels)
        self.name, self.labels = name, tuple(map(str, labels))
        self._predict = predict

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """The answer is the likeliest label, the first of equals."""
        rows = [[float(p) for p in row] for row in self._predict(list(texts))]
        if len(rows) != len(texts) or any(len(row) != len(self.labels) for row in rows):
            raise BadAnswerError(
                f"{self.name} must return {len(self.labels)} probabilities for each of {len(texts)} texts"
            )
        return [_scored(self.labels, row) for row in rows]


class LabelVictim:
    """A :class:`clucert.protocols.Classifier` that gives labels and nothing else.

    Every word looks equally important to the attacker unless leaving it out flips the answer, and no change but a flip
    looks like progress: only attacks that change one word can succeed. An attack on bare labels is weak for that
    reason, not because the victim is robust.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.name, self.labels = classifier.name, classifier.labels
        self.numbers_draws = not classifier.deterministic
        """Whether an answer depends on its place in the call."""
        self._classifier = classifier

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """The answer has all of the share."""
        votes = self._classifier.predict(texts).votes
        return [Scored(vote, {} if vote is None else {vote: 1.0}) for vote in votes]


class PromptedVictim:
    """A task asked of a language model: label probabilities where the model scores labels, bare labels otherwise."""

    def __init__(self, model: LanguageModel, task: Task) -> None:
        self._classifier = PromptedClassifier(model, task)
        self.name, self.labels = self._classifier.name, self._classifier.labels
        self.numbers_draws = task.query("", draw=0) != task.query("", draw=1)
        """Whether an answer depends on its place in the call."""

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """The classifier's answers, with the shares behind them."""
        task, answers, _ = self._classifier.ask(texts)
        return [_scored_answer(task, answer) for answer in answers]


@dataclass(frozen=True, slots=True)
class SmoothedVictim:
    """A smoothed classifier g: its answer is the majority of N votes, its shares are shares of them.

    The noise is a function of the seed and the text, so the same text always gets the same answer and an attack can be
    repeated. ``g`` here never abstains: a vote too close to call counts for its leader, as in the certificate's claim
    that the leader stays. :meth:`fresh` is the same classifier with other noise, to tell a broken text from a lucky
    draw.
    """

    smoother: Smoother
    backends: Backends
    samples: int | None = None
    """N, the votes of one query; those that ``predict`` takes when None."""
    stream: str = "attack"

    @property
    def name(self) -> str:
        """The method and the base classifier."""
        return f"{self.smoother.settings.method}({self.backends.classifier.name})"

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        return self.smoother.labels

    def score(self, texts: Sequence[str]) -> list[Scored]:
        """Votes that name no label count in the total, so the shares of labels may sum to less than 1."""
        return [scored_votes(votes) for votes in self.votes(texts)]

    def votes(self, texts: Sequence[str]) -> list[Votes]:
        """The votes behind the answers. A text that lost its only word has none."""
        return drive_together([self._steps(text) for text in texts], self.backends)

    def fresh(self, samples: int | None = None) -> SmoothedVictim:
        """The same g with noise that the attacker has not seen, and maybe more votes."""
        return SmoothedVictim(self.smoother, self.backends, samples or self.samples, f"{self.stream}-fresh")

    def _steps(self, text: str) -> Generator[Request, Any, Votes]:
        if not split(text).words:
            return Votes({})
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        samples = self.samples or self.smoother.settings.predict_samples
        _, votes = yield from self.smoother.trusted(
            text, f"{self.stream}/{digest}", lambda channel: channel.sample(samples, "predict")
        )
        return votes


def scored_votes(votes: Votes) -> Scored:
    """Votes as an answer with shares."""
    if not votes.kept:
        return Scored(None, {})
    return Scored(leader(votes), {label: count / votes.kept for label, count in votes.counts.items()})


def softmax(scores: Sequence[float]) -> list[float]:
    """Probabilities of log-scores; −∞ is 0."""
    top = max(scores)
    weights = [math.exp(s - top) for s in scores]
    total = sum(weights)
    return [w / total for w in weights]


def _scored(labels: Sequence[str], row: Sequence[float]) -> Scored:
    best = max(range(len(row)), key=row.__getitem__)
    return Scored(labels[best], dict(zip(labels, row, strict=True)))


def _scored_answer(task: Task, answer: Answer) -> Scored:
    vote, scores = task.read(answer), answer.label_logprobs
    if vote is None:
        return Scored(None, {})
    if scores is None or task.labels is None:
        return Scored(vote, {vote: 1.0})
    bias = getattr(task, "bias", ()) or (0.0,) * len(scores)
    shares = softmax([score - b for score, b in zip(scores, bias, strict=True)])
    return Scored(vote, dict(zip(task.labels, shares, strict=True)))
