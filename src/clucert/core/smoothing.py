"""Algorithm 1 of the paper as a sans-I/O generator: yields requests, is sent their replies, returns the certificate.

No model, encoder, clock or global random state is touched here, so every driver (one text, many texts interleaved, a
cluster of machines) runs the same computation and gets the same certificate to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import comb
from typing import Any, TypeVar

from clucert.core.bounds import is_reserved, one_bound
from clucert.core.certificate import Certificate
from clucert.core.channel import Channel, Sample, make_recovery
from clucert.core.denoise import Denoiser
from clucert.core.noise.canonical import Canonical
from clucert.core.noise.retention import keyed_seed, retained_count, rng_for
from clucert.core.noise.tokens import apart, tokens_apart
from clucert.core.protect import reasons
from clucert.core.refine import keep_words
from clucert.core.repeats import Repeats, UnsteadyError
from clucert.core.settings import Look, Settings, Subject
from clucert.core.stopping import decided, named, selected
from clucert.core.threats import attackable, canonical_text, overlaps, word_pools
from clucert.core.thresholds import decided_labels, merged_votes, most_to_pass, questions_to_pass
from clucert.core.words import WordedText, split
from clucert.errors import InputError
from clucert.protocols import Lexicon, Refiner, Steps
from clucert.types import Answers, Phase, Request, SideBySide, Vote, Votes

T = TypeVar("T")

MAX_WORDS = 5_000
"""The longest text that is noised whole: 1,000 variants of it still fit in memory."""

FIRST_DRAWS = 2**30
"""Where a secret begins to number the draws of a model that samples; servers take seeds below 2**31."""

VOTES_ONLY = "random characters hide no changed word: this is a vote (SmoothLLM), and no change is certified"


NOT_PUBLISHED = (
    "this is not the paper's certificate: it has no published radius, and what is proved is all that is certified"
)


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate, and the first few samples behind it."""

    certificate: Certificate
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Smoother:
    """A smoothed classifier without its base classifier: the noise, the filter and the parameters."""

    settings: Settings
    labels: tuple[str, ...] | None
    lexicon: Lexicon
    refiner: Refiner
    denoiser: Denoiser
    protect: Collection[str] = ()
    show_samples: int = 0
    form: Canonical | None = None
    """What a text is put into before anything else."""
    target_radius: int | None = None
    """Stop as soon as it is decided whether the published radius reaches this."""
    enumerate_up_to: int = 0
    """Evaluate every retention set instead of sampling when there are at most this many and nothing is random."""
    answers: Answers | None = None
    """How the backend is known to treat equal texts; None where nobody said. ``probed`` shares votes on trial."""
    secret: int | None = field(default=None, repr=False)
    """Draw from this, of which no certificate tells, instead of the seed in the settings; see :meth:`keyed`."""

    def __post_init__(self) -> None:
        for label in self.labels or ():
            if is_reserved(label):
                raise InputError(f"the label {label!r} is the name of what is no label: give it another")
        self._check_flag()

        if self.settings.drops_alone and (self.labels is None or self.settings.flag or self.settings.votes_only):
            raise InputError("--min-confidence goes with labels and their majority: not with open answers, --flag or q")

    def _check_flag(self) -> None:
        settings, flag = self.settings, self.settings.flag
        if self.classes is None or flag is None:
            return
        eta = flag.eta
        if settings.groups:
            raise InputError("the labels of --flag are one class already: leave out --group")
        if most_to_pass(settings.predict_samples, eta, settings.alpha) < 0:
            needed = questions_to_pass(eta, Fraction(str(settings.alpha)))
            raise InputError(
                f"{settings.predict_samples} votes can show no text to be below {float(eta):g} at alpha = "
                f"{settings.alpha:g}: {needed} can (--samples {needed})"
            )

    def steps(self, text: str, example: str = "") -> Generator[Request, Any, Certified]:
        """Certify ``text`` (paper, Algorithm 1). ``example`` names it in the seed: each text gets noise of its own.

        Predict on N samples; abstain without drawing more when the binomial test says so; certify on N′ fresh ones.
        Raises :class:`clucert.errors.InputError` for a text that is not Unicode, without words or with more than
        ``MAX_WORDS``.
        """
        channel, certificate = yield from self.trusted(text, example, self._certify_or_enumerate)
        subject = replace(certificate.subject, free=self.form.free(text)) if self.form else certificate.subject
        return Certified(replace(certificate, subject=subject, answers=channel.answers), tuple(channel.shown))

    def predict_steps(self, text: str, example: str = "") -> Generator[Request, Any, Vote]:
        """The smoothed answer alone: N samples at most and the abstention test, no radius.

        With a flag: passed where they show p_harm < η at level α, flagged otherwise, and never None.
        """
        channel, selection = yield from self.trusted(text, example, self._select)
        # Whether certifying votes would decide alone or not: here there are none.
        certificate = self._certificate(channel, selection)
        certificate = replace(certificate, settings=replace(certificate.settings, direct=False))
        return None if certificate.abstained_at_selection else certificate.candidate

    def flag_steps(self, text: str, example: str = "") -> Generator[Request, Any, Certificate]:
        """Certify ``text`` by the flag: N′ fresh votes are drawn only where N do not let it pass."""
        _, certificate = yield from self.trusted(text, example, self._certify_if_flagged)
        return certificate

    def _certify_if_flagged(self, channel: Channel) -> Generator[Request, Any, Certificate]:
        selection = yield from self._select(channel)
        certificate = self._certificate(channel, selection)
        return (yield from self._certify(channel, selection)) if certificate.flagged else certificate

    def trusted(
        self, text: str, example: str, work: Callable[[Channel], Generator[Request, Any, T]]
    ) -> Generator[Request, Any, tuple[Channel, T]]:
        """``work`` on a channel of ``text``: (the channel, the result), which rests on no vote that is not one.

        Where a question turns out to get two answers, what was done is thrown away and done again on a channel of fresh
        noise that shares no vote.
        """
        channel = yield from self.open(text, example)
        try:
            result = yield from work(channel)
            yield from channel.settle()
        except UnsteadyError:
            channel = channel.unshared()
            result = yield from work(channel)
        return channel, result

    def keyed(self, key: bytes, *said: str) -> Smoother:
        """The same with noise that is a function of ``key`` and ``said`` alone, for what is deployed.

        Whoever does not know the key cannot foresee it, asking again gives the same noise, so that patience buys no
        better draw, and certificates hold neither the key nor what is made of it: their seed is None.
        """
        return replace(self, settings=replace(self.settings, seed=None), secret=keyed_seed(key, *said))

    def _certify_or_enumerate(self, channel: Channel) -> Generator[Request, Any, Certificate]:
        if not self._enumerable(channel):
            return (yield from self.certify_from(channel))
        votes = yield from channel.enumerate()
        return self._certificate(channel, votes, exhaustive=True)

    def certify_from(self, channel: Channel) -> Generator[Request, Any, Certificate]:
        """Choose ĉ, abstain when it is too close, certify, all on samples of ``channel``."""
        selection = yield from self._choose(channel)
        certificate = self._certificate(channel, selection)
        if certificate.abstained_at_selection:
            return certificate
        return (yield from self._certify(channel, selection))

    def _choose(self, channel: Channel) -> Generator[Request, Any, Votes]:
        """The votes that choose ĉ; none where those that certify it do."""
        if not self.settings.direct:
            return (yield from self._select(channel))
        if one_bound(self.classes, alone=self.settings.drops_alone):
            return Votes({})
        return (yield from self._select(channel, named))

    def _select(
        self, channel: Channel, enough: Callable[[Votes, Settings], bool] = selected
    ) -> Generator[Request, Any, Votes]:
        """Look at the selecting samples as planned, until the answer is told from the next or will hardly be."""
        drawn = Votes({})
        for part, look in enumerate(self.settings.selection_looks or (Look(self.settings.predict_samples),)):
            drawn += yield from channel.sample(look.samples - drawn.drawn, "predict", part)
            if enough(merged_votes(drawn, self.settings.groups), self.settings):
                break
        return drawn

    def _certify(self, channel: Channel, selection: Votes) -> Generator[Request, Any, Certificate]:
        """Look at fresh samples as planned, until another look is not worth its samples."""
        readings: list[Votes] = []
        drawn = Votes({})
        for part, look in enumerate(self.settings.looks):
            drawn += yield from channel.sample(look.samples - drawn.drawn, "certify", part)
            readings.append(drawn)
            yield Phase("certificate")
            certificate = self._certificate(channel, selection, tuple(readings))
            if decided(certificate, self.target_radius):
                break
        return certificate

    def _enumerable(self, channel: Channel) -> bool:
        sets = comb(len(channel.text), channel.subject.retained)
        plain = channel.recoveries == 1 and not channel.denoiser.needs_embeddings
        # What is flagged is what the deployed sampler flags.
        plain = plain and self.settings.flag is None
        return plain and channel.noise is None and channel.recovery.deterministic and sets <= self.enumerate_up_to

    def open(self, text: str, example: str) -> Generator[Request, Any, Channel]:
        """The noise channel of ``text``, refined as configured, ready to be sampled."""
        check_unicode(text)
        settings, noise, given = self.settings, self.settings.noise, self.read(text)
        check_words(given)
        yield Phase("refine")
        original = (
            canonical_text(given, self.lexicon, self.protect) if settings.retained_kernel == "canonical" else given
        )
        refinement = yield from self.refiner.refine(original, settings.refine_length or len(original))
        yield Phase("noise")
        noised = keep_words(original, refinement.positions)
        pools = word_pools(noised.words, self.lexicon, self.protect)
        # The words that an adversary finds; a text that is not refined is made canonical after he wrote it.
        written = split(self.form.shown(text)) if self.form and noise is None else given
        threatened = written if len(noised) == len(original) else noised
        subject = Subject(
            text=text,
            noised_text=noised.text,
            domain="original" if len(noised) == len(original) else "refined",
            original_words=len(original),
            words=noised.words,
            retained=min(len(noised), settings.keep)
            if isinstance(settings.keep, int)
            else retained_count(len(noised), settings.mask_rate),
            attackable=attackable(settings.recovery, pools),
            protected=reasons(noised, self.protect) if noise is None else (None,) * len(noised),
            positions=tuple(refinement.positions),
        )
        return Channel(
            text=noised,
            subject=subject,
            recovery=make_recovery(settings, pools),
            denoiser=self.denoiser,
            overlaps={} if noise else overlaps(settings, threatened.words, self.lexicon, self.protect, self.form),
            labels=self.labels,
            seed=self._seed,
            example=example,
            noise=noise,
            repeats=Repeats(settings.alpha) if self.answers and self.answers.kind == "probed" else None,
            asked=self.answers,
            next_draw=0 if self.secret is None else int(rng_for(self.secret, example, "draws").integers(FIRST_DRAWS)),
            recoveries=settings.recoveries,
            show=self.show_samples,
            min_confidence=settings.min_confidence,
            notes=_notes(settings, refinement.fallback),
        )

    def read(self, text: str) -> WordedText:
        """The words of ``text`` that the noise is put on, in canonical form where there is one."""
        if self.settings.noise is None:
            return self.form.worded(text) if self.form else split(text)
        return apart(self.form(text)) if self.form else tokens_apart(text)

    def said(self, text: str) -> str:
        """What ``text`` is to whoever answers it: itself, or its canonical form."""
        return self.read(text).text if self.form else text

    @property
    def _seed(self) -> int:
        seed = self.settings.seed if self.secret is None else self.secret
        if seed is None:
            raise InputError("the noise of this certificate came from a secret key: give a seed, or smooth anew")
        return seed

    def _certificate(
        self, channel: Channel, selection: Votes, readings: tuple[Votes, ...] = (), *, exhaustive: bool = False
    ) -> Certificate:
        settings = replace(self.settings, flag=None, groups=())
        plain = Certificate(
            subject=channel.subject,
            settings=settings,
            labels=self.labels,
            selection=selection,
            readings=readings,
            overlaps=channel.overlaps,
            exhaustive=exhaustive,
            notes=tuple(channel.notes),
            example=channel.example,
            vote_records=tuple(channel.vote_records),
        )
        return plain.merged(self.settings.flag, self.settings.groups)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """What it answers: its labels, once they are merged, or flagged and passed; None where answers are open.

        Raises :class:`InputError` where there cannot be such.
        """
        settings = self.settings
        if self.labels is not None:
            return decided_labels(self.labels, settings.flag, settings.groups)
        if settings.flag or settings.groups:
            raise InputError("flags and groups are of labels, and this task has open answers")
        return None


def _notes(settings: Settings, fallback: str | None) -> list[str]:
    own = VOTES_ONLY if settings.votes_only else None if settings.published else NOT_PUBLISHED
    return [note for note in (fallback, own) if note]


def check_unicode(text: str) -> None:
    """Raise InputError for a text with lone surrogates."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("the text is not valid Unicode (it has half a character or bytes that are not UTF-8): fix it")


def check_words(text: WordedText) -> None:
    """Raise InputError unless ``text`` has between 1 and ``MAX_WORDS`` words."""
    if not text.words:
        raise InputError("the text has no words: give a text with at least one word to certify")
    if len(text) > MAX_WORDS:
        raise InputError(
            f"the text has {len(text):,} words, more than the {MAX_WORDS:,} of a method that samples: "
            "take --method blocks, cut it, or certify its parts"
        )


def side_by_side(computations: Sequence[Callable[[], Steps]]) -> Steps:
    """The results of ``computations``, run at the same time, in order."""
    return (yield SideBySide(computations))
