"""The answers of a guard, and why they were chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from clucert import certificate_json as document
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.smoothing import Certified
from clucert.guard.classifier import SideAnswers
from clucert.types import Answer, Cost

Source = Literal["majority", "policy", "undefended"]

REFUSAL = "I can't help with that."
"""The answer on an abstention when the policy is to refuse."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is answered when the vote is too close to certify either side (an abstention)."""

    on_abstain: Literal["refuse", "pass"] = "refuse"
    """``pass`` returns the model's answer to the original prompt: nothing is certified about that answer."""
    refusal: str = REFUSAL


@dataclass(frozen=True, slots=True)
class Guarded:
    """An answer with the certificate of the vote behind it.

    ``source`` says whose answer it is. ``majority``: the model's own, to one of the noised prompts on the side that won
    the vote. ``policy``: the fixed refusal, after an abstention. ``undefended``: the model's, to the prompt as it came,
    after an abstention; the defence did nothing for it.
    """

    answer: Answer
    source: Source
    certificate: Certificate
    samples: tuple[Sample, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @property
    def text(self) -> str:
        """What the answer says."""
        return self.answer.text

    @property
    def prediction(self) -> str | None:
        """``refused`` or ``complied``, or None for an abstention."""
        return self.certificate.prediction

    def document(self) -> dict[str, Any]:
        """The certificate as one JSON document (docs/json.md), which ``clucert.load`` reads."""
        return document.write(Certified(self.certificate, self.samples), self.cost)

    def summary(self) -> dict[str, Any]:
        """:meth:`document` without what repeats the prompt, word by word, and without the upstream's address."""
        full = self.document()
        kept = ("schema_version", "clucert_version", "settings", "selection", "readings", "exhaustive", "notes")
        made = {name: full[name] for name in (*kept, "derived", "cost")}
        base = {name: value for name, value in full["settings"]["base"].items() if name != "base_url"}
        return {"source": self.source, **made, "settings": {**full["settings"], "base": base}}


def chosen(certificate: Certificate, side_answers: SideAnswers, policy: Policy) -> tuple[Answer | None, Source]:
    """The answer to hand out; None where the model is still to be asked the prompt as it came."""
    if certificate.prediction is not None:
        return side_answers.first[certificate.prediction], "majority"
    if policy.on_abstain == "refuse":
        return Answer(policy.refusal, finish_reason="stop"), "policy"
    return None, "undefended"
