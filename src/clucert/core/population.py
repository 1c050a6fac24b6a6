"""What a set of certificates says about the texts to come."""

from __future__ import annotations

from fractions import Fraction

from clucert.core.bounds import lower_bound
from clucert.errors import InputError

_GRID = 10**6


def share_at_least(successes: int, trials: int, confidence: float = 0.95) -> Fraction:
    """A share that the true one is at least, with ``confidence``: Clopper-Pearson, rounded down to a millionth.

    The rounding takes 1e-9 off first, far more than the error of the floating-point inverse of the beta function.
    """
    low = lower_bound(successes, trials, 1 - _confidence(confidence))
    return max(Fraction(0), Fraction(int((low - 1e-9) * _GRID), _GRID))


def robust_share(certified: int, rows: int, alpha: float, confidence: float = 0.95, claims: int = 1) -> Fraction:
    """The share of texts to come that are robust, at least, with ``confidence``.

    ``certified`` of ``rows`` independent draws from these texts have a certificate at a radius that was *chosen
    before*, each of which is wrong with probability at most ``alpha`` (0 for exact ones). When the best of several
    radii will be quoted, or several at once, ``claims`` says how many: the error is shared among them.

    **Theorem.** P(robust) ≥ (P(certified) − α)/(1 − α).
    *Proof.* A text that is not robust is certified with probability at most α, so
    P(certified) ≤ P(robust) + α·(1 − P(robust)). ∎ P(certified) has the Clopper-Pearson bound, by independence of the
    rows.

    Raises:
        InputError: α is not in [0, 1), the confidence not in (0, 1), or the counts make no share.

    """
    if not 0 <= alpha < 1:
        raise InputError(f"alpha {alpha} is out of range: give 0 for exact certificates, or a number below 1")
    if claims < 1 or not 0 <= certified <= rows or not rows:
        raise InputError(f"{certified} certificates of {rows} rows, {claims} claims: nothing can be said")
    error = Fraction(str(1 - _confidence(confidence))) / claims
    low = share_at_least(certified, rows, float(1 - error))
    wrong = Fraction(str(alpha))
    return max(Fraction(0), (low - wrong) / (1 - wrong))


def _confidence(value: float) -> float:
    if not 0 < value < 1:
        raise InputError(f"confidence {value} is out of range: give a number above 0 and below 1")
    return value
