"""What the noises keep and drop: tokens, sentences, passages, turns of a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import regex

from clucert.core.words import TAG, WordedText, split
from clucert.errors import InputError, shortened

_MARK = regex.compile(
    rf"{TAG}|-(?i:[lr][rcs]b)-|&(?i:lt|gt|amp|quot|apos|nbsp);|&?\#(?:[0-9]{{1,7}}|x[0-9a-fA-F]{{1,6}});|(\S)\1*+"
)
"""A piece of what stands between words: a tag, a treebank bracket, an HTML entity, or a run of one character."""


def tokenize(text: str) -> tuple[str, ...]:
    """The tokens of ``text`` in order: its words (:func:`clucert.core.words.split`) and the punctuation between them.

    A punctuation mark is a token; a run of the same mark (``...``, ``!!!``) is one. White space is dropped, so two
    texts that differ in white space between tokens have the same tokens. No rule looks across white space: the tokens
    of ``a + " " + b`` are those of ``a`` and then those of ``b``, for all strings.
    """
    # A gate asks for those of one text several times, and for those of hundreds of texts in between.
    return _of_short(text) if len(text) <= _SHORT else _tokens(text)


def _tokens(text: str) -> tuple[str, ...]:
    worded = split(text)
    tokens = [match.group() for match in _MARK.finditer(worded.gaps[0])]
    for word, gap in zip(worded.words, worded.gaps[1:], strict=True):
        tokens.append(word)
        tokens += [match.group() for match in _MARK.finditer(gap)]
    return tuple(tokens)


_SHORT = 2_000
"""Characters of a text whose tokens are kept for a while."""
_of_short = lru_cache(maxsize=1024)(_tokens)


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
    before: str = ""
    """Fixed: in front of the kept pieces of every sub-text, such as a system prompt."""
    behind: str = ""
    """Fixed: behind them, such as a question."""

    def __len__(self) -> int:
        return len(self.pieces)

    def keep(self, positions: Iterable[int]) -> str:
        """The sub-text of these positions, in the order given; the empty string where there are none.

        Whoever votes must answer the empty sub-text always alike.
        """
        kept = [self.pieces[i] for i in positions]
        return self.joiner.join(filter(None, (self.before, *kept, self.behind))) if any(kept) else ""


def words(text: str) -> Units:
    """The tokens of ``text``, kept ones joined by one space."""
    return Units(tokenize(text))


_NOT_AN_END = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "vs"})
_END = regex.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'’”)\]]*+(?=\s|$)|[。！？]++|\n\s*+", regex.V1)


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


@dataclass(frozen=True, slots=True)
class Listed:
    """An input of several pieces, and what is fixed: it is part of every sub-text, and no attacker changes it."""

    pieces: tuple[str, ...]
    system: str = ""
    question: str = ""

    @property
    def fixed(self) -> tuple[str, ...]:
        """The names of the fixed parts that there are."""
        return tuple(name for name in FIXED_PARTS if getattr(self, name))

    def units(self, joiner: str) -> Units:
        """The pieces with the fixed parts around them."""
        return Units(self.pieces, joiner, self.system, self.question)

    def written(self) -> str:
        """JSON that :func:`listed` reads back to the same."""
        if not self.fixed:
            return json.dumps(list(self.pieces), ensure_ascii=False)
        fixed = {name: getattr(self, name) for name in self.fixed}
        return json.dumps({"passages": list(self.pieces), **fixed}, ensure_ascii=False)


FIXED_PARTS = ("system", "question")
_ROLES_FIXED = ("system", "developer")


@lru_cache(maxsize=64)  # Read for the units, for what is free and for what is fixed.
def listed(text: str) -> Listed:
    """The passages or turns that ``text`` lists as JSON.

    A list of strings or of messages (``role``, ``content``), or an object with ``passages`` or ``messages`` and, for
    what is fixed, ``system`` and ``question``. Messages of the system are fixed, too. A message that has a role is the
    piece ``role: content``.

    Raises:
        InputError: it is no list of texts, or has another key.

    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    parts = given if isinstance(given, dict) else {"passages": given}
    if unknown := [name for name in parts if name not in ("passages", "messages", *FIXED_PARTS)]:
        raise InputError(
            f"a list of passages or messages has no {shortened(unknown[0], 40)!r}: give {', '.join(FIXED_PARTS)}"
        )
    items = parts.get("passages", parts.get("messages"))
    pairs = [_message(item) for item in items] if isinstance(items, list) else []
    system = [content for role, content in pairs if role in _ROLES_FIXED]
    pieces = [f"{role}: {content}" if role else content for role, content in pairs if role not in _ROLES_FIXED]
    fixed = [parts.get(name, "") for name in FIXED_PARTS]
    if not pieces or ("passages" in parts) == ("messages" in parts) or not all(isinstance(each, str) for each in fixed):
        raise InputError(_NO_LIST)
    return Listed(tuple(pieces), "\n".join(filter(None, [fixed[0], *system])), fixed[1])


_NO_LIST = (
    'this unit needs a JSON list of texts: ["first passage", "second passage"], '
    'or with what is fixed {"passages": [...], "question": "..."}'
)


def _message(item: object) -> tuple[str, str]:
    """Role and content; a bare text has no role. An empty text is none: nobody could tell it from what is left out."""
    role, content = (item.get("role", ""), item.get("content")) if isinstance(item, dict) else ("", item)
    if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
        raise InputError(_NO_LIST)
    return role, content


JOINERS = {"passage": "\n\n", "turn": "\n"}
"""What stands between kept passages, and between kept turns."""
