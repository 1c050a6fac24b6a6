"""The sharper bound for open pools: never below the plain one, true of all classifiers in every text of the ball."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from fractions import Fraction

import pytest
from scipy.stats import binom

import clucert
from clucert import certificate_json
from clucert.core.noise.retention import kernel_overlap
from clucert.core.radius import Overlap, known, proved_radius
from clucert.errors import InputError
from tests.promises.noise_worlds import lowest, pooled_law

POOLS = {
    "a": ("a", "b"),
    "b": ("a", "b", "c"),
    "c": ("b", "c", "d", "e"),
    "d": ("c", "d"),
    "e": ("e",),
    "k": ("k", "a", "b", "c", "d"),
}


def law(words, s):
    return pooled_law(words, s, POOLS.__getitem__)


def overlap_of(words) -> Overlap:
    swaps = [[(set(POOLS[w]), set(POOLS[v])) for v in POOLS[w] if v != w] for w in words]
    swaps = [pairs for pairs in swaps if pairs]
    return Overlap(
        tuple(min(kernel_overlap(p, q) for p, q in pairs) for pairs in swaps),
        shared=tuple(min(Fraction(len(p & q), len(q)) for p, q in pairs) for pairs in swaps),
        growth=tuple(max(Fraction(max(len(p), len(q)), len(q)) for p, q in pairs) for pairs in swaps),
    )


def swapped(words, d):
    """Every text with at most d words swapped for one of their pool."""
    for places in itertools.combinations(range(len(words)), d):
        for chosen in itertools.product(*(POOLS[words[i]] for i in places)):
            changes = dict(zip(places, chosen, strict=True))
            yield tuple(changes.get(i, word) for i, word in enumerate(words))


def test_no_classifier_at_all_falls_below_the_floor() -> None:
    """The worst of all classifiers (an exact linear program), for every swap; the sharper bound wins at times."""
    rng, sharper, checked = random.Random(0), 0, 0
    texts = [tuple(rng.choices("abcdek", k=rng.randint(2, 4))) for _ in range(40)]
    for words in texts:
        n = len(words)
        s, d = rng.randint(1, n - 1), rng.randint(0, 2)
        overlap = overlap_of(words)
        d = min(d, n - s, len(overlap.masked))
        before = law(words, s)
        for low in (Fraction(9, 10), Fraction(99, 100), Fraction(1)):
            floor = overlap.floor(n, s, d, low)
            assert floor >= low - (1 - overlap.omega(n, s, d))
            sharper += floor > low - (1 - overlap.omega(n, s, d))
            for other in set(swapped(words, d)):
                checked += 1
                assert lowest(before, law(other, s), low, 0) >= floor, (words, other, s, low)
            errors = overlap.errors(n, s, d)
            assert errors >= (1 - overlap.slack(n, s, d)) / 2
            assert max(floor, 0) > Fraction(1, 2) or not 1 - low < errors
    assert checked > 500
    assert sharper > 10


def test_the_radius_is_never_below_the_plain_one() -> None:
    rng, larger = random.Random(1), 0
    for _ in range(400):
        words = tuple(rng.choices("kkkae", k=rng.randint(4, 14)))
        overlap, low = overlap_of(words), 1 - Fraction(rng.choice((0, 1, 3, 20)), 1000)
        s = rng.randint(1, max(1, len(words) // 3))
        plain = proved_radius(known(2 * low - 1), len(words), s, dataclasses.replace(overlap, shared=(), growth=()))
        better = proved_radius(known(2 * low - 1), len(words), s, overlap, lambda e, low=low: 1 - low < e)
        assert plain is not None
        assert better is not None
        assert better.words >= plain.words
        larger += better.words > plain.words
    assert larger > 20


def smoothed(tmp_path, classify, labels, **options):
    pools = tmp_path / "pools.tsv"
    # Open ones: hot's pool has warm and lukewarm, and theirs have one other alone.
    pools.write_text("!hot\twarm\tlukewarm\n!warm\thot\n!lukewarm\thot\n", encoding="utf-8")
    return clucert.smooth(
        classify, labels, method="clucert-no-clustering", refine="off", lexicon=[str(pools)], mask_rate="0.9", **options
    )


def test_a_real_certificate_stores_what_the_bound_needs(tmp_path) -> None:
    model = smoothed(tmp_path, lambda texts: ["yes"] * len(texts), ["yes", "no"], seed=1, certify_samples=2000)
    made = model.certify("the hot soup and the warm tea of a quiet day with the bright sun over a lake")
    overlap = made.certificate.overlaps["synonym"]
    assert len(overlap.shared) == len(overlap.growth) == len(overlap.masked) > 0
    assert min(overlap.shared) < 1 <= min(overlap.growth)
    assert set(overlap.shared) - {1}
    document = json.loads(json.dumps(made.document()))
    read, cost = certificate_json.read(document)
    assert certificate_json.write(read, cost) == document
    assert read.certificate.proved == made.certificate.proved
    without = dataclasses.replace(
        made.certificate, overlaps={"synonym": dataclasses.replace(overlap, shared=(), growth=())}
    )
    assert made.certificate.proved["synonym"].words >= without.proved["synonym"].words
    document["overlaps"]["synonym"]["growth"][0] = "1/2"
    with pytest.raises(InputError, match="growth"):
        certificate_json.read(document)


@pytest.mark.parametrize("sampling", ["fixed", "staged"])
def test_at_the_boundary_a_swap_is_claimed_no_more_often_than_alpha(tmp_path, sampling: str) -> None:
    """A classifier that errs exactly as often as the bound of this very text allows."""
    text, runs, claimed = "the hot of an and the of to an in", 200, 0
    overlap = (
        smoothed(tmp_path, lambda texts: ["yes"] * len(texts), ["yes", "no"])
        .certify(text)
        .certificate.overlaps["synonym"]
    )
    assert len(overlap.masked) == 1
    errors = float(overlap.errors(10, 1, 1))
    assert float((1 - overlap.slack(10, 1, 1)) / 2) < errors < 0.5
    for seed in range(runs):
        draw = random.Random(seed)
        model = smoothed(
            tmp_path,
            lambda texts, draw=draw: ["no" if draw.random() < errors else "yes" for _ in texts],
            ["yes", "no"], seed=seed, samples=40, certify_samples=200, sampling=sampling,
        )  # fmt: skip
        radius = model.certify(text).certificate.proved["synonym"]
        claimed += radius is not None and radius.words >= 1
    assert claimed <= binom.ppf(0.999, runs, 0.05)
