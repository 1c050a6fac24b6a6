"""How far an answer holds: Δ, ω and the radii derived from them. Exact rational arithmetic, no I/O.

Symbols as in docs/guarantees.md: n words, of which s are retained per sample; D the changed positions; κ the
overlap of a position's kernel before and after an allowed replacement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from clucert.core.bounds import Number


@dataclass(frozen=True, slots=True)
class Radius:
    """``words`` may change (inclusive); ``everything`` says that this is every attackable word of the text.

    Where no word is attackable at all, nothing was tested: ``nothing_to_attack``, a state of its own, with 0 words.
    """

    words: int
    everything: bool = False
    nothing_to_attack: bool = False

    @property
    def final(self) -> bool:
        """Whether no votes could make it larger: it is all there is to change."""
        return self.everything or self.nothing_to_attack

    @property
    def endless(self) -> bool:
        """Whether any number of changes is certified, however many words the text has."""
        return self.everything and not self.words

    def reaches(self, delta: int) -> bool:
        """Whether it certifies δ changed words: ``everything`` does so for every δ, since no text has more to change.

        Where nothing can be attacked it holds for δ = 0 only: that no change exists is no robustness.
        """
        return self.words >= delta or self.everything


ENDLESS = sys.maxsize
"""More changes than any text has: a radius that reaches so many has no end, or is all that there is to change."""
Kind = str
"""Which radius: ``published``, or the threat that one is proved for. ``word``: units replaced, one for one."""
SAMPLED: tuple[Kind, ...] = ("published", "word", "synonym")
"""Those of a noise that keeps the number of words."""
KINDS: tuple[Kind, ...] = (*SAMPLED, "insert", "delete", "move", "edit", "append", "suffix", "ends", "block")
"""All, in the order in which they are shown."""


def delta(n: int, s: int, t: int) -> Fraction:
    """Δ_t = 1 − C(n−t, s) / C(n, s): the probability that one of t changed words is retained (paper, Theorem 1)."""
    if not 1 <= s <= n or not 0 <= t <= n:
        raise ValueError(f"needs 1 ≤ s ≤ n and 0 ≤ t ≤ n, got n={n} s={s} t={t}")
    return 1 - Fraction(comb(n - t, s), comb(n, s))


HALF = Fraction(1, 2)

Exceeds = Callable[[Fraction], bool]
"""Whether p(ĉ) − p(j) is shown to be more than this for every j ≠ ĉ."""


def known(margin: Number) -> Exceeds:
    """What a lower bound on p(ĉ) − p(j), or its exact value, shows."""
    return lambda slack: margin > slack


def published_slack(n: int, s: int, t: int, gamma: Number = 1) -> Fraction:
    """2·γ·Δ_t: how much of the margin ``t`` changed words can take."""
    return 2 * Fraction(gamma) * delta(n, s, t) if gamma else Fraction(0)


def published_radius(
    exceeds: Exceeds, n: int, s: int, *, gamma: Number = 1, attackable: int | None = None
) -> Radius | None:
    """r* = max { t : p_low(ĉ) − p_up(j) > 2·γ·Δ_t for every j } (paper, Algorithm 1), or None when no t qualifies.

    ``attackable`` caps t: no more words than these can change. None means all n.
    """
    limit = n if attackable is None else attackable
    return _largest(lambda t: exceeds(published_slack(n, s, t, gamma)), limit)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a threat model can do to this text, seen through the noise.

    ``masked`` holds κ^M of every *attackable* position (0 ≤ κ ≤ 1); ``retained`` is the smallest κ^K over them: 0 when
    retained words stay as they are, 1 when they are redrawn from, or mapped into, a class closed under the threat.
    """

    masked: tuple[Fraction, ...]
    retained: Fraction = Fraction(0)
    shared: tuple[Fraction, ...] = ()
    """Of open pools and kept words, for every attackable position: the least |P ∩ P′| / |P′| of an allowed swap."""
    growth: tuple[Fraction, ...] = ()
    """And the most max(1, |P| / |P′|): how much likelier than before a word of both pools can become."""

    @property
    def sealed(self) -> bool:
        """Whether the noise makes every allowed change vanish, wherever it is."""
        return self.retained == 1 and all(kappa == 1 for kappa in self.masked)

    def drawn(self, times: int) -> Overlap:
        """Of a vote that reads ``times`` independent recoveries of one masked text: they agree with κ^times."""
        if times == 1:
            return self
        masked, shared, growth = (tuple(each**times for each in one) for one in (self.masked, self.shared, self.growth))
        return Overlap(masked, self.retained**times, shared, growth)

    def omega(self, n: int, s: int, d: int) -> Fraction:
        """ω_min(d): a lower bound on the probability that the noise hides any d changes this threat allows.

        Exact when ``retained`` is 0 or every κ^M is the same: C(n−d, s)/C(n, s) · Π of the d smallest κ^M in the first
        case. Otherwise every changed position is charged the worst κ^M.
        """
        worst = sorted(self.masked)[:d]
        if self.retained == 0:
            product = Fraction(comb(n - d, s), comb(n, s))
            for kappa in worst:
                product *= kappa
            return product
        floor = worst[0] if worst else Fraction(1)
        ways = sum(
            comb(d, h) * comb(n - d, s - h) * self.retained**h * floor ** (d - h)
            for h in range(max(0, s - n + d), min(d, s) + 1)
        )
        return Fraction(ways) / comb(n, s)

    def slack(self, n: int, s: int, d: int) -> Fraction:
        """2·(1 − ω_min(d)): how much of the margin ``d`` changes can take."""
        return 2 * (1 - self.omega(n, s, d))

    def floor(self, n: int, s: int, d: int, low: Number) -> Fraction:
        """The lowest probability of an answer after ``d`` changes, where it was at least ``low``: the better bound.

        The first is the coupling's, low − (1 − ω). The second is sharper for open pools: on the retention sets that
        miss the changed words (a share ρ of all) no fill of both pools became likelier than by the factor ``growth``,
        so what was no vote for the answer, at most 1 − low in all, is at most (1 − low)·Π growth of ρ·Π shared.
        """
        plain = Fraction(low) - (1 - self.omega(n, s, d))
        if not self.shared or self.retained:
            return plain
        hidden, growth = self._open(n, s, d)
        return max(plain, hidden - (1 - Fraction(low)) * growth)

    def errors(self, n: int, s: int, d: int, theta: Fraction = HALF) -> Fraction:
        """The answer keeps a probability of more than θ after ``d`` changes where all other votes have less than this.

        At θ = ½ it stays the majority.
        """
        plain = self.omega(n, s, d) - theta
        if not self.shared or self.retained:
            return plain
        hidden, growth = self._open(n, s, d)
        return max(plain, (hidden - theta) / growth)

    def _open(self, n: int, s: int, d: int) -> tuple[Fraction, Fraction]:
        """ρ·Π shared and Π growth, each at its worst over the choice of d positions."""
        hidden, growth = Fraction(comb(n - d, s), comb(n, s)), Fraction(1)
        for share in sorted(self.shared)[:d]:
            hidden *= share
        for factor in sorted(self.growth, reverse=True)[:d]:
            growth *= factor
        return hidden, growth


