"""Two runs on the same inputs: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clucert.errors import InputError
from clucert.evaluate.metrics import RESAMPLES, Estimate, Outcome, bootstrap_mean, check_outcomes, endless

_BATCH = 500


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test of CertAcc(δ): of the pairs on which the runs differ, do both runs win equally often?"""

    delta: int
    both: int
    first_only: int
    second_only: int
    neither: int
    p_value: float
    """Two-sided, exact: binomial test of ``first_only`` of ``first_only + second_only`` at ½; 1 without such pairs."""
    p_holm: float
    """The same, adjusted for all the δ of the comparison (Holm)."""

    @property
    def difference(self) -> float:
        """CertAcc(δ) of the second run minus that of the first, over the pairs."""
        pairs = self.both + self.first_only + self.second_only + self.neither
        return (self.second_only - self.first_only) / pairs


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second run against the first, over the ``pairs`` that both have scored."""

    pairs: int
    missing: int
    """Inputs that only one of the runs has."""
    failed: int
    """Inputs that both have and where a call failed in one: not certified there, unless they were to be left out."""
    unlabelled: int
    """Inputs that both have, left out because they have no gold label."""
    first_r_avg: float | None
    """None, like the three below, where a radius of either run has no end, as that of a flag under any text around."""
    second_r_avg: float | None
    r_avg: Estimate | None
    """Mean of (second − first) certified radius, with its BCa bootstrap interval over the pairs."""
    p_value: float | None
    """Of the same difference: two-sided paired permutation test, exact up to 13 pairs, else 9,999 random sign flips."""
    certified: tuple[McNemar, ...]
    nothing_to_attack: tuple[float, float]
    """Shares of the pairs in which the first run, and the second, has no word that could change."""


def compare_runs(
    first: Iterable[Outcome],
    second: Iterable[Outcome],
    rng: np.random.Generator,
    *,
    deltas: Sequence[int] = (0, 1, 2, 3),
    level: float = 0.95,
    leave_out_failed: bool = False,
) -> Comparison:
    """Pair two runs by input id and test their difference. ``rng`` is for the bootstrap and the permutations.

    With ``leave_out_failed`` the pairs are those of which neither failed.

    Raises :class:`InputError` when an input is twice in a run, when the runs do not agree on its gold label, and when
    no pair is left.
    """
    one = {o.id: o for o in check_outcomes(first)}
    two = {o.id: o for o in check_outcomes(second)}
    shared = [(one[name], two[name]) for name in one if name in two]
    for a, b in shared:
        if a.gold != b.gold:
            raise InputError(
                f"input {a.id!r} has gold label {a.gold!r} in one run and {b.gold!r} in the other: "
                "compare runs on the same data"
            )
    answered = [(a, b) for a, b in shared if not (a.failed or b.failed)]
    pairs = [(a, b) for a, b in (answered if leave_out_failed else shared) if a.scored]
    if not any(a.scored for a, _ in answered):
        raise InputError("the runs share no input with a gold label that both answered: nothing can be compared")
    before = np.array([a.certified_radius or 0 for a, _ in pairs], dtype=float)
    after = np.array([b.certified_radius or 0 for _, b in pairs], dtype=float)
    has_means = not endless(outcome for pair in pairs for outcome in pair)
    return Comparison(
        pairs=len(pairs),
        missing=len(one) + len(two) - 2 * len(shared),
        failed=len(shared) - len(answered),
        unlabelled=sum(not a.scored for a, _ in answered),
        first_r_avg=float(before.mean()) if has_means else None,
        second_r_avg=float(after.mean()) if has_means else None,
        r_avg=bootstrap_mean(after - before, rng, level) if has_means else None,
        p_value=_permutation_p_value(after - before, rng) if has_means else None,
        certified=_mcnemar(pairs, deltas),
        nothing_to_attack=(
            sum(a.nothing_to_attack for a, _ in pairs) / len(pairs),
            sum(b.nothing_to_attack for _, b in pairs) / len(pairs),
        ),
    )


def _permutation_p_value(differences: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Two-sided p-value of mean difference 0: the sign of each pair's difference is as likely + as −."""
    if differences.size < 2 or not differences.any():
        return 1.0
    from scipy.stats import permutation_test

    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=_BATCH,
        rng=rng,
        vectorized=True,
    )
    return float(found.pvalue)


def sign_test(first: int, second: int) -> float:
    """Two-sided p-value of pairs that differ being as likely to speak for one side as for the other, exact."""
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def _mcnemar(pairs: Sequence[tuple[Outcome, Outcome]], deltas: Sequence[int]) -> tuple[McNemar, ...]:
    counts = []
    for delta in deltas:
        held = [(a.certified_at(delta), b.certified_at(delta)) for a, b in pairs]
        counts.append((held.count((True, False)), held.count((False, True)), held.count((True, True))))
    raw = [sign_test(first, second) for first, second, _ in counts]
    return tuple(
        McNemar(delta, both, first, second, len(pairs) - both - first - second, p, adjusted)
        for delta, (first, second, both), p, adjusted in zip(deltas, counts, raw, holm(raw), strict=True)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the family-wise error stays below any level that these are compared to."""
    adjusted = [1.0] * len(p_values)
    least = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = float(least)
    return adjusted
