"""LiteLLM's guardrail contract: what a guardrail is given of a call, and what it says about it. Pure.

The contract is ``litellm/types/proxy/guardrails/guardrail_hooks/generic_guardrail_api.py`` of LiteLLM 1.8x. LiteLLM
takes the texts of a call apart (``texts``) and, of chats, also says whose they are (``structured_messages``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from clucert.errors import InputError
from clucert.guard.client_text import ClientText, Said, client_text
from clucert.guard.gate import Verdict
from clucert.types import Who

BLOCKED, PASSED = "BLOCKED", "NONE"
"""Of the contract's actions the two that decide; none changes a text."""


def inputs_text(
    inputs: Mapping[str, Any], kind: str, read: Collection[Who], *, unread_identifiers: bool = False
) -> ClientText:
    """What is read of a call: of a ``request`` what ``read`` may have written, of a ``response`` all that is said.

    A text that no message is said to hold is read, whoever wrote it. ``unread_identifiers`` is as for
    :func:`clucert.guard.client_text.client_text`. Raises :class:`InputError` for what is not of the
    contract.
    """
    texts, messages = _texts(inputs.get("texts")), inputs.get("structured_messages") or None
    images = len(_texts(inputs.get("images")))
    if kind == "response":
        said = [
            Said(f"tool_calls.{i}", "\n".join(_strings(call))) for i, call in enumerate(_list(inputs, "tool_calls"))
        ]
        found = ClientText((*_said(texts), *(each for each in said if each.text.strip())))
    elif kind != "request":
        raise InputError("input_type must be request or response")
    elif messages is None:
        found = ClientText(tuple(_said(texts)))
    else:
        asked = {"messages": messages, "tools": inputs.get("tools")}
        chat = client_text(asked, "chat", read, unread_identifiers=unread_identifiers)
        known = set(_strings(messages))
        found = replace(chat, said=(*chat.said, *(each for each in _said(texts) if each.text not in known)))
    more = images - sum(count for kind, count in found.unread.items() if kind != "identifier")
    if more > 0:
        found = replace(found, unread=Counter(found.unread) + Counter(image=more))
    return found


def answer_of(verdict: Verdict) -> dict[str, Any]:
    """What LiteLLM is told, with the certificate; without a word of the texts."""
    action: dict[str, Any] = {"action": PASSED}
    if verdict.blocked:
        action = {"action": BLOCKED, "blocked_reason": verdict.in_words()}
    return {**action, "clucert": verdict.document()}


def refused(reason: str) -> dict[str, Any]:
    """What LiteLLM is told of a call that no gate has read."""
    return {"action": BLOCKED, "blocked_reason": reason}


def _said(texts: list[str]) -> Iterator[Said]:
    return (Said(f"texts.{i}", text) for i, text in enumerate(texts) if text.strip())


def _list(inputs: Mapping[str, Any], name: str) -> list[Any]:
    value = inputs.get(name) or []
    if not isinstance(value, list):
        raise InputError(f"{name} must be a list")
    return value


def _texts(value: Any) -> list[str]:
    texts = value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError("texts and images must be lists of strings")
    return texts


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
