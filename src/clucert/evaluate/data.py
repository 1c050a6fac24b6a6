"""Labelled examples from the files that people have, with every row accounted for."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clucert.border import json_value
from clucert.core.noise.tokens import listed
from clucert.errors import InputError
from clucert.evaluate.columns import LABEL_COLUMNS, MESSAGES, Columns, DataSource, choose_columns
from clucert.evaluate.gold import BadRowError, GoldReader, LabelNames, Numbering, sorted_note
from clucert.evaluate.readers import Malformed, Row, encoding_hint, open_table


@dataclass(frozen=True, slots=True)
class Example:
    """One input. ``label`` is the gold label in the task's own words, None when the data has no labels."""

    id: str
    text: str
    label: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """The columns that were asked for besides, and ``attack`` where there is such a column."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out."""

    where: str
    """``file:line``, or ``file: row n`` where a file has no lines."""
    problem: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The examples that will be used, and the rows that were read before the last of them and left out."""

    source: DataSource
    examples: tuple[Example, ...]
    skipped: tuple[Problem, ...]
    label_map: Mapping[str, str] = field(default_factory=dict)
    """What was read as which label, where the data write it otherwise: ``{"0": "negative", "1": "positive"}``."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What ought to be known about the choice of rows, in words."""
        limit = self.source.limit if self.source.sample is None else None
        note = sorted_note((e.label for e in self.examples), limit)
        bare = sum(e.label is None for e in self.examples)
        rows = f"{bare} of {len(self.examples)} rows have no label: certified, not judged"
        column = "" if self.source.label_column else f" (columns {' and '.join(LABEL_COLUMNS)}; --label-column)"
        return tuple(filter(None, (note, f"{rows}{column}" if bare else None)))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the examples themselves: what a run saw, whatever file they came from."""
        total = hashlib.sha256()
        for e in self.examples:
            record = [e.id, e.text, e.label, e.extra]
            total.update(json.dumps(record, sort_keys=True, default=str).encode("ascii") + b"\n")
        return total.hexdigest()


def file_digest(path: str) -> str | None:
    """SHA-256 (hex) of a file's bytes, read in pieces; None for a data set of the hub, which is no file.

    This reads all of the file, also where ``limit`` would not.
    """
    if path.startswith("hf:"):
        return None
    try:
        with Path(path).expanduser().open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def load_examples(
    source: DataSource,
    *,
    labels: Sequence[str] | None,
    normalise: Callable[[str], str | None] | None = None,
    need_labels: bool = True,
    synonyms: Mapping[str, str] | None = None,
    numberings: Sequence[Numbering] = (),
) -> Dataset:
    """Read the examples of ``source``.

    With ``labels`` a gold label is one of them, written in any case, or one of ``synonyms``, or what
    ``source.label_map`` or the file's class names make of it. A number is what one of ``numberings`` says, never a
    position (:mod:`clucert.evaluate.gold`). Without labels (open answers) it is the text after the last ``####``, or
    all of it, passed through ``normalise``, which returns None for what is no answer.

    Where the rows of ``limit`` leave open which numbering is meant, the labels of the rest of the file decide.

    A row without a label has None, unless ``need_labels``.

    Raises :class:`InputError` naming file and line for the first malformed row, unless ``source.skip_malformed``;
    also when a column is missing, when numbers are of no known meaning and when no example is left.
    """
    for name, count in (("limit", source.limit), ("sample", source.sample)):
        if count is not None and count < 1:
            raise InputError(f"{name} must be at least 1, not {count}")
    with open_table(
        source.path, format=source.format, quoted=source.quoted, header=source.header, encoding=source.encoding
    ) as table:
        columns = choose_columns(table, source, need_labels)
        names = table.class_names.get(columns.label or "", ())
        known = LabelNames(None if labels is None else tuple(labels), synonyms or {}, numberings, normalise)
        gold = GoldReader(known, source.label_map, names)
        loader = _Loader(source, columns, gold, need_labels)
        rows = table.read(columns.all)
        examples: Iterable[Example] = itertools.islice(loader.examples(rows), source.limit)
        chosen = tuple(examples if source.sample is None else _sample(examples, source.sample, source.seed))
        _settle(gold, rows, columns)
    if not chosen:
        left_out = f" ({len(loader.skipped)} malformed rows left out)" if loader.skipped else ""
        raise InputError(f"{source.path} holds no example{left_out}{table.hint}")
    read = tuple(e if e.label is None else replace(e, label=gold.decided(e.label)) for e in chosen)
    return Dataset(source, read, tuple(loader.skipped), dict(sorted(gold.used.items())))


def _settle(gold: GoldReader, rows: Iterator[Row | Malformed], columns: Columns) -> None:
    """Read on, past the limit, as long as the numbers seen may mean more than one thing."""
    if columns.label is None:
        return
    while gold.undecided and (row := next(rows, None)) is not None:
        if isinstance(row, Row):
            gold.look_at(row.values.get(columns.label))


@dataclass(slots=True)
class _Loader:
    source: DataSource
    columns: Columns
    gold: GoldReader
    need_labels: bool = True
    skipped: list[Problem] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict)

    def examples(self, rows: Iterable[Row | Malformed]) -> Iterator[Example]:
        """The good rows; the others are raised about or put into ``skipped``."""
        for row in rows:
            try:
                example = self._example(row)
            except BadRowError as error:
                where = self._where(row.line)
                if not self.source.skip_malformed:
                    raise InputError(f"{where}: {error} (--skip-malformed leaves such rows out)") from None
                self.skipped.append(Problem(where, str(error)))
            else:
                yield example

    def _example(self, row: Row | Malformed) -> Example:
        if isinstance(row, Malformed):
            raise BadRowError(row.problem)
        columns, values = self.columns, row.values
        text = _list_of(values, columns) if columns.lists else self._text_of(values, columns.text)
        label = None if columns.label is None else self._label(row, columns.label)
        extra = {name: values.get(column) for name, column in columns.extra.items()}
        example = Example(self._id(row), text, label, extra)
        if label is None and self.need_labels:
            raise BadRowError("no label" if columns.label in (None, *values) else f"no {columns.label!r}")
        return example

    def _text_of(self, values: Mapping[str, Any], column: str) -> str:
        """The text of a row; of a chat the content of its one message."""
        value = values.get(column)
        if column == MESSAGES and isinstance(value, str) and value.lstrip().startswith("["):
            with suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, list):
            value = _only_message(value)
        return self._read_as({**values, column: value} if column in values else values, column)

    def _read_as(self, values: Mapping[str, Any], column: str) -> str:
        try:
            return _text(values, column)
        except NotUtf8Error as error:
            raise BadRowError(f"{error}{encoding_hint(self.source.path)}") from None

    def _label(self, row: Row, column: str) -> str | None:
        """The gold label; None where there is none."""
        values = row.values
        value = values.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        written = self._read_as(values, column) if isinstance(value, str) else value
        return self.gold.read(written, self._where(row.line))

    def _id(self, row: Row) -> str:
        column = self.columns.id
        if column is None:
            return str(row.line)
        value = row.values.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise BadRowError(f"no usable {column!r}; --id-column '' numbers the rows instead")
        name = _text({column: str(value)}, column)
        if name in self._lines:
            raise BadRowError(f"{column} {name!r} was that of {self._where(self._lines[name])} already")
        self._lines[name] = row.line
        return name

    def _where(self, line: int) -> str:
        path = self.source.path
        by_row = path.startswith("hf:") or (self.source.format or Path(path).suffix.lower()) in ("parquet", ".parquet")
        return f"{path}: row {line}" if by_row else f"{path}:{line}"


class NotUtf8Error(BadRowError):
    """A cell holds bytes of another encoding."""


def _only_message(messages: Sequence[Any]) -> str:
    """The content of the one message of a chat. Raises :class:`BadRowError` for several, or a system's."""
    if len(messages) != 1 or not isinstance(messages[0], dict) or not isinstance(messages[0].get("content"), str):
        raise BadRowError(
            f"a chat of {len(messages)} messages is no single text: --method blocks --unit turn certifies its turns"
        )
    if messages[0].get("role", "user") in ("system", "developer"):
        raise BadRowError("a chat with nothing but a system prompt has no text")
    return str(messages[0]["content"])


