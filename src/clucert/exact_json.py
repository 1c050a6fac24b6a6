"""An exact certificate as JSON, and back. What it says is derived when it is written, and again when it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clucert.build import exact_smoother
from clucert.core.bounds import is_reserved
from clucert.core.exact import ExactCertificate, Shown
from clucert.core.exact_words import exact_in_words
from clucert.core.settings import Base
from clucert.errors import CluCertError, InputError
from clucert.methods.exact import ExactMethod
from clucert.types import Cost

Json = dict[str, Any]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    text: str = Field(min_length=1)
    vote: str | None
    shares: list[float] | None = None


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
        "method": method.model_dump(mode="json", exclude={"tasks", "models"}),
        "answers": [dataclasses.asdict(shown) for shown in certificate.answers],
        "derived": derived(certificate),
    }
    if cost is not None:
        from clucert.certificate_json import cost_document

        document["cost"] = cost_document(cost) | {"reused": cost.reused.document()}
    return document


def derived(certificate: ExactCertificate) -> Json:
    """What the answers say."""
    return {
        "prediction": certificate.prediction,
        "alpha": 0,
        "questions": certificate.questions,
        "units": certificate.n,
        "votes": dict(certificate.counts),
        "unparsed": certificate.unparsed,
        "proved": {
            threat: None if radius is None else {"count": radius.words, "everything": radius.everything}
            for threat, radius in certificate.proved.items()
        },
        "in_words": [" ".join(line.split()) for line in exact_in_words(certificate)],
    }


def read(document: Any) -> tuple[ExactCertificate, ExactMethod, Cost]:
    """The certificate of a document that :func:`write` made, its method, and a cost of nothing.

    The text is cut anew, and the answers must be those to its sub-texts. Raises :class:`InputError`, one line.
    """
    if not isinstance(document, Mapping):
        raise _refusal("it is not an object of JSON")
    try:
        stored = _Stored.model_validate(dict(document))
        smoother = exact_smoother(stored.method, stored.base, tuple(stored.labels))
        cut = smoother.cut(stored.text)
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
    return smoother.certificate(stored.text, cut, shown, stored.example), stored.method, Cost()


def _refusal(why: str) -> InputError:
    return InputError(f"this is not an exact CluCERT certificate: {' '.join(why.split())[:300]}")
