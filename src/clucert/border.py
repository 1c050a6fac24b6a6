"""Files that others have made, at the border: read with limits, and refused in one line that says where and why.

The only place that parses YAML and JSON of files. Nothing that a file holds makes this slow, large or recursive: sizes,
depths, aliases and digits are bounded before anything is made of them, and no message repeats more than some words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from clucert.errors import InputError, shortened

MAX_TEXT = 1_000_000
"""Bytes of a text file that people write: YAML, a prompt."""
MAX_JSON = 1 << 28
"""Bytes of one JSON document."""
MAX_DEPTH = 50
"""Collections within one another in YAML; JSON may have the 200 of its parser."""
MAX_NODES = 100_000
"""Values of a YAML file, what an alias stands for counted each time."""

MAX_DIGITS = 4000
"""Digits of a whole number of YAML; JSON may have the 4,300 of its parser."""

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of ``path``. Raises :class:`InputError` when it cannot be read, or has more than ``most`` bytes."""
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most:
        raise InputError(f"{path} is larger than {most:,} bytes, the most that is read of such a file")
    return content


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """The text of ``path``: UTF-8, with or without a byte order mark, any line ends. Raises :class:`InputError`."""
    content = read_bytes(path, most)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Fields(NamedTuple):
    """The fields of a YAML file, and the line of each."""

    values: dict[str, Any]
    lines: dict[str, int]


def yaml_fields(source: str, origin: str) -> Fields:
    """The fields of a YAML document; those of an empty one are none. Keys are read as they are written.

    Raises :class:`InputError`, naming ``origin`` and the line, for what is not YAML, no fields, a field that is there
    twice, more than one document, and what goes beyond :data:`MAX_DEPTH` or :data:`MAX_NODES`.
    """
    try:
        loader = _Loader(source)
        node = loader.get_single_node()
        if node is None:
            return Fields({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise InputError(f"{origin}: the file must hold fields such as  task: sst2")
        lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
        return Fields(loader.construct_document(node), lines)
    except _RefusedError as error:
        raise InputError(f"{origin}{_line(error)}: {error.problem}") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise InputError(f"{origin}{_line(error)}: this is not YAML: {shortened(str(problem))}") from None
    except _NOT_YAML as error:
        # What PyYAML does not catch itself, such as a code point that no character has.
        raise InputError(f"{origin}: this is not YAML: {shortened(str(error))}") from None


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def yaml_model(model: type[M], source: str, origin: str) -> M:
    """The ``model`` that a YAML document describes. Raises :class:`InputError`, naming ``origin`` and the field."""
    try:
        return model.model_validate(yaml_fields(source, origin).values)
    except ValidationError as error:
        raise InputError(f"{origin}: {first_problem(error)}") from None


def json_value(source: bytes | str, origin: str) -> Any:
    """What a JSON document holds. Raises :class:`InputError`, naming ``origin``, for what is not JSON or too large."""
    _check_size(source, origin)
    try:
        return from_json(source)
    except ValueError as error:
        raise InputError(f"{origin} is not JSON: {shortened(str(error))}") from None


def json_model(model: type[M], source: bytes | str, before: str, after: str = "") -> M:
    """The ``model`` that a JSON document holds.

    Raises :class:`InputError` with the first field that is wrong between ``before`` and ``after``.
    """
    _check_size(source, before)
    try:
        return model.model_validate_json(source)
    except ValidationError as error:
        raise InputError(f"{before}{first_problem(error)}{after}") from None


def json_fields(validate: Callable[..., T], fields: Mapping[str, Any], before: str) -> T:
    """What ``validate``, pydantic's reader of JSON, makes of fields of a document that is parsed already.

    As JSON, strictly: there a tuple is a list, a fraction a string, and a string is never a number. Raises
    :class:`InputError` with the first field that is wrong behind ``before``.
    """
    try:
        return validate(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise InputError(f"{before}{first_problem(error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{before}{shortened(str(error))}") from None


def first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and why."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = shortened(".".join(map(str, first["loc"])))
    return ": ".join(filter(None, [where, shortened(first["msg"].removeprefix("Value error, "))]))


def _check_size(source: bytes | str, origin: str) -> None:
    if len(source) > MAX_JSON:
        raise InputError(f"{origin} is larger than {MAX_JSON:,} bytes, the most that is read of such a document")


_NOT_YAML = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What PyYAML lets through of its own: of ``!!int abc``, and of an escape for what is no character."""


class _Loader(yaml.SafeLoader):
    """Safe YAML of bounded depth and size, with the types of JSON, and keys that are what is written, each once."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count what is made, so that neither depth nor aliases grow without end."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._nodes
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _problem(f"more than {MAX_DEPTH} levels within one another", event)
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = self._nodes - before
        elif id(node) in self._sizes:
            self._nodes += self._sizes[id(node)]
        else:
            raise _problem("an alias stands within what it stands for", event)
        if self._nodes > MAX_NODES:
            raise _problem(f"more than {MAX_NODES:,} values, aliases counted each time", event)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        """A scalar that can be written again."""
        node = super().compose_scalar_node(anchor)
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            raise _problem("half of a surrogate pair is no character", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping whose keys are words, each there once."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem("a key must be a word", key)
            if key.value in first:
                raise _problem(f"{shortened(key.value)!r} is there twice (first in line {first[key.value]})", key)
            first[key.value] = key.start_mark.line + 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping by its keys as they are written."""
        if not isinstance(node, yaml.MappingNode):
            raise _problem("fields are wanted here", node)
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """What a node stands for; what its tag does not allow, such as ``!!int abc``, is refused with its line."""
        try:
            return super().construct_object(node, deep=deep)
        except _NOT_YAML as error:
            raise _problem(f"this is not YAML: {shortened(str(error))}", node) from None

    def construct_yaml_int(self, node: Any) -> int:
        """A decimal number of at most :data:`MAX_DIGITS` digits."""
        written = self.construct_scalar(node)
        if len(written) > MAX_DIGITS:
            raise _problem(f"a number of more than {MAX_DIGITS:,} digits", node)
        return int(written)


class _RefusedError(yaml.MarkedYAMLError):
    """It is YAML, and more than is taken."""


def _problem(what: str, place: Any) -> _RefusedError:
    return _RefusedError(problem=what, problem_mark=place.start_mark)


_SCALARS = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": ("true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": ("[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+0123456789.")),
    "merge": ("<<", ["<"]),
}
"""What is no word, as in YAML 1.2: a label may be ``yes``, ``010``, ``12:30`` or ``2026-01-01``."""
_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
_TAGS = [None, *(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map"))]
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in _TAGS}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
