"""The machine-readable form of a certificate: one JSON document with a schema version.

Counts and circumstances are stored; everything under ``"derived"`` is computed from them when the document is
written, and again when it is read: :func:`read` ignores it, so an α or γ may be changed in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.metadata import version
from typing import Any, get_args

from clucert import ballots
from clucert.bounds import ClassBounds, is_reserved
from clucert.certificate import ASSUMPTIONS, Base, Certificate, Look, Perturbation, Settings, Subject
from clucert.channel import Sample
from clucert.driver import Cost
from clucert.errors import InputError
from clucert.gap import FIXED, gap, proved_in_words
from clucert.radius import Overlap, Radius
from clucert.smoothing import Certified
from clucert.types import AnswerKind, Answers, Unread, Usage, Votes

SCHEMA_VERSION = 1

Json = dict[str, Any]


def write(certified: Certified, cost: Cost | None = None) -> Json:
    """The document of one certificate, its shown samples and its cost. See docs/json.md for every field."""
    certificate = certified.certificate
    settings = certificate.settings
    return {
        "schema_version": SCHEMA_VERSION,
        "clucert_version": version("clucert"),
        "subject": _plain(dataclasses.asdict(certificate.subject)),
        "settings": {
            **dataclasses.asdict(settings),
            "base": _plain(dataclasses.asdict(settings.base)),
            "mask_rate": str(settings.mask_rate),
            "looks": _looks(settings.looks),
            "selection_looks": _looks(settings.selection_looks),
            "perturbation": _perturbation(settings.perturbation),
        },
        "labels": certificate.labels and list(certificate.labels),
        "selection": _votes(certificate.selection),
        "readings": [_votes(votes) for votes in certificate.readings],
        "exhaustive": certificate.exhaustive,
        "overlaps": {threat: _overlap(overlap) for threat, overlap in certificate.overlaps.items()},
        "notes": list(certificate.notes),
        "ballots": _ballots(certificate),
        "answers": certificate.answers and dataclasses.asdict(certificate.answers),
        "derived": derived(certificate),
        "samples": [dataclasses.asdict(sample) for sample in certified.samples],
        "cost": cost and cost_document(cost),
        "unread": [dataclasses.asdict(answer) for answer in cost.unread] if cost else [],
    }


def derived(certificate: Certificate) -> Json:
    """What the stored counts say: prediction, radii, bounds, assumptions."""
    proved = certificate.proved
    return {
        "prediction": certificate.prediction,
        "abstained": certificate.abstained,
        "unreadable": certificate.unreadable,
        "candidate": certificate.candidate,
        "p_value": certificate.p_value,
        "n": certificate.n,
        "s": certificate.s,
        "attackable_words": sum(certificate.subject.attackable),
        "radius": _radius(certificate.radius),
        "domain": certificate.subject.domain,
        "fixed": FIXED,
        "assumptions": {name: ASSUMPTIONS[name] for name in certificate.assumptions},
        "bounds": _bounds(certificate.bounds),
        "proved": {
            threat: {
                "radius": _radius(proved[threat]),
                "attackable_words": len(overlap.masked),
                "domain": certificate.subject.domain,
                "in_words": " ".join(proved_in_words(certificate, threat, proved[threat])),
                "agreement": _agreement(certificate, threat),
            }
            for threat, overlap in certificate.overlaps.items()
        },
        "gap": gap(certificate),
        "unfiltered_bounds": _bounds(certificate.unfiltered),
    }


def cost_document(cost: Cost) -> Json:
    """Calls, tokens and seconds."""
    return {
        "samples": cost.samples,
        "classify": cost.classify.document(),
        "generate": cost.generate.document(),
        "seconds": {work: round(seconds, 6) for work, seconds in cost.seconds.items()},
    }


def read(document: Mapping[str, Any]) -> tuple[Certified, Cost | None]:
    """The certificate of a document that :func:`write` made, by this or an earlier version.

    Raises :class:`InputError` when it is not one, or of a newer schema.
    """
    try:
        if document["schema_version"] > SCHEMA_VERSION:
            raise InputError(
                f"the certificate has schema {document['schema_version']}, newer than {SCHEMA_VERSION}: upgrade"
            )
        labels = document["labels"]
        _check_names(labels, document)
        certificate = Certificate(
            subject=_subject(document["subject"]),
            settings=_settings(document["settings"]),
            labels=None if labels is None else tuple(labels),
            selection=_read_votes(document["selection"]),
            readings=tuple(map(_read_votes, document["readings"])),
            exhaustive=document["exhaustive"],
            overlaps={
                threat: Overlap(tuple(map(Fraction, o["masked"])), Fraction(o["retained"]))
                for threat, o in document["overlaps"].items()
            },
            notes=tuple(document["notes"]),
            answers=_read_answers(document.get("answers")),
        )
        certificate = _with_ballots(certificate, document.get("ballots"))
        samples = tuple(Sample(**sample) for sample in document["samples"])
        cost = document.get("cost")
        return Certified(certificate, samples), cost and _read_cost(cost, document.get("unread", ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"this is not a CluCERT certificate: {type(error).__name__} {error}") from None


def _check_names(labels: Sequence[str] | None, document: Mapping[str, Any]) -> None:
    """Raise InputError for a label that has the name of what is no label: its votes and those would be one count."""
    counted = [votes["counts"] for votes in (document["selection"], *document["readings"])]
    for label in (*(labels or ()), *(name for counts in counted for name in counts)):
        if is_reserved(label):
            raise InputError(f"the certificate has a label called {label!r}, which counts what is no label")


def _ballots(certificate: Certificate) -> Json | None:
    """None as well where the noise came from a secret key: without it the retention sets cannot be drawn again."""
    if not certificate.ballots or certificate.settings.seed is None:
        return None
    return ballots.write(certificate.ballots, certificate.example)


def _read_answers(fields: Mapping[str, Any] | None) -> Answers | None:
    if fields is None:
        return None
    answers = Answers(fields["kind"], int(fields["probes"]))
    if answers.kind not in get_args(AnswerKind) or answers.probes < 0:
        raise ValueError(f"answers {answers.kind!r}")
    return answers


def _with_ballots(certificate: Certificate, fields: Mapping[str, Any] | None) -> Certificate:
    seed = certificate.settings.seed
    if fields is None or seed is None:
        return certificate
    example = fields["example"]
    draw = ballots.Draw(seed, example, certificate.n, certificate.s, certificate.exhaustive)
    return dataclasses.replace(certificate, example=example, ballots=ballots.read(fields, draw))


def _plain(value: Any) -> Any:
    """Tuples as lists, as JSON would have them, so that a document equals its round trip."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _looks(looks: Sequence[Look]) -> list[Json]:
    return [{"samples": look.samples, "share": str(look.share)} for look in looks]


