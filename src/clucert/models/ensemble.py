"""Several base classifiers that vote as one."""

from __future__ import annotations

from collections.abc import Sequence

from clucert.errors import BadAnswerError, InputError
from clucert.protocols import Classifier
from clucert.types import Predictions, Usage, Vote


class Ensemble:
    """A plurality vote of ``members`` on each text.

    A tie goes to the label whose first voter stands earliest among the members. UNPARSED votes are abstentions: they
    lose to any label, and win only when no member named one. A function of the one text, so its certificates hold.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        if not members:
            raise InputError("an ensemble needs a classifier")
        if len({member.labels for member in members}) > 1:
            raise InputError("the classifiers of an ensemble must have the same labels, in the same order")
        self.members = tuple(members)
        self.name = "+".join(member.name for member in members)
        self.deterministic = all(member.deterministic for member in members)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels that all members share."""
        return self.members[0].labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """Vote on each text, in order; the usage is that of all members."""
        ballots = [member.predict(texts, first_draw=first_draw) for member in self.members]
        for member, ballot in zip(self.members, ballots, strict=True):
            if len(ballot.votes) != len(texts):
                raise BadAnswerError(f"{member.name} gave {len(ballot.votes)} votes on {len(texts)} texts")
        votes = tuple(plurality(column) for column in zip(*(b.votes for b in ballots), strict=True))
        unread = tuple(each for ballot in ballots for each in ballot.unread) if None in votes else ()
        return Predictions(votes, Usage.total([ballot.usage for ballot in ballots]), unread)


def plurality(votes: Sequence[Vote]) -> Vote:
    """The commonest label, the earliest of equals; None when nobody named one."""
    named = [vote for vote in votes if vote is not None]
    # max keeps the first of equals, and dict.fromkeys the order in which labels were first named.
    return max(dict.fromkeys(named), key=named.count, default=None)
