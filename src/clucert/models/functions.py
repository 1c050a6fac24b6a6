"""Functions of texts as language models.

A function takes one text or a list of them, is plain or ``async``; or it is an object that predicts: a fitted
scikit-learn classifier or pipeline, a Hugging Face text-classification pipeline, or a language model of one's own. What
it returns is read by :mod:`clucert.tasks.function_answers`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from clucert.errors import BadAnswerError, CluCertError, InputError, shortened
from clucert.models.text_function import BATCH, TextFunction, told
from clucert.protocols import LanguageModel
from clucert.tasks.function_answers import READING, Reading, plain
from clucert.types import Answer, Query, Usage

A = TypeVar("A")
R = TypeVar("R")


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Raise :class:`BadAnswerError`, one line, for what the user's code raises within."""
    try:
        yield
    except CluCertError:
        raise
    except Exception as error:
        raise BadAnswerError(f"{name} raised {told(error)}") from error


class Together(Generic[A, R]):
    """Answers questions that wait at the same time by one call; belongs to one event loop at a time.

    When the call fails, each is asked alone, so that an error fails only its own question.
    """

    def __init__(self, call: Callable[[Sequence[A]], Awaitable[Sequence[R]]], most: int | None = None) -> None:
        """``call`` answers at most ``most`` questions, in order; None for any number."""
        self._call, self._most = call, most
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._calling: asyncio.Task[None] | None = None

    async def answer(self, question: A) -> R:
        """The answer to ``question``. Raises what the call raises."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._calling is None:
            self._calling = asyncio.create_task(self._call_all())
        return await answer

    async def _call_all(self) -> None:
        """One call after the other, until nobody waits."""
        try:
            while self._waiting:
                await asyncio.sleep(0)  # Whoever was answered by the last call, and asks on, is asked together.
                most = self._most or len(self._waiting)
                waiting, self._waiting = self._waiting[:most], self._waiting[most:]
                await self._answer(waiting)
        finally:
            self._calling = None

    async def _answer(self, waiting: Sequence[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            found = await self._call([question for question, _ in waiting])
        except Exception as error:  # noqa: BLE001 - raised to whoever asked
            if len(waiting) > 1:
                for one in waiting:
                    await self._answer([one])
            elif not waiting[0][1].done():
                waiting[0][1].set_exception(error)
            return
        for (_, answer), each in zip(waiting, found, strict=True):
            if not answer.done():
                answer.set_result(each)


class FunctionModel:
    """A function as a language model that is asked about the text alone.

    It costs calls and no tokens. Answers of one that is not said to be deterministic are never kept: each is a draw.
    """

    batch_size = BATCH
    reads_text = True

    def __init__(self, name: str, function: TextFunction, *, deterministic: bool = False, identity: str = "") -> None:
        self.name, self.deterministic, self.identity = name, deterministic, identity
        self.declared = deterministic and not identity
        """Whether that is somebody's word; one that comes with an identity is known to be."""
        self.function = function
        self.labels: tuple[Any, ...] | None = None
        """Those that it says itself."""
        self.unlabelled = ""
        """What is said where it says none."""

    @property
    def cached(self) -> bool:
        """Whether its answers may be kept: equal texts get equal ones, and something says of which function."""
        return self.deterministic and bool(self.identity)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Call it. Raises :class:`BadAnswerError`, one line, for what it raises."""
        self.function.labels = len(queries[0].labels or ())
        with _in_one_line(self.name):
            found = self.function([text_of(query, self.name) for query in queries])
        return [answer_of(query, self.name, each) for query, each in zip(queries, found, strict=True)]

    def close(self) -> None:
        """Nothing to free."""


class AwaitedFunctionModel:
    """The same of a coroutine function, called on the event loop; questions that wait at the same time go together.

    Its answers are never kept: it asks somebody else, who may be another one tomorrow.
    """

    cached = False
    reads_text = True

    def __init__(self, name: str, function: TextFunction, *, deterministic: bool = False) -> None:
        self.name, self.deterministic, self.function = name, deterministic, function
        self.declared = deterministic
        self.labels: tuple[Any, ...] | None = None
        self.unlabelled = ""
        self._together = Together(self._call, BATCH)

    async def answer_async(self, query: Query) -> Answer:
        """Await it. Raises :class:`BadAnswerError`, one line, for what it raises."""
        self.function.labels = len(query.labels or ())
        return answer_of(query, self.name, await self._together.answer(text_of(query, self.name)))

    async def _call(self, texts: Sequence[str]) -> list[Any]:
        with _in_one_line(self.name):
            return await self.function.ask(texts)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """For callers without an event loop."""

        async def all_of_them() -> list[Answer]:
            return await asyncio.gather(*map(self.answer_async, queries))

        return asyncio.run(all_of_them())

    def close(self) -> None:
        """Nothing to free."""


def text_of(query: Query, name: str) -> str:
    """The text that ``query`` is about. Raises :class:`InputError` for a conversation: a function takes a text."""
    if len(query.messages) != 1:
        raise InputError(
            f"{name} takes one text, and this question has {len(query.messages)} turns: ask a language model"
        )
    return query.messages[0].content


def answer_of(query: Query, name: str, found: Any) -> Answer:
    """What the function returned, as an answer: the label with its scores, or, where answers are open, what it said."""
    usage = Usage(calls=1)
    reading = dict(query.extra).get(READING)
    if reading is None:
        if not isinstance(found, str):
            raise BadAnswerError(f"{name} must answer with a string, got {shortened(repr(found), 60)}")
        return Answer(found, usage=usage)
    read = Reading.loaded(reading)
    vote, shares = read.read(name, found)
    if vote is None or set(shares) != set(read.labels):
        return Answer(vote or "", usage=usage)
    scores = tuple(math.log(shares[label]) if shares[label] > 0 else -math.inf for label in read.labels)
    return Answer(vote, scores if max(scores) > -math.inf else None, usage)


def vouched(target: Any, said: bool | None) -> bool:
    """Whether somebody answers for ``target`` giving equal texts equal answers: what is ``said``, else its own
    attribute ``deterministic``.
    """
    return getattr(target, "deterministic", False) is True if said is None else said


def function_model(target: Any, name: str, *, deterministic: bool | None, identity: str = "") -> LanguageModel:
    """``target`` as a language model; one that is one already is returned as it is. ``deterministic`` is the user's
    word, and None leaves it to the target's own (:func:`vouched`).
    """
    if isinstance(target, LanguageModel):
        return target
    function, deterministic = TextFunction(asked(target), name), vouched(target, deterministic)
    made: Any
    if function.awaited:
        made = AwaitedFunctionModel(name, function, deterministic=deterministic)
    else:
        made = FunctionModel(name, function, deterministic=deterministic, identity=identity)
    made.labels, made.unlabelled = known_labels(target), no_labels(name, target)
    return cast("LanguageModel", made)


def asked(target: Any) -> Any:
    """What of ``target`` is called: estimators and pipelines by what they are made for, functions as they are."""
    if is_estimator(target):
        return _estimator(target)
    if type(target).__module__.partition(".")[0] == "transformers" and callable(target):
        # All scores, where it would give the best alone.
        return lambda texts: target(list(texts), top_k=None) if isinstance(texts, list) else target(texts)
    if not callable(target) and hasattr(target, "predict"):
        return target.predict
    return target


def is_estimator(target: Any) -> bool:
    """Whether it is a fitted classifier of scikit-learn's kind."""
    return hasattr(target, "classes_") and hasattr(target, "predict")


