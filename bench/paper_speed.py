"""Queries a second of the two local backends on the same weights and questions, and what a fill costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clucert.core.noise.fill import LlmRecovery
from clucert.core.noise.retention import parse_mask_rate, retained_count, rng_for, sample_retention
from clucert.core.words import split
from clucert.models.load import load_model
from clucert.protocols import LanguageModel
from clucert.tasks import load_task
from clucert.types import Query
from paper_grid import noised
from paper_models import shown
from proofs import rows_of

Fields = dict[str, Any]


def peer_of(model: str) -> str | None:
    """The same weights in the other local backend."""
    name = model.removeprefix("hf/")
    if name == model:
        return None
    return name if name == "smollm2" else f"llamacpp/{name}"


def speed(model: str, data: Path, task: str, count: int, say: Callable[[str], None]) -> Fields:
    """Queries a second of hf and llama.cpp on the same noised copies, and a fill beside a label query."""
    peer = peer_of(model)
    if peer is None:
        return {}
    rows = rows_of(data / f"{task}_validation.jsonl", 4)
    asked = load_task(task)
    texts = [t for row in rows for t in noised(split(row.text), "mask", "0.7", count // 4).texts]
    queries = [asked.query(text) for text in dict.fromkeys(texts)]
    fills = _fills([split(row.text) for row in rows], max(4, count // 8))
    found = {}
    for name in (model, peer):
        say(f"{task}: speed of {name}")
        loaded = load_model(name)
        try:
            loaded.answer(queries[:4])
            found[shown(name)] = {"label": _per_second(loaded, queries), "fill": _per_second(loaded, fills)}
        finally:
            loaded.close()
    return {"queries": len(queries), "fills": len(fills), "backends": found}


def _per_second(model: LanguageModel, queries: Sequence[Query]) -> float:
    began = time.perf_counter()
    model.answer(queries)
    return len(queries) / (time.perf_counter() - began)


def _fills(texts: Sequence[Any], count: int) -> list[Query]:
    found: list[Query] = []
    rate, each = parse_mask_rate("0.7"), -(-count // len(texts))
    for i, text in enumerate(texts):
        rng = rng_for(0, i, "fill")
        sets = sample_retention(rng, len(text), retained_count(len(text), rate), each)
        found += next(LlmRecovery().recover(text, sets, rng, "predict")).queries
    return found
