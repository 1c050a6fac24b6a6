"""A refusal in the shape of the API that was asked, whole or as server-sent events. Pure.

Chat and completions end with ``content_filter``, ``/v1/responses`` says it in a part of the type ``refusal``, and where
there are no words to answer with (embeddings) it is an error. The certificate is the field ``clucert``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clucert.guard.client_text import Api
from clucert.serve.http_errors import Fault, invalid
from clucert.serve.schemas import Envelope, encode

MOST_CHOICES = 128
"""Copies of a refusal at most, however many answers were asked for."""
_NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is said in place of an answer."""

    text: str
    identifier: str
    """32 characters, of the request."""
    created: int
    """Seconds since 1970, UTC."""
    model: str
    choices: int = 1
    certificate: dict[str, Any] | None = None

    def status(self, api: Api) -> int:
        """Of the response."""
        return 400 if api == "embeddings" else 200

    def body(self, api: Api) -> dict[str, Any]:
        """The whole response."""
        match api:
            case "chat":
                message = {"role": "assistant", "content": self.text, "refusal": None}
                return self._whole("chat.completion", "chatcmpl", [{"message": message}])
            case "completions":
                return self._whole("text_completion", "cmpl", [{"text": self.text}])
            case "responses":
                return {**self._response("completed"), "clucert": self.certificate}
            case "embeddings":
                error = invalid("the gate does not let this text through", "blocked", "input").body()
                return {**error, "clucert": self.certificate}

    def events(self, api: Api, *, include_usage: bool) -> Iterator[bytes]:
        """The same as server-sent events; embeddings have none."""
        match api:
            case "chat":
                said: dict[str, Any] = {"delta": {"role": "assistant", "content": self.text}}
                last = {"delta": {}, "finish_reason": "content_filter"}
                yield from self._chunks("chat.completion.chunk", "chatcmpl", [said, last], include_usage)
            case "completions":
                chunks: list[dict[str, Any]] = [{"text": self.text}, {"text": "", "finish_reason": "content_filter"}]
                yield from self._chunks("text_completion", "cmpl", chunks, include_usage)
            case "responses":
                for i, (name, fields) in enumerate(self._response_events()):
                    event = {"type": name, "sequence_number": i, **fields}
                    yield b"event: %s\ndata: %s\n\n" % (name.encode(), encode(event))

    def _head(self, kind: str, prefix: str) -> dict[str, Any]:
        return Envelope(f"{prefix}-{self.identifier}", self.created, self.model).head(kind)

    def _choices(self, parts: dict[str, Any]) -> list[dict[str, Any]]:
        empty = {"logprobs": None, "finish_reason": None}
        return [{"index": i, **empty, **parts} for i in range(min(max(1, self.choices), MOST_CHOICES))]

    def _whole(self, kind: str, prefix: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
        choices = self._choices({**parts[0], "finish_reason": "content_filter"})
        return {**self._head(kind, prefix), "choices": choices, "usage": _NO_TOKENS, "clucert": self.certificate}

    def _chunks(self, kind: str, prefix: str, parts: list[dict[str, Any]], include_usage: bool) -> Iterator[bytes]:
        head = self._head(kind, prefix)
        for part in parts:
            last = {"clucert": self.certificate} if part is parts[-1] else {}
            yield b"data: %s\n\n" % encode({**head, "choices": self._choices(part), **last})
        if include_usage:
            yield b"data: %s\n\n" % encode({**head, "choices": [], "usage": _NO_TOKENS})
        yield b"data: [DONE]\n\n"

    def _response(self, status: str) -> dict[str, Any]:
        """A response object, with its one message once it is ``completed``."""
        tokens = {"input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0}
        tokens |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 0}
        done = status == "completed"
        return {
            "id": f"resp_{self.identifier}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.model,
            "output": [self._item(status, [self._part(self.text)])] if done else [],
            "usage": tokens if done else None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": None,
            "top_p": None,
        }

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        named = {"type": "message", "id": f"msg_{self.identifier}", "status": status}
        return {**named, "role": "assistant", "content": content}

    @staticmethod
    def _part(text: str) -> dict[str, Any]:
        return {"type": "refusal", "refusal": text}

    def _response_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        at = {"output_index": 0}
        inside = {**at, "item_id": f"msg_{self.identifier}", "content_index": 0}
        yield "response.created", {"response": self._response("in_progress")}
        yield "response.in_progress", {"response": self._response("in_progress")}
        yield "response.output_item.added", {**at, "item": self._item("in_progress", [])}
        yield "response.content_part.added", {**inside, "part": self._part("")}
        yield "response.refusal.delta", {**inside, "delta": self.text}
        yield "response.refusal.done", {**inside, "refusal": self.text}
        yield "response.content_part.done", {**inside, "part": self._part(self.text)}
        yield "response.output_item.done", {**at, "item": self._item("completed", [self._part(self.text)])}
        yield "response.completed", {"response": {**self._response("completed"), "clucert": self.certificate}}


class SequenceNumbers:
    """The numbers of the events of ``/v1/responses``, read as they pass."""

    def __init__(self) -> None:
        self.next = 0
        """One more than the last that was seen."""
        self._before = b""

    def saw(self, chunk: bytes) -> None:
        """Look for them in the next bytes. Within a string of JSON the quotes would be escaped."""
        shown = self._before + chunk
        if found := _NUMBER.findall(shown):
            self.next = int(found[-1]) + 1
        self._before = shown[-_MOST_OF_NUMBER:]


_NUMBER = re.compile(rb'"sequence_number" ?: ?([0-9]{1,9})[,} ]')
_MOST_OF_NUMBER = 40


def error_event(api: Api, fault: Fault, number: int = 0) -> bytes:
    """The last event of a stream that breaks off, whatever of an event came before it; ``number`` is its own."""
    error = fault.body()
    if api != "responses":
        return b"\n\ndata: %s\n\n" % encode(error)
    return b"\n\nevent: error\ndata: %s\n\n" % encode(
        {**error["error"], **error, "type": "error", "sequence_number": number}
    )
