"""The labels of a task without its question: what a function of texts is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

from clucert.tasks.classification import ClosedTask
from clucert.tasks.function_answers import READING, Reading
from clucert.types import Answer, Message, Query, Vote


@dataclass(frozen=True)
class BareTask(ClosedTask):
    """A task that puts the text itself, and tells the function's answers by ``reading``."""

    reading: str = ""

    @classmethod
    def of(cls, task: ClosedTask, *, ordered: bool = False) -> Self:
        """``task`` for functions. Numbers mean what it says of data files; with ``ordered``, positions of its labels,
        which the user gave in an order.
        """
        names = {**task.synonyms, **task.gold}
        reading = (
            Reading.by_position(task.labels, names)
            if ordered
            else Reading.by_numbering(task.labels, names, task.numberings)
        )
        kept = {field.name: getattr(task, field.name) for field in fields(ClosedTask)}
        return cls(**kept, reading=reading.dumped())

    @classmethod
    def labelled(cls, name: str, labels: Sequence[str]) -> Self:
        """A task of which nothing but the labels is known, in an order of the user's."""
        return cls.of(ClosedTask(name, tuple(labels), ""), ordered=True)

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The text. A function knows of no draws."""
        return Query((Message("user", text),), suffix=text, labels=self.labels, extra=((READING, self.reading),))

    def read(self, answer: Answer) -> Vote:
        """The label, which is written as it is."""
        return answer.text if answer.text in self.labels else None
