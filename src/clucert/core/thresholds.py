"""Guards: flag when p_harm ≥ η. Groups of labels, how η is chosen, and how a text is shown to be below it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import comb

from clucert.core.bounds import UNPARSED, Number, is_reserved
from clucert.errors import InputError, shortened
from clucert.types import Vote, Votes

Groups = tuple[tuple[str, ...], ...]
"""Labels that are one class, group by group; a label of no group stays by itself."""

_LONGEST = 120
"""Characters of a number that is read exactly."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?|[0-9]+/0*[1-9][0-9]*", re.IGNORECASE)


def group_name(labels: Iterable[str]) -> str:
    """The name of the class that ``labels`` make together."""
    return "+".join(labels)


def merged_labels(labels: Sequence[str], groups: Groups) -> tuple[str, ...]:
    """``labels`` with each group as one class, where the first of its labels stood.

    Raises:
        InputError: a group has a label that is none, or is in another group; one of fewer than two; a name that a label
            has; or nothing is left to tell apart.

    """
    named = [label for group in groups for label in group]
    if unknown := [label for label in named if label not in labels]:
        raise InputError(f"--group: {unknown[0]!r} is none of the labels {', '.join(labels)}")
    if len(set(named)) < len(named) or any(len(group) < 2 for group in groups):
        raise InputError("--group: name two or more labels in each group, and none twice")
    found = classes_of(labels, groups)
    if len(found) < 2:
        raise InputError("--group: all labels are one class: leave one out")
    if taken := next((group_name(group) for group in groups if group_name(group) in labels), None):
        raise InputError(f"--group: {taken!r} is the name of a label: the group cannot be called so")
    return found


def classes_of(labels: Sequence[str], groups: Groups) -> tuple[str, ...]:
    """``labels`` with each group as one class."""
    return tuple(dict.fromkeys(class_of(label, groups) or label for label in labels))


def class_of(vote: Vote, groups: Groups) -> Vote:
    """The class of a vote; no label stays no label."""
    return next((group_name(group) for group in groups if vote in group), vote)


def merged_votes(votes: Votes, groups: Groups) -> Votes:
    """The votes of the classifier that names the group instead of the label."""
    counts: dict[str, int] = {}
    for label, count in votes.counts.items():
        name = class_of(label, groups) or label
        counts[name] = counts.get(name, 0) + count
    return replace(votes, counts=counts)


def decided_labels(labels: Sequence[str], flag: Flag | None, groups: Groups) -> tuple[str, ...]:
    """What votes for ``labels`` are counted as: flagged and passed, or the labels with each group as one.

    Raises :class:`InputError` where there cannot be such.
    """
    return merged_labels(labels, groups) if flag is None else flag.names(labels)


def decided_votes(votes: Votes, labels: Sequence[str], flag: Flag | None, groups: Groups) -> Votes:
    """``votes`` for ``labels``, counted so."""
    return merged_votes(votes, groups) if flag is None else flag.merged(votes, labels)


def decided_vote(vote: Vote, labels: Sequence[str], flag: Flag | None, groups: Groups) -> Vote:
    """One vote for one of ``labels``, or for none, counted so."""
    return class_of(vote, groups) if flag is None else flag.vote(vote, labels)


