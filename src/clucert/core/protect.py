"""Which words the noise must leave alone, because a synonym of them says something else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import regex

from clucert.core.words import PATH, URL, WordedText

Reason = Literal["number", "negation", "url", "code", "name", "listed"]
"""``name`` is given by no rule of this version; certificates of earlier ones hold it."""


def protected(text: WordedText, extra: Collection[str] = ()) -> tuple[bool, ...]:
    """Whether each word must be left alone; ``extra`` are the user's own words, whatever their case."""
    return tuple(reason is not None for reason in reasons(text, extra))


def reasons(text: WordedText, extra: Collection[str] = ()) -> tuple[Reason | None, ...]:
    """Why each word must be left alone, or None.

    * ``listed``: in ``extra``, whatever the case;
    * ``url``: URLs, e-mail addresses, host names;
    * ``code``: file paths, ``snake_case``, ``camelCase``, and words with a digit inside (``mp3``);
    * ``number``: digits (``1,000``, ``3rd``, ``5-year-old``) and number words, ordinals too;
    * ``negation``: ``not``, ``n't`` and its contractions, ``no``, ``never``, ``without``, ``hardly``, ``non-…``.

    Each word is judged by itself: its neighbours, its place and what stands between the words change nothing. The
    overlap of two channels is a product over positions only because of that. Were a word's protection to depend on
    another word, a swap of that other word would change what the noise does here. So a name is known by the lexicon
    (``Bush``, ``AIDS``) or by ``extra``, never by the capitals of its sentence.
    """
    listed = {word.casefold() for word in extra}
    return tuple(_reason(word, listed) for word in text.words)


def _words(listing: str) -> frozenset[str]:
    return frozenset(listing.split())


_CARDINALS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion "
    "hundreds thousands millions billions trillions dozen dozens half halves"
)
_OTHER_NUMBERS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth "
    "ninetieth hundredth thousandth millionth thirds fourths fifths sixths sevenths eighths ninths tenths quarter "
    "quarters once twice thrice double triple quadruple"
)
_NEGATIONS = _words(
    "not no nor neither never none nobody nothing nowhere without cannot nt n't non hardly barely scarcely "
    "aint arent cant couldnt didnt doesnt dont hadnt hasnt havent isnt mustnt neednt shouldnt wasnt werent wont "
    "wouldnt"
)
_NEGATING_PREFIXES = _words("no non not never")


def _reason(word: str, listed: Collection[str]) -> Reason | None:
    if word.casefold() in listed:
        return "listed"
    if URL.fullmatch(word):
        return "url"
    if PATH.fullmatch(word) or "_" in word or _CAMEL.search(word) or word.casefold() in ("c++", "c#"):
        return "code"
    if any(map(str.isdigit, word)) or word[0].isnumeric():
        return "number" if word[0].isnumeric() else "code"
    return _reason_in_dictionary(word.casefold().replace("’", "'"))


def _reason_in_dictionary(lower: str) -> Reason | None:
    parts = lower.split("-")
    if lower in _NEGATIONS or lower.endswith("n't") or (len(parts) > 1 and parts[0] in _NEGATING_PREFIXES):
        return "negation"
    if not _CARDINALS.isdisjoint(parts) or lower in _OTHER_NUMBERS:
        return "number"
    return None


_CAMEL = regex.compile(r"^\p{Ll}+\p{Lu}")
