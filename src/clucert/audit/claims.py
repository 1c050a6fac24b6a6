"""What a certificate claims, one claim for each radius and threat model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clucert.audit.balls import SHIFT, Ball, ball_of
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.exact_words import CHANGES
from clucert.core.explanation import OPERATIONS, THREATS
from clucert.core.noise.groups import Groups
from clucert.core.radius import Radius
from clucert.core.settings import Domain

Kind = Literal["published", "proved", "exact"]
Threat = Literal["word", "synonym"]
"""Of claims about words in their places."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Up to ``radius`` words at ``positions`` of the ``domain`` text may become what ``threat`` allows.

    With a ``ball``, up to ``radius`` of its operations may be done to the pieces of the text, anywhere.
    """

    kind: Kind
    threat: str
    radius: int
    positions: tuple[int, ...]
    answer: str
    domain: Domain = "original"
    ball: Ball | None = None
    unlimited: bool = False
    """Any number of operations, whatever ``radius`` says."""

    @property
    def said(self) -> str:
        """What may happen to what the radius counts."""
        if self.ball is None:
            return THREATS[self.threat]
        if self.threat == SHIFT:
            return "inserted, deleted or moved, in any mix"
        return CHANGES[self.threat] if self.kind == "exact" else OPERATIONS[self.threat]

    @property
    def filtered(self) -> bool:
        """Whether the classifier it is about has the batch filter: the proved radius is about the one without."""
        return self.kind == "published"


def claims_of(certificate: Certificate, swappable: Sequence[bool]) -> list[Claim]:
    """The claims that can be attacked: those of radius 1 or more. ``swappable`` marks the words that have a pool.

    The published radius does not say what a word may become, so it is claimed against any word; how it fares against
    swaps inside the synonym pools alone is a claim of its own. A noise that drops tokens claims nothing here: see
    :func:`token_claims`.
    """
    answer, radius = certificate.prediction, certificate.radius
    if answer is None:
        return []
    hidden = [i for i, flag in enumerate(certificate.subject.attackable) if flag]
    pooled = [i for i, flag in enumerate(swappable) if flag]
    domain = certificate.subject.domain
    found = []
    if radius is not None:  # A flag has none.
        both = tuple(i for i in hidden if i in set(pooled))
        found.append(Claim("published", "word", radius.words, tuple(hidden), answer, domain))
        found.append(Claim("published", "synonym", radius.words, both, answer, domain))
    everywhere = tuple(range(certificate.n))
    aims: tuple[tuple[Threat, tuple[int, ...]], ...] = (("word", everywhere), ("synonym", tuple(pooled)))
    for threat, positions in aims:
        proved = certificate.proved.get(threat)
        if proved is not None:
            found.append(Claim("proved", threat, proved.words, positions, answer, domain))
    return [claim for claim in found if claim.radius >= 1 and claim.positions]


def token_claims(certificate: Certificate) -> list[Claim]:
    """What a certificate claims by a noise that drops tokens, one claim for each threat; () for another noise."""
    noise, answer = certificate.settings.noise, certificate.prediction
    if noise is None or answer is None:
        return []
    domain = certificate.subject.domain
    return [
        Claim("proved", threat, radius.words, (), answer, domain, ball_of(noise, threat))
        for threat, radius in certificate.proved.items()
        if radius is not None and radius.words
    ]


def exact_claims(certificate: ExactCertificate) -> list[Claim]:
    """What an exact certificate claims, one claim for each threat, and one for a mix that it names in one line."""
    answer, noise = certificate.prediction, certificate.settings.noise
    if answer is None:
        return []
    proved = dict(certificate.proved)
    if isinstance(noise, Groups):
        proved[SHIFT] = min((proved[t] for t in ("insert", "delete", "move")), key=_size)
    return [
        Claim("exact", threat, radius.words, (), answer, ball=ball_of(noise, threat), unlimited=radius.everything)
        for threat, radius in proved.items()
        if radius is not None and (radius.words or radius.everything)
    ]


def _size(radius: Radius | None) -> int:
    return -1 if radius is None else radius.words
