"""The plain loop that the executor is compared with, to the bit: no event loop, no queue, no thread."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from clucert.protocols import Encoder, LanguageModel, Task
from clucert.types import Classify, Encode, Generate, Phase, Request, SideBySide, Vote

T = TypeVar("T")

Predict = Callable[[Sequence[str], int], Sequence[Vote]]


def drive(
    steps: Generator[Request, Any, T],
    predict: Predict,
    helper: LanguageModel | None = None,
    encoder: Encoder | None = None,
) -> T:
    """The result of ``steps``; ``predict(texts, first_draw)`` votes."""
    reply: Any = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result
        match request:
            case Phase():
                reply = None
            case SideBySide():
                reply = [drive(make(), predict, helper, encoder) for make in request.computations]
            case Encode():
                assert encoder is not None
                reply = encoder.encode(request.texts)
            case Generate():
                assert helper is not None
                reply = [answer.text for answer in helper.answer(request.queries)]
            case Classify():
                reply = list(predict(request.texts, request.first_draw))


def prompted(model: LanguageModel, task: Task) -> Predict:
    """The votes of ``task`` asked of ``model``, every text by itself."""

    def predict(texts: Sequence[str], first_draw: int) -> list[Vote]:
        queries = [task.query(text, draw=first_draw + i) for i, text in enumerate(texts)]
        return [task.read(answer) for answer in model.answer(queries)]

    return predict
