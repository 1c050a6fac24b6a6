"""What a model answers to sub-texts whatever they say, and how sure it is, by their length: an affine map of its label
scores.

Contextual calibration (Zhao et al. 2021) asks about texts without content. A fragment of three words and one of forty
are biased differently, often in opposite directions, so the bias is fitted here to fragments of validation texts, for
each length; so is the temperature, as a model that is sure of three words is wrong more often than one that has read
forty. A classifier that answers softmax(scale · (log p − bias)) is still a function of the sub-text alone, whatever the
numbers are, so every proof about exact certificates stays as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from clucert.errors import InputError

LENGTHS = (2, 3, 4, 6, 9, 13, 20, 35)
"""Upper ends of the classes of length, in words; the last class has none."""
LEAST = 40
"""Fragments of each label that a class of length needs; one with fewer is joined to the next."""


@dataclass(frozen=True, slots=True)
class Bias:
    """What is taken off the log-probability of each label, for sub-texts of at most ``words`` words (None: longer), and
    what the result is multiplied with: 1 / temperature. Votes go by the largest, and the scale moves soft scores alone.
    """

    words: int | None
    of: tuple[float, ...]
    scale: float = 1.0

    def taken_off(self, shares: Sequence[float]) -> list[float]:
        """Probabilities with the bias off and the scale on, up to a common factor: none is above 1."""
        # Against the least bias, which scales all alike: no factor overflows, whatever the method file says.
        least = min(self.of)
        return [(p * math.exp(least - b)) ** self.scale for p, b in zip(shares, self.of, strict=True)]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A sub-text of a validation row: its words, the model's probability of each label, and the row's label."""

    words: int
    shares: tuple[float, ...]
    label: int


def bias_of(biases: Sequence[Bias], text: str) -> Bias | None:
    """The bias for the sub-text ``text``, None where there is none; words are what white space separates."""
    words = len(text.split())
    return next((bias for bias in biases if bias.words is None or words <= bias.words), None)


def fit(fragments: Sequence[Fragment], lengths: Sequence[int] = LENGTHS, *, scaled: bool = False) -> tuple[Bias, ...]:
    """The bias by length, and the scale where ``scaled``, under which ``fragments`` are likeliest, with every label
    weighted alike.

    Raises :class:`InputError` where some label has fewer than :data:`LEAST` fragments.
    """
    classes = len(fragments[0].shares) if fragments else 0
    found: list[Bias] = []
    waiting: list[Fragment] = []
    for low, high in zip((0, *lengths), (*lengths, math.inf), strict=True):
        waiting += [each for each in fragments if low < each.words <= high]
        if _enough(waiting, classes):
            of, scale = _likeliest(waiting)
            found.append(Bias(None if high == math.inf else int(high), of, scale if scaled else 1.0))
            waiting = []
    if not found:
        raise InputError(f"a bias needs {LEAST} fragments of each label: give more validation rows")
    return (*found[:-1], replace(found[-1], words=None))


def _enough(fragments: Sequence[Fragment], classes: int) -> bool:
    by_label = Counter(each.label for each in fragments)
    return all(by_label[label] >= LEAST for label in range(classes)) if classes else False


def _likeliest(fragments: Sequence[Fragment]) -> tuple[tuple[float, ...], float]:
    """Maximum likelihood of a bias with mean 0 and of a scale: softmax(scale · (log p − bias))."""
    # Here and not above: nobody waits for the optimiser who only takes a bias off.
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    scores = np.log(np.maximum([each.shares for each in fragments], 1e-6))
    labels = np.array([each.label for each in fragments])
    weights = 1.0 / np.bincount(labels)[labels]
    weights /= weights.sum()

    def loss(free: np.ndarray) -> float:
        z = math.exp(free[0]) * (scores - _centred(free[1:]))
        own = z[np.arange(len(labels)), labels] - logsumexp(z, axis=1)
        # The scale is held near 1: fragments that the scores separate would drive it to infinity.
        return float(-(weights * own).sum() + 1e-3 * free[0] ** 2)

    best = minimize(loss, np.zeros(scores.shape[1]), method="BFGS").x
    return tuple(round(float(b), 3) for b in _centred(best[1:])), round(min(max(math.exp(best[0]), 0.1), 10.0), 3)


def _centred(free: np.ndarray) -> np.ndarray:
    return np.append(free, -free.sum())
