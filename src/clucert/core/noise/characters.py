"""SmoothLLM's noise (Robey et al. 2023, Algorithm 2): random changes of characters. A baseline that proves nothing.

Every copy of a prompt has ``M = ⌊q·m/100⌋`` of its m characters changed, and the copies vote. Nothing is masked, so a
changed word is read in every sample. Two prompts that differ in one character get the same noised text by swaps only
when that character is among the M: their overlap is M/m, at most q/100, where a certificate needs more than half for
every single character of a word. CluCERT counts it as 0 and certifies no changed word. SmoothLLM's own guarantee
assumes k-instability (an attack's suffix stops working once k of its characters change), which is a property of the
attack and not of the prompt at hand.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Generator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.settings import Perturbation
from clucert.core.thresholds import exact
from clucert.core.words import WordedText
from clucert.errors import InputError
from clucert.types import Recovered, Request, Stage

ALPHABET = string.printable
"""What characters are drawn from: Python's 100 printable ones, as in SmoothLLM's code."""


def parse_q(value: str | Fraction | float) -> Fraction:
    """q, in percent of the characters, as an exact number in (0, 100]; a float means the decimal it prints as.

    Raises:
        InputError: not a number, or out of range.

    """
    q = exact(value, "q")
    if not 0 < q <= 100:
        raise InputError(f"q {value} is out of range: give a percentage above 0, up to 100")
    return q


def perturbed_count(length: int, q: Fraction) -> int:
    """``M = ⌊q·m/100⌋``, exactly: how many of m characters are changed. 0 for a text too short."""
    return int(q * length // 100)


def swap(text: str, m: int, rng: np.random.Generator) -> str:
    """Exactly m characters, at distinct places drawn uniformly, become characters of the alphabet (the old one too)."""
    letters = np.array(list(text), dtype=object)
    letters[rng.choice(len(text), size=m, replace=False)] = _drawn(m, rng)
    return "".join(letters.tolist())


def patch(text: str, m: int, rng: np.random.Generator) -> str:
    """A run of m characters, its start drawn uniformly, becomes characters of the alphabet."""
    start = int(rng.integers(len(text) - m + 1))
    return text[:start] + "".join(_drawn(m, rng)) + text[start + m :]


def insert(text: str, m: int, rng: np.random.Generator) -> str:
    """Before each of m distinct characters of the text, drawn uniformly, goes a character of the alphabet.

    (SmoothLLM's code lets earlier insertions shift later ones; its Algorithm 2 does not.)
    """
    places = rng.choice(len(text), size=m, replace=False)
    letters = np.array(list(text), dtype=object)
    letters[places] = [new + old for new, old in zip(_drawn(m, rng), letters[places].tolist(), strict=True)]
    return "".join(letters.tolist())


PERTURBATIONS: Mapping[str, Callable[[str, int, np.random.Generator], str]] = {
    "swap": swap,
    "patch": patch,
    "insert": insert,
}


class CharacterRecovery:
    """Perturbs the characters of the whole text, whatever the retention set says: κ = 0 against any word."""

    name = "characters"
    deterministic = False

    def __init__(self, perturbation: Perturbation) -> None:
        self.perturbation = perturbation
        self._apply = PERTURBATIONS[perturbation.kind]

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """One perturbed copy of the text for each row; the rows themselves are not read."""
        yield from ()
        whole = text.text
        m = perturbed_count(len(whole), self.perturbation.q)
        return Recovered([self._apply(whole, m, rng) if m else whole for _ in range(len(retained))])


def _drawn(m: int, rng: np.random.Generator) -> list[str]:
    return [ALPHABET[i] for i in rng.integers(len(ALPHABET), size=m).tolist()]
