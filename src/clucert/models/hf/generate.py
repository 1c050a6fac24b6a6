"""Generation behind a shared prefix: greedy or sampled, each text with random numbers of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from clucert.models.hf.engine import InferenceEngine
from clucert.models.labels import Tokens


@dataclass(slots=True)
class Text:
    """One text to be continued."""

    prompt: Tokens
    """Behind the shared prefix."""
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]
    rng: np.random.Generator
    output: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    """By an end token or a stop string, not by ``max_tokens``."""


def generator(prefix: Tokens, prompt: Tokens, seed: int) -> np.random.Generator:
    """The random numbers of one draw: a function of the prompt and of the draw's index, so draws are independent."""
    digest = hashlib.sha256(np.asarray([*prefix, -1, *prompt], dtype=np.int64).tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype=np.uint32).tolist()])


def generate(
    engine: InferenceEngine,
    prefix: Tokens,
    texts: Sequence[Text],
    ends: frozenset[int],
    decode: Callable[[Tokens], str],
) -> None:
    """Fill ``output`` and ``text`` of each: up to ``max_tokens``, an end token, or the first of its stop strings."""
    live = [text for text in texts if text.max_tokens > 0]
    if not live:
        return
    growing = engine.grow(prefix, [text.prompt for text in live], max(text.max_tokens for text in live))
    rows = list(range(len(live)))
    while True:
        chosen = choose(growing.logits, live, rows)
        for row in rows:
            live[row].output.append(chosen[row])
        rows = [row for row in rows if not _finished(live[row], ends, decode)]
        if not rows:
            return
        if 8 * len(rows) <= 7 * len(live):
            growing.keep(rows)
            live, chosen, rows = [live[r] for r in rows], [chosen[r] for r in rows], list(range(len(rows)))
        growing.step(chosen)


def choose(logits: Tensor, texts: Sequence[Text], rows: Sequence[int]) -> list[int]:
    """The next token of each text: the likeliest, or one drawn from softmax(logits / temperature) by inversion.

    Texts that are not among ``rows`` are done; they get a token that is not used.
    """
    chosen: list[int] = logits.argmax(-1).tolist()
    for row in rows:
        text = texts[row]
        if text.temperature > 0:
            steps = torch.softmax(logits[row].double() / text.temperature, -1).cumsum(0)
            point = text.rng.random() * float(steps[-1])
            found = int(
                torch.searchsorted(steps, torch.tensor(point, dtype=steps.dtype, device=steps.device), right=True)
            )
            chosen[row] = min(found, len(steps) - 1)
    return chosen


def _finished(text: Text, ends: frozenset[int], decode: Callable[[Tokens], str]) -> bool:
    ended = text.output[-1] in ends
    text.text = decode(tuple(text.output[:-1] if ended else text.output))
    cuts = [at for stop in text.stop if stop and (at := text.text.find(stop)) >= 0]
    if cuts:
        text.text = text.text[: min(cuts)]
    text.ended = ended or bool(cuts)
    return text.ended or len(text.output) >= text.max_tokens
