"""What functions of texts return, read as votes: a label, its number, a row of probabilities, or a dict of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Real
from typing import Any, Self

from clucert.errors import BadAnswerError, shortened
from clucert.types import Vote

Shares = Mapping[str, float]
"""Probability of each label, for one text."""

READING = "reading"
"""The field of a query that says how its answer is read (:class:`clucert.tasks.bare.BareTask`)."""

_HF_NUMBER = re.compile(r"LABEL_(\d+)")


def plain(value: Any) -> Any:
    """``value`` with NumPy's, torch's and pandas' arrays and scalars as Python's own."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass(frozen=True)
class Reading:
    """How answers are read.

    ``names`` are other names of the labels, numbers among them; ``order`` is that of a row of probabilities, None where
    nothing says it. A number is never read as a position unless the labels were given in an order that is the user's
    own: GLUE's 0 is *negative*, and our list of labels begins with *positive*.
    """

    labels: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] | None = None

    @classmethod
    def by_position(cls, labels: Sequence[str], names: Mapping[str, str] | None = None) -> Self:
        """Numbers and rows count the labels from 0."""
        return cls(tuple(labels), {**{str(i): label for i, label in enumerate(labels)}, **(names or {})}, tuple(labels))

    @classmethod
    def by_numbering(
        cls, labels: Sequence[str], names: Mapping[str, str], numberings: Sequence[Mapping[str, str]]
    ) -> Self:
        """Numbers mean what a task says of data files, where all its ``numberings`` agree. So do the places in a row,
        where that is the order of the labels, too: of two orders nobody knows which one is meant.
        """
        declared = [n for n in (names, *numberings) if set(n.values()) >= set(labels) and any(map(str.isdigit, n))]
        orders = {tuple(n[i] for i in sorted(filter(str.isdigit, n), key=int)) for n in declared}
        meant: dict[str, set[str]] = {}
        for numbering in numberings:
            for number, label in numbering.items():
                meant.setdefault(number, set()).add(label)
        agreed = {number: min(found) for number, found in meant.items() if len(found) == 1}
        return cls(tuple(labels), {**agreed, **names}, tuple(labels) if orders == {tuple(labels)} else None)

    def dumped(self) -> str:
        """As JSON, for :meth:`loaded`."""
        return json.dumps([self.labels, dict(self.names), self.order], ensure_ascii=False)

    @staticmethod
    @lru_cache(maxsize=64)
    def loaded(dumped: str) -> Reading:
        """The reading that :meth:`dumped` wrote."""
        labels, names, order = json.loads(dumped)
        return Reading(tuple(labels), names, None if order is None else tuple(order))

    def read(self, who: str, answer: Any) -> tuple[Vote, Shares]:
        """The vote of one answer and its label probabilities, as they are; a bare label has a probability of 1.

        None is UNPARSED. Raises :class:`BadAnswerError` for anything that does not tell which label it is.
        """
        answer = plain(answer)
        if answer is None:
            return None, {}
        if isinstance(answer, Mapping):
            return self._scores(who, [answer] if "label" in answer else answer)
        if isinstance(answer, list | tuple):
            rows = [plain(each) for each in answer]
            return self._scores(who, rows) if rows and isinstance(rows[0], Mapping) else self._row(who, rows)
        label = self._label(who, answer)
        return label, {label: 1.0}

    def _label(self, who: str, name: Any) -> str:
        """The label of this name. Raises :class:`BadAnswerError`."""
        if isinstance(name, str):
            number = _HF_NUMBER.fullmatch(name)
            wanted = number[1] if number else name
        else:
            wanted = str(name) if isinstance(name, int) and not isinstance(name, bool) else ""
        if wanted in self.labels and isinstance(name, str):
            return wanted
        if wanted in self.names:
            return self.names[wanted]
        folded = {
            each.casefold(): label for each, label in (*self.names.items(), *((label, label) for label in self.labels))
        }
        if isinstance(name, str) and wanted.casefold() in folded:
            return folded[wanted.casefold()]
        hint = "" if not wanted.isdigit() else ": no number says which one is meant, so return the label itself"
        raise BadAnswerError(f"{who} returned {shortened(str(name), 40)!r}, which is none of {list(self.labels)}{hint}")

    def _scores(self, who: str, given: Mapping[Any, Any] | Sequence[Any]) -> tuple[Vote, Shares]:
        """Of ``{label: probability}``, or of what a Hugging Face pipeline returns: one label with its score, or all."""
        try:
            pairs = given.items() if isinstance(given, Mapping) else [(each["label"], each["score"]) for each in given]
            found = {self._label(who, name): _clipped(float(score)) for name, score in pairs}
        except (TypeError, ValueError, KeyError):
            raise self._no_probabilities(who, given) from None
        if len(found) < len(pairs) or not _are_probabilities(found.values()):
            raise self._no_probabilities(who, given)
        if len(found) == 1:
            return self._one_score(*next(iter(found.items())))
        shares = {label: found.get(label, 0.0) for label in self.labels}
        return _likeliest(shares), shares

    def _one_score(self, label: str, score: float) -> tuple[Vote, Shares]:
        """The winner alone: of two labels its score tells the other's."""
        if len(self.labels) > 2 or score < 0.5:
            return label, {label: 1.0}
        return label, {each: score if each == label else 1 - score for each in self.labels}

    def _row(self, who: str, row: Sequence[Any]) -> tuple[Vote, Shares]:
        if not row or isinstance(row[0], str):
            raise BadAnswerError(f"{who} must return one answer for each text, got {len(row)} for one text")
        values = [_clipped(float(value)) if _is_real(value) else -1.0 for value in row]
        if len(values) != len(self.labels) or not _are_probabilities(values):
            raise self._no_probabilities(who, row)
        if self.order is None:
            raise BadAnswerError(
                f"{who} returned a row of numbers, and the task does not say which label each is of (its own order, or "
                "that of the numbers in data files): return {label: probability}"
            )
        by_label = dict(zip(self.order, values, strict=True))
        shares = {label: by_label[label] for label in self.labels}
        return _likeliest(shares), shares

    def _no_probabilities(self, who: str, given: Any) -> BadAnswerError:
        return BadAnswerError(
            f"{who} must return {len(self.labels)} probabilities for each text, got {shortened(str(given), 60)}"
        )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _clipped(value: float) -> float:
    """``value``, and 1 where rounding has made a sum of 1 a little more."""
    return 1.0 if 1 < value < 1 + 1e-6 else value


def _are_probabilities(values: Iterable[float]) -> bool:
    return all(0 <= value <= 1 for value in values)


def _likeliest(shares: Shares) -> str:
    """The first of equals."""
    return max(shares, key=shares.__getitem__)
