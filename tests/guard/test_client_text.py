"""What is read of a request, what is not, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from clucert.errors import InputError
from clucert.guard.client_text import client_text

EVERYBODY = ("user", "tool", "system", "assistant")


def texts(fields: dict[str, Any], api: Any, read: Any = ("user", "tool")) -> dict[str, str]:
    return {each.where: each.text for each in client_text(fields, api, read).said}


CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "name": "bob", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "result"},
    {"role": "user", "content": "three"},
]


def test_of_a_chat_the_turns_of_users_and_the_results_of_tools_are_read() -> None:
    assert texts({"messages": CHAT}, "chat") == {
        "messages.1": "bob\none\ntwo", "messages.3": "result", "messages.4": "three",
    }  # fmt: skip
    everything = texts(
        {"messages": CHAT, "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]},
        "chat",
        EVERYBODY,
    )
    assert everything["tools"] == "f\nd"
    assert everything["messages.0"] == "be kind"
    assert everything["messages.2"] == "f\n{}"


def test_of_responses_items_are_read_by_role_and_by_kind() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "found"}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "xyz"},
        {"type": "some_new_kind", "anything": {"deep": ["inside", 7]}},
    ]
    assert texts({"input": items}, "responses") == {
        "input.0": "hello", "input.2": "found", "input.4": "some_new_kind\nanything\ndeep\ninside\n7",
    }  # fmt: skip
    assert client_text({"input": items}, "responses").unread == {}
    assert client_text({"input": items}, "responses", EVERYBODY).unread == {"encrypted_content": 1}
    assert texts({"input": "hi", "instructions": "be kind"}, "responses", EVERYBODY) == {
        "instructions": "be kind", "input": "hi",
    }  # fmt: skip


def test_prompts_are_read_one_by_one() -> None:
    assert texts({"prompt": "a"}, "completions") == {"prompt": "a"}
    assert texts({"prompt": ["a", "b"]}, "completions") == {"prompt.0": "a", "prompt.1": "b"}
    assert texts({"input": ["a", ""]}, "embeddings") == {"input.0": "a"}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:,how to build"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "AA", "filename": "x"}},
    ],
)
def test_what_is_no_text_is_counted_and_not_taken_for_text(part: dict[str, Any]) -> None:
    found = client_text({"messages": [{"role": "user", "content": [part, {"type": "text", "text": "look"}]}]}, "chat")
    assert [each.text for each in found.said] == ["look"]
    assert sum(found.unread.values()) == 1


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("chat", {}),
        ("chat", {"messages": []}),
        ("chat", {"messages": "hello"}),
        ("chat", {"messages": ["hello"]}),
        ("chat", {"messages": [{"content": "hello"}]}),
        ("chat", {"messages": [{"role": "User", "content": "hello"}]}),
        ("chat", {"messages": [{"role": ["user"], "content": "hello"}]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": "how to build", "content": "hello"}]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": ["how"], "content": "hello"}]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": "b" * 65, "content": "hello"}]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": "bömb", "content": "hello"}]}),
        ("chat", {"messages": [{"role": "tool", "tool_call_id": "<|im_end|>", "content": "hello"}]}),
        ("responses", {"input": [{"type": "message", "content": "hello"}]}),
        ("responses", {"input": [{"type": "function_call_output", "role": "assistant", "output": "hello"}]}),
        ("responses", {"input": [{"type": "function_call", "role": "user", "arguments": "hello"}]}),
        ("completions", {"prompt": [1, 2]}),
        ("completions", {"prompt": ["a", [1]]}),
        ("embeddings", {"input": None}),
    ],
)
def test_what_cannot_be_read_is_refused(api: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        client_text(fields, api)


@pytest.mark.parametrize(
    ("part", "read"),
    [
        ({"detail": {"more": "hidden"}}, "more\nhidden"),
        ({"detail": "auto"}, ""),
        ({"detail": "how to build"}, "how to build"),
        ({"status": "completed", "index": 3}, ""),
        ({"status": "HowToBuild"}, "HowToBuild"),
        ({"type": "how to build"}, "how to build"),
        ({"annotations": [{"how to build": 1}]}, "how to build\n1"),
        ({"name": {"how to build": None}}, "how to build"),
    ],
)
def test_neither_kinds_nor_names_of_fields_hide_text(part: dict[str, Any], read: str) -> None:
    hidden = {"role": "user", "content": [{"text": "hi", **part}]}
    assert texts({"messages": [hidden]}, "chat") == {"messages.0": f"hi\n{read}".strip()}


def test_what_is_not_to_be_read_is_counted_by_whose_it_is() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}
    more = {"tools": [tool, tool], "tool_choice": tool, "response_format": schema}
    assert client_text({"messages": CHAT, **more}, "chat").left_out == {
        "tools": 2, "tool_choice": 1, "schema": 1, "system": 1, "assistant": 1,
    }  # fmt: skip
    assert client_text({"messages": CHAT, **more}, "chat", EVERYBODY).left_out == {}
    says_nothing = {"tool_choice": "auto", "response_format": {"type": "json_object"}, "tools": []}
    assert client_text({"messages": CHAT[-1:], **says_nothing}, "chat").left_out == {}
    asked = {"input": "hi", "instructions": "be kind", "text": {"verbosity": "low", "format": {"type": "text"}}}
    assert client_text(asked, "responses").left_out == {"system": 1}


def test_identifiers_of_what_is_read_are_handed_on_in_their_order() -> None:
    """Each as often as it is there: one that came before would take its word out of a sentence."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "x"}
    messages = [*CHAT, result, result, {**result, "tool_call_id": None}]
    assert client_text({"messages": messages}, "chat").identifiers == ("c1", "call_1", "call_1")


def test_long_identifiers_are_refused_or_told() -> None:
    """As LiteLLM hands on what Gemini signs."""
    for identifier in ("b" * 65, "call_1__thought__" + "Ab+/" * 100 + "=="):
        messages = [*CHAT, {"role": "tool", "tool_call_id": identifier, "content": "x"}]
        with pytest.raises(InputError, match="--unread pass"):
            client_text({"messages": messages}, "chat")
        found = client_text({"messages": messages}, "chat", unread_identifiers=True)
        assert (found.unread, found.identifiers) == ({"identifier": 1}, ("c1",))
    for identifier in ("how to build", "bömb", "<|im_end|>", ["how"], "how to " * 20):
        messages = [{"role": "tool", "tool_call_id": identifier, "content": "x"}]
        with pytest.raises(InputError):
            client_text({"messages": messages}, "chat", unread_identifiers=True)


def test_of_a_definition_every_name_and_value_is_read() -> None:
    shown = {"how to build": {"type": "a bomb", "id": "at", "file": {"status": "home"}}, "n": {"type": "string"}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": shown}}}
    found = client_text({"messages": CHAT, "tools": [tool]}, "chat", EVERYBODY)
    assert found.said[0].text.split("\n") == [
        "f", "how to build", "a bomb", "id", "at", "file", "status", "home", "n",
    ]  # fmt: skip
    assert not found.unread
