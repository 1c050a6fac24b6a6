"""A small world for the executor and the run: real noise, filter and certificate; models and encoder that hash."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.refine import EmbeddingRefiner, LlmRefiner, NoRefiner
from clucert.core.settings import Base, Look, Settings
from clucert.core.smoothing import Smoother
from clucert.core.words import WordedText
from clucert.types import Answer, Message, Query, Usage, Vote

LABELS = ("positive", "negative")
POOLS = {
    "good": ("good", "fine", "nice"),
    "plot": ("plot", "story", "tale"),
    "cast": ("cast", "crew", "team"),
    "dull": ("dull", "slow", "tame"),
    "film": ("film", "movie", "picture"),
}
TEXTS = tuple(
    f"a {a} {b} with a {c} , and {n} reasons to see this {a} film"
    for a in ("good", "dull")
    for b in ("plot", "film")
    for c in ("cast",)
    for n in ("two", "nine", "ten")
)


def digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class SmallLexicon:
    name: str = "small"

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (w,) if p else (w, *(c for c in POOLS.get(w, ()) if c != w))
            for w, p in zip(text.words, protected, strict=True)
        )


@dataclass(frozen=True)
class SmallTask:
    """Positive or negative; above temperature 0 the draws are numbered."""

    name: str = "small"
    labels: tuple[str, ...] = LABELS
    temperature: float = 0.0

    def query(self, text: str, *, draw: int = 0) -> Query:
        return Query(
            messages=(Message("system", "Positive or negative?"), Message("user", text)),
            prefix="Positive or negative?\n",
            suffix=text,
            labels=self.labels,
            temperature=self.temperature,
            seed=draw if self.temperature else None,
        )

    def read(self, answer: Answer) -> Vote:
        return answer.text if answer.text in self.labels else None


def say(query: Query) -> Answer:
    """A fixed function of the query: mostly what the text's first adjective says, sometimes unparsed."""
    text = query.messages[-1].content
    usage = Usage(calls=1, input=len(text.split()), output=1)
    if query.messages[0].content != "Positive or negative?":
        words = re.findall(r"(?<!\S)\d+:\S+", text)
        return Answer(", ".join(sorted(words, key=digest)[:8]), usage=usage)
    number = digest(f"{text}{query.seed}") % 100
    if number < 2:
        return Answer("no idea", usage=usage)
    leaning = any(word in text for word in POOLS["good"])
    return Answer(LABELS[leaning == (number < 12)], usage=usage)


@dataclass
class BatchModel:
    """Answers batches in the caller's thread, and remembers them."""

    name: str = "test/batch"
    deterministic: bool = True
    batch_size: int = 32
    batches: list[list[Query]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    seconds: float = 0.0
    """That each batch takes, in which others may queue."""

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        self.batches.append(list(queries))
        time.sleep(self.seconds)
        self.threads.add(threading.current_thread().name)
        return [say(query) for query in queries]

    def close(self) -> None:
        pass

    @property
    def asked(self) -> Counter[Query]:
        return Counter(query for batch in self.batches for query in batch)


@dataclass
class ServerModel:
    """Answers one by one, later ones sometimes first."""

    name: str = "test/server"
    deterministic: bool = True
    asked: Counter[Query] = field(default_factory=Counter)
    in_flight: int = 0
    most: int = 0

    async def answer_async(self, query: Query) -> Answer:
        self.asked[query] += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(digest(query.messages[-1].content) % 4 / 2000)
            return self.reply(query)
        finally:
            self.in_flight -= 1

    def reply(self, query: Query) -> Answer:
        return say(query)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        raise AssertionError("a server is asked by answer_async")

    def close(self) -> None:
        pass


class CompanyEncoder:
    """Unit vectors that depend a little on the other texts of the call, as quantised ones may."""

    name = "company"

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, ...]] = Counter()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls[tuple(texts)] += 1
        rows = np.stack([self._bag(text) for text in texts])
        rows += 0.3 * rows.mean(axis=0)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _bag(self, text: str) -> NDArray[np.float64]:
        row = np.zeros(32)
        for word in text.split():
            row[digest(word) % 32] += 1.0
        return row


def small_smoother(**changes: Any) -> Smoother:
    """CluCERT in small: synonyms, clustering, refine by name."""
    made = Settings(
        base=Base(("table",), "test"),
        method="small",
        mask_rate=Fraction(7, 10),
        recovery="synonym",
        clustering="agglomerative",
        threshold=0.5,
        refine="off",
        refine_length=None,
        alpha=0.05,
        gamma=1.0,
        predict_samples=30,
        looks=(Look(90),),
        seed=5,
    )
    settings = replace(made, **changes)
    refiner = {"off": NoRefiner(), "llm": LlmRefiner(), "embedding": EmbeddingRefiner()}[settings.refine]
    denoiser = Denoiser(load_clusterer(settings.clustering), settings.threshold)
    return Smoother(settings, LABELS, SmallLexicon(), refiner, denoiser, show_samples=3)
