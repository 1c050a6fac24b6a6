"""Few questions, exact: a text cut into a fixed small family of sub-texts, all of which are asked.

For each family here, ``slack`` is in votes and ``loss`` in scores (:mod:`clucert.core.noise.votes`): the answer ĉ stays
after r operations of a threat where, for every j ≠ ĉ, ``n_ĉ − n_j > slack(threat, r)``, or the lead in scores is more
than ``loss(leads, threat, r)``. With votes as scores the second is never weaker.

Groups by hash are those of Deep Partition Aggregation (Levine and Feizi, 2021, for training sets) and TextGuard (Pei et
al., 2024, for words); blocks by place are structured ablation (Levine and Feizi, 2020). Chunks and the bounds for
scores are ours.

Which operations: tokens of :func:`clucert.core.noise.tokens.tokenize`, or whatever units the pieces are. A *word* that
is replaced by what tokenizes into two is a replacement and an insertion, which :class:`Blocks` says nothing about.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import ClassVar

from clucert.core.noise.overlap import largest
from clucert.core.noise.votes import Scores, leads, rivals
from clucert.core.radius import Radius
from clucert.errors import InputError

SubText = tuple[int, ...]
"""The places of the pieces that a sub-text keeps, ascending."""
Leads = Sequence[Sequence[Fraction]]
"""For one rival j, ``s_ĉ − s_j`` of each sub-text of each partition."""


WORST = Fraction(-1)
"""What a sub-text adds to a lead at least: its whole score is the rival's."""


class _Exact:
    """What the families share: the radius from the scores."""

    threats: ClassVar[tuple[str, ...]]

    def loss(self, lead: Leads, threat: str, r: int, worst: Fraction = WORST, n: int | None = None) -> Fraction:
        """How much of the lead r operations can take, where a turned or a new sub-text adds at least ``worst`` ≤ 0.

        The lead of a majority is a sum of s_ĉ − s_j ≥ −1. Other sums over sub-texts are those of flags
        (:class:`clucert.core.exact.ExactCertificate`); ``n``, the pieces of the text, is not read.
        """
        raise NotImplementedError

    def radius(
        self, family: Sequence[Sequence[Scores]], winner: str, threat: str, n: int, labels: Iterable[str] = ()
    ) -> Radius | None:
        """The largest r (inclusive) such that ĉ keeps a lead over every other class; None when not for r = 0.

        ``family`` holds the scores of each sub-text of each partition, ``n`` is how many pieces the text has, and
        ``labels`` are classes that may win although no sub-text named them.
        """
        against = [leads(family, winner, rival) for rival in rivals(family, winner, labels)]
        ahead = [(sum(map(sum, lead), Fraction(0)), lead) for lead in against]
        limit = n if threat in ("replace", "delete") else None
        return largest(lambda r: all(by > self.loss(lead, threat, r) for by, lead in ahead), limit)

    def _weight(self, weights: dict[str, int], threat: str) -> int:
        if threat not in weights:
            raise InputError(
                f"{type(self).__name__.lower()} prove nothing about {threat!r}: they speak of {', '.join(weights)}"
            )
        return weights[threat]


class _Grouped(_Exact):
    """K groups of pieces, ``kept`` of which each sub-text shows; an operation touches at most ``touches`` groups.

    **Theorem.** Let an attacker touch d of the K groups of each of q partitions. Then C(K−d, s) of the C(K, s)
    sub-texts of each stay as they are. So at most M = C(K, s) − C(K−d, s) change in each, the votes keep ĉ when ``n_ĉ −
    n_j > 2·q·M``, and the scores do when the lead is more than the M largest ``s_ĉ − s_j + 1`` of each partition.
    *Proof.* A sub-text that shows no touched group has the same pieces in the same order, and so the same scores.
    Another one contributed ``s_ĉ − s_j`` and contributes at least −1. ∎
    """

    count: int
    kept: int
    touches: ClassVar[dict[str, int]]

    @property
    def partitions(self) -> int:
        """q, how many partitions there are."""
        return 1

    @property
    def sub_texts(self) -> int:
        """q·C(K, s)."""
        return self.partitions * comb(self.count, self.kept)

    def slack(self, threat: str, r: int) -> int:
        """2·q·M, in votes of the q·C(K, s)."""
        return 2 * self.partitions * self._changed(threat, r)

    def loss(self, lead: Leads, threat: str, r: int, worst: Fraction = WORST, n: int | None = None) -> Fraction:
        """The M largest ``s_ĉ − s_j + 1`` of each partition."""
        changed = self._changed(threat, r)
        return sum((delta - worst for part in lead for delta in heapq.nlargest(changed, part)), Fraction(0))

    def _changed(self, threat: str, r: int) -> int:
        """M for r operations."""
        touched = min(self.count, r * self._weight(self.touches, threat))
        return comb(self.count, self.kept) - comb(self.count - touched, self.kept)

    def _check(self) -> None:
        if not 1 <= self.kept <= self.count:
            raise InputError(f"cannot keep {self.kept} of {self.count} groups: give 1 ≤ kept ≤ count")

    def _shown(self, group_of: Sequence[int]) -> list[SubText]:
        """The C(K, s) sub-texts, by the groups they show in lexicographic order."""
        return [
            tuple(i for i, group in enumerate(group_of) if group in shown)
            for shown in map(frozenset, itertools.combinations(range(self.count), self.kept))
        ]


