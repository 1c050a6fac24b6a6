"""What is said to an OpenAI-compatible server, and how its replies are read. Pure: no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from clucert.errors import BadAnswerError
from clucert.types import Answer, Query, Usage, estimate_input, estimate_output

LEAST_WORDS = 32
"""Prompts shorter than this are not checked for truncation."""
CHARACTERS_PER_WORD = 5
"""English has more to a word and the space behind it, and fewer to a token."""


# Plain dictionaries: a study reads millions of replies, and models take more than twice the time.


class _TopToken(TypedDict):
    token: str
    logprob: float


class _Token(_TopToken):
    top_logprobs: NotRequired[list[_TopToken]]


class _Logprobs(TypedDict):
    content: NotRequired[list[_Token] | None]


class _Message(TypedDict):
    content: NotRequired[str | None]
    refusal: NotRequired[str | None]


class _Choice(TypedDict):
    message: _Message
    finish_reason: NotRequired[str | None]
    logprobs: NotRequired[_Logprobs | None]


class _PromptDetails(TypedDict):
    cached_tokens: NotRequired[int | None]


class _Usage(TypedDict):
    prompt_tokens: NotRequired[int | None]
    completion_tokens: NotRequired[int | None]
    prompt_tokens_details: NotRequired[_PromptDetails | None]


class _Completion(TypedDict):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: NotRequired[_Usage | None]


_COMPLETION = TypeAdapter(_Completion)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this server understands; learnt from its refusals."""

    logprobs: bool = True
    max_tokens: str = "max_tokens"
    """Newer OpenAI models call it ``max_completion_tokens``."""
    seed: bool = True


def request_of(model: str, query: Query, dialect: Dialect) -> dict[str, Any]:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        **{name: from_json(value) for name, value in query.extra},
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in query.messages],
        "temperature": query.temperature,
        dialect.max_tokens: query.max_tokens,
    }
    if query.stop:
        body["stop"] = list(query.stop)
    if query.seed is not None and dialect.seed:
        body["seed"] = query.seed
    if query.labels and dialect.logprobs:
        body |= {"logprobs": True, "top_logprobs": max(5, min(20, 2 * len(query.labels)))}
    return body


def without_refused(dialect: Dialect, said: str, used: Mapping[str, Any]) -> Dialect | None:
    """The dialect without what a 400 or 422 that ``said`` this complains about; None when that cannot be told."""
    if "logprobs" in used and "logprob" in said:
        return Dialect(False, dialect.max_tokens, dialect.seed)
    if "max_tokens" in used and "max_completion_tokens" in said:
        return Dialect(dialect.logprobs, "max_completion_tokens", dialect.seed)
    if "seed" in used and "seed" in said:
        return Dialect(dialect.logprobs, dialect.max_tokens, False)
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
    text = message.get("content") or message.get("refusal") or ""
    tokens = (logprobs.get("content") if logprobs else None) or []
    scores = None
    if query.labels and tokens:
        scores = label_scores(query.labels, text, tokens[0].get("top_logprobs", ()))
    _check_not_truncated(query, max(0, (used or {}).get("prompt_tokens") or 0))
    return Answer(text, scores, _usage(used or {}, query, text), choice.get("finish_reason"))


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


def label_scores(labels: Sequence[str], text: str, top: Sequence[_TopToken]) -> tuple[float, ...] | None:
    """Log-probability of each label from the alternatives for the first token; None when they cannot tell.

    An alternative counts for the one label that it starts; a label that is not among them has −inf. They tell nothing
    when the text does not start with a label, or when a likely alternative starts two labels.
    """
    plain = [label.casefold() for label in labels]
    begun = text.strip().casefold()
    if not any(begun.startswith(label) for label in plain):
        return None
    scores = [-math.inf] * len(labels)
    for entry in top:
        token = entry["token"].strip().casefold()
        owners = [i for i, label in enumerate(plain) if token and label.startswith(token)]
        if len(owners) > 1:
            return None
        for i in owners:
            scores[i] = _log_add(scores[i], entry["logprob"])
    best = max(range(len(labels)), key=scores.__getitem__)
    return tuple(scores) if begun.startswith(plain[best]) and scores[best] > -math.inf else None


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
