"""What a changed text must keep. Each filters candidates; the sentence constraint asks for embeddings."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clucert.attacks.base import Words
from clucert.core.words import WordedText, same_shape
from clucert.types import Encode

USE_THRESHOLD = 0.8
"""TextBugger's least angular similarity 1 − arccos(cosine)/π, which is a cosine of 0.809."""

Admitted = Generator[Encode, Any, tuple[list[bool], list[float] | None]]


class Constraint(Protocol):
    """A condition on candidates, compared with the original text."""

    def admit(self, text: WordedText, candidates: Sequence[Words]) -> Admitted:
        """Which of ``candidates`` pass; and how similar each is to ``text``, for a constraint that measures it."""
        ...


@dataclass(frozen=True, slots=True)
class EditDistance:
    """At most ``limit`` Levenshtein edits between the texts, in characters."""

    limit: int

    def admit(self, text: WordedText, candidates: Sequence[Words]) -> Admitted:
        """Asks nothing."""
        return [self._holds(text, words) for words in candidates], None
        yield

    def _holds(self, text: WordedText, words: Words) -> bool:
        pairs = [(a, b) for a, b in zip(text.words, words, strict=True) if a != b]
        # Word by word is an upper bound on the distance of the texts, and nearly always enough to know.
        if sum(levenshtein(a, b) for a, b in pairs) <= self.limit:
            return True
        return levenshtein(text.text, text.join(words)) <= self.limit


@dataclass(frozen=True, slots=True)
class SentenceSimilarity:
    """At least ``threshold`` of angular similarity, 1 − arccos(cosine)/π, between the texts' embeddings."""

    threshold: float = USE_THRESHOLD

    def admit(self, text: WordedText, candidates: Sequence[Words]) -> Admitted:
        """Embeds the original with the candidates."""
        if not candidates:
            return [], []
        embeddings: NDArray[np.float32] = yield Encode([text.text, *(text.join(w) for w in candidates)], "predict")
        cosines = (embeddings[1:] @ embeddings[0]).tolist()
        least = cos(pi * (1 - self.threshold))
        return [cosine >= least for cosine in cosines], cosines


@dataclass(frozen=True, slots=True)
class WordSubstitution:
    """Words stay words in their places, so that the change is one that a certificate speaks of."""

    def admit(self, text: WordedText, candidates: Sequence[Words]) -> Admitted:
        """Asks nothing."""
        return [same_shape(text, words) for words in candidates], None
        yield


@dataclass(frozen=True, slots=True)
class WithinPools:
    """Each changed word is one of its pool: the ``synonym`` threat model."""

    pools: Sequence[Sequence[str]]
    """Of the original's words."""

    def admit(self, text: WordedText, candidates: Sequence[Words]) -> Admitted:
        """Asks nothing."""
        return [all(new in pool for new, pool in zip(words, self.pools, strict=True)) for words in candidates], None
        yield


def levenshtein(a: str, b: str) -> int:
    """Fewest insertions, deletions and substitutions that make ``b`` of ``a``."""
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]
