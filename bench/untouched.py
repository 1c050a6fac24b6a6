"""Would the retention sets of the votes prove a larger radius? On the votes of finished runs: no, and why not.

    python bench/untouched.py runs/a runs/b

Change the words D. The votes whose retention set holds none of D stay as they were; the others may become anything.
With ``e(D) = P[vote ≠ ĉ and T ∩ D = ∅]``, ``q_j(D) = P[vote = j and T ∩ D = ∅]`` and ``ω = P[T ∩ D = ∅]``, known
exactly, the answer therefore stays when ``e(D) + q_j(D) < 2·ω − 1`` for every ``j ≠ ĉ``. The plain bound puts
``P[vote ≠ ĉ]`` and ``P[vote = j]`` in their place, which are larger. From votes on this one text nobody can do better.

**Every D is tested at the full level, without a union bound.** A radius that is too large claims that *every* D is
harmless, one harmful D* included, which does not depend on the samples; so the claim is wrong only if the bounds for
that one D* (and one j) fail, with probability at most α: an intersection-union test (Berger 1982). The samples counted
for D are among those that the plain bound counts, at the same level, so this radius is never the smaller one.

It holds where a change is seen if and only if its word is retained: recoveries ``mask`` and ``llm``, with words kept
(or made canonical). For each certificate the bench prints the next radius, the votes against ĉ, and how many of
them the worst D and an average D of that size leave untouched; then the mean radius, plain and tighter. The worst D
leaves all of them wherever votes turn when decisive words are hidden: then the plain bound is the best there is.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, comb

import numpy as np
from numpy.typing import NDArray

from clucert.core.bounds import Number, upper_bound
from clucert.core.certificate import Certificate
from clucert.core.group_sequential import Path, boundaries
from clucert.core.radius import Radius
from clucert.core.vote_records import VoteRecord
from clucert.report.runs import load_run
from clucert.types import Vote

NODES = 20_000
"""Sets D looked at for one radius; when that is not enough, the smaller radius stands."""

Flags = NDArray[np.bool_]
Harmful = Callable[[int, int], bool]
"""Of (samples untouched, those of them that count for the rival): true of more when it is true of fewer."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What can be attacked: ``limit`` words, all of them at ``positions``, of a text of ``shape`` (n, s)."""

    shape: tuple[int, int]
    positions: tuple[int, ...]
    limit: int

    def hidden(self, size: int) -> Fraction:
        """ω: the probability that none of ``size`` given positions is retained."""
        n, s = self.shape
        return Fraction(comb(n - size, s), comb(n, s))


@dataclass(frozen=True, slots=True)
class Evidence:
    """How samples count: by one of three rules, that of :func:`clucert.core.bounds.class_bounds` for the labels.

    With ``path``, all that is not for ĉ is one class, tested at the last of the path's looks. Otherwise ``others`` are
    the classes that are told apart (None is UNPARSED), and Clopper-Pearson bounds at α / 2 count for ĉ and for a rival.
    With ``alpha`` None every retention set was evaluated, and shares are exact.
    """

    others: tuple[Vote, ...] | None = None
    alpha: float | None = None
    path: Path | None = None

    def harmful(self, votes: Against, room: Fraction) -> Harmful:
        """Whether so many errors, so many of them for the rival, leave e(D) + q_j(D) < ``room`` unproved."""
        if self.path is not None:
            most = boundaries(self.path.trials, self.path.spent, float(room / 2))[-1]
            return lambda errors, _: errors > most
        bounds = [self._upper(k, votes.total) for k in range(len(votes.sets) + 1)]
        return lambda errors, rival: bounds[errors] + bounds[min(errors, rival)] >= room

    def _upper(self, k: int, total: int) -> Number:
        return Fraction(k, total) if self.alpha is None else upper_bound(k, total, self.alpha / 2)


def tighter(
    vote_records: tuple[VoteRecord, ...], winner: str, evidence: Evidence, reach: Reach, plain: Radius
) -> Radius:
    """The radius that ``vote_records`` prove for ``winner``, ``plain`` at least."""
    votes = against(vote_records, winner, evidence.others, reach)
    words = plain.words
    while words < reach.limit and _harmless(votes, words + 1, evidence, reach):
        words += 1
    return Radius(words, everything=words == reach.limit)


@dataclass(frozen=True, slots=True)
class Against:
    """The samples that were not votes for ĉ, of ``total`` that were drawn."""

    sets: Flags
    """Which of the positions that can be attacked they retained, shape (samples, positions)."""
    rivals: Mapping[Vote, Flags]
    """Per other class, which of these may have voted for it: its votes and the samples dropped unseen."""
    total: int


def against(vote_records: Sequence[VoteRecord], winner: str, others: Sequence[Vote] | None, reach: Reach) -> Against:
    """What ``vote_records`` hold against ``winner``; without ``others``, all of it counts for one class."""
    votes = [vote for vote_record in vote_records for vote in vote_record.votes]
    kept = np.array([flag for vote_record in vote_records for flag in vote_record.kept], np.bool_)
    lost = np.array([vote != winner for vote in votes], np.bool_)
    sets = np.concatenate([vote_record.sets(reach.shape[0]) for vote_record in vote_records])[lost][
        :, list(reach.positions)
    ]
    if others is None:
        return Against(sets, {None: np.ones(len(sets), np.bool_)}, len(votes))
    rivals = {j: (np.array([vote == j for vote in votes], np.bool_) | ~kept)[lost] for j in others}
    return Against(sets, rivals, len(votes))


