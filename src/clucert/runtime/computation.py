"""One sans-I/O computation under way, and the backends that answer its requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from clucert.protocols import Encoder, Steps
from clucert.types import Classify, Cost, Encode, Generate, Phase, SideBySide, Stage, Work

if TYPE_CHECKING:
    from clucert.runtime.classifiers import BaseClassifier
    from clucert.runtime.model_queue import ModelQueue


class Progress(Protocol):
    """Told before each batch of votes; must be cheap."""

    def __call__(self, stage: Stage, samples: int) -> None:
        """``samples`` noised texts of ``stage`` are about to be voted on."""
        ...


@dataclass(frozen=True, slots=True)
class Backends:
    """What answers the requests of a computation. The helper and the encoder are needed only by some methods.

    ``queues`` are all queues that ``classifier`` and ``helper`` use.
    """

    classifier: BaseClassifier | None = None
    queues: Sequence[ModelQueue] = ()
    helper: ModelQueue | None = None
    encoder: Encoder | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is not a phase, and what was prepared for the backend that answers it."""

    request: Classify | Generate | Encode | SideBySide
    prepared: Any = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a computation."""

    result: Any


@dataclass(slots=True)
class Computation:
    """One computation under way, and what it has cost so far."""

    make: Callable[[], Steps]
    progress: Progress | None = None
    cost: Cost = field(default_factory=Cost)
    work: Work = "noise"
    steps: Steps | None = None

    def advance(self, reply: Any) -> Question | Finished:
        """Send ``reply``, pass over the phases, and return the next question or the result."""
        if self.steps is None:
            self.steps = self.make()
        while True:
            began = time.perf_counter()
            try:
                request = self.steps.send(reply)
            except StopIteration as stop:
                return Finished(stop.value)
            finally:
                self.cost.seconds[self.work] += time.perf_counter() - began
            if not isinstance(request, Phase):
                return Question(request)
            self.work, reply = request.work, None
