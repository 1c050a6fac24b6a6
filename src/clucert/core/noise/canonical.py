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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import regex

from clucert.core.noise.tokens import tokenize
from clucert.core.words import WordedText, split
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
        # Two words within one edit of each other have one of these parts in common.
        self._by_part: dict[str, tuple[str, ...]] = {}
        for word in self._frequency:
            for part in {word, *_shortened(word)}:
                self._by_part[part] = (*self._by_part.get(part, ()), word)
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
        shared = {word for part in {low, *_shortened(low)} for word in self._by_part.get(part, ())}
        known = [word for word in shared if _within_one_edit(low, word)]
        return min(known, key=lambda word: (-self._frequency[word], word), default=low)

    def _is_sealed(self, low: str) -> bool:
        own = self._code(low)
        return all(word in self._frequency or self._code(word) == own for word in self.edits(low))


def _shortened(word: str) -> list[str]:
    """The word without one of its letters."""
    return [word[:i] + word[i + 1 :] for i in range(len(word))]


def _within_one_edit(a: str, b: str) -> bool:
    """Whether words that share a part are at most one edit apart; of unequal length, one is a part of the other."""
    if len(a) != len(b) or a == b:
        return True
    i = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
    return a[i + 1 :] == b[i + 1 :] or (a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :])


FORMS = ("characters", "spelling", "synonyms")
"""The kinds of forms, in the order in which they are applied."""

SHOWN = 12
"""Words that a sentence lists at most."""


@dataclass(frozen=True)
class Free:
    """What may be changed in one text as often as anybody likes: every text that this describes has one form.

    Places count the words (:func:`clucert.core.words.split`) of ``text``, which is the given text with its characters
    in canonical form. A word counts only where the white space and punctuation around it are such that no misspelling
    or synonym can make another word with them, and every single change of it was checked.
    """

    text: str
    words: int
    sealed: tuple[int, ...]
    """Words that may be misspelt (:meth:`Spelling.sealed`)."""
    synonyms: tuple[int, ...]
    """Words that any word of their class may stand for; a word is either misspelt or replaced, not both."""

    @cached_property
    def unsealed(self) -> int:
        """Words that may be misspelt, each of them for one replacement: of the letters a to z alone, not sealed, and
        with such white space and punctuation around them that a misspelling is one word again.
        """
        found, at, sealed = 0, 0, set(self.sealed)
        for chunk in _CHUNK.finditer(self.text):
            piece = split(chunk.group())
            found += at not in sealed and _stands_alone(piece) and _LETTERS.fullmatch(piece.words[0]) is not None
            at += len(piece)
        return found

    def wrong(self, forms: Sequence[str]) -> str | None:
        """What no canonical form with these names could have found, as ``field: what is wrong``."""
        kinds = {form.partition(" ")[0] for form in forms}
        if not kinds or not kinds <= {*FORMS}:
            return f"forms: must be some of {', '.join(FORMS)}, by name and digest"
        if self.words != len(split(self.text)):
            return f"free.words: must be the words of the text, not {self.words}"
        for name, kind, places in (("sealed", "spelling", self.sealed), ("synonyms", "synonyms", self.synonyms)):
            if not ascend_within(places, self.words):
                return f"free.{name}: must ascend within the {self.words} words"
            if places and kind not in kinds:
                return f"free.{name}: there is no form of {kind}"
        return None

    def in_words(self, forms: Sequence[str]) -> Iterator[str]:
        """A sentence for each kind of change that is free, and how they go with what else is proved."""
        found, said = split(self.text).words, 0
        if any(form.startswith("characters ") for form in forms):
            said += 1
            yield (
                "any number of characters written as others of the same form "
                "(look-alikes in the table, accents, full width, invisible ones, HTML entities)"
            )
        for places, change in (
            (self.sealed, "misspelt by one letter, where that makes no dictionary word"),
            (self.synonyms, "replaced by words of their synonym classes"),
        ):
            if places:
                said += 1
                listed = ", ".join(found[i] for i in places[:SHOWN]) + (", …" if len(places) > SHOWN else "")
                these = f"these {len(places)} of {self.words} words"
                yield f"{f'any of {these}' if len(places) > 1 else f'1 of {self.words} words'} ({listed}) {change}"
        at_once = "all at once, and with what is proved on top" if said else "nothing"
        yield f"{at_once}: what is proved counts words of the canonical text"


