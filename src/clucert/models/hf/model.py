"""``hf/…``: a transformers model as a :class:`clucert.protocols.LanguageModel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
import transformers

from clucert.errors import InputError, ModelUnavailableError
from clucert.models.hf import HFOptions
from clucert.models.hf.batching import LargestBatch, Schedule, by_beginning, by_length, in_batches
from clucert.models.hf.convert import converted_gguf, identity
from clucert.models.hf.engine import InferenceEngine, PlainEngine, batch_invariant, packed_engine
from clucert.models.hf.generate import Frame, Text, generate, generator
from clucert.models.hf.packed import register
from clucert.models.hf.rows import grow
from clucert.models.hf.tokens import TextTokenizer, WordTokens
from clucert.models.labels import Tokens, distinguishing, score
from clucert.models.weights import local_gguf, smollm2_path
from clucert.types import Answer, Blanks, Query, Usage

CPU_LIMITS = LargestBatch(rows=256, tokens=2048)
CUDA_LIMITS = LargestBatch(rows=512, tokens=32768)
HELD_BYTES = 2 << 30
"""Most memory for the keys and values of texts that grow together."""


@dataclass(frozen=True, slots=True)
class _TokenQuery:
    """A query in tokens."""

    query: Query
    prefix: Tokens
    prompt: Tokens
    labels: tuple[Tokens, ...]
    """The prefix of each label that distinguishes it from the others; empty when text is to be generated."""
    nodes: tuple[Tokens, ...]
    """Starts of the labels after which they branch, the empty one first."""
    frame: Frame | None = None
    """What the text to be generated is held to."""

    @property
    def length(self) -> int:
        """Tokens to compute before the first answer token."""
        return len(self.prompt) + max(len(self.nodes) - 1, 0)

    @property
    def span(self) -> int:
        """Positions that the model must support."""
        written = self.frame.most if self.frame else self.query.max_tokens
        deepest = max(map(len, self.nodes)) if self.labels else written
        return len(self.prefix) + len(self.prompt) + deepest


class HFModel:
    """A local model; build one with :func:`clucert.models.hf.load`.

    Queries with labels and a suffix are scored exactly: log-probabilities under the full softmax, defined as the
    llama.cpp backend's are (:mod:`clucert.models.labels`). Others are completed: raw text where the query has a
    suffix, through the chat template where it has messages only; a text with blanks is filled. A shared prefix is
    computed once.

    ``deterministic``: the same query gets the same bits whatever it is batched with. On CPUs this holds by construction
    (:mod:`clucert.models.hf.packed`) and is measured at loading; where the measurement fails, answers near a tie may
    change with the batch, unless ``HFOptions(deterministic=True)`` asks for one query at a time.
    """

    calibrate = True
    """Its label bias is to be measured and corrected."""
    fills = True
    """It can be held to a text with blanks."""

    def __init__(self, name: str, model: Any, tokenizer: Any, options: HFOptions, *, identity: str = "") -> None:
        self.name = name
        self.identity = identity
        """What tells this model from others of the same name, for cache keys: a digest, the precision, the device."""
        self._lock = Lock()
        self._tokenizer = TextTokenizer(tokenizer)
        self._ends = _end_tokens(model, tokenizer)
        self._context: int = getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 1 << 30
        self._window = _attention_window(model.config.get_text_config())
        self._model = model
        packed = packed_engine(model)
        self._engine: InferenceEngine | None = packed or PlainEngine(model)
        self.packed = packed is not None
        """Whether batches are packed; otherwise queries are computed one by one, from their first token on."""
        self.batch_invariant = packed is None or batch_invariant(packed)
        """Whether the probe got the same bits alone as in a batch."""
        self.deterministic = self.batch_invariant or options.deterministic is True
        base = CPU_LIMITS if next(model.parameters()).device.type == "cpu" else CUDA_LIMITS
        rows = options.batch_size or base.rows
        alone = options.deterministic is True and not self.batch_invariant
        self.limits = LargestBatch(1 if alone else rows, base.tokens)
        """The batch size in force; it shrinks when memory runs out."""
        # A step of generation costs nearly the same for one text as for a hundred, so what counts is what must be held.
        self._growing = LargestBatch(self.limits.rows, HELD_BYTES // _bytes_per_place(model))
        self._labels: dict[tuple[str, ...], tuple[Tokens, ...]] = {}

    @property
    def batch_size(self) -> int:
        """Queries to hand over at a time: as many as are computed together."""
        return self.limits.rows

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order. A sampled answer is a function of the query and of its ``seed`` (None: 0)."""
        with self._lock:
            engine = self._engine
            if engine is None:
                raise InputError(f"{self.name} is closed: load it again")
            jobs = [self._job(query) for query in queries]
            answers: dict[int, Answer] = {}
            for prefix, scored in dict.fromkeys((job.prefix, bool(job.labels)) for job in jobs):
                members = [i for i, job in enumerate(jobs) if (job.prefix, bool(job.labels)) == (prefix, scored)]
                chosen = [jobs[i] for i in members]
                work = partial(self._score if scored else self._generate, engine, chosen)
                limits = self.limits if scored else self._growing
                found = in_batches(_schedule(chosen, scored), work, limits, _out_of_memory)
                answers.update(zip(members, found, strict=True))
            return [answers[i] for i in range(len(jobs))]

    def close(self) -> None:
        """Free the weights and the kept prefixes."""
        with self._lock:
            self._engine = None
            self._model = None

    def _job(self, query: Query) -> _TokenQuery:
        if query.blanks is not None and len(query.blanks.pieces) > 1:
            return self._framed(query, query.blanks)
        if query.suffix:
            prefix = self._tokenizer.text(query.prefix, first=True) if query.prefix else ()
            prompt = self._tokenizer.text(query.suffix, first=not query.prefix)
        else:
            prefix, prompt = (), self._tokenizer.chat(query.messages) if query.messages else ()
        if not prompt:
            raise InputError("a query without a text: give it a suffix or messages")
        labels = self._label_tokens(query) if query.labels and query.suffix else ()
        inner = {label[:i] for label in labels for i in range(len(label))}
        job = _TokenQuery(query, prefix, prompt, labels, tuple(sorted(inner, key=lambda node: (len(node), node))))
        self._check(job)
        return job

    def _framed(self, query: Query, blanks: Blanks) -> _TokenQuery:
        """What stands before the first blank is a part of the question, and what stands behind the last is known."""
        pieces = [f" {blanks.pieces[0]}", *blanks.pieces[1:-1]]
        # A token of a word has the space before it.
        first, *between = (piece.removesuffix(" ") for piece in pieces)
        frame = Frame(
            tuple(piece.endswith(" ") for piece in pieces),
            tuple(self._tokenizer.text(piece) if piece else () for piece in between),
            self._words,
        )
        prefix = self._tokenizer.text(blanks.prefix, first=True)
        job = _TokenQuery(query, prefix, self._tokenizer.text(blanks.ask + first), (), ((),), frame)
        self._check(job)
        return job

    @cached_property
    def _words(self) -> WordTokens:
        return self._tokenizer.words(next(self._model.parameters()).device)

    def _check(self, job: _TokenQuery) -> None:
        if job.span > self._context:
            raise InputError(
                f"a query of {job.span} tokens, its answer included, does not fit the model's context of "
                f"{self._context}: shorten the text"
            )
        if self.packed and job.span > self._window:
            raise InputError(
                f"a query of {job.span} tokens is longer than the model's attention window of {self._window}: "
                "use llamacpp/ or a server for texts of this length"
            )

    def _label_tokens(self, query: Query) -> tuple[Tokens, ...]:
        spaced = not query.suffix[-1].isspace()
        texts = tuple(f" {label}" if spaced else label for label in query.labels or ())
        if texts not in self._labels:
            self._labels[texts] = distinguishing([self._tokenizer.text(f"{text}\n") for text in texts])
        return self._labels[texts]

    def _score(self, engine: InferenceEngine, jobs: Sequence[_TokenQuery], batch: Sequence[int]) -> list[Answer]:
        chosen = [jobs[i] for i in batch]
        known = engine.known(chosen[0].prefix)
        rows = [grow(job.prompt, job.nodes) for job in chosen]
        exact = sorted({token for labels in {job.labels for job in chosen} for label in labels for token in label})
        logits = engine.read(chosen[0].prefix, rows, exact)
        norms = logits.logsumexp(-1)
        answers, offset = [], 0
        for job in chosen:
            place = {node: offset + i for i, node in enumerate(job.nodes)}
            offset += len(job.nodes)
            pairs = [(node, token) for node in job.nodes for token in _children(job.labels, node)]
            reads = torch.tensor([place[node] for node, _ in pairs], device=logits.device)
            columns = torch.tensor([token for _, token in pairs], device=logits.device)
            values = (logits[reads, columns] - norms[reads]).tolist()
            answers.append(_label_answer(job, dict(zip(pairs, values, strict=True)), self._usage(job, 0, known)))
            known = self.packed
        return answers

    def _generate(self, engine: InferenceEngine, jobs: Sequence[_TokenQuery], batch: Sequence[int]) -> list[Answer]:
        chosen = [jobs[i] for i in batch]
        known = engine.known(chosen[0].prefix)
        texts = [
            Text(
                job.prompt,
                job.query.max_tokens,
                job.query.temperature,
                job.query.stop,
                generator(job.prefix, job.prompt, job.query.seed or 0),
                # A batch that did not fit into memory is tried again, from the first blank on.
                replace(job.frame) if job.frame else None,
            )
            for job in chosen
        ]
        generate(engine, chosen[0].prefix, texts, self._ends, self._tokenizer.decode)
        answers = []
        for job, text in zip(chosen, texts, strict=True):
            usage = self._usage(job, len(text.output), known)
            blanks, frame = job.query.blanks, text.frame
            written = blanks.filled(self._spelt(frame)) if blanks and frame else text.text
            answers.append(Answer(written, None, usage, "stop" if text.ended else "length"))
            known = self.packed
        return answers

    def _spelt(self, frame: Frame) -> list[str]:
        return [self._tokenizer.decode(word).strip() for word in frame.words]

    @staticmethod
    def _usage(job: _TokenQuery, output: int, known: bool) -> Usage:
        return Usage(1, len(job.prefix) + job.length, output, len(job.prefix) if known else 0)


