"""The configuration of a study: a YAML file of which flags override."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ValidationError

from clucert.border import read_text, yaml_fields
from clucert.config import Config, ExactSection, Names, Text
from clucert.errors import InputError, UsageError
from clucert.evaluate.columns import DataSource
from clucert.evaluate.readers import Format
from clucert.redact import shown
from clucert.section import Section, flag, nearest, option, problem, shared


def _shard(value: str) -> str:
    """``value`` if it names a shard."""
    number, slash, shards = value.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise ValueError("must be i/n with 1 <= i <= n, such as 2/8")
    return f"{int(number)}/{int(shards)}"


class DataSection(Section, title="Data", may_differ=True):
    """The examples; see :class:`clucert.evaluate.data.DataSource`. Runs are compared by what is read."""

    data: str | None = option(None, "CSV, TSV, JSON Lines or Parquet file, or hf:NAME@SPLIT with clucert[hub].")
    format: Format | None = option(None, "Of the file, where its name does not say.")
    quoted: bool = option(True, "Whether CSV and TSV use quotes.")
    header: bool = option(True, "Whether CSV and TSV begin with column names; else columns are called 1, 2, …")
    encoding: str | None = option(None, "Of the file, such as latin-1, cp1252 or utf-16.", unset="utf-8")
    text_column: str | None = option(None, "Column of the text.", unset="text, sentence, question or prompt")
    label_column: str | None = option(None, "Column of the gold label.", unset="label or answer")
    id_column: str | None = option(None, "Column that names a row.", unset="the line number")
    label_map: dict[Text, Text] = option(
        {},
        "What labels mean, such as 0=ham,1=spam. Repeatable.",
        unset="as the task declares; unknown ones are refused",
    )
    limit: int | None = option(None, "The first K rows only.", ge=1)
    sample: int | None = option(None, "K rows at random, by --seed.", ge=1)
    skip_malformed: bool = option(False, "Leave malformed rows out and list them.")


class SuffixSection(Section, title="Attacks in the data", may_differ=True):
    """Of ``clucert attack``."""

    attack_column: str | None = option(None, "Column of suffixes or attacked prompts.", unset="attack")


class RunSection(Section, title="Run", may_differ=True, users_own=True):
    """How a run is carried out, not what it finds."""

    run_dir: Path | None = option(None, "Where the run is kept; an existing one goes on.")
    batch: bool = option(False, "Ask through the provider's batch API: cheaper, slower by hours.")
    shard: Annotated[str, AfterValidator(_shard)] | None = option(
        None, "i/n: every n-th row from row i on. The command without it merges the shards."
    )
    in_flight: int | None = option(None, "Inputs worked on at a time.", unset="enough to keep the model busy", ge=1)
    engine: str = option("local", "Where inputs are worked on: local, or ray with clucert[ray] (docs/cluster.md).")
    ray_address: str | None = option(None, "A running cluster, HOST:PORT or auto.", unset="RAY_ADDRESS, or a new one")
    workers: int | None = option(None, "Ray processes that hold the models.", unset="one a GPU, or one a node", ge=1)
    worker_cpus: int | None = option(None, "CPU cores of a worker.", unset="as many as all workers can have", ge=1)
    worker_gpus: float | None = option(None, "GPUs of a worker.", unset="1 for a model of its own", ge=0)
    worker_env: list[str] = option([], "Another variable that workers need, by its name. Repeatable.")
    fail_fast: bool = option(False, "Stop at the first input that fails.")


class ResultSection(Section, title="Results", may_differ=True):
    """What the result is held to."""

    fail_under: Names = option([], "Gate such as certacc@1=0.6; a miss exits with 3. Repeatable.")
    leave_out_failed: bool = option(False, "Leave failed rows out of the means.", unset="they are not certified")
    junit: Path | None = option(None, "Write JUnit XML about inputs and gates.", users_own=True)
    sarif: Path | None = option(None, "Write SARIF about rows that are not proved.", users_own=True)


class StudyConfig(ResultSection, RunSection, SuffixSection, DataSection, ExactSection, Config):
    """What to evaluate, with what, where to write it, and what it may cost."""

    @property
    def source(self) -> DataSource:
        """Where the examples come from."""
        if self.data is None:
            raise UsageError("say what to evaluate: --data reviews.csv (CSV, TSV, JSON Lines or Parquet)")
        return DataSource(path=self.data, **shared(DataSource, self))


def load_config(path: Path | None, flags: Mapping[str, Any]) -> StudyConfig:
    """The configuration of the file ``path`` with ``flags`` on top; flags that are None were not given.

    Raises :class:`InputError` naming the file and the line for an unknown key (with the nearest known ones) and for a
    value that is wrong, and :class:`UsageError` naming the flag for a flag that is wrong.
    """
    written, lines = ({}, {}) if path is None else yaml_fields(read_text(path), str(path))
    for key, line in lines.items():
        if key not in StudyConfig.model_fields:
            raise InputError(f"{path}:{line}: unknown key {key!r}: {nearest(key, StudyConfig.model_fields)}")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return StudyConfig.model_validate({**written, **given})
    except ValidationError as error:
        name, what = problem(error)
        if name in given or path is None:
            raise UsageError(f"{flag(name)}: {what}") from None
        raise InputError(f"{path}:{lines.get(name, 1)}: {name}: {what}") from None


def print_config(config: StudyConfig) -> str:
    """The whole configuration as YAML that :func:`load_config` reads back to the same, secrets aside."""
    return yaml.safe_dump(
        shown(config.model_dump(mode="json")), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
