"""Votes read by a guard: which texts it flags, and which changes leave a flag as it is.

Of sampled votes: passed is what the N selecting votes show to have p_harm < η at level α; everything else is flagged.
The N′ fresh votes then show, at level 1 − α, how many changes leave p_harm ≥ η (flagged) or p_harm < η (passed).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.overlap import ErrsBelow, SampledNoise, largest
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Overlap, Radius, kept_radius
from clucert.core.thresholds import Flag, decided_labels, decided_vote, decided_votes, most_to_pass
from clucert.core.thresholds import Groups as LabelGroups
from clucert.core.vote_records import VoteRecord
from clucert.types import Vote, Votes


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of some classes: labels, each by itself, or labels that are merged."""

    labels: tuple[str, ...]
    selection: Votes
    readings: tuple[Votes, ...]
    vote_records: tuple[VoteRecord, ...]

    def merged(self, flag: Flag | None, groups: LabelGroups) -> Counted:
        """The same votes of the classes that a flag, or groups of labels, make."""

        def named(vote: Vote) -> Vote:
            return decided_vote(vote, self.labels, flag, groups)

        return Counted(
            decided_labels(self.labels, flag, groups),
            decided_votes(self.selection, self.labels, flag, groups),
            tuple(decided_votes(votes, self.labels, flag, groups) for votes in self.readings),
            tuple(record.renamed(named) for record in self.vote_records),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Flagged or passed, by the selecting votes."""

    flag: Flag
    votes: Votes
    alpha: float
    exhaustive: bool = False
    """The votes are the exact distribution."""

    @property
    def eta(self) -> Fraction:
        """The threshold. Raises :class:`InputError` for a flag that has none."""
        return self.flag.eta

    @property
    def _against(self) -> int:
        """Votes that were dropped could have been harmful."""
        return self.votes.counts[self.flag.name] + self.votes.dropped

    @property
    def flagged(self) -> bool:
        """Whether the votes do not show that p_harm < η."""
        if self.exhaustive:
            return self._against >= self.eta * self.votes.drawn
        return self._against > most_to_pass(self.votes.drawn, self.eta, self.alpha)

    @property
    def p_value(self) -> float:
        """Of the test that lets a text pass; 0 or 1 where the votes are exact."""
        if self.exhaustive:
            return float(self.flagged)
        from scipy.stats import binom

        return float(binom.cdf(self._against, self.votes.drawn, float(self.eta)))

    @property
    def theta(self) -> Fraction:
        """What the probability of ĉ must not fall below: η, or 1 − η where the text passes (nor be equal to that)."""
        return self.eta if self.flagged else 1 - self.eta

    def exactly(self, candidate: str) -> ErrsBelow:
        """What votes that are the exact distribution show about 1 − p(ĉ)."""
        missed = 1 - Fraction(self.votes.counts.get(candidate, 0), self.votes.drawn)
        return (lambda errors: missed <= errors) if self.flagged else (lambda errors: missed < errors)

    def agreement(self, samples: int, low: float) -> float:
        """How likely ``samples`` fresh votes decide as these did where p(ĉ) ≥ ``low``, at least."""
        most = most_to_pass(samples, self.eta, self.alpha)
        from scipy.stats import binom

        return float(binom.sf(most if self.flagged else samples - most - 1, samples, low))


@dataclass(frozen=True, slots=True)
class Kept:
    """How far the probability of ĉ stays at θ or more, under the noise of one text."""

    noise: SampledNoise | None
    overlaps: Mapping[str, Overlap]
    n: int
    s: int
    theta: Fraction
    flagged: bool = False

    def errors(self, threat: str, changes: int) -> Fraction:
        """``changes`` leave the flag as it is where all that is not ĉ has a probability below this."""
        if self.noise is not None:
            return self.noise.errors(threat, self.n, changes, self.theta)
        overlap = self.overlaps[threat]
        return 1 - self.theta if overlap.sealed else overlap.errors(self.n, self.s, changes, self.theta)

    def radii(self, errs_below: Callable[[Fraction], bool]) -> dict[str, Radius | None]:
        """By threat, how many changes leave the flag as it is; None where it is not shown of the text itself."""
        if self.noise is not None:
            found = {t: self.noise.stays(errs_below, t, self.n, self.theta) for t in self.noise.threats}
            return {t: self._short_of_nothing(t, radius) for t, radius in found.items()}
        return {t: kept_radius(errs_below, self.n, self.s, each, self.theta) for t, each in self.overlaps.items()}

    def _short_of_nothing(self, threat: str, radius: Radius | None) -> Radius | None:
        """What is kept of nothing may be UNPARSED, and that may flag; but a text of nothing is read by nobody."""
        if radius is None or not self.flagged or threat not in ("delete", "edit"):
            return radius
        return radius if radius.words < self.n else Radius(self.n - 1)


Weights = Sequence[Sequence[Fraction]]


def flag_radius(
    noise: Blocks | Groups | Chunks | Each | Windows | EraseAndCheck,
    weights: Weights,
    flag: Flag,
    flagged: bool,
    threat: str,
    n: int,
) -> Radius:
    """The largest r under which the flag of an exact certificate stays as it is, for a text of ``n`` pieces.

    Each sub-text adds its weight w in [0, 1], less η where the share counts, to what must be at least τ (or 0) for the
    text to be flagged; one that an attacker turns or adds has the worst weight there is. A text that passes is the same
    with all signs turned, and "less than" for "at least".
    """
    if isinstance(noise, EraseAndCheck):
        named = [bool(weight) for weight in weights[0]]
        # A text that passes may be flagged by whatever is appended.
        return noise.flag_radius(named, flag.at_least) or Radius(0)
    bound, each = (flag.at_least, Fraction(0)) if flag.share is None else (0, flag.share)
    sign = 1 if flagged else -1
    lead = [[sign * (weight - each) for weight in part] for part in weights]
    worst = -each if flagged else each - 1
    spare = sum(map(sum, lead), Fraction(0)) - sign * bound

    def holds(r: int) -> bool:
        if flagged and threat == "delete" and r >= n:
            return False  # Of a text of nothing no sub-text is flagged.
        lost = noise.loss(lead, threat, r, worst, n)
        return lost is not None and (spare >= lost if flagged else spare > lost)

    if noise.loss(lead, threat, 1, worst, n) == 0:
        return Radius(0, everything=True)
    return largest(holds, n if threat in ("replace", "delete") else None) or Radius(0)