def _schedule(jobs: Sequence[_TokenQuery], scored: bool) -> Schedule:
    if scored:
        return by_beginning([job.length for job in jobs], [job.prompt for job in jobs])
    # What texts that grow together must hold counts, and each holds its own.
    return by_length([job.span for job in jobs])


def _children(labels: Sequence[Tokens], node: Tokens) -> list[int]:
    depth = len(node)
    return sorted({label[depth] for label in labels if len(label) > depth and label[:depth] == node})


def _label_answer(job: _TokenQuery, logprobs: dict[tuple[Tokens, int], float], usage: Usage) -> Answer:
    def next_tokens(node: Tokens, candidates: tuple[int, ...]) -> list[float]:
        return [logprobs[node, token] for token in candidates]

    scores = score(job.labels, next_tokens)
    labels = job.query.labels or ()
    return Answer(labels[max(range(len(labels)), key=scores.__getitem__)], scores, usage)


def load_model(name: str, options: HFOptions) -> HFModel:
    """See :func:`clucert.models.hf.load`."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = _dtype(options.dtype, device)
    # A library's progress bars do not belong on the user's terminal.
    progress: Any = transformers.utils.logging
    progress.disable_progress_bar()
    register()
    source = _source(name, dtype)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        # Safetensors only: other formats are pickles, which run code.
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        kind = InputError if Path(source).is_dir() else ModelUnavailableError
        raise kind(f"cannot load hf/{name}: {' '.join(str(error).split())}") from None
    weights = identity(Path(source)) if Path(source).is_dir() else str(model.config._commit_hash)
    who = f"{weights}-{str(dtype).removeprefix('torch.')}-{device.type}"
    return HFModel(f"hf/{name}", model.to(device).eval(), tokenizer, options, identity=who)


def _source(name: str, dtype: torch.dtype) -> str:
    if name == "smollm2":
        return str(converted_gguf(smollm2_path(), dtype))
    if name.endswith(".gguf"):
        return str(converted_gguf(local_gguf(name), dtype))
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name is not None:
        if name not in known:
            raise InputError(f"unknown dtype {name!r}: known: {', '.join(known)}")
        return known[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    fast = any("bf16" in feature and present is True for feature, present in capabilities().items())
    return torch.bfloat16 if fast else torch.float32


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _bytes_per_place(model: Any) -> int:
    """Of one token's keys and values, all layers together."""
    config = model.config.get_text_config()
    heads: int = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers) * heads * width * int(next(model.parameters()).element_size())


def _attention_window(config: Any) -> int:
    """The length of the shortest attention window of any layer, in tokens."""
    windows = [getattr(config, "attention_chunk_size", None)]
    if getattr(config, "use_sliding_window", True):
        windows.append(getattr(config, "sliding_window", None))
    return min((window for window in windows if window), default=1 << 30)


def _out_of_memory(error: Exception) -> bool:
    refused = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
    if refused and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return refused