@dataclass(frozen=True, slots=True)
class Blocks(_Grouped):
    """K groups by *place*: consecutive blocks of nearly equal size, or i mod K (``interleaved``). For replaced tokens.

    A replaced token touches the one group of its place: with all K votes agreeing, any r < K/2 tokens. The number of
    tokens is fixed by the threat, so ``count`` may depend on it (a table by length, tuned beforehand) and on nothing
    else. With fewer tokens than blocks some are empty.
    """

    count: int
    kept: int = 1
    interleaved: bool = False

    threats: ClassVar[tuple[str, ...]] = ("replace",)
    touches: ClassVar[dict[str, int]] = {"replace": 1}

    def __post_init__(self) -> None:
        self._check()

    def members(self, pieces: Sequence[str]) -> list[list[SubText]]:
        """One partition, its C(K, s) sub-texts."""
        n = len(pieces)
        if self.interleaved:
            return [self._shown([i % self.count for i in range(n)])]
        starts = [k * n // self.count for k in range(self.count + 1)]
        sizes = (stop - start for start, stop in itertools.pairwise(starts))
        return [self._shown([k for k, size in enumerate(sizes) for _ in range(size)])]


@dataclass(frozen=True, slots=True)
class Groups(_Grouped):
    """K groups by *what a token is*: a keyed hash of the token exactly as it stands, for each of q hashes.

    Where a token stands does not matter, and how many there are does not either, so the length may change. A token that
    is inserted, deleted or moved touches the one group it belongs to, a replaced one its own and that of its successor:
    ``n_ĉ − n_j > 2·q·(insertions + deletions + moves + 2·replacements)``. ``edit`` is any mix, each operation at 2;
    a radius of ``insert``, ``delete`` or ``move`` holds for any mix of these three.

    ``count`` must be the same for *all* texts: were it read from a table by length, one more token could regroup them
    all. (A canonical form is applied before, to text or tokens; it may merge case.) The key is fixed before any text is
    seen and may be public: the bound is for the worst tokens there are.
    """

    count: int
    key: bytes
    hashes: int = 1
    kept: int = 1

    threats: ClassVar[tuple[str, ...]] = ("insert", "delete", "move", "replace", "edit")
    touches: ClassVar[dict[str, int]] = {"insert": 1, "delete": 1, "move": 1, "replace": 2, "edit": 2}

    def __post_init__(self) -> None:
        self._check()
        _check_hashes(self.hashes, self.key)

    @property
    def partitions(self) -> int:
        """q, how many hashes there are."""
        return self.hashes

    def members(self, pieces: Sequence[str]) -> list[list[SubText]]:
        """For each hash its C(K, s) sub-texts; the tokens of a sub-text stand in the text's order."""
        return [
            self._shown([keyed_hash(piece, self.key, h) % self.count for piece in pieces]) for h in range(self.hashes)
        ]


SENTENCE_ENDS = frozenset({".", "!", "?", "…", "...", "。", "！", "？"})


@dataclass(frozen=True, slots=True)
class Chunks(_Exact):
    """Cut after every *boundary token*, vote on each chunk: neighbours stay together although the length may change.

    A token is a boundary if its keyed hash is 0 mod ``every``, for each of q hashes; with ``every=None`` if it is one
    of ``ends``. Whether it is depends on the token alone: without that (a shortest or longest chunk, a rule that looks
    at neighbours) the theorem is false.

    **Theorem.** r tokens inserted, deleted or replaced, a move being two, take at most 3·q·r of a margin in votes, and
    of the lead in scores at most the r largest ``s_ĉ − s_j + 2`` of each hash, 1 for each that is missing. *Proof* (one
    hash). A change of a token that is no boundary before or after changes, adds or removes one chunk. One that becomes
    a boundary, or a new one, splits a chunk in two or adds one; one that was, and is gone, merges two into one, or
    changes the last one. Let c, s, g count the changes, splits and merges. They remove a set T of the original chunks
    and leave m new ones with |T| ≤ c + s + 2g and m ≤ c + 2s + g, and take Σ_T δ + m of the lead at most, δ = s_ĉ − s_j
    ≤ 1. A split instead of a merge has one δ ≤ 1 less in T and one new chunk more; a split instead of a change has one
    new chunk more. So r splits of the chunks with the largest δ are the worst, or of a new one (m grows by 1) where no
    original is left; a split of an original adds δ + 2 ≥ 1. As δ ≤ 1, that is at most 3·r. ∎  3 is attained by a vote
    for ĉ that is split into two for j.

    In sums of other weights, where a new chunk adds −b or more, a split takes δ + 2b and a merge δ + δ′ + b: after the
    r largest each further chunk with δ > b makes one split a merge, and takes δ − b more.
    """

    every: int | None = None
    key: bytes = b""
    hashes: int = 1
    ends: frozenset[str] = SENTENCE_ENDS

    threats: ClassVar[tuple[str, ...]] = ("edit", "move")

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise InputError(f"a boundary every {self.every} tokens: give 1 or more")
        if self.every is None and self.hashes != 1:
            raise InputError("sentence ends cut in one way only: give hashes=1, or every=B")
        _check_hashes(self.hashes, self.key)

    def slack(self, threat: str, r: int) -> int:
        """3·q·edits, in votes."""
        return 3 * self.hashes * self._edits(threat, r)

    def loss(self, lead: Leads, threat: str, r: int, worst: Fraction = WORST, n: int | None = None) -> Fraction:
        """For each hash the largest ``s_ĉ − s_j + 2``, as many as edits, 1 for each that is missing.

        Where new chunks add at least −b and b < 1, merges can be worse than splits: see the theorem.
        """
        edits, total = self._edits(threat, r), Fraction(0)
        for part in lead:
            highest = heapq.nlargest(2 * edits, part)
            split, merged = highest[:edits], highest[edits:]
            total += sum((delta - 2 * worst for delta in split), -worst * (edits - len(split)))
            total += sum((max(delta + worst, Fraction(0)) for delta in merged), Fraction(0))
        return total

    def members(self, pieces: Sequence[str]) -> list[list[SubText]]:
        """For each hash the chunks in order; none for a text without tokens."""
        return [self._chunks(pieces, h) for h in range(self.hashes)]

    def _chunks(self, pieces: Sequence[str], h: int) -> list[SubText]:
        chunks, start = [], 0
        for i, piece in enumerate(pieces, 1):
            if self._boundary(piece, h):
                chunks.append(tuple(range(start, i)))
                start = i
        return [*chunks, tuple(range(start, len(pieces)))] if start < len(pieces) else chunks

    def _boundary(self, piece: str, h: int) -> bool:
        return piece in self.ends if self.every is None else keyed_hash(piece, self.key, h) % self.every == 0

    def _edits(self, threat: str, r: int) -> int:
        return r * self._weight({"edit": 1, "move": 2}, threat)


@dataclass(frozen=True, slots=True)
class Each(_Exact):
    """One question for each piece, shown alone: retrieved passages, turns, sentences. The order of pieces is free.

    A new piece takes at most 1 of a lead, a lost one its ``s_ĉ − s_j``, a replaced one that and 1 more; so an attacker
    who controls r of a fixed number of passages takes at most 2·r votes (``replace``, and ``edit``: any mix, any
    order). Xiang et al., Certifiably robust RAG (2024), isolate passages so.
    """

    threats: ClassVar[tuple[str, ...]] = ("insert", "delete", "replace", "edit")

    def slack(self, threat: str, r: int) -> int:
        """In votes."""
        return r * self._weight({"insert": 1, "delete": 1, "replace": 2, "edit": 2}, threat)

    def loss(self, lead: Leads, threat: str, r: int, worst: Fraction = WORST, n: int | None = None) -> Fraction:
        """In scores: the r pieces that cost most."""
        self._weight(dict.fromkeys(self.threats, 1), threat)
        (part,) = lead
        if threat == "replace":
            return sum((delta - worst for delta in heapq.nlargest(r, part)), Fraction(0))
        lost = sum((max(delta, Fraction(0)) for delta in heapq.nlargest(r, part)), Fraction(0))
        return {"insert": -worst * r, "delete": lost, "edit": lost - worst * r}[threat]

    def members(self, pieces: Sequence[str]) -> list[list[SubText]]:
        """One partition, one piece each; no sub-text for an input without pieces."""
        return [[(i,) for i in range(len(pieces))]]


def keyed_hash(piece: str, key: bytes, h: int = 0) -> int:
    """64 bits of BLAKE2b of the piece exactly as it stands, under ``key``, for the h-th hash."""
    data = piece.encode(errors="surrogatepass")
    digest = hashlib.blake2b(data, digest_size=8, key=key, salt=h.to_bytes(2, "big"))
    return int.from_bytes(digest.digest(), "big")


def _check_hashes(hashes: int, key: bytes) -> None:
    if not 1 <= hashes < 2**16:
        raise InputError(f"{hashes} hashes: give 1 or more")
    if len(key) > 64:
        raise InputError(f"a key of {len(key)} bytes: give at most 64")
