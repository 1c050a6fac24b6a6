"""The radii that certificates of either kind speak of, under names that are comparable between methods."""

from __future__ import annotations

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.noise.deletion import Deletion
from clucert.core.noise.ellipsis import CollapsedMask
from clucert.core.radius import KINDS, SAMPLED, Kind, Radius
from clucert.core.thresholds import decided_vote
from clucert.errors import UsageError
from clucert.evaluate.metrics import Outcome
from clucert.methods import Method
from clucert.methods.exact import ExactMethod

AnyCertificate = Certificate | ExactCertificate


def kind_of(threat: str) -> Kind:
    """The name of what is proved for ``threat``: whoever may replace tokens may replace words."""
    return "word" if threat == "replace" else threat


def radii_of(certificate: AnyCertificate) -> dict[Kind, Radius | None]:
    """Every radius that ``certificate`` speaks of, None where it proves nothing."""
    proved = {kind_of(threat): radius for threat, radius in certificate.proved.items()}
    if isinstance(certificate, ExactCertificate) or not certificate.settings.published:
        return proved
    return {"published": certificate.radius, "word": proved.get("word"), "synonym": proved.get("synonym")}


def first_kind(certificate: AnyCertificate | None) -> Kind:
    """The published radius; for a noise that has none, what is proved against any words, or for its first threat."""
    if isinstance(certificate, ExactCertificate):
        return kind_of(certificate.settings.threats[0])
    return "published" if certificate is None or certificate.settings.published else "word"


def kinds_of(method: Method | ExactMethod) -> tuple[Kind, ...]:
    """The radii of a method's certificates."""
    if isinstance(method, ExactMethod):
        held = set(map(kind_of, method.noise().threats))
    elif method.keep is None:
        return SAMPLED[1:] if method.flag or method.min_confidence else SAMPLED
    else:
        held = set(CollapsedMask.threats if method.recovery == "ellipsis" else Deletion.threats)
    return tuple(kind for kind in KINDS if kind in held)


def check_kind(kind: Kind, method: Method | ExactMethod) -> Kind:
    """``kind``, ``replace`` being another name of ``word``. Raises :class:`UsageError` for what ``method`` has not."""
    known = kinds_of(method)
    if kind_of(kind) not in known:
        raise UsageError(f"{method.name} has no {kind} radius to make large: give --radius {', '.join(known)}")
    return kind_of(kind)


def class_of_label(label: str | None, certificate: AnyCertificate | None) -> str | None:
    """What a gold label is called by a classifier that flags texts, or names a group in place of its labels."""
    if label is None or certificate is None:
        return label
    settings = certificate.settings
    labels = certificate.labels if isinstance(certificate, ExactCertificate) else certificate.unmerged.labels
    return label if labels is None else decided_vote(label, labels, settings.flag, settings.groups)


def unit_of(certificate: AnyCertificate) -> str:
    """What radii count: words, tokens (words and punctuation marks alike), sentences, passages, turns."""
    exact = isinstance(certificate, ExactCertificate)
    unit = certificate.settings.unit if isinstance(certificate, ExactCertificate) else "word"
    return "tokens" if unit == "word" and (exact or certificate.settings.noise is not None) else f"{unit}s"


def outcome_of(identity: str, gold: str | None, certificate: AnyCertificate | None, radius: Radius | None) -> Outcome:
    """One input as the metrics see it; no certificate is a failure."""
    if certificate is None:
        return Outcome(identity, gold, None, None, 0, 0, 0, 0, failed=True)
    if isinstance(certificate, ExactCertificate):
        unparsed = certificate.unparsed
        kept = drawn = unparsed + sum(certificate.counts.values())
    else:
        votes = certificate.votes
        unparsed, kept, drawn = votes.unparsed, votes.kept, votes.drawn
    return Outcome(
        id=identity,
        gold=gold,
        prediction=certificate.prediction,
        radius=None if radius is None else radius.words,
        words=certificate.n,
        unparsed=unparsed,
        kept=kept,
        drawn=drawn,
        everything=radius is not None and radius.everything,
        nothing_to_attack=radius is not None and radius.nothing_to_attack,
    )
