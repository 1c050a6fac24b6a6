"""Gold labels as data files write them: names, their other spellings, and numbers, which are never taken for positions.

A number means what the user's label map says, else what the file's class names say, else what the task declares. A
task may declare several numberings (AG News is counted from 0 and from 1): the numbers of the file decide between them.
Where nothing decides, nothing is read: the error spells out two mappings and the flag that settles it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from clucert.errors import InputError, UsageError

GOLD_MARK = "####"
"""GSM8K writes its reasoning first, and the gold answer after this."""

Numbering = Mapping[str, str]
"""What each number of a data file means: ``{"0": "negative", "1": "positive"}``."""

_NUMBER = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")
_SHOWN = 20
"""Numbers named in an error at most."""
SORTED_ROWS = 8
"""Rows from which on one after the other of the same label is worth a word."""


class BadRowError(Exception):
    """What is wrong with one row."""


class _Coded(str):
    """A number whose meaning is decided once all are seen."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LabelNames:
    """What a task calls its labels, and what data files may call them.

    ``labels`` is None where answers are open; ``normalise`` then reads the gold answer, None for what is no answer.
    ``synonyms`` are other spellings, ``numberings`` the meanings that numbers may have.
    """

    labels: tuple[str, ...] | None
    synonyms: Mapping[str, str] = field(default_factory=dict)
    numberings: Sequence[Numbering] = ()
    normalise: Callable[[str], str | None] | None = None


@dataclass(slots=True)
class GoldReader:
    """Reads the gold labels of one file; ``label_map`` (what is written: label) comes before everything else.

    Raises :class:`UsageError` for a label map that names what is no label.
    """

    names: LabelNames
    label_map: Mapping[str, str] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    used: dict[str, str] = field(default_factory=dict)
    """What was read as which label, where it was written otherwise: what a run has to say about its labels."""
    _numbers: dict[str, str] = field(default_factory=dict)
    """Numbers that nothing has explained yet, each with where it was first."""
    _spelled: dict[str, str] = field(default_factory=dict)
    _mapped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.names.labels
        own = {} if labels is None else {label.casefold(): label for label in labels}
        self._spelled = {**{k.strip().casefold(): v for k, v in self.names.synonyms.items()}, **own}
        for written, label in self.label_map.items():
            meant = label if labels is None else self._spelled.get(label.strip().casefold())
            if meant is None:
                known = ", ".join(labels or ())
                raise UsageError(f"--label-map {written}={label!r} is none of the labels {known}")
            self._mapped[_canonical(written)] = meant

    def read(self, value: object, where: str) -> str:
        """The label, or a number that :meth:`decided` replaces. Raises :class:`BadRowError` for what is neither."""
        if value is None or (isinstance(value, str) and not value.strip()):
            raise BadRowError("no label")
        if not isinstance(value, str | int | float):
            raise BadRowError(f"a label that is a {type(value).__name__}")
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of integers with gaps becomes one of floats in many tools
        written = str(value).strip()
        if (mapped := self._mapped.get(_canonical(written))) is not None:
            return self._translated(written, mapped)
        name = self._class_name(value)
        if name is not None and (mapped := self._mapped.get(_canonical(name))) is not None:
            return self._translated(written, mapped)
        return self._open(written) if self.names.labels is None else self._closed(written, name, where)

    def _translated(self, written: str, label: str) -> str:
        return self._noted(written, self._open(label) if self.names.labels is None else label)

    def _class_name(self, value: object) -> str | None:
        """What the file itself calls the class of an integer."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(self.class_names):
            return None
        return self.class_names[value]

    def _closed(self, written: str, name: str | None, where: str) -> str:
        number = _number(written)
        for spelling in ((written if name is None else name).strip().casefold(), number if name is None else None):
            if spelling in self._spelled:
                return self._noted(written, self._spelled[spelling])
        if number is not None and name is None:
            self._numbers.setdefault(number, where)
            return _Coded(number)
        known = ", ".join(map(repr, self.names.labels or ()))
        shown = (written if name is None else name)[:80]
        raise BadRowError(f"label {shown!r} is none of {known}; translate it with --label-map {shown}=LABEL")

    def _open(self, written: str) -> str:
        answer = written.rpartition(GOLD_MARK)[2].strip()
        read = self.names.normalise(answer) if self.names.normalise and answer else answer
        if not read:
            raise BadRowError(f"label {written[-80:]!r} names no answer")
        return read

    def _noted(self, written: str, label: str) -> str:
        if written.casefold() != label.casefold():
            self.used.setdefault(_canonical(written), label)
        return label

    @property
    def undecided(self) -> bool:
        """Whether further numbers of the file could still tell what the ones that were read mean."""
        return bool(self._numbers) and not self._own_numbers and len(self._fitting()) > 1

    def look_at(self, value: object) -> None:
        """Take a further value of the column into account, whatever it is, without a row of it being read."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            number = _number(str(value).strip())
            if number is not None and any(number in numbering for numbering in self.names.numberings):
                self._numbers.setdefault(number, "")

    def decided(self, label: str) -> str:
        """The label that a number means, and any other label as it is. Raises :class:`InputError`; see the module."""
        if not isinstance(label, _Coded):
            return label
        fitting = [] if self._own_numbers else self._fitting()
        if len(fitting) != 1:
            raise InputError(self._question(fitting))
        return self._noted(str(label), fitting[0][label])

    @property
    def _own_numbers(self) -> bool:
        """Whether the user says what numbers mean: then the task's numbers are not mixed with them."""
        return any(_number(written) is not None for written in self._mapped)

    def _fitting(self) -> list[Numbering]:
        return [numbering for numbering in self.names.numberings if set(self._numbers) <= set(numbering)]

    def _question(self, fitting: Sequence[Numbering]) -> str:
        numbers = sorted(self._numbers, key=int)
        labels = self.names.labels or ()
        first = next((place for place in self._numbers.values() if place), "")
        shown = ", ".join(numbers[:_SHOWN]) + (", …" if len(numbers) > _SHOWN else "")
        offers = [dict(each) for each in fitting] or _offers([int(n) for n in numbers], labels)
        declared = " or ".join(map(written_map, self.names.numberings))
        if self._own_numbers:
            why = "which the label map leaves out"
        elif fitting:
            why = "and these fit more than one numbering"
        elif declared:
            why = f"and the task's own are {declared}"
        else:
            why = "and nothing says what they mean"
        asked = " or ".join(map(_asked, offers[:2]))
        return f"{first}: labels are written as {shown}, {why}: say which it is with {asked}"


