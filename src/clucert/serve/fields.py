"""Request fields that may reach the upstream, by API and provider: whatever is not on the list is refused. Pure.

Servers take hundreds of fields. ``grammar`` and ``guided_json`` make a model say what the client wrote, ``n_predict``
and ``min_tokens`` pass a cap, ``chat_template``, ``prompt`` and ``previous_response_id`` bring in text that nobody here
has read. So the list says what may pass, on every level of the request; what a server adds tomorrow is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clucert.errors import UsageError
from clucert.serve.http_errors import invalid

Api = Literal["chat", "vote", "responses", "completions", "embeddings"]
DEEPEST = 64
"""Levels of lists and objects in a request."""

_NO_TEXT = frozenset({"image_url", "input_audio"})
"""Fields that hold the data of images and sounds."""

Spec = Mapping[str, Any]
"""The fields of an object: None lets any value pass, a mapping is checked in turn (in each element of a list), and a
set, at ``type``, holds the kinds of objects that may pass. A pattern is that of settings: numbers, and words that it
matches. ``_WORD`` is for settings that some servers write into the
prompt: no other words than those that one of them knows, for others may say something to the model."""
_WORD = re.compile(
    "|none|minimal|low|medium|high|xhigh|max|default|auto|concise|detailed|text|audio|image|enabled|disabled|adaptive"
    "|parsed|raw|hidden"
)
_NUMBER = re.compile("(?!)")
"""Of settings that are numbers and switches: no word at all."""


def _any(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split())


def _words(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), _WORD)


def _numbers(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), _NUMBER)


_FUNCTION_TOOL = {"type": {"function"}, "function": _any("name description parameters strict")}
_CALL = {"type": {"function"}, **_any("id index"), "function": _any("name arguments")}
_PART = {
    "type": {"text", "refusal", "image_url", "input_audio"},
    **_any("text refusal"),
    "image_url": _any("url detail"),
}
_PART["input_audio"] = _any("data format")
_MESSAGE = {**_any("role name refusal tool_call_id"), "content": _PART, "tool_calls": _CALL}
_MESSAGE["function_call"] = _any("name arguments")
_FORMAT = {"type": {"text", "json_object", "json_schema"}, "json_schema": None}
_SAMPLING = {**_numbers("temperature top_p frequency_penalty presence_penalty seed n"), **_any("stop user")}
_STREAMING = {"stream": _NUMBER, "stream_options": _numbers("include_usage include_obfuscation")}

_CHAT: Spec = {
    **_SAMPLING,
    **_STREAMING,
    **_numbers("max_tokens max_completion_tokens parallel_tool_calls logprobs top_logprobs"),
    **_any("model safety_identifier prompt_cache_key functions"),
    **_words("reasoning_effort verbosity modalities"),
    "messages": _MESSAGE,
    "response_format": _FORMAT,
    "tools": _FUNCTION_TOOL,
    "tool_choice": {"type": {"function"}, "function": _any("name")},
    "function_call": _any("name"),
    "audio": _any("voice format"),
}
_VOTE: Spec = {**_CHAT, "response_format": {"type": {"text", "json_object"}}}
"""A schema dictates the answer, whose words are what a vote reads."""
_ITEM_PART = {"type": {"input_text", "output_text", "refusal", "input_image"}, **_any("text refusal image_url detail")}
_ITEM = {
    "type": {"message", "function_call", "function_call_output", "reasoning"},
    **_any("id role status call_id name arguments encrypted_content"),
    "content": {**_ITEM_PART, **_any("annotations logprobs")},
    "output": _ITEM_PART,
    "summary": {"type": {"summary_text"}, "text": None},
}
_RESPONSES: Spec = {
    **_STREAMING,
    **_numbers("temperature top_p top_logprobs max_output_tokens max_tool_calls parallel_tool_calls store"),
    **_any("model instructions include user safety_identifier prompt_cache_key"),
    "truncation": _WORD,
    "input": _ITEM,
    "text": {"verbosity": _WORD, "format": {**_FORMAT, **_any("name schema strict description")}},
    "reasoning": _words("effort summary"),
    "tools": {"type": {"function"}, **_any("name description parameters strict")},
    "tool_choice": {"type": {"function"}, "name": None},
}
_COMPLETIONS: Spec = {
    **_SAMPLING,
    **_STREAMING,
    **_any("model prompt"),
    **_numbers("max_tokens logprobs echo"),
}
_EMBEDDINGS: Spec = {**_any("model input user"), "encoding_format": re.compile("float|base64"), "dimensions": _NUMBER}
_APIS: Mapping[Api, Spec] = {"chat": _CHAT, "vote": _VOTE, "responses": _RESPONSES, "completions": _COMPLETIONS}
_APIS = {**_APIS, "embeddings": _EMBEDDINGS}

Provider = Literal[
    "openai", "azure", "ollama", "vllm", "llamacpp", "openrouter", "mistral", "deepseek", "groq", "together"
]
PROVIDERS: Mapping[Provider, frozenset[str]] = {
    "openai": frozenset(),
    "azure": frozenset(),
    "ollama": frozenset(),
    "vllm": frozenset({"top_k", "min_p", "repetition_penalty"}),
    "llamacpp": frozenset({"top_k", "min_p", "typical_p", "repeat_penalty"}),
    "openrouter": frozenset({"top_k", "top_a", "min_p", "repetition_penalty", "reasoning", "include_reasoning"}),
    "mistral": frozenset({"random_seed", "safe_prompt"}),
    "deepseek": frozenset({"thinking"}),
    "groq": frozenset({"reasoning_format", "include_reasoning"}),
    "together": frozenset({"top_k", "min_p", "repetition_penalty"}),
}
"""What each takes beside OpenAI's own fields that changes how it samples, not what it reads: numbers and ``_WORD``."""
_OBJECTS: Spec = {
    "reasoning": {**_words("effort summary"), **_any("max_tokens exclude enabled")},
    "thinking": {"type": _WORD, "budget_tokens": None},
}
"""Those of them that are objects."""
_EMPTY_ECHOES = frozenset({"messages.audio", "messages.annotations", "messages.reasoning_content"})
"""Fields of answers that clients send back as they got them: they pass while they are empty."""


