"""Functions, and objects that predict, as base classifiers."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import index
from typing import Any

from clucert.errors import BadAnswerError, InputError
from clucert.protocols import Classifier
from clucert.runtime.classifiers import BaseClassifier, Shares, Voted
from clucert.tasks.classification import check_labels
from clucert.types import Usage, Vote


class _VoteCall:
    """One call of ``vote`` that waits for its answers."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.seconds = 0.0
        self.answers: asyncio.Future[list[tuple[Vote, Shares]]] = asyncio.get_running_loop().create_future()


class CallableClassifier:
    """Any function of texts as a base classifier, called in a thread of its own, one request at a time.

    ``classify`` gets a list of texts and returns for each, in order, a label, a label's index, None (UNPARSED), or a
    row of label probabilities. It may be a coroutine function, which is awaited on the event loop. Anything else that
    it returns is a :class:`BadAnswerError`, never a vote. With ``deterministic`` the caller asserts that equal texts
    always get equal answers: they are then asked about once. Without it each draw is asked about: one random answer of
    the function must not count as many.
    """

    def __init__(
        self,
        classify: Callable[[list[str]], Any],
        labels: Sequence[str],
        *,
        name: str | None = None,
        deterministic: bool = False,
    ) -> None:
        check_labels(labels)
        self.name = name or str(getattr(classify, "__name__", type(classify).__name__))
        self.deterministic = deterministic
        self._labels = tuple(map(str, labels))
        self._classify = classify
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clucert-classifier")
        self._waiting: list[_VoteCall] = []
        self._calling: asyncio.Task[None] | None = None

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
        request = _VoteCall(list(dict.fromkeys(prepared)) if self.deterministic else list(prepared))
        self._waiting.append(request)
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_all())
        scored = await request.answers
        if self.deterministic:
            known = dict(zip(request.texts, scored, strict=True))
            scored = [known[text] for text in prepared]
        votes, shares = [vote for vote, _ in scored], [share for _, share in scored]
        return Voted(votes, Usage(calls=len(request.texts)), seconds=request.seconds, shares=shares)

    async def _call_all(self) -> None:
        """One call after the other, until no request waits."""
        try:
            while self._waiting:
                requests, self._waiting = self._waiting, []
                await self._answer(requests)
        finally:
            self._calling = None

    async def _answer(self, requests: Sequence[_VoteCall]) -> None:
        """One call for all of ``requests``; when it fails, one for each, so an error fails only its own request."""
        texts = [text for request in requests for text in request.texts]
        began = time.perf_counter()
        try:
            found = iter(self._scored(await self._call(texts), len(texts)))
        except Exception as error:  # noqa: BLE001 - raised to whoever asked
            if len(requests) > 1:
                for request in requests:
                    await self._answer([request])
            elif not requests[0].answers.done():
                requests[0].answers.set_exception(error)
            return
        each = (time.perf_counter() - began) / len(texts)
        for request in requests:
            request.seconds = each * len(request.texts)
            answers = [next(found) for _ in request.texts]
            if not request.answers.done():
                request.answers.set_result(answers)

    async def _call(self, texts: list[str]) -> Any:
        if inspect.iscoroutinefunction(self._classify):
            return await self._classify(texts)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._classify, texts)

    def _scored(self, found: Any, wanted: int) -> list[tuple[Vote, Shares]]:
        if isinstance(found, str) or not hasattr(found, "__len__") or len(found) != wanted:
            what = f"{len(found)} labels" if hasattr(found, "__len__") and not isinstance(found, str) else repr(found)
            raise BadAnswerError(f"{self.name} must return one label for each of {wanted} texts, got {what[:80]}")
        return [self._one(answer) for answer in found]

    def _one(self, answer: Any) -> tuple[Vote, Shares]:
        if answer is None:
            return None, {}
        if isinstance(answer, str):
            if answer in self._labels:
                return str(answer), {str(answer): 1.0}
        elif hasattr(answer, "__len__"):
            return self._probabilities(answer)
        elif not isinstance(answer, bool):
            try:
                position = index(answer)  # NumPy's integers are no int
            except TypeError:
                position = -1
            if 0 <= position < len(self._labels):
                return self._labels[position], {self._labels[position]: 1.0}
        raise BadAnswerError(f"{self.name} returned {str(answer)[:40]!r}, which is none of {list(self._labels)}")

    def _probabilities(self, row: Any) -> tuple[Vote, Shares]:
        """The likeliest label, the first of equals. A row that is not one probability a label is refused."""
        try:
            values = [float(value) for value in row]
        except (TypeError, ValueError):
            values = []
        if len(values) != len(self._labels) or not all(0 <= value <= 1 for value in values):
            raise BadAnswerError(
                f"{self.name} must return {len(self._labels)} probabilities for each text, got {str(row)[:60]}"
            )
        best = max(range(len(values)), key=values.__getitem__)
        return self._labels[best], dict(zip(self._labels, values, strict=True))


class ThreadedClassifier:
    """Any object with ``predict`` as :class:`clucert.protocols.Classifier`, called in a thread of its own, one request
    at a time. ``deterministic``, where given, overrides the object's own; without either it counts as sampling.
    """

    def __init__(self, classifier: Any, labels: Sequence[str] | None, deterministic: bool | None = None) -> None:
        self.name = str(getattr(classifier, "name", type(classifier).__name__))
        said = getattr(classifier, "deterministic", False) is True
        self.deterministic = said if deterministic is None else deterministic
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


def classifier_of(classify: object, labels: Sequence[str], deterministic: bool | None) -> BaseClassifier:
    """A callable, or an object with ``predict``, as a base classifier. It counts as sampling unless it, or
    ``deterministic``, says otherwise. Raises :class:`InputError` for anything else.
    """
    if isinstance(classify, BaseClassifier):
        return classify
    if hasattr(classify, "predict_proba") and hasattr(classify, "classes_"):
        name, probabilities = type(classify).__name__, _by_label(classify, labels)
        return CallableClassifier(probabilities, labels, name=name, deterministic=bool(deterministic))
    if isinstance(classify, Classifier):
        return ThreadedClassifier(classify, classify.labels, deterministic)
    if hasattr(classify, "predict"):
        return ThreadedClassifier(classify, labels, deterministic)
    if not callable(classify):
        raise InputError(f"{type(classify).__name__} is no classifier: give a function from texts to labels")
    return CallableClassifier(classify, labels, deterministic=bool(deterministic))


def _by_label(estimator: Any, labels: Sequence[str]) -> Callable[[list[str]], Any]:
    """The probabilities of a fitted scikit-learn classifier in the order of ``labels``, whatever that of its classes.

    Raises :class:`InputError` unless its classes are the labels, or their places 0, 1, ….
    """
    classes = [str(each) for each in estimator.classes_]
    places = [str(i) for i in range(len(labels))]
    if sorted(classes) not in (sorted(labels), places):
        raise InputError(f"its classes are {', '.join(classes)[:80]}, and the labels {', '.join(labels)[:80]}")
    columns = [classes.index(name) for name in (labels if sorted(classes) == sorted(labels) else places)]
    return lambda texts: [[row[i] for i in columns] for row in estimator.predict_proba(texts)]
