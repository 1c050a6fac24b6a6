"""A conversation, and the one turn of it that is noised."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

from clucert.core.noise.canonical import Characters
from clucert.core.words import split
from clucert.errors import InputError
from clucert.refusals import LABELS, RefusalDetector
from clucert.refusals.base import heads_of, votes_on
from clucert.types import Answer, Message, Query, Vote

TASK = "refusal"
"""Name of the task of a guard's base classifier: did the model's answer refuse?"""
_FOLDED = Characters(fold_case=True)
MAX_SEED = 2**31
"""Servers take seeds below this."""


def folded_words(text: str) -> tuple[str, ...]:
    """The words that noise is keyed by: whatever their case, accents, invisible characters and what is between them."""
    return split(_FOLDED(text)).words


@dataclass(frozen=True, slots=True)
class Turn:
    """``query`` with the content of its message ``position`` replaced by noised texts.

    A certificate is about that one message: the rest of the conversation, and how the model is asked, are held fixed.
    """

    query: Query
    position: int

    @classmethod
    def of(cls, query: Query) -> Turn:
        """The last message of the role ``user``. Raises InputError where there is none."""
        for position in range(len(query.messages) - 1, -1, -1):
            if query.messages[position].role == "user":
                return cls(query, position)
        raise InputError("the conversation has no message of the role 'user': there is nothing to smooth")

    @property
    def text(self) -> str:
        """What is noised."""
        return self.query.messages[self.position].content

    def asked(self, text: str, draw: int) -> Query:
        """The conversation with ``text`` in the place of the turn; above temperature 0 each draw has its own seed."""
        query, at = self.query, self.position
        messages = (*query.messages[:at], Message("user", text), *query.messages[at + 1 :])
        seed = ((query.seed or 0) + draw) % MAX_SEED if query.temperature > 0 else None
        return dataclasses.replace(query, messages=messages, seed=seed)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that is asked, but for the noised text."""
        question = dataclasses.replace(self.asked("", 0), seed=None)
        return hashlib.sha256(repr((question, self.position)).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class GuardTask:
    """``turn`` as a :class:`clucert.protocols.Task`: ask it, and read whether the answer refuses."""

    turn: Turn
    detector: RefusalDetector
    name: str = TASK

    @property
    def labels(self) -> tuple[str, ...]:
        """``refused`` and ``complied``."""
        return LABELS

    @property
    def read_by(self) -> str:
        """What reads the answers; part of what a certificate is about."""
        return self.detector.name

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The conversation with ``text`` in it."""
        return self.turn.asked(text, draw)

    def read(self, answer: Answer) -> Vote:
        """What the detector says; None for an answer that says nothing."""
        heads = heads_of([answer])
        return votes_on([answer], heads, [self.detector.label(heads[0])])[0]
