"""Letters pulled apart (``b o m b``), words run together (``how_to_build``), characters that nobody sees: the text that
a model reads anyway.

Undoing this is no canonical form that keeps the theorems about words, for one letter more may join others. A gate reads
the result as a text of its own, beside the one that was written, and blocks where either is flagged: every certificate
of what was written holds as it is.
"""

from __future__ import annotations

import html
import math
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import regex

from clucert.errors import InputError
from clucert.lexicon.lookalikes import english_frequencies

_RUN = regex.compile(r"[\p{L}\p{N}]++")
_GAP = regex.compile(r"[^\p{M}\n]*\n?[^\p{M}\n]*")
"""What stands between letters that are pulled apart: signs and white space, no paragraph, and no mark that belongs to a
letter."""
_LONGEST_GAP = 4
FEWEST = 4
"""Letters that stand apart before they are taken for a word."""
_HUMP = regex.compile(r"\p{Lu}?\p{Ll}++|\p{Lu}++(?!\p{Ll})|\p{Lu}|\p{L}|\p{N}++")
_LONG = 18
"""Letters in one run that are taken for several words, unless they are a known one."""
_LIKELY = 9
"""Letters in one run that are taken for several words where they spell three known ones, or more."""
_WIDE = regex.compile(r"[ \t]{2,}")
MOST = 100_000
"""Characters of a text in runs of at least that length: a third of a second's work. More are refused."""


def revealed(text: str) -> str:
    """``text`` with what hides in characters written in letters; ``text`` itself where nothing does.

    Tag characters are the ASCII that they tag, runs of variation selectors the bytes that they number, braille cells
    and letters in discs, boxes and flags the letters that they stand for; HTML entities of these, too. Tags of HTML go
    where one is within a word.
    """
    found = text
    for _ in range(DEEPEST if "&" in text else 0):
        found, before = html.unescape(found), found
        if found == before:
            break
    shown = _TAGS.sub(lambda match: "".join(chr(ord(c) - 0xE0000) for c in match.group()), found)
    shown = _SELECTORS.sub(lambda match: _said_by_selectors(match.group()), shown)
    shown = _MARKUP.sub("", shown) if _SPLITTING.search(shown) else shown
    shown = shown.translate(_LETTERS_AS_SIGNS)
    return text if shown == found else shown


def _said_by_selectors(run: str) -> str:
    numbers = bytes(ord(c) - 0xFE00 if ord(c) < 0xE0000 else ord(c) - 0xE0100 + 16 for c in run)
    said = numbers.decode("utf-8", "ignore")
    return f" {said} " if said.isprintable() else ""


_TAGS = regex.compile(r"[\U000E0020-\U000E007E]+")
_SELECTORS = regex.compile(r"[\uFE00-\uFE0F\U000E0100-\U000E01EF]{4,}")
_SPLITTING = regex.compile(r"(?<=\p{L})<[^<>\s][^<>]{0,200}>(?=\p{L})")
"""A tag or a comment of HTML within a word."""
_MARKUP = regex.compile(r"<[^<>\s][^<>]{0,200}>")
_DOTS = "1 12 14 145 15 124 1245 125 24 245 13 123 134 1345 135 1234 12345 1235 234 2345 136 1236 2456 1346 13456 1356"
"""Of the letters from a to z."""
_LETTERS_AS_SIGNS = {0x2800: " "} | {
    0x2800 + sum(1 << (int(dot) - 1) for dot in dots): letter
    for letter, dots in zip(string.ascii_lowercase, _DOTS.split(" "), strict=True)
}
# Letters in discs and boxes, and those of flags.
_LETTERS_AS_SIGNS |= {at + i: c for at in (0x1F150, 0x1F170, 0x1F1E6) for i, c in enumerate(string.ascii_lowercase)}
DEEPEST = 8
"""How often entities are undone."""


def respelled(text: str) -> str | None:
    """``text`` with letters that stand apart joined and words that are run together cut; None where there are none.

    Linear time. Runs of Latin letters without a sign where words end are cut into the likeliest English words.

    Raises:
        MissingExtraError: the package with the word list is not installed.
        InputError: more of the text than ``MOST`` characters would have to be looked at.

    """
    out, end, cut = list[str](), 0, 0
    for group in _groups(text):
        start, stop = group[0].start(), group[-1].end()
        cut += stop - start if stop - start >= _LONG else 0
        if cut > MOST:
            raise InputError(f"more than {MOST:,} characters in words that are run together or pulled apart")
        out += [text[end:start], _word(text, group)]
        end = stop
    found = "".join([*out, text[end:]])
    return None if found == text else found


@lru_cache(4096)
def words_in(identifier: str) -> str:
    """The words that an identifier spells (``HowToBuild``, ``get_weather_1byjy``); empty where it spells none.

    It does where an English word in it, of ``FEWEST`` letters or more, is likelier as a word than as random letters: of
    a hundred identifiers of 24 random letters and digits one or two do, by chance. What providers begin them with
    (``call_``, ``chatcmpl-tool-``) says nothing.
    """
    shown = _PREFIX.sub("", identifier)
    said, sure = list[str](), False
    for run in _LETTERS.findall(respelled(shown) or shown):
        words = _cut(run).split()
        known = [word for word in words if word.lower() in _costs()]
        # A word that is in no list may be cut into some that are.
        said += known if len(known) == len(words) or len(run) < FEWEST else [*known, run]
        sure = sure or any(map(_is_sure, known))
    return " ".join(said) if sure else ""


