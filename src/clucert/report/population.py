"""The population certificate of a run: what its proofs say of the prompts to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.population import robust_share
from clucert.core.radius import ENDLESS
from clucert.report.runs import Input

CHANGES = (1, 2)
AROUND = (1, ENDLESS)
"""The numbers of changes that are spoken of; fixed before any run, for one chosen by its result needs more. ``AROUND``:
of text before and behind."""
CONFIDENCE = 0.95
DRAWN = "true of prompts drawn as the rows of this run were: they must be a random sample of what will come"

_DONE = {
    "word": "replaced",
    "replace": "replaced",
    "synonym": "swapped for listed synonyms",
    "insert": "inserted",
    "delete": "deleted",
    "move": "moved",
    "edit": "edited",
    "append": "added before and behind",
    "suffix": "appended",
    "ends": "put before or behind",
    "block": "inserted",
}


@dataclass(frozen=True, slots=True)
class KeptShare:
    """``share`` at least of the prompts to come keep their answer under ``changes`` of a proved threat.

    All of a run hold together, with probability at least :data:`CONFIDENCE` over the rows and the samples.
    """

    threat: str
    changes: int
    unit: str
    share: Fraction
    certified: int
    rows: int
    alpha: float

    @property
    def percent(self) -> int:
        """The share, rounded down."""
        return int(100 * self.share)

    @property
    def when(self) -> str:
        """What is done to a prompt: ``any 2 words are inserted``."""
        plural = "s" if self.changes > 1 else ""
        what = f"{self.changes} {self.unit}{plural}"
        if self.changes == ENDLESS:
            what = f"number of {self.unit}s"
        elif self.threat == "block":
            what = f"{self.changes} block{plural} of any length"
        return f"any {what} {'are' if plural else 'is'} {_DONE[self.threat]}"

    def __str__(self) -> str:
        return f"{_kept(self.percent)} when {self.when}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "threat": self.threat,
            "changes": None if self.changes == ENDLESS else self.changes,
            "unit": self.unit,
            "share_at_least": float(self.share),
            "confidence": CONFIDENCE,
            "certified": self.certified,
            "rows": self.rows,
            "alpha": self.alpha,
        }


def kept_by(inputs: Sequence[Input], rows: int) -> tuple[KeptShare, ...]:
    """For each proved threat of the certificates and each of :func:`changes_of`, the share that is robust; see
    :func:`clucert.core.population.robust_share`.

    Gold labels do not matter: to keep a wrong answer is to keep it. Of the ``rows`` of the data those that failed or
    were not done count as not certified, and so do those whose radius counts words of a refined text, which says
    nothing of the prompt, and those in which nothing can be attacked. Empty without a certificate.
    """
    done = [row for row in inputs if row.certificate is not None]
    spoken_of = {threat for row in done for threat in _threats(row.certificate)}
    threats = [threat for threat in _DONE if threat in spoken_of]
    rows = max(rows, len(inputs))
    alpha = max((_alpha(row.certificate) for row in done), default=0.0)
    unit = next((_unit(row.certificate) for row in done), "word")
    claims = [(threat, changes) for threat in threats for changes in changes_of(threat)]
    found = []
    for threat, changes in claims:
        certified = sum(_holds(row, threat, changes) for row in done)
        share = robust_share(certified, rows, alpha, CONFIDENCE, claims=len(claims))
        found.append(KeptShare(threat, changes, unit, share, certified, rows, alpha))
    return tuple(found)


def changes_of(threat: str) -> tuple[int, ...]:
    """The numbers of changes of ``threat`` that are spoken of."""
    return AROUND if threat == "ends" else CHANGES


def sentences(found: Iterable[KeptShare]) -> list[str]:
    """For each threat the largest number of changes with a share of a percent or more, and whom the shares are of.

    Threats of equal shares are in one sentence; each has a share of its own, which need not be of the same prompts.
    """
    best = {kept.threat: kept for kept in found if kept.percent}
    alike: dict[int, list[str]] = {}
    for kept in best.values():
        alike.setdefault(kept.percent, []).append(kept.when)
    level = f"with {100 * CONFIDENCE:g} % confidence"
    said = [f"{level} {_kept(share)} when {', as many when '.join(whens)}" for share, whens in alike.items()]
    return [*said, DRAWN] if said else []


def _kept(percent: int) -> str:
    return f"at least {percent} % of such prompts keep their answer"


_AnyCertificate = Certificate | ExactCertificate | None


def _threats(certificate: _AnyCertificate) -> Iterable[str]:
    """Those that the certificate speaks of, whatever was proved: how many claims there are must not depend on that."""
    if isinstance(certificate, ExactCertificate):
        return certificate.settings.threats
    if certificate is None:
        return ()
    noise = certificate.settings.noise
    return certificate.overlaps if noise is None else noise.threats


def _alpha(certificate: _AnyCertificate) -> float:
    """How likely the proof is wrong: 0 where every sub-text or every retention set was asked."""
    if not isinstance(certificate, Certificate) or certificate.exhaustive:
        return 0.0
    return certificate.settings.alpha


def _unit(certificate: _AnyCertificate) -> str:
    return certificate.settings.unit if isinstance(certificate, ExactCertificate) else "word"


def _holds(row: Input, threat: str, changes: int) -> bool:
    certificate: _AnyCertificate = row.certificate
    if isinstance(certificate, ExactCertificate):
        radius = certificate.proved.get(threat)
    elif certificate is not None and certificate.subject.domain == "original":
        radius = row.radii.get(threat)
    else:
        radius = None
    return radius is not None and radius.reaches(changes)
