"""Run directories as the report sees them: certificates read, radii derived, inputs in the order of their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clucert import certificate_json, exact_json
from clucert.audit.result import Audited, read_audit
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.exact import ExactCertificate
from clucert.core.radius import KINDS, SAMPLED, Kind, Radius
from clucert.core.smoothing import Certified
from clucert.errors import InputError
from clucert.evaluate.radii import class_of_label, first_kind, radii_of, unit_of
from clucert.evaluate.read_certificates import exact_of
from clucert.evaluate.record import Record
from clucert.evaluate.run_directory import RECORDS, Manifest, by_id, read_records, read_study
from clucert.types import Cost, Usage


@dataclass(frozen=True, slots=True)
class Proof:
    """An exact certificate; of its sub-texts all are in it."""

    certificate: ExactCertificate
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a run: certified, or failed with the reason in ``error``."""

    id: str
    gold: str | None
    error: str | None = None
    certified: Certified | Proof | None = None
    cost: Cost | None = None
    answer: str | None = None
    """The prediction of g; None for an abstention and for a failed input."""
    radii: Mapping[Kind, Radius | None] = field(default_factory=dict)
    """Those that the certificate speaks of; derived once, for exact arithmetic over 2,000 inputs takes its time."""
    reused: Usage = field(default_factory=Usage)
    """The part of ``cost`` that came from the cache and was not paid for again."""

    @property
    def radius(self) -> Radius | None:
        """Of the certificate's first kind."""
        return self.radii.get(first_kind(self.certificate))

    @property
    def certificate(self) -> Certificate | ExactCertificate | None:
        """None when the input failed."""
        return None if self.certified is None else self.certified.certificate

    @property
    def sampled(self) -> Certificate | None:
        """The certificate if its votes were drawn, None if it is exact or the input failed."""
        return self.certificate if isinstance(self.certificate, Certificate) else None

    @property
    def text(self) -> str | None:
        """What was certified; None when the input failed."""
        found = self.certificate
        return found.text if isinstance(found, ExactCertificate) else None if found is None else found.subject.text


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory. ``name`` tells it from the others that were read with it."""

    path: Path
    name: str
    manifest: Manifest
    inputs: tuple[Input, ...]
    audit: Audited | None = None
    """What ``clucert audit`` found, if it was run."""
    unsealed: int = 0
    """Records of earlier versions, which have no checksum: an edit of one would not be noticed."""

    @property
    def done(self) -> tuple[Input, ...]:
        """Inputs that have a certificate (an abstention is one)."""
        return tuple(row for row in self.inputs if row.certified is not None)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The radii that its certificates speak of."""
        held = {kind for row in self.inputs for kind in row.radii}
        return tuple(kind for kind in KINDS if kind in held) or SAMPLED

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The classes that its answers name: the task's labels, merged where they are flags or groups."""
        reader = next((row.certificate for row in self.done), None)
        labels = self.manifest.labels
        return None if labels is None else tuple(dict.fromkeys(class_of_label(each, reader) or each for each in labels))

    @property
    def first_kind(self) -> Kind:
        """The radius that a run is judged by where one is named."""
        return next((first_kind(row.certificate) for row in self.done), "published")

    @property
    def unit(self) -> str:
        """What its radii count: words, tokens (words and punctuation marks alike), sentences, …"""
        return next((unit_of(row.certificate) for row in self.done if row.certificate is not None), "words")

    @property
    def failed(self) -> tuple[Input, ...]:
        """Inputs without one: a call failed for good."""
        return tuple(row for row in self.inputs if row.certified is None)

    @property
    def model(self) -> str:
        """The base classifier, for people."""
        return " + ".join(self.manifest.model)


def load_runs(paths: Sequence[Path | Run]) -> tuple[Run, ...]:
    """Read every run directory and name them so that no two names are the same. What is read already is not read again.

    Raises :class:`InputError` for no path, a folder that is no run, a malformed line that is not the last one, or a
    newer schema.
    """
    if not paths:
        raise InputError("name at least one run directory, such as runs/a")
    runs = [path if isinstance(path, Run) else load_run(path) for path in paths]
    return tuple(replace(run, name=name) for run, name in zip(runs, _names(runs), strict=True))


def load_run(path: Path) -> Run:
    """Read one run directory, its inputs in the order of their ids, whatever the order they were done in.

    A last line that a kill tore off is left out, and a later record of an id replaces an earlier one.
    """
    manifest = read_study(path)
    records = read_records(path)[0]
    rows = [_input(record, manifest, path) for record in by_id(records)]
    # A guard's answer is compared with whether the gold label flags; one certificate says how all are read.
    reader = next((row.certificate for row in rows if row.certificate is not None), None)
    rows = [replace(row, gold=class_of_label(row.gold, reader)) for row in rows]
    unsealed = sum(record.checksum is None for record in records.values())
    return Run(path, manifest.method or path.name, manifest, tuple(rows), read_audit(path), unsealed)


def _names(runs: Sequence[Run]) -> list[str]:
    """The shortest of: the method, the method and model, and those with the folder, and with its whole path."""
    candidates = (
        [run.name for run in runs],
        [f"{run.name} · {run.model}" for run in runs],
        [f"{run.name} · {run.path.name}" for run in runs],
        [f"{run.name} · {run.path}" for run in runs],
        [f"{run.name} · {i + 1}" for i, run in enumerate(runs)],
    )
    return next(names for names in candidates if len(set(names)) == len(names))


def _input(record: Record, manifest: Manifest, path: Path) -> Input:
    if record.status == "failed" or record.document is None:
        return Input(record.id, record.gold, error=record.error or "failed without a reason")
    try:
        certified, cost = _read(record, record.document, manifest)
    except InputError as error:
        raise InputError(f"{path / RECORDS}, input {record.id!r}: {error}") from None
    reused = _usage(record.reused, path, record.id)
    answer, radii = certified.certificate.prediction, radii_of(certified.certificate)
    return Input(record.id, record.gold, None, certified, cost, answer, radii, reused)


def _read(record: Record, document: Mapping[str, Any], manifest: Manifest) -> tuple[Certified | Proof, Cost | None]:
    if not exact_json.is_exact(document):
        return certificate_json.read(document)
    certificate, cost = exact_of(record, manifest)
    return Proof(certificate), cost


def _usage(fields: Mapping[str, Any] | None, path: Path, identity: str) -> Usage:
    try:
        return Usage(**(fields or {}))
    except TypeError:
        raise InputError(f"{path / RECORDS}, input {identity!r}: its reused cost is not one") from None
