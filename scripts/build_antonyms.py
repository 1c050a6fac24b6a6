"""Build ``src/clucert/data/antonyms.tsv``: the opposites that an audit tries first.

    python scripts/build_antonyms.py --work build/lexicon      # needs numpy; npm and the network for the first run only

Words of the packaged vocabulary and of SemCor, best opposites first: WordNet's direct antonyms in the order of the
senses, then, for an adjective, the antonyms of the adjectives that it is similar to (awful → bad → good). The same
inputs give the same file. It arms :mod:`clucert.audit`; no certificate depends on it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from lexicon_build import inputs, wordnet

ROOT = Path(__file__).resolve().parents[1]
MOST = 4
"""Opposites of one word at most."""


def main() -> None:
    """Read the options, build, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/lexicon"), help="downloads and caches")
    parser.add_argument("--out", type=Path, default=ROOT / "src/clucert/data/antonyms.tsv")
    options = parser.parse_args()
    wn = wordnet.read(inputs.fetch(options.work, only=("wordnet",))["wordnet"] / "package/dict")
    packaged = np.load(ROOT / "src/clucert/data/lexicon.npz", allow_pickle=False)["words"]
    found = opposites(wn, {word.decode("ascii") for word in packaged.tolist()} | seen(wn))
    lines = ["\t".join((word, *others)) for word, others in sorted(found.items())]
    options.out.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{options.out}: {options.out.stat().st_size} bytes, {len(found)} words")


def seen(wn: wordnet.WordNet) -> set[str]:
    """The lower-case words that occur in SemCor, in any sense."""
    counts = ((lemma, count) for (lemma, _), senses in wn.senses.items() for _, count in senses)
    return {lemma for lemma, count in counts if count and re.fullmatch("[a-z]+", lemma)}


def opposites(wn: wordnet.WordNet, vocabulary: set[str]) -> dict[str, list[str]]:
    """Word → its opposites, for the words of ``vocabulary`` that have any."""
    found: dict[str, list[str]] = {}
    for (lemma, pos), senses in sorted(wn.senses.items()):
        if lemma not in vocabulary:
            continue
        keys = [key for key, _ in senses]
        direct = [other for key in keys for other in antonyms_in(wn, key, lemma)]
        similar = [near for key in keys for near in wn.synsets[key].links["&"]] if pos == "a" else []
        spread = [other for near in similar for other in antonyms_in(wn, near, None)]
        known = [w for w in dict.fromkeys(w.lower() for w in (*direct, *spread)) if w in vocabulary and w != lemma]
        if known:
            found[lemma] = list(dict.fromkeys([*found.get(lemma, []), *known]))[:MOST]
    return found


def antonyms_in(wn: wordnet.WordNet, key: wordnet.Key, lemma: str | None) -> list[str]:
    """Direct antonyms of ``lemma`` in a synset, or of all its words."""
    return [
        wn.synsets[target].words[index]
        for symbol, word, target, index in wn.synsets[key].lexical
        if symbol == "!" and (lemma is None or word.lower() == lemma)
    ]


if __name__ == "__main__":
    main()
