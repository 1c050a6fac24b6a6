"""Runs one sans-I/O computation to its end against a base classifier, a helper model and an encoder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from clucert.errors import UsageError
from clucert.models.legible import KEPT, distinct
from clucert.protocols import Classifier, Encoder, LanguageModel
from clucert.types import Classify, Encode, Generate, Phase, Request, Stage, Unread, Usage, Work

T = TypeVar("T")


class Progress(Protocol):
    """Told before each batch of votes; must be cheap."""

    def __call__(self, stage: Stage, samples: int) -> None:
        """``samples`` noised texts of ``stage`` are about to be voted on."""
        ...


@dataclass(slots=True)
class Cost:
    """What a computation cost: calls and tokens by kind of work, wall time by kind of work, in seconds."""

    samples: int = 0
    """Noised texts that were voted on; identical ones share a call when the model is deterministic."""
    classify: Usage = field(default_factory=Usage)
    generate: Usage = field(default_factory=Usage)
    """The helper model's: refine and fill."""
    seconds: defaultdict[Work, float] = field(default_factory=lambda: defaultdict(float))
    unread: list[Unread] = field(default_factory=list)
    """Examples of answers that were no votes, no two alike; those of the selecting samples come first."""

    def show(self, unread: Sequence[Unread]) -> None:
        """Keep examples, as long as there is room."""
        self.unread = distinct([*self.unread, *unread])[:KEPT]

    @property
    def total(self) -> Usage:
        """Calls and tokens of both models."""
        return self.classify + self.generate


@dataclass(frozen=True, slots=True)
class Backends:
    """Who answers the requests of a computation. The helper and the encoder are needed only by some methods."""

    classifier: Classifier
    helper: LanguageModel | None = None
    encoder: Encoder | None = None


def drive(steps: Generator[Request, Any, T], backends: Backends, progress: Progress | None = None) -> tuple[T, Cost]:
    """Run ``steps`` to the end: (its result, what it cost).

    Raises whatever the generator or a backend raises; a vote is never made up.
    """
    cost = Cost()
    work: Work = "noise"
    reply: Any = None
    while True:
        began = time.perf_counter()
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            cost.seconds[work] += time.perf_counter() - began
            return stop.value, cost
        cost.seconds[work] += time.perf_counter() - began
        if isinstance(request, Phase):
            work, reply = request.work, None
            continue
        began = time.perf_counter()
        reply, spent_on = _serve(request, backends, cost, progress, work)
        cost.seconds[spent_on] += time.perf_counter() - began


def _serve(
    request: Classify | Generate | Encode, backends: Backends, cost: Cost, progress: Progress | None, work: Work
) -> tuple[Any, Work]:
    match request:
        case Encode():
            if backends.encoder is None:
                raise UsageError("this method compares texts: give an encoder")
            return backends.encoder.encode(request.texts), "encode"
        case Generate():
            if backends.helper is None:
                raise UsageError("this method asks a helper model (refine or fill): give one with --helper-model")
            answers = backends.helper.answer(request.queries)
            cost.generate += Usage.total([answer.usage for answer in answers])
            return [a.text for a in answers], work
        case Classify():
            samples = len(request.texts) if request.samples is None else request.samples
            if progress:
                progress(request.stage, samples)
            predictions = backends.classifier.predict(request.texts, first_draw=request.first_draw)
            cost.samples += samples
            cost.classify += predictions.usage
            cost.show(predictions.unread)
            return list(predictions.votes), "model"