@dataclass(frozen=True, slots=True)
class AllowedFields:
    """The fields that may pass: those of ``provider``, and ``more``, dotted from the top.

    ``grammar`` lets a field pass with whatever it holds, ``messages.reasoning_content`` one of each message, and
    ``tools.type.web_search`` one kind of tool. What is allowed by ``more`` is neither read nor capped.
    """

    provider: Provider = "openai"
    more: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, provider: Provider, more: Iterable[str]) -> AllowedFields:
        """Raises :class:`UsageError` for a name that no field can have."""
        names = frozenset(more)
        if wrong := next((name for name in sorted(names) if not all(name.split("."))), None):
            raise UsageError(f"--allow-field {wrong!r}: give a field, as in grammar or messages.reasoning_content")
        return cls(provider, names)

    def check(self, body: Mapping[str, Any], api: Api = "chat", *, but: Collection[str] = ()) -> None:
        """Raise :class:`Fault` (400) for the first field of ``body`` that may not pass, naming it.

        Fields of the top level in ``but`` pass whatever they are: the caller sees to them.
        """
        spec = {**_APIS[api], **{name: _OBJECTS.get(name, _WORD) for name in PROVIDERS[self.provider]}}
        self._check({name: value for name, value in body.items() if name not in but}, spec, "", "")

    def _check(self, value: Any, spec: Spec, path: str, where: str) -> None:
        """``path`` names a field as the list does, ``where`` says which element of which list it is in."""
        if isinstance(value, list):
            for i, each in enumerate(value):
                self._check(each, spec, path, f"{where}.{i}")
            return
        if not isinstance(value, dict):
            return
        for name, inner in value.items():
            self._check_field(name, inner, spec, (f"{path}.{name}".lstrip("."), f"{where}.{name}".lstrip(".")))

    def _check_field(self, name: str, value: Any, spec: Spec, at: tuple[str, str]) -> None:
        path, where = at
        if path in self.more or (path in _EMPTY_ECHOES and value in (None, "", [])):
            return
        if name not in spec:
            raise _refused(path, where)
        below = spec[name]
        if isinstance(below, set | frozenset):
            if not (isinstance(value, str) and (value in below or f"{path}.{value}" in self.more)):
                raise _refused(f"{path}.{value}" if isinstance(value, str) else path, where)
        elif isinstance(below, re.Pattern):
            if not all(_is_setting(each, below) for each in (value if isinstance(value, list) else [value])):
                known = ", ".join(filter(None, below.pattern.split("|")))
                wanted = "a number, true or false" if below is _NUMBER else f"a number or one of {known}"
                raise invalid(f"{path} must be {wanted}", param=where[:200])
        elif below is not None:
            if value is not None and not isinstance(value, dict) and _is_of_settings(below):
                raise invalid(f"{path} must be an object", param=where[:200])
            self._check(value, below, path, where)


