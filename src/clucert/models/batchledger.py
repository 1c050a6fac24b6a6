"""The batches that a run has begun, recorded on disk first, so that a killed run does not pay for them twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from clucert.border import json_model
from clucert.errors import CluCertError


class LedgerError(CluCertError):
    """The list of batches cannot be written; no batch is begun that is not in it."""


class _Event(BaseModel):
    """One line of the ledger."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    event: Literal["intended", "created", "settled"]
    token: str
    ids: list[str] = []
    """Of an intended batch: its requests. Of a settled one: those that are to be asked again in another."""
    batch: str | None = None


@dataclass(slots=True)
class BatchRecord:
    """One batch. ``token`` is written before it is created, and into its metadata, so that it can be found again."""

    token: str
    ids: frozenset[str]
    """The requests whose answers are, or will be, in this batch."""
    batch: str | None = None
    """The provider's id; None when it is not known whether the batch was created."""


@dataclass(slots=True)
class BatchLedger:
    """The batches of a run, in ``batches.jsonl``. Belongs to the process that has the run's lock."""

    path: Path
    records: dict[str, BatchRecord] = field(default_factory=dict)
    _size: int = 0

    @classmethod
    def open(cls, path: Path) -> BatchLedger:
        """The ledger at ``path``, which need not exist. The incomplete last line of a killed process is removed."""
        ledger = cls(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return ledger
        *lines, _ = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            ledger._apply(json_model(_Event, line, f"{path}:{number} is damaged: ", "; remove that line"))
        ledger._size = sum(len(line) + 1 for line in lines)
        return ledger

    def intend(self, token: str, ids: Sequence[str]) -> BatchRecord:
        """Record that a batch is about to be created. Raises :class:`LedgerError`."""
        self._append(_Event(event="intended", token=token, ids=list(ids)))
        return self.records[token]

    def created(self, record: BatchRecord, batch: str) -> None:
        """Record the provider's id of a batch."""
        self._append(_Event(event="created", token=record.token, batch=batch))

    def settled(self, record: BatchRecord, again: Iterable[str]) -> None:
        """Record that a batch has ended; ``again`` are the requests that it does not answer."""
        self._append(_Event(event="settled", token=record.token, ids=sorted(again)))

    def _apply(self, event: _Event) -> None:
        if event.event == "intended":
            self.records[event.token] = BatchRecord(event.token, frozenset(event.ids))
        elif (record := self.records.get(event.token)) is not None:
            record.batch = event.batch or record.batch
            if event.event == "settled":
                record.ids -= frozenset(event.ids)

    def _append(self, event: _Event) -> None:
        line = event.model_dump_json(exclude_defaults=True).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(self._size)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise LedgerError(
                f"{self.path} cannot be written ({error.strerror}): free space, or name another --run-dir"
            ) from None
        self._size += len(line)
        self._apply(event)
