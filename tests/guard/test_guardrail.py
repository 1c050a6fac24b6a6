"""What a gate reads of a call that LiteLLM describes."""

from __future__ import annotations

from typing import Any

import pytest

from clucert.errors import InputError
from clucert.guard.guardrail import inputs_text

USER = {
    "role": "user",
    "content": [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "x"}}],
}
SYSTEM = {"role": "system", "content": "be kind"}
TOOL = {"role": "tool", "tool_call_id": "c", "content": "found it"}


def read(
    kind: str = "request", who: tuple[Any, ...] = ("user", "tool"), **inputs: Any
) -> tuple[list[str], dict[str, int]]:
    found = inputs_text(inputs, kind, who)
    return [each.text for each in found.said], dict(found.unread)


def test_messages_are_read_by_role_and_texts_that_are_in_none_whoever_wrote_them() -> None:
    texts = ["be kind", "hello", "found it", "out of nowhere"]
    said, unread = read(texts=texts, structured_messages=[SYSTEM, USER, TOOL], images=["x"])
    assert said == ["hello", "found it", "out of nowhere"]
    assert unread == {"image_url": 1}
    assert read(who=("user", "system"), structured_messages=[SYSTEM, USER])[0] == ["be kind", "hello"]


def test_a_long_identifier_is_no_image() -> None:
    signed = {"role": "tool", "tool_call_id": "x" * 65, "content": "fine"}
    inputs = {"structured_messages": [USER, signed], "images": ["data:…"]}
    assert inputs_text(inputs, "request", ("tool",), unread_identifiers=True).unread == {"identifier": 1, "image": 1}


def test_calls_without_messages_are_read_whole() -> None:
    assert read(texts=["a", " ", "b"], images=["x", "y"]) == (["a", "b"], {"image": 2})
    assert read(texts=None) == ([], {})
    call = {"type": "function", "function": {"name": "f", "arguments": '{"to": "x"}'}}
    said, _ = read("response", texts=["fine"], tool_calls=[call], structured_messages=[USER])
    assert said == ["fine", 'function\nf\n{"to": "x"}']


@pytest.mark.parametrize(
    "inputs", [{"texts": "a"}, {"texts": [1]}, {"structured_messages": "x"}, {"structured_messages": [{"role": "x"}]}]
)
def test_what_is_not_of_the_contract_is_refused(inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        read(**inputs)
    with pytest.raises(InputError):
        read("other", texts=["a"])
