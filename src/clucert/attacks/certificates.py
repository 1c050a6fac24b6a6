"""Does the certificate hold against attacks that know nothing of it, and how far do they have to go?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from clucert.api import SmoothedClassifier
from clucert.attacks.base import AttackResult
from clucert.attacks.constraints import WithinPools, WordSubstitution
from clucert.attacks.search import GreedyWordSwap
from clucert.attacks.steps import SIDE_BY_SIDE, LazyEncoder, attack_steps
from clucert.attacks.victims import SmoothedVictim, Victim, scored_votes
from clucert.audit.claims import Claim, Threat
from clucert.audit.steps import classifier_of, loses
from clucert.core.certificate import Certificate
from clucert.core.noise.retention import rng_for
from clucert.core.words import WordedText, split
from clucert.evaluate.metrics import Estimate, proportion
from clucert.protocols import Encoder, Steps
from clucert.runtime.computation import Backends
from clucert.types import Request, Scored, SideBySide, Votes


@dataclass(frozen=True, slots=True)
class Duel:
    """One proved claim and one attack on it."""

    id: str
    claim: Claim
    result: AttackResult
    changed: int | None
    """Words of the smallest change found that flips g and does so on fresh votes, too; None when there is none."""

    @property
    def broken(self) -> bool:
        """The flip is inside the certified ball: this certificate is wrong."""
        return self.changed is not None and self.changed <= self.claim.radius

    @property
    def empirical(self) -> int | None:
        """The largest radius that the attack leaves possible; None for every attackable word."""
        return None if self.changed is None else self.changed - 1


@dataclass(frozen=True, slots=True)
class RadiiCompared:
    """Certified against empirical radii, over the inputs on which a radius is proved."""

    threat: str
    alpha: float
    """0 where the certificates are exact: then none may be broken."""
    duels: tuple[Duel, ...]
    uncertified: int
    """Inputs without a proved radius, which nothing is claimed about."""

    @property
    def broken(self) -> Estimate | None:
        """Share of wrong certificates; each is wrong with probability α at most."""
        return proportion(sum(duel.broken for duel in self.duels), len(self.duels)) if self.duels else None

    @property
    def holds(self) -> bool:
        """Whether the wrong certificates are no more than α allows, at 95 % confidence."""
        return self.broken is None or self.broken.low is None or self.broken.low <= self.alpha

    @property
    def exceeds(self) -> Estimate | None:
        """Share of inputs whose empirical radius is larger than the certified one, unbroken attacks among them."""
        larger = sum(duel.empirical is None or duel.empirical > duel.claim.radius for duel in self.duels)
        return proportion(larger, len(self.duels)) if self.duels else None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        shares = {"broken": self.broken, "exceeds": self.exceeds}
        return {
            "threat": self.threat,
            "alpha": self.alpha,
            "certified": len(self.duels),
            "uncertified": self.uncertified,
            "holds": self.holds,
            **{name: None if value is None else dataclasses.asdict(value) for name, value in shares.items()},
            "duels": [
                {
                    "id": duel.id,
                    "answer": duel.claim.answer,
                    "certified_radius": duel.claim.radius,
                    "radii_count_words_of": f"the {duel.claim.domain} text",
                    "empirical_radius": duel.empirical,
                    "broken": duel.broken,
                    "queries": duel.result.queries,
                    "perturbed": duel.result.perturbed,
                }
                for duel in self.duels
            ],
        }


@dataclass(frozen=True, slots=True)
class Match:
    """How the attacks are run."""

    threat: Threat = "word"
    samples: int | None = None
    """Votes of one query; ``predict``'s when None. No flip by fewer than 10 (two labels) is beyond doubt."""
    confirm: int = 300
    """Fresh votes on which a flip must show."""
    level: float = 0.001
    """Error probability of calling one flip real: one-sided exact binomial tests, shared by the rivals."""
    max_queries: int | None = None
    seed: int = 0
    encoder: Encoder | None = None
    """For attacks that measure sentences."""


def empirical_vs_certified(
    smoothed: SmoothedClassifier,
    texts: Iterable[tuple[str, str]],
    attack: GreedyWordSwap,
    match: Match | None = None,
) -> RadiiCompared:
    """Certify each of ``texts`` (id, text), then attack what is proved: see :func:`attack_certificates`."""
    certificates = {identity: smoothed.certify(text, example=identity).certificate for identity, text in texts}
    return attack_certificates(smoothed, certificates, attack, match)


