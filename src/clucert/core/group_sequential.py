"""A test that may be read several times, at its exact level: a group-sequential test of one probability.

"Shown that p(error) < threshold" is a test of p(error) ≥ threshold. It is read at looks; by look k it may have erred
with probability ``spent[k]`` at most, all looks up to k taken together. That probability is computed from the binomial
law of the whole path of counts, so a look whose outcome an earlier one would mostly have settled costs next to nothing,
where a union bound charges it in full (alpha spending: Lan and DeMets 1983, here with exact binomial probabilities).

Radii need no union bound over thresholds either: a radius d is claimed only with every smaller one, so a claim beyond
the true radius r contains the claim of r + 1, and that is one test at level α.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-9
"""Relative allowance for the rounding of summed probabilities."""
STEPS = 14
"""Bisections of :attr:`Path.upper`: it is 1e-4 too large at most."""


@lru_cache(maxsize=8192)
def boundaries(trials: tuple[int, ...], spent: tuple[float, ...], threshold: float) -> tuple[int, ...]:
    """Per look, the largest error count that shows p(error) < ``threshold``; −1 where none does.

    ``trials`` are cumulative and ``spent`` does not decrease. Whatever p ≥ ``threshold``, the probability that the
    count is at or below its boundary at some look up to k is at most ``spent[k]``.
    """
    alive, erred, before = np.ones(1), 0.0, 0
    found = []
    for count, level in zip(trials, spent, strict=True):
        alive = np.convolve(alive, _binomial(count - before, threshold))
        before = count
        reached = erred + np.cumsum(alive)
        most = int(np.searchsorted(reached, level * (1 - ROUNDING), side="right")) - 1
        if most >= 0:
            erred = float(reached[most])
            alive[: most + 1] = 0
        found.append(most)
    return tuple(found)


@lru_cache(maxsize=1024)
def _binomial(trials: int, p: float) -> NDArray[np.float64]:
    from scipy.special import gammaln, xlog1py, xlogy

    ks = np.arange(trials + 1)
    ways = gammaln(trials + 1) - gammaln(ks + 1) - gammaln(trials - ks + 1)
    return np.asarray(np.exp(ways + xlogy(ks, p) + xlog1py(trials - ks, -p)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Path:
    """Errors among the samples at each look that was taken (both cumulative), and the α spent by then."""

    trials: tuple[int, ...]
    errors: tuple[int, ...]
    spent: tuple[float, ...]

    def below(self, threshold: float) -> bool:
        """Whether some look shows that p(error) < ``threshold``."""
        if threshold <= 0 or not self.trials:
            return False
        if threshold > 1:
            return True
        allowed = boundaries(self.trials, self.spent, threshold)
        return any(seen <= most for seen, most in zip(self.errors, allowed, strict=True))

    @property
    def upper(self) -> float:
        """An upper bound on p(error): the test inverted. Radii do not use it: they test their own thresholds."""
        low, high = 0.0, 1.0
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.below(middle) else (middle, high)
        return high
