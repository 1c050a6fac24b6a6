"""What came of one input of a run, with a checksum: a line of ``records.jsonl``."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clucert import certificate_json, exact_json
from clucert.errors import InputError

Json = dict[str, Any]
Status = Literal["done", "failed"]
Count = Annotated[int, Field(ge=0, strict=True)]


class Record(BaseModel):
    """The result of one input. A failed one has an error and no certificate; it is tried again by the next call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    gold: str | None = None
    status: Status
    error: str | None = None
    document: Json | None = None
    """The certificate (docs/json.md). Its ``cost`` is what the input costs with an empty cache."""
    reused: dict[str, Count] | None = None
    """The part of that cost that was not paid for now, because the answers were known: calls and tokens."""
    input: str
    """Digest of the id, text and gold label (:func:`input_digest`)."""
    checksum: str | None = None
    """Of what came of the input (:meth:`sealed`); None in records of earlier versions."""

    def sealed(self) -> Record:
        """The record as it is read again, with its checksum: an edit shows, unless its author made a new checksum.

        It leaves out what depends on the day (``reused``, ``cost.seconds``): equal results have equal checksums.
        """
        stored = Record.model_validate_json(self.model_dump_json())
        return stored.model_copy(update={"checksum": stored._digest()})

    @property
    def is_changed(self) -> bool:
        """Whether it has another checksum than it was written with."""
        return self.checksum is not None and self.checksum != self._digest()

    def edit(self) -> str:
        """What an edit of it changed, where that shows."""
        document = self.document or {}
        try:
            if exact_json.is_exact(document):
                exact_json.read(document)
            elif "schema_version" in document:
                certificate_json.read(document)
        except InputError as error:
            return str(error)
        return "it was changed after it was written (another checksum)"

    def _digest(self) -> str:
        lasting = self.model_dump(exclude={"checksum": True, "reused": True, "document": {"cost": {"seconds"}}})
        return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode("ascii")).hexdigest()[:32]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.status == "done" and self.document is None:
            raise ValueError("it is done and has no document")
        return self
