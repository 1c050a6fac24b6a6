"""The canonical forms of a configuration, with the names and digests of the tables that they read."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path

import regex

from clucert.core.noise.canonical import Canonical, Characters, Spelling
from clucert.core.threats import canonical_word, pool_of
from clucert.errors import MissingExtraError
from clucert.lexicon import load_lexicon
from clucert.lexicon.lookalikes import confusables, english_frequencies
from clucert.lexicon.packaged import packaged_data


def load_form(forms: Collection[str], entries: Sequence[Path] = (), protect: Collection[str] = ()) -> Canonical | None:
    """The forms that are named, in the order characters, spelling, synonyms; None where there are none.

    Synonym classes are the packaged ones with the user's ``entries`` on top; ``protect`` are words without synonyms.

    Raises:
        MissingExtraError: the package that has a table is not installed.

    """
    if not forms:
        return None
    names, codes = list[str](), list[Callable[[str], str]]()
    characters = spelling = pool = None
    if "characters" in forms:
        characters, table = _characters()
        names.append(
            f"characters Unicode {unicodedata.unidata_version}, regex {regex.__version__}, look-alikes {table}"
        )
    if "spelling" in forms:
        spelling, table = _spelling()
        codes.append(spelling)
        names.append(f"spelling words {table}")
    if "synonyms" in forms:
        lexicon = load_lexicon("classes", entries)
        pool = pool_of(lexicon, protect)
        codes.append(canonical_word(lexicon, protect))
        alone = f", without {_digest(sorted(protect))}" if protect else ""
        names.append(f"synonyms {lexicon.name} {_classes()}{alone}")
    return Canonical(characters, tuple(codes), spelling, pool, tuple(names))


def find_form(names: Sequence[str]) -> Canonical | None:
    """The forms of these names, digests included; None where their tables are not at hand, or are others."""
    try:
        found = load_form([name.partition(" ")[0] for name in names])
    except MissingExtraError:
        return None
    return found if found and found.names == tuple(names) else None


@cache
def _characters() -> tuple[Characters, str]:
    table = confusables()
    return Characters(table), _digest(sorted(table.items()))


@cache
def _spelling() -> tuple[Spelling, str]:
    words = english_frequencies()
    return Spelling(words), _digest(sorted(words.items()))


@cache
def _classes() -> str:
    data = packaged_data()
    return _digest([data.words.tobytes(), data.class_ends.tobytes(), data.class_words.tobytes(), data.names.tobytes()])


def _digest(value: object) -> str:
    return f"sha256:{hashlib.sha256(repr(value).encode()).hexdigest()[:12]}"
