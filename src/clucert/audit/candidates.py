"""Candidate texts inside a certified ball, the likeliest to break it first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from math import log

import numpy as np
from numpy.typing import NDArray

from clucert.audit.claims import Claim
from clucert.core.vote_records import VoteRecord
from clucert.core.words import WordedText, is_word, same_shape, split

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arsenal:
    """Words an adversary would try: antonyms, the labels themselves, and words that go with other answers."""

    label_words: Mapping[str, Words]
    """Per label, words that name it."""
    hostile: Mapping[str, Words]
    """Per label, words that are typical of texts with *another* answer, most typical first."""
    antonyms: Callable[[str], Sequence[str]] = field(default=lambda _word: ())
    everyday: Words = ()
    """Any words, for changes at random."""
    texts: Mapping[str, Words] = field(default_factory=dict)
    """Per label, some whole texts with *another* answer."""

    def against(self, answer: str, word: str) -> Words:
        """Replacements of ``word`` that speak against ``answer``, antonyms first."""
        others = [w for label, words in self.label_words.items() if label != answer for w in words]
        return tuple(dict.fromkeys([*self.antonyms(word), *others, *self.hostile.get(answer, ())]))


def build_arsenal(
    labels: Sequence[str], answers: Sequence[tuple[str, str | None]], antonyms: Callable[[str], Sequence[str]]
) -> Arsenal:
    """Arm the search with the run's own texts: ``answers`` holds (text, smoothed answer)."""
    seen = {label: Counter[str]() for label in labels}
    for text, answer in answers:
        if answer in seen:
            seen[answer].update({word.lower() for word in split(text).words if len(word) > 2})
    total = sum(seen.values(), Counter[str]())
    return Arsenal(
        label_words={label: label_words(label) for label in labels},
        hostile={label: _typical(total - seen[label], seen[label]) for label in labels},
        antonyms=antonyms,
        everyday=tuple(sorted(total)),
        texts={label: _others(answers, label) for label in labels},
    )


def label_words(label: str) -> Words:
    """The words of a label's name."""
    return tuple(word for word in label.replace("/", " ").split() if is_word(word))


def _others(answers: Sequence[tuple[str, str | None]], label: str, limit: int = 12) -> Words:
    """Texts with another answer, one of each answer in turn."""
    by_answer: dict[str, list[str]] = {}
    for text, answer in answers:
        if answer not in (None, label):
            by_answer.setdefault(str(answer), []).append(text)
    in_turn = (text for texts in zip_longest(*by_answer.values()) for text in texts if text is not None)
    return tuple(islice(in_turn, limit))


def _typical(other: Counter[str], own: Counter[str], limit: int = 24) -> Words:
    """Words with the largest smoothed log-odds of the other answers."""
    many, few = other.total() + 1, own.total() + 1
    ranked = sorted(other, key=lambda w: (-log((other[w] + 0.5) / many) + log((own[w] + 0.5) / few), w))
    return tuple(word for word in ranked if is_word(word))[:limit]


def dependence(vote_records: Sequence[VoteRecord], n: int, answer: str) -> NDArray[np.float64]:
    """Per position, how much likelier a vote for ``answer`` is when the word is retained than when it is not."""
    rows = np.concatenate([b.sets(n) for b in vote_records]).astype(np.float64)
    kept = np.concatenate([np.array(b.kept) for b in vote_records])
    hits = np.concatenate([np.array([vote == answer for vote in b.votes], dtype=np.float64) for b in vote_records])
    rows, hits = rows[kept], hits[kept]
    if not len(rows):
        return np.zeros(rows.shape[1])
    with_word, without = rows.sum(axis=0), (1 - rows).sum(axis=0)
    # One imagined vote of each kind keeps positions that were seldom retained from looking decisive.
    effect: NDArray[np.float64] = (hits @ rows + 0.5) / (with_word + 1) - (hits @ (1 - rows) + 0.5) / (without + 1)
    return effect


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text inside the ball, and the idea behind it."""

    words: Words
    idea: str


def candidates(
    text: WordedText,
    pools: Sequence[Sequence[str]],
    claim: Claim,
    importance: NDArray[np.float64],
    arsenal: Arsenal,
    rng: np.random.Generator,
    random_tries: int = 3,
) -> Iterator[Candidate]:
    """Candidates for ``claim``, each within its radius and threat model, and of the same number of words."""
    ranked = sorted(claim.positions, key=lambda i: (-importance[i], i))
    chosen = ranked[: claim.radius]
    seen = {text.words}
    if claim.threat == "word":
        plans = _word_plans(text, claim, chosen, arsenal, rng, random_tries)
    else:
        plans = _synonym_plans(text, pools, claim, chosen, rng, random_tries)
    for idea, changes in plans:
        words = tuple(changes.get(i, word) for i, word in enumerate(text.words))
        if words not in seen and same_shape(text, words):
            seen.add(words)
            yield Candidate(words, idea)


def _word_plans(
    text: WordedText,
    claim: Claim,
    chosen: Sequence[int],
    arsenal: Arsenal,
    rng: np.random.Generator,
    random_tries: int,
) -> Iterator[tuple[str, dict[int, str]]]:
    against = {i: arsenal.against(claim.answer, text.words[i]) for i in claim.positions}
    antonymous = [i for i in claim.positions if arsenal.antonyms(text.words[i])][: claim.radius]
    if antonymous:
        fill = [i for i in chosen if i not in antonymous][: claim.radius - len(antonymous)]
        yield "antonyms", {i: against[i][0] for i in (*antonymous, *fill) if against[i]}
    for label, words in arsenal.label_words.items():
        if label != claim.answer and words:
            yield "label words", {i: words[k % len(words)] for k, i in enumerate(chosen)}
    hostile = arsenal.hostile.get(claim.answer, ())
    for shift in range(min(3, len(hostile))):
        yield "hostile words", {i: hostile[(k + shift) % len(hostile)] for k, i in enumerate(chosen)}
    for _ in range(random_tries if arsenal.everyday else 0):
        where = rng.permutation(claim.positions)[: claim.radius]
        yield "random words", {int(i): str(rng.choice(arsenal.everyday)) for i in where}


def _synonym_plans(
    text: WordedText,
    pools: Sequence[Sequence[str]],
    claim: Claim,
    chosen: Sequence[int],
    rng: np.random.Generator,
    random_tries: int,
) -> Iterator[tuple[str, dict[int, str]]]:
    for k in range(1, 4):
        yield "synonyms of the words that matter", {i: pools[i][min(k, len(pools[i]) - 1)] for i in chosen}
    for _ in range(random_tries):
        where = rng.permutation(claim.positions)[: claim.radius]
        yield "random synonyms", {int(i): str(rng.choice([p for p in pools[i] if p != text.words[i]])) for i in where}
