"""The packaged lexicon: a compressed file of flat arrays that ``scripts/build_lexicon.py`` makes."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.errors import DataIntegrityError
from clucert.lexicon.pooling import Case, ClosedLexicon, PooledLexicon

FORMAT = 1
NAME_BITS: Mapping[Case, int] = {"lower": 0, "title": 1, "upper": 2}


@dataclass(frozen=True, slots=True)
class LexiconData:
    """The arrays of the packaged file, over n sorted words, p pool entries and c classes of m words in all."""

    words: NDArray[np.bytes_]
    """Sorted, ASCII, lower case; shape (n,)."""
    names: NDArray[np.uint8]
    """Bits: 1 a name when capitalised, 2 when in capitals; shape (n,)."""
    pool_ends: NDArray[np.uint32]
    """The pool of word i is ``pool_words[pool_ends[i-1]:pool_ends[i]]``; shape (n,)."""
    pool_words: NDArray[np.uint16]
    class_of: NDArray[np.uint16]
    """Class of each word, counted from 1; 0 for a word that is alone; shape (n,)."""
    class_ends: NDArray[np.uint32]
    """Class k has ``class_words[class_ends[k-1]:class_ends[k]]``, its representative first; shape (c + 1,)."""
    class_words: NDArray[np.uint16]
    record: Mapping[str, Any]
    """Format, thresholds and the sha256 of what it was built from."""

    def find(self, word: str) -> int | None:
        """Row of a lower-case word."""
        key = word.encode("ascii", "replace")
        if len(key) > self.words.itemsize:
            # NumPy would widen every word to the length of this one: gigabytes for a text without white space.
            return None
        row = int(np.searchsorted(self.words, key))
        return row if row < len(self.words) and self.words[row] == key else None

    def spell(self, rows: NDArray[np.uint16]) -> tuple[str, ...]:
        """The words of some rows."""
        return tuple(word.decode("ascii") for word in self.words[rows].tolist())

    def pool(self, row: int) -> NDArray[np.uint16]:
        """Rows of the candidates of a word, best first."""
        start = int(self.pool_ends[row - 1]) if row else 0
        return self.pool_words[start : int(self.pool_ends[row])]

    def members(self, row: int) -> NDArray[np.uint16]:
        """Rows of the class of a word, representative first; empty for a word that is alone."""
        number = int(self.class_of[row])
        if number == 0:
            return self.class_words[:0]
        return self.class_words[int(self.class_ends[number - 1]) : int(self.class_ends[number])]


def read_data(path: Path) -> LexiconData:
    """Read a built file. Raises :class:`clucert.errors.DataIntegrityError` when it is missing or damaged."""
    try:
        # numpy leaves a file that it opened itself open when it is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            fields = {name: arrays[name] for name in LexiconData.__dataclass_fields__}
        record = json.loads(fields.pop("record").tobytes())
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataIntegrityError(f"{path}: the packaged lexicon is damaged: reinstall clucert") from error
    if record.get("format") != FORMAT:
        raise DataIntegrityError(f"{path}: lexicon format {record.get('format')}, {FORMAT} is read: reinstall clucert")
    return LexiconData(**fields, record=record)


@cache
def packaged_data(name: str = "lexicon") -> LexiconData:
    """The data that comes with the package, read once: ``lexicon`` (strict pools, classes) or ``lexicon-wide``."""
    return read_data(Path(str(files("clucert").joinpath("data", f"{name}.npz"))))


class _Packaged(PooledLexicon):
    """What both packaged lexicons share: the data, its names, and a memory of what was looked up."""

    def __init__(self, data: LexiconData | None = None) -> None:
        self.data = packaged_data() if data is None else data
        self._found: dict[str, tuple[str, ...]] = {}

    def is_name(self, lower: str, case: Case) -> bool:
        """Whether WordNet lists the word as a name when it is written so."""
        bit = NAME_BITS[case]
        if bit == 0:
            return False
        row = self.data.find(lower)
        return row is not None and bool(self.data.names[row] & bit)

    def _look_up(self, lower: str, rows: Callable[[int], NDArray[np.uint16]]) -> tuple[str, ...]:
        # Unknown words are not remembered: a text can hold any number of them.
        known = self._found.get(lower)
        if known is None:
            row = self.data.find(lower)
            if row is None:
                return ()
            known = self._found[lower] = self.data.spell(rows(row))
        return known


class PackagedLexicon(_Packaged):
    """Each word's own best stand-ins: WordNet relatives and embedding neighbours without opposites."""

    name = "wordnet+embeddings"

    def candidates(self, lower: str) -> tuple[str, ...]:
        """The stand-ins of the lower-case word, best first."""
        return self._look_up(lower, self.data.pool)


class WideLexicon(PackagedLexicon):
    """The paper's hybrid pools: WordNet over all senses, embedding neighbours, words of films and news.

    What :class:`PackagedLexicon` leaves out is in here, so that most words have a pool and many of its words fit some
    other sense: the filter is there to tell. Opposites are out here, too. Two synonyms share few words of their pools,
    so little is proved with them.
    """

    name = "wide"

    def __init__(self) -> None:
        super().__init__(packaged_data("lexicon-wide"))


class ClosedClasses(_Packaged, ClosedLexicon):
    """A partition of the packaged vocabulary; the most frequent word of a class represents it."""

    name = "classes"

    def group(self, lower: str) -> tuple[str, ...]:
        """The class of the lower-case word, most frequent first; () for a word that is alone."""
        return self._look_up(lower, self.data.members)
