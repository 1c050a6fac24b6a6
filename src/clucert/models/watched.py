"""A language model that reports each answer as it arrives, for progress bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clucert.cache import AnswersEach
from clucert.protocols import LanguageModel
from clucert.types import Answer, Query

CHUNK = 16
"""Queries between two reports of a model that answers whole batches only."""


class WatchedModel:
    """``model``, calling ``watch(answered, wanted)`` as the answers of a batch arrive, from any thread."""

    def __init__(self, model: LanguageModel, watch: Callable[[int, int], None]) -> None:
        self.model, self._watch = model, watch
        self.name = model.name
        self.deterministic = model.deterministic
        self.whose = getattr(model, "whose", None)
        self.calibrate = bool(getattr(model, "calibrate", False))

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order."""
        answers: dict[int, Answer] = {}
        self.answer_each(queries, answers.__setitem__)
        return [answers[i] for i in range(len(queries))]

    def answer_each(self, queries: Sequence[Query], done: Callable[[int, Answer], None]) -> None:
        """Answer each query and call ``done(index, answer)`` at once."""
        answered = 0
        self._watch(0, len(queries))

        def arrived(index: int, answer: Answer) -> None:
            nonlocal answered
            done(index, answer)
            answered += 1
            self._watch(answered, len(queries))

        if isinstance(self.model, AnswersEach):
            self.model.answer_each(queries, arrived)
            return
        for start in range(0, len(queries), CHUNK):
            for offset, answer in enumerate(self.model.answer(queries[start : start + CHUNK])):
                arrived(start + offset, answer)

    def close(self) -> None:
        """Close the model."""
        self.model.close()