@dataclass(frozen=True, slots=True)
class Flag:
    """Flag a text, or let it pass: when at least ``at_least`` of its sub-texts get one of ``labels``, or, with
    ``share``, when at least the share η of them do (of the noised texts, for a noise that samples).

    Labels are merged first: what is certified is the decision, not which of ``labels`` it is. UNPARSED among them flags
    what names no label.

    Raises:
        InputError: no label, or a label twice; a count below 1; a share that is not above 0 and below 1; or both.

    """

    labels: tuple[str, ...]
    at_least: int = 1
    share: Fraction | None = None

    def __post_init__(self) -> None:
        if not any(not is_reserved(label) for label in self.labels) or len(set(self.labels)) < len(self.labels):
            raise InputError("--flag: name the labels that flag a text, each once")
        if self.at_least < 1:
            raise InputError(f"--at-least {self.at_least} would flag every text: give 1 or more")
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"threshold {float(self.share):g} is out of range: give a number above 0 and below 1")
        if self.share is not None and self.at_least > 1:
            raise InputError(
                "a flag counts sub-texts (--at-least) or takes their share (--threshold): give one of them"
            )

    @classmethod
    def of(
        cls, labels: Iterable[str], every: Sequence[str] | None, at_least: int = 1, share: Number | str | None = None
    ) -> Flag:
        """The flag of these labels, of a task with the labels ``every``; "unparsed" stands for what names none.

        A share is read exactly, as the decimal that it prints as. Raises :class:`InputError` for labels that the task
        does not have, or when all of them flag.
        """
        found = tuple(UNPARSED if label.casefold() == UNPARSED.casefold() else label for label in labels)
        if unknown := [label for label in found if label not in (every or ()) and label != UNPARSED]:
            raise InputError(f"--flag {unknown[0]}: it is none of the labels {', '.join(every or ())}")
        flag = cls(found, at_least, None if share is None else exact(share, "threshold"))
        flag.names(every or ())
        return flag

    @property
    def eta(self) -> Fraction:
        """The threshold of sampled votes. Raises :class:`InputError` for a flag that has none."""
        if self.share is None:
            raise InputError("sampled votes are flagged by their share: give --threshold, such as 0.1, not --at-least")
        return self.share

    @property
    def name(self) -> str:
        """What a flagged text is called."""
        return group_name(self.labels)

    @property
    def in_short(self) -> str:
        """From what on a text is flagged: ``harmful >= 0.5``, or ``harmful >= 3 sub-texts``."""
        if self.share is None:
            return f"{self.name} >= {self.at_least} sub-text{'s' * (self.at_least > 1)}"
        return f"{self.name} >= {float(self.share):g}"

    def names(self, every: Sequence[str]) -> tuple[str, str]:
        """What a flagged text and one that passes are called: by the label, where there is just one.

        Raises :class:`InputError` where all labels flag, or a name is that of another label.
        """
        others = [label for label in every if label not in self.labels]
        if not others:
            raise InputError(f"--flag: all labels ({', '.join(every)}) flag a text: leave one out")
        passed = others[0] if len(others) == 1 else f"not {self.name}"
        if (len(self.labels) > 1 and self.name in every) or (len(others) > 1 and passed in every):
            raise InputError(f"--flag: {self.name!r} or {passed!r} is the name of a label: give that another")
        return self.name, passed

    def merged(self, votes: Votes, every: Sequence[str]) -> Votes:
        """The votes for and against: what names no label is against, unless it flags."""
        flagged, passed = self.names(every)
        unparsed = UNPARSED in self.labels
        count = sum(votes.counts.get(label, 0) for label in self.labels) + (votes.unparsed if unparsed else 0)
        return Votes({flagged: count, passed: votes.kept - count}, 0, votes.dropped)

    def vote(self, vote: Vote, every: Sequence[str]) -> str:
        """One vote, for or against."""
        flagged, passed = self.names(every)
        return flagged if (UNPARSED if vote is None else vote) in self.labels else passed


@lru_cache(maxsize=4096)
def most_to_pass(samples: int, eta: Fraction, alpha: float) -> int:
    """The most harmful votes among ``samples`` that show p_harm < η at level α; −1 where not even none does.

    "Pass what is shown to be below η, else flag" lets a text with p_harm ≥ η pass with probability at most α, whatever
    it is: see :func:`questions_to_pass`.
    """
    hit, missed = eta.numerator, eta.denominator - eta.numerator
    most, enough = -1, Fraction(alpha) * eta.denominator**samples
    exactly = ways = missed**samples
    while ways <= enough and most < samples - 1:
        most += 1
        # C(N, k + 1)·hit^(k+1)·missed^(N−k−1) from the one before.
        exactly = exactly * (samples - most) * hit // ((most + 1) * missed)
        ways += exactly
    return most


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
    number = exact(value, name)
    if not 0 < number < 1:
        raise InputError(f"{name} {value} is out of range: give a number above 0 and below 1")
    return number


def exact(value: Number | str, name: str) -> Fraction:
    """The number as it is written: a float means the decimal it prints as, ``1/3`` a third.

    Raises InputError for what is no number, and for one with more digits or a larger exponent than anybody needs:
    ``1e-99999999`` would have a hundred million digits.
    """
    if isinstance(value, Fraction):
        return value
    written = str(value).strip() if isinstance(value, int | float) or len(value) <= _LONGEST else ""
    if _NUMBER.fullmatch(written) is None:
        raise InputError(f"{name} {shortened(str(value), 40)!r} is not a number: give a decimal such as 0.1")
    return Fraction(written)
