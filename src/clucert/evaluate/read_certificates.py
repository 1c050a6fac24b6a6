"""The certificates that a run has written, and the configuration to ask about them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clucert import certificate_json, exact_json
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.errors import InputError, UsageError, shortened
from clucert.evaluate.data import file_digest
from clucert.evaluate.plan import server_of
from clucert.evaluate.record import Record
from clucert.evaluate.run_directory import (
    FUNCTION_COMMAND,
    MANIFEST,
    RECORDS,
    Manifest,
    by_id,
    input_digest,
    read_records,
    read_study,
)
from clucert.evaluate.runconfig import StudyConfig
from clucert.models.function_files import file_of, is_function, reads_text
from clucert.redact import clean_base_url, redact
from clucert.section import marked, problem
from clucert.types import Cost

_THE_USERS_OWN = marked(StudyConfig, "users_own")
"""What a manifest records and never decides: where keys go, what is written, on which machines."""


def read_run(
    run_dir: Path, limit: int | None, overrides: Mapping[str, Any] | None
) -> tuple[StudyConfig, dict[str, Certificate]]:
    """:func:`read_any_run` of a run whose method samples. Raises :class:`UsageError` for another one."""
    config, found = read_any_run(run_dir, limit, overrides)
    sampled = {name: each for name, each in found.items() if isinstance(each, Certificate)}
    if len(sampled) < len(found):
        raise UsageError(f"{run_dir} holds exact certificates, and this is about sampled ones: name another run")
    return config, sampled


def read_any_run(
    run_dir: Path, limit: int | None, overrides: Mapping[str, Any] | None
) -> tuple[StudyConfig, dict[str, Certificate | ExactCertificate]]:
    """The configuration of a run, with ``overrides`` for how to reach its models, and its first ``limit`` certificates.

    A run directory may come from anybody: its manifest says what was asked, not where a key goes, what is written where
    or what this process does to the machine. A server that it names has to be named by the user, too.

    The certificates are by id and in the order of their ids, so that ``limit`` means the same rows whatever was done
    first; there may be none. Raises :class:`clucert.errors.InputError` when the folder is no run.
    """
    fields = dict(overrides or {})
    given = fields.pop("given", {})
    config = _config(run_dir, fields).giving(given)
    manifest = read_study(run_dir)
    done = [record for record in by_id(read_records(run_dir)[0]) if record.document is not None][:limit]
    return config, {record.id: _certificate(record, manifest, run_dir) for record in done}


def need_models(run_dir: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Raise :class:`UsageError` where the models of a run cannot be asked again, or not without the user's word.

    A function of Python is one that no command can ask. A file of Python is run only where the user has named it. And a
    file that is another one by now is another classifier.
    """
    manifest, fields = read_study(run_dir), dict(overrides or {})
    if manifest.command == FUNCTION_COMMAND and not fields.get("given"):
        raise UsageError(
            f"the run in {run_dir} is of a Python function, which only Python can ask: give it as model=…, as in "
            f"clucert.audit({str(run_dir)!r}, model=classify)"
        )
    named: Sequence[str] = fields.get("model", ())
    asked = [*(named or manifest.model), *(manifest.config.get(name) for name in ("helper_model", "judge"))]
    if code := next((name for name in asked if name and is_function(name) and name not in named), None):
        raise UsageError(
            f"the run in {run_dir} calls the Python function {code}: if that file may be run, confirm it with  "
            f"--model {code}"
        )
    if named and list(map(_last_part, named)) != list(map(_last_part, manifest.model)):
        raise UsageError(f"the run in {run_dir} asked {'+'.join(manifest.model)}, and not that --model")
    for i, name in enumerate(named or manifest.model, 1):
        if reads_text(name) and file_digest(str(file_of(name))) != manifest.files.get(f"model {i}"):
            raise UsageError(f"{name} has changed since the run in {run_dir}: its certificates are about what it was")


def _config(run_dir: Path, overrides: dict[str, Any]) -> StudyConfig:
    stored = read_study(run_dir).config
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


def _last_part(name: str) -> str:
    """Of the name of a model that is a file, which may lie elsewhere now."""
    return Path(name).name if reads_text(name) else name


def exact_of(record: Record, manifest: Manifest) -> tuple[ExactCertificate, Cost]:
    """The exact certificate of ``record``, and what it cost.

    It must be of the run's method and labels, and of the text, id and gold label whose digest the record has. Raises
    :class:`InputError`, one line that names the field.
    """
    certificate, method, cost = exact_json.read(record.document)
    own, given = method.model_dump(mode="json"), manifest.parameters
    if other := next((name for name in given if name in own and given[name] != own[name]), None):
        raise InputError(f"method.{other} is {own[other]!r}, and the run's is {given[other]!r}")
    if list(certificate.labels) != manifest.labels:
        raise InputError(f"labels are {', '.join(certificate.labels)[:80]}, and not the run's")
    if certificate.example != record.id:
        raise InputError(f"example is {shortened(certificate.example, 40)!r}, and not the input's id")
    if record.input != input_digest(record.id, certificate.text, record.gold):
        raise InputError("input is not the digest of this text and gold label")
    return certificate, cost


def certificate_of(document: Mapping[str, Any] | None) -> Certificate | ExactCertificate | None:
    """The certificate of either kind, as its document says; None where a call failed. :func:`exact_of` compares more.

    Raises :class:`InputError`, one line that names the field.
    """
    if document is None:
        return None
    return exact_json.read(document)[0] if exact_json.is_exact(document) else _sampled(document)


def _sampled(document: Mapping[str, Any]) -> Certificate:
    return certificate_json.read(document)[0].certificate


def _certificate(record: Record, manifest: Manifest, run_dir: Path) -> Certificate | ExactCertificate:
    document = record.document or {}
    try:
        if exact_json.is_exact(document):
            return exact_of(record, manifest)[0]
        return _sampled(document)
    except InputError as error:
        raise InputError(f"{run_dir / RECORDS}, input {record.id!r}: {error}") from None
