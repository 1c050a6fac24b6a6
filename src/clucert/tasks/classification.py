"""Tasks with a closed label set: a few-shot prompt, and a strict reading of the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from clucert.core.bounds import is_reserved
from clucert.errors import InputError
from clucert.tasks.parse import read_label
from clucert.tasks.said import ended, said, was_cut
from clucert.tasks.spelling import fold, same_spelling, spellings_of, whole_label
from clucert.types import Answer, Message, Query, Vote


@dataclass(frozen=True, slots=True)
class Shot:
    """One worked example of a prompt."""

    text: str
    label: str


@dataclass(frozen=True)
class ClosedTask:
    """A question about a text whose answer is one of ``labels``.

    The raw prompt is ``instruction``, the shots and the text, each as two lines headed ``text_heading`` and
    ``label_heading``; everything before the text is the shared prefix. White space in a text becomes single spaces
    there, so that a text cannot fake the lines of a shot. A chat server gets the shots as turns.
    """

    name: str
    labels: tuple[str, ...]
    instruction: str
    shots: tuple[Shot, ...] = ()
    text_heading: str = "Text"
    label_heading: str = "Label"
    raw_instruction: bool = True
    """Whether the raw prompt starts with the instruction; small models may do better on the bare shots."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other spellings that the parser takes for a label: ``spelling -> label``."""
    gold: Mapping[str, str] = field(default_factory=dict)
    """What data files write for a label, numbers among it; comes before :attr:`numberings`."""
    numberings: tuple[Mapping[str, str], ...] = ()
    """The meanings that numbers in data files may have; which one it is, the numbers of the file must tell."""
    temperature: float = 0.0
    max_tokens: int = 16
    bias: tuple[float, ...] = ()
    """Subtracted from the model's label scores; see :meth:`calibrated`."""
    content_free: tuple[str, ...] = ("N/A", "[MASK] [MASK] [MASK]")
    """Texts that say nothing, or that speak for every label alike; see :meth:`calibrated`."""
    guarded: str | None = None
    """The label that an adversary wants to be rid of, where there is one: suffix attacks are put on rows of it."""
    stop: tuple[str, ...] = ()
    """Where an answer ends, when the model does not end it by itself: an answer that is cut is no vote."""

    def __post_init__(self) -> None:
        check_labels(self.labels)
        numbered = {label for numbering in self.numberings for label in numbering.values()}
        unknown = {s.label for s in self.shots} | {*self.synonyms.values(), *self.gold.values(), *numbered}
        if stray := unknown - set(self.labels):
            raise InputError(f"task {self.name}: {sorted(stray)[0]!r} is not one of its labels {list(self.labels)}")
        names = dict(self.synonyms) | {label: label for label in self.labels}
        check_spellings(names)
        opening = f"{self.instruction}\n\n" if self.raw_instruction else ""
        parts = [opening, *(self._lines(s.text, s.label) for s in self.shots)]
        object.__setattr__(self, "_prefix", "".join(parts))
        object.__setattr__(self, "_spellings", spellings_of(tuple(names.items())))
        object.__setattr__(self, "_turns", self._shot_turns())

    def query(self, text: str, *, draw: int = 0) -> Query:
        """The request that asks for the label of ``text``; ``draw`` matters only when the task samples."""
        turns: tuple[Message, ...] = self.__dict__["_turns"]
        return Query(
            messages=(*turns, Message("user", f"{self.text_heading}: {text}")),
            prefix=self.__dict__["_prefix"],
            suffix=f"{self.text_heading}: {_one_line(text)}\n{self.label_heading}:",
            labels=self.labels,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            stop=self.stop,
            seed=draw if self.temperature > 0 else None,
        )

    def read(self, answer: Answer) -> Vote:
        """The most likely label where the model scored them (the first of equals), else the label its text states.

        None for an answer that is not finished (:mod:`clucert.tasks.said`), and for a text that states no label, or
        more than one (:mod:`clucert.tasks.parse`). A scored answer that was cut must be its label and nothing else.
        """
        scores = answer.label_logprobs
        text = said(answer) or ""
        read = whole_label if was_cut(answer) else read_label
        stated = read(text, self.__dict__["_spellings"]) if text else None
        if scores is None:
            return stated
        # A backend that scores labels need not say anything; what it does say must be a label.
        if (answer.text and stated is None) or not ended(answer):
            return None
        if len(scores) != len(self.labels) or any(math.isnan(s) for s in scores) or max(scores) == -math.inf:
            return None
        if self.bias:
            scores = tuple(s - b for s, b in zip(scores, self.bias, strict=True))
        return self.labels[max(range(len(scores)), key=scores.__getitem__)]

    def calibrated(self, answers: Sequence[Answer]) -> Self:
        """The task with the label bias that the model shows on :attr:`content_free` taken off its scores.

        Contextual calibration (Zhao et al. 2021): a small model prefers the label it saw last, or the commoner word,
        whatever the text. ``bias[c]`` is the mean score of label c over ``answers``, those to the content-free texts.
        It is fixed before any text is looked at, so the classifier stays a function of the text alone. Answers
        without finite scores leave the task as it is.
        """
        scores = [answer.label_logprobs for answer in answers]
        rows = [row for row in scores if row is not None and all(map(math.isfinite, row))]
        if not rows or len(rows) != len(scores):
            return self
        return replace(self, bias=tuple(sum(column) / len(rows) for column in zip(*rows, strict=True)))

    def _lines(self, text: str, label: str) -> str:
        return f"{self.text_heading}: {_one_line(text)}\n{self.label_heading}: {label}\n\n"

    def _shot_turns(self) -> tuple[Message, ...]:
        *others, last = self.labels
        wanted = f"{', '.join(others)} or {last}"
        turns = [Message("system", f"{self.instruction} Answer with one label only: {wanted}.")]
        for shot in self.shots:
            turns.append(Message("user", f"{self.text_heading}: {shot.text}"))
            turns.append(Message("assistant", shot.label))
        return tuple(turns)


def check_labels(labels: Sequence[str]) -> None:
    """Raise :class:`InputError` unless there are two labels or more that a strict reader can tell apart.

    None may be empty, have white space around it or a line break in it, equal another one but for letter case, Unicode
    compatibility forms, white space and a closing full stop or the like, or be a name of what is no label
    (:data:`clucert.core.bounds.RESERVED`).
    """
    if len(labels) < 2:
        raise InputError(f"a task needs two labels or more, got {list(labels)}: write  --labels spam,ham")
    for label in labels:
        if not fold(label) or label != label.strip() or len(label.splitlines()) > 1:
            raise InputError(f"the label {label!r} is empty or has white space around or line breaks in it")
        if is_reserved(label):
            raise InputError(f"the label {label!r} is the name of what is no label: give it another")
    if twice := same_spelling(labels):
        raise InputError(
            f"the labels {twice[0]!r} and {twice[1]!r} cannot be told apart: "
            "labels must differ in more than case and a full stop"
        )


def check_spellings(names: Mapping[str, str]) -> None:
    """Raise :class:`InputError` when two of ``names`` (spelling -> label) read alike and mean different labels."""
    seen: dict[str, str] = {}
    for spelling, label in names.items():
        if not fold(spelling):
            raise InputError(f"a spelling of the label {label!r} is empty")
        if seen.setdefault(fold(spelling), label) != label:
            raise InputError(f"the spelling {spelling!r} cannot stand for {label!r}: it is another label's")


def _one_line(text: str) -> str:
    return " ".join(text.split())
