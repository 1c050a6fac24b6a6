"""The certificates that a run has written, and the configuration to ask about them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clucert import document
from clucert.certificate import Certificate
from clucert.errors import InputError
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.runs import RECORDS, Record, by_id, read_manifest, read_records


def read_run(
    run_dir: Path, limit: int | None, overrides: Mapping[str, Any] | None
) -> tuple[StudyConfig, dict[str, Certificate]]:
    """The configuration of a run, with ``overrides`` for how to reach its models, and its first ``limit`` certificates.

    The certificates are by id and in the order of their ids, so that ``limit`` means the same rows whatever was done
    first; there may be none. Raises :class:`clucert.errors.InputError` when the folder is no run.
    """
    config = StudyConfig.model_validate({**read_manifest(run_dir).config, **(overrides or {})})
    done = [record for record in by_id(read_records(run_dir)[0]) if record.document is not None][:limit]
    return config, {record.id: _certificate(record, run_dir) for record in done}


def _certificate(record: Record, run_dir: Path) -> Certificate:
    try:
        return document.read(record.document or {})[0].certificate
    except InputError as error:
        raise InputError(f"{run_dir / RECORDS}, input {record.id!r}: {error}") from None