def _estimator(estimator: Any) -> Callable[[list[str]], list[Any]]:
    """A fitted scikit-learn classifier: its probabilities by class where it has them."""
    names = class_names(known_labels(estimator) or ())

    # The annotation says that it takes lists alone: to be tried with one text would read letters.
    def predicted(texts: list[str]) -> list[Any]:
        if hasattr(estimator, "predict_proba"):
            return [dict(zip(names, row, strict=True)) for row in plain(estimator.predict_proba(texts))]
        return [_named(plain(each)) for each in plain(estimator.predict(texts))]

    return predicted


def _named(answer: Any) -> Any:
    """What an estimator predicts: a class that is a number by its name, for it is no position among labels."""
    return class_names([answer])[0] if isinstance(answer, int | float) else answer


def class_names(classes: Iterable[Any]) -> tuple[str, ...]:
    """What classes are called as labels: numbers with nothing behind the point are whole."""
    return tuple(str(_whole(each)) for each in classes)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def no_labels(name: str, target: Any) -> str:
    """What is said of a target that does not know its labels."""
    unfitted = hasattr(target, "fit") and hasattr(target, "predict")
    if unfitted:
        return f"{name} is not fitted, and so does not say what its labels are: fit it first, or give  labels=[…]"
    return f"{name} does not say what its labels are: give  labels=[…]  or a task"


def known_labels(target: Any) -> tuple[Any, ...] | None:
    """The classes of an estimator, or the labels of a pipeline or of an object that has ``labels``, as they are."""
    for found in (getattr(target, "classes_", None), getattr(target, "labels", None)):
        if found is not None:
            return tuple(_whole(each) for each in plain(found))
    config = getattr(getattr(target, "model", None), "config", None)
    named = getattr(config, "id2label", None)
    return tuple(named[i] for i in sorted(named)) if isinstance(named, Mapping) else None