def _list_of(values: Mapping[str, Any], columns: Columns) -> str:
    """The list and what is fixed, as JSON."""
    given = values.get(columns.text)
    fixed = {
        name: value for name, column in columns.fixed.items() if (value := values.get(column or "")) not in ("", None)
    }
    try:
        items = json_value(given, "it") if isinstance(given, str) else given
        parts = items if isinstance(items, dict) else {"passages": items}
        written = listed(json.dumps({**parts, **fixed}, ensure_ascii=False, default=str)).written()
    except (ValueError, InputError) as error:
        raise BadRowError(f"{columns.text!r} is no list of texts ({error})") from None
    return _text({columns.text: written}, columns.text)


def _text(values: Mapping[str, Any], column: str) -> str:
    if column not in values:
        raise BadRowError(f"no {column!r}")
    value = values[column]
    if value is None:
        raise BadRowError(f"{column!r} is missing")
    if not isinstance(value, str):
        raise BadRowError(f"{column!r} is a {type(value).__name__}, not a string")
    if not value.strip():
        raise BadRowError(f"{column!r} is empty")
    if "\x00" in value:
        raise BadRowError(f"{column!r} holds a NUL character")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise NotUtf8Error(f"{column!r} is not UTF-8")
    return value


def _sample(examples: Iterable[Example], size: int, seed: int) -> Iterator[Example]:
    """The ``size`` examples with the smallest random numbers, in the order of the file."""
    rng = np.random.default_rng(seed)
    numbered = ((rng.random(), place, example) for place, example in enumerate(examples))
    chosen = heapq.nsmallest(size, numbered, key=lambda n: n[:2])
    return (example for _, _, example in sorted(chosen, key=lambda n: n[1]))
