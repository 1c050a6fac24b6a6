"""What a request says that its client controls: the text a gate reads, and what it cannot read.

Read is every string of a message: its text parts, names and arguments, kinds that nobody knows, the names of unknown
fields. So a part that a server adds tomorrow is read like any other. Identifiers are held to a shape, and handed on for
what they spell. What is no text (images, sounds, files), and what is not to be read, is counted.
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
_KINDS = ("role", "type", "status", "detail", "format", "index", "verbosity")
_DEFINED: Mapping[str, str] = {
    "instructions": "system",
    "tools": "tools",
    "functions": "tools",
    "tool_choice": "tool_choice",
    "function_call": "tool_choice",
    "response_format": "schema",
    "text": "schema",
}
"""Top-level fields of a request that hold text of the application's own, and as what they count where nobody reads
them."""
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
_KNOWN_KINDS = re.compile(
    "user|tool|function|assistant|system|developer|message|function_call|function_call_output|reasoning"
    "|text|refusal|image_url|input_audio|input_text|output_text|input_image|input_file|file|summary_text|reasoning_text"
    "|auto|none|required|low|medium|high|original|wav|mp3|in_progress|completed|incomplete|ephemeral|url_citation"
)
"""Names of kinds that say nothing; whatever else stands in their place is read."""
_KNOWN_FIELDS = re.compile(
    "role|name|content|type|text|refusal|tool_calls|tool_call_id|function_call|id|index|function|arguments|url|detail"
    "|image_url|input_audio|data|format|audio|file|output|summary|status|call_id|encrypted_content|annotations|logprobs"
    "|reasoning_content|cache_control|title|start_index|end_index|url_citation"
)
"""Names of fields that say nothing; the names of others are read."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{0,64}")
_SIGNATURE = re.compile(r"[A-Za-z0-9_.:+/=-]*")
"""Of identifiers that carry data, such as the thought signatures that LiteLLM hands on for Gemini."""


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
    """Images, sounds and files in what is read, and long identifiers, by kind."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What is not to be read: messages by whose they are, ``tools``, ``tool_choice``, ``schema``."""
    identifiers: tuple[str, ...] = ()
    """Those of what is read, in its order: letters, digits and ``_ . : -``, at most 64."""


@dataclass(frozen=True, slots=True)
class _Aside:
    """What is met beside texts."""

    unread: Counter[str] = field(default_factory=Counter)
    identifiers: list[str] = field(default_factory=list)
    signatures: bool = False
    """Whether identifiers may be long, and in Base64."""


def client_text(
    fields: Mapping[str, Any],
    api: Api,
    read: Collection[Who] = ("user", "tool"),
    *,
    unread_identifiers: bool = False,
) -> ClientText:
    """The text of a request that ``read`` may have written.

    With ``unread_identifiers`` longer ones, also with ``+ / =`` in them, count as ``unread``. Raises
    :class:`InputError` for text that is given in a form that cannot be read: token numbers, a message that is none, any
    other identifier.
    """
    aside, left_out = _Aside(signatures=unread_identifiers), Counter[str]()
    said = []
    for where, who, value in _parts(fields, api):
        if who not in read:
            left_out[_DEFINED.get(where, who)] += _count(value) if where in _DEFINED else 1
            continue
        parts = list(_defined(value) if where in _DEFINED else _strings(value, where, aside))
        if any(map(str.strip, parts)):
            said.append(Said(where, "\n".join(parts), "".join(parts) if len(parts) > 1 else None))
    return ClientText(tuple(said), dict(+aside.unread), dict(+left_out), tuple(aside.identifiers))


def _count(value: Any) -> int:
    """Definitions that say something: of a list its elements."""
    return sum(any(map(str.strip, _defined(each))) for each in (value if isinstance(value, list) else [value]))


def _parts(fields: Mapping[str, Any], api: Api) -> Iterator[tuple[str, Who, Any]]:
    """Where, whose, and what."""
    for name in _DEFINED:
        value = fields.get(name)
        if value is not None and not _is_known(value):
            yield name, "system", value
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


def _strings(value: Any, where: str, aside: _Aside) -> Iterator[str]:
    """Every text in ``value``, in order, iteratively deep as JSON may be; what is no text goes ``aside``."""
    match value:
        case str():
            yield value
        case list():
            for i, each in enumerate(value):
                yield from _strings(each, f"{where}.{i}", aside)
        case dict():
            for name, each in value.items():
                if name not in _OPAQUE and not _KNOWN_FIELDS.fullmatch(name):
                    yield name
                yield from _of_field(name, each, where, aside)
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
                if not (name in _KINDS and (_is_known(each) or (isinstance(each, str) and each in _TYPES))):
                    yield from _defined(each)
        case list():
            for each in value:
                yield from _defined(each)
        case str():
            yield value
        case int() | float() if not isinstance(value, bool):
            yield str(value)


def _of_field(name: str, value: Any, where: str, aside: _Aside) -> Iterator[str]:
    if name in _OPAQUE:
        aside.unread[name] += value is not None
    elif name in _IDENTIFIERS:
        if value is None:
            return
        _identifier(value, f"{where}.{name}", aside)
    elif not (name in _KINDS and (value is None or isinstance(value, int) or _is_known(value))):
        yield from _strings(value, f"{where}.{name}", aside)


def _identifier(value: Any, where: str, aside: _Aside) -> None:
    if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
        aside.identifiers.append(value)
        return
    signature = isinstance(value, str) and _SIGNATURE.fullmatch(value)
    if not (signature and aside.signatures):
        more = " (the operator can let longer ones pass, with --unread pass)" if signature else ""
        raise InputError(f"{where} is no identifier: give at most 64 letters, digits and _ . : -{more}")
    aside.unread["identifier"] += 1


def _is_known(value: Any) -> bool:
    return isinstance(value, str) and _KNOWN_KINDS.fullmatch(value) is not None
