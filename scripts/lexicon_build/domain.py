"""Lexicons of a domain: which of its words stand for one another *there*, read off labelled training rows.

Two words of the domain that bear the same tags are paired when they keep the same company in the rows (positive
pointwise mutual information of words within four places, reduced to :data:`WIDTH` dimensions) and are near in general
vectors too, unless they are opposites, or one speaks for a label that the other speaks against.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lexicon_build import pools
from lexicon_build.forms import Forms, Lemma
from lexicon_build.scoring import Scorer
from lexicon_build.vectors import Matrix, unit
from lexicon_build.wide import blocker

FOLDER = Path(__file__).with_name("domains")
WINDOW, WIDTH = 4, 60
FEWEST = 4
"""Occurrences from which on a word is one of the domain."""
LEAST, LARGEST = 0.36, 4
"""Mean cosine of a pair (company in the rows, GloVe, MiniLM), and candidates of a word at most."""
LEAST_MEANING = 0.3
"""Mean cosine of the general vectors alone: of few rows, company says too little."""
MOST_LEANING = 1.0
"""Difference of two words' log-odds of a label from which on they are not paired."""


def packaged() -> list[Path]:
    """The lexicons of domains that the wide pools take in."""
    return sorted(FOLDER.glob("*.tsv"))


def read(path: Path) -> dict[str, list[str]]:
    """Word → its candidates, of a file as :mod:`clucert.lexicon.user` describes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {word: others for word, *others in entries}


def rows_of(path: Path) -> list[tuple[list[str], str]]:
    """The lower-case words and the label of each row of a JSONL file."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(re.findall(r"[a-z]+(?:'[a-z]+)?", row["text"].lower()), str(row["label"])) for row in rows]


def company(rows: Sequence[tuple[list[str], str]], vocabulary: Sequence[str]) -> Matrix:
    """Unit rows, one for each word: what stands near it in the rows."""
    index = {word: i for i, word in enumerate(vocabulary)}
    counts = np.zeros((len(vocabulary), len(vocabulary)))
    for words, _ in rows:
        places = [index.get(word) for word in words]
        for i, a in enumerate(places):
            for b in places[i + 1 : i + 1 + WINDOW]:
                if a is not None and b is not None:
                    counts[a, b] += 1
                    counts[b, a] += 1
    total = counts.sum()
    # Contexts are smoothed by a power, as usual: rare ones would lead every list.
    context = counts.sum(axis=0) ** 0.75
    expected = np.outer(counts.sum(axis=1), context / context.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / expected)
    information[~np.isfinite(information) | (information < 0) | (total == 0)] = 0
    svds: Any = importlib.import_module("scipy.sparse.linalg").svds
    left, values, _ = svds(information, k=min(WIDTH, len(vocabulary) - 1), v0=np.ones(len(vocabulary)))
    return unit(np.asarray(left * np.sqrt(values), np.float32))


def leanings(rows: Sequence[tuple[list[str], str]], vocabulary: Sequence[str]) -> np.ndarray:
    """Log-odds of each label in rows with the word: shape (words, labels), smoothed by four rows of no opinion."""
    labels = sorted({label for _, label in rows})
    sizes = Counter(label for _, label in rows)
    seen = Counter((word, label) for words, label in rows for word in set(words))
    out = np.zeros((len(vocabulary), len(labels)))
    for i, word in enumerate(vocabulary):
        total = sum(seen[word, label] for label in labels)
        for k, label in enumerate(labels):
            prior = sizes[label] / len(rows)
            share = (seen[word, label] + 4 * prior) / (total + 4)
            out[i, k] = math.log(share / (1 - share)) - math.log(prior / (1 - prior))
    return out


def find(
    scorer: Scorer, forms: Forms, usual: Sequence[str], rows: Sequence[tuple[list[str], str]]
) -> dict[str, list[str]]:
    """Word of the domain → what stands for it there, best first."""
    seen = Counter(word for words, _ in rows for word in words)
    # The company of a word is mostly function words, so they are counted too.
    vocabulary = [word for word, count in sorted(seen.items()) if count >= FEWEST]
    place = {word: i for i, word in enumerate(vocabulary)}
    words = sorted(set(vocabulary) & set(usual))
    lemmas = [max(pools.readings(forms, word).items(), key=lambda item: (item[1], item[0]))[0] for word in words]
    mine = [place[word] for word in words]
    near, lean = company(rows, vocabulary)[mine], leanings(rows, vocabulary)[mine]
    general = [scorer.index[lemma[0]] for lemma in lemmas]
    sentence, window = scorer.sentence[general], scorer.window[general]
    meaning = (sentence @ sentence.T + window @ window.T) / 2
    scores = (near @ near.T + 2 * meaning) / 3
    blocked = blocker(scorer)
    out = {}
    for i, word in enumerate(words):
        ranked = [
            words[j]
            for j in np.argsort(-scores[i], kind="stable").tolist()
            if scores[i, j] >= LEAST
            and meaning[i, j] >= LEAST_MEANING
            and _fits(scorer, forms, (word, lemmas[i]), (words[j], lemmas[j]))
            and np.abs(lean[i] - lean[j]).max() < MOST_LEANING
            and not pools.clash(forms, blocked, word, words[j])
        ]
        if kept := pools.without_opposites(forms, blocked, ranked)[:LARGEST]:
            out[word] = kept
    return out


def _fits(scorer: Scorer, forms: Forms, ours: tuple[str, Lemma], theirs: tuple[str, Lemma]) -> bool:
    """Whether the second word bears, in its usual reading, every tag that the first bears in its own."""
    (word, a), (other, b) = ours, theirs
    alike = a[1] == b[1] and a[0] != b[0] and b[0] not in scorer.impolite | scorer.names
    return alike and forms.analyses[word][a] <= forms.analyses[other][b]
