"""Run directories as the report sees them: certificates read, radii derived, inputs in the order of their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from clucert.audit.result import Audited, read_audit
from clucert.certificate_json import read
from clucert.core.certificate import Certificate
from clucert.core.radius import Radius
from clucert.core.smoothing import Certified
from clucert.errors import InputError
from clucert.evaluate.run_directory import RECORDS, Manifest, Record, by_id, read_manifest, read_records
from clucert.types import Cost, Usage

Kind = Literal["published", "word", "synonym"]
"""Which radius: the published one, or the one proved for a threat model."""
KINDS: tuple[Kind, ...] = ("published", "word", "synonym")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a run: certified, or failed with the reason in ``error``."""

    id: str
    gold: str | None
    error: str | None = None
    certified: Certified | None = None
    cost: Cost | None = None
    answer: str | None = None
    """The prediction of g; None for an abstention and for a failed input."""
    radii: Mapping[Kind, Radius | None] = field(default_factory=dict)
    """Derived once, when the run is read: exact arithmetic over 2,000 inputs takes its time."""
    reused: Usage = field(default_factory=Usage)
    """The part of ``cost`` that came from the cache and was not paid for again."""

    @property
    def radius(self) -> Radius | None:
        """The published radius; for a noise that has none, what is proved against any words."""
        unpublished = self.certificate is not None and self.certificate.settings.noise is not None
        return self.radii["word" if unpublished else "published"]

    @property
    def certificate(self) -> Certificate | None:
        """None when the input failed."""
        return None if self.certified is None else self.certified.certificate

    @property
    def text(self) -> str | None:
        """What was certified; None when the input failed."""
        return None if self.certificate is None else self.certificate.subject.text


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory. ``name`` tells it from the others that were read with it."""

    path: Path
    name: str
    manifest: Manifest
    inputs: tuple[Input, ...]
    audit: Audited | None = None
    """What ``clucert audit`` found, if it was run."""

    @property
    def done(self) -> tuple[Input, ...]:
        """Inputs that have a certificate (an abstention is one)."""
        return tuple(row for row in self.inputs if row.certified is not None)

    @property
    def failed(self) -> tuple[Input, ...]:
        """Inputs without one: a call failed for good."""
        return tuple(row for row in self.inputs if row.certified is None)

    @property
    def model(self) -> str:
        """The base classifier, for people."""
        return " + ".join(self.manifest.model)


def load_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """Read every run directory and name them so that no two names are the same.

    Raises :class:`InputError` for no path, a folder that is no run, a malformed line that is not the last one, or a
    newer schema.
    """
    if not paths:
        raise InputError("name at least one run directory, such as runs/a")
    runs = [load_run(path) for path in paths]
    return tuple(replace(run, name=name) for run, name in zip(runs, _names(runs), strict=True))


def load_run(path: Path) -> Run:
    """Read one run directory, its inputs in the order of their ids, whatever the order they were done in.

    A last line that a kill tore off is left out, and a later record of an id replaces an earlier one.
    """
    manifest = read_manifest(path)
    rows = [_input(record, path) for record in by_id(read_records(path)[0])]
    return Run(path, manifest.method or path.name, manifest, tuple(rows), read_audit(path))


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


def _input(record: Record, path: Path) -> Input:
    if record.status == "failed" or record.document is None:
        return Input(record.id, record.gold, error=record.error or "failed without a reason")
    try:
        certified, cost = read(record.document)
    except InputError as error:
        raise InputError(f"{path / RECORDS}, input {record.id!r}: {error}") from None
    certificate = certified.certificate
    reused = _usage(record.reused, path, record.id)
    proved = certificate.proved
    radii: dict[Kind, Radius | None] = {
        "published": certificate.radius,
        "word": proved.get("word"),
        "synonym": proved.get("synonym"),
    }
    return Input(record.id, record.gold, None, certified, cost, certificate.prediction, radii, reused)


def _usage(fields: Mapping[str, Any] | None, path: Path, identity: str) -> Usage:
    try:
        return Usage(**(fields or {}))
    except TypeError:
        raise InputError(f"{path / RECORDS}, input {identity!r}: its reused cost is not one") from None
