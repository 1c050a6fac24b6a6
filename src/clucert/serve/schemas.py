"""Chat completions as clients write and read them. Pure: no I/O.

What the guard cannot honour is refused, never ignored: an answer that silently lacks what was asked for is worse than
an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from clucert.guard.result import Guarded
from clucert.serve.fields import AllowedFields
from clucert.serve.http_errors import invalid, no_such_model
from clucert.tasks.said import REFUSAL
from clucert.types import Message, Query

UNSUPPORTED = {
    "tools": "a vote on refusals needs an answer in words",
    "tool_choice": "a vote on refusals needs an answer in words",
    "functions": "a vote on refusals needs an answer in words",
    "function_call": "a vote on refusals needs an answer in words",
    "logprobs": "they would be those of one vote",
    "top_logprobs": "they would be those of one vote",
    "audio": "only text can be smoothed",
    "web_search_options": "only text can be smoothed",
}
"""Fields that are refused unless they are null, false, empty or "none", and why."""
_TURNED_OFF: tuple[Any, ...] = (None, False, 0, "none", "auto", [], {})


OPENAI = AllowedFields()


class _Field(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _MessagePart(_Field):
    type: str
    text: str | None = None
    refusal: str | None = None


class _ChatMessage(_Field):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_MessagePart] | None = None
    tool_calls: list[Any] | None = None


class _StreamOptions(_Field):
    include_usage: bool = False


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ChatRequest(BaseModel):
    """The body of ``POST /v1/chat/completions``; what is not named here goes to the upstream as it is, if it may."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str
    messages: list[_ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    stop: Annotated[list[str], BeforeValidator(_listed)] | None = None
    seed: int | None = None
    modalities: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request that was understood."""

    query: Query
    """Its ``seed``, the client's, is not used: the same prompt gets the same draws with or without one."""
    stream: bool
    include_usage: bool


def read_request(
    fields: Any, *, model: str, max_tokens: int, temperature: float, allowed: AllowedFields = OPENAI
) -> ParsedRequest:
    """The request that ``fields`` are. Raises :class:`Fault` (400, 404) for what cannot be served, saying what and why.

    ``max_tokens`` is the longest answer, ``temperature`` what a request gets that names none.
    """
    request = _parsed(fields)
    extra = request.model_extra or {}
    for name, why in UNSUPPORTED.items():
        if extra.get(name) not in _TURNED_OFF:
            raise invalid(f"{name} is not supported: {why}", "unsupported_parameter", name)
    if request.n not in (None, 1):
        raise invalid("n must be 1: one answer wins the vote", "unsupported_parameter", "n")
    if request.modalities not in (None, ["text"]):
        raise invalid("modalities must be text: only text can be smoothed", "unsupported_parameter", "modalities")
    if request.model != model:
        raise no_such_model(model)
    allowed.check(fields, "vote", but=UNSUPPORTED)
    wanted = request.max_completion_tokens or request.max_tokens or max_tokens
    query = Query(
        messages=tuple(_message(message, f"messages.{i}") for i, message in enumerate(request.messages)),
        max_tokens=min(wanted, max_tokens),
        temperature=temperature if request.temperature is None else request.temperature,
        stop=tuple(request.stop or ()),
        seed=request.seed,
        extra=tuple((name, to_json(value).decode()) for name, value in extra.items() if name not in UNSUPPORTED),
    )
    options = request.stream_options
    return ParsedRequest(query, bool(request.stream), bool(options and options.include_usage))


def _parsed(fields: object) -> ChatRequest:
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or None
        raise invalid(f"{where or 'the body'}: {first['msg']}", param=where) from None


def _message(message: _ChatMessage, where: str) -> Message:
    if message.tool_calls:
        raise invalid("tool calls are not supported", "unsupported_parameter", f"{where}.tool_calls")
    content = message.content
    if content is None and message.role != "assistant":
        raise invalid("a message needs content", param=f"{where}.content")
    if isinstance(content, list):
        # Servers join text parts with line breaks.
        content = "\n".join(_text(part, f"{where}.content.{i}") for i, part in enumerate(content))
    return Message(message.role, content or "")


def _text(part: _MessagePart, where: str) -> str:
    said = part.text if part.type == "text" else part.refusal if part.type == "refusal" else None
    if said is None:
        raise invalid(
            "only text parts are supported: an image or a sound cannot be smoothed", "unsupported_content", where
        )
    return said


@dataclass(frozen=True, slots=True)
class Envelope:
    """The fields around an answer."""

    identifier: str
    created: int
    """Seconds since 1970, UTC."""
    model: str

    def head(self, kind: str) -> dict[str, Any]:
        """The first fields of a completion or of a chunk."""
        return {"id": self.identifier, "object": kind, "created": self.created, "model": self.model}


def completion(found: Guarded, summary: dict[str, Any], envelope: Envelope) -> dict[str, Any]:
    """The whole answer. Its certificate (``found.summary()``) is in ``clucert``; ``usage`` counts all calls."""
    message = {"role": "assistant", "content": found.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(found)}
    return {
        **envelope.head("chat.completion"),
        "choices": [choice],
        "usage": usage_of(found),
        "clucert": summary,
    }


def events(found: Guarded, summary: dict[str, Any], envelope: Envelope, *, include_usage: bool) -> Iterator[bytes]:
    """The answer as server-sent events: its words one by one, the certificate with the last chunk, ``[DONE]``."""
    for delta in ({"role": "assistant", "content": ""}, *({"content": word} for word in _words(found.text))):
        yield _event(envelope, [_choice(delta)])
    yield _event(envelope, [_choice({}, _finish(found))], clucert=summary)
    if include_usage:
        yield _event(envelope, [], usage=usage_of(found))
    yield b"data: [DONE]\n\n"


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(envelope: Envelope, choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: %s\n\n" % encode({**envelope.head("chat.completion.chunk"), "choices": choices, **more})


def _finish(found: Guarded) -> str:
    reason = found.answer.finish_reason or "stop"
    # The upstream's own refusal goes out as text.
    return "stop" if reason == REFUSAL else reason


def usage_of(found: Guarded) -> dict[str, Any]:
    """Tokens of all the calls behind an answer."""
    total = found.cost.total
    return {
        "prompt_tokens": total.input,
        "completion_tokens": total.output,
        "total_tokens": total.input + total.output,
        "prompt_tokens_details": {"cached_tokens": total.cached},
    }


def certificate_headers(found: Guarded, summary: dict[str, Any]) -> dict[str, str]:
    """The certificate as response headers, for clients that do not read the body."""
    derived = summary["derived"]
    votes = (summary["readings"] or [summary["selection"]])[-1]
    compact = {
        "radius": derived["radius"],
        "domain": derived["domain"],
        "assumptions": sorted(derived["assumptions"]),
        "proved": {threat: proved["radius"] for threat, proved in derived["proved"].items()},
        "votes": votes,
        "attackable": derived["attackable_words"],
        "n": derived["n"],
        "s": derived["s"],
        "alpha": summary["settings"]["alpha"],
    }
    return {
        "x-clucert-decision": found.prediction or "abstained",
        "x-clucert-source": found.source,
        "x-clucert-certificate": json.dumps(compact, separators=(",", ":")),
    }


def encode(value: Any) -> bytes:
    """``value`` as JSON; half characters that a model may answer with are escaped."""
    try:
        return to_json(value)
    except ValueError:
        return json.dumps(value, separators=(",", ":")).encode()
