"""What an attack is, what it may ask, and the contract that every attack is held to.

An attack is a sans-I/O computation: it yields texts (:class:`Ask`) and is sent how the victim scored them, so that
bare classifiers and smoothed ones are attacked by the same code. Authors inherit from :class:`WordAttack` and write
``run``; the final ``steps`` skips, counts, stops at the budget and checks the outcome.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np

from clucert.core.words import WordedText, split
from clucert.errors import UsageError
from clucert.types import Encode, Scored, Vote

Words = tuple[str, ...]
"""What stands in each place of a :class:`clucert.core.words.WordedText`; one place may hold two words (``gr eat``)."""

Status = Literal["skipped", "success", "failure", "unattacked"]


@dataclass(frozen=True, slots=True)
class Ask:
    """Score ``texts``; send back a list of :class:`Scored`, in order."""

    texts: Sequence[str]


AttackRequest = Ask | Encode


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What came of one attack, counted as TextAttack counts."""

    status: Status
    """``skipped`` when the victim was wrong before anything was changed; ``unattacked`` when nothing was to be."""
    text: str
    perturbed: str
    """The text that flipped the answer; on failure the closest attempt, or the text itself when there was none."""
    gold: str
    before: Vote
    after: Vote
    """The victim's answers to ``text`` and to ``perturbed``."""
    queries: int
    """Texts that the victim was asked about, the original and repeated ones included."""
    words: int
    words_changed: int
    exhausted: bool = False
    """Whether the budget ended the attack: a failure then says little."""
    changes: tuple[tuple[int, str, str], ...] = ()
    """(position, word, what stands there now), where the attack keeps the words in their places."""


AttackSteps = Generator[AttackRequest, Any, AttackResult]


@runtime_checkable
class Attack(Protocol):
    """An untargeted attack on a classifier."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        ...

    def steps(self, text: str, gold: str, rng: np.random.Generator, *, max_queries: int | None = None) -> AttackSteps:
        """Make the victim's answer to ``text`` differ from ``gold``, asking about ``max_queries`` texts at most."""
        ...


