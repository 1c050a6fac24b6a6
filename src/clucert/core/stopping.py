"""When to look at the certifying votes, and when to stop drawing more.

Any rule for stopping is valid: the looks are those of group-sequential tests (:mod:`clucert.core.group_sequential`),
whose level holds for all planned looks together, whichever of them are taken. Where one bound decides that is one test;
with more classes it is one of ĉ and one of its nearest rival, which share α. What a rule can cost is radius, never
correctness.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from clucert.core.bounds import UNPARSED, abstention_p_value
from clucert.core.certificate import Certificate
from clucert.core.group_sequential import Path, boundaries
from clucert.core.radius import Radius, published_slack
from clucert.core.settings import Look, Settings, selection_level
from clucert.types import Votes

WORTH = 1 / 3000
"""A later look is taken where it has this chance of one more word of radius for each of its samples."""
FUTILE = 0.1
"""A chance below this is none, however few samples it takes."""
ANSWER = 0.25
"""What an answer alone is worth, in words of radius."""

FIRST, STEP, GROWTH = 7, 4, 1.2
"""Looks of a staged plan: the first at the fewest votes that can show a majority, the next at 1.2 times the samples,
but at least so many more, which are asked about at once."""
BATCH = 20
"""The first look and the least step where a filter judges each part by itself: of fewer it cannot tell a cluster."""
FIRST_SHARE, POWER = Fraction(3, 10), 0.5
"""What the first look may spend of α; of the rest t^POWER is spent when the share t of N′ was drawn. Chosen, as is all
above, with bench/calls.py."""

WRONG = 0.05
"""Selecting votes name ĉ when the next answer is the likelier one with less than this probability."""

SELECTION_STAGES = {
    Fraction(1, 10): Fraction(1, 8),
    Fraction(1, 4): Fraction(1, 8),
    Fraction(1, 2): Fraction(1, 4),
    Fraction(1): Fraction(1, 2),
}
"""Looks at the N samples that choose the answer, as fractions of N, and how they share α by a union bound."""


def fixed_plan(samples: int) -> tuple[Look, ...]:
    """One look at ``samples``, with all of α (paper, Algorithm 1)."""
    return (Look(samples),)


def staged_plan(samples: int, *, filtered: bool = False) -> tuple[Look, ...]:
    """Looks at growing numbers of certifying samples, up to ``samples``; ``filtered`` where each part is a batch."""
    first, step = (BATCH, BATCH) if filtered else (FIRST, STEP)
    counts, count = [], first
    # The last step may be larger than the others, not smaller.
    while count * GROWTH**0.5 < samples:
        counts.append(count)
        count = max(count + step, round(count * GROWTH))
    counts.append(samples)
    spent = [FIRST_SHARE + (1 - FIRST_SHARE) * Fraction(round(10**6 * (n / samples) ** POWER), 10**6) for n in counts]
    shares = [after - before for before, after in pairwise([Fraction(0), *spent])]
    return tuple(Look(n, share) for n, share in zip(counts, shares, strict=True))


def staged_selection(samples: int) -> tuple[Look, ...]:
    """Looks at growing numbers of selecting samples, up to ``samples``."""
    return _plan(SELECTION_STAGES, samples)


def _plan(stages: Mapping[Fraction, Fraction], samples: int) -> tuple[Look, ...]:
    shares: dict[int, Fraction] = {}
    for stage, share in stages.items():
        count = max(1, round(stage * samples))
        shares[count] = shares.get(count, Fraction(0)) + share
    return tuple(Look(count, share) for count, share in shares.items())


def plans(sampling: str, settings: Settings, certify: int) -> Settings:
    """``settings`` with the looks of ``sampling``, at N samples to select and ``certify`` to certify.

    "auto" is staged where not every retention set can be evaluated instead.
    """
    if sampling == "fixed":
        return dataclasses.replace(settings, looks=fixed_plan(certify), selection_looks=())
    # What a guard lets pass is read once, on votes of its own: there is no answer to tell from the next.
    return dataclasses.replace(
        settings,
        looks=staged_plan(certify, filtered=settings.clustering != "none"),
        selection_looks=() if settings.flag else staged_selection(settings.predict_samples),
        direct=settings.flag is None,
    )


def named(votes: Votes, settings: Settings) -> bool:
    """Whether more selecting samples are not worth it, where they only name ĉ: the leader is hardly the wrong one."""
    if votes.drawn >= settings.predict_samples:
        return True
    ranked = sorted([*votes.counts.values(), 0, 0], reverse=True)
    from scipy.special import betainc

    # Jeffreys prior on the share of the leader among the votes for the two.
    return float(betainc(ranked[0] + 0.5, ranked[1] + 0.5, 0.5)) < WRONG


def selected(votes: Votes, settings: Settings) -> bool:
    """Whether more selecting samples are not worth it: the answer is told from the next one, or hardly will be."""
    if abstention_p_value(votes) <= selection_level(settings, votes):
        return True
    later = [look for look in settings.selection_looks if look.samples > votes.drawn]
    return all(_chance_to_tell(votes, look, settings) < FUTILE for look in later)


def _chance_to_tell(votes: Votes, look: Look, settings: Settings) -> float:
    """Predicted probability that the two top answers are told apart at ``look``, in favour of either."""
    ranked = sorted([*votes.counts.values(), votes.unparsed, 0, 0], reverse=True)
    more, level = look.samples - votes.drawn, float(Fraction(settings.alpha) * look.share)
    return sum(_tells(a, b, more, level) for a, b in (ranked[:2], ranked[1::-1]))


def _tells(mine: int, theirs: int, more: int, level: float) -> float:
    """The chance that one of two answers wins when ``more`` votes go to one of the two (Beta posterior, Jeffreys)."""

    def wins(hits: int) -> bool:
        final = Votes({"mine": mine + hits}, unparsed=theirs + more - hits)
        return abstention_p_value(final) <= level

    least = bisect_left(range(more + 1), True, key=wins)
    from scipy.stats import betabinom

    return float(betabinom.sf(least - 1, more, mine + 0.5, theirs + 0.5))


def decided(certificate: Certificate, target: int | None = None) -> bool:
    """Whether drawing more is not worth it: no look is left, or the chance is small that one would change the outcome.

    The outcome is the radii of the certificate; with a ``target``, whether the published radius reaches it.
    """
    taken = len(certificate.readings)
    if taken == len(certificate.settings.looks) or (certificate.candidate is None and not certificate.chosen_by_all):
        return True
    if target is not None and _reached(certificate, target):
        return True
    return not any(_worth_more(certificate, goal) for goal in _goals(certificate, target))


def _reached(certificate: Certificate, target: int) -> bool:
    """Whether the published radius certifies ``target`` words, or is all that the text has to change."""
    radius = certificate.radius
    return radius is not None and (radius.final or radius.words >= target)


@dataclass(frozen=True, slots=True)
class _Goal:
    """To show that the share of errors, of the kept samples or of all, is below ``threshold``."""

    filtered: bool
    threshold: float
    worth: float = 1.0
    """In words of radius."""


def _goals(certificate: Certificate, target: int | None) -> Iterator[_Goal]:
    """What a larger radius needs: the next one, and where there is no answer yet the answer and the first word."""
    if certificate.settings.published:
        yield from _published_goals(certificate, target)
    if target is None:
        for threat, radius in certificate.proved.items():
            if radius is None or not radius.final:
                yield from _ahead(False, radius, functools.partial(_errors, certificate, threat))


def _published_goals(certificate: Certificate, target: int | None) -> Iterator[_Goal]:
    radius, attackable = certificate.radius, sum(certificate.subject.attackable)

    def errors(words: int) -> float | None:
        if words > attackable or (words and certificate.settings.votes_only):
            return None
        slack = published_slack(certificate.n, certificate.s, words, certificate.settings.gamma)
        return float((1 - slack) / 2)

    if target is None:
        yield from _ahead(True, radius, errors)
    elif (threshold := errors(min(target, attackable))) is not None:
        # Whether it is reached is all that was asked, at whatever price.
        yield _Goal(True, threshold, math.inf)


def _ahead(filtered: bool, radius: Radius | None, errors: Callable[[int], float | None]) -> Iterator[_Goal]:
    """The goals after ``radius``; ``errors`` is the threshold of a radius, None where there is no such radius."""
    following = ((0, ANSWER), (1, 1.0)) if radius is None else ((radius.words + 1, 1.0),)
    for words, worth in following:
        if (threshold := errors(words)) is not None:
            yield _Goal(filtered, threshold, worth)


def _errors(certificate: Certificate, threat: str, words: int) -> float | None:
    if certificate.settings.noise is None and words > certificate.attackable_by(threat):
        return None
    return float(certificate.kept.errors(threat, words))


def _worth_more(certificate: Certificate, goal: _Goal) -> bool:
    """Whether some later look is likely enough to reach ``goal``, for the samples that it takes."""
    path = _path(certificate, filtered=goal.filtered)
    seen, errors = path.trials[-1], path.errors[-1]
    if goal.threshold <= 0 or certificate.estimation.drawn == 0:
        return False
    kept = Fraction(seen, certificate.estimation.drawn)
    looks = certificate.settings.looks[len(path.trials) :]
    more = [int(kept * (look.samples - certificate.estimation.drawn)) for look in looks]
    trials = (*path.trials, *(seen + m for m in more))
    threshold = min(goal.threshold, 0.5) if path.either else goal.threshold
    allowed = boundaries(trials, certificate.evidence.spent, threshold, path.either)[len(path.trials) :]
    # What was seen so far, selection votes included, as a Beta posterior (Jeffreys prior) on an error.
    selection, winner = certificate.selection, certificate.candidate or ""
    chosen = selection.kept if goal.filtered else selection.drawn
    missed = chosen - selection.counts.get(winner, 0)
    if certificate.settings.drops_alone:
        # What was dropped is half an error, as in ``path``.
        missed -= (0 if goal.filtered else selection.dropped) // 2
    total, wrong = seen + chosen, errors + missed
    from scipy.stats import betabinom

    chances = betabinom.cdf([most - errors for most in allowed], more, wrong + 0.5, total - wrong + 0.5)
    needed = [max(FUTILE, WORTH / goal.worth * (look.samples - certificate.estimation.drawn)) for look in looks]
    return bool(np.any(chances >= needed))


def _path(certificate: Certificate, *, filtered: bool) -> Path:
    """Errors look by look; with more than two classes, votes for neither ĉ nor its nearest rival are half an error.

    That many errors of two classes have the same margin. It foretells well enough what two bounds will show.
    """
    path = certificate.evidence.path(filtered=filtered)
    if certificate.one_bound or not path.trials:
        return path
    last = certificate.estimation
    rivals = {**last.counts, UNPARSED: last.unparsed}
    rivals.pop(certificate.candidate or "", None)
    nearest = certificate.evidence.path(filtered=filtered, rival=max(rivals, key=rivals.__getitem__))
    halves = tuple(-(-(all_ + near) // 2) for all_, near in zip(path.errors, nearest.errors, strict=True))
    return Path(path.trials, halves, path.spent)
