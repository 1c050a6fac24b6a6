"""Confidence bounds on the votes of a smoothed classifier, and the test that makes it abstain.

Pure functions of counts. Every bound is Clopper-Pearson: exact, never of zero width at 0 % or 100 %.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from clucert.types import Votes

Number = float | Fraction
UNPARSED = "UNPARSED"
"""The class of answers that name no label: counted, a runner-up, never a winner."""
RESERVED = frozenset({"unparsed", "dropped", "abstained"})
"""What stands beside labels where votes are counted or shown: never the name of a label, however it is written."""


def is_reserved(label: str) -> bool:
    """Whether ``label`` is a :data:`RESERVED` name, in any letter case, with any spaces or punctuation."""
    plain = unicodedata.normalize("NFKC", label).casefold()
    return "".join(filter(str.isalnum, plain)) in RESERVED


def lower_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided Clopper-Pearson lower bound: P[bound ≤ p] ≥ 1 − alpha, whatever p is."""
    _check(successes, trials, alpha)
    if successes == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(successes, trials - successes + 1, alpha))


def upper_bound(successes: int, trials: int, alpha: float) -> float:
    """One-sided Clopper-Pearson upper bound: P[bound ≥ p] ≥ 1 − alpha, whatever p is."""
    _check(successes, trials, alpha)
    if successes == trials:
        return 1.0
    from scipy.special import betainccinv

    return float(betainccinv(successes + 1, trials - successes, alpha))


def _check(successes: int, trials: int, alpha: float) -> None:
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), not {alpha}")


@dataclass(frozen=True, slots=True)
class ClassBounds:
    """Bounds with ``low`` ≤ p(ĉ) and p(j) ≤ ``high[j]``, jointly at level 1 − α for ĉ and any one other class j.

    The bounds are floats from samples, or exact fractions when every retention set was evaluated.
    """

    winner: str
    low: Number
    high: Mapping[str, Number]

    @property
    def margin(self) -> Number:
        """The smallest p_low(ĉ) − p_up(j) over the other classes: at level 1 − α no more than the true one."""
        return self.low - max(self.high.values())


def one_bound(labels: tuple[str, ...] | None, *, alone: bool = False) -> bool:
    """Whether all that is not ĉ counts as one class: with two labels or fewer, and with open answers. Samples that are
    dropped ``alone`` are a class beside two labels.
    """
    return labels is None or (len(labels) <= 2 and not alone)


def class_bounds(
    votes: Votes, winner: str, labels: tuple[str, ...] | None, alpha: float, *, alone: bool = False
) -> ClassBounds:
    """Bounds on the classifier whose votes are the *kept* samples (the published certificate, section 2).

    With two labels, or an open label set, one bound is needed: p(j) ≤ 1 − p(ĉ), so p_low(ĉ) gets all of α. With
    more, each bound gets α / 2, however many classes there are: a margin is too large only if it is so for the one
    class j that is nearest to ĉ in truth, so only the bounds of ĉ and of that j can be to blame. Which rule is used
    depends on the label set alone, never on the counts. ``alone``: samples are dropped each for its own sake, and each
    class is bounded by itself.
    """
    return _bounds(votes.kept, votes, winner, labels, alpha, missing=0, alone=alone)


def unfiltered_bounds(
    votes: Votes, winner: str, labels: tuple[str, ...] | None, alpha: float, *, alone: bool = False
) -> ClassBounds:
    """Bounds on the classifier of *all drawn* samples, of which some were dropped unseen (section 3).

    A dropped sample could have voted for anyone: it counts against ĉ and for every other class. One that was dropped
    ``alone`` is a vote for a class that never wins, so p(j) ≤ 1 − p(ĉ) would be all too much.
    """
    return _bounds(votes.drawn, votes, winner, labels, alpha, missing=0 if alone else votes.dropped, alone=alone)


def _bounds(
    total: int, votes: Votes, winner: str, labels: tuple[str, ...] | None, alpha: float, *, missing: int, alone: bool
) -> ClassBounds:
    if total == 0:
        return ClassBounds(winner, 0.0, {UNPARSED: 1.0})
    hits = votes.counts.get(winner, 0)
    rivals = [label for label in (labels or votes.counts) if label != winner]
    if one_bound(labels, alone=alone):
        low = lower_bound(hits, total, alpha)
        return ClassBounds(winner, low, dict.fromkeys([*rivals, UNPARSED], 1.0 - low))
    share = alpha / 2
    low = lower_bound(hits, total, share)
    counts = {label: votes.counts.get(label, 0) for label in rivals} | {UNPARSED: votes.unparsed}
    high = {label: min(upper_bound(c + missing, total, share), 1.0 - low) for label, c in counts.items()}
    return ClassBounds(winner, low, high)


def exact_bounds(votes: Votes, winner: str, *, alone: bool = False) -> ClassBounds:
    """The probabilities themselves, when ``votes`` holds every retention set once: no interval, α = 0."""
    if (votes.dropped and not alone) or not votes.kept:
        raise ValueError("exact bounds need the vote of every retention set")
    everyone = {**votes.counts, UNPARSED: votes.unparsed}
    shares = {label: Fraction(count, votes.drawn) for label, count in everyone.items()}
    low = shares.pop(winner, Fraction(0))
    return ClassBounds(winner, low, shares)


def abstention_p_value(votes: Votes) -> float:
    """Two-sided exact binomial test of the two largest counts at ½ (Algorithm 1, step 2); UNPARSED may be the second.

    1.0 when nothing was voted for. Raises nothing.
    """
    winner = leader(votes)
    if winner is None:
        return 1.0
    top = votes.counts[winner]
    second = max([votes.unparsed, *(c for label, c in votes.counts.items() if label != winner)])
    if second >= top:
        return 1.0
    from scipy.special import betainc

    # The null distribution is symmetric: twice the upper tail P[X ≥ top] of Binomial(top + second, ½).
    return min(1.0, 2.0 * float(betainc(top, second + 1, 0.5)))


def leader(votes: Votes) -> str | None:
    """The label with most votes; None when no label has any. A tie goes to the first label counted."""
    seen = {label: count for label, count in votes.counts.items() if count > 0}
    return max(seen, key=seen.__getitem__) if seen else None


def agreement(p: Number, samples: int, alpha: float) -> float:
    """A lower bound on the probability that ``samples`` fresh votes answer ĉ when p(ĉ) is at least ``p``.

    They answer ĉ when it leads and the abstention test at ``alpha`` tells it from the next. The worst case is that all
    other votes go to one class: any other division leaves fewer votes to be told from.
    """
    for hits in range(samples // 2 + 1, samples + 1):
        if abstention_p_value(Votes({"ĉ": hits, "other": samples - hits})) <= alpha:
            from scipy.special import betainc

            # P[X ≥ hits] of Binomial(samples, p)
            return float(betainc(hits, samples - hits + 1, min(1.0, max(0.0, float(p)))))
    return 0.0
