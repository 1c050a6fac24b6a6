"""Victims that are small and real: a logistic model over words, bare, with labels only, and smoothed."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clucert.api import SmoothedClassifier, smooth
from clucert.attacks.victims import BareVictim, SmoothedVictim
from clucert.core.words import split
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends

LABELS = ("positive", "negative")
WEIGHTS = {
    **dict.fromkeys(("warm", "funny", "thoughtful", "charming", "great", "moving", "lovely", "good"), 1.0),
    **dict.fromkeys(("dull", "mess", "tired", "clumsy", "awful", "boring", "flat", "bad"), -1.0),
}
ROWS = (
    ("a warm , funny and thoughtful film with a great cast", "positive"),
    ("the plot is a dull mess and the jokes fall flat", "negative"),
    ("It is charming ; the story's end was moving and it 's lovely", "positive"),
    ("an awful , clumsy script", "negative"),
    ("boring", "negative"),
    ("great", "positive"),
    ("they were not themselves", "positive"),
    ("a dull film", "positive"),
    ("", "positive"),
    ("... !", "negative"),
)
"""(text, gold): easy ones, one word, stop words alone, a wrong label, no words at all."""


def probabilities(texts: Sequence[str]) -> list[list[float]]:
    def one(text: str) -> float:
        return 1 / (1 + math.exp(-0.1 - sum(WEIGHTS.get(word, 0.0) for word in split(text).words)))

    return [[one(text), 1 - one(text)] for text in texts]


def label(texts: Sequence[str]) -> list[str]:
    return [LABELS[int(row[1] > row[0])] for row in probabilities(texts)]


def soft() -> BareVictim:
    return BareVictim(Backends(CallableClassifier(probabilities, LABELS)))


def hard() -> BareVictim:
    return BareVictim(Backends(CallableClassifier(label, LABELS)))


def defended(samples: int = 15, **options: object) -> SmoothedVictim:
    smoothed = smooth_small(**options)
    return SmoothedVictim(smoothed.smoother, smoothed.backends, samples)


def smooth_small(**options: object) -> SmoothedClassifier:
    return smooth(label, LABELS, **{"method": "ranmask", "mask_rate": "0.3", **options})


class LetterEncoder:
    """Sentences as bags of hashed letter pairs, plus a constant: close when spelled alike."""

    name = "letters"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 65), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[64] = 1
            for pair in itertools.pairwise(text):
                row[hashlib.blake2b("".join(pair).encode(), digest_size=1).digest()[0] % 64] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
