"""Functions of texts as language models.

A function takes one text or a list of them, is plain or ``async``; or it is an object that predicts: a fitted
scikit-learn classifier or pipeline, a Hugging Face text-classification pipeline, or a language model of one's own. What
it returns is read by :mod:`clucert.tasks.function_answers`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from clucert.errors import BadAnswerError, CluCertError, InputError, shortened
from clucert.protocols import LanguageModel
from clucert.tasks.function_answers import READING, Reading, plain
from clucert.types import Answer, Query, Usage

BATCH = 64
"""Texts that a function of a list is given at once, at most."""

MOST_KEPT = 64 * BATCH
"""Texts whose answers are kept beside one that failed."""

A = TypeVar("A")
R = TypeVar("R")

Attempt = Generator[list[Any], list[Any], list[Any]]
"""Yields arguments for the function, each a call of its own, and is sent what each returned or raised."""


class TextFunction:
    """A function as one from many texts to an answer for each, whether it takes one text or a list.

    That is told by the annotation of its first parameter, and without one by the first call, which gives it a list: not
    of one text, nor of as many as there are ``labels``, for so many scores a function of *one* text may return.

    Where a call for one text fails, what the calls beside it returned is kept, each for the next question about its
    text: whoever asks the others again pays for none of them twice.
    """

    def __init__(self, target: Any, name: str, labels: int = 0) -> None:
        if not callable(target):
            raise InputError(f"{name} is no function: give one from a text, or a list of them, to labels")
        if inspect.isclass(target):
            raise InputError(f"{name} is a class: make an object of it, and give that")
        self.name, self.labels = name, labels
        self._call = target
        self._takes = _declared(target)
        self._kept: dict[str, list[Any]] = {}
        self.awaited = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
            getattr(target, "__call__", None)  # noqa: B004 - an object whose call is a coroutine function
        )

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        """An answer for each text. Raises what the function raises, and BadAnswerError for another number of them."""

        def one(argument: Any) -> Any:
            try:
                return self._call(argument)
            except SystemExit as left:
                return self._left(left)
            except Exception as error:  # noqa: BLE001 - handed to whoever gave the argument
                return error

        steps = self._attempt(list(texts))
        try:
            arguments = next(steps)
            while True:
                arguments = steps.send([one(argument) for argument in arguments])
        except StopIteration as done:
            answers: list[Any] = done.value
            return answers

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """The same of a coroutine function; calls for one text each are made at the same time."""

        async def one(argument: Any) -> Any:
            try:
                return await self._call(argument)
            except SystemExit as left:
                raise self._left(left) from None

        steps = self._attempt(list(texts))
        try:
            arguments = next(steps)
            while True:
                found = await asyncio.gather(*map(one, arguments), return_exceptions=True)
                if gone := next((each for each in found if _is_no_answer(each)), None):
                    raise gone
                arguments = steps.send(list(found))
        except StopIteration as done:
            answers: list[Any] = done.value
            return answers

    def _attempt(self, texts: list[str]) -> Attempt:
        refused: Any = None
        if self._takes != "one":
            sure = self._takes == "many"
            given = (
                texts
                if sure
                else texts + texts[:1] * next(i for i in range(3) if len(texts) + i not in (1, self.labels))
            )
            (found,) = yield [given]
            if isinstance(found, Exception) and sure:
                raise found
            answers = None if isinstance(found, Exception) else _one_each(found, len(given), sure)
            if answers is not None:
                self._takes = "many"
                return answers[: len(texts)]
            if self._takes == "many":
                raise self._wrong_number(found, len(texts))
            refused = found
        known = [self._taken(text) for text in texts]
        asked = iter((yield [text for text, answer in zip(texts, known, strict=True) if answer is _UNKNOWN]))
        each = [next(asked) if answer is _UNKNOWN else answer for answer in known]
        self._check_each(texts, each, refused)
        self._takes = "one"
        return each

    def _check_each(self, texts: Sequence[str], each: Sequence[Any], refused: Any) -> None:
        """Raise what a call for one text raised; where neither kind of call fares, what tells most."""
        wanted, raised = len(texts), next((found for found in each if isinstance(found, Exception)), None)
        if raised is None and (refused is not None or self._takes == "one" or any(e is not None for e in each)):
            return
        answered = [(text, e) for text, e in zip(texts, each, strict=True) if not isinstance(e, Exception)]
        if raised is not None and any(answer is not None for _, answer in answered):
            self._takes = "one"
            self._keep(answered)
            raise raised
        if raised is None:
            raise self._wrong_number(None, wanted)
        if isinstance(refused, Exception) and type(refused) is not type(raised):
            raise BadAnswerError(
                f"{self.name} takes neither a list of texts ({told(refused)}) nor one text ({told(raised)})"
            ) from refused
        if refused is not None and not isinstance(refused, Exception):
            raise self._wrong_number(refused, wanted) from raised
        raise raised

    def _taken(self, text: str) -> Any:
        """An answer that was kept, which is then kept no longer; else :data:`_UNKNOWN`."""
        kept = self._kept.get(text, [])
        answer = kept.pop() if kept else _UNKNOWN
        if not kept:
            self._kept.pop(text, None)
        return answer

    def _keep(self, answered: Iterable[tuple[str, Any]]) -> None:
        for text, answer in answered:
            self._kept.setdefault(text, []).append(answer)
        while len(self._kept) > MOST_KEPT:  # Of those who never asked again.
            del self._kept[next(iter(self._kept))]

    def _left(self, left: SystemExit) -> BadAnswerError:
        """That the function wants to end the process, over one text."""
        return BadAnswerError(f"{self.name} raised {told(left)}")

    def _wrong_number(self, found: Any, wanted: int) -> BadAnswerError:
        counted = hasattr(found, "__len__") and not isinstance(found, str)
        what = f"{len(found)} labels" if counted else shortened(repr(found), 80)
        return BadAnswerError(f"{self.name} must return one label for each of {wanted} texts, got {what}")


_UNKNOWN = object()
"""In place of an answer that has to be asked for."""


def _is_no_answer(found: Any) -> bool:
    """Whether a call was cancelled, or the process is to end."""
    return isinstance(found, BaseException) and not isinstance(found, Exception)


def _one_each(found: Any, wanted: int, sure: bool) -> list[Any] | None:
    """What a function of a list returned, as a list; None where that is no answer for each of its texts.

    A row of probabilities, which a function of *one* text returns, may have as many numbers as there are texts: numbers
    with a fraction are no answers.
    """
    found = plain(found)
    if isinstance(found, str | Mapping) or not hasattr(found, "__len__") or not hasattr(found, "__iter__"):
        return None
    answers = list(found)
    if len(answers) != wanted or (not sure and any(isinstance(plain(answer), float) for answer in answers)):
        return None
    return answers


def _declared(target: Any) -> str | None:
    """``one`` or ``many``, as the annotation of the first parameter says; None where it says nothing."""
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return None
    annotation = parameters[0].annotation if parameters else inspect.Parameter.empty
    if annotation is inspect.Parameter.empty:
        return None
    said = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    if said == "str":
        return "one"
    start = said.partition("[")[0].rpartition(".")[2]
    return "many" if start in ("list", "List", "Sequence", "Iterable", "Collection", "tuple", "ndarray") else None


def told(error: BaseException) -> str:
    """An error of the user's code on one line, with where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = shortened(str(error), 200)
    return f"{type(error).__name__}{f': {said}' if said else ''}{where}"


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
