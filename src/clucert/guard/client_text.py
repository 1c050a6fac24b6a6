"""What a request says that its client controls: the text a gate reads, and what it cannot read.

Read is every string of a message, its text parts, names and arguments, except identifiers and the names of kinds. So a
part that a server adds tomorrow is read like any other, and what is no text (images, sounds, files) is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clucert.errors import InputError
from clucert.types import Who

Api = Literal["chat", "responses", "completions", "embeddings"]

_WHO: Mapping[str, Who] = {
    "user": "user",
    "tool": "tool",
    "function": "tool",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_ITEMS: Mapping[str, Who] = {"function_call": "assistant", "reasoning": "assistant"}
"""Items of ``/v1/responses`` without a role; all others are results."""
_OPAQUE = ("image_url", "input_audio", "audio", "file", "file_id", "file_data", "video_url", "encrypted_content")
"""Fields that hold what is no text."""
_IDENTIFIERS = ("id", "call_id", "tool_call_id")
_KINDS = ("role", "type", "status", "detail", "format", "index")
_DEFINED = ("instructions", "tools", "functions", "tool_choice", "function_call", "response_format", "text")
"""Top-level fields of a request that hold text of the application's own."""
_SCHEMA = frozenset(
    {
        "type",
        "function",
        "name",
        "description",
        "parameters",
        "strict",
        "properties",
        "required",
        "items",
        "enum",
        "const",
        "title",
        "default",
        "format",
        "anyOf",
        "allOf",
        "oneOf",
        "additionalProperties",
        "schema",
        "json_schema",
        "verbosity",
    }
)
"""Names in a definition that are not the application's."""
_TYPES = frozenset(
    ("function", "text", "json_object", "json_schema", "object", "array", "string", "number", "integer", "boolean")
)
_IDENTIFIER = re.compile(r"\S{0,256}")


@dataclass(frozen=True, slots=True)
class Said:
    """The text of one message."""

    where: str
    """Its place in the request, as ``messages.2``."""
    text: str
    """Its parts, joined by line breaks."""
    glued: str | None = None
    """Its parts with nothing between them, as some servers join them; None where it has one."""


@dataclass(frozen=True, slots=True)
class ClientText:
    """What is read of a request, in its order; and how many parts of each kind cannot be."""

    said: tuple[Said, ...]
    unread: Mapping[str, int] = field(default_factory=dict)


def client_text(fields: Mapping[str, Any], api: Api, read: Collection[Who] = ("user", "tool")) -> ClientText:
    """The text of a request that ``read`` may have written.

    Raises :class:`InputError` for text that is given in a form that cannot be read: token numbers, a message that is
    none, an identifier with blanks in it.
    """
    unread: Counter[str] = Counter()
    said = []
    for where, who, value in _parts(fields, api):
        if who not in read:
            continue
        parts = list(_defined(value) if where in _DEFINED else _strings(value, where, unread))
        if any(map(str.strip, parts)):
            said.append(Said(where, "\n".join(parts), "".join(parts) if len(parts) > 1 else None))
    return ClientText(tuple(said), dict(unread))


def _parts(fields: Mapping[str, Any], api: Api) -> Iterator[tuple[str, Who, Any]]:
    """Where, whose, and what."""
    for name in _DEFINED:
        if fields.get(name) is not None:
            yield name, "system", fields[name]
    match api:
        case "chat":
            yield from _messages(fields.get("messages"), "messages")
        case "responses" if not isinstance(fields.get("input"), str):
            yield from _messages(fields.get("input"), "input")
        case "completions":
            yield from _texts(fields.get("prompt"), "prompt")
        case _:
            yield from _texts(fields.get("input"), "input")


def _messages(items: Any, field_name: str) -> Iterator[tuple[str, Who, Any]]:
    if not isinstance(items, list) or not items:
        raise InputError(f"{field_name} must be a list of messages")
    for i, item in enumerate(items):
        where = f"{field_name}.{i}"
        if not isinstance(item, dict):
            raise InputError(f"{where} is no message")
        role = item.get("role")
        if field_name == "input" and item.get("type", "message") != "message":
            # Servers go by the kind: a role here would be one that nobody but this gate believes.
            if role is not None:
                raise InputError(f"{where}.role: only messages have a role")
            yield where, _ITEMS.get(str(item["type"]), "tool"), item
        elif isinstance(role, str) and role in _WHO:
            yield where, _WHO[role], item
        else:
            raise InputError(f"{where}.role must be one of {', '.join(_WHO)}")


def _texts(value: Any, name: str) -> Iterator[tuple[str, Who, Any]]:
    """One text, or a list of texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{name} must be a text or a list of texts: token numbers cannot be read")
    for i, text in enumerate(texts):
        yield name if isinstance(value, str) else f"{name}.{i}", "user", text


def _strings(value: Any, where: str, unread: Counter[str]) -> Iterator[str]:
    """Every text in ``value``, in order, iteratively deep as JSON may be; what is no text is counted in ``unread``."""
    match value:
        case str():
            yield value
        case list():
            for i, each in enumerate(value):
                yield from _strings(each, f"{where}.{i}", unread)
        case dict():
            for name, each in value.items():
                yield from _of_field(name, each, where, unread)
        case bool() | None:
            return
        case _:
            yield str(value)


def _defined(value: Any) -> Iterator[str]:
    """Every text of a definition, the names of fields among them: models are shown all of it."""
    match value:
        case dict():
            for name, each in value.items():
                if name not in _SCHEMA:
                    yield name
                if not (name == "type" and isinstance(each, str) and each in _TYPES):
                    yield from _defined(each)
        case list():
            for each in value:
                yield from _defined(each)
        case str():
            yield value
        case int() | float() if not isinstance(value, bool):
            yield str(value)


def _of_field(name: str, value: Any, where: str, unread: Counter[str]) -> Iterator[str]:
    if name in _OPAQUE:
        unread[name] += value is not None
    elif name in _IDENTIFIERS:
        if not (value is None or (isinstance(value, str) and _IDENTIFIER.fullmatch(value))):
            raise InputError(f"{where}.{name} is no identifier: give at most 256 characters without blanks")
    elif name not in _KINDS or not isinstance(value, str | int | None):
        yield from _strings(value, f"{where}.{name}", unread)
