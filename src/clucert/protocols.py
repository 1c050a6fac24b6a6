"""The extension points. Anything with these methods works; nothing needs to be inherited."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clucert.core.words import WordedText
from clucert.types import Answer, Predictions, Query, Recovered, Refinement, Request, Stage, Vote

Steps = Generator[Request, Any, Any]
"""A sans-I/O computation: yields requests, is sent their replies, returns its result."""


@runtime_checkable
class LanguageModel(Protocol):
    """A language model: a batch of queries in, a batch of answers out, in order.

    Raises :class:`clucert.errors.ModelError` when it cannot answer; never returns a made-up answer.
    """

    name: str
    """``provider/model``, as the user wrote it."""
    deterministic: bool
    """Whether the same query always gets the same answer, so that it need not be asked twice."""

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order."""
        ...

    def close(self) -> None:
        """Free what the model holds; calling it twice is harmless."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """A base classifier f, or a smoothed one: texts in, votes out."""

    name: str
    deterministic: bool

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open (GSM8K)."""
        ...

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """Vote on each text, in order. ``first_draw`` numbers the draws for models that sample."""
        ...


class Task(Protocol):
    """What to ask a language model about a text, and how to read its answer."""

    @property
    def name(self) -> str:
        """The task's name, as the user wrote it."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open (GSM8K)."""
        ...

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The request that asks for the label of ``text``."""
        ...

    def read(self, answer: Answer) -> Vote:
        """The label that ``answer`` names, or None: never a guess."""
        ...


class Encoder(Protocol):
    """A sentence encoder."""

    name: str

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed: float32, shape (len(texts), dim), rows of unit length."""
        ...


class Clusterer(Protocol):
    """Assigns noised texts to semantic clusters; pure function of its embeddings."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.intp]:
        """Cluster index of each row; -1 marks noise that belongs to no cluster."""
        ...


class Lexicon(Protocol):
    """Synonym pools."""

    name: str

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        """Candidates for each word, the word itself first; ``(word,)`` where nothing may be put in its place.

        Inflection and case follow the word that stands there; antonyms are never among them. The smoother asks for each
        word as a text of its own, so that its pool depends on nothing else: the proofs need that.
        """
        ...


class Recovery(Protocol):
    """Fills the masked positions of noised texts. Sans-I/O: may yield requests."""

    name: str
    deterministic: bool
    """Whether a retention set has one noised text only, so that every set can be enumerated instead of sampled."""

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """One noised text for each row of ``retained`` (shape (samples, len(text.words)), True keeps the word)."""
        ...


class Refiner(Protocol):
    """Scores words by importance. Sans-I/O: may yield requests."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """The ``length`` most important words; all of them, and no request, when there are no more."""
        ...
