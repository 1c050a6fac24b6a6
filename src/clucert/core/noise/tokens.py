"""What the noises keep and drop: tokens, sentences, passages, turns of a conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import regex

from clucert.core.words import WordedText, split

_MARK = regex.compile(
    r"-(?i:[lr][rcs]b)-|&(?i:lt|gt|amp|quot|apos|nbsp);|&?\#(?:[0-9]{1,7}|x[0-9a-fA-F]{1,6});|(\S)\1*+"
)
"""A piece of what stands between words: a treebank bracket, an HTML entity, or a run of one character."""


def tokenize(text: str) -> tuple[str, ...]:
    """The tokens of ``text`` in order: its words (:func:`clucert.core.words.split`) and the punctuation between them.

    A punctuation mark is a token; a run of the same mark (``...``, ``!!!``) is one. White space is dropped, so two
    texts that differ in white space between tokens have the same tokens. No rule looks across white space: the tokens
    of ``a + " " + b`` are those of ``a`` and then those of ``b``, for all strings.
    """
    worded = split(text)
    tokens = [match.group() for match in _MARK.finditer(worded.gaps[0])]
    for word, gap in zip(worded.words, worded.gaps[1:], strict=True):
        tokens.append(word)
        tokens += [match.group() for match in _MARK.finditer(gap)]
    return tuple(tokens)


def tokens_apart(text: str) -> WordedText:
    """The tokens of ``text`` as words with one space between any two: what a noise that drops tokens sees of it."""
    return apart(tokenize(text))


def apart(found: tuple[str, ...]) -> WordedText:
    """These tokens with one space between any two."""
    return WordedText(found, ("", *[" "] * (len(found) - 1), "") if found else ("",))


@dataclass(frozen=True, slots=True)
class Units:
    """The *attackable* part of an input as the pieces that a noise keeps or drops.

    Every theorem of this package counts changes of ``pieces``: texts whose pieces are equal are one text to it. What
    stays fixed (a question, a system prompt) is not among them. ``joiner`` goes between the pieces that are kept.
    """

    pieces: tuple[str, ...]
    joiner: str = " "

    def __len__(self) -> int:
        return len(self.pieces)

    def keep(self, positions: Iterable[int]) -> str:
        """The sub-text of these positions, in the order given; the empty string where there are none.

        Whoever votes must answer the empty sub-text always alike.
        """
        return self.joiner.join([self.pieces[i] for i in positions])


def words(text: str) -> Units:
    """The tokens of ``text``, kept ones joined by one space."""
    return Units(tokenize(text))


_NOT_AN_END = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "vs"})
_END = regex.compile(r"[.!?…。！？]++[\"'’”)\]]*+(?=\s|$)|[。！？]++|\n\s*+", regex.V1)


def sentences(text: str) -> Units:
    """The sentences of ``text``, each without white space around it, kept ones joined by one space.

    A sentence ends with ``.``, ``!``, ``?`` or ``…`` before white space (not after a title such as ``Mr``), with their
    ideographic forms, and at a line's end. A threat to sentences is about the sentences of the *changed* text by this
    same rule: text without an end that is put before a sentence changes that sentence and adds none.
    """
    pieces, start = [], 0
    for match in _END.finditer(text):
        before = regex.search(r"\p{L}++$", text[max(start, match.start() - 8) : match.start()])
        if match.group() == "." and before and before.group().lower() in _NOT_AN_END:
            continue
        pieces.append(text[start : match.end()].strip())
        start = match.end()
    pieces.append(text[start:].strip())
    return Units(tuple(piece for piece in pieces if piece))


def passages(items: Iterable[str]) -> Units:
    """Retrieved passages, one a unit, kept ones joined by an empty line."""
    return Units(tuple(items), "\n\n")


def turns(items: Iterable[str]) -> Units:
    """Turns of a conversation, one a unit, kept ones joined by a line's end."""
    return Units(tuple(items), "\n")
