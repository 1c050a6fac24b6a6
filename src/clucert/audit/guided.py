"""A guided search in a ball: single steps are ranked by what they cost the answer, and the best are put together.

It climbs from the best step, adding what hurts most, up to the radius and one operation past it; then again from any
other. That it gets through one past the radius shows that it is not blind.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Any

import numpy as np

from clucert.audit.balls import Ball, Pieces
from clucert.audit.proposals import Material, Step, applied, proposals
from clucert.types import Request

Margins = Callable[[Sequence[Pieces]], Generator[Request, Any, Sequence[float]]]
"""How far the answer leads on each text: 0 or less where it is lost."""

FRESH = 32
"""Single steps that a round begins with."""
KEPT = 10
"""Of the best single steps, those that are tried on top of others."""
ADDED = 4
"""Fresh ones that are tried beside them."""
STALE = 6
"""Rounds in a row that find no new text, after which there is hardly any."""
DEEPEST = 24
"""Steps put together at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """A text, how far the answer leads there, and what it took."""

    margin: float
    pieces: Pieces
    cost: int
    """Operations, at most."""
    idea: str


@dataclass(slots=True)
class Search:
    """One search: ``text`` is the centre of the ball, ``budget`` how many texts are tried at most."""

    text: Pieces
    ball: Ball
    radius: int | None
    """None for no limit, and nothing past it."""
    material: Material
    margins: Margins
    rng: np.random.Generator
    budget: int
    tried: int = 0
    best: Found | None = None
    """Inside the ball."""
    past: Found | None = None
    """One operation past the radius."""
    inside: list[Found] = field(default_factory=list)
    """All that were tried inside the ball."""
    _seen: dict[Pieces, float] = field(default_factory=dict)

    def run(self, enough: Callable[[Found], bool]) -> Generator[Request, Any, None]:
        """Search until ``enough`` says so of a text inside the ball, or nothing is left to try or to spend."""
        steps = proposals(self.text, self.ball.operations, self._room, self.material, self.rng)
        ranked: list[tuple[float, Step]] = []
        stale = 0
        while self.tried < self.budget and stale < STALE:
            before = self.tried
            fresh = list(islice(steps, max(4, min(FRESH, self.budget // 3))))
            margins = yield from self._try([(step,) for step in fresh])
            # The first of equals is the likelier one: sorting is stable.
            ranked = sorted([*ranked, *zip(margins, fresh, strict=True)], key=lambda pair: pair[0])
            if self._done(enough) or not ranked:
                return
            first = len(ranked) == len(fresh)
            start = 0 if first else int(self.rng.integers(len(ranked)))
            yield from self._climb(ranked[start][1], [step for _, step in ranked], enough, greedy=first)
            if self._done(enough):
                return
            stale = stale + 1 if self.tried == before else 0

    def _climb(
        self, first: Step, ranked: Sequence[Step], enough: Callable[[Found], bool], *, greedy: bool
    ) -> Generator[Request, Any, None]:
        """Add to ``first`` what hurts most, up to one operation past the radius; now and then, unless ``greedy``, any
        step: what hurts in no single one may do so together.
        """
        state: tuple[Step, ...] = (first,)
        limit = self._limit
        while (cost := _cost(state)) < limit and len(state) < DEEPEST and self.tried < self.budget:
            room = max(1, self._room - cost)
            kept, added = (max(2, min(most, self.budget // 8)) for most in (KEPT, ADDED))
            fresh = islice(proposals(self.text, self.ball.operations, room, self.material, self.rng), added)
            options = [s for s in ranked if s not in state and s.fits(state) and cost + s.cost <= limit][:kept]
            options += [s for s in fresh if s.fits(state) and cost + s.cost <= limit]
            margins = yield from self._try([(*state, step) for step in options])
            if not options or min(margins) == inf or self._done(enough):
                return
            stray = not greedy and self.rng.random() < 0.3
            state = (*state, options[int(self.rng.integers(len(options)) if stray else np.argmin(margins))])

    @property
    def _room(self) -> int:
        return self.radius if self.radius is not None else max(40, len(self.text))

    @property
    def _limit(self) -> float:
        if self.radius is None:
            return inf
        return self.radius + (self.past is None or self.past.margin > 0)

    def _done(self, enough: Callable[[Found], bool]) -> bool:
        return self.best is not None and enough(self.best)

    def _try(self, states: Sequence[tuple[Step, ...]]) -> Generator[Request, Any, Sequence[float]]:
        """The margin of each state; infinite where no piece is left, and where the budget is spent."""
        texts = [applied(self.text, state) for state in states]
        new = [t for t in dict.fromkeys(texts) if t and t != self.text and t not in self._seen]
        new = new[: self.budget - self.tried]
        if new:
            self._seen.update(zip(new, (yield from self.margins(new)), strict=True))
            self.tried += len(new)
        for state, text in zip(states, texts, strict=True):
            if text in self._seen:
                self._note(Found(self._seen[text], text, _cost(state), state[-1].idea))
        return [self._seen.get(text, inf) for text in texts]

    def _note(self, one: Found) -> None:
        if self.radius is None or one.cost <= self.radius:
            self.inside.append(one)
            if self.best is None or one.margin < self.best.margin:
                self.best = one
        elif self.past is None or one.margin < self.past.margin:
            self.past = one


def _cost(state: Sequence[Step]) -> int:
    return sum(step.cost for step in state)
