"""Queries a second of the two local backends on the same weights and questions, and what a fill costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clucert.core.noise.fill import LlmRecovery
from clucert.core.noise.retention import parse_mask_rate, retained_count, rng_for, sample_retention
from clucert.core.words import WordedText, split
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
    fills = _fills(split(rows[0].text), count // 2)
    alike = list(dict.fromkeys(asked.query(t) for t in noised(split(rows[0].text), "mask", "0.7", count // 2).texts))
    found = {}
    for name in (model, peer):
        say(f"{task}: speed of {name}")
        loaded = load_model(name)
        held = fills if getattr(loaded, "fills", False) else [replace(fill, blanks=None) for fill in fills]
        try:
            loaded.answer([*queries[:4], *held[:2]])
            found[shown(name)] = {"label": _per_second(loaded, queries)}
            # In turn, so that what else the machine does falls on both.
            label, fill = np.sum([(_seconds(loaded, alike), _seconds(loaded, held)) for _ in range(2)], axis=0) / 2
            found[shown(name)] |= {"alike": len(alike) / float(label), "fill": len(held) / float(fill)}
        finally:
            loaded.close()
    return {"queries": len(queries), "fills": len(fills), "backends": found}


def _per_second(model: LanguageModel, queries: Sequence[Query]) -> float:
    return len(queries) / _seconds(model, queries)


def _seconds(model: LanguageModel, queries: Sequence[Query]) -> float:
    began = time.perf_counter()
    model.answer(queries)
    return time.perf_counter() - began


def _fills(text: WordedText, count: int) -> list[Query]:
    """Of one text, all at once, as a certificate asks for them."""
    rng = rng_for(0, 0, "fill")
    sets = sample_retention(rng, len(text), retained_count(len(text), parse_mask_rate("0.7")), count)
    found: list[Query] = list(next(LlmRecovery().recover(text, sets, rng, "predict")).queries)
    return found