def written_map(mapping: Mapping[Any, str]) -> str:
    """``0=ham,1=spam``: a mapping as ``--label-map`` takes it."""
    return ",".join(f"{key}={label}" for key, label in mapping.items())


def _asked(offer: Mapping[Any, str]) -> str:
    if any(mark in label for label in offer.values() for mark in ",="):
        return f"label_map: {json.dumps(offer, ensure_ascii=False)} (in a file for --config)"
    return f"--label-map {written_map(offer)}"


def sorted_note(labels: Iterable[str | None], limit: int | None) -> str | None:
    """A warning when the rows that ``limit`` left stand sorted by label; None when they do not, or nothing was cut."""
    read = [label for label in labels if label is not None]
    if limit is None or len(read) < max(limit, SORTED_ROWS):
        return None
    different = len(set(read))
    changes = sum(a != b for a, b in pairwise(read))
    if different > len(read) // 2 or changes >= different:
        return None
    what = f"all have the label {read[0]!r}" if different == 1 else "stand sorted by label"
    return (
        f"the first {limit} rows {what}: they may not be like the rest of the file; "
        f"--sample {limit} instead of --limit {limit} draws rows at random"
    )


def _offers(numbers: Sequence[int], labels: Sequence[str]) -> list[dict[int, str]]:
    """Two mappings of ``numbers`` that people use: the labels in order from 0 or 1, or in the order of the alphabet."""
    other = sorted(labels) if sorted(labels) != list(labels) else list(reversed(labels))
    k = len(labels)
    starts = [start for start in (0, 1) if start <= numbers[0] and numbers[-1] < start + k]
    if len(numbers) < k and starts:
        ranges = [range(start, start + k) for start in starts]
        if len(ranges) == 2:
            return [dict(zip(each, labels, strict=True)) for each in ranges]
        return [dict(zip(ranges[0], order, strict=True)) for order in (labels, other)]
    share = -(-len(numbers) // k)
    return [{n: order[i // share] for i, n in enumerate(numbers)} for order in (labels, other)]


def _number(written: str) -> str | None:
    """``1`` of ``1``, ``01``, ``+1`` and ``1.0``; None for what is no whole number."""
    found = _NUMBER.fullmatch(written)
    return str(int(found[1])) if found else None


def _canonical(written: str) -> str:
    plain = written.strip()
    return _number(plain) or plain.casefold()
