"""Requests to OpenAI-compatible servers, and reading their replies. Pure: no I/O."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from clucert.errors import BadAnswerError
from clucert.tasks.parse import fold, spellings_of, whole_label
from clucert.tasks.said import REFUSAL
from clucert.types import Answer, Query, Usage, estimate_input, estimate_output

LEAST_WORDS = 32
"""Prompts shorter than this are not checked for truncation."""
CHARACTERS_PER_WORD = 5
"""English has more to a word and the space behind it, and fewer to a token."""
_ROUNDING = 1e-3
"""The logarithm of a probability may be above 0 by so much."""


# Plain dictionaries: a study reads millions of replies, and models take more than twice the time.


class _TopToken(TypedDict):
    token: str
    logprob: float


class _Token(_TopToken):
    top_logprobs: NotRequired[list[_TopToken]]


class _Logprobs(TypedDict):
    content: NotRequired[list[_Token] | None]


class _ContentPart(TypedDict):
    type: NotRequired[str]
    text: NotRequired[str | None]
    refusal: NotRequired[str | None]


class _Message(TypedDict):
    content: NotRequired[str | list[_ContentPart] | None]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[list[Any] | None]
    function_call: NotRequired[dict[str, Any] | None]


class _Choice(TypedDict):
    message: _Message
    finish_reason: NotRequired[str | None]
    logprobs: NotRequired[_Logprobs | None]
    error: NotRequired[Any]


class _PromptDetails(TypedDict):
    cached_tokens: NotRequired[int | None]


class _Usage(TypedDict):
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    prompt_tokens_details: NotRequired[_PromptDetails | None]


class _Completion(TypedDict):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: NotRequired[_Usage | None]
    model: NotRequired[Any]
    system_fingerprint: NotRequired[Any]


_COMPLETION = TypeAdapter(_Completion)


@dataclass(frozen=True, slots=True)
class AcceptedFields:
    """Which optional request fields a server accepts; learnt from what it refuses."""

    logprobs: bool = True
    max_tokens: str = "max_tokens"
    """Newer OpenAI models call it ``max_completion_tokens``."""
    seed: bool = True
    stop: bool = True


def request_of(model: str, query: Query, accepted: AcceptedFields) -> dict[str, Any]:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        **{name: from_json(value) for name, value in query.extra},
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in query.messages],
        "temperature": query.temperature,
        accepted.max_tokens: query.max_tokens,
    }
    if query.stop and accepted.stop:
        body["stop"] = list(query.stop)
    if query.seed is not None and accepted.seed:
        body["seed"] = query.seed
    if query.labels and accepted.logprobs:
        body |= {"logprobs": True, "top_logprobs": max(5, min(20, 2 * len(query.labels)))}
    return body


def body_bytes(body: dict[str, Any]) -> bytes:
    """``body`` as JSON; several times faster than the standard library, which is used for lone surrogates only."""
    try:
        return to_json(body)
    except ValueError:
        # A lone surrogate cannot be encoded as UTF-8, but JSON can escape it.
        return json.dumps(body).encode()


def without_refused(accepted: AcceptedFields, message: str, sent: Mapping[str, Any]) -> AcceptedFields | None:
    """``accepted`` without the field that the ``message`` of a 400 or 422 complains about; None when it names none."""
    if "logprobs" in sent and "logprob" in message:
        return replace(accepted, logprobs=False)
    if "max_tokens" in sent and "max_completion_tokens" in message:
        return replace(accepted, max_tokens="max_completion_tokens")
    if "seed" in sent and "seed" in message:
        return replace(accepted, seed=False)
    if "stop" in sent and re.search(r"\bstop\b", message):
        return replace(accepted, stop=False)
    return None


def answer_of(reply: object, query: Query) -> Answer:
    """Read a decoded chat completion. Raises :class:`BadAnswerError` when it is none, or the prompt was cut."""
    return _read(_COMPLETION.validate_python, reply, query)


def answer_in(content: bytes, query: Query) -> Answer:
    """:func:`answer_of` the body of a reply, read in one go: a study reads millions. Raises as it does."""
    return _read(_COMPLETION.validate_json, content, query)


def _read(validate: Callable[[Any], _Completion], reply: object, query: Query) -> Answer:
    try:
        return _answer(validate(reply), query)
    except ValidationError as error:
        first = error.errors()[0]
    if first["type"] == "json_invalid":
        raise BadAnswerError("the server answered with something that is not JSON")
    where = ".".join(map(str, first["loc"])) or "the reply"
    raise BadAnswerError(f"the server's answer is not a chat completion: {where}: {first['msg']}")


def _answer(completion: _Completion, query: Query) -> Answer:
    choice, used = completion["choices"][0], completion.get("usage")
    message, logprobs = choice["message"], choice.get("logprobs")
    text, ended = _text_and_ending(message, choice.get("finish_reason"))
    tokens = (logprobs.get("content") if logprobs else None) or []
    scores = label_scores(query.labels, text, tokens[0]) if query.labels and tokens else None
    # Routers report the failure of the server behind them inside an answer.
    ended = "error" if choice.get("error") else ended
    named = (completion.get("model"), completion.get("system_fingerprint"))
    answered_by = " ".join(name for name in named if isinstance(name, str) and name)[:200] or None
    _check_not_truncated(query, max(0, (used or {}).get("prompt_tokens") or 0))
    usage = _usage(used or {}, query, text)
    if ended is None and not usage.estimated and usage.output >= query.max_tokens:
        # A server that does not say why an answer ended: it has all the tokens that were asked for.
        ended = "length"
    return Answer(text, scores, usage, ended, answered_by)


MOST_TOKENS = 10_000_000
"""No model reads or writes as many in one call: a server that says so has miscounted."""


def _usage(used: _Usage, query: Query, text: str) -> Usage:
    """What the server says the call cost; an estimate, marked as one, where it says nothing or what cannot be."""
    read, written = used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0
    details = used.get("prompt_tokens_details")
    cached = (details.get("cached_tokens") if details else None) or 0
    # A prompt has tokens, and so has an answer that is not empty.
    if not (0 < read <= MOST_TOKENS and bool(text) <= written <= MOST_TOKENS):
        return Usage(1, estimate_input(query), estimate_output(text), 0, 1)
    return Usage(1, read, written, min(max(cached, 0), read))


def _text_and_ending(message: _Message, ended: str | None) -> tuple[str, str | None]:
    """The text of a message and why it ended: as the server says, unless it is a tool call or a refusal.

    Reasoning that stands in a field or part of its own is not said.
    """
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):
        refusal = refusal or "".join(part.get("refusal") or "" for part in content)
        content = "".join(part.get("text") or "" for part in content if part.get("type") in ("text", "output_text"))
    if message.get("tool_calls") or message.get("function_call"):
        return content or "", "tool_calls"
    return (refusal, REFUSAL) if refusal else (content or "", ended)


def label_scores(labels: tuple[str, ...], text: str, first: _Token) -> tuple[float, ...] | None:
    """Log-probability of each label from the alternatives for the ``first`` token; None when they cannot tell.

    Only a token that is a whole label counts for it, in any letter case and with white space around it: the first
    letters of a label start other words, too. A label that no token is has −inf. The alternatives tell nothing unless
    the answer is one label and nothing else, in one token, and that label is the likeliest.
    """
    spellings = spellings_of(tuple((label, label) for label in labels))
    said = whole_label(text, spellings)
    if said is None or spellings.exact.get(fold(first["token"])) != said:
        return None
    scores = dict.fromkeys(labels, -math.inf)
    for entry in first.get("top_logprobs", ()):
        label = spellings.exact.get(fold(entry["token"]))
        if label is None:
            continue
        if not entry["logprob"] <= _ROUNDING:
            return None
        scores[label] = _log_add(scores[label], entry["logprob"])
    best = max(labels, key=scores.__getitem__)
    return tuple(scores.values()) if best == said and scores[best] > -math.inf else None


def _check_not_truncated(query: Query, prompt_tokens: int) -> None:
    """Notice a server that cuts long prompts without saying so.

    Every tokenizer in use makes at least one token of a word, so a prompt that is reported to have fewer tokens than it
    has words was cut. A cut that leaves more tokens than words goes unnoticed; prompts of fewer than
    ``LEAST_WORDS`` words or of up to ``CHARACTERS_PER_WORD`` characters for each reported token, and servers that
    report no count, are not checked.
    """
    # Quick to tell of nearly every prompt: its words, with a space each, are not that short.
    characters = sum([len(message.content) for message in query.messages])
    if not prompt_tokens or prompt_tokens * CHARACTERS_PER_WORD >= characters:
        return
    words = sum(len(message.content.split()) for message in query.messages)
    if words >= LEAST_WORDS and prompt_tokens < words:
        raise BadAnswerError(
            f"the server read {prompt_tokens} tokens of a prompt of {words} words: it cuts long prompts; "
            "raise its context length (Ollama: num_ctx)"
        )


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
