"""Deletion: words inserted, deleted, replaced, moved.

A text is a sequence of n tokens (:mod:`clucert.core.noise.tokens`; or of sentences, passages, …). A sample drops some
of them, and the vote sees the rest, in order. Two variants: each token is dropped on its own with probability p
(:class:`Deletion`), or s tokens are kept, uniformly, with **s a constant** (:class:`KeepSome`; a share of n will not
do, since the attacker changes n). The empty sub-text has a fixed vote.

**Theorem.** Let x (n tokens) and x′ (n′) have a common subsequence of ℓ tokens; a = n − ℓ, b = n′ − ℓ. Then the laws of
their sub-texts share a part in the sense of :mod:`clucert.core.noise.overlap`, with

    A = p^a, B = p^b        and for constant s        A = C(ℓ, s)/C(n, s), B = C(ℓ, s)/C(n′, s)  (0 where ℓ < s).

*Proof.* With probability A nothing outside the common subsequence survives in x. Given that, the sub-text is
distributed as that of the common subsequence alone: call this law ν. The same with B for x′. ∎

Hence, with margin m = p_low(ĉ) − p_up(j), the answer stays when for every j ≠ ĉ

    ≤ b tokens are inserted, anywhere                      m > p^(−b) − 1
    ≤ a tokens are deleted                                 m > 1 − p^a
    ≤ r tokens are inserted, deleted, replaced or moved    m > 2·(1 − p^r), in any mix

(an operation takes at most one token of x out of the common subsequence and brings at most one new one). The third line
is the worst over all a ≤ min(r, n) and b ≤ r *where the right side is below 1*, that is, where any margin can exceed
it; the code takes the maximum over a and does not rely on this. (Huang et al., RS-Del, NeurIPS 2023, certify edit
distances by deletion; the classes' margin and the three threats are ours.)

Counted are tokens of the tokenizer: a "word" typed by the attacker that splits into three tokens is three insertions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clucert.core.bounds import Number
from clucert.core.noise.overlap import ErrsBelow, SharedNoise, largest, worst_errors, worst_floor, worst_slack
from clucert.core.radius import Exceeds, Radius
from clucert.core.words import WordedText
from clucert.errors import InputError
from clucert.types import Recovered, Request, Stage

Threat = Literal["insert", "delete", "edit", "word"]
"""``edit``: any mix of tokens inserted, deleted, replaced and moved. ``word``: tokens replaced, one for one. All
anywhere in the text."""
THREATS: tuple[Threat, ...] = ("insert", "delete", "edit", "word")


def changes(threat: Threat, n: int, r: int) -> Iterator[tuple[int, int]]:
    """The worst (a, b) that r operations on n tokens can reach: tokens of x lost from, and of x′ outside, what is
    common.

    The slack grows with b for each a, and with a where b = 0, so these cover every smaller choice.
    """
    if threat == "insert":
        yield 0, r
    elif threat == "delete":
        yield min(r, n), 0
    elif threat == "word":
        yield min(r, n), min(r, n)
    else:
        yield from ((a, r) for a in range(min(r, n) + 1))


class Sampled:
    """Slack, floor and radius from the overlaps; a subclass says what overlaps."""

    threats: ClassVar[tuple[str, ...]] = THREATS

    def overlap(self, n: int, a: int, b: int) -> SharedNoise:
        """A and B when a of n tokens leave the common subsequence and b others join it."""
        raise NotImplementedError

    def _worst(self, threat: Threat, n: int, r: int) -> Iterator[tuple[int, int]]:
        """Those of ``changes`` among which slack and floor are worst: a radius of hundreds must not try them all."""
        return changes(threat, n, r)

    def _overlaps(self, threat: Any, n: int, r: int) -> Iterable[SharedNoise]:
        """Those that r operations can choose from, or the worst of them."""
        return (self.overlap(n, a, b) for a, b in self._worst(threat, n, r))

    def slack(self, threat: Any, n: int, r: int) -> Fraction:
        """How much of the margin r operations can take: certified is what is *more*."""
        return worst_slack(self._overlaps(threat, n, r))

    def floor(self, threat: Any, n: int, r: int, low: Number) -> Fraction:
        """The lowest probability of a class after r operations that had at least ``low`` before.

        "Flag when p_harm ≥ η" still flags where this is *at least* η.
        """
        return worst_floor(self._overlaps(threat, n, r), low)

    def radius(self, exceeds: Exceeds, threat: Any, n: int) -> Radius | None:
        """The largest r (inclusive) with a margin above the slack of it and of all smaller; None when not of 0."""
        return largest(lambda r: exceeds(self.slack(threat, n, r)), _limit(threat, n))

    def errors(self, threat: Any, n: int, r: int, theta: Fraction) -> Fraction:
        """A class keeps a probability of at least θ after r operations where all else has at most this now."""
        return worst_errors(self._overlaps(threat, n, r), theta)

    def stays(self, errs_below: ErrsBelow, threat: Any, n: int, theta: Fraction) -> Radius | None:
        """The largest r such that a class keeps a probability of θ under it and all smaller; None when not under 0."""
        return largest(lambda r: errs_below(self.errors(threat, n, r, theta)), _limit(threat, n))

    def flag_radius(self, low: Number, eta: Number, threat: Any, n: int) -> Radius | None:
        """The largest r such that p_harm ≥ ``eta`` > 0 stays true, where p_harm ≥ ``low`` now."""
        if not 0 < eta <= 1:
            raise InputError(f"threshold {eta} is out of range: give a number above 0, up to 1")
        return self.stays(lambda errors: 1 - Fraction(low) <= errors, threat, n, Fraction(eta))


def _limit(threat: str, n: int) -> int | None:
    return n if threat in ("replace", "word", "delete") else None


@dataclass(frozen=True, slots=True)
class Deletion(Sampled):
    """Each token is dropped independently with probability ``p``, an exact number in (0, 1)."""

    p: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise InputError(f"deletion rate {self.p} is out of range: give a number above 0 and below 1")

    def sample(self, rng: np.random.Generator, n: int, samples: int) -> NDArray[np.bool_]:
        """Which tokens are kept, shape (samples, n): each with probability exactly 1 − p.

        Raises:
            InputError: the denominator of p does not fit 63 bits.

        """
        if self.p.denominator >= 2**63:
            raise InputError(f"deletion rate {self.p} cannot be drawn exactly: give a decimal of up to 18 digits")
        return rng.integers(self.p.denominator, size=(samples, n)) >= self.p.numerator

    def overlap(self, n: int, a: int, b: int) -> SharedNoise:
        """A = p^a and B = p^b, whatever n is."""
        return SharedNoise(self.p**a, self.p**b)

    def _worst(self, threat: Threat, n: int, r: int) -> Iterator[tuple[int, int]]:
        """The slack is linear in p^a for each b, and the floor falls with a: the ends."""
        return iter(((0, r), (min(r, n), r))) if threat == "edit" else changes(threat, n, r)


@dataclass(frozen=True, slots=True)
class KeepSome(Sampled):
    """``kept`` tokens stay, uniformly over the sets of so many; a text that has no more stays as it is."""

    kept: int

    def __post_init__(self) -> None:
        if self.kept < 1:
            raise InputError(f"cannot keep {self.kept} tokens: give 1 or more")

    def sample(self, rng: np.random.Generator, n: int, samples: int) -> NDArray[np.bool_]:
        """Which tokens are kept, shape (samples, n): min(kept, n) in each row."""
        rows = np.zeros((samples, n), dtype=np.bool_)
        rows[:, : self.kept] = True
        return rng.permuted(rows, axis=1, out=rows)

    def _worst(self, threat: Threat, n: int, r: int) -> Iterator[tuple[int, int]]:
        """With m = n − a left in common the slack grows with m as long as C(m+r, s−1) > 2·C(m, s−1), and then falls;
        the floor falls with a. So the ends, the shortest m that shares anything, and the top.
        """
        if threat != "edit":
            return changes(threat, n, r)
        least, s = n - min(r, n), self.kept
        shared = min(max(least, s), n)
        top = bisect_left(range(shared, n), True, key=lambda m: comb(m + r, s - 1) <= 2 * comb(m, s - 1))
        return iter([(n - m, r) for m in sorted({least, shared, min(shared + top, n), n})])

    def overlap(self, n: int, a: int, b: int) -> SharedNoise:
        """A = C(n−a, s)/C(n, s) and B = C(n−a, s)/C(n−a+b, s); nothing is shared by texts too short to have both."""
        if a == b == 0:
            return SharedNoise(Fraction(1), Fraction(1))
        common = comb(n - a, self.kept)
        if not common:
            return SharedNoise(Fraction(0), Fraction(0))
        return SharedNoise(Fraction(common, comb(n, self.kept)), Fraction(common, comb(n - a + b, self.kept)))


class DeletionRecovery:
    """The kept tokens alone, joined by one space; the empty text where none is kept."""

    name = "deletion"
    deterministic = True

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """Drop what is not retained; ``rng`` is not read."""
        yield from ()
        return Recovered([" ".join([text.words[i] for i in np.flatnonzero(row)]) for row in retained])
