"""Certificates of few questions: every sub-text of a small fixed family is asked, so α = 0.

The classifier that is certified is the one that is deployed: cut the text into sub-texts (:mod:`clucert.core.noise.
groups`, :mod:`clucert.core.noise.windows`), ask about each, add up the scores. Nothing is drawn at random, there is no
selection stage, and no probability that the certificate is wrong. It needs a base classifier that answers equal
sub-texts alike; one that samples is refused.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from clucert.core.bounds import UNPARSED, Number
from clucert.core.calibration import bias_of
from clucert.core.flagged import flag_radius
from clucert.core.noise import votes
from clucert.core.noise.canonical import Canonical, Free
from clucert.core.noise.tokens import JOINERS, Units, listed, sentences, words
from clucert.core.noise.votes import Scores
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Radius
from clucert.core.settings import ExactSettings
from clucert.core.thresholds import Flag, class_of, classes_of, merged_labels
from clucert.errors import InputError
from clucert.types import Classify, Phase, Request, Scored, Unit, Vote

PLACES = 6
"""Decimal places of the label probabilities that are counted and stored: what is certified is what can be read back."""


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

    With a flag the two answers are *flagged* and *passed*, and each has its radii. Radii are derived from the stored
    answers, so another flag, threshold or group costs no model call (:meth:`at`, :meth:`with_groups`).
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
    free: Free | None = None
    """What may be changed any number of times; None where the text is not put into canonical form."""
    form: Canonical | None = field(default=None, compare=False, repr=False)
    """What put it into that form; None of a stored one where the tables are not at hand."""

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
        """Of each answer the probability of each class, calibrated; None where there are none."""
        return [None if shown.shares is None else self._unbiased(shown.text, shown.shares) for shown in self.answers]

    def _unbiased(self, text: str, shares: Sequence[float]) -> Mapping[str, float]:
        bias = bias_of(self.settings.bias, text)
        return self._summed(shares if bias is None else bias.taken_off(shares))

    def _summed(self, shares: Sequence[float]) -> Mapping[str, float]:
        found = dict.fromkeys(self.classes, 0.0)
        for label, share in zip(self.labels, shares, strict=True):
            found[class_of(label, self.settings.merging) or label] += share
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, those of a group as one."""
        return classes_of(self.labels, self.settings.merging)

    @cached_property
    def votes(self) -> Sequence[Vote]:
        """The vote of each answer: the likeliest class once the bias is off, the first of equals."""
        return [
            class_of(shown.vote, self.settings.merging)
            if adjusted is None or not any(adjusted.values())
            else max(adjusted, key=adjusted.__getitem__)
            for shown, adjusted in zip(self.answers, self._adjusted, strict=True)
        ]

    @property
    def flagged(self) -> int:
        """Sub-texts that got a label of the flag."""
        flag = self.settings.flag
        return 0 if flag is None else sum(i >= 0 and self._named(flag, i) for part in self.partitions for i in part)

    def _named(self, flag: Flag, i: int) -> bool:
        vote = self.votes[i]
        return UNPARSED in flag.labels if vote is None else vote in self._flag_classes(flag)

    def _flag_classes(self, flag: Flag) -> set[str]:
        return {class_of(label, self.settings.merging) or label for label in flag.labels}

    @property
    def flag_share(self) -> Fraction:
        """The mean score of the flag's labels over all sub-texts; an empty one has 0."""
        weights = [weight for part in self.weights for weight in part]
        return sum(weights, Fraction(0)) / max(len(weights), 1)

    @cached_property
    def weights(self) -> Sequence[Sequence[Fraction]]:
        """What each sub-text of each partition adds to the flag, from 0 to 1: its vote, or its score for a share."""
        flag = self.settings.flag
        if flag is None:
            return [[Fraction(0)] * len(part) for part in self.partitions]
        if flag.share is None:
            each = [Fraction(self._named(flag, i)) for i in range(len(self.answers))]
        else:
            named = self._flag_classes(flag)
            scored = (self._scores(i) for i in range(len(self.answers)))
            each = [sum((score for label, score in s.items() if label in named), Fraction(0)) for s in scored]
        return [[each[i] if i >= 0 else Fraction(0) for i in part] for part in self.partitions]

    @property
    def counts(self) -> Mapping[str, int]:
        """Votes of the sub-texts, by class; the empty ones and the unparsed are left out."""
        found = dict.fromkeys(self.classes, 0)
        for part in self.partitions:
            for i in part:
                if i >= 0 and (vote := self.votes[i]) is not None:
                    found[vote] = found.get(vote, 0) + 1
        return found

    @property
    def unparsed(self) -> int:
        """Sub-texts whose answer named no label."""
        return sum(i >= 0 and self.votes[i] is None for part in self.partitions for i in part)

    @property
    def is_flagged(self) -> bool:
        """Whether a flag is set, and enough sub-texts get its labels."""
        flag = self.settings.flag
        if flag is None:
            return False
        return self.flagged >= flag.at_least if flag.share is None else self.flag_share >= flag.share

    @cached_property
    def prediction(self) -> str | None:
        """The answer of the deployed classifier; None when no sub-text named a label."""
        flag = self.settings.flag
        if flag is None:
            return votes.answer(self.family)
        return flag.names(self.labels)[0 if self.is_flagged else 1]

    @cached_property
    def proved(self) -> Mapping[str, Radius | None]:
        """By threat, how many operations may be done (inclusive); None where nothing is proved, not even for 0."""
        return {threat: self._radius(threat) for threat in self.settings.threats}

    def at(
        self, *, flag: Sequence[str] = (), threshold: Number | str | None = None, at_least: int | None = None
    ) -> ExactCertificate:
        """The same answers read by a guard that flags at a share of ``threshold`` of the sub-texts, or ``at_least`` so
        many; ``flag`` names its labels, unless they stay.

        Raises :class:`InputError` for labels that there are not, or a number that is none.
        """
        old = self.settings.flag
        labels = tuple(flag) or (old.labels if old else ())
        if threshold is None and at_least is None and old:
            threshold, at_least = old.share, old.at_least
        found = Flag.of(labels, self.labels, at_least or 1, threshold)
        return replace(self, settings=replace(self.settings, flag=found, groups=()))

    def with_groups(self, *groups: Sequence[str]) -> ExactCertificate:
        """The same answers read by the classifier that adds up the scores of each group, and then compares.

        Raises :class:`InputError` for groups that the labels cannot have; see :func:`merged_labels`.
        """
        merging = tuple(map(tuple, groups))
        merged_labels(self.labels, merging)
        return replace(self, settings=replace(self.settings, flag=None, groups=merging))

    def _radius(self, threat: str) -> Radius | None:
        noise, flag = self.settings.noise, self.settings.flag
        if self.prediction is None:
            return None
        if flag is not None:
            return flag_radius(noise, self.weights, flag, self.is_flagged, threat, self.n)
        if isinstance(noise, Windows | EraseAndCheck):
            raise InputError(f"{self.settings.method} flags texts: say which label with --flag")
        return noise.radius(self.family, self.prediction, threat, self.n, self.classes)


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
    form: Canonical | None = None
    """What a text is put into before it is cut."""

    def steps(self, text: str, example: str = "") -> Generator[Request, Any, ExactCertificate]:
        """Certify ``text``: one question for each different sub-text.

        Raises :class:`clucert.errors.InputError` for a text without a unit.
        """
        certificate = yield from self.flag_steps(text, example)
        if self.form is None:
            return certificate
        return replace(certificate, free=self.form.free("\n".join(self._items(text))))

    def flag_steps(
        self, text: str, example: str = "", units: Units | None = None
    ) -> Generator[Request, Any, ExactCertificate]:
        """As :meth:`steps`, without looking for what may be changed for free; ``units`` are those of ``text``, where
        the caller has them.
        """
        yield Phase("noise")
        cut = self.cut_units(self.units(text) if units is None else units)
        answers: Sequence[Scored] = yield Classify(cut.asked, "certify", scored=True)
        yield Phase("certificate")
        shown = [self.shown(text, answer) for text, answer in zip(cut.asked, answers, strict=True)]
        return self.certificate(text, cut, shown, example)

    def cut(self, text: str) -> Cut:
        """The sub-texts of ``text``. Raises InputError for a text without a unit, or with too many questions."""
        return self.cut_units(self.units(text))

    def has_units(self, text: str) -> bool:
        """Whether there is anything of ``text`` to cut, and to certify."""
        return bool(self.units(text).pieces)

    def cut_units(self, units: Units) -> Cut:
        """The sub-texts of a text that has these units, in canonical form where there is one."""
        if not units.pieces:
            raise InputError("the text has no words: give a text with at least one word to certify")
        shown = tuple(tuple(units.keep(places) for places in part) for part in self.settings.members(units.pieces))
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
            settings=replace(self.settings, noise=self.settings.of_length(len(cut.pieces))),
            labels=self.labels,
            answers=tuple(shown),
            partitions=tuple(tuple(index[text] for text in part) for part in cut.shown),
            example=example,
            notes=_fixed(self.settings.unit, text),
            form=self.form,
        )

    def predict_steps(self, text: str, example: str = "") -> Generator[Request, Any, Vote]:
        """The answer alone: the same questions."""
        certificate = yield from self.flag_steps(text, example)
        return certificate.prediction

    def units(self, text: str) -> Units:
        """What ``text`` is cut into, in canonical form where there is one."""
        unit, form = self.settings.unit, self.form
        if self.settings.canonical and form is None:
            raise InputError(
                "the tables of this certificate's canonical forms are not at hand, or others: certify anew"
            )
        if unit == "word":
            return Units(form(text)) if form else words(text)
        if unit == "sentence":
            return sentences(form.worded(text).text if form else text)
        items = listed(text)
        if form:
            items = replace(items, pieces=tuple(form.worded(piece).text for piece in items.pieces))
        return items.units(JOINERS[unit])

    def _items(self, text: str) -> Sequence[str]:
        return listed(text).pieces if self.settings.unit in JOINERS else [text]

    def units_of(self, pieces: Sequence[str], like: str) -> Units:
        """``pieces`` as the units of a text with the fixed part of the text ``like``."""
        unit = self.settings.unit
        if unit not in JOINERS:
            return Units(tuple(pieces))
        return replace(listed(like), pieces=tuple(pieces)).units(JOINERS[unit])

    def written(self, pieces: Sequence[str], like: str) -> str:
        """A text of ``pieces``, with the fixed part of ``like``; it may be cut into others where a piece is none by
        itself.
        """
        if self.settings.unit in JOINERS:
            return replace(listed(like), pieces=tuple(pieces)).written()
        return " ".join(pieces)

    def shown(self, text: str, answer: Scored) -> Shown:
        """``answer`` as it is counted and stored."""
        shares = None
        if answer.answer is not None and set(answer.shares) == set(self.labels):
            shares = tuple(round(answer.shares[label], PLACES) for label in self.labels)
        return Shown(text, answer.answer, shares)


def _fixed(unit: Unit, text: str) -> tuple[str, ...]:
    """What no attacker changes, in words."""
    named = listed(text).fixed if unit in JOINERS else ()
    said = (f"fixed, and part of every sub-text: the {' and the '.join(named)}",) if named else ()
    return (*said, ROLES) if unit == "turn" else said


ROLES = "roles are not the attacker's: no turn of the system or developer is added, and none is renamed"
"""Such a turn would be fixed, not one of the turns that are counted."""
