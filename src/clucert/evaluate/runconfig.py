"""The configuration of a study: a YAML file of which flags override."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from clucert.config import Config, Text
from clucert.errors import InputError, UsageError
from clucert.evaluate.data import DataSource


def _shard(value: str) -> str:
    """``value`` if it names a shard."""
    number, slash, shards = value.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise ValueError("must be i/n with 1 <= i <= n, such as 2/8")
    return f"{int(number)}/{int(shards)}"


class StudyConfig(Config):
    """What to evaluate, with what, where to write it, and what it may cost."""

    mask_rate: Text | None = None
    q: Text | None = None
    labels: list[Text] | None = None

    # The examples; see clucert.evaluate.data.DataSource.
    data: str | None = None
    format: Literal["csv", "tsv", "jsonl", "parquet"] | None = None
    quoted: bool = True
    text_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    attack_column: str | None = None
    label_map: dict[Text, Text] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    sample: int | None = Field(default=None, ge=1)
    skip_malformed: bool = False

    # The run.
    run_dir: Path | None = None
    batch: bool = False
    """Ask through the provider's batch API: cheaper, and slower by hours. Needs ``sampling: fixed``."""
    in_flight: int | None = Field(default=None, ge=1)
    """Inputs worked on at a time; None chooses enough of them to keep the model busy."""
    engine: str = "local"
    """Where inputs are worked on: ``local`` or ``ray``."""
    ray_address: str | None = None
    """A running cluster; None is the one that RAY_ADDRESS or this machine has, or else one of this process's own."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that hold the models; None is one for each GPU, or for each node where no GPU is used."""
    worker_cpus: int | None = Field(default=None, ge=1)
    """CPU cores of a worker; None is as many as let all workers be placed."""
    worker_gpus: float | None = Field(default=None, ge=0)
    """GPUs of a worker; None is one for models that run in the worker, where the cluster has any."""
    worker_env: list[str] = Field(default_factory=list)
    """Names of further environment variables that the workers' models read."""
    fail_fast: bool = False
    shard: Annotated[str, AfterValidator(_shard)] | None = None
    """``i/n``: do every n-th row only, from row i on, in a run directory below that of the run."""

    # What the result is held to.
    fail_under: list[str] = Field(default_factory=list)
    leave_out_failed: bool = False
    """Whether failed inputs are left out of every share; otherwise they count as not certified."""
    junit: Path | None = None

    @property
    def source(self) -> DataSource:
        """Where the examples come from."""
        if self.data is None:
            raise UsageError("say what to evaluate: --data reviews.csv (CSV, TSV, JSON Lines or Parquet)")
        return DataSource(
            path=self.data,
            format=self.format,
            quoted=self.quoted,
            text_column=self.text_column,
            label_column=self.label_column,
            id_column=self.id_column,
            attack_column=self.attack_column,
            label_map=self.label_map,
            limit=self.limit,
            sample=self.sample,
            seed=self.seed,
            skip_malformed=self.skip_malformed,
        )


def load_config(path: Path | None, flags: Mapping[str, Any]) -> StudyConfig:
    """The configuration of the file ``path`` with ``flags`` on top; flags that are None were not given.

    Raises :class:`InputError` naming the file and the line for an unknown key (with the nearest known ones) and for a
    value that is wrong, and :class:`UsageError` naming the flag for a flag that is wrong.
    """
    written, lines = ({}, {}) if path is None else _read(path)
    for key, line in lines.items():
        if key not in StudyConfig.model_fields:
            raise InputError(f"{path}:{line}: unknown key {key!r}: {_nearest(key, StudyConfig.model_fields)}")
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return StudyConfig.model_validate({**written, **given})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        what = f"{first['msg']} (got {first.get('input')!r})"
        if key in given or path is None:
            raise UsageError(f"--{key.replace('_', '-')}: {what}") from None
        raise InputError(f"{path}:{lines.get(key, 1)}: {'.'.join(map(str, first['loc'][:2]))}: {what}") from None


def print_config(config: StudyConfig) -> str:
    """The whole configuration as YAML that :func:`load_config` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, default_flow_style=False)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The fields of a file, and the line of each."""
    try:
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason}") from None
    loader = _Loader(source)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise InputError(f"{path} must hold fields such as  task: sst2")
        lines: dict[str, int] = {}
        for key, _ in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise InputError(f"{path}:{line}: {name!r} is there twice (first in line {lines[name]})")
            lines[name] = line
        fields: dict[str, Any] = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{path}{where}: this is not YAML: {problem}") from None
    finally:
        loader.dispose()
    return fields, lines


class _Loader(yaml.SafeLoader):
    """Safe YAML in which, as in version 1.2, ``yes``, ``no``, ``on`` and ``off`` are words: a label may be one."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the class attribute that PyYAML reads
        first: [(tag, pattern) for tag, pattern in pairs if tag != "tag:yaml.org,2002:bool"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name.replace("-", "_"), names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
