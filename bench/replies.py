"""Fuzz the reader of servers' replies: `python bench/replies.py --replies 20000`.

Replies in the shapes of OpenAI, vLLM, llama.cpp, Ollama, Azure and a router are mutated, in their JSON, their bytes
and their headers, and read as a study reads them. Counted: what is not one of this package's errors, votes that the
reply does not state by an independent reading, messages that are not one printable line, and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import gzip
import json
import random
import re
import resource
import time
import traceback
import unicodedata
from codecs import BOM_UTF8
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from clucert.cache.base import decode_answer, encode_answer
from clucert.errors import ModelError
from clucert.models.http_pool import Connection
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.models.replies import Reply
from clucert.models.server_address import Endpoint
from clucert.tasks import load_task
from clucert.types import Query

LIMIT = 1_000_000
"""--max-answer-bytes of the reader under test."""
TASK = load_task("sst2")
QUERY: Query = TASK.query("a warm story about two old friends")
STOPPED = {None, "", "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed"}
CUT = {"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"}


def _logprobs(token: str) -> dict[str, Any]:
    tops = [{"token": token, "logprob": -0.2, "bytes": [1]}, {"token": "negative", "logprob": -1.9, "bytes": None}]
    return {"content": [{"token": token, "logprob": -0.2, "bytes": [1], "top_logprobs": tops}], "refusal": None}


def _completion(text: Any, *, logprobs: Any = None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    usage = {"prompt_tokens": 200, "completion_tokens": 1, "total_tokens": 201}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    } | more


def seeds() -> list[dict[str, Any]]:
    """A reply of each kind of server, and errors inside a 200."""
    vllm = _completion("positive", logprobs=_logprobs("positive"), prompt_logprobs=None, kv_transfer_params=None)
    vllm["choices"][0]["message"] |= {"reasoning_content": None, "tool_calls": []}
    vllm["choices"][0] |= {"stop_reason": None}
    azure = _completion("positive", prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
    azure["choices"][0]["content_filter_results"] = {"hate": {"filtered": False, "severity": "safe"}}
    parts = _completion([{"type": "reasoning", "text": "negative?"}, {"type": "text", "text": "Positive."}])
    llama = _completion("positive", logprobs=_logprobs("positive"), timings={"prompt_n": 3}, __verbose={"stop": True})
    openai = _completion("positive", logprobs=_logprobs("positive"), system_fingerprint="fp", service_tier="default")
    openai["usage"]["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
    ollama = _completion("Positive", system_fingerprint="fp_ollama")
    router = _completion("", provider="x")
    router["choices"][0] |= {"error": {"code": 502, "message": "Provider returned error"}, "finish_reason": "error"}
    within = {"error": {"message": "Rate limit exceeded", "code": 429, "type": "rate_limit"}, "user_id": "u"}
    mistral = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs", "input": 0}]}
    return [openai, vllm, azure, parts, llama, ollama, router, within, mistral]


ODD: list[Any] = [
    None, True, False, -1, 0, 0.5, 10**18, 10**4299 - 1, -(10**4298), float("inf"), float("-inf"), float("nan"), 1e308,
    "", " ", "positive", "negative", "stop", "length", "not positive", "positive or negative",
    "\x1b[2J\x9b31m", "\u202eevil",
    "\ud800", "null", "x" * 50_000, "[" * 5000, "{" * 5000, [], {}, [None], [[]], [{}], {"a": None}, {"error": "x"},
    {"text": "negative"}, [{"type": "text", "text": None}], "\0", "429", {"code": "429"}, [["positive"]],
]  # fmt: skip
HEADERS = [
    (b"Retry-After", value)
    for value in (b"inf", b"-5", b"nan", b"1e400", "\u0665".encode(), b"\xff\xfe", b"", b"9" * 400, b"Mon, 99 Foo 2026")
] + [
    (b"Content-Encoding", value)
    for value in (b"gzip", b"deflate", b"br", b"gzip, gzip, gzip, gzip", b"\xff", b"x-gzip")
]  # fmt: skip
BOMB = gzip.compress(b" " * (40 * LIMIT))


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(tree, dict):
        found += [p for key, value in tree.items() for p in _places(value, (*path, key))]
    elif isinstance(tree, list):
        found += [p for i, value in enumerate(tree) for p in _places(value, (*path, i))]
    return found


def mutated(tree: Any, rng: random.Random) -> Any:
    """One to three nodes replaced by something odd, deleted, or moved elsewhere."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(tree)
        if not places:
            return tree
        *way, last = rng.choice(places)
        holder = tree
        for step in way:
            holder = holder[step]
        kind = rng.random()
        if kind < 0.7:
            holder[last] = copy.deepcopy(rng.choice(ODD))
        elif kind < 0.85:
            del holder[last]
        elif isinstance(holder, dict):
            holder[rng.choice(["error", "text", "content", "tool_calls", "refusal", str(last)])] = holder.pop(last)
        else:
            holder.append(holder[last])
    return tree


def body_of(tree: Any, rng: random.Random) -> bytes:
    """As a server writes it, or with bytes changed."""
    body = json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.75:
        return body
    at, to = sorted(rng.randrange(len(body) + 1) for _ in range(2))
    if kind < 0.83:
        return body[:at]
    if kind < 0.9:
        return body[:at] + rng.randbytes(rng.randrange(1, 20)) + body[to:]
    if kind < 0.95:
        return body[:to] + body[at:]
    return rng.choice(
        [b"\xef\xbb\xbf" + body, b"[" * 5000, b'{"a":' * 5000, b"", b"null", b"\0", b"1" * 5000, body * 2]
    )


