"""Requests to OpenAI-compatible servers, and reading their replies. Pure: no I/O."""

from __future__ import annotations

import hashlib
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
from clucert.tasks.said import REFUSAL
from clucert.tasks.spelling import fold, spellings_of, whole_label
from clucert.types import Answer, Query, Usage, estimate_input, estimate_output

LEAST_WORDS = 32
"""Prompts shorter than this are not checked for truncation."""
CHARACTERS_PER_WORD = 5
"""English has more to a word and the space behind it, and fewer to a token."""
_ROUNDING = 1e-3
"""The logarithm of a probability may be above 0 by so much."""
_HUGE = 1e6
"""No log-probability is further from 0, unless it is that of nothing at all: servers write it as −9999, or null."""


# Plain dictionaries: a study reads millions of replies, and models take more than twice the time. What is said is
# checked here; what is said about it (scores, counts) is taken where it is well-formed, and left aside otherwise.


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
    logprobs: NotRequired[Any]
    error: NotRequired[Any]


class _Completion(TypedDict):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: NotRequired[Any]
    model: NotRequired[Any]
    system_fingerprint: NotRequired[Any]
    error: NotRequired[Any]


_COMPLETION = TypeAdapter(_Completion)


@dataclass(frozen=True, slots=True)
class AcceptedFields:
    """Which optional request fields a server accepts; learnt from what it refuses."""

    logprobs: bool = True
    max_tokens: str = "max_tokens"
    """Newer OpenAI models call it ``max_completion_tokens``."""
    seed: bool = True
    stop: bool = True
    temperature: bool = True
    """Reasoning models have one of their own, which is 1."""


def request_of(model: str, query: Query, accepted: AcceptedFields) -> dict[str, Any]:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        **{name: from_json(value) for name, value in query.extra},
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in query.messages],
        **({"temperature": query.temperature} if accepted.temperature else {}),
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


_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_REFUSED: dict[str, tuple[frozenset[str], dict[str, Any]]] = {
    "logprobs": (frozenset({"logprobs", "top_logprobs", "logprob"}), {"logprobs": False}),
    "max_tokens": (frozenset({"max_completion_tokens"}), {"max_tokens": "max_completion_tokens"}),
    "seed": (frozenset({"seed"}), {"seed": False}),
    "stop": (frozenset({"stop"}), {"stop": False}),
    "temperature": (frozenset({"temperature"}), {"temperature": False}),
}
"""By the field that was sent: which names a complaint about it has, and what is accepted then."""


def without_refused(accepted: AcceptedFields, message: str, sent: Mapping[str, Any]) -> AcceptedFields | None:
    """``accepted`` without the field that the ``message`` of a refusal complains about; None when it names none.

    A temperature other than 1 is never left out: answers would be drawn in another way than was asked for.
    """
    message = message.casefold()
    # Whole names: another field's may have this one in it.
    named = set(_NAME.findall(message)) | ({"max_completion_tokens"} if message == "max_tokens" else set())
    for name, (complaints, change) in _REFUSED.items():
        if name in sent and complaints & named and (name != "temperature" or sent[name] == 1):
            return replace(accepted, **change)
    return None


def answer_of(reply: object, query: Query) -> Answer:
    """Read a decoded chat completion. Raises :class:`BadAnswerError` when it is none, or the prompt was cut."""
    return _read(_COMPLETION.validate_python, reply, query)


def answer_in(content: bytes, query: Query, read_whole: int = 0) -> Answer:
    """:func:`answer_of` the body of a reply, read in one go: a study reads millions. Raises as it does.

    ``read_whole`` is a number of words that the server is known to read in full.
    """
    return _read(_COMPLETION.validate_json, content, query, read_whole)


def _read(validate: Callable[[Any], _Completion], reply: object, query: Query, read_whole: int = 0) -> Answer:
    try:
        completion = validate(reply)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    except RecursionError:
        raise BadAnswerError("the server's answer is nested too deeply") from None
    else:
        return _answer(completion, query, read_whole)
    if first["type"] == "json_invalid":
        raise BadAnswerError("the server answered with something that is not JSON")
    where = ".".join(map(str, first["loc"])) or "the reply"
    raise BadAnswerError(f"the server's answer is not a chat completion: {where}: {first['msg']}")


def _answer(completion: _Completion, query: Query, read_whole: int) -> Answer:
    choice = completion["choices"][0]
    if completion.get("error"):
        raise BadAnswerError("the server reports an error inside its answer")
    used, message = completion.get("usage"), choice["message"]
    text, ended = _text_and_ending(message, choice.get("finish_reason"))
    scores = label_scores(query.labels, text, choice.get("logprobs")) if query.labels else None
    # Routers report the failure of the server behind them inside an answer.
    ended = "error" if choice.get("error") else ended
    named = (completion.get("model"), completion.get("system_fingerprint"))
    answered_by = " ".join(name for name in named if isinstance(name, str) and name)[:200] or None
    usage = _usage(used, query, text)
    _check_not_truncated(query, _prompt_tokens(used), read_whole)
    if ended is None and not usage.estimated and usage.output >= query.max_tokens:
        # A server that does not say why an answer ended: it has all the tokens that were asked for.
        ended = "length"
    return Answer(text, scores, usage, ended, answered_by)


