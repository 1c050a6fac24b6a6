"""Votes on a small fixed family of sub-texts: all are asked, so the shares are exact and α = 0.

The answer is the class with the largest total score over the sub-texts; a vote is a score of 1 for its class. What is
deployed must be :func:`answer`, and each sub-text's scores must be a fixed function of it (a model that samples is
none: vote several times and bound, or do not say *exact*). The empty sub-text has fixed scores. Sub-texts that are
equal count each, and need be asked once.

An attacker who turns the scores of a sub-text for anything else takes at most ``s_ĉ − s_j + 1`` of the lead over j, for
scores are at least 0 and sum to 1. So for every family there is a ``loss``: the answer ĉ stays where, for every j ≠ ĉ,
the lead ``Σ (s_ĉ − s_j)`` is *more* than the loss (a tie is lost). Scores are exact fractions: a float means the number
it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from clucert.core.bounds import UNPARSED, Number
from clucert.errors import InputError
from clucert.types import Vote

Scores = Mapping[str, Fraction]
"""At least 0 for each class, sum 1; a class that is missing has 0. UNPARSED is a class that never wins."""


def hard(vote: Vote) -> Scores:
    """The scores of a vote."""
    return {UNPARSED if vote is None else vote: Fraction(1)}


def soft(scores: Mapping[str, Number]) -> Scores:
    """Scores at least 0, divided by their sum, exactly.

    Raises:
        InputError: a score is negative or not finite, or all are 0.

    """
    if not all(math.isfinite(score) and score >= 0 for score in scores.values()):
        raise InputError(f"scores must be finite and at least 0, not {dict(scores)}")
    exact = {label: Fraction(score) for label, score in scores.items()}
    total = sum(exact.values())
    if not total:
        raise InputError("all scores are 0: give the vote UNPARSED a score of its own")
    return {label: score / total for label, score in exact.items()}


def answer(family: Iterable[Sequence[Scores]]) -> str | None:
    """The class with the largest total over all sub-texts of all partitions; None when UNPARSED alone has any.

    Ties go to the class that comes first in the order of strings, whatever the order of votes. No certificate has one.
    """
    totals = {label: score for label, score in total(family).items() if label != UNPARSED and score}
    return min(totals, key=lambda label: (-totals[label], label), default=None)


def total(family: Iterable[Sequence[Scores]]) -> dict[str, Fraction]:
    """The total score of each class."""
    totals: dict[str, Fraction] = {}
    for partition in family:
        for scores in partition:
            for label, score in scores.items():
                totals[label] = totals.get(label, Fraction(0)) + score
    return totals


def leads(family: Iterable[Sequence[Scores]], winner: str, rival: str) -> list[list[Fraction]]:
    """``s_ĉ − s_j`` of each sub-text of each partition, each in [−1, 1]."""
    nothing = Fraction(0)
    return [[s.get(winner, nothing) - s.get(rival, nothing) for s in partition] for partition in family]


def rivals(family: Iterable[Sequence[Scores]], winner: str, labels: Iterable[str] = ()) -> list[str]:
    """Every class that could beat ĉ: those with a score, those of ``labels``, UNPARSED."""
    seen = dict.fromkeys([*labels, UNPARSED, *total(family)])
    seen.pop(winner, None)
    return list(seen)


def merged(scores: Scores, group: Iterable[str], name: str) -> Scores:
    """The scores with all labels of ``group`` as the one class ``name``.

    A certificate over merged scores is about the classifier that adds them up and *then* compares: that one must be
    deployed. The answer of the other one may leave the group where the group's own labels share its votes.

    Raises:
        InputError: ``name`` is a label outside the group.

    """
    members = frozenset(group)
    if name in scores and name not in members:
        raise InputError(f"{name!r} is a label outside the group: choose another name for the group")
    out = {label: score for label, score in scores.items() if label not in members}
    inside = sum((score for label, score in scores.items() if label in members), Fraction(0))
    return {**out, name: inside}
