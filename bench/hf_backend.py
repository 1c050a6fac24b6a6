"""The hf backend beside llama.cpp and beside plain transformers: same model, same rows, one run.

    python bench/hf_backend.py ../shared/data/sst2_validation.jsonl --rows 120 --rounds 3

Each round times, one after the other, a matrix multiplication (the machine's peak at that moment), llama.cpp, hf, and
a loop over plain transformers that computes the shared prefix once and expands its keys and values over batches of 128
and of 32; then what a certificate asks, noised copies of a few of the rows. Medians over the rounds are reported, and
ratios within a round. Everything is timed by the clock and in CPU seconds of this process; the latter are what to trust
where others share the cores. The share of the peak counts the model's linear layers only: 2 · parameters · tokens, and
the output layer at the positions read. Attention, norms and tokenisation cost time and count as nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from clucert.core.noise.retention import SynonymRecovery, retained_count, rng_for, sample_retention
from clucert.core.protect import protected
from clucert.core.words import split
from clucert.lexicon import load_lexicon
from clucert.models.hf import HFOptions, load
from clucert.models.load import load_model
from clucert.tasks.sst2 import SST2
from clucert.types import Answer, Query

SHAPES = ((1024, 576, 1536), (1024, 1536, 576), (2048, 1024, 1024))
"""Of the peak's matrix products: two of SmolLM2's own, one that is kinder to the hardware; the fastest counts."""


@dataclass
class Series:
    """Seconds and CPU seconds of each round, and the answers of the last."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def run(self, work: Callable[[], list[Answer]]) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        self.answers = work()
        self.seconds.append(time.perf_counter() - start)
        self.cpu.append(time.process_time() - cpu)


def peak(dtype: Any) -> float:
    """The fastest matrix product seen, in FLOP per CPU second: of one core, whatever the number of threads."""
    import torch

    best = 0.0
    for m, k, n in SHAPES:
        a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        for _ in range(6):
            start = time.process_time()
            torch.nn.functional.linear(a, b)
            best = max(best, 2 * m * k * n / (time.process_time() - start))
    return best


def flops(model: Any, answers: Sequence[Answer]) -> float:
    """Of the linear layers, for label scoring."""
    net = model._model
    head = net.get_output_embeddings().weight.numel()
    layers = sum(p.numel() for name, p in net.named_parameters() if p.dim() == 2 and ".layers." in name)
    tokens = sum(answer.usage.input - answer.usage.cached for answer in answers)
    return 2.0 * (layers * tokens + head * len(answers))


def padded_transformers(model: Any, queries: Sequence[Query], batch: int) -> list[str]:
    """What one writes without a backend: whole prompts, left-padded, `transformers` as it is."""
    import torch

    net, text = model._model, model._tokenizer.text
    own = net.config._attn_implementation
    net.set_attn_implementation("sdpa")
    labels = [text(f" {label}")[0] for label in queries[0].labels or ()]
    votes: list[str] = []
    for start in range(0, len(queries), batch):
        rows = [[*text(q.prefix, first=True), *text(q.suffix)] for q in queries[start : start + batch]]
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = net(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            ).logits[:, -1, labels]
        votes += [(queries[0].labels or ())[i] for i in logits.argmax(-1).tolist()]
    net.set_attn_implementation(own)
    return votes


