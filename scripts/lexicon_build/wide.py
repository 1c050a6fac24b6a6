"""Wide pools, as the paper's: WordNet over all senses, embedding neighbours, and lexicons of a domain.

The strict pools ask whether a word can stand in for another nearly anywhere. These ask whether it can anywhere at all:
the filter of the method is what has to find out where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations

from lexicon_build import pools, relations
from lexicon_build.forms import Forms, Lemma
from lexicon_build.scoring import Scorer
from lexicon_build.stopwords import PROTECTED

LARGEST = 10
"""Candidates of a pool at most."""
LEAST_NEAR = 0.38
"""Mean cosine of the two vector spaces from which on words without a relation are neighbours; 0.13 less with one."""
SHARED, OVERLAP, RELATED = 0.25, 0.3, 0.13
"""What a common synset, the share of it, and a hypernym, hyponym or similar adjective add to the mean cosine."""
MOST_KINDS = 30
"""A synset with more hyponyms than this says little about any of them."""
MOST_DRIFT = 0.8
"""Difference of valence that two words of one synset may have: valences of most words are estimates."""
LISTING = """
send/receive spend/earn arrival/departure subtle/obvious subtle/blunt surplus/deficit catch/throw save/spend pay/owe
red/orange/yellow/green/blue/purple/violet/pink/brown/black/white/gray/grey spring/summer/autumn/winter
"""
APART = frozenset(frozenset(pair) for group in LISTING.split() for pair in combinations(group.split("/"), 2))
"""Opposites that WordNet does not list and things that exclude each other, found by reading the pools."""
Blocked = Callable[[str, str], bool]


def opposer(scorer: Scorer) -> Blocked:
    """Whether two words are opposites, in any of their readings: by WordNet, by their form, by valences that people
    gave, or by :data:`APART`.
    """

    @cache
    def opposed(a: str, b: str) -> bool:
        if (a, b) in scorer.opposites or relations.negates(a, b) or frozenset((a, b)) in APART:
            return True
        return a in scorer.known and b in scorer.known and scorer.known[a] * scorer.known[b] < 0

    return opposed


def blocker(scorer: Scorer) -> Blocked:
    """Whether two words that are read alike may not be paired: opposites, and those that differ in valence. Words of
    one synset may drift further apart than for the strict pools.
    """
    opposed = opposer(scorer)

    @cache
    def meanings(word: str) -> frozenset[object]:
        return frozenset(key for pos in "nvar" for key in scorer.senses.get((word, pos), ()))

    @cache
    def blocked(a: str, b: str) -> bool:
        if opposed(a, b):
            return True
        if meanings(a).isdisjoint(meanings(b)):
            return scorer.blocked(a, b)
        return abs(scorer.valence[a] - scorer.valence[b]) > MOST_DRIFT

    return blocked


def score(scorer: Scorer, a: Lemma, b: Lemma) -> float:
    """How near b is to a, in any sense of both; 0 where nothing joins them."""
    shared = scorer.senses[a].keys() & scorer.senses[b].keys()
    related = b[0] in _related(scorer, a)
    if not shared and not related and a[1] == "n" and scorer.concrete(a) and scorer.concrete(b):
        return 0.0
    i, j = scorer.index[a[0]], scorer.index[b[0]]
    near = float(scorer.sentence[i] @ scorer.sentence[j] + scorer.window[i] @ scorer.window[j]) / 2
    near += RELATED * related
    if shared:
        near += SHARED + OVERLAP * relations.overlap(scorer.senses[a], scorer.senses[b])
    return near - scorer.rarity(a[0], b[0]) if shared or near >= LEAST_NEAR else 0.0


def candidates(scorer: Scorer, lemma: Lemma) -> list[Lemma]:
    """Synonyms in every sense, their near relatives, and the nearest neighbours of the same part of speech."""
    word, pos = lemma
    found = _related(scorer, lemma) | {w for key in scorer.senses[lemma] for w in scorer.wn.synsets[key].words}
    found |= {scorer.words[i] for i in scorer.nearest[scorer.index[word]]} - scorer.names
    found -= {word} | scorer.impolite | PROTECTED
    return sorted((other, pos) for other in found if (other, pos) in scorer.senses)


def _related(scorer: Scorer, lemma: Lemma) -> set[str]:
    """Words of direct hypernyms, hyponyms and similar adjectives, in every sense."""
    known = scorer.relatives.get(lemma)
    if known is None:
        synsets = scorer.wn.synsets
        known = set()
        for key in scorer.senses[lemma]:
            links = synsets[key].links
            kinds = links["~"] if len(links["~"]) <= MOST_KINDS else []
            known.update(w for k in (*links["@"], *kinds, *links["&"]) for w in synsets[k].words)
        scorer.relatives[lemma] = known
    return known


def find(
    scorer: Scorer, forms: Forms, usual: Sequence[str], domains: Sequence[Mapping[str, Sequence[str]]]
) -> dict[str, list[str]]:
    """Form → its candidates, those of the domains first, then the others, best first."""
    blocked, opposed = blocker(scorer), opposer(scorer)
    scored = {
        lemma: {
            other: s
            for other in candidates(scorer, lemma)
            if not blocked(lemma[0], other[0]) and (s := score(scorer, lemma, other)) > 0
        }
        for lemma in scorer.lemmas
        if lemma[0] not in PROTECTED
    }
    allowed = frozenset(usual)
    out = {}
    for form in usual:
        row = pools.score_forms(forms, scored, opposed, form)
        ranked = sorted((c for c in row if c in allowed), key=lambda c: (-row[c], c))
        special = [c for domain in domains for c in domain.get(form, ()) if c in allowed]
        kept = pools.without_opposites(forms, opposed, list(dict.fromkeys([*special, *ranked])))
        out[form] = kept[:LARGEST]
    return out