def attack_certificates(
    smoothed: SmoothedClassifier,
    certificates: Mapping[str, Certificate],
    attack: GreedyWordSwap,
    match: Match | None = None,
) -> RadiiCompared:
    """Attack the proved claim of each certificate of ``smoothed`` with word substitutions, as many as it takes.

    The attack is held to the threat model (words stay words in their places; for ``synonym``, words of their pools) and
    not to the radius: a flip of at most that many words breaks the certificate, a larger one bounds the true radius
    from above. The attacked classifier is the one that the proof is about: without the batch filter, over the noised
    text, never abstaining. Raises what the model raises.
    """
    match = match or Match()
    claims = {identity: proved_claim(certificate, match.threat) for identity, certificate in certificates.items()}
    steps = [
        partial(_duel, smoothed, match, certificates[identity], claim, attack, identity)
        for identity, claim in claims.items()
        if claim is not None
    ]
    encoder = Backends(encoder=match.encoder or LazyEncoder())
    found = smoothed.run(partial(in_turns, steps, encoder))[0]
    duels = {duel.id: duel for duel in found}
    ordered = tuple(duels[identity] for identity in claims if identity in duels)
    return RadiiCompared(match.threat, smoothed.smoother.settings.alpha, ordered, len(claims) - len(ordered))


def proved_claim(certificate: Certificate, threat: Threat) -> Claim | None:
    """What the proved radius says, radius 0 included; None where nothing is proved."""
    radius, answer = certificate.proved.get(threat), certificate.prediction
    if radius is None or answer is None:
        return None
    return Claim("proved", threat, radius.words, tuple(range(certificate.n)), answer, certificate.subject.domain)


def in_turns(steps: Sequence[Callable[[], Steps]], backends: Backends) -> Steps:
    """The results of ``steps``, a bounded number at a time."""
    results: list[Any] = []
    for start in range(0, len(steps), SIDE_BY_SIDE):
        results += yield SideBySide(steps[start : start + SIDE_BY_SIDE], backends)
    return results


def _duel(
    smoothed: SmoothedClassifier,
    match: Match,
    certificate: Certificate,
    claim: Claim,
    attack: GreedyWordSwap,
    identity: str,
) -> Generator[Request, Any, Duel]:
    attacked = SmoothedVictim(classifier_of(claim, smoothed.smoother), smoothed.backends, match.samples)
    victim, fresh = (Doubtful(one, claim.answer, match.level) for one in (attacked, attacked.fresh(match.confirm)))
    inside = attack.restricted(claim.positions, WordSubstitution())
    if claim.threat == "synonym":
        noised = split(certificate.subject.noised_text)
        protected = [reason is not None for reason in certificate.subject.protected]
        inside = inside.restricted(
            claim.positions, WithinPools(victim.smoothed.smoother.lexicon.pools(noised, protected))
        )
    rng = rng_for(match.seed, identity, f"empirical/{attack.name}")
    result = yield from attack_steps(
        inside, victim, certificate.subject.noised_text, claim.answer, rng, match.max_queries
    )
    if result.status == "failure":
        return Duel(identity, claim, result, None)
    text = split(result.text)
    words = yield from shrunk(victim, text, result)
    (again,) = yield from fresh.steps([text.join(words)])
    return Duel(identity, claim, result, _changes(text, words) if again.answer != claim.answer else None)


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A smoothed victim whose answer differs from ``answer`` only where its votes leave no doubt about it.

    A greedy attack ends at the first flip; one that is a draw's luck would end it too early.
    """

    smoothed: SmoothedVictim
    answer: str
    level: float
    """Error probability of one such doubtless flip: one-sided exact binomial tests, shared by the rivals."""

    @property
    def name(self) -> str:
        """That of the smoothed victim."""
        return self.smoothed.name

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Those of the smoothed victim."""
        return self.smoothed.labels

    def steps(self, texts: Sequence[str]) -> Generator[Request, Any, list[Scored]]:
        """Shares of the votes, with the doubtless answer."""
        votes = yield from self.smoothed.votes(texts)
        return [self._scored(each) for each in votes]

    def _scored(self, votes: Votes) -> Scored:
        scored = scored_votes(votes)
        # Of open answers, all that were given may have won by luck.
        rivals = [label for label in self.labels or votes.counts if label != self.answer]
        flipped = scored.answer != self.answer and loses(votes, self.answer, rivals)[1] <= self.level
        return scored if flipped else replace(scored, answer=self.answer)


def shrunk(victim: Victim, text: WordedText, result: AttackResult) -> Generator[Request, Any, Sequence[str]]:
    """The flipping words with every change taken back that is not needed, one after the other."""
    now = {i: new for i, _, new in result.changes}
    for i in list(now):
        fewer = [now.get(k, word) if k != i else word for k, word in enumerate(text.words)]
        (scored,) = yield from victim.steps([text.join(fewer)])
        if len(now) > 1 and scored.answer != result.gold:
            del now[i]
    return [now.get(k, word) for k, word in enumerate(text.words)]


def _changes(text: WordedText, words: Sequence[str]) -> int:
    return sum(a != b for a, b in zip(text.words, words, strict=True))