def _harmless(votes: Against, size: int, evidence: Evidence, reach: Reach) -> bool:
    """Whether every D of ``size`` positions is shown to leave the answer as it is."""
    room = 2 * reach.hidden(size) - 1
    if room <= 0:
        return False
    harmful, s = evidence.harmful(votes, room), reach.shape[1]
    return not any(Search(votes.sets, flags, s, harmful).finds(size) for flags in votes.rivals.values())


@dataclass(slots=True)
class Search:
    """Looks for positions D that leave a harmful number of votes untouched. Branch and bound, worst positions first."""

    sets: Flags
    flags: Flags
    """Which of the samples count for the rival."""
    s: int
    harmful: Harmful
    nodes: int = NODES

    def finds(self, size: int) -> bool:
        """Whether some D of ``size`` positions is harmful; also True when that could not be settled."""
        return self._below(self.sets, self.flags, np.arange(self.sets.shape[1]), size)

    def _below(self, sets: Flags, flags: Flags, columns: NDArray[np.intp], size: int) -> bool:
        errors, rival = len(sets), int(flags.sum())
        if not self.harmful(errors, rival):
            return False
        if size == 0:
            return True
        self.nodes -= 1
        if self.nodes < 0:
            return True
        hits = sets[:, columns].sum(axis=0)
        order = np.argsort(hits, kind="stable")
        columns, hits = columns[order], hits[order]
        rival_hits = np.sort(sets[flags][:, columns].sum(axis=0))
        for i in range(len(columns) - size + 1):
            touched, met = self._least(hits[i:], size), self._least(rival_hits, size)
            if not self.harmful(errors - touched, rival - met):
                return False
            free = ~sets[:, columns[i]]
            if self._below(sets[free], flags[free], columns[i + 1 :], size - 1):
                return True
        return False

    def _least(self, hits: NDArray[np.intp], size: int) -> int:
        """The fewest samples that ``size`` positions touch, when they touch ``hits`` (ascending) each.

        A sample retains s words, so it is counted at most that often in the sum.
        """
        return max(int(hits[size - 1]), ceil(int(hits[:size].sum()) / min(size, self.s)))


def evidence_of(certificate: Certificate, vote_records: Sequence[VoteRecord]) -> Evidence:
    """How the votes of a certificate with one look count."""
    alpha = certificate.settings.alpha
    if certificate.one_bound:
        return Evidence(path=Path((certificate.estimation.drawn,), (), (alpha,)))
    seen = dict.fromkeys(vote for vote_record in vote_records for vote in vote_record.votes)
    others = dict.fromkeys([*(certificate.labels or ()), None, *seen])
    exact = None if certificate.exhaustive else alpha
    return Evidence(tuple(vote for vote in others if vote != certificate.candidate), exact)


def largest_left(votes: Against, size: int, s: int) -> int:
    """The most votes against that ``size`` changed words can leave untouched."""
    everything = np.ones(len(votes.sets), np.bool_)

    def left(most: int) -> bool:
        return Search(votes.sets, everything, s, lambda errors, _: errors >= most).finds(size)

    low, high = 0, len(votes.sets)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left(middle) else (low, middle - 1)
    return low


def report(path: pathlib.Path) -> None:
    """One line for each certificate with votes against, and one for the run."""
    plain_words, tighter_words, inputs = 0, 0, 0
    for row in load_run(path).inputs:
        certificate = row.certificate
        if certificate is None or not certificate.vote_records or len(certificate.settings.looks) > 1:
            continue
        inputs += 1
        plain = certificate.proved.get("word")
        if plain is None or certificate.prediction is None:
            continue
        vote_records = tuple(vote_record for vote_record in certificate.vote_records if vote_record.stage == "certify")
        reach = Reach((certificate.n, certificate.s), tuple(range(certificate.n)), certificate.n)
        found = tighter(vote_records, certificate.prediction, evidence_of(certificate, vote_records), reach, plain)
        right = certificate.prediction == row.gold
        plain_words, tighter_words = plain_words + right * plain.words, tighter_words + right * found.words
        votes = against(vote_records, certificate.prediction, None, reach)
        size = plain.words + 1
        if len(votes.sets) and size <= reach.limit and 2 * reach.hidden(size) > 1:
            left, share = largest_left(votes, size, reach.shape[1]), float(reach.hidden(size))
            print(
                f"  n {certificate.n} s {certificate.s}: {size} words, {len(votes.sets)} of {votes.total} votes "
                f"against; the worst D leaves {left}, an average one {share * len(votes.sets):.0f}"
                + (f"; radius {plain.words} becomes {found.words}" if found.words > plain.words else "")
            )
    print(
        f"{path.name}: {inputs} inputs, proved r_avg {plain_words / inputs:.3f}, tighter {tighter_words / inputs:.3f}"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    for path in parser.parse_args().runs:
        report(path)


if __name__ == "__main__":
    main()