MOST_TOKENS = 10_000_000
"""No model reads or writes as many in one call: a server that says so has miscounted."""


def _count(counts: Any, name: str) -> int:
    """A number of tokens that may be, and 0 for anything else."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 < value <= MOST_TOKENS else 0


def _cached(used: Any) -> int:
    """Tokens of the prompt that were not computed again, by the names that servers give them."""
    details = used.get("prompt_tokens_details") if isinstance(used, dict) else None
    return _count(details, "cached_tokens") or _count(used, "prompt_cache_hit_tokens")


def _prompt_tokens(used: Any) -> int:
    """Tokens of the whole prompt: some servers count those aside that were computed before."""
    read, cached = _count(used, "prompt_tokens"), _cached(used)
    beside = _count(used, "cache_read_input_tokens") + _count(used, "cache_creation_input_tokens")
    return read and (read + beside if beside else read + cached if cached > read else read)


def _usage(used: Any, query: Query, text: str) -> Usage:
    """What the server says the call cost; an estimate, marked as one, where it says nothing or what cannot be."""
    read, written = _count(used, "prompt_tokens"), _count(used, "completion_tokens")
    # A prompt has tokens, and so has an answer that is not empty.
    if not read or (written == 0 and (text or used.get("completion_tokens") not in (0, None))):
        return Usage(1, estimate_input(query), estimate_output(text), 0, 1)
    return Usage(1, read, written, min(_cached(used), read))


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


def label_scores(labels: tuple[str, ...], text: str, logprobs: Any) -> tuple[float, ...] | None:
    """Log-probability of each label from the alternatives for the first token; None when they cannot tell.

    Only a token that is a whole label counts for it, in any letter case and with white space around it: the first
    letters of a label start other words, too. A label that no token is has −inf. The alternatives tell nothing unless
    the answer is one label and nothing else, in one token, and that label is the likeliest, and nothing where any of
    them lacks a token or a probability.
    """
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = tokens[0] if isinstance(tokens, list) and tokens else None
    if not isinstance(first, dict) or not isinstance(first.get("token"), str):
        return None
    spellings = spellings_of(tuple((label, label) for label in labels))
    said = whole_label(text, spellings)
    if said is None or spellings.exact.get(fold(first["token"])) != said:
        return None
    scores = dict.fromkeys(labels, -math.inf)
    alternatives = first.get("top_logprobs")
    for entry in alternatives if isinstance(alternatives, list) else ():
        token, score = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
        if not isinstance(token, str) or not isinstance(score, int | float) or not -_HUGE <= score <= _ROUNDING:
            return None
        label = spellings.exact.get(fold(token))
        if label is not None:
            scores[label] = _log_add(scores[label], float(score))
    best = max(labels, key=scores.__getitem__)
    return tuple(scores.values()) if best == said and scores[best] > -math.inf else None


class CutPromptError(BadAnswerError):
    """Fewer tokens were read than the prompt has ``words``: its server cuts long prompts, or counts a part of them."""

    def __init__(self, message: str, words: int = 0) -> None:
        super().__init__(message)
        self.words = words


def unlike(query: Query) -> Query:
    """A query as long as ``query`` that shares no beginning with it: what a server has read of one is new in the other.

    Its answer is not wanted, only how many tokens its server reads.
    """
    first, *others = query.messages
    words = first.content.split()
    mark = hashlib.sha256(repr(query.messages).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    content = " ".join([mark, *reversed(words)])
    turned = tuple(replace(each, content=" ".join(reversed(each.content.split()))) for each in others)
    return replace(query, messages=(replace(first, content=content), *turned), labels=None, stop=())


def _check_not_truncated(query: Query, prompt_tokens: int, read_whole: int) -> None:
    """Notice a server that cuts long prompts without saying so.

    Every tokenizer in use makes at least one token of a word, so a prompt that is reported to have fewer tokens than it
    has words was cut, or part of it was not counted. A cut that leaves more tokens than words goes unnoticed; prompts
    of fewer than ``LEAST_WORDS`` words, of no more than ``read_whole``, or of up to ``CHARACTERS_PER_WORD`` characters
    for each reported token, and servers that report no count, are not checked.
    """
    # Quick to tell of nearly every prompt: its words, with a space each, are not that short.
    characters = sum([len(message.content) for message in query.messages])
    if not prompt_tokens or prompt_tokens * CHARACTERS_PER_WORD >= characters:
        return
    words = sum(len(message.content.split()) for message in query.messages)
    if words >= LEAST_WORDS and prompt_tokens < words and words > read_whole:
        raise CutPromptError(
            f"the server read {prompt_tokens} tokens of a prompt of {words} words: it cuts long prompts; "
            "raise its context length (Ollama: num_ctx)",
            words,
        )


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
