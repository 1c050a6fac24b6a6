"""From pools of lower-case words to pools of words as they stand in a text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from clucert.core.words import WordedText

Case = Literal["lower", "title", "upper"]


def case_of(word: str) -> Case | None:
    """How ``word`` is written; None for mixed case (``iPhone``), which nothing is carried over to."""
    lower = word.lower()
    if word == lower:
        return "lower"
    if word == lower[:1].upper() + lower[1:]:
        return "title"
    return "upper" if word == lower.upper() else None


def in_case(lower: str, case: Case) -> str | None:
    """``lower`` written in ``case``; None where that loses something.

    ``ß`` has no capital of its own, and ``A`` is a title and all capitals at once. Without such words the map from
    lower-case words to cased ones can be inverted, so a closed class stays closed in every case.
    """
    if case == "lower":
        return lower
    word = lower.upper() if case == "upper" else lower[:1].upper() + lower[1:]
    return word if word.lower() == lower and case_of(word) == case else None


class PooledLexicon(ABC):
    """A :class:`clucert.protocols.Lexicon` over lower-case words; case is carried over here."""

    name: str

    @abstractmethod
    def candidates(self, lower: str) -> tuple[str, ...]:
        """What may replace the lower-case word, best first, without the word itself; () where nothing may."""

    @abstractmethod
    def is_name(self, lower: str, case: Case) -> bool:
        """Whether the word is a name when it is written so (``Bush``, ``AIDS``): names are no synonyms."""

    def pool(self, word: str) -> tuple[str, ...]:
        """``word`` first, then what may replace it, in the same case, without duplicates."""
        case = case_of(word)
        if case is None:
            return (word,)
        lower = word.lower()
        if in_case(lower, case) != word or self.is_name(lower, case):
            return (word,)
        others = (in_case(c, case) for c in self.candidates(lower) if not self.is_name(c, case))
        return (word, *(other for other in others if other is not None))

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        """The pool of each word of ``text``; ``(word,)`` for a protected one.

        A pool depends on its own word alone. ValueError when ``protected`` has not one flag a word.
        """
        return tuple((word,) if kept else self.pool(word) for word, kept in zip(text.words, protected, strict=True))


class ClosedLexicon(PooledLexicon):
    """A lexicon whose pools are disjoint classes: for every w′ in the pool of w, both pools are the same set.

    This holds for lower case, Capitalised and CAPITALS alike.
    """

    @abstractmethod
    def group(self, lower: str) -> tuple[str, ...]:
        """The class of the lower-case word, the same tuple for all its members; () for a word that is alone."""

    def candidates(self, lower: str) -> tuple[str, ...]:
        """The other words of the class."""
        return tuple(word for word in self.group(lower) if word != lower)

    def canonical(self, word: str) -> str:
        """The representative of the word's class, in the word's case: the same for every word of its pool."""
        pool = self.pool(word)
        case = case_of(word)
        if len(pool) == 1 or case is None:
            return word
        return next(c for c in (in_case(member, case) for member in self.group(word.lower())) if c in pool)