def proved_radius(
    exceeds: Exceeds, n: int, s: int, overlap: Overlap, errs_below: Callable[[Fraction], bool] | None = None
) -> Radius | None:
    """r_proved = max { d : p_low(ĉ) − p_up(j) > 2·(1 − ω_min(d)) for every j } (docs/guarantees.md, the proved radius).

    With ``errs_below``, whether 1 − p(ĉ) is shown to be below a threshold, also what :meth:`Overlap.errors` adds.

    Holds for any h that is a function of the one noised text. None when not even d = 0 qualifies.
    """
    limit = len(overlap.masked)
    if overlap.sealed:
        return _of(limit, limit) if exceeds(Fraction(0)) else None
    if not overlap.shared or errs_below is None:
        return _largest(lambda d: exceeds(overlap.slack(n, s, d)), limit)
    return _largest(lambda d: exceeds(overlap.slack(n, s, d)) or errs_below(overlap.errors(n, s, d)), limit)


def kept_radius(
    errs_below: Callable[[Fraction], bool], n: int, s: int, overlap: Overlap, theta: Fraction
) -> Radius | None:
    """The largest d such that a class keeps a probability of θ (:meth:`Overlap.errors`); None when not for d = 0."""
    limit = len(overlap.masked)
    if overlap.sealed:
        return _of(limit, limit) if errs_below(1 - theta) else None
    return _largest(lambda d: errs_below(overlap.errors(n, s, d, theta)), limit)


def _largest(holds: Callable[[int], bool], limit: int) -> Radius | None:
    """The largest t in 0…limit such that ``holds`` is true of it and of every smaller one.

    Not by bisection: tests that are read several times need not be monotone in t, and must not be trusted to be.
    """
    t = -1
    while t < limit and holds(t + 1):
        t += 1
    return None if t < 0 else _of(t, limit)


def _of(words: int, limit: int) -> Radius:
    return Radius(words, everything=words == limit > 0, nothing_to_attack=limit == 0)


def as_swaps(radius: Radius, attackable: int) -> Radius:
    """What a radius against any words says of swaps that are possible at ``attackable`` positions only."""
    return _of(min(radius.words, attackable), attackable)
