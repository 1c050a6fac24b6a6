r"""Tasks of the user's own: a prompt file with labels, or one YAML file.

The YAML file::

    name: spam                    # the file's stem when not given
    prompt: |                     # {text}, or {{text}}, stands for the text, {labels} for the labels, if wanted
      Is this message {labels}?
      Message: {text}
    prompt_file: prompt.txt       # … or in a file of its own, beside this one
    labels: [spam, ham]           # either a closed label set …
    pattern: "#### (\\S+)"       # … or a regular expression whose first group is the vote
    reader: refusal               # … or whether the answer refuses; the prompt is then {text} when not given
    phrases: phrases.yaml         # with reader: a phrase list of your own, beside this file
    system: You are a helpful …   # with pattern or reader: the system prompt
    synonyms: {junk: spam}        # other spellings of labels, for answers that are free text
    shots:                        # worked examples
      - {text: You have won!, label: spam}
    columns: {text: body, label: class}      # the columns of data files
    max_tokens: 16                # an answer that is longer is cut, and no vote
    stop: ["\n"]                  # with labels: where an answer ends when the model goes on
    label_map: {0: ham, 1: spam}  # what data files write for the labels, or for the votes of a pattern
    max_tokens: 16
    temperature: 0
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from clucert.border import read_text, yaml_model
from clucert.errors import InputError
from clucert.protocols import Task
from clucert.refusals.phrases import PhraseDetector, read_phrases
from clucert.tasks.classification import ClosedTask, Shot
from clucert.tasks.open_ended import OpenTask
from clucert.tasks.refusal import GOLD, RefusalTask
from clucert.types import Message, Query, Vote

PATTERN_SECONDS = 1.0
"""A pattern that backtracks longer than this on an answer, in seconds of the processor, finds nothing in it."""
COMPILE_SECONDS, COMPILE_BYTES = 2, 1 << 30
"""What a pattern may take to compile: ``((a{1000}){1000}){1000}`` would take all there is."""
_TRIAL = f"""
import sys, regex
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({COMPILE_SECONDS}, {COMPILE_SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, ({COMPILE_BYTES}, {COMPILE_BYTES}))
except ImportError:
    pass
try:
    regex.compile(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"), regex.MULTILINE)
except (regex.error, ValueError, RecursionError):
    pass
"""


class _ShotFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    label: str


_Written = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
"""What a data file writes: YAML reads 0 as a number."""


class Columns(BaseModel):
    """Which columns of a data file hold what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str = "text"
    label: str = "label"


class TaskFile(BaseModel):
    """The fields of a task's YAML file."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    prompt: str | None = None
    prompt_file: Path | None = None
    labels: list[str] | None = None
    pattern: str | None = None
    reader: Literal["refusal"] | None = None
    phrases: Path | None = None
    system: str | None = None
    synonyms: dict[str, str] = Field(default_factory=dict)
    shots: list[_ShotFields] = Field(default_factory=list)
    columns: Columns = Field(default_factory=Columns)
    label_map: dict[_Written, str] = Field(default_factory=dict)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    stop: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list, max_length=4)


@dataclass(frozen=True)
class PromptTask(ClosedTask):
    """A closed task whose question is the user's own prompt, in which ``{text}`` is replaced literally, once or more.

    What stands before the first ``{text}`` is the shared prefix; shots are filled-in prompts that come before it.
    """

    template: str = "{text}"

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The request that asks for the label of ``text``; ``draw`` matters only when the task samples."""
        turns: list[Message] = []
        for shot in self.shots:
            turns += [Message("user", self._filled(shot.text)), Message("assistant", shot.label)]
        head, _, tail = self._body().partition("{text}")
        shots = "".join(f"{self._body().replace('{text}', s.text)} {s.label}\n\n" for s in self.shots)
        return Query(
            messages=(*turns, Message("user", self._filled(text))),
            prefix=shots + head,
            suffix=text + tail.replace("{text}", text),
            labels=self.labels,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            stop=self.stop,
            seed=draw if self.temperature > 0 else None,
        )

    def _filled(self, text: str) -> str:
        return self.template.replace("{text}", text)

    def _body(self) -> str:
        """The prompt as raw text that the label completes."""
        body = self.template.rstrip()
        return body if body.endswith(":") else f"{body}\n{self.label_heading}:"


def read_task(path: Path) -> Task:
    """The task that a YAML file describes. Raises :class:`InputError`, one line, for the first thing that is wrong."""
    fields = _fields(path)
    name = fields.name or path.stem
    shots = tuple(Shot(shot.text, shot.label) for shot in fields.shots)
    if sum(given is not None for given in (fields.labels, fields.pattern, fields.reader)) != 1:
        raise InputError(f"{path}: give either labels or a pattern or  reader: refusal")
    if fields.prompt_file is not None:
        if fields.prompt is not None:
            raise InputError(f"{path}: give either prompt or prompt_file")
        fields.prompt = read_text(path.parent / fields.prompt_file)
    if fields.prompt is None and fields.reader is None:
        raise InputError(f"{path}: prompt: Field required")
    if fields.phrases is not None and fields.reader is None:
        raise InputError(f"{path}: phrases go with  reader: refusal")
    prompt = "{text}" if fields.prompt is None else fields.prompt
    if fields.labels is not None:
        if fields.system is not None:
            raise InputError(f"{path}: a system prompt goes with a pattern or a reader: write it into the prompt")
        return _closed(name, prompt, fields.labels, shots=shots, fields=fields)
    if fields.stop:
        raise InputError(f"{path}: stop goes with labels")
    common: dict[str, Any] = {
        "name": name,
        "instruction": (fields.system or "").strip(),
        "shots": shots,
        "template": _template(prompt, str(path)),
        "temperature": fields.temperature,
    }
    if fields.reader is not None:
        return _refusal(fields, path, common)
    reader = _pattern_reader(fields.pattern or "", path)
    return OpenTask(
        **common, reader=reader, max_tokens=fields.max_tokens or 400, gold=fields.label_map, gold_is_vote=True
    )


def _refusal(fields: TaskFile, path: Path, common: dict[str, Any]) -> Task:
    phrases = None if fields.phrases is None else read_phrases(path.parent / fields.phrases)
    gold = {**GOLD, **fields.label_map}
    return RefusalTask(**common, max_tokens=fields.max_tokens or 64, detector=PhraseDetector(phrases), gold=gold)


def columns_of(path: Path) -> Columns:
    """The data columns that a task's YAML file names."""
    return _fields(path).columns


def from_prompt_file(labels: list[str] | None, prompt: Path | None, name: str | None) -> Task:
    """The task of ``--labels`` and ``--prompt``. Raises :class:`InputError` when one is missing or wrong."""
    if labels is None or prompt is None:
        raise InputError("a task of your own needs both:  --labels spam,ham --prompt prompt.txt")
    return _closed(name or prompt.stem, read_text(prompt), labels)


def _closed(
    name: str, prompt: str, labels: list[str], *, shots: tuple[Shot, ...] = (), fields: TaskFile | None = None
) -> PromptTask:
    # Labels are filled in first, and only into the prompt: a text that says {labels} stays as it is.
    template = _template(prompt, f"the prompt of task {name}").strip().replace("{labels}", _listed(labels))
    return PromptTask(
        name,
        labels=tuple(labels),
        instruction="",
        shots=shots,
        synonyms=fields.synonyms if fields else {},
        gold=fields.label_map if fields else {},
        max_tokens=(fields and fields.max_tokens) or 16,
        temperature=fields.temperature if fields else 0.0,
        stop=tuple(fields.stop) if fields else (),
        template=template,
    )


_DOUBLED = re.compile(r"\{\{\s*(text|labels)\s*\}\}")
"""How templates of other tools (Jinja, Mustache) write a field."""


def _template(prompt: str, where: str) -> str:
    """The prompt with its fields written in one way. Raises :class:`InputError` where it has no text."""
    template = _DOUBLED.sub(r"{\1}", prompt)
    if "{text}" not in template:
        raise InputError(f"{where} has no {{text}}: write it where the text is to stand")
    return template


def _listed(labels: Sequence[str]) -> str:
    """The labels as a prompt names them: in quotes where a comma in one would make two of it."""
    quotes = '"' if any("," in label for label in labels) else ""
    return ", ".join(f"{quotes}{label}{quotes}" for label in labels)


def _pattern_reader(pattern: str, path: Path) -> Any:
    if not _compiles(pattern):
        raise InputError(f"{path}: pattern takes too long to compile: repeat less in it")
    try:
        compiled = regex.compile(pattern, regex.MULTILINE)
    except RecursionError:
        raise InputError(f"{path}: pattern has too many groups within one another") from None
    except (regex.error, ValueError) as error:  # two flags that exclude each other are a ValueError
        raise InputError(f"{path}: pattern is not a regular expression: {error}") from None
    if compiled.groups < 1:
        raise InputError(f"{path}: pattern needs a group ( ) around the vote")

    def read(text: str) -> Vote:
        try:
            found = compiled.findall(text, timeout=PATTERN_SECONDS)
        except (TimeoutError, MemoryError):
            return None
        last = found[-1] if found else ""
        vote = last[0] if isinstance(last, tuple) else last
        return vote.strip() or None

    return read


def _compiles(pattern: str) -> bool:
    """Whether ``pattern`` compiles, or is refused, within bounds: tried in another process, which the bounds end."""
    if "{" not in pattern and len(pattern) < 1000:
        return True
    command = [sys.executable, "-P", "-c", _TRIAL]
    try:
        # The bound is on processor time: the limit here is for systems without it, and for machines under load.
        done = subprocess.run(  # noqa: S603 - the pattern is read from a pipe
            command, input=pattern.encode("utf-8", "surrogatepass"), capture_output=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _fields(path: Path) -> TaskFile:
    return yaml_model(TaskFile, read_text(path), str(path))
