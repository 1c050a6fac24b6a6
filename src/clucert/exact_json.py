"""An exact certificate as JSON, and back. What it says is derived when it is written, and again when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clucert.build import exact_smoother
from clucert.core.bounds import is_reserved
from clucert.core.exact import Cut, ExactCertificate, ExactSmoother, Shown
from clucert.core.exact_words import exact_in_words, free_in_words
from clucert.core.noise.canonical import Free
from clucert.core.settings import Base
from clucert.errors import CluCertError, InputError
from clucert.lexicon.canonical import find_form
from clucert.methods.exact import ExactMethod
from clucert.types import Cost

Json = dict[str, Any]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    text: str = Field(min_length=1)
    vote: str | None
    shares: list[float] | None = None


class _Canonical(BaseModel):
    """The forms by name and digest, the units of the text in canonical form, and what may be changed freely."""

    model_config = ConfigDict(extra="forbid")

    forms: list[str] = Field(min_length=1)
    pieces: list[str]
    free: Free


class _Stored(BaseModel):
    """What is read of a document: ``derived`` and ``cost`` are not."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    schema_version: Literal[1]
    kind: Literal["exact"]
    text: str
    example: str = ""
    labels: list[str] = Field(min_length=2)
    base: Base
    method: ExactMethod
    answers: list[_Answer]
    canonical: _Canonical | None = None


_NEW = ("flag_threshold", "group", "tuned")
"""Left out where they are not set, so that documents stay what they were."""


def write(certificate: ExactCertificate, method: ExactMethod, cost: Cost | None = None) -> Json:
    """The document of one certificate, made by ``method``."""
    document: Json = {
        "schema_version": 1,
        "kind": "exact",
        "clucert_version": version("clucert"),
        "text": certificate.text,
        "example": certificate.example,
        "labels": list(certificate.labels),
        "base": {**dataclasses.asdict(certificate.settings.base), "models": list(certificate.settings.base.models)},
        "method": method.model_dump(
            mode="json", exclude={"tasks", "models"} | {n for n in _NEW if not getattr(method, n)}
        ),
        "answers": [dataclasses.asdict(shown) for shown in certificate.answers],
        **_canonical(certificate),
        "derived": derived(certificate),
    }
    if cost is not None:
        from clucert.certificate_json import cost_document

        document["cost"] = cost_document(cost) | {"reused": cost.reused.document()}
    return document


def _canonical(certificate: ExactCertificate) -> Json:
    """Left out where there is none, so that documents of earlier versions stay as they are."""
    if certificate.free is None:
        return {}
    free = dataclasses.asdict(certificate.free)
    free |= {name: list(places) for name, places in free.items() if isinstance(places, tuple)}
    forms = list(certificate.settings.canonical)
    return {"canonical": {"forms": forms, "pieces": list(certificate.pieces), "free": free}}


def derived(certificate: ExactCertificate) -> Json:
    """What the answers say."""
    return {
        "prediction": certificate.prediction,
        "alpha": 0,
        "questions": certificate.questions,
        "units": certificate.n,
        "votes": dict(certificate.counts),
        "unparsed": certificate.unparsed,
        **_flag(certificate),
        "proved": {
            threat: None if radius is None else {"count": radius.words, "everything": radius.everything}
            for threat, radius in certificate.proved.items()
        },
        **({"free": list(free_in_words(certificate))} if certificate.free else {}),
        "in_words": [" ".join(line.split()) for line in exact_in_words(certificate)],
    }


def _flag(certificate: ExactCertificate) -> Json:
    flag = certificate.settings.flag
    if flag is None:
        return {}
    share = float(certificate.flag_share)
    return {
        "decision": "flagged" if certificate.is_flagged else "passed",
        "flagged": certificate.flagged,
        "share": share,
    }


def read(document: Any) -> tuple[ExactCertificate, ExactMethod, Cost]:
    """The certificate of a document that :func:`write` made, its method, and a cost of nothing.

    The text is cut anew, and the answers must be those to its sub-texts. Raises :class:`InputError`, one line.
    """
    if not isinstance(document, Mapping):
        raise _refusal("it is not an object of JSON")
    try:
        stored = _Stored.model_validate(dict(document))
        smoother, cut = _cut(stored)
    except ValidationError as error:
        first = error.errors()[0]
        raise _refusal(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except CluCertError as error:
        raise _refusal(str(error)) from None
    labels = stored.labels
    if len(set(labels)) < len(labels) or any(map(is_reserved, labels)):
        raise _refusal("labels: must be different, and none the name of what is no label")
    if [answer.text for answer in stored.answers] != list(cut.asked):
        raise _refusal("answers: they are not those to the sub-texts of this text")
    for i, answer in enumerate(stored.answers):
        if answer.vote is not None and answer.vote not in labels:
            raise _refusal(f"answers.{i}.vote: {answer.vote[:40]!r} is none of the labels")
        if answer.shares is not None and (
            len(answer.shares) != len(labels) or not all(0 <= share <= 1 for share in answer.shares)
        ):
            raise _refusal(f"answers.{i}.shares: must be a probability for each label")
    shown = [Shown(a.text, a.vote, None if a.shares is None else tuple(a.shares)) for a in stored.answers]
    certificate = smoother.certificate(stored.text, cut, shown, stored.example)
    free = stored.canonical.free if stored.canonical else None
    return dataclasses.replace(certificate, free=free), stored.method, Cost()


def _cut(stored: _Stored) -> tuple[ExactSmoother, Cut]:
    """The smoother of a stored certificate, and its text cut anew. Raises InputError for what no form gives."""
    labels, canonical = tuple(stored.labels), stored.canonical
    if canonical is None:
        smoother = exact_smoother(stored.method, stored.base, labels)
        return smoother, smoother.cut(stored.text)
    if wrong := canonical.free.wrong(canonical.forms):
        raise InputError(f"canonical.{wrong}")
    form = find_form(canonical.forms)
    smoother = exact_smoother(stored.method, stored.base, labels, form, canonical.forms)
    # Where the tables are not at hand, the stored units are believed.
    cut = smoother.cut(stored.text) if form else smoother.cut_units(smoother.units_of(canonical.pieces))
    if list(cut.pieces) != canonical.pieces:
        raise InputError("canonical.pieces: they are not those of the text in this form")
    return smoother, cut


def _refusal(why: str) -> InputError:
    return InputError(f"this is not an exact CluCERT certificate: {' '.join(why.split())[:300]}")