def _votes(votes: Votes) -> Json:
    return {"counts": dict(votes.counts), "unparsed": votes.unparsed, "dropped": votes.dropped, "drawn": votes.drawn}


def _read_votes(fields: Mapping[str, Any]) -> Votes:
    return Votes(dict(fields["counts"]), fields["unparsed"], fields["dropped"])


def _overlap(overlap: Overlap) -> Json:
    return {"masked": [str(kappa) for kappa in overlap.masked], "retained": str(overlap.retained)}


def _radius(radius: Radius | None) -> Json | None:
    return None if radius is None else dataclasses.asdict(radius)


def _agreement(certificate: Certificate, threat: str) -> float | None:
    """How likely the deployed sampler answers as certified at the edge of the proved radius, at least."""
    radius = certificate.proved[threat]
    return None if radius is None else certificate.agreement(threat, radius.words)


def _bounds(bounds: ClassBounds | None) -> Json | None:
    if bounds is None:
        return None
    return {
        "low": {bounds.winner: float(bounds.low)},
        "high": {label: float(value) for label, value in bounds.high.items()},
        "margin": float(bounds.margin),
    }


def _subject(fields: Mapping[str, Any]) -> Subject:
    tuples: Json = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Subject(**tuples)


def _settings(fields: Mapping[str, Any]) -> Settings:
    looks = {
        name: tuple(Look(look["samples"], Fraction(look["share"])) for look in fields.get(name, ()))
        for name in ("looks", "selection_looks")
    }
    base = Base(**{**fields["base"], "models": tuple(fields["base"]["models"])})
    given = fields.get("perturbation")
    perturbation = given and Perturbation(given["kind"], Fraction(given["q"]))
    exact = {"mask_rate": Fraction(fields["mask_rate"]), "perturbation": perturbation}
    return Settings(**{**fields, "base": base, **looks, **exact})


def _perturbation(perturbation: Perturbation | None) -> Json | None:
    return None if perturbation is None else {"kind": perturbation.kind, "q": str(perturbation.q)}


def _read_cost(fields: Mapping[str, Any], unread: Sequence[Mapping[str, str]]) -> Cost:
    cost = Cost(fields["samples"], Usage(**fields["classify"]), Usage(**fields["generate"]))
    cost.seconds.update(fields["seconds"])
    cost.show([Unread(**answer) for answer in unread])
    return cost
