"""The search of both recipes: rank the words by what they matter, then change one after the other, greedily."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from clucert.attacks.base import Probe, RunSteps, Start, Try, WordAttack, Words
from clucert.attacks.constraints import Constraint
from clucert.attacks.stopwords import is_stopword
from clucert.attacks.transformations import Transformation
from clucert.core.words import WordedText
from clucert.types import Encode, Scored

UNKNOWN = "[UNK]"


@dataclass(frozen=True)
class GreedyWordSwap(WordAttack):
    """TextAttack's GreedyWordSwapWIR: each word at most once, the most important first.

    A word's importance is what the gold label loses when the word becomes ``[UNK]`` (``ranking="unk"``) or is left out
    (``"delete"``). Of the candidates for a word, the one that leaves the gold label least is kept if it leaves less
    than before; the attack ends with the first word that has a candidate which flips the answer. Of several such
    candidates it takes the most similar one, where a constraint measures similarity.

    Three differences to TextAttack, which matter where said. Words keep their places, so a space that was put into one
    does not shift the ones behind it (there, later changes hit wrong words, and words count as changed that are not).
    Any candidate that flips the answer ends the attack, not only the one that leaves the gold label least (there, with
    three labels or more, a flip can be passed over). Ties in importance go to the earlier word (there, to any).
    """

    name: str
    ranking: Literal["unk", "delete"]
    transformations: tuple[Transformation, ...]
    constraints: tuple[Constraint, ...] = ()
    positions: tuple[int, ...] | None = None
    """The only ones that may change, for an attack inside a certified ball; stop words are then attacked, too."""

    def restricted(self, positions: Sequence[int], *constraints: Constraint) -> GreedyWordSwap:
        """The same attack on ``positions`` only, with ``constraints`` besides its own."""
        return replace(self, positions=tuple(positions), constraints=(*constraints, *self.constraints))

    def frozen(self, text: WordedText) -> tuple[bool, ...]:
        """Stop words, or what is outside ``positions``."""
        if self.positions is not None:
            return tuple(i not in self.positions for i in range(len(text)))
        return tuple(map(is_stopword, text.words))

    def run(self, start: Start, rng: np.random.Generator) -> RunSteps:
        """Rank, then change."""
        text, gold = start.text, start.gold
        ranked = yield from self._ranked(start)
        current, least = text.words, start.scored.share(gold)
        for i in ranked:
            found = self._candidates(text, current, i, rng)
            candidates, similarity = yield from self._admitted(text, found)
            if not candidates:
                continue
            scores: list[Scored] = yield Try(candidates)
            # Sorting is stable, and candidates come sorted by text: no outcome depends on the order of a set.
            order = sorted(range(len(candidates)), key=lambda k: scores[k].share(gold))
            flips = [k for k in order if scores[k].answer != gold]
            if flips:
                return candidates[max(flips, key=similarity.__getitem__) if similarity else flips[0]]
            if scores[order[0]].share(gold) < least:
                current, least = candidates[order[0]], scores[order[0]].share(gold)
        return None

    def _ranked(self, start: Start) -> Generator[Probe, list[Scored], list[int]]:
        text = start.text
        free = [i for i, frozen in enumerate(start.frozen) if not frozen]
        if not free:
            return []
        without = without_word if self.ranking == "delete" else _unknown_word
        scores = yield Probe([without(text, i) for i in free])
        shares = {i: scored.share(start.gold) for i, scored in zip(free, scores, strict=True)}
        return sorted(free, key=lambda i: (shares[i], i))

    def _candidates(self, text: WordedText, current: Words, i: int, rng: np.random.Generator) -> list[Words]:
        made = dict.fromkeys(new for change in self.transformations for new in change(current[i], rng))
        made.pop(current[i], None)
        found = [(*current[:i], new, *current[i + 1 :]) for new in made]
        return sorted(found, key=text.join)

    def _admitted(
        self, text: WordedText, candidates: list[Words]
    ) -> Generator[Encode, Any, tuple[list[Words], list[float] | None]]:
        similarity: list[float] | None = None
        for constraint in self.constraints:
            passed, measured = yield from constraint.admit(text, candidates)
            if similarity is not None:
                similarity = [s for s, ok in zip(similarity, passed, strict=True) if ok]
            if measured is not None:
                similarity = [s for s, ok in zip(measured, passed, strict=True) if ok]
            candidates = [c for c, ok in zip(candidates, passed, strict=True) if ok]
        return candidates, similarity


def without_word(text: WordedText, i: int) -> str:
    """The text without word ``i`` and without one of the spaces around it: the one before, or after the first word."""
    gaps = list(text.gaps)
    if i == 0:
        gaps[1] = gaps[1].removeprefix(" ")
    else:
        gaps[i] = gaps[i].removesuffix(" ")
    words = (*text.words[:i], "", *text.words[i + 1 :])
    return replace(text, gaps=tuple(gaps)).join(words)


def _unknown_word(text: WordedText, i: int) -> str:
    return text.join((*text.words[:i], UNKNOWN, *text.words[i + 1 :]))
