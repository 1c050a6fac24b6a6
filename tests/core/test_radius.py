"""Radii against brute force: every text of the ball, every retention set, every fill, exact probabilities."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, product
from math import comb
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.noise.retention import kernel_overlap
from clucert.core.radius import Overlap, Radius, delta, known, proved_radius, published_radius

MASK = "[MASK]"


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n), st.integers(0, n))))
def test_delta_is_one_minus_a_ratio_of_binomials_and_increases(nst):
    n, s, t = nst
    assert delta(n, s, t) == 1 - Fraction(comb(n - t, s), comb(n, s))
    if t:
        assert delta(n, s, t) >= delta(n, s, t - 1)


def test_delta_counts_retention_sets():
    n, s = 7, 3
    for t in range(n + 1):
        touched = sum(any(i < t for i in kept) for kept in combinations(range(n), s))
        assert delta(n, s, t) == Fraction(touched, comb(n, s))


@pytest.mark.parametrize(("n", "s"), [(2000, 600), (2000, 1), (1999, 1999)])
def test_delta_of_a_long_text(n, s):
    assert 0 < delta(n, s, 1) == Fraction(s, n)


def test_published_radius_is_the_last_that_holds_not_the_first_that_fails():
    # Δ = 0, 1/4, 1/2 for n = 4, s = 1: a margin of 1 is more than 2·1/4, not more than 2·1/2.
    assert published_radius(known(Fraction(1)), 4, 1) == Radius(1)
    assert published_radius(known(Fraction(1, 2)), 4, 1) == Radius(0)
    assert published_radius(known(Fraction(0)), 4, 1) is None
    assert published_radius(known(Fraction(1)), 4, 1, attackable=1) == Radius(1, everything=True)


probabilities = st.fractions(-1, 1)


@given(probabilities, st.integers(1, 40), st.integers(1, 40), st.fractions(0, 1))
def test_published_radius_equals_a_linear_scan(margin, n, s, gamma):
    s = min(s, n)
    qualifying = [t for t in range(n + 1) if margin > 2 * gamma * delta(n, s, t)]
    found = published_radius(known(margin), n, s, gamma=gamma)
    assert (found.words if found else None) == (max(qualifying) if qualifying else None)


@given(probabilities, probabilities, st.integers(1, 30), st.fractions(0, 1), st.fractions(0, 1))
def test_radius_is_monotone_in_margin_and_gamma(m1, m2, n, g1, g2):
    s = max(1, n // 3)

    def words(radius: Radius | None) -> int:
        return -1 if radius is None else radius.words

    low, high = sorted((m1, m2))
    small, large = sorted((g1, g2))
    assert words(published_radius(known(low), n, s)) <= words(published_radius(known(high), n, s))
    assert words(published_radius(known(high), n, s, gamma=large)) <= words(
        published_radius(known(high), n, s, gamma=small)
    )


# ---- brute force ----------------------------------------------------------------------------------------------------


def channel(words, s, masked_pool, retained_pool):
    """Exact distribution of the noised text: retention sets uniform, pools uniform and independent."""
    n = len(words)
    out: Counter = Counter()
    for kept in combinations(range(n), s):
        pools = [retained_pool(w) if i in kept else masked_pool(w) for i, w in enumerate(words)]
        fills = list(product(*pools))
        for fill in fills:
            out[fill] += Fraction(1, comb(n, s) * len(fills))
    return out


def vote_shares(distribution, classifier):
    shares: Counter = Counter()
    for noised, p in distribution.items():
        shares[classifier(noised)] += p
    return shares


def margin_of(shares):
    ranked = [p for _, p in shares.most_common(2)] + [Fraction(0)]
    return ranked[0] - ranked[1]


def true_radius(words, allowed, attackable, smoothed, limit):
    """The largest d such that no change of ≤ d attackable words, each to an allowed one, makes ĉ lose its lead."""
    winner = smoothed(words).most_common(1)[0][0]
    for d in range(1, limit + 1):
        for positions in combinations(attackable, d):
            for new in product(*[allowed(words[i]) for i in positions]):
                changed = list(words)
                for i, w in zip(positions, new, strict=True):
                    changed[i] = w
                shares = smoothed(tuple(changed))
                if any(p >= shares[winner] for c, p in shares.items() if c != winner):
                    return d - 1
    return limit


def classifiers(labels=3):
    """A base classifier as a table over hashes of noised texts, biased so that radii are not all 0."""
    return st.tuples(st.integers(0, 2**32), st.integers(1, 12)).map(
        lambda seed: lambda noised: _label(noised, *seed, labels)
    )


def _label(noised, seed, bias, labels):
    value = crc32(repr((seed, noised)).encode())
    return 0 if value % (bias + 2) else value // 17 % labels


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), classifiers())
def test_masking_radii_never_exceed_the_true_one(n, s, classifier):
    """Section 6: γ = 1, `mask` recovery, no clustering, any words: both radii hold against every text in the ball."""
    s = min(s, n)
    vocabulary = ("x", "y")
    words = ("w",) * n

    def smoothed(text):
        return vote_shares(channel(text, s, lambda _: (MASK,), lambda w: (w,)), classifier)

    margin = margin_of(smoothed(words))
    published = published_radius(known(margin), n, s)
    proved = proved_radius(known(margin), n, s, Overlap((Fraction(1),) * n))
    assert published == proved
    if proved:
        assert proved.words <= true_radius(words, lambda _: vocabulary, range(n), smoothed, proved.words)


POOLS = {"a": ("a", "b"), "b": ("a", "b", "c"), "c": ("b", "c"), "z": ("z",)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcz"), min_size=2, max_size=5), st.integers(1, 3), classifiers())
def test_proved_synonym_radius_with_overlapping_pools(words, s, classifier):
    """`synonym` threat, pools as they come: κ is the worst overlap over the allowed replacements."""
    words, s = tuple(words), min(s, len(words))
    attackable = [i for i, w in enumerate(words) if len(POOLS[w]) > 1]

    def smoothed(text):
        return vote_shares(channel(text, s, POOLS.__getitem__, lambda w: (w,)), classifier)

    kappas = tuple(min(kernel_overlap(POOLS[words[i]], POOLS[v]) for v in POOLS[words[i]]) for i in attackable)
    radius = proved_radius(known(margin_of(smoothed(words))), len(words), s, Overlap(kappas))
    if radius:
        assert radius.words <= true_radius(words, POOLS.__getitem__, attackable, smoothed, radius.words)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcz"), min_size=2, max_size=5), st.integers(1, 3), classifiers())
def test_overlap_bounds_total_variation_for_any_retained_kernel(words, s, classifier):
    """|p_c(w) − p_c(w′)| ≤ 1 − ω(d) with retained words redrawn from their pools, for every changed text."""
    words, s = tuple(words), min(s, len(words))
    n = len(words)
    attackable = [i for i, w in enumerate(words) if len(POOLS[w]) > 1]
    kappas = tuple(min(kernel_overlap(POOLS[words[i]], POOLS[v]) for v in POOLS[words[i]]) for i in attackable)
    overlap = Overlap(kappas, retained=min(kappas, default=Fraction(1)))
    here = vote_shares(channel(words, s, POOLS.__getitem__, POOLS.__getitem__), classifier)
    for d in range(1, min(2, len(attackable)) + 1):
        for positions in combinations(attackable, d):
            for new in product(*[POOLS[words[i]] for i in positions]):
                changed = list(words)
                for i, w in zip(positions, new, strict=True):
                    changed[i] = w
                there = vote_shares(channel(changed, s, POOLS.__getitem__, POOLS.__getitem__), classifier)
                for label in {*here, *there}:
                    assert abs(here[label] - there[label]) <= 1 - overlap.omega(n, s, d)


def test_closed_classes_certify_any_number_of_swaps():
    overlap = Overlap((Fraction(1),) * 3, retained=Fraction(1))
    assert all(overlap.omega(5, 2, d) == 1 for d in range(4))
    assert proved_radius(known(Fraction(1, 100)), 5, 2, overlap) == Radius(3, everything=True)


@pytest.mark.parametrize("retained", [0, 1])
def test_nothing_attackable_is_a_state_of_its_own(retained):
    found = proved_radius(known(Fraction(1, 100)), 5, 2, Overlap((), Fraction(retained)))
    assert found == Radius(0, nothing_to_attack=True)
    assert published_radius(known(Fraction(1, 100)), 5, 2, attackable=0) == found
    assert proved_radius(known(Fraction(0)), 5, 2, Overlap((), Fraction(retained))) is None


@given(st.lists(st.fractions(0, 1), min_size=1, max_size=6), st.integers(1, 6), st.integers(0, 3))
def test_omega_is_the_minimum_over_the_sets_of_changed_positions(kappas, s, d):
    n = len(kappas) + 2
    s, d = min(s, n), min(d, len(kappas))

    def omega(positions):
        total = Fraction(0)
        for kept in combinations(range(n), s):
            if not set(kept) & set(positions):
                term = Fraction(1)
                for i in positions:
                    term *= kappas[i]
                total += term
        return total / comb(n, s)

    brute = min(omega(positions) for positions in combinations(range(len(kappas)), d))
    assert Overlap(tuple(kappas)).omega(n, s, d) == brute


def test_published_radius_is_broken_by_a_synonym_recovery_that_reads_the_masked_word():
    """The worked counterexample of docs/guarantees.md, section 6.

    "good plot nice cast" with s = 1 of 4 words retained; masked words are redrawn from the pool of the word that stood
    there. A classifier that looks at the first word's sentiment answers "positive" for every noised text, so p = 1
    and the published radius is 1. One changed word, "good" to "bad", and it always answers "negative".
    """
    pools = {
        "good": ("good", "fine"),
        "bad": ("bad", "poor"),
        "plot": ("plot", "story"),
        "nice": ("nice", "pleasant"),
        "cast": ("cast", "crew"),
    }

    def smoothed(text):
        distribution = channel(text, 1, pools.__getitem__, lambda w: (w,))
        return vote_shares(distribution, lambda noised: "positive" if noised[0] in pools["good"] else "negative")

    text, changed = ("good", "plot", "nice", "cast"), ("bad", "plot", "nice", "cast")
    assert smoothed(text) == {"positive": 1}
    assert published_radius(known(margin_of(smoothed(text))), 4, 1) == Radius(1)
    assert smoothed(changed) == {"negative": 1}
    # Against arbitrary words the pools need not overlap, so what is proved is radius 0.
    assert proved_radius(known(Fraction(1)), 4, 1, Overlap((Fraction(0),) * 4)) == Radius(0)
