"""A function of texts as one from many texts to an answer for each, whether it takes one text or a list of them."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clucert.errors import BadAnswerError, InputError, shortened
from clucert.tasks.function_answers import plain

BATCH = 64
"""Texts that a function of a list is given at once, at most."""

MOST_KEPT = 64 * BATCH
"""Texts whose answers are kept beside one that failed."""

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