def _is_of_settings(spec: Spec) -> bool:
    return any(isinstance(each, re.Pattern) for each in spec.values())


def _is_setting(value: Any, words: re.Pattern[str]) -> bool:
    return words.fullmatch(value) is not None if isinstance(value, str) else not isinstance(value, dict | list)


def _refused(path: str, where: str) -> Exception:
    shown = path[:80]
    message = f"{shown} is not let through to the upstream (the operator can, with --allow-field {shown})"
    return invalid(message, "unsupported_parameter", where[:200])


def strict_json(body: bytes) -> Any:
    """What ``body`` says to every parser alike. Raises :class:`Fault` (400) where parsers differ or it is no JSON.

    Of two fields with one name some servers read the first and some the last; NaN and a byte order mark are JSON to
    some. A request that goes on as it came must mean the same there as here.
    """
    if not body.strip():
        raise invalid("the body is empty: send a JSON object", "invalid_json")
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        why = f"not UTF-8 (byte {error.start + 1:,}): send UTF-8, not compressed"
    except json.JSONDecodeError as error:
        why = f"not JSON ({_FAULTS.get(error.msg, error.msg)}, character {error.pos + 1:,})"
    except _AmbiguousError as error:
        why = f"not the same JSON to every parser ({error})"
    except ValueError:
        why = "not the same JSON to every parser (a number of thousands of digits)"
    except RecursionError:
        why = "nested too deeply"
    raise invalid(f"the body is {why}", "invalid_json")


_FAULTS = {
    "Invalid control character at": "a control character as it is: write \\u0000, \\n, …",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "it begins with a byte order mark",
    "Extra data": "something follows its end",
}
"""Of the parser's words those that say nothing to who has not written it."""


class _AmbiguousError(Exception):
    """What some parsers take, each in its own way."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _AmbiguousError(f"the field {twice[:40]!r} is named twice")
    return found


def _finite(number: str) -> float:
    if math.isinf(float(number)):
        raise _AmbiguousError("a number is too large")
    return float(number)


def _no_constant(name: str) -> None:
    raise _AmbiguousError(f"{name} is a number to some")


def check_size(body: Any, most_characters: int, most_objects: int) -> None:
    """Raise :class:`Fault` (400, 413) for a body that is nested too deeply, or that says too much to be read.

    A number says its digits, and whatever is there takes a character at least: a million of them is work, too. What is
    not text (the data of images and sounds) is not counted as such.
    """
    characters = objects = 0
    level = [("", body)]
    for _ in range(DEEPEST):
        objects += sum(isinstance(each, dict) for _, each in level)
        characters += sum(_characters(name, each) for name, each in level)
        characters += sum(len(name) for _, each in level if isinstance(each, dict) for name in each)
        if characters > most_characters:
            raise _too_long(f"more than {most_characters:,} characters")
        if objects > most_objects:
            raise _too_long(f"more than {most_objects:,} objects (messages, parts, tools)")
        level = [inner for name, each in level for inner in _inside(name, each)]
        if not level:
            return
    raise invalid(f"the request has more than {DEEPEST} levels", "invalid_json")


def _characters(name: str, value: Any) -> int:
    if isinstance(value, str):
        return len(value) or 1 if name not in _NO_TEXT else 1
    return len(str(value)) if isinstance(value, int | float) else 1


def _too_long(what: str) -> Exception:
    return invalid(f"the request has {what}", "request_too_large", status=413)


def _inside(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What is in ``value``, each with the name of the nearest field that decides whether it is text."""
    if isinstance(value, dict):
        return value.items() if name not in _NO_TEXT else ((name, inner) for inner in value.values())
    return ((name, inner) for inner in value) if isinstance(value, list) else ()
