"""Whom an attack asks. A smoothed classifier is a classifier: it is the defended model that is attacked."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Protocol, runtime_checkable

from clucert.core.bounds import leader
from clucert.core.exact import ExactSmoother
from clucert.core.noise.votes import total
from clucert.core.smoothing import Smoother
from clucert.core.words import split
from clucert.errors import InputError
from clucert.runtime.computation import Backends
from clucert.types import Classify, Request, Scored, SideBySide, Votes

Steps = Generator[Request, Any, list[Scored]]


@runtime_checkable
class Victim(Protocol):
    """A classifier that says how sure it is."""

    @property
    def name(self) -> str:
        """What it is called in a report."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        ...

    def steps(self, texts: Sequence[str]) -> Steps:
        """The answer to each text, in order."""
        ...


@dataclass(frozen=True, slots=True)
class BareVictim:
    """A base classifier: its label probabilities where it gives them, all of the share for its label otherwise.

    On bare labels every word looks equally important to the attacker unless leaving it out flips the answer, and no
    change but a flip looks like progress: only attacks that change one word can succeed. Such an attack is weak for
    that reason, not because the victim is robust.
    """

    backends: Backends

    @property
    def name(self) -> str:
        """That of the classifier."""
        return self.backends.classifier.name if self.backends.classifier else ""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Those of the classifier."""
        return self.backends.classifier.labels if self.backends.classifier else None

    def steps(self, texts: Sequence[str]) -> Steps:
        """One question about all of them; a classifier that samples numbers the draws of each question anew."""
        (answers,) = yield SideBySide([partial(_scored, texts)], self.backends)
        return list(answers)


@dataclass(frozen=True, slots=True)
class _Deployed:
    """A method around a base classifier."""

    smoother: Smoother | ExactSmoother
    backends: Backends

    @property
    def name(self) -> str:
        """The method and the base classifier."""
        base = self.backends.classifier
        return f"{self.smoother.settings.method}({base.name if base else ''})"

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        return self.smoother.labels


@dataclass(frozen=True, slots=True)
class SmoothedVictim(_Deployed):
    """A smoothed classifier g: its answer is the majority of N votes, its shares are shares of them.

    The noise is a function of the seed and the text, in canonical form where there is one, so the same text always
    gets the same answer and an attack can be repeated. ``g`` here never abstains: a vote too close to call counts for
    its leader, as in the certificate's claim
    that the leader stays. :meth:`fresh` is the same classifier with other noise, to tell a broken text from a lucky
    draw.
    """

    smoother: Smoother
    samples: int | None = None
    """N, the votes of one query; those that ``predict`` takes when None."""
    stream: str = "attack"

    def __post_init__(self) -> None:
        self.smoother.settings.need_majority("an attack")

    def steps(self, texts: Sequence[str]) -> Steps:
        """Votes that name no label count in the total, so the shares of labels may sum to less than 1."""
        votes = yield from self.votes(texts)
        return [scored_votes(each) for each in votes]

    def votes(self, texts: Sequence[str]) -> Generator[Request, Any, list[Votes]]:
        """The votes behind the answers. A text that lost its only word has none."""
        return list((yield SideBySide([partial(self._votes, text) for text in texts], self.backends)))

    def fresh(self, samples: int | None = None) -> SmoothedVictim:
        """The same g with noise that the attacker has not seen, and maybe more votes."""
        return SmoothedVictim(self.smoother, self.backends, samples or self.samples, f"{self.stream}-fresh")

    def _votes(self, text: str) -> Generator[Request, Any, Votes]:
        said = self.smoother.said(text)
        if not split(said).words:
            return Votes({})
        digest = hashlib.blake2b(said.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        samples = self.samples or self.smoother.settings.predict_samples
        _, votes = yield from self.smoother.trusted(
            text, f"{self.stream}/{digest}", lambda channel: channel.sample(samples, "predict")
        )
        return votes


@dataclass(frozen=True, slots=True)
class ExactVictim(_Deployed):
    """The deployed classifier of an exact method: its shares are those of the scores of a text's sub-texts, or of what
    flags.

    Nothing is random: an answer that was flipped stays so. Of f flagged sub-texts where τ flag a text the share is
    f / (f + τ): half where they are just enough.
    """

    smoother: ExactSmoother

    def steps(self, texts: Sequence[str]) -> Steps:
        """A text that cannot be cut, as one that lost its only word, has no answer."""
        return list((yield SideBySide([partial(self._scored, text) for text in texts], self.backends)))

    def _scored(self, text: str) -> Generator[Request, Any, Scored]:
        try:
            certificate = yield from self.smoother.flag_steps(text)
        except InputError:
            return Scored(None, {})
        flag = certificate.settings.flag
        if flag is not None:
            names = flag.names(certificate.labels)
            # Of a count the share says nothing: text that is added lowers it, and takes no flagged sub-text away.
            counted = Fraction(certificate.flagged, certificate.flagged + flag.at_least)
            up = float(counted if flag.share is None else certificate.flag_share)
            return Scored(certificate.prediction, dict(zip(names, (up, 1 - up), strict=True)))
        sub_texts = sum(map(len, certificate.family))
        shares = {name: float(score / sub_texts) for name, score in total(certificate.family).items()}
        return Scored(certificate.prediction, shares)


def scored_votes(votes: Votes) -> Scored:
    """Votes as an answer with shares."""
    if not votes.kept:
        return Scored(None, {})
    return Scored(leader(votes), {label: count / votes.kept for label, count in votes.counts.items()})


def _scored(texts: Sequence[str]) -> Steps:
    answers: list[Scored] = yield Classify(texts, "predict", scored=True)
    return answers
