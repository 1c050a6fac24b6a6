"""The run directory: what was asked for (``manifest.json``) and what came of each input (``records.jsonl``).

Records are only ever appended, one line for each input; the last line of an id counts. A process may be killed at any
moment: at most a torn last line is left behind, which the next ``open_run`` cuts off. Its input is then done again,
from answers that are in the cache.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from clucert.border import MAX_JSON, json_model, read_bytes
from clucert.context_manager import ContextManager
from clucert.errors import CluCertError, InputError, UsageError, shortened
from clucert.evaluate.record import Count, Json, Record
from clucert.evaluate.runconfig import StudyConfig
from clucert.section import marked
from clucert.visible import escaped_json

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
RECORDS = "records.jsonl"
LOCK = "lock"
ROWS = "data.jsonl"
"""Rows that were given in Python, not as a file."""
FUNCTION_COMMAND = ["evaluate_callable"]
"""What a manifest says of the command of a run of objects, which only Python can ask again."""


class RunError(CluCertError):
    """A run directory cannot be read or written; the records that are there stay."""


class Data(BaseModel):
    """The examples of a run. ``sha256`` is theirs, whatever file they came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    sha256: str
    rows: Count
    label_map: dict[str, str] = Field(default_factory=dict)
    """What was read as which label, where the data write it otherwise, such as 0: negative."""


class RunSession(BaseModel):
    """One call of the command that worked on the run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started: str
    command: list[str]
    versions: dict[str, str]


class Manifest(BaseModel):
    """What a run is: all that its records depend on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: int = SCHEMA_VERSION
    clucert_version: str
    created: str
    command: list[str]
    config: Json
    task: str
    labels: list[str] | None
    method: str
    parameters: Json
    """The method's own, after what the configuration changed of it."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the files that the configuration names (prompt, task, lexicon), by their role."""
    model: list[str]
    data: Data
    seed: int
    versions: dict[str, str]
    sessions: list[RunSession] = Field(default_factory=list)
    answered_by: dict[str, str] = Field(default_factory=dict)
    """What the servers said of themselves, by the model's name (:mod:`clucert.cache.server_identity`)."""


NOT_COMPARED = marked(StudyConfig, "may_differ")
"""Fields of the configuration that may differ when a run is continued, or are compared in another form."""


@dataclass(slots=True)
class RunWriter(ContextManager):
    """A run that this process may write to; nobody else may until it is closed."""

    path: Path
    manifest: Manifest
    records: dict[str, Record]
    """The last record of each id."""
    repaired: bool
    """Whether a torn last line was cut off."""
    _size: int
    _file: BinaryIO
    _lock: BinaryIO
    appended: int = 0
    """Records that this process wrote."""

    @property
    def failures(self) -> int:
        """Inputs whose last record is a failure."""
        return sum(record.status == "failed" for record in list(self.records.values()))

    @property
    def unsealed(self) -> int:
        """Records without a checksum, of earlier versions: an edit of one would not be noticed."""
        return sum(record.checksum is None for record in list(self.records.values()))

    def append(self, records: Iterable[Record]) -> None:
        """Write ``records``, all of them or (when there is no space) none, and wait until they are on the disk.

        Raises :class:`RunError` when they cannot be written; what was there before stays.
        """
        group = [record.sealed() for record in records]
        lines = b"".join(escaped_json(record.model_dump_json()).encode() + b"\n" for record in group)
        try:
            _write_all(self._file, lines)
            os.fsync(self._file.fileno())
        except OSError as error:
            # A part of a line must not stay: the next record would be glued to it.
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), self._size)
            raise RunError(_why_not(self.path / RECORDS, error)) from None
        self._size += len(lines)
        self.appended += len(group)
        self.records.update((record.id, record) for record in group)

    def identify(self, authors: Mapping[str, str]) -> None:
        """Keep who answered, for later sessions. Raises :class:`RunError` when it cannot be written."""
        known = {**self.manifest.answered_by, **authors}
        if known != self.manifest.answered_by:
            self.manifest = self.manifest.model_copy(update={"answered_by": known})
            with _explained(self.path):
                _replace(self.path / MANIFEST, escaped_json(self.manifest.model_dump_json(indent=1)).encode() + b"\n")

    def close(self) -> None:
        """Let others write; calling it twice is harmless."""
        self._file.close()
        self._lock.close()


