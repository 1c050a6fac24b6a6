"""An exact certificate as JSON, and back. What it says is derived when it is written, and again when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clucert.border import json_fields
from clucert.build import exact_smoother
from clucert.certificate_json import cost_document, plain, refuse_newer, wrong_cost
from clucert.core.bounds import is_reserved
from clucert.core.exact import Cut, ExactCertificate, ExactSmoother, Shown
from clucert.core.exact_words import exact_sentences
from clucert.core.explanation import free_in_words
from clucert.core.noise.canonical import Free
from clucert.core.settings import Base
from clucert.errors import CluCertError, InputError, shortened
from clucert.lexicon.canonical import find_form
from clucert.methods.exact import ExactMethod
from clucert.types import Cost, Unread

SCHEMA_VERSION = 1

Json = dict[str, Any]


class _Canonical(BaseModel):
    """The forms by name and digest, the units of the text in canonical form, and what may be changed freely."""

    model_config = ConfigDict(extra="forbid", strict=True)

    forms: tuple[str, ...] = Field(min_length=1)
    pieces: tuple[str, ...]
    free: Free


class _Stored(BaseModel):
    """What is read of a document: ``derived`` is not."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: int = Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    kind: Literal["exact"]
    text: str
    example: str = ""
    labels: tuple[str, ...] = Field(min_length=2)
    base: Base
    method: ExactMethod
    answers: tuple[Shown, ...]
    cost: Cost | None = None
    unread: tuple[Unread, ...] = ()
    canonical: _Canonical | None = None


_NEW = ("flag_threshold", "group", "tuned", "counts")
"""Left out where they are not set, so that documents stay what they were."""


def write(certificate: ExactCertificate, method: ExactMethod, cost: Cost | None = None) -> Json:
    """The document of one certificate, made by ``method``. See docs/json.md for every field."""
    document: Json = {
        "schema_version": SCHEMA_VERSION,
        "kind": "exact",
        "clucert_version": version("clucert"),
        "text": certificate.text,
        "example": certificate.example,
        "labels": list(certificate.labels),
        "base": plain(dataclasses.asdict(certificate.settings.base)),
        "method": method.model_dump(
            mode="json", exclude={"tasks", "models"} | {n for n in _NEW if not getattr(method, n)}
        ),
        "answers": [plain(dataclasses.asdict(shown)) for shown in certificate.answers],
        **_canonical(certificate),
        "derived": derived(certificate),
    }
    if cost is not None:
        document |= {"cost": cost_document(cost), "unread": [dataclasses.asdict(answer) for answer in cost.unread]}
    return document


def _canonical(certificate: ExactCertificate) -> Json:
    """Left out where there is none, so that documents of earlier versions stay as they are."""
    if certificate.free is None:
        return {}
    found = {"forms": certificate.settings.canonical, "pieces": certificate.pieces}
    return {"canonical": plain(found | {"free": dataclasses.asdict(certificate.free)})}


def is_exact(document: Mapping[str, Any]) -> bool:
    """Whether a stored certificate is to be read here, and not by :func:`clucert.certificate_json.read`."""
    return document.get("kind") == "exact"


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
        **({"free": free_in_words(certificate)} if certificate.free else {}),
        "notes": list(certificate.notes),
        "in_words": exact_sentences(certificate),
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
    """The certificate of a document that :func:`write` made, its method, and what it cost, nothing if it does not say.

    Every field is checked, by itself and against the others; the text is cut anew, and the answers must be those to its
    sub-texts. Raises :class:`InputError`, one line that names the field, and for a newer schema.
    """
    if not isinstance(document, Mapping):
        raise _refusal("it is not an object of JSON")
    refuse_newer(document, SCHEMA_VERSION)
    fields = {name: document[name] for name in _Stored.model_fields if name in document}
    try:
        stored = json_fields(_Stored.model_validate_json, fields, f"{_REFUSED}: ")
        if wrong := next(_problems(stored), None):
            raise _refusal(wrong)
        smoother, cut = _cut(stored)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refusal(f"{type(error).__name__} {error}") from None
    except CluCertError as error:
        raise (error if str(error).startswith(_REFUSED) else _refusal(str(error))) from None
    if [answer.text for answer in stored.answers] != list(cut.asked):
        raise _refusal("answers: they are not those to the sub-texts of this text")
    cost = stored.cost or Cost()
    cost.show(stored.unread)
    certificate = smoother.certificate(stored.text, cut, stored.answers, stored.example)
    free = stored.canonical.free if stored.canonical else None
    return dataclasses.replace(certificate, free=free), stored.method, cost


def _problems(stored: _Stored) -> Iterator[str]:
    """What no certification could have written, as ``field: what is wrong``."""
    labels, base = stored.labels, stored.base
    if len(set(labels)) < len(labels) or any(map(is_reserved, labels)):
        yield "labels: must be different, and none the name of what is no label"
    if not base.models:
        yield "base.models: must name a model"
    if base.temperature < 0:
        yield f"base.temperature: must be 0 or more, not {base.temperature}"
    if (canonical := stored.canonical) and (wrong := canonical.free.wrong(canonical.forms)):
        yield f"canonical.{wrong}"
    for i, answer in enumerate(stored.answers):
        if answer.vote is not None and answer.vote not in labels:
            yield f"answers.{i}.vote: {shortened(answer.vote, 40)!r} is none of the labels"
        if answer.shares is not None and (
            answer.vote is None or len(answer.shares) != len(labels) or not all(0 <= p <= 1 for p in answer.shares)
        ):
            yield f"answers.{i}.shares: must be a probability for each label, of an answer that names one"
    if wrong := wrong_cost(stored.cost):
        yield wrong


_REFUSED = "this is not an exact CluCERT certificate"


def _cut(stored: _Stored) -> tuple[ExactSmoother, Cut]:
    """The smoother of a stored certificate, and its text cut anew. Raises InputError for what no form gives."""
    labels, canonical = stored.labels, stored.canonical
    if canonical is None:
        smoother = exact_smoother(stored.method, stored.base, labels)
        return smoother, smoother.cut(stored.text)
    form = find_form(canonical.forms)
    smoother = exact_smoother(stored.method, stored.base, labels, form, canonical.forms)
    # Where the tables are not at hand, the stored units are believed.
    cut = smoother.cut(stored.text) if form else smoother.cut_units(smoother.units_of(canonical.pieces, stored.text))
    if cut.pieces != canonical.pieces:
        raise InputError("canonical.pieces: they are not those of the text in this form")
    return smoother, cut


def _refusal(why: str) -> InputError:
    return InputError(f"{_REFUSED}: {' '.join(why.split())[:300]}")
