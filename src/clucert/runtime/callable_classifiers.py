"""Functions, and objects that predict, as base classifiers."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clucert.errors import BadAnswerError, InputError, UsageError
from clucert.models.functions import (
    Together,
    asked,
    class_names,
    is_estimator,
    known_labels,
    no_labels,
    vouched,
)
from clucert.models.text_function import TextFunction
from clucert.protocols import Classifier
from clucert.runtime.classifiers import BaseClassifier, Shares, Voted
from clucert.tasks.classification import check_labels
from clucert.tasks.function_answers import Reading
from clucert.types import Usage, Vote

_Scored = list[tuple[Vote, Shares]]


class CallableClassifier:
    """Any function of one text or of a list as a base classifier, called in a thread of its own, one request at a time.

    What it returns for a text, a label, a label's index, None (UNPARSED), label probabilities, is read by
    :class:`clucert.tasks.function_answers.Reading`. It may be a coroutine function, which is awaited on the event loop,
    a fitted scikit-learn classifier or a Hugging Face pipeline. Anything else that it returns is a
    :class:`BadAnswerError`, never a vote. With ``deterministic`` the caller asserts that equal texts
    always get equal answers: they are then asked about once. Without it each draw is asked about: one random answer of
    the function must not count as many.
    """

    def __init__(
        self,
        classify: Any,
        labels: Sequence[str],
        *,
        name: str | None = None,
        deterministic: bool = False,
    ) -> None:
        check_labels(labels)
        self.name = name or _name_of(classify)
        self.deterministic = self.declared = deterministic
        self._labels = tuple(map(str, labels))
        self._reading = Reading.by_position(self._labels)
        self._function = TextFunction(asked(classify), self.name, len(self._labels))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-classifier")
        self._together = Together(self._scored)

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed label set."""
        return self._labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> Sequence[str]:
        """Nothing to do: a function does not number its draws."""
        return texts

    async def vote(self, prepared: Sequence[str]) -> Voted:
        """Call the function, unless there is nothing to ask. Requests that come during a call share the next one."""
        if not prepared:
            return Voted([])
        texts = list(dict.fromkeys(prepared)) if self.deterministic else list(prepared)
        scored, seconds = await self._together.answer(texts)
        if self.deterministic:
            known = dict(zip(texts, scored, strict=True))
            scored = [known[text] for text in prepared]
        votes, shares = [vote for vote, _ in scored], [share for _, share in scored]
        return Voted(votes, Usage(calls=len(texts)), seconds=seconds, shares=shares)

    async def _scored(self, requests: Sequence[list[str]]) -> list[tuple[_Scored, float]]:
        """What one call says of the texts of each request, and the request's share of its seconds."""
        texts = [text for request in requests for text in request]
        began = time.perf_counter()
        scored = iter([self._reading.read(self.name, answer) for answer in await self._call(texts)])
        each = (time.perf_counter() - began) / len(texts)
        return [([next(scored) for _ in request], each * len(request)) for request in requests]

    async def _call(self, texts: list[str]) -> list[Any]:
        if self._function.awaited:
            return await self._function.ask(texts)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._function, texts)


class ThreadedClassifier:
    """Any object with ``predict`` as :class:`clucert.protocols.Classifier`, called in a thread of its own, one request
    at a time. ``deterministic``, where given, overrides the object's own; without either it counts as sampling.
    """

    def __init__(self, classifier: Any, labels: Sequence[str] | None, deterministic: bool | None = None) -> None:
        self.name = str(getattr(classifier, "name", type(classifier).__name__))
        self.deterministic = vouched(classifier, deterministic)
        self.labels = None if labels is None else tuple(labels)
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
        if len(predictions.votes) != len(texts):
            raise BadAnswerError(f"{self.name} gave {len(predictions.votes)} votes on {len(texts)} texts")
        seconds = time.perf_counter() - began
        return Voted(list(predictions.votes), predictions.usage, seconds=seconds, unread=predictions.unread)


def labels_of(classify: object, labels: Sequence[str] | None) -> tuple[str, ...]:
    """``labels``, else those that ``classify`` says itself. Raises :class:`UsageError` where it says none."""
    found = class_names(known_labels(classify) or ()) if labels is None else tuple(labels)
    if not found:
        raise UsageError(no_labels(_name_of(classify), classify))
    return found


def _name_of(classify: object) -> str:
    return str(getattr(classify, "__name__", type(classify).__name__))


def classifier_of(classify: object, labels: Sequence[str], deterministic: bool | None) -> BaseClassifier:
    """A callable, or an object with ``predict``, as a base classifier. It counts as sampling unless it, or
    ``deterministic``, says otherwise. Raises :class:`InputError` for anything else.
    """
    if isinstance(classify, BaseClassifier):
        return classify
    if isinstance(classify, Classifier):
        return ThreadedClassifier(classify, classify.labels, deterministic)
    if is_estimator(classify):
        _check_classes(classify, labels)
    elif _numbers_draws(classify):
        return ThreadedClassifier(classify, labels, deterministic)
    elif not callable(classify) and not hasattr(classify, "predict"):
        raise InputError(f"{type(classify).__name__} is no classifier: give a function from texts to labels")
    return CallableClassifier(classify, labels, deterministic=vouched(classify, deterministic))


def _numbers_draws(classify: object) -> bool:
    """Whether it has the ``predict`` of :class:`clucert.protocols.Classifier`."""
    try:
        return "first_draw" in inspect.signature(classify.predict).parameters  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        return False


def _check_classes(estimator: object, labels: Sequence[str]) -> None:
    """Raise :class:`InputError` unless the classes of a fitted estimator are the labels, or their places 0, 1, …."""
    classes = class_names(known_labels(estimator) or ())
    if sorted(classes) not in (sorted(labels), [str(i) for i in range(len(labels))]):
        raise InputError(f"its classes are {', '.join(classes)[:80]}, and the labels {', '.join(labels)[:80]}")
