"""Canonical forms: any number of changes that do not matter.

If N is applied first and N(x) = N(x′), the classifier answers both alike: any number of such changes, for nothing. The
two forms here keep every theorem about tokens, which then speaks of the tokens of N(x):

* :class:`Characters` works between white space: N(a + " " + b) = N(a) + " " + N(b), so what is inserted, deleted or
  moved between white space in x is so in N(x);
* :class:`Spelling` is a function of each token alone, so texts that differ in d tokens have forms that differ in at
  most d, and a token inserted is one token inserted.

Both are idempotent: N(N(x)) = N(x). They read tables that the caller gives; whoever stores a certificate stores which.
"""

from __future__ import annotations

import html
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import regex

from clucert.core.noise.tokens import tokenize
from clucert.errors import InputError

_DROPPED = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Cc}\p{Cs}--\s]", regex.V1)
_MARKS = regex.compile(r"[\u0300-\u036F\u1AB0-\u1AFF\u1DC0-\u1DFF\u20D0-\u20FF\uFE20-\uFE2F]")
_SPACE = regex.compile(r"\s")
_ENTITY = regex.compile(r"#[0-9]{1,10};?|#[xX][0-9a-fA-F]{1,8};?|[A-Za-z][A-Za-z0-9]{1,31};")
_LONGEST_ENTITY = 34


class Characters:
    """The form of a text in which look-alike characters are one.

    Character by character: compatibility forms are decomposed (NFKD: full width, mathematical letters, ligatures);
    combining diacritics are dropped (``é`` is ``e``); zero-width, control, formatting and tag characters, variation
    selectors and lone surrogates are dropped; a character in ``confusables`` becomes its ASCII string; with
    ``fold_case`` letters are case-folded; white space other than a line's end is a space. HTML entities are what they
    stand for, nested ones too (``&amp;lt;`` is ``<``). The result is in NFC. Linear time.

    ``confusables`` maps single characters to non-empty ASCII strings (see :mod:`clucert.lexicon.lookalikes`). ASCII
    characters stay what they are: ``1`` and ``l`` are two. Meant for text in Latin letters: Cyrillic that looks Latin
    becomes Latin.
    """

    def __init__(self, confusables: Mapping[str, str] | None = None, *, fold_case: bool = False) -> None:
        table = dict(confusables or {})
        for char, target in table.items():
            visible = target.isascii() and target.isprintable() and target.strip()
            if len(char) != 1 or char.isascii() or not visible:
                raise InputError(f"confusable {char!r} to {target!r}: give ASCII for one character that is none")
        self._confusables = table
        self._fold_case = fold_case
        self._form = lru_cache(maxsize=1 << 16)(self._form_of)

    def __call__(self, text: str) -> str:
        """N(text)."""
        if text.isascii() and "&" not in text and text.isprintable():
            return text.lower() if self._fold_case else text
        # From right to left, what follows an ampersand is decoded already: one pass decodes nested entities, and each
        # decoding shortens what was written.
        left, written = list(text), list[str]()
        while left:
            char = left.pop()
            form = self._form(char)
            if form != char:
                left += form
                continue
            if char == "&" and (entity := _ENTITY.match("".join(written[:-_LONGEST_ENTITY:-1]))):
                decoded = html.unescape(f"&{entity.group().rstrip(';')};")
                if decoded != f"&{entity.group().rstrip(';')};":
                    del written[-len(entity.group()) :]
                    left += decoded
                    continue
            written.append(char)
        return unicodedata.normalize("NFC", "".join(reversed(written)))

    def _form_of(self, char: str) -> str:
        """What one character becomes; each character of it becomes itself."""
        if char in self._confusables and unicodedata.normalize("NFD", char) == char:
            return self._folded(self._confusables[char])
        parts = unicodedata.normalize("NFKD", self._folded(unicodedata.normalize("NFKD", char)))
        return "".join(map(self._part, parts))

    def _part(self, char: str) -> str:
        """What a character without decomposition becomes."""
        if _SPACE.match(char):
            return char if char == "\n" else " "
        if _DROPPED.match(char) or _MARKS.match(char):
            return ""
        return self._folded(self._confusables.get(char, char))

    def _folded(self, text: str) -> str:
        return text.casefold() if self._fold_case else text


