"""Local GGUF models on llama.cpp: the embedded SmolLM2-135M-Instruct, or any other file.

Deterministic: the same query gets the same answer to the bit, whatever was asked before and with any number of workers.
Each worker is a server with one slot; a prompt's shared prefix is computed once, saved, and restored before every query
that has it (:mod:`clucert.models.llamaserver` says why).
"""

from __future__ import annotations

import math
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from clucert.errors import BadAnswerError, InputError
from clucert.models.labels import Tokens, distinguishing, score
from clucert.models.llamaserver import LlamaServer, ServerOptions
from clucert.models.weights import SMOLLM2_FAST_SHA256, fast_smollm2_path, local_gguf
from clucert.types import Answer, Blanks, Message, Query, Usage

if TYPE_CHECKING:
    from clucert.models.load import ModelOptions

CONTEXT = 4096
TOP_TOKENS = 300
"""Most likely next tokens that are asked for; a label's token that is not among them costs one more call."""
SAVED_PREFIXES = 16
_FORCE = 1e4
_LETTERS = (
    "a-zA-Z",
    *(r"\u00C0-\u00D6", r"\u00D8-\u00F6", r"\u00F8-\u024F", r"\u0370-\u03FF", r"\u0400-\u04FF"),
    *(r"\u0590-\u05EA", r"\u0620-\u064A", r"\u4E00-\u9FFF"),
)
_WORD = f"""
word ::= letter{{1,16}} ("'" letter{{1,2}})? | [0-9]{{1,4}}
letter ::= [{"".join(_LETTERS)}]
"""
"""What may stand in a blank, as rules of a grammar; bounded, so that a model that repeats itself comes to an end."""
_SENTINEL = "\x02{}\x02"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file, and what tells it from another one."""

    path: Path
    identity: str


@dataclass(frozen=True, slots=True)
class _Prefix:
    tokens: Tokens
    file: str


@dataclass(slots=True)
class _Cost:
    """Tokens of one query, summed over the calls of the server that it takes."""

    input: int = 0
    output: int = 0
    cached: int = 0

    def add(self, reply: dict[str, Any], *, fresh: int = 0) -> None:
        """Count a reply; ``fresh`` of its cached tokens were computed for this very query."""
        used = reply["usage"]
        self.input += used["prompt_tokens"]
        self.output += used["completion_tokens"]
        self.cached += used["prompt_tokens_details"]["cached_tokens"] - fresh

    @property
    def usage(self) -> Usage:
        """That it was one call."""
        return Usage(1, self.input, self.output, self.cached)


@dataclass(slots=True)
class _Shared:
    """State that the workers share, guarded by a lock."""

    lock: Lock = field(default_factory=Lock)
    prefixes: OrderedDict[str, _Prefix] = field(default_factory=OrderedDict)
    labels: dict[tuple[str, ...], tuple[Tokens, ...]] = field(default_factory=dict)
    templates: dict[tuple[str, ...], str] = field(default_factory=dict)
    files: int = 0


class LlamaCppModel:
    """A GGUF model as a :class:`clucert.protocols.LanguageModel`.

    Texts are tokenised without reading control tokens out of them: ``<|im_start|>`` in a text is just characters.
    Queries with labels and a suffix are scored exactly (:mod:`clucert.models.labels`); others are completed, as raw
    text where the query has a suffix, through the model's chat template where it has messages only.
    """

    deterministic = True
    calibrate = True
    """Its label bias is to be measured and corrected."""
    fills = True
    """It can be held to a text with blanks."""

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        workers: int = 1,
        threads: int = 1,
        context: int = CONTEXT,
        scratch: TemporaryDirectory[str] | None = None,
    ) -> None:
        self.name = name
        self.identity = weights.identity
        """What tells these weights from others of the same name, for cache keys."""
        self._shared = _Shared()
        self._folder = scratch or TemporaryDirectory(prefix="clucert-")
        options = ServerOptions(weights.path, context, threads, Path(self._folder.name))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="llamacpp")
        self._servers: list[LlamaServer] = list(self._pool.map(LlamaServer, [options] * workers))
        self._idle: SimpleQueue[LlamaServer] = SimpleQueue()
        for server in self._servers:
            self._idle.put(server)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order, on all workers."""
        if not self._servers:
            raise InputError(f"{self.name} is closed: load it again")
        return list(self._pool.map(self._answer_one, queries))

    def close(self) -> None:
        """Stop the servers, free their memory, delete the saved prefixes."""
        self._pool.shutdown()
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._folder.cleanup()

    def _answer_one(self, query: Query) -> Answer:
        with self._server() as server:
            if query.labels and query.suffix:
                return self._score(server, query)
            return self._generate(server, query)

    @contextmanager
    def _server(self) -> Iterator[LlamaServer]:
        server = self._idle.get()
        try:
            yield server
        finally:
            self._idle.put(server)

    def _score(self, server: LlamaServer, query: Query) -> Answer:
        prefix, fresh = self._prefix(server, query.prefix)
        prompt = self._tokens(server, query.suffix, prefix)
        spaced = not query.suffix[-1].isspace()
        labels = self._labels(server, tuple(f" {label}" if spaced else label for label in query.labels or ()))
        cost = _Cost()

        def look(tokens: Tokens, **options: Any) -> dict[str, Any]:
            nonlocal fresh
            reply = self._complete(server, prefix, tokens, n_predict=1, temperature=0.0, **options)
            cost.add(reply, fresh=fresh)
            fresh = 0
            return reply

        def next_tokens(node: Tokens, candidates: tuple[int, ...]) -> list[float]:
            top = _top_logprobs(look((*prompt, *node), n_probs=TOP_TOKENS))
            return [
                top[token] if token in top else _forced_logprob(look, (*prompt, *node), token) for token in candidates
            ]

        logprobs = score(labels, next_tokens)
        best = max(range(len(labels)), key=logprobs.__getitem__)
        text = (query.labels or ())[best]
        return Answer(text, logprobs, cost.usage)

    def _generate(self, server: LlamaServer, query: Query) -> Answer:
        if query.blanks is not None:
            return self._fill(server, query, query.blanks)
        prefix, fresh = None, 0
        if query.suffix:
            prefix, fresh = self._prefix(server, query.prefix)
            prompt = self._tokens(server, query.suffix, prefix)
        else:
            prompt = self._chat_tokens(server, query.messages)
        reply = self._complete(
            server,
            prefix,
            prompt,
            n_predict=query.max_tokens,
            temperature=query.temperature,
            stop=list(query.stop),
            seed=0 if query.seed is None else query.seed,
        )
        return _written(reply, fresh)

    def _fill(self, server: LlamaServer, query: Query, blanks: Blanks) -> Answer:
        """The text, held to what stands between the blanks by a grammar."""
        prefix, fresh = self._prefix(server, blanks.prefix)
        reply = self._complete(
            server,
            prefix,
            self._tokens(server, blanks.ask, prefix),
            n_predict=sum(map(len, blanks.pieces)) + 8 * len(blanks.pieces),
            temperature=query.temperature,
            grammar=_grammar(blanks),
            stop=["\n"],
            seed=0 if query.seed is None else query.seed,
        )
        answer = _written(reply, fresh)
        return replace(answer, text=answer.text.removeprefix(" "))

    def _complete(self, server: LlamaServer, prefix: _Prefix | None, prompt: Tokens, **options: Any) -> dict[str, Any]:
        if prefix is not None:
            server.restore(prefix.file)
        return server.complete(prompt, cache_prompt=prefix is not None, **options)

    def _tokens(self, server: LlamaServer, text: str, prefix: _Prefix | None) -> Tokens:
        """Of ``text`` behind the prefix."""
        start = prefix.tokens if prefix else ()
        return (*start, *server.tokenize(text, first=prefix is None))

    def _prefix(self, server: LlamaServer, text: str) -> tuple[_Prefix | None, int]:
        """The saved prefix, and how many of its tokens were computed just now."""
        if not text:
            return None, 0
        shared = self._shared
        with shared.lock:
            if text in shared.prefixes:
                shared.prefixes.move_to_end(text)
                return shared.prefixes[text], 0
            prefix = _Prefix(tuple(server.tokenize(text, first=True)), f"prefix-{shared.files}")
            server.complete(prefix.tokens, n_predict=0, cache_prompt=False)
            server.save(prefix.file)
            shared.files += 1
            shared.prefixes[text] = prefix
            if len(shared.prefixes) > SAVED_PREFIXES:
                # The file stays until close: another worker may be about to restore it.
                shared.prefixes.popitem(last=False)
            return prefix, len(prefix.tokens)

    def _labels(self, server: LlamaServer, labels: tuple[str, ...]) -> tuple[Tokens, ...]:
        def tokens() -> tuple[Tokens, ...]:
            return distinguishing([tuple(server.tokenize(f"{label}\n")) for label in labels])

        return self._remember(self._shared.labels, labels, tokens)

    def _chat_tokens(self, server: LlamaServer, messages: Sequence[Message]) -> Tokens:
        """The chat template read with its control tokens, the messages without."""
        roles = tuple(message.role for message in messages)

        def render() -> str:
            return server.render([{"role": role, "content": _SENTINEL.format(i)} for i, role in enumerate(roles)])

        rest = self._remember(self._shared.templates, roles, render)
        tokens: list[int] = []
        for i, message in enumerate(messages):
            head, mark, rest = rest.partition(_SENTINEL.format(i))
            if not mark:
                raise BadAnswerError(f"the chat template of {self.name} drops the {message.role} message")
            tokens += server.tokenize(head, special=True, first=i == 0)
            tokens += server.tokenize(message.content)
        return (*tokens, *server.tokenize(rest, special=True))

    def _remember(self, store: dict[tuple[str, ...], _T], key: tuple[str, ...], make: Callable[[], _T]) -> _T:
        with self._shared.lock:
            if key not in store:
                store[key] = make()
            return store[key]


