"""Jailbreak attacks as data: suffixes, or whole attacked prompts, that somebody optimised elsewhere.

Nothing is searched here. A suffix that was found on another model (GCG, Zou et al. 2023) is *transferred*: that it
fails on this model says little about an attacker who optimises against this one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from clucert.attacks.base import Ask, Attack, AttackResult, AttackSteps, Status
from clucert.border import MAX_JSON, read_text
from clucert.core.words import split
from clucert.errors import InputError, UsageError
from clucert.evaluate.data import Example
from clucert.types import Scored

SUFFIX = "suffix"
COLUMN = "attack"

Form = Literal["auto", "suffix", "prompt"]
FORMS: tuple[Form, ...] = get_args(Form)


@runtime_checkable
class RowAttack(Protocol):
    """An attack that depends on the row of data it is put on."""

    def for_row(self, example: Example) -> Attack | None:
        """The attack on this row; None where the row is left out."""
        ...


@dataclass(frozen=True, slots=True)
class SuffixAttack:
    """Jailbreaks of the data or a file on harmful prompts, in order, until one gets another answer.

    It asks about the prompt as it is first.

    Unlike an attack that searches, it goes on when the victim was wrong before anything was changed (``skipped``): the
    success rate of the jailbreak literature is over all attacked prompts, whatever the bare model says to them.
    ``prompts`` are those of one row, which :meth:`for_row` fills in; a row without any is asked about as it is.
    """

    form: Form = "auto"
    listed: tuple[str, ...] = ()
    """Attacks on every row, in place of the column ``attack``."""
    guarded: str | None = None
    """Rows of this label are attacked, the others are asked about unattacked; None attacks all that have an attack."""
    prompts: tuple[str, ...] = ()

    name: ClassVar[str] = SUFFIX

    def for_row(self, example: Example) -> SuffixAttack | None:
        """Raises :class:`InputError` for an ``attack`` that is neither a string nor a list of them."""
        if self.guarded is not None and example.label != self.guarded:
            return replace(self, prompts=())
        attacks = self.listed or attacks_of(example)
        prompts = tuple(dict.fromkeys(attacked_prompt(example.text, attack, self.form) for attack in attacks))
        return replace(self, prompts=prompts) if prompts else None

    def steps(self, text: str, gold: str, rng: np.random.Generator, *, max_queries: int | None = None) -> AttackSteps:
        """Ask; ``rng`` is not read. Raises :class:`UsageError` for a budget below 1."""
        if max_queries is not None and max_queries < 1:
            raise UsageError(f"--max-queries {max_queries}: an attack asks at least once, about the text itself")
        before = yield from _ask(text)
        queries, perturbed, after = 1, text, before
        for prompt in self.prompts:
            if queries == max_queries:
                break
            perturbed, after = prompt, (yield from _ask(prompt))
            queries += 1
            if after.answer != gold:
                break
        return AttackResult(
            status=_status(before.answer == gold, after.answer == gold, attacked=bool(self.prompts)),
            text=text,
            perturbed=perturbed,
            gold=gold,
            before=before.answer,
            after=after.answer,
            queries=queries,
            words=len(split(text)),
            words_changed=max(0, len(split(perturbed)) - len(split(text))),
            exhausted=after.answer == gold and queries <= len(self.prompts),
        )


def attacks_of(example: Example) -> tuple[str, ...]:
    """What the row's column ``attack`` holds: nothing, one attack, or a list of them (JSON)."""
    value = example.extra.get(COLUMN)
    if value is None or value == "":
        return ()
    attacks = value if isinstance(value, list) else [value]
    if not all(isinstance(attack, str) and attack.strip() for attack in attacks):
        raise InputError(f"row {example.id}: {COLUMN!r} is neither a string nor a list of strings")
    return tuple(attacks)


def attacked_prompt(text: str, attack: str, form: Form = "auto") -> str:
    """The prompt that the model is to see.

    ``suffix`` puts the attack behind the text; ``prompt`` takes it for the whole prompt. ``auto`` tells them apart: an
    attack with ``{text}`` in it is a template, one that holds the text itself (white space and case aside) is the
    whole prompt, and everything else is a suffix. A whole prompt that paraphrases the text needs ``prompt``.
    """
    if form == "auto":
        if "{text}" in attack:
            return attack.replace("{text}", text)
        form = "prompt" if _folded(text) in _folded(attack) else "suffix"
    if form == "prompt":
        return attack
    return text + attack if attack[:1].isspace() else f"{text} {attack}"


def read_suffixes(path: Path) -> tuple[str, ...]:
    r"""The attacks of a text file, one a line; ``\n`` in a line is a line break.

    Raises :class:`InputError` for a file that cannot be read or is empty.
    """
    suffixes = tuple(line.replace("\\n", "\n") for line in read_text(path, MAX_JSON).split("\n") if line.strip())
    if not suffixes:
        raise InputError(f"{path} holds no suffix: write one a line")
    return suffixes


def _ask(text: str) -> Generator[Any, Any, Scored]:
    scored: list[Scored] = yield Ask([text])
    return scored[0]


def _status(right_before: bool, right_after: bool, *, attacked: bool) -> Status:
    if not attacked:
        return "unattacked"
    if not right_before:
        return "skipped"
    return "failure" if right_after else "success"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
