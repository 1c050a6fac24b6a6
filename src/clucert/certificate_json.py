"""The machine-readable form of a certificate: one JSON document with a schema version.

Counts and settings are stored; everything under ``"derived"`` is computed from them when the document is
written, and again when it is read: :func:`read` ignores it, so an α or γ may be changed in between.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NotRequired

from typing_extensions import TypedDict  # which pydantic insists on before Python 3.12

from clucert.border import json_fields
from clucert.core import vote_records
from clucert.core.bounds import ClassBounds
from clucert.core.certificate import ASSUMPTIONS, Certificate
from clucert.core.channel import Sample
from clucert.core.consistency import problems
from clucert.core.explanation import decision, fixed, free_in_words, gap, proved_in_words
from clucert.core.radius import Overlap, Radius
from clucert.core.settings import Settings, Subject
from clucert.core.smoothing import Certified
from clucert.core.thresholds import Flag
from clucert.errors import InputError, shortened
from clucert.types import Answers, Cost, Unread, Votes

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION = 1

Json = dict[str, Any]


def write(certified: Certified, cost: Cost | None = None) -> Json:
    """The document of one certificate, its shown samples and its cost. See docs/json.md for every field."""
    certificate, unmerged = certified.certificate, certified.certificate.unmerged
    settings = certificate.settings
    subject = dataclasses.asdict(certificate.subject)
    return {
        "schema_version": SCHEMA_VERSION,
        "clucert_version": version("clucert"),
        # Left out where it is what it always was, so that documents of earlier methods stay as they are.
        "subject": plain({name: value for name, value in subject.items() if (name, value) != ("free", None)}),
        "settings": {
            name: value for name, value in plain(dataclasses.asdict(settings)).items() if value or name not in _OPTIONAL
        },
        "labels": unmerged.labels and list(unmerged.labels),
        "selection": _votes(unmerged.selection),
        "readings": [_votes(votes) for votes in unmerged.readings],
        "exhaustive": certificate.exhaustive,
        "overlaps": {threat: _overlap(overlap) for threat, overlap in certificate.overlaps.items()},
        "notes": list(certificate.notes),
        "ballots": _vote_records(unmerged),
        "answers": certificate.answers and dataclasses.asdict(certificate.answers),
        "derived": derived(certificate),
        "samples": [dataclasses.asdict(sample) for sample in certified.samples],
        "cost": cost and cost_document(cost),
        "unread": [dataclasses.asdict(answer) for answer in cost.unread] if cost else [],
    }


_OPTIONAL = ("keep", "direct", "flag", "groups", "canonical", "min_confidence")


def derived(certificate: Certificate) -> Json:
    """What follows from the stored counts: prediction, radii, bounds, assumptions."""
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
        "fixed": fixed(certificate),
        **({"free": free_in_words(certificate)} if certificate.settings.canonical else {}),
        "assumptions": {name: ASSUMPTIONS[name] for name in certificate.assumptions},
        "bounds": _bounds(certificate.bounds),
        "proved": {
            threat: {
                "radius": _radius(proved[threat]),
                "attackable_words": certificate.attackable_by(threat),
                "domain": certificate.subject.domain,
                "in_words": " ".join(proved_in_words(certificate, threat, proved[threat])),
                "agreement": _agreement(certificate, threat, proved[threat]),
            }
            for threat in proved
        },
        "gap": gap(certificate),
        **({"decision": decision(certificate)} if certificate.settings.flag else {}),
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

    Every field is checked, by itself and against the others: a number that no certification could have written is
    refused. Raises :class:`InputError`, one line that names the field, and for a newer schema.
    """
    if not isinstance(document, Mapping):
        raise _refusal("it is not an object of JSON")
    refuse_newer(document, SCHEMA_VERSION)
    if document.get("kind") == "exact":
        raise _refusal("it is an exact one, which clucert.load_exact reads")
    try:
        stored = _validated(document)
        certificate = Certificate(
            subject=stored["subject"],
            settings=dataclasses.replace(stored["settings"], flag=None, groups=()),
            labels=stored["labels"],
            selection=stored["selection"],
            readings=stored["readings"],
            exhaustive=stored["exhaustive"],
            overlaps=stored["overlaps"],
            notes=stored["notes"],
            answers=stored.get("answers"),
        )
        cost = stored.get("cost")
        wrong = next(problems(certificate), None) or _wrong_total(document, certificate) or wrong_cost(cost)
        if wrong:
            raise _refusal(wrong)
        certificate = _read_by(_with_vote_records(certificate, document.get("ballots")), stored["settings"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _refusal(f"{type(error).__name__} {error}") from None
    if cost is not None:
        cost.show(stored.get("unread", ()))
    return Certified(certificate, stored["samples"]), cost


class _StoredCertificate(TypedDict):
    """The part of a document that is read: all but ``derived``."""

    schema_version: int
    subject: Subject
    settings: Settings
    labels: tuple[str, ...] | None
    selection: Votes
    readings: tuple[Votes, ...]
    exhaustive: bool
    overlaps: dict[str, Overlap]
    notes: tuple[str, ...]
    samples: tuple[Sample, ...]
    answers: NotRequired[Answers | None]
    cost: NotRequired[Cost | None]
    unread: NotRequired[tuple[Unread, ...]]


@functools.cache
def _adapter() -> TypeAdapter[_StoredCertificate]:
    # Built on first use: a command that only certifies does not wait for it.
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid", allow_inf_nan=False))(_StoredCertificate))


def _validated(document: Mapping[str, Any]) -> _StoredCertificate:
    fields = {name: document[name] for name in _StoredCertificate.__annotations__ if name in document}
    for name in ("selection", "readings"):
        if name in fields:
            fields[name] = _without_totals(fields[name])
    _check_fractions({name: fields.get(name) for name in ("settings", "overlaps")})
    return json_fields(_adapter().validate_json, fields, f"{_REFUSED}: ")


def _without_totals(votes: Any) -> Any:
    """``votes`` without the total that is written beside them for people."""
    if isinstance(votes, list):
        return [_without_totals(one) for one in votes]
    return {name: value for name, value in votes.items() if name != "drawn"} if isinstance(votes, dict) else votes


def _wrong_total(document: Mapping[str, Any], certificate: Certificate) -> str | None:
    named = [("selection", document["selection"], certificate.selection)]
    read = zip(document["readings"], certificate.readings, strict=True)
    named += [(f"readings.{i}", fields, votes) for i, (fields, votes) in enumerate(read)]
    for where, fields, votes in named:
        said = fields.get("drawn", votes.drawn)
        if type(said) is not int or said != votes.drawn:
            return f"{where}.drawn: {said!r} is not the sum of the votes, {votes.drawn}"
    return None


_FRACTIONS = frozenset({"mask_rate", "q", "share", "masked", "retained", "shared", "growth"})
# No exponent, which could ask for gigabytes of digits, and no denominator of 0.
_FRACTION = re.compile(r"[0-9]{1,4000}(?:/(?=[0-9]*[1-9])[0-9]{1,4000}|\.[0-9]{1,4000})?")


def _check_fractions(value: Any, where: str = "", name: str = "") -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_fractions(item, f"{where}.{key}".lstrip("."), key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_fractions(item, f"{where}.{i}", name)
    elif name in _FRACTIONS and not (isinstance(value, str) and _FRACTION.fullmatch(value)):
        raise _refusal(f"{where}: {shortened(str(value), 40)!r} is no fraction")


def _read_by(certificate: Certificate, settings: Settings) -> Certificate:
    """The certificate with the flag or the groups of ``settings``."""
    flag, groups = settings.flag, settings.groups
    if flag is not None and (flag.share is None or groups):
        raise _refusal("settings.flag: needs a share, and goes without groups")
    try:
        return certificate.merged(flag and Flag.of(flag.labels, certificate.labels, share=flag.share), groups)
    except InputError as error:
        raise _refusal(f"settings: {error}") from None


def wrong_cost(cost: Cost | None) -> str | None:
    """What is wrong about a cost that was read, if anything."""
    if cost is None:
        return None
    numbers = [cost.samples, *cost.seconds.values()]
    numbers += [
        number for usage in (cost.classify, cost.generate, cost.reused) for number in dataclasses.astuple(usage)
    ]
    return "cost: a number is below 0" if min(numbers) < 0 else None


def _vote_records(certificate: Certificate) -> Json | None:
    """None as well where the noise came from a secret key: without it the retention sets cannot be drawn again."""
    if not certificate.vote_records or certificate.settings.seed is None:
        return None
    return vote_records.write(certificate.vote_records, certificate.example)


def _with_vote_records(certificate: Certificate, fields: Mapping[str, Any] | None) -> Certificate:
    seed = certificate.settings.seed
    if fields is None or seed is None:
        return certificate
    example = fields["example"]
    if not isinstance(example, str):
        raise _refusal("ballots.example: must be a string")
    draw = vote_records.Draw(
        seed, example, certificate.n, certificate.s, certificate.exhaustive, certificate.settings.noise
    )
    found = vote_records.read(fields, draw)
    if found:
        cast = Counter(vote for one in found for vote, kept in zip(one.votes, one.kept, strict=True) if kept and vote)
        counted = Counter(certificate.selection.counts)
        if not certificate.exhaustive:
            counted.update(certificate.estimation.counts)
        if cast != +counted:
            raise _refusal("ballots: the single votes do not add up to the counts")
    return dataclasses.replace(certificate, example=example, vote_records=found)


def refuse_newer(document: Mapping[str, Any], known: int) -> None:
    """Raise :class:`InputError` for a schema that a later version wrote."""
    version = document.get("schema_version")
    if type(version) is int and version > known:
        raise InputError(f"the certificate has schema {version}, newer than {known}: upgrade")


_REFUSED = "this is not a CluCERT certificate"


def _refusal(why: str) -> InputError:
    return InputError(f"{_REFUSED}: {' '.join(why.split())[:300]}")


def plain(value: Any) -> Any:
    """Tuples as lists and fractions as text, so that a document equals its round trip through JSON."""
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _votes(votes: Votes) -> Json:
    return {"counts": dict(votes.counts), "unparsed": votes.unparsed, "dropped": votes.dropped, "drawn": votes.drawn}


def _overlap(overlap: Overlap) -> Json:
    pools = {"shared": overlap.shared, "growth": overlap.growth} if overlap.shared else {}
    return plain({"masked": overlap.masked, "retained": overlap.retained, **pools})  # type: ignore[no-any-return]


def _radius(radius: Radius | None) -> Json | None:
    return None if radius is None else dataclasses.asdict(radius)


def _agreement(certificate: Certificate, threat: str, radius: Radius | None) -> float | None:
    """How likely the deployed sampler answers as certified at the edge of the proved radius, at least."""
    return None if radius is None else certificate.agreement(threat, radius.words)


def _bounds(bounds: ClassBounds | None) -> Json | None:
    if bounds is None:
        return None
    return {
        "low": {bounds.winner: float(bounds.low)},
        "high": {label: float(value) for label, value in bounds.high.items()},
        "margin": float(bounds.margin),
    }
