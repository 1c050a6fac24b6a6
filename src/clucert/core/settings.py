"""What a certificate was made with and of: the base classifier, the noise, the levels, and the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from clucert.core.bounds import UNPARSED
from clucert.core.calibration import Bias
from clucert.core.noise.canonical import Free
from clucert.core.noise.deletion import Deletion, KeepSome
from clucert.core.noise.ellipsis import CollapsedMask
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.overlap import SampledNoise
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.thresholds import Flag
from clucert.core.thresholds import Groups as LabelGroups
from clucert.errors import InputError
from clucert.types import PerturbationKind, RetainedKernel, Unit, Votes

Domain = Literal["original", "refined"]


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of the certifying votes, after ``samples`` of them, at level ``share``·α."""

    samples: int
    share: Fraction = Fraction(1)

    def __hash__(self) -> int:
        # Every look of every text asks for a plan's bounds by the plan, and a fraction hashes by modular inversion.
        return hash((self.samples, self.share.as_integer_ratio()))


@dataclass(frozen=True, slots=True)
class Base:
    """The base classifier that was smoothed: who was asked, and what."""

    models: tuple[str, ...]
    task: str
    question: str = ""
    """Digest of the whole request about a fixed text: another prompt, shot or label list is another classifier."""
    base_url: str | None = None
    """Without credentials; None is the provider's own."""
    temperature: float = 0.0
    reader: str | None = None
    """Who makes a label of a free answer: a phrase list by its digest, or a judge model; None where the task does."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """Random changes of characters (SmoothLLM), for the recovery ``characters``."""

    kind: PerturbationKind = "swap"
    q: Fraction = Fraction(10)
    """Percent of the characters."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters a certificate was made with."""

    base: Base
    method: str
    mask_rate: Fraction
    recovery: str
    clustering: str
    threshold: float | None
    refine: str
    refine_length: int | None
    alpha: float
    gamma: float
    predict_samples: int
    looks: tuple[Look, ...]
    """When the certifying votes are read: one look at N′ samples spends all of α; several share it."""
    seed: int | None
    """Of a study, which anybody may repeat; None where the noise came from a secret key, which is kept nowhere."""
    lexicon: str | None = None
    encoder: str | None = None
    retained_kernel: RetainedKernel = "keep"
    """K: what happens to retained words."""
    selection_looks: tuple[Look, ...] = ()
    """When the selecting votes are read, as ``looks``; () is once, at N."""
    recoveries: int = 1
    """Recoveries of each masked text, of which the medoid of the largest cluster is asked about."""
    perturbation: Perturbation | None = None
    """Of the recovery ``characters``, which masks nothing."""
    keep: int | Literal["each"] | None = None
    """What a sample keeps: s words, a share of the text; each token, with probability 1 − m; or so many tokens."""
    canonical: tuple[str, ...] = ()
    """The forms that a text is put into before anything else, with the digests of their tables."""
    direct: bool = False
    """Whether the certifying votes decide alone, without an abstention test before them: where one bound decides no
    other votes are drawn, and else those that are only name ĉ."""
    flag: Flag | None = None
    """Flag a text where at least this share of the noised ones get one of its labels, instead of taking the majority.
    """
    groups: LabelGroups = ()
    """Labels that are one class."""
    min_confidence: float | None = None
    """What the model gives its label a smaller share of is dropped, each sample for its own sake."""

    @property
    def noise(self) -> SampledNoise | None:
        """The noise that keeps some tokens of a text, of which an attacker may change the number.

        None where s words of a text are kept and the others masked. Raises :class:`InputError` for one that is not
        proved.
        """
        if self.keep is None and self.recovery != "deletion":
            return None
        if self.recovery == "deletion" and self.keep is not None:
            return Deletion(self.mask_rate) if self.keep == "each" else KeepSome(self.keep)
        if self.recovery == "ellipsis" and self.keep == "each":
            return CollapsedMask(self.mask_rate)
        raise InputError(f"keep {self.keep} does not go with recovery {self.recovery}")

    @property
    def published(self) -> bool:
        """Whether the paper's certificate is about this: a majority under its noise."""
        return self.noise is None and self.flag is None and not self.drops_alone

    @property
    def drops_alone(self) -> bool:
        """Whether a sample is dropped for what is seen of it alone. What is dropped is then a class of its own, which
        never wins: it is no rival, and no vote that is missing.
        """
        return self.min_confidence is not None

    def need_majority(self, what: str) -> None:
        """Raise :class:`InputError` where labels are flagged or merged, with ``what`` cannot work on that."""
        if self.flag is not None or self.groups:
            raise InputError(f"{what} goes by the majority among the labels: leave out --flag and --group")

    @property
    def votes_only(self) -> bool:
        """Whether the noise hides no changed word, so that there is a vote and no radius, whatever γ is set to."""
        return self.recovery == "characters"


