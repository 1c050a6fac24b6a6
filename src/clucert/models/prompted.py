"""A task asked of a language model is a base classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock

from clucert.errors import BadAnswerError
from clucert.models.legible import FirstAnswers, unread_of
from clucert.protocols import LanguageModel, Task
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Predictions, Query, Usage


class PromptedClassifier:
    """The base classifier f: ask ``model`` the question of ``task`` about each text.

    Queries that are equal are asked once when the model is deterministic. For any other model, and for a task that
    samples, the draws are numbered: each is asked, and each has a place of its own in a cache.

    A small local model (one with ``calibrate = True``) is first asked about the task's content-free texts, once, and
    its label bias is taken off (:meth:`clucert.tasks.classification.ClosedTask.calibrated`). Safe from several threads.
    """

    def __init__(self, model: LanguageModel, task: Task) -> None:
        self.name = f"{model.name}:{task.name}"
        # A task that samples does so on a model that answers equal queries alike, too: the draws differ.
        self.deterministic = model.deterministic and task.query("", draw=0) == task.query("", draw=1)
        self._model, self._task = model, task
        self._lock = Lock()
        self._first = FirstAnswers(model.name)
        # A cache keeps the model it wraps in ``model``.
        self._uncalibrated = bool(getattr(getattr(model, "model", model), "calibrate", False))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The task's closed label set, or None when its answers are open."""
        return self._task.labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """Vote on each text, in order; an answer that states no label is the vote None.

        Raises :class:`clucert.errors.UnreadableError` when most of the first twenty answers are no votes, before it
        asks for others.
        """
        task, answers, usage = self.ask(texts, first_draw=first_draw, watched=True)
        votes = tuple(map(task.read, answers))
        return Predictions(votes, usage, unread_of(answers, votes))

    def ask(
        self, texts: Sequence[str], *, first_draw: int | None = None, watched: bool = False
    ) -> tuple[Task, list[Answer], Usage]:
        """The calibrated task that reads the answers, the answer to each text, in order, and what they cost.

        With ``watched``, the first answers are read before others are asked for, as ``predict`` says. Without
        ``first_draw`` the answers are no votes: what a cache knows of equal queries at temperature 0 is taken.
        """
        task, spent = self._calibrated_task()
        start = first_draw or 0
        queries = [task.query(text, draw=start + i) for i, text in enumerate(texts)]
        if first_draw is not None and not self._model.deterministic:
            queries = [replace(query, draw=start + i) for i, query in enumerate(queries)]
        asked = list(dict.fromkeys(queries)) if self._model.deterministic else queries
        answers = self._watched(asked, task) if watched else self._answers(asked)
        usage = spent + Usage.total([answer.usage for answer in answers])
        if self._model.deterministic:
            by_query: dict[Query, Answer] = dict(zip(asked, answers, strict=True))
            answers = [by_query[query] for query in queries]
        return task, answers, usage

    def _watched(self, asked: Sequence[Query], task: Task) -> list[Answer]:
        with self._lock:
            head = self._answers(asked[: self._first.left])
            self._first.check(head, [task.read(answer) for answer in head])
        return head + self._answers(asked[len(head) :])

    def _answers(self, asked: Sequence[Query]) -> list[Answer]:
        answers = self._model.answer(asked) if asked else []
        if len(answers) != len(asked):
            raise BadAnswerError(f"{self._model.name} gave {len(answers)} answers to {len(asked)} queries")
        return answers

    def _calibrated_task(self) -> tuple[Task, Usage]:
        """The task, calibrated if the model needs it, and what that cost just now."""
        with self._lock:
            task = self._task
            if not self._uncalibrated or not isinstance(task, ClosedTask) or not task.content_free:
                return task, Usage()
            answers = self._model.answer([task.query(text) for text in task.content_free])
            self._task = task.calibrated(answers)
            self._uncalibrated = False
            return self._task, Usage.total([answer.usage for answer in answers])

    def close(self) -> None:
        """Free the model."""
        self._model.close()