def load_smollm2(variant: str, options: ModelOptions) -> LlamaCppModel:
    """The embedded SmolLM2-135M-Instruct, on one single-threaded worker for each core, at most four."""
    if variant:
        raise InputError(f"smollm2 has no variants, got 'smollm2/{variant}': write  smollm2")
    workers = min(4, available_cores())
    scratch = TemporaryDirectory(prefix="clucert-")
    weights = Weights(fast_smollm2_path(Path(scratch.name)), SMOLLM2_FAST_SHA256)
    return LlamaCppModel("smollm2", weights, workers=workers, context=options.context, scratch=scratch)


def load_local(path: str, options: ModelOptions) -> LlamaCppModel:
    """Any GGUF file: one worker, so that its weights are in memory once, with every core."""
    file = local_gguf(path)
    stat = file.stat()
    weights = Weights(file, f"{stat.st_size}-{stat.st_mtime_ns}")
    return LlamaCppModel(f"llamacpp/{path}", weights, threads=available_cores(), context=options.context)


def available_cores() -> int:
    """Cores that this process may run on; ``OMP_NUM_THREADS``, which Ray sets to a worker's share, caps them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(share)) if share.isdecimal() and int(share) else cores


def _grammar(blanks: Blanks) -> str:
    """GBNF of the text on a line of its own, with a word for each blank."""
    pieces = [f" {blanks.pieces[0]}", *blanks.pieces[1:-1], f"{blanks.pieces[-1]}\n"]
    return f"root ::= {' word '.join(map(_literal, pieces))}\n{_WORD}"


def _literal(text: str) -> str:
    """``text`` in GBNF, which knows these escapes alone."""
    return '"' + re.sub(r"[^ !#-\[\]-~]", lambda found: f"\\U{ord(found[0]):08X}", text) + '"'


def _written(reply: dict[str, Any], fresh: int) -> Answer:
    """What the server wrote; ``fresh`` as in :meth:`_Cost.add`."""
    cost = _Cost()
    cost.add(reply, fresh=fresh)
    return Answer(_text(reply), None, cost.usage, _choice(reply).get("finish_reason"))


def _choice(reply: dict[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    if not choices:
        raise BadAnswerError("llama.cpp answered without a choice")
    choice: dict[str, Any] = choices[0]
    return choice


def _text(reply: dict[str, Any]) -> str:
    return str(_choice(reply)["text"])


def _top_logprobs(reply: dict[str, Any]) -> dict[int, float]:
    first = _choice(reply)["logprobs"]["content"][0]
    return {entry["id"]: entry["logprob"] for entry in first["top_logprobs"]}


def _forced_logprob(look: Callable[..., dict[str, Any]], prompt: Tokens, token: int) -> float:
    """The log-probability of an unlikely token: it is forced, and llama.cpp reports it as it was before the bias."""
    reply = look(prompt, n_probs=1, logit_bias=[[token, _FORCE]])
    chosen = _choice(reply)["logprobs"]["content"][0]
    if chosen["id"] != token:
        raise BadAnswerError("llama.cpp did not score a label's token")
    return float(chosen["logprob"]) if math.isfinite(chosen["logprob"]) else -math.inf