class Spelling:
    """A code of words that undoes one misspelling (Jones et al., Robust Encodings, 2020).

    A word made of ``alphabet`` only, in any case, becomes

    * its lower case, if that is in the dictionary, or if it is shorter than ``shortest`` letters;
    * else the most frequent dictionary word within one edit of it (the first in order of strings where two are as
      frequent);
    * else its lower case.

    Every other token stays as it is. An *edit* inserts, deletes or replaces one letter of the alphabet, or swaps two
    neighbours.
    """

    def __init__(
        self, frequencies: Mapping[str, float], *, alphabet: str = string.ascii_lowercase, shortest: int = 3
    ) -> None:
        """Keep the words of ``frequencies`` that the alphabet spells.

        Raises:
            InputError: the alphabet is not lower-case letters that make one word.

        """
        if tokenize(alphabet) != (alphabet,) or not alphabet.isalpha() or alphabet != alphabet.lower():
            raise InputError(f"alphabet {alphabet!r}: give lower-case letters of a script with words between spaces")
        self.alphabet = alphabet
        self.shortest = shortest
        self._letters = frozenset(alphabet)
        spelt = (word for word in frequencies if word and self._letters.issuperset(word))
        self._frequency = {word: frequencies[word] for word in spelt}
        self._code = lru_cache(maxsize=1 << 18)(self._code_of)
        self._sealed = lru_cache(maxsize=1 << 16)(self._is_sealed)

    def __contains__(self, token: str) -> bool:
        """Whether the token, in any case, is a dictionary word."""
        return token.lower() in self._frequency

    def __call__(self, token: str) -> str:
        """E(token)."""
        low = token.lower()
        return self._code(low) if low and self._letters.issuperset(low) else token

    def sealed(self, token: str) -> bool:
        """Whether *every* misspelling of the token, in any case, has the token's own code: any number of these is free.

        A misspelling is the result of one edit that is not a dictionary word. (A dictionary word in its place is a
        replacement; so is a misspelling of a token that is not sealed. A word that an edit empties is not sealed.)
        """
        low = token.lower()
        return bool(low) and self._letters.issuperset(low) and self._sealed(low)

    def edits(self, word: str) -> Iterator[str]:
        """Every string within one edit of ``word``, itself not left out, some more than once."""
        for i in range(len(word) + 1):
            head, tail = word[:i], word[i:]
            if tail:
                yield head + tail[1:]
                yield from (head + letter + tail[1:] for letter in self.alphabet)
            if len(tail) > 1:
                yield head + tail[1] + tail[0] + tail[2:]
            yield from (head + letter + tail for letter in self.alphabet)

    def _code_of(self, low: str) -> str:
        if low in self._frequency or len(low) < self.shortest:
            return low
        known = [word for word in self.edits(low) if word in self._frequency]
        return min(known, key=lambda word: (-self._frequency[word], word), default=low)

    def _is_sealed(self, low: str) -> bool:
        own = self._code(low)
        return all(bool(word) and (word in self._frequency or self._code_of(word) == own) for word in self.edits(low))


@dataclass(frozen=True, slots=True)
class Canonical:
    """The tokens that the noise sees: first the form of the text's characters, then each token's code."""

    characters: Callable[[str], str] | None = None
    codes: tuple[Callable[[str], str], ...] = ()
    """Applied to each token in this order: spelling, then the closed classes of synonyms."""

    def __call__(self, text: str) -> tuple[str, ...]:
        """The canonical tokens of the text; texts with equal ones get one answer."""
        return tuple(map(self.token, tokenize(self.characters(text) if self.characters else text)))

    def token(self, token: str) -> str:
        """The code of one token."""
        for code in self.codes:
            token = code(token)
        return token


def sealed_share(spelling: Spelling, tokens: Iterable[str]) -> tuple[int, int]:
    """How many of the tokens that have letters are sealed, and how many have letters."""
    lettered = [token for token in tokens if any(char.isalpha() for char in token)]
    return sum(map(spelling.sealed, lettered)), len(lettered)