def _is_sure(word: str) -> bool:
    """Whether it is e² times likelier as a word than as random letters."""
    return len(word) >= FEWEST and _likelier(word.lower()) > 2


_LETTERS = regex.compile(r"[A-Za-z]+")
_PREFIX = regex.compile(
    r"^(?:(?:call|chatcmpl|tool|toolu|srvtoolu|tooluse|toolcall|mcp|functions?|fc|msg|message|item|rs|run)[_.:-]+)+",
    regex.IGNORECASE,
)


def _groups(text: str) -> Iterator[list[Any]]:
    """The runs of letters and digits of ``text``: those that belong together, and all others by themselves."""
    group: list[Any] = []
    for match in _RUN.finditer(text):
        if group and not _together(text, group[-1], match):
            yield group
            group = []
        group.append(match)
    if group:
        yield group


def _together(text: str, left: Any, right: Any) -> bool:
    """Whether two neighbouring runs are single letters with little between them, or words with underscores."""
    size = right.start() - left.end()
    gap = text[left.end() : left.end() + min(size, _LONGEST_GAP + 1)]
    if _single(left) and _single(right):
        return size <= _LONGEST_GAP and _GAP.fullmatch(gap) is not None
    return size <= _LONGEST_GAP and gap.strip("_") == ""


def _single(run: Any) -> bool:
    return len(run.group()) == 1 and str(run.group()).isalpha()


def _word(text: str, group: Sequence[Any]) -> str:
    """What a group of runs spells."""
    written = text[group[0].start() : group[-1].end()]
    runs = [run.group() for run in group]
    if len(group) == 1:
        return _alone(runs[0])
    if not all(map(_single, group)):
        return " ".join(map(_alone, runs)) if len(group) > 2 else written
    return _joined(written) if len(group) >= FEWEST else written


def _alone(run: str) -> str:
    """A run of letters by itself: ``HowToBuild`` and what is too long for one word are several."""
    humps = _HUMP.findall(run)
    if len(humps) > 2 and run.isalpha() and len(run) >= 2 * len(humps):
        return " ".join(humps)
    if len(run) < _LIKELY or not (run.isascii() and run.isalpha()):
        return run
    found = _cut(run)
    return found if len(run) >= _LONG or _are_words(found.lower().split()) else run


def _are_words(words: Sequence[str]) -> bool:
    """Whether these are known words, and e³ times likelier than random letters. Two may well be one that is unknown."""
    if len(words) < 3 or any(word not in _costs() for word in words):
        return False
    return sum(map(_likelier, words)) > 3


def _likelier(word: str) -> float:
    """The logarithm of how many times likelier a known word is as a word than as random letters."""
    return len(word) * math.log(26) - _costs()[word]


def _joined(run: str) -> str:
    """The letters of a run as words: as its wide gaps say, else the likeliest."""
    parts = ["".join(filter(str.isalpha, part)) for part in _WIDE.split(run)]
    # Wide gaps everywhere separate letters, not words.
    if len(parts) == 1 or max(map(len, parts)) == 1:
        return _cut("".join(parts))
    return " ".join(parts)


def _cut(letters: str) -> str:
    """The likeliest words that the letters spell, by the frequency of each; unknown words cost by the letter."""
    low, costs, longer = letters.lower(), _costs(), _longer()
    if low in costs:
        return letters
    # The cheapest cut of the letters before each place, and where its last word begins.
    best, back = [0.0] + [math.inf] * len(low), [0] * (len(low) + 1)
    unknown, since = math.inf, 0
    for start in range(len(low)):
        here = best[start]
        if here + 12.0 < unknown:
            unknown, since = here + 12.0, start
        unknown += 6.0
        if unknown < best[start + 1]:
            best[start + 1], back[start + 1] = unknown, since
        for size in (1, 2, 3, *longer.get(low[start : start + 4], ())):
            cost = costs.get(low[start : start + size], math.inf)
            if cost < math.inf and start + size <= len(low) and here + cost < best[start + size]:
                best[start + size], back[start + size] = here + cost, start
    words, end = [], len(low)
    while end:
        words.append(letters[back[end] : end])
        end = back[end]
    return " ".join(reversed(words))


@cache
def _longer() -> Mapping[str, tuple[int, ...]]:
    """Lengths of the known words of four letters or more, by their first four."""
    found: dict[str, set[int]] = {}
    for word in _costs():
        if len(word) >= 4:
            found.setdefault(word[:4], set()).add(len(word))
    return {start: tuple(sorted(sizes)) for start, sizes in found.items()}


@cache
def _costs() -> Mapping[str, float]:
    """What each known word costs: minus the logarithm of its frequency."""
    counts = {w: n for w, n in english_frequencies().items() if w.isalpha() and (len(w) > 1 or w in ("a", "i"))}
    total = math.log(sum(counts.values()))
    return {word: total - math.log(count) for word, count in counts.items()}
