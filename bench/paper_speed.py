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
TURNS = 3
"""Measurements of each figure."""


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
    first, *others = rows_of(data / f"{task}_validation.jsonl", 5)
    asked = load_task(task)

    def copies(text: str, number: int) -> list[Query]:
        return [asked.query(t) for t in dict.fromkeys(noised(split(text), "mask", "0.7", number).texts)]

    queries = [query for row in others for query in copies(row.text, count // 4)]
    queries = [queries[i] for i in np.random.default_rng(0).permutation(len(queries))]
    found = {}
    # As many fills at once as a certificate asks for. The peer has a slot for four, and takes no less for more.
    for name, at_once in ((model, count // 2), (peer, count // 6)):
        alike, fills = copies(first.text, TURNS * at_once), _fills(split(first.text), TURNS * at_once + 1)
        say(f"{task}: speed of {name}")
        loaded = load_model(name)
        held = fills if getattr(loaded, "fills", False) else [replace(fill, blanks=None) for fill in fills]
        try:
            # Warm: the model's first call builds what it keeps. Texts that are timed are not asked about here.
            loaded.answer([asked.query(text) for text in ("A text.", "Another one.")])
            loaded.answer(held[:1])
            turns = [
                (
                    len(some) / _seconds(loaded, some),
                    len(one) / _seconds(loaded, one),
                    len(filled) / _seconds(loaded, filled),
                )
                for some, one, filled in zip(_parts(queries), _parts(alike), _parts(held[1:]), strict=True)
            ]
            label, same, fill = np.array(turns).T
            found[shown(name)] = {
                "label": _middle(label),
                "alike": _middle(same),
                "fill": _middle(fill),
                "cost": _middle(same / fill),
                "at_once": at_once,
            }
        finally:
            loaded.close()
    return {"queries": len(queries), "turns": TURNS, "backends": found}


def _parts(queries: Sequence[Query]) -> list[Sequence[Query]]:
    return [queries[i::TURNS] for i in range(TURNS)]


def _middle(values: Sequence[float]) -> list[float]:
    return [float(np.median(values)), float(np.min(values)), float(np.max(values))]


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
