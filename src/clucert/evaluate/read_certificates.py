"""The certificates that a run has written, and the configuration to ask about them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clucert import certificate_json as document
from clucert.core.certificate import Certificate
from clucert.errors import InputError, UsageError
from clucert.evaluate.plan import server_of
from clucert.evaluate.run_directory import MANIFEST, RECORDS, Record, by_id, read_manifest, read_records
from clucert.evaluate.runconfig import StudyConfig
from clucert.redact import clean_base_url, redact
from clucert.section import marked, problem

_THE_USERS_OWN = marked(StudyConfig, "users_own")
"""What a manifest records and never decides: where keys go, what is written, on which machines."""


def read_run(
    run_dir: Path, limit: int | None, overrides: Mapping[str, Any] | None
) -> tuple[StudyConfig, dict[str, Certificate]]:
    """The configuration of a run, with ``overrides`` for how to reach its models, and its first ``limit`` certificates.

    A run directory may come from anybody: its manifest says what was asked, not where a key goes, what is written where
    or what this process does to the machine. A server that it names has to be named by the user, too.

    The certificates are by id and in the order of their ids, so that ``limit`` means the same rows whatever was done
    first; there may be none. Raises :class:`clucert.errors.InputError` when the folder is no run.
    """
    config = _config(run_dir, dict(overrides or {}))
    done = [record for record in by_id(read_records(run_dir)[0]) if record.document is not None][:limit]
    return config, {record.id: _certificate(record, run_dir) for record in done}


def _config(run_dir: Path, overrides: dict[str, Any]) -> StudyConfig:
    stored = read_manifest(run_dir).config
    kept = {name: value for name, value in stored.items() if name not in _THE_USERS_OWN}
    if stored.get("cache") in (False, "False"):
        kept["cache"] = False
    try:
        config = StudyConfig.model_validate({**kept, **overrides})
    except ValidationError as error:
        raise InputError(f"{run_dir / MANIFEST} is damaged: config.{': '.join(problem(error))}") from None
    there = stored.get("base_url")
    if there and config.base_url is None and server_of(config) != clean_base_url(str(there)):
        raise UsageError(
            f"the run in {run_dir} was made at {redact(str(there))}: if that server may have your key and your texts, "
            f"confirm it with --base-url, or name another one"
        )
    return config


def _certificate(record: Record, run_dir: Path) -> Certificate:
    try:
        return document.read(record.document or {})[0].certificate
    except InputError as error:
        raise InputError(f"{run_dir / RECORDS}, input {record.id!r}: {error}") from None
