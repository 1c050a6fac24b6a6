"""Ellipsis: masks that a model reads well, "… the plot … thin …", each token hidden with probability p or s of n kept.

One mark stands for each run of hidden tokens, and one *always* stands at both ends, whether or not something is hidden
there; where nothing is kept, the text is one mark.

**Substitutions.** The result is a function of the masked text (which token stands at which place, or that it is
hidden), so every bound for masks holds unchanged, with s of n kept as well as with a rate: x and x′ that differ at d
places share the samples that hide them all, A = B = C(n−d, s)/C(n, s), or p^d.

**Insertions and deletions** (a rate p only; q = 1 − p). Let x and x′ have a common subsequence, outside of which stand
a tokens of x and b of x′. Call a gap of the common subsequence (between two neighbours in it) *one-sided* when tokens
stand there in x or in x′ but not in both, and let there be at most g of these.

**Theorem.** The laws share a part in the sense of :mod:`clucert.core.noise.overlap` with

    A = p^a·(1 − q²)^g,    B = p^b·(1 − q²)^g.

*Proof.* Let E be the event, about the common subsequence alone, that no one-sided gap has both of its neighbours kept.
When E holds and every other token is hidden, x and x′ give the same text for the same kept tokens: a mark stands
between two kept neighbours of the common subsequence exactly when something is hidden between them, and by E that
differs in no gap; at the ends a mark stands anyway. E is independent of the other tokens, so ν is the law given E, A =
p^a·P(E) and B = p^b·P(E). "Not both kept" is a decreasing event of independent bits, so by Harris' inequality P(E) ≥ (1
− q²)^g, with equality when no two one-sided gaps share a neighbour; a larger P(E) leaves A/B as it is and raises A,
which lowers the slack and raises the floor. ∎

An operation makes at most one one-sided gap, a move two; a token put before or behind the text none. With a = 0 this
gives ``m > p^(−b) + 1 − 2·(1 − q²)^g`` for insertions and at the ends the ``p^(−b) − 1`` of deletion. What the
always-present marks cost is nothing; what the other marks leak is the factor.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clucert.core.noise.deletion import Deletion, Sampled
from clucert.core.noise.overlap import SharedNoise
from clucert.core.words import WordedText
from clucert.errors import InputError
from clucert.types import Recovered, Request, Stage

MARK = "…"

Threat = Literal["replace", "word", "append", "insert", "delete", "edit"]
"""``word`` is ``replace``, by the name that it has beside other noises; ``append``: tokens before and behind the text
only; ``edit``: any mix of all, moves among them."""
THREATS: tuple[Threat, ...] = ("replace", "append", "insert", "delete", "edit")


def collapse(tokens: Sequence[str], kept: Iterable[bool], gaps: Sequence[str] | None = None) -> str:
    """The tokens that are ``kept``, one mark for each run of others, one mark at both ends, joined by one space.

    With ``gaps`` (what stands before each token, and behind the last) two kept neighbours keep what stands between them
    instead of the space. That is a function of the masked text too; the other threats are proved without gaps only.
    """
    text, hidden = MARK, True
    for i, (token, here) in enumerate(zip(tokens, kept, strict=True)):
        if not here:
            text, hidden = text if hidden else f"{text} {MARK}", True
            continue
        between = " " if hidden or gaps is None else gaps[i]
        text, hidden = f"{text}{between}{token}", False
    return text if hidden else f"{text} {MARK}"


@dataclass(frozen=True, slots=True)
class CollapsedMask(Sampled):
    """Each token is hidden independently with probability ``p``, an exact number in (0, 1)."""

    threats: ClassVar[tuple[str, ...]] = ("insert", "append", "delete", "edit", "word")
    p: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.p < 1:
            raise InputError(f"mask rate {self.p} is out of range: give a number above 0 and below 1")

    def sample(self, rng: np.random.Generator, n: int, samples: int) -> NDArray[np.bool_]:
        """Which tokens are kept, shape (samples, n): each with probability exactly 1 − p."""
        return Deletion(self.p).sample(rng, n, samples)

    def _overlaps(self, threat: Threat, n: int, r: int) -> Iterator[SharedNoise]:
        if threat in ("replace", "word"):
            hidden = self.p ** min(r, n)
            yield SharedNoise(hidden, hidden)
        elif threat == "append":
            yield SharedNoise(Fraction(1), self.p**r)
        elif threat == "insert":
            yield self._leaking(n, 0, r, r)
        else:  # Fewer deletions leave more gaps to leak: no a covers another one.
            for a in range(min(r, n) + 1):
                yield self._leaking(n, a, r, 2 * r) if threat == "edit" else self._leaking(n, a, 0, a)

    def _leaking(self, n: int, a: int, b: int, gaps: int) -> SharedNoise:
        """With the most one-sided gaps: no more than the common subsequence has."""
        g = min(gaps, max(0, n - a - 1))
        held = (1 - (1 - self.p) ** 2) ** g
        return SharedNoise(self.p**a * held, self.p**b * held)


class EllipsisRecovery:
    """One mark for each run of hidden tokens. Words that were neighbours keep what stood between them."""

    name = "ellipsis"
    deterministic = True

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """Collapse what is not retained; ``rng`` is not read."""
        yield from ()
        return Recovered([collapse(text.words, row, text.gaps) for row in retained.tolist()])
