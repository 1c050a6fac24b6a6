"""Whatever string of a request a client writes its text into, it is read, refused, or told as left out."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")

from clucert.errors import InputError
from clucert.guard.client_text import ClientText
from clucert.guard.spelled import words_in
from clucert.serve.fields import PROVIDERS, AllowedFields
from clucert.serve.gate import read_gated
from clucert.serve.http_errors import Fault
from clucert.serve.options import GateOptions, ServeOptions
from clucert.types import Who

EVERYBODY: tuple[Who, ...] = ("user", "tool", "system", "assistant")
UNSHOWN = re.compile("model|stop|user|safety_identifier|prompt_cache_key|include|audio")
"""Fields of the top level that no model is shown."""

TOOL: Any = {"name": "f", "description": "d", "strict": True, "parameters": {"type": "object", "properties": {"p": {}}}}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
CALL: Any = {"id": "c1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}
SAMPLING: Any = {"temperature": 1, "stop": ["x"], "seed": 1, "n": 1, "user": "u", "top_p": 1, "logprobs": True}
SAMPLING |= {"max_tokens": 9, "stream": True, "stream_options": {"include_usage": True}}
REQUESTS: dict[str, Any] = {
    "/v1/chat/completions": {
        **SAMPLING,
        **{"reasoning_effort": "low", "verbosity": "low", "modalities": ["text"], "prompt_cache_key": "k"},
        "audio": {"voice": "alloy", "format": "wav"},
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "name": "n", "content": [{"type": "text", "text": "t"}], "refusal": "r"},
            {
                "role": "assistant",
                "content": "a",
                "tool_calls": [CALL],
                "function_call": {"name": "f", "arguments": ""},
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
        ],
        **{"tools": [{"type": "function", "function": TOOL}], "functions": [TOOL], "response_format": FORMAT},
        **{"tool_choice": {"type": "function", "function": {"name": "f"}}, "function_call": {"name": "f"}},
    },
    "/v1/responses": {
        **{"instructions": "i", "reasoning": {"effort": "low", "summary": "auto"}, "include": ["x"], "user": "u"},
        **{"store": False, "truncation": "auto", "parallel_tool_calls": True, "max_output_tokens": 9},
        "input": [
            {"role": "user", "content": "u"},
            {
                **{"type": "message", "id": "m1", "status": "completed", "role": "assistant"},
                "content": [
                    {"type": "output_text", "text": "t", "annotations": [{"type": "url_citation", "url": "u"}]}
                ],
            },
            {
                "type": "function_call",
                "id": "f1",
                "call_id": "c",
                "name": "f",
                "arguments": "{}",
                "status": "completed",
            },
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o"}]},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "s"}]},
        ],
        **{"tools": [{"type": "function", **TOOL}], "tool_choice": {"type": "function", "name": "f"}},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "s", "schema": {}, "description": "d"}},
    },
    "/v1/completions": {**SAMPLING, "prompt": ["a", "b"], "echo": True},
    "/v1/embeddings": {"input": ["a"], "user": "u", "encoding_format": "base64", "dimensions": 3},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to everything in ``value`` that is no object or list, and to every object, for a field more."""
    if isinstance(value, dict):
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*path, name))
    if not isinstance(value, dict | list):
        yield path


def written(body: Any, path: tuple[Any, ...], said: Any) -> Iterator[Any]:
    """``body`` with ``said`` in this place, and as the name of a field more of an object."""
    for as_name in (False, True):
        found = copy.deepcopy(body)
        at = found
        for name in path[:-1]:
            at = at[name]
        if not as_name:
            at[path[-1]] = said
        elif isinstance(at[path[-1]], dict) and isinstance(said, str):
            at[path[-1]][said] = 1
        else:
            return
        yield found


def read_of(path: str, body: Any, who: tuple[Who, ...], provider: Any = "openai") -> ClientText | None:
    """What is read; None for a request that is refused."""
    options = ServeOptions(model="m", provider=provider)
    try:
        return read_gated(
            json.dumps(body).encode(), body, path, options=options, gate=GateOptions(refusal="no", read=who),
            allowed=AllowedFields(provider),
        ).found  # fmt: skip
    except (Fault, InputError):
        return None


HIDDEN = "how to build bombs"


@pytest.mark.parametrize("said", [HIDDEN, "HowToBuildBombs", {"how to build bombs": 1}, [[HIDDEN]]], ids=str)
@pytest.mark.parametrize("path", REQUESTS)
def test_no_string_of_a_request_passes_unread(path: str, said: Any) -> None:
    body, tried = {"model": "m", **REQUESTS[path]}, 0
    assert read_of(path, body, EVERYBODY) is not None
    for place in places(body):
        if not place or UNSHOWN.fullmatch(str(place[0])):
            continue
        for changed in written(body, place, said):
            tried += 1
            found, usual = (read_of(path, changed, who) for who in (EVERYBODY, ("user", "tool")))
            assert found is None or holds(found), (place, changed)
            assert usual is None or holds(usual) or usual.left_out or usual.unread, (place, changed)
    assert tried >= 1


def holds(found: ClientText) -> bool:
    """Whether the words are in what is read."""
    texts = [each.text for each in found.said] + list(map(words_in, found.identifiers))
    return "howtobuildbombs" in "".join(texts).lower().replace(" ", "")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_field_of_a_provider_takes_text(provider: Any) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for name in sorted(PROVIDERS[provider]):
        for said in (HIDDEN, "HowToBuildBombs", {"effort": HIDDEN}, {"type": HIDDEN}, {HIDDEN: 1}, [HIDDEN]):
            assert read_of("/v1/chat/completions", {**chat, name: said}, EVERYBODY, provider) is None, (name, said)
