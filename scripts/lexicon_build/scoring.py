"""How well one lemma stands in for another: WordNet's relations and vectors in one number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lexicon_build import pack, relations
from lexicon_build.forms import Lemma
from lexicon_build.vectors import Matrix
from lexicon_build.wordnet import WordNet

# Weights of the parts of the score; chosen by looking at pools of news and review words.
SYNONYM, PARENT, CHILD, SIBLING, GLOSS, SENTENCE, WINDOW = 0.6, 0.25, 0.1, 0.08, 0.12, 0.5, 0.35
UNRELATED = {"n": 0.12, "v": 0.07, "a": 0.0, "r": 0.04}
"""What two words without a common synset must make up for: nouns that go together are seldom synonyms."""
NARROWER = 0.1
"""What a kind of the thing must make up for: a cake is not always a pancake."""
CLASS_DRIFT = 0.4
SHARED = 0.05
"""Overlap of senses from which on two words count as having one in common."""
NEAREST = 25
RAREST_SENSE = 0.04
# Kinds of things whose names are near each other in any vector space and yet exclude each other.
CONCRETE = {
    "noun.animal",
    "noun.plant",
    "noun.food",
    "noun.body",
    "noun.substance",
    "noun.quantity",
    "noun.time",
    "noun.location",
    "noun.person",
    "noun.shape",
    "noun.object",
}


def _nearest(space: Matrix, block: int = 512) -> NDArray[np.intp]:
    rows = []
    for start in range(0, len(space), block):
        cosines = space[start : start + block] @ space.T
        rows.append(np.argpartition(-cosines, NEAREST, axis=1)[:, :NEAREST])
    return np.vstack(rows)


@dataclass(frozen=True)
class Scorer:
    """Scores of pairs of lemmas of one part of speech; higher is closer, 0 is blocked."""

    wn: WordNet
    words: Sequence[str]
    lemmas: Sequence[Lemma]
    sentence: Matrix
    window: Matrix
    valence: Mapping[str, float]
    known: Mapping[str, float]
    ranks: Mapping[str, int]

    @cached_property
    def index(self) -> dict[str, int]:
        """Word → row of the vectors."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def senses(self) -> dict[Lemma, dict[tuple[str, int], float]]:
        """P(sense | lemma)."""
        return {lemma: relations.senses(self.wn, lemma) for lemma in self.lemmas}

    @cached_property
    def lifted(self) -> dict[Lemma, dict[tuple[str, int], float]]:
        """The same, one step up."""
        return {lemma: relations.lifted(self.wn, senses) for lemma, senses in self.senses.items()}

    @cached_property
    def opposites(self) -> set[tuple[str, str]]:
        """Pairs that are never scored."""
        return relations.opposites(self.wn)

    @cached_property
    def impolite(self) -> set[str]:
        """Words that are never candidates."""
        return relations.impolite(self.wn)

    @cached_property
    def glosses(self) -> dict[Lemma, dict[str, float]]:
        """Words of the definition (not the examples) → the weight of the senses defined by them."""
        out = {}
        for lemma, senses in self.senses.items():
            found: dict[str, float] = {}
            for key, p in senses.items():
                definition = self.wn.synsets[key].gloss.split(';  "')[0].split('; "')[0]
                if re.search(r"\b(not|no|without|lacking|opposite|less|free)\b", definition):
                    continue
                for word in set(re.findall(r"[a-z]+", definition)):
                    found[word] = found.get(word, 0.0) + p
            out[lemma] = found
        return out

    @cached_property
    def names(self) -> set[str]:
        """Words that are a name, too, when they are capitalised (tom, turkey)."""
        return set(pack.names(self.wn))

    @cached_property
    def relatives(self) -> dict[Lemma, set[str]]:
        """What :mod:`lexicon_build.wide` has looked up."""
        return {}

    @cached_property
    def nearest(self) -> NDArray[np.intp]:
        """Rows of the nearest words of each word in either space: shape (words, 2 * NEAREST)."""
        return np.hstack([_nearest(self.sentence), _nearest(self.window)])

    def candidates(self, lemma: Lemma) -> list[Lemma]:
        """Related lemmas and nearest neighbours of the same part of speech."""
        word, pos = lemma
        row = self.index[word]
        near = set(relations.neighbours(self.wn, self.senses[lemma], RAREST_SENSE))
        near.update(self.words[i] for i in self.nearest[row])
        return sorted(
            (other, pos)
            for other in near
            if other != word and other not in self.impolite and (other, pos) in self.senses
        )

    def kin(self, a: Lemma, b: Lemma) -> bool:
        """Whether two lemmas may share a closed class: a common synset (or adjectives), much the same valence."""
        if abs(self.valence[a[0]] - self.valence[b[0]]) > CLASS_DRIFT:
            return False
        return a[1] == b[1] and (a[1] == "a" or relations.overlap(self.senses[a], self.senses[b]) >= SHARED)

    def blocked(self, a: str, b: str) -> bool:
        """Opposites, by WordNet, by their form, or by what they make people feel."""
        if (a, b) in self.opposites or relations.negates(a, b):
            return True
        x, y = self.valence[a], self.valence[b]
        given = a in self.known and b in self.known
        if given and x * y < 0:
            return True
        return abs(x - y) > 0.5 or (x * y < 0 and abs(x - y) > 0.3)

    def score(self, a: Lemma, b: Lemma) -> float:
        """How well b stands in for a; not symmetric: a more general word is a better stand-in than a special one."""
        i, j = self.index[a[0]], self.index[b[0]]
        near = float(self.sentence[i] @ self.sentence[j])
        window = float(self.window[i] @ self.window[j])
        synonym = relations.overlap(self.senses[a], self.senses[b])
        parent = min(1.0, relations.overlap(self.lifted[a], self.senses[b]))
        child = min(1.0, relations.overlap(self.senses[a], self.lifted[b]))
        gloss = min(1.0, self.glosses[a].get(b[0], 0.0) + self.glosses[b].get(a[0], 0.0))
        related = synonym + parent + child
        if related < SHARED and not self._close(a, near, window, gloss):
            return 0.0
        if synonym < SHARED and a[1] == "n" and self.concrete(a) and self.concrete(b):
            return 0.0
        if self.blocked(a[0], b[0]):
            return 0.0
        sibling = min(1.0, relations.overlap(self.lifted[a], self.lifted[b]))
        drift = abs(self.valence[a[0]] - self.valence[b[0]])
        return (
            SYNONYM * synonym
            + PARENT * parent
            + (PARENT if a[1] == "a" else CHILD) * child
            + SIBLING * sibling
            + GLOSS * gloss
            + SENTENCE * near
            + WINDOW * window
            - self.rarity(a[0], b[0])
            - 0.3 * max(0.0, drift - 0.2)
            - (UNRELATED[a[1]] if synonym < SHARED else 0.0)
            - (NARROWER if a[1] == "n" and synonym < SHARED and child > parent else 0.0)
        )

    def _close(self, a: Lemma, near: float, window: float, gloss: float) -> bool:
        """Whether vectors alone may make a pair: never for nouns, whose neighbours merely occur together."""
        if a[1] == "n":
            return False
        if gloss == 0:
            return a[1] == "a" and near > 0.65 and window > 0.65
        return near > 0.55 and window > 0.55

    def concrete(self, lemma: Lemma) -> bool:
        """Whether it names a kind of thing, whose kinds exclude each other."""
        return sum(p for k, p in self.senses[lemma].items() if self.wn.synsets[k].lexname in CONCRETE) > 0.3

    def rarity(self, a: str, b: str) -> float:
        """What b loses for being a rare word."""
        ratio = self.ranks[b] / max(self.ranks[a], 2000)
        return 0.05 * max(0.0, math.log2(ratio) - 2)
