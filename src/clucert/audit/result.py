"""What ``clucert audit`` left in a run directory: what was broken, and with which texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clucert.audit import FILE, SCHEMA_VERSION
from clucert.audit.claims import Kind
from clucert.border import MAX_JSON, json_model, read_bytes
from clucert.core.explanation import THREATS
from clucert.errors import InputError

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class AuditedRow(_Stored):
    """The claims of one radius under one threat model."""

    radius: Kind
    threat: str
    tried: Count
    broken: Count
    share: Share
    low: Share | None
    high: Share | None
    texts: Count
    change: str | None = None
    """What may happen to what the radius counts, in words; None in audits of earlier versions."""
    past: Count = 0
    past_tried: Count = 0
    """Claims whose answer a text one operation past the radius breaks, of those where one was tried."""

    @property
    def said(self) -> str:
        """``change``, also of earlier versions."""
        return self.change or THREATS.get(self.threat, self.threat)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.broken > self.tried:
            raise ValueError(f"{self.broken} of {self.tried} claims broken")
        return self


class AuditedClaim(_Stored):
    """What was attacked."""

    kind: Kind
    threat: str
    radius: Count
    answer: str
    ball: dict[str, str] | None = None
    """Of claims about pieces inserted, deleted, replaced or moved."""
    domain: str | None = None
    """``refined`` where the radius counts words of the refined text; None in audits of earlier versions."""


class AuditedAttempt(_Stored):
    """What came of it."""

    id: str
    claim: AuditedClaim
    broken: bool
    idea: str
    text: str
    changed: list[tuple[str, str]]
    answer: str | None
    p_value: Share


class Audited(_Stored):
    """The part of ``audit.json`` that is shown."""

    schema_version: int
    alpha: Share
    certified: Count
    rows: list[AuditedRow]
    attempts: list[AuditedAttempt]
    failed: dict[str, str]


def read_audit(run: Path) -> Audited | None:
    """The audit of a run; None when there was none. Raises :class:`InputError` when its file is no use."""
    path = run / FILE
    if not path.exists():
        return None
    found = json_model(Audited, read_bytes(path, MAX_JSON), f"{path} is no audit (", "): run clucert audit again")
    if found.schema_version > SCHEMA_VERSION:
        raise InputError(f"{path} has schema {found.schema_version}, newer than {SCHEMA_VERSION}: upgrade clucert")
    return found