def selection_level(settings: Settings, votes: Votes) -> float:
    """The level of the abstention test on ``votes``: the share of α of the look at which they were read.

    The shares sum to at most 1, so the test errs at any of the looks with probability at most α.
    """
    shares = {look.samples: look.share for look in settings.selection_looks}
    return float(Fraction(settings.alpha) * shares.get(votes.drawn, Fraction(1)))


@dataclass(frozen=True, slots=True)
class Subject:
    """The text that was noised: ``words`` of it, each either attackable or not."""

    text: str
    noised_text: str
    """The text the noise saw: the original one, or the refined one."""
    domain: Domain
    original_words: int
    words: tuple[str, ...]
    """Words of ``noised_text``; n is their number."""
    retained: int
    """s, the words retained in each sample."""
    attackable: tuple[bool, ...]
    """Positions that the noise can hide, and the radius therefore speaks of."""
    protected: tuple[str | None, ...]
    """Why recovery leaves a position alone ("number", "name", …), or None."""
    positions: tuple[int, ...]
    """Where each word stands among the original's words."""
    free: Free | None = None
    """What may be changed any number of times; None where the text is not put into canonical form."""


Noise = Blocks | Groups | Chunks | Each | Windows | EraseAndCheck
"""Of exact certificates."""


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
    """By length of the sub-text, what is made of the log-probability of each label before anything is counted."""
    flag: Flag | None = None
    """Flag a text by a share of its sub-texts or a number of them, instead of taking the largest total."""
    groups: LabelGroups = ()
    """Labels that are one class."""
    canonical: tuple[str, ...] = ()
    """The forms that a text is put into before it is cut, with the digests of their tables."""
    by_length: tuple[tuple[int | None, Blocks], ...] = ()
    """In place of ``noise``, for texts of at most so many units (None: of any more). Blocks alone: what they speak of
    keeps the number of units, so that no attacker chooses among them."""

    def __post_init__(self) -> None:
        if self.flag is None:
            return
        if self.by_length:
            raise InputError(f"{self.method} has another number of blocks by length: leave out --flag, or the lengths")
        if self.groups:
            raise InputError("the labels of --flag are one class already: leave out --group")
        if self.flag.share is not None and isinstance(self.noise, EraseAndCheck):
            raise InputError(f"{self.method} counts the flagged prefixes: give --at-least, not --threshold")
        most = self.noise.sub_texts if isinstance(self.noise, Blocks | Groups) else self.flag.at_least
        if self.flag.at_least > most:
            raise InputError(
                f"--at-least {self.flag.at_least}: {self.method} has {most} sub-texts and would flag nothing: "
                f"give at most {most}"
            )

    def of_length(self, n: int) -> Noise:
        """The noise of a text of ``n`` units."""
        return next((noise for most, noise in self.by_length if most is None or n <= most), self.noise)

    def members(self, pieces: Sequence[str]) -> Sequence[Sequence[tuple[int, ...]]]:
        """For each partition, the positions of the units that each sub-text of these keeps."""
        noise = self.of_length(len(pieces))
        if isinstance(noise, Windows | EraseAndCheck):
            return [noise.members(pieces)]
        return noise.members(pieces)

    @property
    def merging(self) -> LabelGroups:
        """The labels whose scores are added up before anything is compared."""
        if self.flag is None:
            return self.groups
        named = tuple(label for label in self.flag.labels if label != UNPARSED)
        return (named,) if len(named) > 1 else ()

    @property
    def threats(self) -> tuple[str, ...]:
        """What the noise speaks of."""
        return self.noise.threats
