"""How a label may be written: which texts are it, but for case, dress and dashes, and which texts name it.

The rule is the first part of that of :mod:`clucert.tasks.parse`. Nothing here reads a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_SAME = str.maketrans(
    {
        **dict.fromkeys("−‐‑‒–—﹣－⁃", "-"),
        **dict.fromkeys("’‘‛′´", "'"),
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("\ufe0e\ufe0f"),
        "⁄": "/",
    }
)
_PAIRS = ("***", "**", "*", "___", "__", "_", "```", "`", '"', "'", "()", "[]", "{}", "«»", "‹›", "「」", "『』", "<>")
_STOPS = ".,;!。"
_BULLETS = ("- ", "* ", "• ", "> ", "+ ")
_HEADING = re.compile(r"#{1,6} +")
_TAG = re.compile(r"<([a-z]{1,20})>([^<>]*)</\1>")
_LATEX = re.compile(r"(?:\$ ?)?\\(?:boxed|text|textbf|mathrm|mathbf) ?\{(.*)\}(?: ?\$)?")
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-_ ]+(?=[^\W\d_])")
UNDRESSINGS = 8
"""Layers of dress that are taken off at most."""


@dataclass(frozen=True, slots=True)
class Spellings:
    """The ways to write each label, folded."""

    exact: Mapping[str, str]
    loose: Mapping[str, str]
    """With hyphens and underscores between letters as spaces, where that leaves every label apart."""
    dress: tuple[str, ...]
    """Pairs that may be taken off."""
    stops: str
    """Punctuation that may end it."""
    edges: frozenset[str]
    """What labels begin or end with."""
    named: tuple[tuple[re.Pattern[str], str], ...]
    """What names a label within a text, the longest spelling first."""


def fold(text: str) -> str:
    """``text`` in the form in which labels are compared. Two labels that fold alike cannot be told apart."""
    if text.isascii():
        return " ".join(text.casefold().split())
    plain = unicodedata.normalize("NFKC", text).translate(_SAME).casefold()
    kept = (
        str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else c
        for c in plain
        if unicodedata.category(c) != "Cf"
    )
    return " ".join("".join(kept).split())


def same_spelling(names: Sequence[str]) -> tuple[str, str] | None:
    """Two of ``names`` that no reader can tell apart: a full stop, too, may end an answer or a label."""
    seen: dict[str, str] = {}
    for name in names:
        plain = fold(name)
        if (key := plain.rstrip(_STOPS) or plain) in seen:
            return seen[key], name
        seen[key] = name
    return None


@lru_cache(maxsize=256)
def spellings_of(names: tuple[tuple[str, str], ...]) -> Spellings:
    """The spellings of ``names``, (spelling, label) each."""
    exact = {fold(spelling): label for spelling, label in names}
    loose: dict[str, str | None] = {}
    for spelling, label in exact.items():
        key = _loosened(spelling)
        loose[key] = label if loose.get(key, label) == label else None
    edges = {end for spelling in exact if spelling for end in (spelling[0], spelling[-1])}
    return Spellings(
        exact,
        {spelling: label for spelling, label in loose.items() if label is not None},
        tuple(pair for pair in _PAIRS if not edges & set(pair)),
        "".join(stop for stop in _STOPS if stop not in edges),
        frozenset(edges),
        tuple((_naming(spelling), exact[spelling]) for spelling in sorted(exact, key=len, reverse=True)),
    )


def whole_label(text: str, spellings: Spellings) -> str | None:
    """The label that ``text`` is, but for dress; None when it is more, or something else."""
    return lookup(fold(unfenced(text)), spellings)


def lookup(plain: str, spellings: Spellings) -> str | None:
    """The label that a folded text is, the least undressed form first."""
    for _ in range(UNDRESSINGS):
        if (label := spellings.exact.get(plain)) is not None:
            return label
        bare = undressed(plain, spellings)
        if bare == plain:
            break
        plain = bare
    return spellings.loose.get(_loosened(plain))


def undressed(plain: str, spellings: Spellings) -> str:
    """``plain`` without its outermost dress; as it is when there is none."""
    # An ellipsis ends nothing.
    bare = plain if plain.endswith("..") else plain.rstrip(spellings.stops).rstrip()
    if not bare or bare != plain:
        return bare or plain
    for form in (_TAG, _LATEX):
        if found := form.fullmatch(plain):
            return found[found.re.groups].strip() or plain
    for pair in spellings.dress:
        opening, closing = (pair[0], pair[1]) if len(set(pair)) == 2 else (pair, pair)
        inner = plain[len(opening) : -len(closing)]
        if plain.startswith(opening) and plain.endswith(closing) and len(plain) > len(opening) + len(closing):
            return plain if opening in inner or closing in inner else inner.strip() or plain
    for bullet in _BULLETS:
        # Before a number, a dash may be its sign.
        if plain.startswith(bullet) and not plain[2:3].isdigit() and bullet[0] not in spellings.edges:
            return plain[2:].strip()
    heading = _HEADING.match(plain)
    return plain[heading.end() :] if heading and "#" not in spellings.edges else plain


def _loosened(plain: str) -> str:
    return _HYPHEN.sub(" ", plain)


def _naming(spelling: str) -> re.Pattern[str]:
    """Finds a spelling as whole words, whatever stands around it; between letters, any hyphen or space."""
    body = r"[-_\s]+".join(re.escape(part) for part in _HYPHEN.split(spelling))
    return re.compile(rf"(?<!\w){body}(?!\w)")


def names_in(text: str, spellings: Spellings) -> set[str]:
    """The labels that ``text`` holds as whole words; longer spellings are found first and used up."""
    rest, found = fold(text), set()
    for pattern, label in spellings.named:
        rest, count = pattern.subn(" \x00 ", rest)
        if count:
            found.add(label)
    return found


def others(text: str, label: str, spellings: Spellings) -> set[str] | None:
    """The labels but ``label`` that ``text`` names; None when there are none."""
    return (names_in(text, spellings) - {label}) or None


def unfenced(text: str) -> str:
    """``text`` without a code fence around all of it."""
    body = text.strip()
    if not (body.startswith("```") and body.endswith("```") and len(body) > 6):
        return body
    inner = body[3:-3]
    head, line_break, rest = inner.partition("\n")
    return (rest if line_break and re.fullmatch(r"\w{0,20}\s*", head) else inner).strip()
