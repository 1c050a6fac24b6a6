"""Windows and erase-and-check: a harmful part is still there, whatever is put around it.

A *window* is k consecutive pieces (tokens, sentences); a text of n ≥ k pieces has n − k + 1, a shorter one is one
window as a whole. "Flag when at least τ windows are harmful" is about windows that *survive*: new ones cannot unflag.
Exact: every window is asked.

**Theorem.** Let n ≥ k. A window of x that no change falls *into* is a window of x′. So of the windows of x vanish at
most

    k − 1    for a block of any length that is inserted at one place; none at either end of the text
    k − 1    for a token that is inserted,    k for one that is deleted or replaced,    2k − 1 for one that is moved

*Proof.* k consecutive tokens of x that are consecutive in x′ are one of its windows, for x′ has k tokens then. A block
falls into the windows that have tokens on both sides of its place: at most k − 1 starts. A token is in at most k
windows; a move is a deletion and an insertion. ∎

For n < k this is false: the one window is the whole text, and *any* insertion, at the ends too, makes it part of
another. Then only 0 changes are certified.

*Erase-and-check* (Kumar et al., 2023, suffix mode): flag when the text, or one of its d prefixes that are 1 to d tokens
shorter, is flagged. If the filter flags x, it flags x followed by any ≤ d tokens, because x is one of the prefixes: d +
1 questions, α = 0.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from clucert.core.radius import Radius
from clucert.errors import InputError


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows of ``size`` consecutive pieces; each may be asked about once, however often it occurs."""

    size: int

    threats: ClassVar[tuple[str, ...]] = ("ends", "block", "insert", "delete", "replace", "edit")
    """``ends``: any number of pieces before and behind; ``block``: r blocks, of any length, anywhere; ``edit``: r
    pieces inserted, deleted, replaced or moved, in any mix."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"windows of {self.size} pieces: give 1 or more")

    def members(self, pieces: Sequence[str]) -> list[tuple[int, ...]]:
        """The places each window shows, from left to right; at least one window, perhaps of nothing."""
        n = len(pieces)
        return [tuple(range(i, min(i + self.size, n))) for i in range(max(1, n - self.size + 1))]

    def vanish(self, threat: str, r: int, n: int) -> int:
        """How many of the windows of a text of n pieces can vanish under r operations, at most."""
        if threat not in self.threats:
            raise InputError(f"windows prove nothing about {threat!r}: they speak of {', '.join(self.threats)}")
        k, total = self.size, max(1, n - self.size + 1)
        if r == 0:
            return 0
        if n < k:
            return total
        each = {"ends": 0, "block": k - 1, "insert": k - 1, "delete": k, "replace": k, "edit": 2 * k - 1}[threat]
        return min(total, r * each)

    def loss(self, lead: Sequence[Sequence[Fraction]], threat: str, r: int, worst: Fraction, n: int) -> Fraction | None:
        """How much of a sum over the windows of a text of ``n`` pieces r operations can take; None: there is no bound.

        ``lead`` is what each window adds; a window that was not there adds at least ``worst`` ≤ 0.
        """
        (part,) = lead
        gone = heapq.nlargest(self.vanish(threat, r, n), part)
        lost = sum((max(delta, Fraction(0)) for delta in gone), Fraction(0))
        if not worst or not r:
            return lost
        if threat == "block":
            return None
        k = self.size
        each = {"ends": 1, "insert": k, "delete": k - 1, "replace": k, "edit": 2 * k - 1}[threat]
        return lost - worst * r * each


@dataclass(frozen=True, slots=True)
class EraseAndCheck:
    """Flag when the text, or one of its prefixes shorter by up to ``suffix`` pieces, is flagged.

    What is certified: a text that the *filter* flags stays flagged when at most ``suffix`` pieces are appended (new
    pieces, after white space: text glued to the last token replaces it). With more than one prefix that must be
    flagged, or where the whole text is not, fewer may be: see :meth:`flag_radius`. The price: a harmless text is
    flagged when any of its suffix + 1 prefixes is. The filter must see the pieces joined as a sub-text is, for the
    whole text too.
    """

    suffix: int

    threats: ClassVar[tuple[str, ...]] = ("suffix",)

    def __post_init__(self) -> None:
        if self.suffix < 1:
            raise InputError(f"a suffix of {self.suffix} pieces: give 1 or more")

    def members(self, pieces: Sequence[str]) -> list[tuple[int, ...]]:
        """The places each prefix shows, the whole text first; the empty prefix is among them where n ≤ suffix."""
        n = len(pieces)
        return [tuple(range(length)) for length in range(n, max(0, n - self.suffix) - 1, -1)]

    def flag_radius(self, flagged: Sequence[bool], at_least: int) -> Radius | None:
        """How many pieces may be appended, such that ``at_least`` of the prefixes that are looked at are flagged.

        ``flagged`` says so of the text and its prefixes, the whole text first. Behind r new pieces the first d − r + 1
        of them are looked at still, and nothing is known of the others.
        """
        if sum(flagged) < at_least:
            return None
        return Radius(max(r for r in range(self.suffix + 1) if sum(flagged[: self.suffix - r + 1]) >= at_least))
