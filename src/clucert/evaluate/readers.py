"""Rows of CSV, TSV, JSON Lines, Parquet and hub data sets, one at a time, each with the line it stands on."""

from __future__ import annotations

import codecs
import csv
import gzip
import importlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

from clucert.errors import InputError, MissingExtraError

Format = Literal["csv", "tsv", "jsonl", "parquet"]

_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_PEEKED_ROWS = 50
"""JSON objects looked at to learn the columns: later ones may have others, which nobody can ask for by default."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``line`` is where it begins in a text file, counted from 1; in other formats the number of the row."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that cannot be used, and why."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True)
class Table:
    """An open file: its columns, and a reader of the rows that yields (at least) the columns asked for."""

    columns: tuple[str, ...]
    read: Callable[[Sequence[str]], Iterator[Row | Malformed]]
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of integer classes by column, where the file declares them."""
    hint: str = ""
    """What may be wrong when a column is missing."""


@contextmanager
def open_table(
    path: str,
    *,
    format: Format | None = None,  # noqa: A002
    quoted: bool | None = None,
    header: bool = True,
    encoding: str | None = None,
) -> Iterator[Table]:
    """Open a file (``.gz`` too) or ``hf:NAME[:CONFIG][@SPLIT]``; rows are read as they are asked for.

    ``quoted=False`` reads CSV and TSV without quoting, as GLUE's files are written; by default they are read with it,
    and in TSV a row that could be meant either way is malformed. ``header=False`` calls the columns 1, 2, …; so is a
    column called that the header has no name for. ``encoding`` is that of text, UTF-8 by default. Raises
    :class:`InputError` when the file is missing, in another encoding or not of the format, and
    :class:`MissingExtraError` when its reader is not installed.
    """
    if path.startswith("hf:"):
        yield _hub_table(path)
        return
    file = Path(path).expanduser()
    if file.is_dir():
        raise InputError(f"{path} is a folder: name a file in it, or a data set of the hub's library as hf:{path}")
    kind = format or _format_of(file)
    try:
        if kind == "parquet":
            yield _parquet_table(file)
            return
        with _open_text(file, encoding) as stream:
            yield _jsonl_table(stream) if kind == "jsonl" else _csv_table(stream, kind, path, quoted, header=header)
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except UnicodeError as error:
        raise InputError(f"{path} is not {encoding or 'UTF-8'}: {error}{encoding_hint(path)}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _format_of(file: Path) -> Format:
    suffixes = [s.lower() for s in file.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise InputError(
            f"{file} has no known ending: name its format with --format, one of csv, tsv, jsonl, parquet "
            f"(known endings: {', '.join(_SUFFIXES)}, each also with .gz)"
        )
    return kind


@contextmanager
def _open_text(file: Path, encoding: str | None) -> Iterator[IO[str]]:
    opener = _opener(file)
    with opener(file, "rb") as raw:
        if encoding is None and raw.read(2) in _WIDE_MARKS:
            raise InputError(f"{file} is UTF-16: --encoding utf-16 reads it")
    # Bytes that are not UTF-8 become unpaired surrogates here, so that the row that holds them can be named.
    errors = "surrogateescape" if encoding is None else "strict"
    with opener(file, "rt", encoding=_checked(encoding), errors=errors, newline="") as stream:
        yield stream


def _opener(file: Path) -> Any:
    return gzip.open if file.suffix.lower() == ".gz" else open


def _checked(encoding: str | None) -> str:
    """The codec's name. Raises :class:`InputError` for what is no encoding of text."""
    try:
        name = codecs.lookup(encoding or "utf-8-sig").name
        "".encode(name)  # Other codecs turn bytes into bytes.
    except (LookupError, ValueError):
        raise InputError(f"--encoding {encoding}: no such encoding: try utf-8, latin-1, cp1252 or utf-16") from None
    return "utf-8-sig" if name == "utf-8" else name


_LOOKED_AT = 1 << 26
"""Bytes that are looked at to tell the encoding of a file."""
ENCODINGS = ("cp1252", "latin-1")
"""What files that are not UTF-8 mostly are; the second can be read from any bytes."""


@lru_cache(maxsize=8)  # Of a file with many such rows it is read once.
def encoding_hint(path: str) -> str:
    """The flag that reads a file that is not UTF-8, for the end of a message."""
    try:
        with _opener(Path(path).expanduser())(Path(path).expanduser(), "rb") as raw:
            content = raw.read(_LOOKED_AT)
    except (OSError, EOFError, zlib.error):
        return ""
    for name in ("utf-8", *ENCODINGS):
        try:
            content.decode(name)
        except UnicodeDecodeError:
            continue
        return f": --encoding {name} reads it"
    return ""


_LONGEST = 2**31 - 1
"""Characters of a cell: the most that a C long holds everywhere."""


def _csv_table(stream: IO[str], kind: Format, path: str, quoted: bool | None, *, header: bool) -> Table:
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(
        stream,
        delimiter="\t" if kind == "tsv" else ",",
        quoting=csv.QUOTE_NONE if quoted is False else csv.QUOTE_MINIMAL,
        strict=True,
    )
    lines = _csv_lines(reader)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path} is empty: its first line must name the columns")
    if isinstance(first, Malformed):
        raise InputError(f"{path}:{first.line}: the header is malformed: {first.problem}")
    columns = tuple((cell.strip() if header else "") or str(i) for i, cell in enumerate(first[1], 1))
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise InputError(f"{path}: the header names {', '.join(map(repr, twice))} twice")
    found = [name for mark, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas")) if mark in columns[0]]
    hint = f"; the file seems to be separated by {found[0]}" if len(columns) == 1 and found else ""
    if header:
        hint += "; where the first line is a row already: --no-header"
    left = lines if header else itertools.chain([first], lines)

    def read(wanted: Sequence[str]) -> Iterator[Row | Malformed]:
        return _csv_rows(left, columns, wanted, refuse_ambiguous=kind == "tsv" and quoted is None)

    return Table(columns, read, hint=hint)


def _csv_lines(reader: Any) -> Iterator[tuple[int, list[str]] | Malformed]:
    """The cells of each row that is not empty, and the line that it begins at."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            to = f" (read up to line {reader.line_num}; is a quote left open?)" if reader.line_num > line else ""
            yield Malformed(line, f"{error}{to}")
            continue
        if cells:
            yield line, cells


def _csv_rows(
    lines: Iterable[tuple[int, list[str]] | Malformed],
    columns: tuple[str, ...],
    wanted: Sequence[str],
    *,
    refuse_ambiguous: bool,
) -> Iterator[Row | Malformed]:
    places = [(name, columns.index(name)) for name in wanted]
    for each in lines:
        if isinstance(each, Malformed):
            yield each
            continue
        line, cells = each
        if len(cells) != len(columns):
            yield Malformed(line, f"{len(cells)} fields where the header names {len(columns)}")
            continue
        if refuse_ambiguous and _reads_as_several_rows(cells):
            yield Malformed(
                line, "a quote that may or may not span lines: say with --quoted or --no-quoted which it is"
            )
            continue
        yield Row(line, {name: cells[place] for name, place in places})


def _reads_as_several_rows(cells: Sequence[str]) -> bool:
    """Whether, without quoting, each of this row's lines would be a row: GLUE's TSV has texts that begin with one."""
    lines = "\t".join(cells).splitlines()
    return len(lines) > 1 and all(line.count("\t") == len(cells) - 1 for line in lines)


def _jsonl_table(stream: IO[str]) -> Table:
    rows = _jsonl_rows(stream)
    peeked = list(itertools.islice(rows, _PEEKED_ROWS))
    columns = dict.fromkeys(name for row in peeked if isinstance(row, Row) for name in row.values)
    array = any(isinstance(row, Malformed) and row.line == 1 and "array" in row.problem for row in peeked)
    hint = "; the file is one JSON array: write one object a line instead" if array else ""
    return Table(tuple(columns), lambda _: itertools.chain(peeked, rows), hint=hint)


def _jsonl_rows(stream: IO[str]) -> Iterator[Row | Malformed]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = (
                "part of a JSON array: write one object a line instead"
                if number == 1 and line.lstrip().startswith("[")
                else f"no JSON: {error}"
            )
            yield Malformed(number, what)
            continue
        if isinstance(value, dict):
            yield Row(number, value)
        else:
            what = "array" if isinstance(value, list) else type(value).__name__
            yield Malformed(number, f"a JSON {what} where an object is wanted")


def _parquet_table(file: Path) -> Table:
    parquet = _optional("pyarrow.parquet", "the Parquet reader (pyarrow)", "parquet")
    try:
        opened = parquet.ParquetFile(file)
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise InputError(f"{file} is not a Parquet file: {_first_line(error)}") from None
    schema = opened.schema_arrow

    def read(wanted: Sequence[str]) -> Iterator[Row | Malformed]:
        number = 0
        try:
            for batch in opened.iter_batches(batch_size=1024, columns=list(wanted)):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(number, values)
        except ValueError as error:
            raise InputError(f"{file}: damaged after row {number}: {_first_line(error)}") from None
        finally:
            opened.close()

    return Table(tuple(schema.names), read, _parquet_class_names(schema.metadata or {}))


def _parquet_class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Class names as the hub's library writes them into a Parquet file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: tuple(f["names"]) for name, f in features.items() if f.get("_type") == "ClassLabel"}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _hub_table(spec: str) -> Table:
    library = _optional("datasets", "the hub's library (datasets)", "hub")
    rest, _, split = spec.removeprefix("hf:").partition("@")
    name, _, config = rest.partition(":")
    try:
        if (Path(name) / "state.json").exists() or (Path(name) / "dataset_dict.json").exists():
            found = library.load_from_disk(name)
        else:
            found = library.load_dataset(name, config or None, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{spec} cannot be loaded: {_first_line(error)}") from None
    data = _pick_split(found, split, spec)
    features = data.features
    if features is None:
        data = data._resolve_features()  # only the first rows tell the columns of some streamed sets
        features = data.features
    names = {column: tuple(f.names) for column, f in features.items() if hasattr(f, "names")}

    def read(wanted: Sequence[str]) -> Iterator[Row | Malformed]:
        number = 0
        try:
            for number, values in enumerate(data.select_columns(list(wanted)), 1):
                yield Row(number, values)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{spec} cannot be read after row {number}: {_first_line(error)}") from None

    return Table(tuple(features), read, names)


def _pick_split(found: Any, split: str, spec: str) -> Any:
    if not isinstance(found, dict):
        return found
    if not split and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        which = f"no split {split!r}" if split else "several splits"
        raise InputError(f"{spec} has {which}: write {spec.partition('@')[0]}@SPLIT, one of {', '.join(found)}")
    return found[split]


def _optional(module: str, what: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(what, f'pip install "clucert[{extra}]"') from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
