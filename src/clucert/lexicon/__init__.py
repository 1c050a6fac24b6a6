"""Synonym pools and closed synonym classes.

=========  ==================================================================================================
name       what a word's pool is
=========  ==================================================================================================
default    :class:`PackagedLexicon`: its own few best stand-ins. Two synonyms rarely have the same pool.
wide       :class:`WideLexicon`: whatever stands for it in any sense, as in the paper.
classes    :class:`ClosedClasses`: its class in a partition of the vocabulary. Every member has the same pool,
           so a swap inside a class leaves the law of a masked position as it was (κ^M = 1).
=========  ==================================================================================================

Files of the user's own entries go on top of each: :mod:`clucert.lexicon.user` describes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import cast

from clucert.errors import UnknownNameError
from clucert.lexicon.packaged import ClosedClasses, PackagedLexicon, WideLexicon
from clucert.lexicon.pooling import ClosedLexicon, PooledLexicon
from clucert.lexicon.user import UserClasses, UserLexicon, read_entries

__all__ = [
    "ClosedClasses",
    "ClosedLexicon",
    "PackagedLexicon",
    "PooledLexicon",
    "UserClasses",
    "UserLexicon",
    "WideLexicon",
    "load_lexicon",
]

NAMES = ("default", "wide", "classes")


def load_lexicon(name: str = "default", user_files: Sequence[Path] = ()) -> PooledLexicon:
    """The lexicon ``name`` (``default``, ``wide`` or ``classes``), with the entries of ``user_files`` on top, in order.

    Raises :class:`clucert.errors.UnknownNameError` for another name, :class:`clucert.errors.InputError` for a file that
    is not as :mod:`clucert.lexicon.user` says (naming file and line), and
    :class:`clucert.errors.DataIntegrityError` when the packaged data is damaged.
    """
    entries = [read_entries(Path(path)) for path in user_files]
    if name == "default":
        return reduce(UserLexicon, entries, cast("PooledLexicon", PackagedLexicon()))
    if name == "wide":
        return reduce(UserLexicon, entries, cast("PooledLexicon", WideLexicon()))
    if name == "classes":
        return reduce(UserClasses, entries, cast("ClosedLexicon", ClosedClasses()))
    raise UnknownNameError("lexicon", name, NAMES)
