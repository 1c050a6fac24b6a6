"""When to look at the certifying votes, and when to stop drawing more.

Any rule for stopping is valid. Where one bound decides, the looks are those of one group-sequential test
(:mod:`clucert.core.group_sequential`); with more classes, the looks' shares of α sum to at most 1, so the bounds of all
planned looks hold jointly at level 1 − α (union bound), whichever of them are taken. What a rule can cost is radius,
never correctness.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from clucert.core.bounds import abstention_p_value, one_bound
from clucert.core.certificate import Certificate
from clucert.core.group_sequential import boundaries
from clucert.core.noise.overlap import SampledNoise
from clucert.core.radius import published_slack
from clucert.core.settings import Look, Settings, selection_level
from clucert.types import Votes

FUTILE = 0.1
"""Stop when the chance that a later look raises a radius falls below this."""

GROWTH, SMALLEST = 1.4, 20
"""Looks of a staged plan where one bound decides: the next at 1.4 times the samples, the first at N′/50, or 20."""
FIRST_SHARE = Fraction(3, 10)
"""What the first of these looks may spend of α; the rest is spent as t^1.5, t the share of N′ that was drawn."""

STAGES = {
    Fraction(1, 50): Fraction(10, 100),
    Fraction(1, 25): Fraction(2, 100),
    Fraction(2, 25): Fraction(3, 100),
    Fraction(4, 25): Fraction(5, 100),
    Fraction(8, 25): Fraction(10, 100),
    Fraction(16, 25): Fraction(30, 100),
    Fraction(1): Fraction(40, 100),
}
"""Looks with more classes, as fractions of N′, and how they share α by a union bound: the first ends the clear calls,
the last ones the close ones. Both plans were chosen with bench/calls.py."""

SELECTION_STAGES = {
    Fraction(1, 10): Fraction(1, 8),
    Fraction(1, 4): Fraction(1, 8),
    Fraction(1, 2): Fraction(1, 4),
    Fraction(1): Fraction(1, 2),
}
"""The same for the N samples that choose the answer."""


def fixed_plan(samples: int) -> tuple[Look, ...]:
    """One look at ``samples``, with all of α (paper, Algorithm 1)."""
    return (Look(samples),)


def staged_plan(samples: int, labels: tuple[str, ...] | None) -> tuple[Look, ...]:
    """Looks at growing numbers of certifying samples, up to ``samples``, for the rule that goes with ``labels``."""
    return _growing(samples) if one_bound(labels) else _plan(STAGES, samples)


def staged_selection(samples: int) -> tuple[Look, ...]:
    """Looks at growing numbers of selecting samples, up to ``samples``."""
    return _plan(SELECTION_STAGES, samples)


def _growing(samples: int) -> tuple[Look, ...]:
    count, counts = float(max(SMALLEST, samples / 50)), []
    # The last step may be larger than the others, not smaller.
    while count * GROWTH**0.5 < samples:
        counts.append(round(count))
        count *= GROWTH
    counts.append(samples)
    spent = [FIRST_SHARE + (1 - FIRST_SHARE) * Fraction((n / samples) ** 1.5).limit_denominator(1000) for n in counts]
    shares = [after - before for before, after in pairwise([Fraction(0), *spent])]
    return tuple(Look(n, share) for n, share in zip(counts, shares, strict=True))


def _plan(stages: Mapping[Fraction, Fraction], samples: int) -> tuple[Look, ...]:
    shares: dict[int, Fraction] = {}
    for stage, share in stages.items():
        count = max(1, round(stage * samples))
        shares[count] = shares.get(count, Fraction(0)) + share
    return tuple(Look(count, share) for count, share in shares.items())


def plans(sampling: str, settings: Settings, labels: tuple[str, ...] | None, certify: int) -> Settings:
    """``settings`` with the looks of ``sampling``, at N samples to select and ``certify`` to certify.

    "auto" is staged where not every retention set can be evaluated instead.
    """
    if sampling == "fixed":
        return dataclasses.replace(settings, looks=fixed_plan(certify), selection_looks=())
    # What a guard lets pass is read once: there is no answer to tell from the next.
    selecting = () if settings.flag else staged_selection(settings.predict_samples)
    return dataclasses.replace(settings, looks=staged_plan(certify, labels), selection_looks=selecting)


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
    if taken == len(certificate.settings.looks) or certificate.candidate is None:
        return True
    if target is not None and _reached(certificate, target):
        return True
    if certificate.one_bound:
        return all(_chance_below(certificate, goal) < FUTILE for goal in _goals(certificate, target))
    later = range(taken, len(certificate.settings.looks))
    return all(_chance(certificate, look, target) < FUTILE for look in later)


def _reached(certificate: Certificate, target: int) -> bool:
    """Whether the published radius certifies ``target`` words, or is all that the text has to change."""
    radius = certificate.radius
    return radius is not None and (radius.final or radius.words >= target)


@dataclass(frozen=True, slots=True)
class _Goal:
    """To show that the share of errors, of the kept samples or of all, is below ``threshold``."""

    filtered: bool
    threshold: float


def _goals(certificate: Certificate, target: int | None) -> Iterator[_Goal]:
    """What a larger radius needs."""
    if certificate.settings.flag is not None:
        yield from _flag_goals(certificate)
        return
    n, s, gamma = certificate.n, certificate.s, certificate.settings.gamma
    radius = certificate.radius
    attackable = sum(certificate.subject.attackable)
    following = 0 if radius is None else radius.words + 1
    if target is not None:
        following = min(target, attackable)
    noise = certificate.settings.noise
    if noise is not None:
        yield from _noise_goals(certificate, noise)
        return
    if following <= attackable and not certificate.settings.votes_only:
        yield _Goal(True, float((1 - published_slack(n, s, following, gamma)) / 2))
    elif radius is None:
        yield _Goal(True, 0.5)
    for threat, overlap in certificate.vote_overlaps.items() if target is None else ():
        proved = certificate.proved[threat]
        following = 0 if proved is None else proved.words + 1
        if following <= len(overlap.masked) and not (overlap.sealed and proved):
            yield _Goal(False, float(overlap.errors(n, s, following)))


def _flag_goals(certificate: Certificate) -> Iterator[_Goal]:
    for threat, proved in certificate.proved.items():
        following = 0 if proved is None else proved.words + 1
        if proved is None or not proved.final:
            yield _Goal(False, float(certificate.kept.errors(threat, following)))


def _noise_goals(certificate: Certificate, noise: SampledNoise) -> Iterator[_Goal]:
    for threat, proved in certificate.proved.items():
        if proved is None or not proved.final:
            slack = noise.slack(threat, certificate.n, 0 if proved is None else proved.words + 1)
            yield _Goal(False, float((1 - slack) / 2))


def _chance_below(certificate: Certificate, goal: _Goal) -> float:
    """Predicted probability that a later look reaches ``goal``."""
    path = certificate.path(filtered=goal.filtered)
    seen, errors = path.trials[-1], path.errors[-1]
    if goal.threshold <= 0 or certificate.estimation.drawn == 0:
        return 0.0
    kept = Fraction(seen, certificate.estimation.drawn)
    looks = certificate.settings.looks[len(path.trials) :]
    more = [int(kept * (look.samples - certificate.estimation.drawn)) for look in looks]
    trials = (*path.trials, *(seen + m for m in more))
    allowed = boundaries(trials, certificate.spent, goal.threshold)[len(path.trials) :]
    # What was seen so far, selection votes included, as a Beta posterior (Jeffreys prior) on an error.
    selection, winner = certificate.selection, certificate.candidate or ""
    chosen = selection.kept if goal.filtered else selection.drawn
    total, wrong = seen + chosen, errors + chosen - selection.counts.get(winner, 0)
    from scipy.stats import betabinom

    left = [most - errors for most in allowed]
    return float(max(betabinom.cdf(left, more, wrong + 0.5, total - wrong + 0.5)))


def _chance(certificate: Certificate, look: int, target: int | None) -> float:
    """Predicted probability that the radii at a later look beat those of now (or reach the target)."""
    now = certificate.estimation
    more = certificate.settings.looks[look].samples - now.drawn
    least = _least_votes(certificate, look, more, target)
    if least is None:
        return 0.0
    # What was seen so far, selection votes included, as a Beta posterior (Jeffreys prior) on a vote for ĉ.
    seen = [certificate.selection, now]
    winner = certificate.candidate or ""
    hits = sum(votes.counts.get(winner, 0) for votes in seen)
    total = sum(votes.drawn for votes in seen)
    from scipy.stats import betabinom

    return float(betabinom.sf(least - 1, more, hits + 0.5, total - hits + 0.5))


def _least_votes(certificate: Certificate, look: int, more: int, target: int | None) -> int | None:
    """The fewest votes for ĉ among ``more`` samples that would do; None when not even all of them would."""

    def enough(hits: int) -> bool:
        imagined = dataclasses.replace(certificate.settings, looks=(certificate.settings.looks[look],))
        future = dataclasses.replace(certificate, settings=imagined, readings=(_extrapolate(certificate, hits, more),))
        if target is not None:
            return _reached(future, target)
        return _beats(future, certificate)

    if not enough(more):
        return None
    low, high = 0, more
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _extrapolate(certificate: Certificate, hits: int, more: int) -> Votes:
    """The votes of now, with ``hits`` more for ĉ and the other new ones shared out as the others were so far."""
    now, winner = certificate.estimation, certificate.candidate or ""
    others = {label: count for label, count in now.counts.items() if label != winner}
    rest, missed = more - hits, now.drawn - now.counts.get(winner, 0)

    def grown(count: int) -> int:
        return count + round(rest * count / missed) if missed else count

    counts = {winner: now.counts.get(winner, 0) + hits} | {label: grown(count) for label, count in others.items()}
    unparsed = grown(now.unparsed)
    # What rounding leaves over is put where it hurts: with the dropped, or with the first rival.
    return Votes(counts, unparsed, max(0, now.drawn + more - sum(counts.values()) - unparsed))


def _beats(future: Certificate, now: Certificate) -> bool:
    def words(certificate: Certificate) -> list[int]:
        radii = [certificate.radius, *certificate.proved.values()]
        return [-1 if radius is None else radius.words for radius in radii]

    return any(later > current for later, current in zip(words(future), words(now), strict=True))
