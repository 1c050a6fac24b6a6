"""The noise channel of one text: draws samples of it, filters them and counts their votes. Sans-I/O."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.bounds import is_reserved
from clucert.core.denoise import Denoiser, medoid_of_largest
from clucert.core.noise.characters import CharacterRecovery
from clucert.core.noise.deletion import DeletionRecovery
from clucert.core.noise.ellipsis import EllipsisRecovery
from clucert.core.noise.fill import LlmRecovery
from clucert.core.noise.overlap import SampledNoise
from clucert.core.noise.retention import MaskRecovery, SynonymRecovery, every_retention, rng_for
from clucert.core.radius import Overlap
from clucert.core.repeats import Repeats
from clucert.core.settings import Perturbation, Settings, Subject
from clucert.core.threats import Pools
from clucert.core.vote_records import VoteRecord, draw_sets, pack_sets
from clucert.core.words import WordedText
from clucert.errors import BadAnswerError, InputError, shortened
from clucert.protocols import Recovery
from clucert.types import Answers, Classify, Encode, Phase, Recovered, Request, Scored, Stage, Vote, Votes

SHOWN = 200
"""Samples that are kept for display at most."""

UNSHARED = 1_000
"""Number of the first part that is drawn after a question got two answers: more than there are looks."""
UNSURE = "(unsure)"
"""A vote that the backend is not confident of."""
TWO_ANSWERS = "one question got two answers, so equal texts share no vote: every sample was drawn and asked anew"


@dataclass(frozen=True, slots=True)
class Sample:
    """One noised text, and what became of it. A dropped one was never voted on."""

    text: str
    vote: Vote
    kept: bool
    stage: Stage


def make_recovery(settings: Settings, pools: Pools) -> Recovery:
    """The recovery kernel of ``settings`` for one text, whose candidate pools are ``pools``."""
    match settings.recovery:
        case "mask":
            return MaskRecovery()
        case "deletion":
            return DeletionRecovery()
        case "ellipsis":
            return EllipsisRecovery()
        case "llm":
            return LlmRecovery()
        case "characters":
            return CharacterRecovery(settings.perturbation or Perturbation())
        case _:
            return SynonymRecovery(pools, retained="redraw" if settings.retained_kernel == "redraw" else "keep")


def _confident(reply: Scored, least: float) -> Vote:
    """The vote, or :data:`UNSURE`. Raises :class:`InputError` for a backend that gives its label and no shares."""
    if reply.answer is None:
        return None
    if len(reply.shares) < 2:
        raise InputError(
            "--min-confidence needs the share of each label, and this classifier gives its label alone: leave it out"
        )
    return reply.answer if reply.share(reply.answer) >= least else UNSURE


@dataclass(slots=True)
class Channel:
    """One text, its kernels, and the samples drawn so far."""

    text: WordedText
    subject: Subject
    recovery: Recovery
    denoiser: Denoiser
    overlaps: Mapping[str, Overlap]
    labels: tuple[str, ...] | None
    seed: int = field(repr=False)
    """Of a study, or secret."""
    example: str
    noise: SampledNoise | None = None
    """What draws the retention sets, where they are not s words of n."""
    recoveries: int = 1
    """k: recoveries of each masked text, of which the medoid of the largest cluster is asked about."""
    show: int = 0
    min_confidence: float | None = None
    """What the backend gives its label a smaller share of is dropped."""
    notes: list[str] = field(default_factory=list)
    shown: list[Sample] = field(default_factory=list)
    vote_records: list[VoteRecord] = field(default_factory=list)
    _embedded: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    """By text: what was embedded once is not embedded again for this certificate."""
    repeats: Repeats | None = None
    """Where equal noised texts share a vote on trial; otherwise every one is put to the backend."""
    asked: Answers | None = None
    """How the backend is known to treat equal texts; None where nobody said."""
    first_part: int = 0
    """Parts are numbered from here on: other parts, other noise."""
    next_draw: int = 0
    _given: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self._given = tuple(self.notes)

    def sample(self, samples: int, stage: Stage, part: int = 0) -> Generator[Request, Any, Votes]:
        """Draw, recover, filter and vote: the counts of one stage, or of one part of it."""
        yield Phase("noise")
        part += self.first_part
        rng = self._rng(stage, part)
        retained = draw_sets(rng, len(self.text), self.subject.retained, samples, self.noise)
        return (yield from self._vote(retained, rng, stage, part))

    def settle(self) -> Generator[Request, Any, None]:
        """Ask some shared questions for the last time. Raises UnsteadyError when an answer is not what it was."""
        again = self.repeats.last() if self.repeats else []
        if self.repeats and again:
            votes = yield from self._classify(again, "certify", 0)
            self.repeats.check(again, votes)

    def unshared(self) -> Channel:
        """The same channel with noise that nobody has seen, every sample of it a question of its own."""
        return dataclasses.replace(
            self,
            repeats=None,
            asked=Answers("sampled"),
            first_part=UNSHARED,
            notes=[*self._given, TWO_ANSWERS],
            shown=[],
            vote_records=[],
        )

    @property
    def answers(self) -> Answers | None:
        """How equal noised texts came by their votes."""
        return self.repeats.answers if self.repeats else self.asked

    def enumerate(self) -> Generator[Request, Any, Votes]:
        """Vote on every retention set once; meant for a deterministic recovery and base classifier."""
        yield Phase("noise")
        retained = every_retention(len(self.text), self.subject.retained)
        return (yield from self._vote(retained, self._rng("certify", 0), "certify", 0))

    def _rng(self, stage: Stage, part: int) -> np.random.Generator:
        return rng_for(self.seed, self.example, f"{stage}-{part}")

    def _vote(
        self, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage, part: int
    ) -> Generator[Request, Any, Votes]:
        yield Phase("recover")
        texts = yield from self._recover(retained, rng, stage)
        kept = yield from self._keep(texts, stage)
        # A text of which nothing is kept has one vote for all time, and is not asked: it names no label.
        asked: list[int] = [i for i in np.flatnonzero(kept).tolist() if texts[i] or self.noise is None]
        answers = self._named((yield from self._ask([texts[i] for i in asked], stage)))
        votes: list[Vote] = [None] * len(texts)
        for i, vote in zip(asked, answers, strict=True):
            kept[i] = vote != UNSURE
            votes[i] = vote if kept[i] else None
        self._show(texts, kept, votes, stage)
        self.vote_records.append(VoteRecord(stage, part, tuple(votes), tuple(kept.tolist()), pack_sets(retained)))
        return self._count([votes[i] for i in np.flatnonzero(kept)], dropped=len(texts) - int(kept.sum()))

    def _ask(self, texts: Sequence[str], stage: Stage) -> Generator[Request, Any, Sequence[Vote]]:
        """A vote on each text. Raises UnsteadyError when a shared one is found to be a draw."""
        if self.repeats is None:
            return (yield from self._classify(texts, stage))
        new, again = self.repeats.plan(texts)
        middle = len(new) // 2
        found = yield from self._classify([*new[:middle], *again, *new[middle:]], stage, len(texts))
        probed = slice(middle, middle + len(again))
        self.repeats.learn(new, [*found[: probed.start], *found[probed.stop :]])
        self.repeats.check(again, found[probed])
        return self.repeats.votes(texts)

    def _classify(
        self, texts: Sequence[str], stage: Stage, samples: int | None = None
    ) -> Generator[Request, Any, Sequence[Vote]]:
        first = self.next_draw
        self.next_draw += len(texts)
        least = self.min_confidence
        replies = yield Classify(texts, stage, first, samples, scored=least is not None)
        return replies if least is None else [_confident(reply, least) for reply in replies]

    def _recover(
        self, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Sequence[str]]:
        k = self.recoveries
        recovered: Recovered = yield from self.recovery.recover(self.text, np.repeat(retained, k, axis=0), rng, stage)
        if recovered.failed:
            self.notes.append(f"{recovered.failed} {stage} samples keep a mask that the language model did not fill")
        if k == 1:
            return recovered.texts
        embeddings = yield from self._embed(recovered.texts, stage)
        yield Phase("cluster")
        chosen: list[int] = medoid_of_largest(embeddings.reshape(len(retained), k, -1)).tolist()
        return [recovered.texts[i * k + j] for i, j in enumerate(chosen)]

    def _keep(self, texts: Sequence[str], stage: Stage) -> Generator[Request, Any, NDArray[np.bool_]]:
        if not self.denoiser.needs_embeddings:
            return np.ones(len(texts), dtype=np.bool_)
        # Asked for alone, so that its embedding depends on nothing else.
        original = yield from self._embed([self.text.text], stage)
        embeddings = yield from self._embed(texts, stage)
        yield Phase("cluster")
        return self.denoiser.select(embeddings, original[0])

    def _embed(self, texts: Sequence[str], stage: Stage) -> Generator[Request, Any, NDArray[np.float32]]:
        """The embeddings of ``texts``: shape (len(texts), d). What is asked for depends on this certificate alone."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        if new:
            rows: NDArray[np.float32] = yield Encode(new, stage)
            self._embedded.update(zip(new, rows, strict=True))
        return np.stack([self._embedded[text] for text in texts])

    def _named(self, votes: Sequence[Vote]) -> Sequence[Vote]:
        """The votes, a reserved name as None. Raises BadAnswerError for what is no label of a closed set."""
        strays = {vote for vote in votes if vote not in (None, UNSURE)}.difference(self.labels or ())
        if self.labels and strays:
            raise BadAnswerError(
                f"the classifier voted {shortened(min(strays), 40)!r}, which is none of {list(self.labels)}"
            )
        reserved = set(filter(is_reserved, strays))
        return [None if vote in reserved else vote for vote in votes] if reserved else votes

    def _count(self, votes: Sequence[Vote], *, dropped: int) -> Votes:
        seen = Counter(votes)
        unparsed = seen.pop(None, 0)
        # A closed label set is counted in its own order and shows its zeros; open answers in order of frequency.
        names = self.labels or [label for label, _ in seen.most_common() if label is not None]
        return Votes({label: seen[label] for label in names}, unparsed, dropped)

    def _show(self, texts: Sequence[str], kept: NDArray[np.bool_], votes: Sequence[Vote], stage: Stage) -> None:
        for flag in (True, False):
            rows = np.flatnonzero(kept == flag)[: min(self.show, SHOWN)]
            self.shown.extend(Sample(texts[i], votes[i], flag, stage) for i in rows.tolist())