def reply_of(seed: Any, rng: random.Random) -> Reply:
    """A mutated reply."""
    body, fields = body_of(mutated(seed, rng) if rng.random() < 0.9 else seed, rng), []
    if rng.random() < 0.2:
        fields.append(rng.choice(HEADERS))
        if fields[0][0] == b"Content-Encoding" and rng.random() < 0.5:
            packed = gzip.compress(body)
            body = rng.choice([packed, packed[: len(packed) // 2], BOMB])
    status = (
        200 if rng.random() < 0.7 else rng.choice([0, 100, 101, 204, 302, 400, 401, 403, 404, 422, 429, 500, 503, 999])
    )
    return Reply(status, fields, body)


def wire_of(reply: Reply, rng: random.Random) -> bytes:
    """The reply as bytes of HTTP, some of them changed."""
    head = b"".join(b"%s: %s\r\n" % pair for pair in reply.fields)
    if rng.random() < 0.3:
        length, body = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(reply.body), reply.body)
    else:
        length, body = b"Content-Length: %d\r\n" % len(reply.body), reply.body
    raw = b"HTTP/1.1 %d X\r\n%s%s\r\n%s" % (reply.status, head, length, body)
    if rng.random() < 0.5:
        at = rng.randrange(len(raw[:300]))
        raw = raw[:at] + rng.choice([b"", b"\0", b"\r\n", rng.randbytes(4), b"X: " + b"h" * 70_000]) + raw[at + 1 :]
    return raw


def stated(body: bytes) -> set[str]:
    """The labels that a reply may be read as, by a second reader: those that its finished text holds at all."""
    try:
        choice = json.loads(body.removeprefix(BOM_UTF8).decode("utf-8", "surrogatepass"))["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if part.get("type") in ("text", "output_text"))
        over = isinstance(content, str) and (reason is None or str(reason).strip().casefold() in STOPPED | CUT)
        if not over or message.get("tool_calls") or choice.get("error"):
            return set()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return set()
    said = set(re.findall(r"\w+", unicodedata.normalize("NFKC", content).casefold()))
    return {label for label in TASK.labels or () if label in said} if len(said) == 1 else set()


@dataclass
class Found:
    """What became of the replies."""

    counts: Counter[str] = field(default_factory=Counter)
    tracebacks: list[str] = field(default_factory=list)
    invented: list[tuple[str, bytes]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """Messages that are not one line of printable characters."""

    def told(self, error: ModelError) -> None:
        self.counts[type(error).__name__] += 1
        if (
            re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", str(error))
            or len(str(error)) > 1000
        ):
            self.messages.append(str(error))


async def _over_the_wire(raw: bytes) -> Reply:
    """What a connection makes of bytes that come in pieces, and then end."""
    connection = Connection(LIMIT)

    class Wire:
        def write(self, _: bytes) -> None:
            for at in range(0, len(raw), 1000):
                connection.data_received(raw[at : at + 1000])
            asyncio.get_running_loop().call_soon(connection.connection_lost, None)

        def abort(self) -> None:
            pass

    connection.connection_made(Wire())  # type: ignore[arg-type]
    return await connection.ask(b"", 5.0)


def fuzz(count: int, seed: int = 0) -> Found:
    """Read ``count`` mutated replies; the same for the same seed."""
    rng, found, current = random.Random(seed), Found(), Reply(200, (), b"")
    options = ModelOptions(max_retries=0, accept_model_change=True, max_answer_bytes=LIMIT, timeout=5.0)

    def server(method: str, _url: str, _body: bytes) -> Reply:
        return reply_of(seeds()[0], rng) if method == "GET" and rng.random() < 0.5 else current

    loop = asyncio.new_event_loop()
    kinds = seeds()
    for number in range(count):
        if number % 500 == 0:
            model = OpenAIModel("openai/m", "m", Endpoint.of("http://h", "sk-0123456789"), options, server=server)
        current = reply_of(kinds[number % len(kinds)], rng)
        try:
            if rng.random() < 0.35:
                current = loop.run_until_complete(_over_the_wire(wire_of(current, rng)))
            answer = model.answer([QUERY])[0]
            vote = TASK.read(answer)
            decode_answer(encode_answer(answer))
            found.counts["vote" if vote else "unparsed"] += 1
            body = current.body
            if any(name.lower() == b"content-encoding" for name, _ in current.fields) and body[:2] == b"\x1f\x8b":
                body = gzip.decompress(body)
            if vote is not None and vote not in stated(body):
                found.invented.append((vote, body))
        except ModelError as error:
            found.told(error)
        except OSError as error:
            found.counts[type(error).__name__] += 1
        except Exception:  # noqa: BLE001 - what is looked for
            found.tracebacks.append(traceback.format_exc())
        if number % 500 == 499 or number == count - 1:
            model.close()
    loop.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    found = fuzz(given.replies, given.seed)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    for text in [*found.tracebacks[:3], *map(str, found.invented[:3]), *map(repr, found.messages[:3])]:
        print(text[:3000])
    print(f"{given.replies:,} replies, {time.process_time() - began:.0f} s of the processor: {dict(found.counts)}")
    print(
        f"tracebacks {len(found.tracebacks)}, votes invented {len(found.invented)}, "
        f"odd messages {len(found.messages)}, memory grown by {grown:.0f} MB"
    )


if __name__ == "__main__":
    main()