def open_run(path: Path, manifest: Manifest, inputs: Mapping[str, str]) -> RunWriter:
    """Begin the run of ``manifest`` in the directory ``path``, or go on with it if it was begun there.

    ``inputs`` holds the digest of each input by its id: more inputs than the run was begun with may be added, none
    may change or go missing.

    Raises :class:`UsageError` when another process is writing it, and when the run that is there is another one, with
    a record or anything else in it: the message names the first thing that differs. Raises :class:`RunError` when the
    directory cannot be written.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
    try:
        with _explained(path):
            return _open_locked(path, manifest, inputs, lock)
    except BaseException:
        lock.close()
        raise


def _open_locked(path: Path, manifest: Manifest, inputs: Mapping[str, str], lock: BinaryIO) -> RunWriter:
    records: dict[str, Record] = {}
    size, torn = 0, False
    if (path / MANIFEST).exists():
        old = read_manifest(path)
        records, size, torn = read_records(path)
        problem = difference(old, manifest) or _changed(records, old, manifest, inputs)
        if problem and not _is_blank(path):
            raise UsageError(f"{path} holds another run: {problem}; name another --run-dir")
        if not problem:
            kept = {"created": old.created, "command": old.command, "sessions": [*old.sessions, *manifest.sessions]}
            manifest = manifest.model_copy(update={**kept, "versions": old.versions, "answered_by": old.answered_by})
    elif (path / RECORDS).exists() and (path / RECORDS).stat().st_size:
        # An empty one is left by a process that ended, on a full disk or killed, before its manifest was there.
        raise UsageError(f"{path} holds {RECORDS} and no {MANIFEST}: name another --run-dir")
    file = (path / RECORDS).open("ab", buffering=0)
    try:
        if torn:
            os.ftruncate(file.fileno(), size)
        _replace(path / MANIFEST, escaped_json(manifest.model_dump_json(indent=1)).encode() + b"\n")
    except BaseException:
        file.close()
        raise
    return RunWriter(path, manifest, records, torn, size, file, lock)


def _is_blank(path: Path) -> bool:
    """Whether the run in ``path`` came to nothing, as one whose models were refused: another may take its place."""
    records = path / RECORDS
    left = {entry.name for entry in path.iterdir()} - {MANIFEST, RECORDS, LOCK, ROWS}
    return not left and (not records.exists() or not records.stat().st_size)


def read_part(path: Path, whole: Manifest, inputs: Mapping[str, str]) -> tuple[Manifest, dict[str, Record]]:
    """The manifest and the records of a run in ``path`` whose inputs are a part of those of ``whole``.

    Raises :class:`UsageError` when it is a part of another run, or is being written.
    """
    with _explained(path):
        lock = _locked(path)
    with lock:
        part = read_manifest(path)
        records, _, _ = read_records(path)
    if problem := difference(part, whole) or _changed(records, part, whole, inputs):
        raise UsageError(f"{path} is a part of another run: {problem}; remove it, or name another --run-dir")
    return part, records


def difference(old: Manifest, new: Manifest) -> str | None:
    """The first thing, the data aside, that makes ``new`` another run than ``old``; None when it is the same run."""
    pairs = [("task", old.task, new.task), ("labels", old.labels, new.labels), ("model", old.model, new.model)]
    pairs += [("method", old.method, new.method)]
    for what, was, now in (("", old.config, new.config), ("the method's ", old.parameters, new.parameters)):
        names = sorted({*was, *now} - (NOT_COMPARED if not what else set()))
        pairs += [(f"{what}{name}", was.get(name), now.get(name)) for name in names]
    for name, before, after in pairs:
        if before != after:
            return f"{name} was {_short(before)} and is now {_short(after)}"
    changed = sorted(role for role in {*old.files, *new.files} if old.files.get(role) != new.files.get(role))
    return f"the {changed[0]} file has changed" if changed else None


def _changed(records: Mapping[str, Record], old: Manifest, new: Manifest, inputs: Mapping[str, str]) -> str | None:
    if old.data.sha256 == new.data.sha256:
        return None
    if new.data.rows < old.data.rows:
        return f"it has {old.data.rows} inputs, and now there are {new.data.rows} (a limit can only be raised)"
    for identity, record in records.items():
        if inputs.get(identity) != record.input:
            became = "is not among the data any more" if identity not in inputs else "has another text or label now"
            return f"its input {identity!r} {became}"
    return None


def input_digest(identity: str, text: str, gold: str | None) -> str:
    """A digest that changes with the id, the text or the gold label of an input."""
    return hashlib.sha256(json.dumps([identity, text, gold]).encode()).hexdigest()[:32]


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_manifest(path: Path) -> Manifest:
    """The manifest of the run in ``path``. Raises :class:`InputError` when there is none, or one that is no use."""
    file = path / MANIFEST
    try:
        content = read_bytes(file, MAX_JSON)
    except InputError as error:
        raise InputError(f"{path} is no run directory: {error}") from None
    manifest = json_model(Manifest, content, f"{file} is damaged: ", "; name another --run-dir")
    if manifest.schema_version > SCHEMA_VERSION:
        raise InputError(f"{file} has schema {manifest.schema_version}, newer than {SCHEMA_VERSION}: upgrade clucert")
    return manifest


def read_study(path: Path) -> Manifest:
    """The same of a run of certificates; :class:`InputError` for one of attacks, which has none."""
    manifest = read_manifest(path)
    if "recipes" in manifest.parameters:
        raise InputError(
            f"{path} holds attacks, not certificates: their tables are attacks.txt and attacks.json in it; "
            "name a run of clucert evaluate"
        )
    return manifest


def read_records(path: Path) -> tuple[dict[str, Record], int, bool]:
    """The last record of each id, the bytes that they take, and whether a torn line follows them.

    Raises :class:`InputError`, naming line and field, for what is no record, and for one that was edited.
    """
    file = path / RECORDS
    records: dict[str, Record] = {}
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}, 0, False
    *lines, rest = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        record = json_model(Record, line, f"{file}:{number} is damaged: ", "; remove that line")
        if record.is_changed:
            what = f"input {shortened(record.id)!r}: {record.edit()}"
            raise InputError(f"{file}:{number} is damaged: {what}; remove that line to do the input again")
        # Popped first, so that the order is that of the last records.
        records.pop(record.id, None)
        records[record.id] = record
    return records, len(content) - len(rest), bool(rest)


def by_id(records: Mapping[str, Record]) -> list[Record]:
    """Records in the order of their ids, which is not the order they were done in: ``9`` before ``10``."""
    return sorted(records.values(), key=lambda record: _natural(record.id))


def _natural(identity: str) -> list[tuple[int, str]]:
    parts = _DIGITS.split(identity)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)]


_DIGITS = re.compile(r"([0-9]{1,18})")


def _locked(path: Path) -> BinaryIO:
    """A file that is locked as long as it is open: the system unlocks it when this process dies."""
    stream = (path / LOCK).open("a+b")
    try:
        _lock(stream)
    except OSError:
        stream.seek(0)
        who = stream.read(20).decode("ascii", "replace").strip()
        stream.close()
        by = f" (process {who})" if who else ""
        raise UsageError(f"{path} is being written by another process{by}: wait, or name another --run-dir") from None
    stream.truncate(0)
    stream.write(str(os.getpid()).encode())
    stream.flush()
    return stream


def _lock(stream: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_all(file: BinaryIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        # A write to a disk that is nearly full takes a part, and only the next one fails.
        view = view[file.write(view) :]


def _replace(path: Path, content: bytes) -> None:
    """Write ``path`` whole or not at all."""
    beside = path.with_suffix(".tmp")
    try:
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(_why_not(path, error)) from None


def _why_not(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left for {path}: free some and run the same command again; what was recorded is safe"
    return f"{path} cannot be written ({error.strerror}): make it writable, or name another --run-dir"


def _short(value: Any) -> str:
    return "not set" if value is None else shortened(json.dumps(value, ensure_ascii=False, default=str), 60)
