"""The user's own synonyms: a file of tab-separated lines on top of a packaged lexicon.

::

    # one entry a line, fields separated by tabs; lines that start with # and empty lines are skipped
    film<TAB>picture<TAB>feature     these are added behind the packaged candidates of "film"
    !bank<TAB>lender                 these take the place of the packaged candidates of "bank"
    !apple                           "apple" is never replaced

Every field is one word as :func:`clucert.core.words.is_word` understands it. Case does not matter: it follows the
word in the text. The file is UTF-8, with or without a byte order mark; any line ends. A word has one line at most.
Nothing is symmetric: give ``picture`` a line of its own if it may become ``film``.

With ``classes`` a line is a *class*: all its words leave the classes that they were in and form one of their own,
``!`` or not. A word that stands on two lines is an error there, as two classes cannot share a word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clucert.border import read_text
from clucert.core.words import is_word
from clucert.errors import InputError, shortened
from clucert.lexicon.pooling import Case, ClosedLexicon, PooledLexicon

MAX_LEXICON = 50_000_000
"""Bytes of a file of entries: a thesaurus of all English words has a few million."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a user's file, in lower case."""

    where: str
    """``file:line``, for messages."""
    word: str
    synonyms: tuple[str, ...]
    replaces: bool


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read a file of entries. Raises :class:`clucert.errors.InputError`, naming file and line."""
    entries: dict[str, Entry] = {}
    for number, line in enumerate(read_text(path, MAX_LEXICON).split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            entry = _parse(f"{path}:{number}", line)
            if entry.word in entries:
                first = entries[entry.word].where
                raise InputError(f"{entry.where}: {entry.word!r} already has a line ({first}): join the two")
            entries[entry.word] = entry
    return tuple(entries.values())


def _parse(where: str, line: str) -> Entry:
    replaces = line.startswith("!")
    fields = [field.strip() for field in line.removeprefix("!").rstrip("\t ").split("\t")]
    for field in fields:
        if not is_word(field):
            hint = "put one tab between words" if {" ", ","} & set(field) or not field else "write a single word"
            raise InputError(f"{where}: {shortened(field)!r} is not one word: {hint}")
    word, *synonyms = (field.lower() for field in fields)
    if not synonyms and not replaces:
        raise InputError(f"{where}: {word!r} has no synonyms: add one after a tab, or write !{word} to protect it")
    return Entry(where, word, tuple(dict.fromkeys(s for s in synonyms if s != word)), replaces)


def _digest(entries: Sequence[Entry]) -> str:
    lines = sorted(f"{e.replaces}\t{e.word}\t" + "\t".join(e.synonyms) for e in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


class _Layer(PooledLexicon):
    """Entries over another lexicon. The name holds a digest of the entries, so that a certificate tells them apart."""

    def __init__(self, base: PooledLexicon, entries: Sequence[Entry]) -> None:
        self.name = f"{base.name}+user:{_digest(entries)}"
        self._listed = {e.word for e in entries} | {s for e in entries for s in e.synonyms}
        self._names = base.is_name

    def is_name(self, lower: str, case: Case) -> bool:
        """Words that the user listed are never taken for names."""
        return lower not in self._listed and self._names(lower, case)


class UserLexicon(_Layer):
    """Pools with the user's entries: added behind the packaged candidates, or in their place."""

    def __init__(self, base: PooledLexicon, entries: Sequence[Entry]) -> None:
        super().__init__(base, entries)
        self._base = base
        self._own = {}
        for entry in entries:
            kept = () if entry.replaces else base.candidates(entry.word)
            self._own[entry.word] = tuple(dict.fromkeys((*kept, *entry.synonyms)))

    def candidates(self, lower: str) -> tuple[str, ...]:
        """The user's entry where there is one."""
        own = self._own.get(lower)
        return self._base.candidates(lower) if own is None else own


class UserClasses(_Layer, ClosedLexicon):
    """Closed classes with the user's lines as classes of their own. Still a partition, still closed."""

    def __init__(self, base: ClosedLexicon, entries: Sequence[Entry]) -> None:
        super().__init__(base, entries)
        self._base = base
        self._own: dict[str, tuple[str, ...]] = {}
        places: dict[str, str] = {}
        for entry in entries:
            group = (entry.word, *entry.synonyms)
            for word in group:
                if word in places:
                    raise InputError(
                        f"{entry.where}: {word!r} is in the class of {places[word]} already: classes cannot overlap"
                    )
                places[word] = entry.where
                self._own[word] = group

    def group(self, lower: str) -> tuple[str, ...]:
        """The class of the word, without those that the user moved to another; the first word of a line leads it."""
        own = self._own.get(lower)
        if own is not None:
            return own
        return tuple(word for word in self._base.group(lower) if word not in self._own)