def ascend_within(places: Sequence[int], size: int) -> bool:
    """Whether these are different places of a text of ``size`` words, in order."""
    return list(places) == sorted(set(places)) and (not places or 0 <= places[0] <= places[-1] < size)


@dataclass(frozen=True, slots=True)
class Canonical:
    """The form N that the noise sees: first the form of the text's characters, then each word's code.

    Texts with one form get one answer. And as each word's code depends on that word alone, texts whose characters' form
    differs in d words have forms that differ in at most those d, and a word inserted, deleted or moved is one word
    inserted, deleted or moved: with any noise after it, any number of free changes *and* what the noise proves are
    allowed together, where words are counted in the form.
    """

    characters: Callable[[str], str] | None = None
    codes: tuple[Callable[[str], str], ...] = ()
    """Applied to each token in this order: spelling, then the closed classes of synonyms."""
    spelling: Spelling | None = None
    """The one among ``codes``."""
    pool: Callable[[str], tuple[str, ...]] | None = None
    """The class of a word, where a code makes one word of each class."""
    names: tuple[str, ...] = ()
    """The forms and the digests of their tables: what a certificate must name."""

    def __call__(self, text: str) -> tuple[str, ...]:
        """The canonical tokens of the text; texts with equal ones get one answer."""
        return tuple(map(self.token, tokenize(self.shown(text))))

    def shown(self, text: str) -> str:
        """The form of the text's characters."""
        return self.characters(text) if self.characters else text

    def worded(self, text: str) -> WordedText:
        """The form of the text with what stands between its words."""
        given = split(self.shown(text))
        return WordedText(tuple(map(self.token, given.words)), given.gaps)

    def token(self, token: str) -> str:
        """The code of one token whose characters are in canonical form."""
        for code in self.codes:
            token = code(token)
        return token

    def word(self, word: str) -> str:
        """What stands for a word, or a synonym of one, that :meth:`is_word`."""
        return self.token(self.shown(word))

    def is_word(self, word: str) -> bool:
        """Whether a word is one of the form, too: ``½`` is not."""
        return split(self.shown(word)).gaps == ("", "")

    def free(self, text: str) -> Free:
        """What may be changed in ``text`` any number of times. Linear time, of a few ms a different word."""
        shown, at = self.shown(text), 0
        sealed, synonyms = list[int](), list[int]()
        for chunk in _CHUNK.finditer(shown):
            piece = split(chunk.group())
            if _stands_alone(piece):
                if self.spelling is not None and self.spelling.sealed(piece.words[0]):
                    sealed.append(at)
                if self._one_class(piece):
                    synonyms.append(at)
            at += len(piece)
        return Free(shown, at, tuple(sealed), tuple(synonyms))

    def _one_class(self, piece: WordedText) -> bool:
        """Whether the one word of a piece has synonyms, each of which gives the piece the same form."""
        pool = self.pool(piece.words[0]) if self.pool else ()
        own = WordedText(tuple(map(self.token, piece.words)), piece.gaps)
        return len(pool) > 1 and all(self.worded(piece.join((word,))) == own for word in pool)


_CHUNK = regex.compile(r"\S++")
_AROUND = regex.compile(r"[(\[\])\"“”,.;:!?…]*")
"""What makes no other word with the letters beside it; not an apostrophe (``'s``), hyphen (``-lrb-``) or ampersand."""
_LETTERS = regex.compile(r"[A-Za-z]++")


def _stands_alone(piece: WordedText) -> bool:
    """Whether what stands between white space is one word, and stays one when a letter of it changes."""
    return len(piece) == 1 and all(_AROUND.fullmatch(gap) for gap in piece.gaps)
