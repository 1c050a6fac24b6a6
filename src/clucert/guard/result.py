"""The answers of a guard, and why they were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from clucert import certificate_json as document
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.smoothing import Certified
from clucert.errors import shortened
from clucert.guard.classifier import SideAnswers
from clucert.notebook import Shown
from clucert.refusals import COMPLIED
from clucert.types import Answer, Cost

Source = Literal["majority", "original", "policy", "undefended"]

REFUSAL = "I can't help with that."
"""The answer on an abstention when the policy is to refuse."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is answered when the vote is too close to certify either side (an abstention)."""

    on_abstain: Literal["refuse", "pass"] = "refuse"
    """``pass`` returns the model's answer to the original prompt: nothing is certified about that answer."""
    refusal: str = REFUSAL
    answer: Literal["noised", "original"] = "noised"
    """Where *complied* wins: the model's answer to a noised prompt, or to the prompt as it came."""


@dataclass(frozen=True, slots=True, repr=False)
class Guarded(Shown):
    """An answer with the certificate of the vote behind it.

    ``source`` says whose answer it is. ``majority``: the model's own, to one of the noised prompts on the side that won
    the vote. ``original``: the model's, to the prompt as it came, after *complied* won. What is certified then is that
    the vote lets the prompt through, under every change within the radius; of the answer nothing is, for it is none of
    those that voted. ``policy``: the fixed refusal, after an abstention. ``undefended``: the model's, to the prompt as
    it came, after an abstention; the defence did nothing for it.
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

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The answer, and what is certified of it."""
        said = self.prediction or "abstained"
        return f"{said} ({self.source}): {shortened(self.text)!r}", (), [f"certified: {CERTIFIES[self.source]}"]

    def document(self) -> dict[str, Any]:
        """The certificate as one JSON document (docs/json.md), which ``clucert.load`` reads."""
        return document.write(Certified(self.certificate, self.samples), self.cost)

    def summary(self) -> dict[str, Any]:
        """:meth:`document` without what repeats the prompt, word by word, and without the upstream's address."""
        full = self.document()
        kept = ("schema_version", "clucert_version", "settings", "selection", "readings", "exhaustive", "notes")
        made = {name: full[name] for name in (*kept, "derived", "cost")}
        base = {name: value for name, value in full["settings"]["base"].items() if name != "base_url"}
        return {
            "source": self.source,
            "certifies": CERTIFIES[self.source],
            **made,
            "settings": {**full["settings"], "base": base},
        }


CERTIFIES: Mapping[Source, str] = {
    "majority": "the side of the vote, whose answer this is: no change within the radius turns the vote",
    "original": "that the vote lets this prompt through, under every change within the radius; nothing of this answer, "
    "which the model gave to the prompt as it came",
    "policy": "nothing: the vote was too close, and the answer is a fixed refusal",
    "undefended": "nothing: the vote was too close, and the model answered the prompt as it came",
}
"""In plain words."""


def chosen(certificate: Certificate, side_answers: SideAnswers, policy: Policy) -> tuple[Answer | None, Source]:
    """The answer to hand out; None where the model is still to be asked the prompt as it came."""
    if certificate.prediction == COMPLIED and policy.answer == "original":
        return None, "original"
    if certificate.prediction is not None:
        return side_answers.first[certificate.prediction], "majority"
    if policy.on_abstain == "refuse":
        return Answer(policy.refusal, finish_reason="stop"), "policy"
    return None, "undefended"
