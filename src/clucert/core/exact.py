"""Certificates of few questions: every sub-text of a small fixed family is asked, so α = 0.

The classifier that is certified is the one that is deployed: cut the text into sub-texts (:mod:`clucert.core.noise.
groups`, :mod:`clucert.core.noise.windows`), ask about each, add up the scores. Nothing is drawn at random, there is no
selection stage, and no probability that the certificate is wrong. It needs a base classifier that answers equal
sub-texts alike; one that samples is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from clucert.core.calibration import Bias, bias_of
from clucert.core.noise import votes
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.tokens import Units, passages, sentences, turns, words
from clucert.core.noise.votes import Scores
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Radius
from clucert.core.settings import Base
from clucert.errors import InputError
from clucert.types import Classify, Phase, Request, Scored, Vote

Noise = Blocks | Groups | Chunks | Each | Windows | EraseAndCheck
Unit = Literal["word", "sentence", "passage", "turn"]

PLACES = 6
"""Decimal places of the label probabilities that are counted and stored: what is certified is what can be read back."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Flag a text when at least ``at_least`` of its sub-texts get one of ``labels``; "still flagged" is certified."""

    labels: tuple[str, ...]
    at_least: int = 1


@dataclass(frozen=True, slots=True)
class ExactSettings:
    """The parameters of an exact certificate."""

    base: Base
    method: str
    noise: Noise
    unit: Unit = "word"
    soft: bool = False
    """Add up label probabilities instead of votes, where the model gives them."""
    sharpness: float = 1.0
    """Soft scores are p^sharpness, normalised: 1 averages probabilities, a large number counts votes."""
    bias: tuple[Bias, ...] = ()
    """By length of the sub-text, taken off the log-probability of each label before anything is counted."""
    flag: Flag | None = None

    @property
    def threats(self) -> tuple[str, ...]:
        """What the noise speaks of."""
        return ("suffix",) if isinstance(self.noise, EraseAndCheck) else self.noise.threats


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer to one sub-text: its vote, and label probabilities in the order of the labels where there are any."""

    text: str
    vote: Vote
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ExactCertificate:
    """All answers to the sub-texts of one text, and what they prove.

    **Guarantee.** If the base classifier is a function of the sub-text, no change that ``proved[threat]`` allows makes
    the deployed classifier answer anything but ``prediction``. Nothing is assumed about the base classifier otherwise,
    and there is no probability of error. A radius counts units (tokens, sentences, …) of the text.

    Radii are derived from the stored answers.
    """

    text: str
    pieces: tuple[str, ...]
    settings: ExactSettings
    labels: tuple[str, ...]
    answers: tuple[Shown, ...]
    partitions: tuple[tuple[int, ...], ...]
    """For each partition, the index among ``answers`` of each sub-text, in order; −1 is the empty sub-text."""
    example: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def n(self) -> int:
        """Units of the text."""
        return len(self.pieces)

    @property
    def questions(self) -> int:
        """Different sub-texts that were asked."""
        return len(self.answers)

    @cached_property
    def family(self) -> Sequence[Sequence[Scores]]:
        """The scores of each sub-text of each partition."""
        empty = votes.hard(None)
        scored = [self._scores(i) for i in range(len(self.answers))]
        return [[empty if i < 0 else scored[i] for i in part] for part in self.partitions]

    def _scores(self, i: int) -> Scores:
        adjusted = self._adjusted[i]
        if not self.settings.soft or adjusted is None:
            return votes.hard(self.votes[i])
        raised = {label: share**self.settings.sharpness for label, share in adjusted.items()}
        return votes.soft(raised) if any(raised.values()) else votes.hard(self.votes[i])

    @cached_property
    def _adjusted(self) -> Sequence[Mapping[str, float] | None]:
        """The label probabilities of each answer with the bias taken off; None where there are none."""
        return [None if shown.shares is None else self._unbiased(shown.text, shown.shares) for shown in self.answers]

    def _unbiased(self, text: str, shares: Sequence[float]) -> Mapping[str, float]:
        bias = bias_of(self.settings.bias, text) or (0.0,) * len(self.labels)
        return {label: p * math.exp(-b) for label, p, b in zip(self.labels, shares, bias, strict=True)}

    @cached_property
    def votes(self) -> Sequence[Vote]:
        """The vote of each answer: the likeliest label once the bias is off, the first of equals."""
        return [
            shown.vote if adjusted is None or not any(adjusted.values()) else max(adjusted, key=adjusted.__getitem__)
            for shown, adjusted in zip(self.answers, self._adjusted, strict=True)
        ]

    @property
    def flagged(self) -> int:
        """Sub-texts that got a label of the flag."""
        flag = self.settings.flag
        if flag is None:
            return 0
        named = [vote in flag.labels for vote in self.votes]
        return sum(i >= 0 and named[i] for part in self.partitions for i in part)

    @property
    def counts(self) -> Mapping[str, int]:
        """Votes of the sub-texts, by label; the empty ones and the unparsed are left out."""
        found = dict.fromkeys(self.labels, 0)
        for part in self.partitions:
            for i in part:
                if i >= 0 and (vote := self.votes[i]) is not None:
                    found[vote] = found.get(vote, 0) + 1
        return found

    @property
    def unparsed(self) -> int:
        """Sub-texts whose answer named no label."""
        return sum(i >= 0 and self.votes[i] is None for part in self.partitions for i in part)

    @cached_property
    def prediction(self) -> str | None:
        """The answer of the deployed classifier; None when no sub-text named a label."""
        flag = self.settings.flag
        if flag is None:
            return votes.answer(self.family)
        if self.flagged >= flag.at_least:
            return max(flag.labels, key=lambda label: self.counts.get(label, 0))
        others = [label for label in self.labels if label not in flag.labels]
        return max(others, key=lambda label: self.counts.get(label, 0), default=None)

    @cached_property
    def proved(self) -> Mapping[str, Radius | None]:
        """By threat, how many operations may be done (inclusive); None where nothing is proved, not even for 0."""
        return {threat: self._radius(threat) for threat in self.settings.threats}

    def _radius(self, threat: str) -> Radius | None:
        noise, flag = self.settings.noise, self.settings.flag
        if self.prediction is None:
            return None
        if flag is not None:
            return self._flag_radius(threat, flag)
        if isinstance(noise, Windows | EraseAndCheck):
            raise InputError(f"{self.settings.method} flags texts: say which label with --flag")
        return noise.radius(self.family, self.prediction, threat, self.n, self.labels)

    def _flag_radius(self, threat: str, flag: Flag) -> Radius | None:
        noise = self.settings.noise
        if self.flagged < flag.at_least:
            return None
        if isinstance(noise, EraseAndCheck):
            # What is flagged as it stands stays so behind any suffix that is not longer than the erased ones.
            whole = self.partitions[0][0]
            return Radius(noise.suffix if whole >= 0 and self.votes[whole] in flag.labels else 0)
        if isinstance(noise, Windows):
            return noise.flag_radius(self.flagged, flag.at_least, threat, self.n)
        r = 0
        while r < self.n and self.flagged - noise.flags_lost(threat, r + 1) >= flag.at_least:
            r += 1
        return Radius(r)


MOST_QUESTIONS = 20_000
"""About one text, at most."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as its units, the sub-texts of each partition, and the different ones among them, which are asked."""

    pieces: tuple[str, ...]
    shown: tuple[tuple[str, ...], ...]
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExactSmoother:
    """The deployed classifier without its base classifier: how a text is cut, and how answers are counted."""

    settings: ExactSettings
    labels: tuple[str, ...]

    def steps(self, text: str, example: str = "") -> Generator[Request, Any, ExactCertificate]:
        """Certify ``text``: one question for each different sub-text.

        Raises :class:`clucert.errors.InputError` for a text without a unit.
        """
        yield Phase("noise")
        cut = self.cut(text)
        answers: Sequence[Scored] = yield Classify(cut.asked, "certify", scored=True)
        yield Phase("certificate")
        shown = [self._shown(text, answer) for text, answer in zip(cut.asked, answers, strict=True)]
        return self.certificate(text, cut, shown, example)

    def cut(self, text: str) -> Cut:
        """The sub-texts of ``text``. Raises InputError for a text without a unit, or with too many questions."""
        units = self._units(text)
        if not units.pieces:
            raise InputError("the text has no words: give a text with at least one word to certify")
        shown = tuple(tuple(units.keep(places) for places in part) for part in self._members(units.pieces))
        asked = tuple(dict.fromkeys(text for part in shown for text in part if text))
        if len(asked) > MOST_QUESTIONS:
            raise InputError(f"{len(asked):,} questions about one text are more than {MOST_QUESTIONS:,}: cut it")
        return Cut(units.pieces, shown, asked)

    def certificate(self, text: str, cut: Cut, shown: Sequence[Shown], example: str = "") -> ExactCertificate:
        """What the answers ``shown`` to the questions of ``cut`` say."""
        index = {text: i for i, text in enumerate(cut.asked)} | {"": -1}
        return ExactCertificate(
            text=text,
            pieces=cut.pieces,
            settings=self.settings,
            labels=self.labels,
            answers=tuple(shown),
            partitions=tuple(tuple(index[text] for text in part) for part in cut.shown),
            example=example,
        )

    def predict_steps(self, text: str, example: str = "") -> Generator[Request, Any, Vote]:
        """The answer alone: the same questions."""
        certificate = yield from self.steps(text, example)
        return certificate.prediction

    def _members(self, pieces: Sequence[str]) -> Sequence[Sequence[tuple[int, ...]]]:
        noise = self.settings.noise
        if isinstance(noise, Windows | EraseAndCheck):
            return [noise.members(pieces)]
        return noise.members(pieces)

    def _units(self, text: str) -> Units:
        match self.settings.unit:
            case "word":
                return words(text)
            case "sentence":
                return sentences(text)
            case "passage":
                return passages(listed(text))
            case "turn":
                return turns(listed(text))

    def _shown(self, text: str, answer: Scored) -> Shown:
        shares = None
        if answer.answer is not None and set(answer.shares) == set(self.labels):
            shares = tuple(round(answer.shares[label], PLACES) for label in self.labels)
        return Shown(text, answer.answer, shares)


def listed(text: str) -> list[str]:
    """The passages or turns that ``text`` lists as JSON: strings, or messages with a ``content``.

    Raises:
        InputError: it is no list of texts.

    """
    try:
        items = json.loads(text)
    except ValueError:
        items = None
    given = items if isinstance(items, list) else []
    found = [item.get("content") if isinstance(item, dict) else item for item in given]
    texts = [item for item in found if isinstance(item, str)]
    if not texts or len(texts) < len(found):
        raise InputError('this unit needs a JSON list of texts: ["first passage", "second passage"]')
    return texts
