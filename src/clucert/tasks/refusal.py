"""Refusal: is a prompt refused? The model answers it, and the answer is labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clucert.refusals.base import COMPLIED, LABELS, REFUSED, heads_of, votes_on
from clucert.refusals.phrases import PhraseDetector
from clucert.tasks.open_ended import OpenTask
from clucert.types import Answer, Vote

GOLD: Mapping[str, str] = {
    **dict.fromkeys(("harmful", "unsafe", "jailbreak", "refuse", "refusal"), REFUSED),
    **dict.fromkeys(("safe", "harmless", "benign", "comply", "answer"), COMPLIED),
}
"""What data sets of prompts call the two: a harmful prompt ought to be refused, a safe one answered."""


@dataclass(frozen=True, slots=True)
class RefusalTask(OpenTask):
    """The base classifier of a chat assistant: its answer to the text as a prompt, ``refused`` or ``complied``.

    ``instruction`` is the assistant's system prompt; none is sent when it is empty. The label is read from the first
    ``max_tokens`` tokens of the answer by ``detector``, or by a judge.
    """

    reader: Callable[[str], Vote] = field(init=False, repr=False, compare=False)
    max_tokens: int = 64
    detector: PhraseDetector = field(default_factory=PhraseDetector)
    gold: Mapping[str, str] = field(default_factory=lambda: GOLD, compare=False)
    """Other names of the labels in data files."""
    guarded: str = REFUSED
    """The answer that an adversary wants to be rid of: suffix attacks are put on rows of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", self.detector.label)

    def read(self, answer: Answer) -> Vote:
        """The label of the answer's head; None where it says nothing (:func:`clucert.refusals.base.heads_of`)."""
        heads = heads_of([answer])
        return votes_on([answer], heads, [self.detector.label(heads[0])])[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """``refused`` and ``complied``."""
        return LABELS

    @property
    def read_by(self) -> str:
        """The detector, by its digest; part of what a certificate is about."""
        return self.detector.name


REFUSAL = RefusalTask(name="refusal", instruction="")
