"""A language model whose free answers another one labels: together they are a base classifier."""

from __future__ import annotations

from collections.abc import Sequence

from clucert.models.legible import unread_of
from clucert.models.prompted import PromptedClassifier
from clucert.protocols import LanguageModel, Task
from clucert.refusals.base import heads_of, votes_on
from clucert.refusals.judge import JudgeDetector
from clucert.types import Predictions


class JudgedClassifier:
    """Asks ``model`` about each text and has ``judge`` say whether the answer refused or complied.

    The judge is shown the text that the model was asked about, noised where it is, so that a vote stays a function of
    the one noised text.
    """

    def __init__(self, model: LanguageModel, task: Task, judge: LanguageModel) -> None:
        self._answering, self._judge = PromptedClassifier(model, task), JudgeDetector(judge)
        self.name = f"{self._answering.name}, {self._judge.name}"
        self.deterministic = self._answering.deterministic and self._judge.deterministic

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The task's labels."""
        return self._answering.labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """Vote on each text, in order; a verdict that states no label is the vote None, so is an unfinished answer.

        Raises :class:`clucert.errors.UnreadableError` as :class:`clucert.models.prompted.PromptedClassifier` does.
        """
        _, answers, usage = self._answering.ask(texts, first_draw=first_draw, watched=True)
        heads = heads_of(answers)
        labels, judging = self._judge.judge(heads, texts, first_draw)
        votes = tuple(votes_on(answers, heads, labels))
        return Predictions(votes, usage + judging, unread_of(answers, votes))
