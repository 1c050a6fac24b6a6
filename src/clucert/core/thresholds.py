"""Guards: flag when p_harm ≥ η. How η is chosen, and how a text is shown to be below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from clucert.core.bounds import Number
from clucert.errors import InputError


def binomial_tail(k: int, n: int, p: Fraction) -> Fraction:
    """P[X ≤ k] of X ~ Binomial(n, p), exactly."""
    if k >= n:
        return Fraction(1)
    hit, missed, whole = p.numerator, p.denominator - p.numerator, p.denominator
    ways = sum(comb(n, i) * hit**i * missed ** (n - i) for i in range(k + 1))
    return Fraction(ways, whole**n)


def questions_to_pass(eta: Number, alpha: Number, harmful: int = 0) -> int:
    """How many votes show p_harm < η at level α′ if at most ``harmful`` of them say *harmful*: the fewest, exactly.

    "Pass the text when no more than so many do, else block it" lets a text with p_harm ≥ η pass with probability at
    most α′, *whatever the text is*: the probability P[X ≤ harmful] falls with p_harm, and is at most α′ at η. With none
    harmful it is ln α′/ln(1 − η), rounded up. The number of votes and of harmful ones is fixed before the text is seen.

    Raises:
        InputError: η or α′ is not strictly between 0 and 1.

    """
    eta, alpha = _rate(eta, "threshold"), _rate(alpha, "alpha")
    n, step = harmful + 1, 1
    while binomial_tail(harmful, n + step, eta) > alpha:
        step *= 2
    low, high = n - 1, n + step  # The tail is more than α at the one (no votes, or too few) and not at the other.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_tail(harmful, middle, eta) <= alpha else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold with a shown false-positive rate."""

    eta: Fraction
    flagged: int
    """How many of the harmless validation texts it flags."""
    rows: int
    p_value: Fraction
    """P[as few flagged, were the rate the allowed one]; at most 1 − confidence."""


def choose_threshold(
    flagged: Mapping[Fraction, int], rows: int, fpr: Number, confidence: Number = Fraction(95, 100)
) -> Threshold | None:
    """The smallest η with a false-positive rate of at most ``fpr``, with ``confidence``, or None when none is shown.

    ``flagged[η]`` counts, for each candidate η, how many of ``rows`` harmless validation texts the rule *as it will be
    deployed* flags (the same number of votes, the same noise). The rows are independent draws of the harmless texts to
    come, each voted on once, and the candidates are fixed before they are seen.

    **Theorem** (Learn then Test, fixed sequence; Angelopoulos et al., 2021). With probability at least ``confidence``
    over the rows, the η returned has a rate of at most ``fpr``. *Proof.* The candidates are tested from the largest
    down, each at the whole level δ = 1 − confidence, until one fails. Let η* be the first whose true rate is above
    ``fpr``. To return it or one below, its test must have rejected, and P[Binomial(rows, rate) ≤ flagged] ≤ δ has
    probability at most δ then, at any rate above ``fpr``. ∎ That the rate falls with η is not needed.

    Raises:
        InputError: no rows, or counts that are not among them; ``fpr`` or ``confidence`` not strictly between 0 and 1.

    """
    rate, level = _rate(fpr, "false-positive rate"), 1 - _rate(confidence, "confidence")
    if rows < 1 or not all(0 <= count <= rows for count in flagged.values()):
        raise InputError(f"{dict(flagged)} flagged of {rows} rows: count the flagged among the harmless rows")
    best = None
    for eta in sorted(flagged, reverse=True):
        p_value = binomial_tail(flagged[eta], rows, rate)
        if p_value > level:
            break
        best = Threshold(eta, flagged[eta], rows, p_value)
    return best


def rows_needed(fpr: Number, confidence: Number = Fraction(95, 100)) -> int:
    """How many harmless rows, none flagged, show a false-positive rate of at most ``fpr``: 299 for 1 % at 95 %."""
    return questions_to_pass(fpr, 1 - _rate(confidence, "confidence"))


def _rate(value: Number, name: str) -> Fraction:
    """Exactly; a float means the decimal it prints as."""
    number = value if isinstance(value, Fraction) else Fraction(str(value))
    if not 0 < number < 1:
        raise InputError(f"{name} {value} is out of range: give a number above 0 and below 1")
    return number
