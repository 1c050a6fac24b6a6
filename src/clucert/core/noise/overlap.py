"""The one theorem of the sampled noises: two laws that share a part.

**Theorem.** Let the noised texts of x and x′ have the laws

    law(x) = A·ν + (1 − A)·ρ,    law(x′) = B·ν + (1 − B)·ρ′

with A > 0, B > 0 and any laws ν, ρ, ρ′. Let h vote on a noised text and p_c be the probability of the vote c. Then for
every h and all classes c ≠ j

    p_c(x′) ≥ (B/A)·(p_c(x) − 1 + A)                                                        (*floor*)
    p_c(x′) − p_j(x′) ≥ (B/A)·(p_c(x) − p_j(x) − 1 + A) − (1 − B),

which is above 0 exactly when ``p_c(x) − p_j(x) > 1 + A/B − 2·A``                             (*slack*).

*Proof.* Write ν_c for the probability of c under ν. Then p_c(x) ≤ A·ν_c + 1 − A, so ν_c ≥ (p_c(x) − 1 + A)/A, and
p_c(x′) ≥ B·ν_c. For the difference D = p_c − p_j, which is in [−1, 1] under any law, D(x) ≤ A·D(ν) + 1 − A and
D(x′) ≥ B·D(ν) − (1 − B). Eliminate ν. ∎

With A = B = ω it is the coupling bound 2·(1 − ω) of RanMASK (Zeng et al., 2023) and of docs/guarantees.md. For A = 1 or
B = 1 it is sharper than any bound by the total variation alone. It is tight for one x′ where ρ and ρ′ have disjoint
supports, of each other and of ν.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from clucert.core.bounds import Number
from clucert.core.radius import Exceeds, Radius

NEVER = Fraction(2)
"""A slack that no margin exceeds: margins are at most 1."""


@dataclass(frozen=True, slots=True)
class SharedNoise:
    """``before`` is A and ``after`` is B of the theorem; both 0 where nothing is known to be shared."""

    before: Fraction
    after: Fraction

    @property
    def slack(self) -> Fraction:
        """The answer stays if p_low(ĉ) − p_up(j) is *more* than this for every j ≠ ĉ."""
        if not self.before or not self.after:
            return NEVER
        return 1 + self.before / self.after - 2 * self.before

    def floor(self, low: Number) -> Fraction:
        """The lowest that p_c(x′) can be where p_c(x) ≥ ``low``."""
        if not self.before or not self.after:
            return Fraction(0)
        return max(Fraction(0), self.after / self.before * (Fraction(low) - 1 + self.before))

    def errors(self, theta: Fraction) -> Fraction:
        """p_c(x′) is at least θ > 0 where all else has a probability of at most this, and more than θ where less."""
        return self.before * (1 - theta / self.after) if self.before and self.after else -NEVER


ErrsBelow = Callable[[Fraction], bool]
"""Whether the probability of everything but one class is shown to be below this."""


class SampledNoise(Protocol):
    """A noise that keeps some of the tokens of a text, whose number n an attacker may change."""

    threats: ClassVar[tuple[str, ...]]
    """Those that a certificate names."""

    def sample(self, rng: np.random.Generator, n: int, samples: int) -> NDArray[np.bool_]:
        """Which tokens are kept, shape (samples, n)."""
        ...

    def slack(self, threat: Any, n: int, r: int) -> Fraction:
        """How much of the margin r operations can take: certified is what is *more*."""
        ...

    def floor(self, threat: Any, n: int, r: int, low: Number) -> Fraction:
        """The lowest probability of a class after r operations that had at least ``low`` before."""
        ...

    def radius(self, exceeds: Exceeds, threat: Any, n: int) -> Radius | None:
        """The largest r (inclusive) with a margin above the slack of it and of all smaller; None when not of 0."""
        ...

    def errors(self, threat: Any, n: int, r: int, theta: Fraction) -> Fraction:
        """A class keeps a probability of at least θ after r operations where all else has at most this now."""
        ...

    def stays(self, errs_below: ErrsBelow, threat: Any, n: int, theta: Fraction) -> Radius | None:
        """The largest r such that a class keeps a probability of θ under it and all smaller; None when not under 0."""
        ...


def worst_slack(overlaps: Iterable[SharedNoise]) -> Fraction:
    """The slack against an attacker who may choose any of these."""
    return max(overlap.slack for overlap in overlaps)


def worst_floor(overlaps: Iterable[SharedNoise], low: Number) -> Fraction:
    """The lowest p_c(x′) against an attacker who may choose any of these."""
    return min(overlap.floor(low) for overlap in overlaps)


def worst_errors(overlaps: Iterable[SharedNoise], theta: Fraction) -> Fraction:
    """:meth:`SharedNoise.errors` against an attacker who may choose any of these."""
    return min(overlap.errors(theta) for overlap in overlaps)


def largest(holds: Callable[[int], bool], limit: int | None = None) -> Radius | None:
    """The largest r ≤ ``limit`` such that ``holds`` is true of it and of every smaller one, or None when not of 0.

    ``limit`` is the number of changes the threat has room for (every token deleted); None where there is no end. Then
    ``holds`` must become false.
    """
    if not holds(0):
        return None
    r = 0
    while r != limit and holds(r + 1):
        r += 1
    return Radius(r, everything=r == limit)
