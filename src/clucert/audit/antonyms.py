"""Opposites from WordNet, for whoever attacks a certificate. No certificate depends on them.

``data/antonyms.tsv`` (``scripts/build_antonyms.py`` makes it) has one word a line with its opposites behind it, best
first: direct antonyms, then those of similar adjectives (awful, bad, good).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from clucert.lexicon.pooling import case_of, in_case


@cache
def _packaged() -> Mapping[str, tuple[str, ...]]:
    content = files("clucert").joinpath("data", "antonyms.tsv").read_text(encoding="ascii")
    rows = (line.split("\t") for line in content.splitlines())
    return {word: tuple(others) for word, *others in rows}


def antonyms(word: str) -> tuple[str, ...]:
    """The opposites of ``word`` in its case, best first; () where none is known."""
    case = case_of(word)
    if case is None:
        return ()
    cased = (in_case(other, case) for other in _packaged().get(word.lower(), ()))
    return tuple(other for other in cased if other is not None)
