"""Ways to change one word: each gets the word and a generator, and returns what may stand in its place.

The four bugs of DeepWordBug and the five of TextBugger, as TextAttack draws them: one random change each, every
possible homoglyph, the nearest words. Four details of TextAttack's are not copied. Its insertion never adds a letter
behind the last one (and with ``inner``, never a space before the last letter): positions here are all that the
description allows. A swap of equal letters or a substitution by the same letter, which changes nothing and which it
throws away, is not drawn here.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clucert.core.words import WordedText
from clucert.protocols import Lexicon

HOMOGLYPHS: Mapping[str, str] = {
    "-": "\u02d7",  # modifier letter minus sign
    "'": "\u0060",  # grave accent
    "0": "O",
    "1": "l",
    "2": "\u14bf",  # Canadian syllabics sayisi m
    "3": "\u01b7",  # Latin capital letter ezh
    "4": "\u13ce",  # Cherokee letter se
    "5": "\u01bc",  # Latin capital letter tone five
    "6": "\u0431",  # Cyrillic small letter be
    "7": "\U0001d7d5",  # mathematical bold digit seven
    "8": "\u0222",  # Latin capital letter ou
    "9": "\u09ed",  # Bengali digit seven
    "a": "\u0251",  # Latin small letter alpha
    "b": "\u042c",  # Cyrillic capital letter soft sign
    "c": "\u03f2",  # Greek lunate sigma symbol
    "d": "\u0501",  # Cyrillic small letter komi de
    "e": "\u0435",  # Cyrillic small letter ie
    "f": "\U0001d68f",  # mathematical monospace small f
    "g": "\u0261",  # Latin small letter script g
    "h": "\u0570",  # Armenian small letter ho
    "i": "\u0456",  # Cyrillic small letter Byelorussian-Ukrainian i
    "j": "\u03f3",  # Greek letter yot
    "k": "\U0001d48c",  # mathematical bold italic small k
    "l": "\u217c",  # small Roman numeral fifty
    "m": "\uff4d",  # fullwidth Latin small letter m
    "n": "\u0578",  # Armenian small letter vo
    "o": "\u043e",  # Cyrillic small letter o
    "p": "\u0440",  # Cyrillic small letter er
    "q": "\u051b",  # Cyrillic small letter qa
    "r": "\u2c85",  # Coptic small letter gamma
    "s": "\u0455",  # Cyrillic small letter dze
    "t": "\U0001d69d",  # mathematical monospace small t
    "u": "\u057d",  # Armenian small letter seh
    "v": "\u0475",  # Cyrillic small letter izhitsa
    "w": "\u051d",  # Cyrillic small letter we
    "x": "\u00d7",  # multiplication sign
    "y": "\u0443",  # Cyrillic small letter u
    "z": "\u1d22",  # Latin letter small capital z
}
"""Characters that look alike, from Unicode's confusables (UTS #39): the 38 characters that TextAttack maps."""


class Transformation(Protocol):
    """Replacements of one word."""

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """What may stand in the place of ``word``; never ``word`` itself."""
        ...


@dataclass(frozen=True, slots=True)
class SwapNeighbours:
    """Two adjacent letters change places; with ``inner`` the first and the last letter stay."""

    inner: bool = False

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """One random swap of two different letters, or none."""
        places = [i for i in _places(word, self.inner, width=2) if word[i] != word[i + 1]]
        if len(word) < 2 or not places:
            return ()
        i = _pick(places, rng)
        return (word[:i] + word[i + 1] + word[i] + word[i + 2 :],)


@dataclass(frozen=True, slots=True)
class SubstituteLetter:
    """One character becomes a random ASCII letter."""

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """One random substitution, or none for a word of one character."""
        if len(word) < 2:
            return ()
        i = int(rng.integers(len(word)))
        return (word[:i] + _pick([c for c in string.ascii_letters if c != word[i]], rng) + word[i + 1 :],)


@dataclass(frozen=True, slots=True)
class DeleteLetter:
    """One character goes; with ``inner`` neither the first nor the last."""

    inner: bool = False

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """One random deletion, or none."""
        places = _places(word, self.inner)
        if len(word) < 2 or not places:
            return ()
        i = _pick(places, rng)
        return (word[:i] + word[i + 1 :],)


@dataclass(frozen=True, slots=True)
class InsertLetter:
    """A random one of ``letters`` is added; with ``inner`` the first and the last character stay so."""

    letters: str = string.ascii_letters
    inner: bool = False

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """One random insertion, or none for a word of one character."""
        if len(word) < 2:
            return ()
        i = int(rng.integers(1, len(word))) if self.inner else int(rng.integers(len(word) + 1))
        return (word[:i] + _pick(self.letters, rng) + word[i:],)


@dataclass(frozen=True, slots=True)
class SwapHomoglyphs:
    """One character becomes one that looks like it (:data:`HOMOGLYPHS`)."""

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """Every word that differs in one such character."""
        found = (word[:i] + HOMOGLYPHS[c] + word[i + 1 :] for i, c in enumerate(word) if c in HOMOGLYPHS)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class SwapSynonyms:
    """The word becomes one of the first ``count`` words of its pool in ``lexicon``.

    It stands in for TextAttack's five nearest counter-fitted word vectors, which no package registry has.
    """

    lexicon: Lexicon
    count: int | None = 5

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        """The pool's words, best first."""
        (pool,) = self.lexicon.pools(WordedText((word,), ("", "")), (False,))
        return pool[1:] if self.count is None else pool[1 : 1 + self.count]


def _places(word: str, inner: bool, width: int = 1) -> range:
    """Starts of the runs of ``width`` characters; with ``inner``, those that touch neither end."""
    return range(1, len(word) - width) if inner else range(len(word) - width + 1)


def _pick(options: range | str | list[int] | list[str], rng: np.random.Generator):  # type: ignore[no-untyped-def]
    return options[int(rng.integers(len(options)))]
