"""How far attacks have to go in what is proved exactly: by threat, the fewest operations that change the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from clucert.api import SmoothedClassifier
from clucert.attacks.base import AttackResult
from clucert.attacks.certificates import Duel, Match, RadiiCompared, in_turns, shrunk
from clucert.attacks.search import GreedyWordSwap
from clucert.attacks.steps import LazyEncoder, attack_steps
from clucert.attacks.victims import ExactVictim
from clucert.audit.balls import Ball, Pieces, ball_of
from clucert.audit.candidates import Arsenal
from clucert.audit.claims import Claim
from clucert.audit.exact_steps import exact_steps
from clucert.audit.steps import Attempt, Effort
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise.retention import rng_for
from clucert.core.words import split
from clucert.protocols import Steps
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.computation import Backends
from clucert.types import Request

GUIDED = "guided"
"""The audit's search, of every threat, as far as it takes."""
FARTHEST = 8
"""Operations past the radius that a guided attack tries at most."""


def exact_centres(certificate: ExactCertificate) -> list[Claim]:
    """What is claimed for each threat with a limit, radius 0 included."""
    answer, noise = certificate.prediction, certificate.settings.noise
    return [
        Claim("exact", threat, radius.words, (), answer, ball=ball_of(noise, threat))
        for threat, radius in certificate.proved.items()
        if radius is not None and answer is not None and not radius.everything
    ]


def attack_exact(
    smoothed: SmoothedClassifier | BlockingExecutor,
    certificates: Mapping[str, ExactCertificate],
    attack: GreedyWordSwap | Arsenal,
    match: Match | None = None,
) -> list[RadiiCompared]:
    """Attack exact certificates whose questions ``smoothed`` answers; one comparison for each threat that is reached.

    A recipe that changes words in their places (``match.max_queries`` texts at most) is compared with the threats that
    replaced tokens are among, where certificates count tokens. With an :class:`Arsenal` the audit's guided search goes
    past the radius of every threat, ``match.max_queries`` texts for each (120 where None). Raises what the model
    raises.
    """
    match = match or Match()
    steps: list[Callable[[], Steps]]
    backends = smoothed.backends
    if isinstance(attack, Arsenal):
        steps = [partial(guided, match, c, attack, identity) for identity, c in certificates.items()]
    else:
        steps = [partial(swapped, backends, match, c, attack, identity) for identity, c in certificates.items()]
        backends = Backends(encoder=match.encoder or LazyEncoder())
    found: list[list[Duel]]
    found, _ = smoothed.run(partial(in_turns, steps, backends))
    by_threat: dict[str, list[Duel]] = {}
    for duel in (duel for duels in found for duel in duels):
        by_threat.setdefault(duel.claim.threat, []).append(duel)
    return [
        RadiiCompared(threat, 0.0, tuple(duels), len(certificates) - len(duels)) for threat, duels in by_threat.items()
    ]


def swapped(
    backends: Backends, match: Match, certificate: ExactCertificate, attack: GreedyWordSwap, identity: str
) -> Generator[Request, Any, list[Duel]]:
    """One attack, and how far its flip is by each threat that reaches it."""
    claims = [c for c in exact_centres(certificate) if c.ball and "replace" in c.ball.operations]
    if not claims or certificate.settings.unit != "word":
        return []
    smoother = ExactSmoother(certificate.settings, certificate.labels, certificate.form)
    smoother.units(certificate.text)  # Raises where the canonical form is not at hand: no changed text had an answer.
    victim = ExactVictim(smoother, backends)
    rng = rng_for(match.seed, identity, f"empirical/{attack.name}")
    everywhere = attack.restricted(tuple(range(len(split(certificate.text)))))
    result: AttackResult = yield from attack_steps(
        everywhere, victim, certificate.text, claims[0].answer, rng, match.max_queries
    )
    if result.status != "success":
        return [Duel(identity, claim, result, None) for claim in claims]
    text = split(result.text)
    fewest = text.join((yield from shrunk(victim, text, result)))
    there = smoother.cut(fewest).pieces
    far = [None if c.ball is None else _far(c.ball, certificate.pieces, there) for c in claims]
    return [Duel(identity, c, result, changed) for c, changed in zip(claims, far, strict=True)]


def _far(ball: Ball, x: Pieces, y: Pieces) -> int | None:
    return ball.distance(x, y, len(x) + len(y))


def guided(
    match: Match, certificate: ExactCertificate, arsenal: Arsenal, identity: str
) -> Generator[Request, Any, list[Duel]]:
    """For each threat the nearest break that a search finds, looked for ever nearer."""
    found = []
    for claim in exact_centres(certificate):
        effort = Effort(texts=match.max_queries or Effort().texts)
        nearest, queries = None, 0
        reach: int = claim.radius + FARTHEST
        while reach > 0:
            wider = replace(claim, radius=reach)
            (attempt,) = yield from exact_steps(certificate, arsenal, f"{identity}/{reach}", effort, [wider])
            queries += attempt.tried
            if not attempt.broken:
                break
            nearest = attempt
            reach = _changed(claim, certificate, attempt) - 1
        changed = None if nearest is None else _changed(claim, certificate, nearest)
        found.append(Duel(identity, claim, _as_result(certificate, claim, nearest, queries), changed))
    return found


def _changed(claim: Claim, certificate: ExactCertificate, attempt: Attempt) -> int:
    there = ExactSmoother(certificate.settings, certificate.labels, certificate.form).cut(attempt.text).pieces
    far = None if claim.ball is None else _far(claim.ball, certificate.pieces, there)
    if far is None:
        raise ValueError(f"a break of {claim.threat} is not in its ball")
    return far


def _as_result(certificate: ExactCertificate, claim: Claim, nearest: Attempt | None, queries: int) -> AttackResult:
    return AttackResult(
        status="failure" if nearest is None else "success",
        text=certificate.text,
        perturbed=certificate.text if nearest is None else nearest.text,
        gold=claim.answer,
        before=certificate.prediction,
        after=certificate.prediction if nearest is None else nearest.answer,
        queries=queries,
        words=certificate.n,
        words_changed=0 if nearest is None else len(nearest.changed),
    )