@dataclass(frozen=True, slots=True)
class Probe:
    """From ``run``: score texts that are no attempts (a word left out, to see how much it matters)."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Try:
    """From ``run``: score attempts. Only what was tried can be the outcome."""

    candidates: Sequence[Words]


RunSteps = Generator[Probe | Try | Encode, Any, Words | None]


@dataclass(frozen=True, slots=True)
class Start:
    """What an attack begins with."""

    text: WordedText
    gold: str
    scored: Scored
    frozen: tuple[bool, ...]
    """Positions that must stay as they are."""


class WordAttack(ABC):
    """Base class of attacks that change words in their places. Authors write ``name``, ``run`` and maybe ``frozen``."""

    name: str

    def frozen(self, text: WordedText) -> tuple[bool, ...]:
        """Positions that this attack never changes; none, unless overridden."""
        return (False,) * len(text)

    @abstractmethod
    def run(self, start: Start, rng: np.random.Generator) -> RunSteps:
        """Search; return the attempt that flipped the answer, or None. Need not count, nor stop at the budget."""

    @final
    def steps(self, text: str, gold: str, rng: np.random.Generator, *, max_queries: int | None = None) -> AttackSteps:
        """Attack ``text``. Guaranteed, whatever ``run`` does:

        * a text that the victim gets wrong is skipped after one query;
        * the victim is asked about ``max_queries`` texts at most, the original included; an attack that wants more
          ends with the best of what it tried, and ``exhausted`` says so;
        * success means that the victim answered ``perturbed`` with something else than ``gold`` (UNPARSED included);
        * frozen words stay as they are.

        Raises :class:`clucert.errors.UsageError` for a budget below 1 and for a ``run`` that breaks these rules.
        """
        if max_queries is not None and max_queries < 1:
            raise UsageError(f"--max-queries {max_queries}: an attack asks at least once, about the text itself")
        worded = split(text)
        (first,) = yield Ask([text])
        ledger = _Ledger(self.name, Start(worded, gold, first, self.frozen(worded)), max_queries)
        if first.answer != gold:
            return ledger.result("skipped", None)
        chosen = yield from _supervised(self.run(ledger.start, rng), ledger)
        return ledger.outcome(chosen)


def _supervised(run: RunSteps, ledger: _Ledger) -> Generator[AttackRequest, Any, Words | None]:
    """Pass on what ``run`` asks until it returns, or until the budget is spent."""
    reply: Any = None
    while True:
        try:
            request = run.send(reply)
        except StopIteration as stop:
            chosen: Words | None = stop.value
            return chosen
        if isinstance(request, Encode):
            reply = yield request
            continue
        texts = ledger.admit(request)
        scored: list[Scored] = []
        if texts:
            scored = yield Ask(texts)
        ledger.note(request, scored)
        if ledger.exhausted:
            run.close()
            return None
        reply = scored


@dataclass(slots=True)
class _Ledger:
    """Queries spent and attempts made."""

    name: str
    start: Start
    limit: int | None
    queries: int = 1
    exhausted: bool = False
    tried: dict[Words, Scored] = field(default_factory=dict)

    def admit(self, request: Probe | Try) -> list[str]:
        """The texts of ``request`` that the budget allows."""
        if isinstance(request, Try):
            for words in request.candidates:
                self._check(words)
            texts = [self.start.text.join(words) for words in request.candidates]
        else:
            texts = list(request.texts)
        if self.limit is not None and len(texts) > self.limit - self.queries:
            self.exhausted = True
            texts = texts[: self.limit - self.queries]
        self.queries += len(texts)
        return texts

    def note(self, request: Probe | Try, scored: Sequence[Scored]) -> None:
        """Remember how attempts were scored."""
        if isinstance(request, Try):
            self.tried.update(zip(request.candidates, scored, strict=False))

    def outcome(self, chosen: Words | None) -> AttackResult:
        """The verdict on ``chosen``, or on the best attempt when there is none."""
        if chosen is not None and chosen not in self.tried:
            raise UsageError(f"the attack {self.name!r} returned a text that it never tried: `yield Try([...])` first")
        best = self._best() if chosen is None else chosen
        flipped = best is not None and self.tried[best].answer != self.start.gold
        return self.result("success" if flipped else "failure", best)

    def result(self, status: Status, words: Words | None) -> AttackResult:
        """The result with ``words`` in the text's places."""
        start = self.start
        now = start.text.words if words is None else words
        changes = tuple((i, a, b) for i, (a, b) in enumerate(zip(start.text.words, now, strict=True)) if a != b)
        return AttackResult(
            status=status,
            text=start.text.text,
            perturbed=start.text.join(now),
            gold=start.gold,
            before=start.scored.answer,
            after=start.scored.answer if words is None else self.tried[words].answer,
            queries=self.queries,
            words=len(start.text),
            words_changed=len(changes),
            exhausted=self.exhausted,
            changes=changes,
        )

    def _best(self) -> Words | None:
        """A flip if there is one, else the attempt that left the gold label the smallest share."""
        gold = self.start.gold
        return min(self.tried, key=lambda w: (self.tried[w].answer == gold, self.tried[w].share(gold)), default=None)

    def _check(self, words: Words) -> None:
        start = self.start
        if len(words) != len(start.text):
            raise UsageError(f"the attack {self.name!r} gave {len(words)} words for a text of {len(start.text)}")
        for was, now, frozen in zip(start.text.words, words, start.frozen, strict=True):
            if frozen and was != now:
                raise UsageError(f"the attack {self.name!r} changed the protected word {was!r}")
        if words == start.text.words:
            raise UsageError(f"the attack {self.name!r} tried the text itself")
