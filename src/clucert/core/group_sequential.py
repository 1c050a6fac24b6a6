"""A test that may be read several times, at its exact level: a group-sequential test of one probability.

"Shown that p(error) < threshold" is a test of p(error) ≥ threshold. It is read at looks; by look k it may have erred
with probability ``spent[k]`` at most, all looks up to k taken together. That probability is computed from the binomial
law of the whole path of counts, so a look whose outcome an earlier one would mostly have settled costs next to nothing,
where a union bound charges it in full (alpha spending: Lan and DeMets 1983, here with exact binomial probabilities).

Radii need no union bound over thresholds either: a radius d is claimed only with every smaller one, so a claim beyond
the true radius r contains the claim of r + 1, and that is one test at level α.

**Either direction.** Nobody has to choose ĉ beforehand: the test may be read for every class on the same votes, however
many classes there are, for thresholds up to ½. Let R_θ(p) be the probability that a class of probability p is ever
shown to have more than θ ≥ ½. It is a sum over the looks k and counts x ≥ m_k at which the boundary is first met, of
terms a·p^x·(1 − p)^(n_k − x) that are convex on [0, θ] because the boundaries are kept so high
(:func:`_convex`), and R_θ(0) = 0. A claim about a class that is not the majority needs p_c ≤ ½ and R_½; about the
majority c*, of probability p* ≤ θ, it needs R_θ with θ the first threshold that is not true. By superadditivity
Σ_{c ≠ c*} R_½(p_c) ≤ R_½(1 − p*), and R_θ(p*) + R_½(1 − p*) is convex in p* on [½, θ]: it is largest at an end. At ½ it
is at most 2·R_½(½), as a boundary is never below that of ½; at θ it is R_θ(θ) + R_½(1 − θ). Without a majority all
p_c ≤ ½, and Σ R_½(p_c) ≤ 2·R_½(½) by convexity. So R_½(½) gets half of α, and R_θ(θ) what R_½(1 − θ) leaves of it:
nearly all, but next to ½.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9
"""Relative allowance for the rounding of summed probabilities."""
STEPS = 14
"""Bisections of :attr:`Path.upper`: it is 1e-4 too large at most."""


def boundaries(
    trials: tuple[int, ...], spent: tuple[float, ...], threshold: float, either: bool = False
) -> tuple[int, ...]:
    """Per look, the largest error count that shows p(error) < ``threshold``; −1 where none does.

    ``trials`` are cumulative and ``spent`` does not decrease. Whatever p ≥ ``threshold``, the probability that the
    count is at or below its boundary at some look up to k is at most ``spent[k]``.

    With ``either``, ``threshold`` is at most ½ and everything that is not for a class is an error of it. Then the
    probability that anything false is shown of any class at some look up to k is at most ``spent[k]``, if of each
    class a threshold is taken for shown only with all larger ones up to ½ that are asked about.
    """
    if either and threshold > 0.5:
        raise ValueError(f"a majority errs less than half of the time, not {threshold}")
    rule: Rule = "either" if either else "one"
    return tuple(_at(trials[:k], spent[:k], threshold, rule).most for k in range(1, len(trials) + 1))


Rule = Literal["one", "either", "wrong"]
"""A test of one class; of every class; and how often the boundaries of ½ of the latter are met by another class."""


class _State(NamedTuple):
    """What has become of the paths of counts after a look."""

    alive: NDArray[np.float64]
    """Probability of each error count whose path has met no boundary yet."""
    erred: float
    """Probability that the count was ever at or below its boundary."""
    most: int
    """The boundary at this look."""


@lru_cache(maxsize=8192)
def _at(trials: tuple[int, ...], spent: tuple[float, ...], p: float, rule: Rule) -> _State:
    """After the last of these looks, for p(error) = ``p``, the threshold. Looks to come change nothing before them."""
    if not trials:
        return _State(np.ones(1), 0.0, -1)
    earlier = _at(trials[:-1], spent[:-1], p, rule)
    new = trials[-1] - (trials[-2] if len(trials) > 1 else 0)
    alive = np.convolve(earlier.alive, _binomial(new, p)) if new else earlier.alive.copy()
    reached = earlier.erred + np.cumsum(alive)
    most = _most(trials, spent, p, rule, reached)
    if most < 0:
        return _State(alive, earlier.erred, most)
    alive[: most + 1] = 0
    return _State(alive, float(reached[most]), most)


def _most(trials: tuple[int, ...], spent: tuple[float, ...], p: float, rule: Rule, reached: NDArray[np.float64]) -> int:
    """The boundary at the last look; ``reached`` is what would have been spent by then for each that there could be."""
    level, cap = spent[-1], trials[-1]
    if rule == "wrong":
        return _at(trials, spent, 0.5, "either").most
    if rule == "either" and p == 0.5:
        level /= 2
    elif rule == "either":
        level -= _at(trials, spent, 1 - p, "wrong").erred
        cap = _at(trials, spent, 0.5, "either").most
    most = min(cap, int(np.searchsorted(reached, level * (1 - ROUNDING), side="right")) - 1)
    while rule == "either" and most > 0 and not _convex(trials[-1], most, 1 - p):
        most -= 1
    return most


def _convex(trials: int, errors: int, theta: float) -> bool:
    """Whether p^x·(1 − p)^errors, x = trials − errors > errors, is convex for p in [0, theta]; for fewer errors too."""
    hits = trials - errors
    return hits > errors and theta * trials <= hits - (hits * errors / (trials - 1)) ** 0.5


@lru_cache(maxsize=1024)
def _binomial(trials: int, p: float) -> NDArray[np.float64]:
    from scipy.special import xlog1py, xlogy

    ks, ways = _ways(trials)
    return np.asarray(np.exp(ways + xlogy(ks, p) + xlog1py(trials - ks, -p)), dtype=np.float64)


@lru_cache(maxsize=1024)
def _ways(trials: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """0…trials, and the logarithms of the binomial coefficients."""
    from scipy.special import gammaln

    ks = np.arange(trials + 1)
    return ks, np.asarray(gammaln(trials + 1) - gammaln(ks + 1) - gammaln(trials - ks + 1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Path:
    """Errors among the samples at each look that was taken (both cumulative), and the α spent by then."""

    trials: tuple[int, ...]
    errors: tuple[int, ...]
    spent: tuple[float, ...]
    either: bool = False
    """Whether the class was chosen by these votes: see :func:`boundaries`."""

    def below(self, threshold: float) -> bool:
        """Whether some look shows that p(error) < ``threshold``."""
        if threshold <= 0 or not self.trials:
            return False
        if threshold > 1:
            return True
        # Less than half is more than what was asked for, and all that the test in either direction can show.
        threshold = min(threshold, 0.5) if self.either else threshold
        allowed = boundaries(self.trials, self.spent, threshold, self.either)
        return any(seen <= most for seen, most in zip(self.errors, allowed, strict=True))

    @property
    def upper(self) -> float:
        """An upper bound on p(error): the test inverted. Radii do not use it: they test their own thresholds."""
        return _upper(self)


@lru_cache(maxsize=1024)
def _upper(path: Path) -> float:
    if path.either and not path.below(0.5):
        return 1.0
    low, high = 0.0, 0.5 if path.either else 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if path.below(middle) else (middle, high)
    return high
