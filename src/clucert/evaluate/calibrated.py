"""The bias and the temperature of a model by length of the sub-text, fitted to the rows of `clucert tune`.

Cross-fitted: each row is read with what was fitted to the sub-texts of other rows, so no row has a say in what it
scores. What goes into the method file is fitted to the sub-texts of all rows. Nothing is asked: certificates hold the
probabilities that the model gave.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clucert.core.calibration import Bias, Fragment, fit
from clucert.core.exact import ExactCertificate
from clucert.errors import InputError
from clucert.methods.exact import LabelBias

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A validation row, with its certificate under one setting."""

    id: str
    gold: str | None
    certificate: ExactCertificate


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted, to all rows and without those of each fold."""

    name: str
    whole: tuple[LabelBias, ...]
    without: tuple[tuple[Bias, ...], ...]
    fold_of: Mapping[str, int]

    def read(self, identity: str, certificate: ExactCertificate) -> ExactCertificate:
        """The certificate under what was fitted without the row's fold."""
        bias = self.without[self.fold_of[identity]]
        return replace(certificate, settings=replace(certificate.settings, bias=bias))


def calibrations(rows: Sequence[Row]) -> tuple[list[Calibration], str | None]:
    """A bias for each label, and the same with a temperature, by length of the sub-text; none, and why, where there are
    too few sub-texts. None, and no reason, where the model gives no probabilities.

    ``rows`` are those of all settings: sub-texts that several settings share count once.
    """
    fragments = _fragments(rows)
    if not fragments:
        return [], None
    labels, fold_of = rows[0].certificate.labels, _folds({row.id: row for row in rows}.values())
    try:
        whole, *without = (
            fit([f for name, own in fragments.items() if fold_of[name] != left_out for f in own], scaled=True)
            for left_out in (None, *range(FOLDS))
        )
    except InputError as error:
        return [], f"no bias was fitted: {error}"
    return [
        Calibration("bias", label_biases(_flat(whole), labels), tuple(map(_flat, without)), fold_of),
        Calibration("bias, temperature", label_biases(whole, labels), tuple(without), fold_of),
    ], None


def _fragments(rows: Iterable[Row]) -> Mapping[str, list[Fragment]]:
    """By row, its different sub-texts, with what the model said of each."""
    found: dict[str, dict[str, Fragment]] = defaultdict(dict)
    for row in rows:
        if row.gold is None or row.gold not in row.certificate.labels:
            continue
        label = row.certificate.labels.index(row.gold)
        for shown in row.certificate.answers:
            if shown.shares is not None:
                found[row.id][shown.text] = Fragment(len(shown.text.split()), shown.shares, label)
    return {name: list(own.values()) for name, own in found.items()}


def _folds(rows: Iterable[Row]) -> dict[str, int]:
    """The fold of each row: the labels are divided alike, and equal texts are in one."""
    fold_of: dict[str, int] = {}
    texts: dict[str | None, dict[str, int]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.id):
        own = texts[row.gold]
        fold_of[row.id] = own.setdefault(row.certificate.text, len(own)) % FOLDS
    return fold_of


def _flat(biases: Sequence[Bias]) -> tuple[Bias, ...]:
    return tuple(replace(bias, scale=1.0) for bias in biases)


def label_biases(biases: Sequence[Bias], labels: Sequence[str]) -> tuple[LabelBias, ...]:
    """As a method file has them."""
    return tuple(LabelBias(words=b.words, of=dict(zip(labels, b.of, strict=True)), scale=b.scale) for b in biases)
