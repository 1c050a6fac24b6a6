"""What a certificate claims, one claim for each radius and threat model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clucert.core.certificate import Certificate
from clucert.core.settings import Domain

Kind = Literal["published", "proved"]
Threat = Literal["word", "synonym"]


@dataclass(frozen=True, slots=True)
class Claim:
    """Up to ``radius`` words at ``positions`` of the ``domain`` text may become what ``threat`` allows."""

    kind: Kind
    threat: Threat
    radius: int
    positions: tuple[int, ...]
    answer: str
    domain: Domain = "original"

    @property
    def filtered(self) -> bool:
        """Whether the classifier it is about has the batch filter: the proved radius is about the one without."""
        return self.kind == "published"


def claims_of(certificate: Certificate, swappable: Sequence[bool]) -> list[Claim]:
    """The claims that can be attacked: those of radius 1 or more. ``swappable`` marks the words that have a pool.

    The published radius does not say what a word may become, so it is claimed against any word; how it fares against
    swaps inside the synonym pools alone is a claim of its own.
    """
    answer, radius = certificate.prediction, certificate.radius
    if answer is None or radius is None:
        return []
    hidden = [i for i, flag in enumerate(certificate.subject.attackable) if flag]
    pooled = [i for i, flag in enumerate(swappable) if flag]
    domain = certificate.subject.domain
    found = [
        Claim("published", "word", radius.words, tuple(hidden), answer, domain),
        Claim("published", "synonym", radius.words, tuple(i for i in hidden if i in set(pooled)), answer, domain),
    ]
    everywhere = tuple(range(certificate.n))
    aims: tuple[tuple[Threat, tuple[int, ...]], ...] = (("word", everywhere), ("synonym", tuple(pooled)))
    for threat, positions in aims:
        proved = certificate.proved.get(threat)
        if proved is not None:
            found.append(Claim("proved", threat, proved.words, positions, answer, domain))
    return [claim for claim in found if claim.radius >= 1 and claim.positions]
