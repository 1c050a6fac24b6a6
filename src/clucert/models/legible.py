"""Stops a run whose first answers cannot be read, before the rest is paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from clucert.errors import UnreadableError
from clucert.types import KEPT, Answer, Unread, Vote

FIRST = 20
"""Number of first answers that are checked."""
LENGTH = 500
"""Characters of an example."""
SHOWN, SHOWN_LENGTH = 2, 80
READABLE = "have the prompt ask for nothing but the label, raise --answer-tokens, or turn the model's reasoning off"
"""What helps where answers are no votes."""


class FirstAnswers:
    """Counts the first :data:`FIRST` answers of one model. Not thread-safe: one caller at a time."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._seen = 0
        self._unread: list[Unread] = []

    @property
    def left(self) -> int:
        """How many answers are still to be looked at before the others are asked for; 0 when all is well."""
        return max(0, FIRST - self._seen)

    def check(self, answers: Sequence[Answer], votes: Sequence[Vote]) -> None:
        """Count answers with their votes; answers after the first ones are not counted.

        Raises :class:`clucert.errors.UnreadableError` when more than half of the first were no votes. The next
        answers are then checked anew.
        """
        taken = self.left
        if not taken:
            return
        self._seen += len(votes[:taken])
        self._unread += [
            unread(answer) for answer, vote in zip(answers[:taken], votes[:taken], strict=True) if vote is None
        ]
        if self._seen >= FIRST and 2 * len(self._unread) > FIRST:
            said = self._message()
            self._seen, self._unread = 0, []
            raise UnreadableError(said)

    def _message(self) -> str:
        reasons = Counter(each.why for each in self._unread).most_common()
        why = ", ".join(f"{count} {reason}" for reason, count in reasons)
        examples = ", ".join(shown(each.text) for each in distinct(self._unread)[:SHOWN])
        return (
            f"{len(self._unread)} of the first {FIRST} answers of {self._model} are no votes ({why}): {READABLE}; "
            f"answers: {examples}"
        )


def unread(answer: Answer) -> Unread:
    """An answer that was no vote, as an example."""
    from clucert.tasks.said import why_unread

    return Unread(answer.text[:LENGTH], why_unread(answer))


def unread_of(answers: Sequence[Answer], votes: Sequence[Vote]) -> tuple[Unread, ...]:
    """Examples of the answers that were no votes, no two alike, at most :data:`KEPT`."""
    return tuple(distinct([unread(a) for a, vote in zip(answers, votes, strict=True) if vote is None])[:KEPT])


def distinct(examples: Sequence[Unread]) -> list[Unread]:
    """``examples``, the first of equals."""
    return list(dict.fromkeys(examples))


def shown(text: str, length: int = SHOWN_LENGTH) -> str:
    """``text`` in quotes on one line, cut, with control and direction-changing characters escaped."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")
