"""Tasks with open answers: the vote is what a reader makes of the model's text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clucert.core.bounds import is_reserved
from clucert.tasks.classification import Shot
from clucert.tasks.said import said
from clucert.types import Answer, Message, Query, Vote


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A question whose answer is free text; ``reader`` turns it into a vote, or None where it finds none."""

    name: str
    instruction: str
    reader: Callable[[str], Vote]
    shots: tuple[Shot, ...] = ()
    """Worked examples; ``label`` is the whole answer."""
    template: str = "{text}"
    """The user's turn; ``{text}`` is replaced literally."""
    max_tokens: int = 400
    temperature: float = 0.0
    gold: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What data files write for answers."""
    gold_is_vote: bool = field(default=False, compare=False)
    """Whether a gold answer in which ``reader`` finds nothing is the vote itself."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Open: no closed label set."""
        return None

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The request about ``text``; ``draw`` matters only when the task samples."""
        turns = [Message("system", self.instruction)] if self.instruction else []
        for shot in self.shots:
            turns += [Message("user", self._user(shot.text)), Message("assistant", shot.label)]
        return Query(
            messages=(*turns, Message("user", self._user(text))),
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=draw if self.temperature > 0 else None,
        )

    def read(self, answer: Answer) -> Vote:
        """What the reader finds in what a finished answer says (:mod:`clucert.tasks.said`).

        None for an unfinished answer, and for a find that is called as what is no label is
        (:data:`clucert.core.bounds.RESERVED`).
        """
        text = said(answer)
        found = None if text is None else self.reader(text)
        return None if found is None or is_reserved(found) else found

    def _user(self, text: str) -> str:
        return self.template.replace("{text}", text)
