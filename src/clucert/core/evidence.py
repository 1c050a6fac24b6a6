"""What the votes that certify ĉ show of p(ĉ) and p(j): bounds, and exact tests of votes that were read look by look."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

from clucert.core.bounds import UNPARSED, ClassBounds, class_bounds, exact_bounds, one_bound, unfiltered_bounds
from clucert.core.group_sequential import Path
from clucert.core.radius import Exceeds, known
from clucert.core.settings import Look, Settings
from clucert.types import Votes

RIVAL_SHARE = 0.3
"""What of α goes to the bound of a rival where votes read at several looks decide alone; the rest goes to that of ĉ."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is shown here holds at once with probability at least 1 − α over the samples."""

    settings: Settings
    labels: tuple[str, ...] | None
    candidate: str | None
    """ĉ; None where no vote named a label."""
    readings: tuple[Votes, ...]
    """Cumulative counts at each look that was taken."""
    exact: Votes | None = None
    """The exact distribution, where every retention set was evaluated: α is not spent."""

    @property
    def one_bound(self) -> bool:
        """Whether one bound decides: with two labels, or open answers, all that is not ĉ counts as one class."""
        return self.exact is None and one_bound(self.labels, alone=self.settings.drops_alone)

    @property
    def chosen_by_all(self) -> bool:
        """Whether ĉ was chosen by these votes, which are then tested in either direction."""
        return self.settings.direct and self.one_bound

    @property
    def bounds(self) -> ClassBounds | None:
        """Bounds on the votes that the published radius rests on.

        Where votes that are one bound's matter are read at several looks, these are the exact sequential test inverted.
        """
        return self._bounds(filtered=True)

    @property
    def unfiltered(self) -> ClassBounds | None:
        """Bounds on the classifier without the batch filter, in which every dropped sample counts against ĉ."""
        return self._bounds(filtered=False)

    def path(self, *, filtered: bool, rival: str | None = None) -> Path:
        """What is not a vote for ĉ, look by look: of the kept samples, or of all that were drawn. With a ``rival``,
        what may be a vote for it.
        """
        name = self.candidate or ""
        trials, hits, others = [], [], []
        for votes in self.readings:
            trials.append(votes.kept if filtered else votes.drawn)
            hits.append(votes.counts.get(name, 0))
            if rival is not None:
                mine = votes.unparsed if rival == UNPARSED else votes.counts.get(rival, 0)
                others.append(mine + (0 if filtered or self.settings.drops_alone else votes.dropped))
        counted = others if rival is not None else [total - hit for total, hit in zip(trials, hits, strict=True)]
        spent = self.spent[: len(trials)]
        if not self.one_bound:
            # A margin is too large only if the bound of ĉ is, or that of the one class nearest to it in truth.
            theirs = RIVAL_SHARE if self.settings.direct else 0.5
            spent = tuple(level * (theirs if rival is not None else 1 - theirs) for level in spent)
        return Path(tuple(trials), tuple(counted), spent, self.chosen_by_all)

    @property
    def spent(self) -> tuple[float, ...]:
        """The α spent by the time of each planned look."""
        return _spent(self.settings.alpha, self.settings.looks)

    def _bounds(self, *, filtered: bool) -> ClassBounds | None:
        if self.candidate is None:
            return None
        alone = self.settings.drops_alone
        if self.exact is not None:
            return exact_bounds(self.exact, self.candidate, alone=alone)
        if not self.readings:
            return None
        rule = class_bounds if filtered else unfiltered_bounds
        staged = len(self.settings.looks) > 1 or self.chosen_by_all
        level = self.settings.alpha if staged else self.spent[-1]
        found = rule(self.readings[-1], self.candidate, self.labels, level, alone=alone)
        return self._sequential(found, filtered=filtered) if staged else found

    def _sequential(self, found: ClassBounds, *, filtered: bool) -> ClassBounds:
        """Of the same classes, what holds at every look at once."""
        upper = self.path(filtered=filtered).upper
        high = (
            dict.fromkeys(found.high, upper)
            if self.one_bound
            else {rival: min(self.path(filtered=filtered, rival=rival).upper, upper) for rival in found.high}
        )
        return ClassBounds(found.winner, 1 - upper, high)

    def exceeds(self, *, filtered: bool) -> Exceeds:
        """What the votes show about p(ĉ) − p(j), at level 1 − α for every radius derived from it."""
        if self.one_bound:
            path = self.path(filtered=filtered)
            return lambda slack: path.below(float((1 - slack) / 2))
        bounds = self._bounds(filtered=filtered)
        return known(bounds.margin if bounds else -1)


@lru_cache(maxsize=64)
def _spent(alpha: float, looks: tuple[Look, ...]) -> tuple[float, ...]:
    return tuple(float(Fraction(alpha) * share) for share in accumulate(look.share for look in looks))
