"""One claim under attack: search inside the ball, then confirm on fresh samples. Sans-I/O."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.audit.balls import Pieces, changes
from clucert.audit.candidates import Arsenal, Candidate, candidates, dependence
from clucert.audit.claims import Claim
from clucert.audit.guided import Found, Search
from clucert.audit.proposals import material
from clucert.core.certificate import Certificate
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.noise.retention import rng_for
from clucert.core.noise.tokens import tokenize, tokens_apart
from clucert.core.refine import NoRefiner
from clucert.core.smoothing import Smoother
from clucert.core.thresholds import decided_vote, decided_votes
from clucert.core.words import WordedText, same_shape
from clucert.types import Request, SideBySide, Vote, Votes

NEAR = 0.1
"""By how much the certified answer may be ahead on screening samples where fresh ones are asked all the same."""


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
    texts: int = 120
    """Texts that are tried inside each ball of an exact certificate, and one operation past it."""
    token_texts: int = 24
    """The same of a certificate by samples, where each costs ``screen`` questions."""


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
    past: bool | None = None
    """Whether a text one operation *past* the radius breaks the answer, where that was looked for: a search that
    finds none there would say little about the radius.
    """
    asked: int = 0
    """Questions to the base classifier, where they were counted."""


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
    records = [record.renamed(functools.partial(_named, target)) for record in channel.vote_records]
    importance = dependence(records, len(text), claim.answer)
    rng = rng_for(smoother.settings.seed or 0, name, "search")
    screened: list[Screened] = []
    for candidate in candidates(text, pools, claim, importance, arsenal, rng):
        votes = yield from _votes(target, text, candidate, effort.screen, f"{name}/{len(screened)}")
        screened.append(Screened(_share(votes, claim), votes, candidate))
    screened += yield from _greedy(target, text, pools, claim, importance, arsenal, name, effort)
    screened.sort(key=lambda found: found.share)
    return (yield from _confirm(target, text, claim, screened, name, effort))


def token_steps(
    smoother: Smoother, certificate: Certificate, claim: Claim, arsenal: Arsenal, example: str, effort: Effort
) -> Generator[Request, Any, Attempt]:
    """Attack a ``claim`` about tokens inserted, deleted, replaced or moved: a guided search, then fresh samples.

    One text past the radius is put to fresh samples, too; it is no part of the claim, and takes none of its level.
    """
    if claim.ball is None:
        raise ValueError(f"the claim {claim} is about words in their places")
    target = classifier_of(claim, smoother)
    name = f"{example}/audit/{claim.kind}-{claim.threat}"
    text = tokens_apart(certificate.subject.noised_text)
    votes_on: dict[Pieces, Votes] = {}
    line = _line(target, claim)

    def margins(texts: Sequence[Pieces]) -> Generator[Request, Any, Sequence[float]]:
        first = len(votes_on)
        steps = [
            functools.partial(_votes, target, text, Candidate(each, ""), effort.screen, f"{name}/{first + k}")
            for k, each in enumerate(texts)
        ]
        votes_on.update(zip(texts, (yield SideBySide(steps)), strict=True))
        return [_share(votes_on[each], claim) - line for each in texts]

    rng = rng_for(smoother.settings.seed or 0, name, "search")
    given = material(arsenal, claim.answer, tokenize, words=True)
    search = Search(text.words, claim.ball, claim.radius, given, margins, rng, effort.token_texts)
    yield from search.run(lambda best: best.margin <= -line / 2)
    inside = [found for found in search.inside if _within(claim, text, found.pieces, claim.radius)]
    screened = [
        Screened(_share(votes_on[found.pieces], claim), votes_on[found.pieces], Candidate(found.pieces, found.idea))
        for found in {found.pieces: found for found in inside}.values()
    ]
    screened.sort(key=lambda found: found.share)
    attempt = yield from _confirm(target, text, claim, screened, name, effort)
    past = yield from _past(target, text, claim, search.past, votes_on, name, effort)
    return dataclasses.replace(attempt, tried=search.tried, past=past)


def _within(claim: Claim, text: WordedText, pieces: Pieces, most: int) -> bool:
    """Whether the text of ``pieces``, cut anew, is in the ball."""
    return claim.ball is not None and claim.ball.distance(text.words, tokenize(" ".join(pieces)), most) is not None


def _past(
    target: Smoother,
    text: WordedText,
    claim: Claim,
    found: Found | None,
    screening: Mapping[Pieces, Votes],
    name: str,
    effort: Effort,
) -> Generator[Request, Any, bool | None]:
    """Whether the worst text one operation past the radius has another answer on fresh samples."""
    if found is None:
        return None
    if found.margin > NEAR or not _within(claim, text, found.pieces, claim.radius + 1):
        return False
    votes = yield from _votes(target, text, Candidate(found.pieces, ""), effort.confirm, f"{name}/past")
    return _lost(target, votes, claim, screening[found.pieces])[1] <= effort.level


@dataclass(frozen=True, slots=True)
class Screened:
    """A candidate and its screening votes, of which ``share`` still go to the certified answer."""

    share: float
    votes: Votes
    candidate: Candidate


def _votes(
    target: Smoother, text: WordedText, candidate: Candidate, samples: int, name: str
) -> Generator[Request, Any, Votes]:
    changed = _text_of(text, candidate)
    _, votes = yield from target.trusted(changed, name, lambda channel: channel.sample(samples, "certify"))
    settings, labels = target.settings, target.labels
    return votes if labels is None else decided_votes(votes, labels, settings.flag, settings.groups)


def _named(target: Smoother, vote: Vote) -> Vote:
    """The class of a vote: a label, a group of them, or flagged and passed."""
    settings, labels = target.settings, target.labels
    return vote if labels is None else decided_vote(vote, labels, settings.flag, settings.groups)


def _line(target: Smoother, claim: Claim) -> float:
    """The share of votes for the certified answer below which it is lost, with one rival."""
    flag = target.settings.flag
    if flag is None or flag.share is None:
        return 0.5
    return float(flag.share if claim.answer == flag.name else 1 - flag.share)


def _lost(target: Smoother, votes: Votes, claim: Claim, screening: Votes) -> tuple[str | None, float]:
    """What is answered instead, and the p-value of "the certified answer stays", on fresh ``votes``."""
    flag = target.settings.flag
    if flag is None or flag.share is None or target.classes is None:
        return loses(votes, claim.answer, _rivals(target.classes, screening, claim.answer))
    from scipy.stats import binomtest

    up, passed = target.classes
    was_up = claim.answer == up
    side = "less" if was_up else "greater"
    p_value = binomtest(votes.counts[up], votes.kept, float(flag.share), alternative=side).pvalue if votes.kept else 1.0
    return passed if was_up else up, float(p_value)


def _text_of(text: WordedText, candidate: Candidate) -> str:
    """What was written: the words in the places of ``text``, or with spaces between them where their number changed."""
    return text.join(candidate.words) if len(candidate.words) == len(text) else " ".join(candidate.words)


def _changed(before: Pieces, after: Pieces) -> tuple[tuple[str, str], ...]:
    if len(before) != len(after):
        return changes(before, after)
    return tuple((a, b) for a, b in zip(before, after, strict=True) if a != b)


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
    """A break is a text on which another label beats the certified one on fresh samples, or a flag changes.

    ``effort.level`` is shared by all that may win by luck: every finalist, and on each every rival.
    """
    closest = Attempt(claim, len(screened), broken=False)
    for rank, finalist in enumerate(screened[: effort.finalists]):
        if finalist.share > _line(target, claim) + NEAR:
            break
        candidate = finalist.candidate
        votes = yield from _votes(target, text, candidate, effort.confirm, f"{name}/confirm-{rank}")
        rival, p_once = _lost(target, votes, claim, finalist.votes)
        p_value = min(1.0, p_once * effort.finalists)
        attempt = Attempt(
            claim,
            len(screened),
            broken=p_value <= effort.level,
            text=_text_of(text, candidate),
            idea=candidate.idea,
            changed=_changed(text.words, candidate.words),
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
