"""Votes that equal noised texts share, where nobody knows whether the backend repeats itself, and the test of it.

A server at temperature 0 usually answers an equal question alike, and is not bound to. So within one certificate equal
noised texts are asked about once, and the most repeated ones again while the certificate is made and when it is done:
at its beginning, in its middle and at its end. One difference, and no shared vote counts: :class:`UnsteadyError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, log2

from clucert.types import Answers, Vote


class UnsteadyError(Exception):
    """A question got another answer than before. Never leaves :meth:`clucert.core.smoothing.Smoother.trusted`."""


def probes_needed(alpha: float) -> int:
    """So many that a question with no vote of probability above ½ passes all with probability at most alpha / 2.

    No number of them proves that a backend repeats itself: a question that is answered otherwise one time in ten passes
    six of them every other time. Certificates therefore say how often was probed.
    """
    return ceil(log2(1 / alpha)) + 1


@dataclass(slots=True)
class Repeats:
    """What is known of the noised texts of one certificate at level ``alpha``."""

    alpha: float
    probes: int = 0
    _votes: dict[str, Vote] = field(default_factory=dict)
    _drawn: Counter[str] = field(default_factory=Counter)
    _asked: int = 0

    def plan(self, texts: Sequence[str]) -> tuple[list[str], list[str]]:
        """What to ask for the samples ``texts``: those not asked about yet, and known ones to ask about again."""
        self._drawn.update(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._votes]
        return new, self._again(ceil(probes_needed(self.alpha) / 3))

    def last(self) -> list[str]:
        """What to ask again once the certificate is made; nothing where no two samples shared a vote."""
        third = ceil(probes_needed(self.alpha) / 3)
        return self._again(max(third, probes_needed(self.alpha) - self.probes))

    def learn(self, new: Sequence[str], votes: Sequence[Vote]) -> None:
        """The first votes on ``new``."""
        self._votes.update(zip(new, votes, strict=True))

    def check(self, again: Sequence[str], votes: Sequence[Vote]) -> None:
        """The votes of a probe. Raises UnsteadyError when one is not what it was."""
        self.probes += len(again)
        if any(self._votes[text] != vote for text, vote in zip(again, votes, strict=True)):
            raise UnsteadyError

    def votes(self, texts: Sequence[str]) -> list[Vote]:
        """The vote of each sample."""
        return [self._votes[text] for text in texts]

    @property
    def answers(self) -> Answers:
        """What a certificate says of it: where no vote was shared, every sample was asked anew."""
        return Answers("probed", self.probes) if self.shared else Answers("sampled")

    @property
    def shared(self) -> bool:
        """Whether two samples have one vote."""
        return any(count > 1 for count in self._drawn.values())

    def _again(self, wanted: int) -> list[str]:
        """``wanted`` questions, the most repeated first; the few that there are come in turn, the commonest always."""
        known = [text for text, count in self._drawn.most_common() if count > 1 and text in self._votes]
        if not known:
            return []
        others = known[1:] or known
        rest = [others[(self._asked + i) % len(others)] for i in range(wanted - 1)]
        self._asked += len(rest)
        return [known[0], *rest]