def expanded_transformers(model: Any, queries: Sequence[Query], batch: int) -> list[str]:
    """The next best thing one writes: sorted by length, the prefix computed once and expanded over each batch."""
    import torch
    from transformers import DynamicCache

    net, text = model._model, model._tokenizer.text
    own = net.config._attn_implementation
    net.set_attn_implementation("sdpa")
    labels = [text(f" {label}")[0] for label in queries[0].labels or ()]
    prefix = text(queries[0].prefix, first=True)
    rows = [text(query.suffix) for query in queries]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: dict[int, str] = {}
    with torch.inference_mode():
        shared = DynamicCache(config=net.config)
        net(input_ids=torch.tensor([prefix]), past_key_values=shared, use_cache=True, logits_to_keep=1)
        for start in range(0, len(order), batch):
            part = [rows[i] for i in order[start : start + batch]]
            width = max(map(len, part))
            cache = copy.deepcopy(shared)
            cache.batch_repeat_interleave(len(part))
            hidden = net.model(
                input_ids=torch.tensor([[*row, *[0] * (width - len(row))] for row in part]),
                attention_mask=torch.tensor(
                    [[1] * (len(prefix) + len(row)) + [0] * (width - len(row)) for row in part]
                ),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            last = hidden[torch.arange(len(part)), torch.tensor([len(row) - 1 for row in part])]
            best = net.lm_head(last)[:, labels].argmax(-1).tolist()
            found.update(zip(order[start : start + batch], [(queries[0].labels or ())[i] for i in best], strict=True))
    net.set_attn_implementation(own)
    return [found[i] for i in range(len(rows))]


def noised(text: str, samples: int, mask_rate: Fraction = Fraction(95, 100)) -> list[str]:
    """Different noised copies of a text, as the method ``clucert`` draws them."""
    worded = split(text)
    rng = rng_for(0, text, "certify")
    retained = sample_retention(rng, len(worded), retained_count(len(worded), 1 - mask_rate), samples)
    recovery = SynonymRecovery(load_lexicon().pools(worded, protected(worded)))
    try:
        next(recovery.recover(worded, retained, rng, "certify"))
    except StopIteration as done:
        return list(dict.fromkeys(done.value.texts))
    raise RuntimeError("a synonym recovery asks nothing")


def votes(answers: Sequence[Answer]) -> list[str | None]:
    return [SST2.read(answer) for answer in answers]


def agreement(a: Sequence[object], b: Sequence[object]) -> float:
    return sum(x == y for x, y in zip(a, b, strict=True)) / len(a)


def certificates(ours: Any, queries: Sequence[Query], rounds: int) -> dict[str, float]:
    """What a certificate asks: noised copies of a text begin alike."""
    copies, loop = Series(), Series()
    for _ in range(rounds):
        copies.run(lambda: ours.answer(queries))
        loop.run(lambda: expanded_transformers(ours, queries, 32))  # type: ignore[arg-type, return-value]
    each = 1e3 / len(queries)
    return {
        "noised copies": len(queries),
        "noised copies, hf: ms a query": each * statistics.median(copies.seconds),
        "noised copies, prefix expanded at 32: ms a query": each * statistics.median(loop.seconds),
        "noised copies, times faster": _ratio(loop.seconds, copies.seconds),
        "noised copies, same label": agreement(votes(copies.answers), loop.answers),
    }


def compare(queries: Sequence[Query], golds: Sequence[str], rounds: int, padded_rows: int) -> dict[str, Any]:
    """All the figures."""
    ours, half = load("smollm2"), load("smollm2", HFOptions(dtype="float32"))
    theirs = load_model("smollm2")
    dtype = ours._engine.like.dtype
    for model in (ours, theirs):
        model.answer(queries[:8])
    hf, llama, wide, narrow, shares, peaks = Series(), Series(), Series(), Series(), [], []
    for _ in range(rounds):
        before = peak(dtype)
        llama.run(lambda: theirs.answer(queries))
        hf.run(lambda: ours.answer(queries))
        wide.run(lambda: expanded_transformers(ours, queries, 128))  # type: ignore[arg-type, return-value]
        narrow.run(lambda: expanded_transformers(ours, queries, 32))  # type: ignore[arg-type, return-value]
        peaks.append(max(before, peak(dtype)))
        shares.append(flops(ours, hf.answers) / hf.cpu[-1] / peaks[-1])
    theirs.close()
    computed = sum(answer.usage.input - answer.usage.cached for answer in hf.answers)
    each = 1e3 / len(queries)
    result = {
        "rows": len(queries),
        "dtype": str(dtype),
        "load average at the end": round(os.getloadavg()[0], 1),
        "hf: ms a query": each * statistics.median(hf.seconds),
        "hf: CPU ms a query": each * statistics.median(hf.cpu),
        "hf: computed tokens/s": computed / statistics.median(hf.seconds),
        "llama.cpp: ms a query": each * statistics.median(llama.seconds),
        "llama.cpp: CPU ms a query": each * statistics.median(llama.cpu),
        "times faster than llama.cpp": _ratio(llama.seconds, hf.seconds),
        "times less CPU than llama.cpp": _ratio(llama.cpu, hf.cpu),
        "transformers, prefix expanded at 128: ms a query": each * statistics.median(wide.seconds),
        "transformers, prefix expanded at 32: ms a query": each * statistics.median(narrow.seconds),
        "times faster than prefix expanded at 128": _ratio(wide.seconds, hf.seconds),
        "times faster than prefix expanded at 32": _ratio(narrow.seconds, hf.seconds),
        "matmul peak, GFLOP per CPU second": statistics.median(peaks) / 1e9,
        "share of the peak": statistics.median(shares),
        "accuracy hf": agreement(votes(hf.answers), golds),
        "accuracy llama.cpp": agreement(votes(llama.answers), golds),
        "same label as llama.cpp": agreement(votes(hf.answers), votes(llama.answers)),
    }
    return result | precision_and_batches(ours, half, queries, hf.answers, padded_rows)


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def precision_and_batches(
    ours: Any, half: Any, queries: Sequence[Query], answers: Sequence[Answer], padded_rows: int
) -> dict[str, Any]:
    """What moves a label: precision, and the batch; and the speed of padded batches."""
    few = queries[:padded_rows]
    single = half.answer(queries)
    rows, tokens = ours.limits.rows, ours.limits.tokens
    ours.limits.rows, ours.limits.tokens = 7, 300
    regrouped = ours.answer(queries)
    ours.limits.rows, ours.limits.tokens = rows, tokens
    start = time.process_time()
    together = padded_transformers(ours, few, 32)
    padded_seconds = time.process_time() - start
    start = time.process_time()
    ours.answer(few)
    packed_seconds = time.process_time() - start
    return {
        "same label as float32": agreement(votes(answers), votes(single)),
        "scores with the same bits in other batches": agreement(
            [answer.label_logprobs for answer in answers], [answer.label_logprobs for answer in regrouped]
        ),
        "labels kept in other batches": agreement(votes(answers), votes(regrouped)),
        "padded transformers: labels kept at batch 1 and 32": agreement(together, padded_transformers(ours, few, 1)),
        "padded transformers: CPU ms a query at batch 32": 1e3 * padded_seconds / len(few),
        "times less CPU than padded transformers": padded_seconds / packed_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="JSONL with text and label")
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--padded-rows", type=int, default=40, help="rows for the padded peer, which is slow")
    parser.add_argument("--noised-rows", type=int, default=12, help="rows of which 100 noised copies are asked")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with options.data.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][: options.rows]
    queries = [SST2.query(row["text"]) for row in rows]
    figures = compare(queries, [row["label"] for row in rows], options.rounds, options.padded_rows)
    ours = load("smollm2")
    ours.answer(queries[:8])
    copies = [SST2.query(text) for row in rows[: options.noised_rows] for text in noised(row["text"], 100)]
    figures |= certificates(ours, copies, options.rounds)
    for name, value in figures.items():
        print(f"{name:60} {value:.3f}" if isinstance(value, float) else f"{name:60} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
