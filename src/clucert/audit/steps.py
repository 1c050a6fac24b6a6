"""One claim under attack: search inside the ball, then confirm on fresh samples. Sans-I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.audit.candidates import Arsenal, Candidate, candidates, dependence
from clucert.audit.claims import Claim
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.noise.retention import rng_for
from clucert.core.refine import NoRefiner
from clucert.core.smoothing import Smoother
from clucert.core.words import WordedText, same_shape
from clucert.types import Request, Votes


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try, and how sure to be of a break."""

    screen: int = 40
    """Samples that rank a candidate."""
    confirm: int = 300
    """Fresh samples on which a candidate must lose."""
    level: float = 0.001
    """Error probability of calling a claim broken that is not, over all its finalists and rival labels together."""
    finalists: int = 2
    """Candidates that are confirmed at most."""
    greedy_positions: int = 4
    greedy_width: int = 3


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of attacking one claim."""

    claim: Claim
    tried: int
    """Candidate texts that were screened."""
    broken: bool
    text: str = ""
    """The most damaging text: a confirmed break, or the closest call."""
    idea: str = ""
    changed: tuple[tuple[str, str], ...] = ()
    """(word, what it became)."""
    votes: Votes = dataclasses.field(default_factory=lambda: Votes({}))
    """Confirming votes on that text, or the screening ones when nothing was worth confirming."""
    answer: str | None = None
    p_value: float = 1.0
    """One-sided exact binomial test, times the finalists and rivals that might have been found to win (Bonferroni)."""


def classifier_of(claim: Claim, smoother: Smoother) -> Smoother:
    """The smoothed classifier that ``claim`` is about: on the noised text itself, without the filter when proved."""
    settings = dataclasses.replace(smoother.settings, refine="off", refine_length=None)
    denoiser = smoother.denoiser
    if not claim.filtered:
        settings = dataclasses.replace(settings, clustering="none", threshold=None)
        denoiser = Denoiser(load_clusterer("none"))
    return dataclasses.replace(smoother, settings=settings, refiner=NoRefiner(), denoiser=denoiser, show_samples=0)


def attack_steps(
    smoother: Smoother,
    text: WordedText,
    pools: Sequence[Sequence[str]],
    claim: Claim,
    arsenal: Arsenal,
    example: str,
    effort: Effort,
) -> Generator[Request, Any, Attempt]:
    """Attack ``claim``, made about ``text``, as hard as ``effort`` says. ``example`` seeds the search."""
    target = classifier_of(claim, smoother)
    name = f"{example}/audit/{claim.kind}-{claim.threat}"
    channel, _ = yield from target.trusted(
        text.text, f"{name}/origin", lambda c: c.sample(2 * effort.screen, "certify")
    )
    importance = dependence(channel.vote_records, len(text), claim.answer)
    rng = rng_for(smoother.settings.seed or 0, name, "search")
    screened: list[Screened] = []
    for candidate in candidates(text, pools, claim, importance, arsenal, rng):
        votes = yield from _votes(target, text, candidate, effort.screen, f"{name}/{len(screened)}")
        screened.append(Screened(_share(votes, claim), votes, candidate))
    screened += yield from _greedy(target, text, pools, claim, importance, arsenal, name, effort)
    screened.sort(key=lambda found: found.share)
    return (yield from _confirm(target, text, claim, screened, name, effort))


@dataclass(frozen=True, slots=True)
class Screened:
    """A candidate and its screening votes, of which ``share`` still go to the certified answer."""

    share: float
    votes: Votes
    candidate: Candidate


def _votes(
    target: Smoother, text: WordedText, candidate: Candidate, samples: int, name: str
) -> Generator[Request, Any, Votes]:
    changed = text.join(candidate.words)
    _, votes = yield from target.trusted(changed, name, lambda channel: channel.sample(samples, "certify"))
    return votes


def _share(votes: Votes, claim: Claim) -> float:
    """Share of the votes that still go to the certified answer; 1 when nothing was voted on."""
    return votes.counts.get(claim.answer, 0) / votes.kept if votes.kept else 1.0


def _greedy(
    target: Smoother,
    text: WordedText,
    pools: Sequence[Sequence[str]],
    claim: Claim,
    importance: NDArray[np.float64],
    arsenal: Arsenal,
    name: str,
    effort: Effort,
) -> Generator[Request, Any, list[Screened]]:
    """Change one word after the other, each to what hurts most given the changes so far."""
    ranked = sorted(claim.positions, key=lambda i: (-importance[i], i))
    words, best = list(text.words), 1.0
    found: list[Screened] = []
    for i in ranked[: min(claim.radius, effort.greedy_positions)]:
        options = pools[i] if claim.threat == "synonym" else arsenal.against(claim.answer, text.words[i])
        trials: list[Screened] = []
        for option in [o for o in options if o != text.words[i]][: effort.greedy_width]:
            candidate = Candidate((*words[:i], option, *words[i + 1 :]), "greedy")
            if same_shape(text, candidate.words):
                votes = yield from _votes(target, text, candidate, effort.screen, f"{name}/g{i}-{option}")
                trials.append(Screened(_share(votes, claim), votes, candidate))
        worst = min(trials, key=lambda trial: (trial.share, trial.candidate.words[i]), default=None)
        if worst is not None and worst.share <= best:
            best, words[i] = worst.share, worst.candidate.words[i]
            found.append(worst)
    return found


def _confirm(
    target: Smoother,
    text: WordedText,
    claim: Claim,
    screened: Sequence[Screened],
    name: str,
    effort: Effort,
) -> Generator[Request, Any, Attempt]:
    """A break is a text on which another label beats the certified one on fresh samples.

    ``effort.level`` is shared by all that may win by luck: every finalist, and on each every rival.
    """
    closest = Attempt(claim, len(screened), broken=False)
    for rank, finalist in enumerate(screened[: effort.finalists]):
        if finalist.share > 0.6:
            break
        candidate = finalist.candidate
        votes = yield from _votes(target, text, candidate, effort.confirm, f"{name}/confirm-{rank}")
        rival, p_once = loses(votes, claim.answer, _rivals(target.labels, finalist.votes, claim.answer))
        p_value = min(1.0, p_once * effort.finalists)
        attempt = Attempt(
            claim,
            len(screened),
            broken=p_value <= effort.level,
            text=text.join(candidate.words),
            idea=candidate.idea,
            changed=tuple((a, b) for a, b in zip(text.words, candidate.words, strict=True) if a != b),
            votes=votes,
            answer=rival,
            p_value=p_value,
        )
        if attempt.broken:
            return attempt
        closest = min(closest, attempt, key=lambda a: a.p_value)
    return closest


def _rivals(labels: tuple[str, ...] | None, screening: Votes, answer: str) -> tuple[str, ...]:
    """Who may win: all other labels. Of open answers those that the screening votes named, for the fresh votes that
    judge them must not choose them as well.
    """
    named = labels if labels is not None else tuple(label for label, count in screening.counts.items() if count)
    return tuple(label for label in named if label != answer)


def loses(votes: Votes, answer: str, rivals: Sequence[str]) -> tuple[str | None, float]:
    """The strongest of ``rivals``, fixed before ``votes`` were drawn, and the p-value of "none is likelier than
    ``answer``": one-sided exact binomial tests, times the number of rivals.
    """
    if not any(votes.counts.get(label, 0) for label in rivals):
        return None, 1.0
    rival = max(rivals, key=lambda label: votes.counts.get(label, 0))
    from scipy.stats import binomtest

    hits, mine = votes.counts.get(rival, 0), votes.counts.get(answer, 0)
    p_value = float(binomtest(hits, hits + mine, 0.5, alternative="greater").pvalue)
    return rival, min(1.0, p_value * len(rivals))
