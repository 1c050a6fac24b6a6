"""The tighter proved radius against brute force, its coverage, and that it is never below the plain one."""

from __future__ import annotations

import importlib.util
import sys
from fractions import Fraction
from itertools import combinations
from math import comb
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from clucert.core import group_sequential as crossing
from clucert.core.bounds import class_bounds, exact_bounds
from clucert.core.noise.retention import every_retention
from clucert.core.radius import Overlap, Radius, known, proved_radius
from clucert.core.vote_records import VoteRecord, pack_sets
from clucert.types import Votes


def load() -> ModuleType:
    """bench/untouched.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("bench_untouched", ROOT / "bench" / "untouched.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ROOT = Path(__file__).resolve().parents[1]
bench = load()
Evidence, Reach, Search, tighter = bench.Evidence, bench.Reach, bench.Search, bench.tighter


def vote_record(sets: np.ndarray, votes) -> VoteRecord:
    return VoteRecord("certify", 0, tuple(votes), (True,) * len(sets), pack_sets(sets))


def robust_radius(sets: np.ndarray, votes, winner, n: int) -> int | None:
    """The largest d such that no adversary who rewrites the votes of every set that meets some |D| ≤ d beats
    ``winner``: the truth, given only the votes on the original text. None when ``winner`` does not lead at all.
    """
    classes = {*votes, "other"} - {winner}
    for d in range(n + 1):
        for changed in combinations(range(n), d):
            touched = sets[:, list(changed)].any(axis=1)
            free = [vote for vote, hit in zip(votes, touched, strict=True) if not hit]
            if any(free.count(winner) <= free.count(j) + touched.sum() for j in classes):
                return d - 1 if d else None
    return n


def reach(shape: tuple[int, int]) -> Reach:
    return Reach(shape, tuple(range(shape[0])), shape[0])


def plain_radius(shares: Votes, winner: str, n: int, s: int) -> Radius | None:
    return proved_radius(known(exact_bounds(shares, winner).margin), n, s, Overlap((Fraction(1),) * n))


shapes = st.integers(2, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@settings(max_examples=150, deadline=None)
@given(shapes, st.data())
def test_with_every_retention_set_it_is_the_true_radius_for_every_classifier(shape, data):
    n, s = shape
    sets = every_retention(n, s)
    votes = data.draw(
        st.lists(st.sampled_from(["a", "a", "a", "a", "b", "c", None]), min_size=len(sets), max_size=len(sets))
    )
    counts = Votes({label: votes.count(label) for label in "abc"}, votes.count(None))
    plain = plain_radius(counts, "a", n, s)
    truth = robust_radius(sets, votes, "a", n)
    if plain is None:
        assert truth is None
        return
    found = tighter((vote_record(sets, votes),), "a", Evidence(("b", "c", None)), reach(shape), plain)
    assert found == Radius(truth, everything=truth == n)
    assert found.words >= plain.words


def test_votes_against_that_every_change_would_remove_are_not_held_against_it():
    """n = 8, s = 2: 7 of 28 sets vote against, and every word is in one of them. The plain bound fears that changing a
    word adds its 7 sets to those 7: 14 of 28. But at least one of the 7 is among them: 13 at most.
    """
    sets = every_retention(8, 2)
    wrong = {(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6)}
    votes = ["b" if tuple(np.flatnonzero(row).tolist()) in wrong else "a" for row in sets]
    assert plain_radius(Votes({"a": 21, "b": 7}), "a", 8, 2) == Radius(0)
    assert robust_radius(sets, votes, "a", 8) == 1
    found = tighter((vote_record(sets, votes),), "a", Evidence(("b", None)), reach((8, 2)), Radius(0))
    assert found == Radius(1)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7), st.integers(0, 40), st.integers(1, 4), st.randoms(use_true_random=False), st.data())
def test_the_search_agrees_with_trying_every_set(n, rows, size, random, data):
    size, s = min(size, n), data.draw(st.integers(1, n))
    sets = np.zeros((rows, n), dtype=np.bool_)
    for row in sets:
        row[random.sample(range(n), s)] = True
    flags = np.array([random.random() < 0.5 for _ in range(rows)], dtype=np.bool_)
    errors, rival = data.draw(st.integers(0, rows + 1)), data.draw(st.integers(0, rows + 1))

    def harmful(e: int, r: int) -> bool:
        return e >= errors and r >= rival

    def count(changed) -> tuple[int, int]:
        free = ~sets[:, list(changed)].any(axis=1)
        return int(free.sum()), int((free & flags).sum())

    expected = any(harmful(*count(changed)) for changed in combinations(range(n), size))
    assert Search(sets, flags, s, harmful).finds(size) == expected


def test_when_the_nodes_run_out_the_smaller_radius_stands():
    sets = every_retention(8, 2)

    def finds(**budget: int) -> bool:
        return Search(sets, np.ones(len(sets), np.bool_), 2, lambda errors, _: errors >= 16, **budget).finds(2)

    assert not finds()  # two positions touch 13 of the 28 sets, 15 are left
    assert finds(nodes=0)


def sampled(shape, plain, vote_records, alpha=0.05, classes=None):
    one = Evidence(path=crossing.Path((len(vote_records.votes),), (), (alpha,)))
    return tighter((vote_records,), "a", one if classes is None else Evidence(classes, alpha), reach(shape), plain)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**32), st.floats(0, 0.5), st.sampled_from([None, ("b", "c", None)]))
def test_whatever_the_plain_bound_proves_it_proves(shape, seed, share, classes):
    """From 0 up, without being told the plain radius."""
    n, s = shape
    rng = np.random.default_rng(seed)
    sets = every_retention(n, s)[rng.integers(0, comb(n, s), 150)]
    votes = ["a" if flag else rng.choice(["b", "c"]) for flag in rng.random(150) > share]
    labels = None if classes is None else ("a", "b", "c")
    bounds = class_bounds(Votes({label: votes.count(label) for label in "abc"}), "a", labels, 0.05)
    plain = proved_radius(known(bounds.margin), n, s, Overlap((Fraction(1),) * n))
    if plain is not None:
        assert sampled(shape, Radius(0), vote_record(sets, votes), classes=classes).words >= plain.words


@pytest.mark.parametrize("classes", [None, ("b", "c", None)])
def test_coverage_although_no_bound_pays_for_the_number_of_sets(classes):
    """A classifier whose true radius is 0 with many harmful words: at most α of the runs may claim 1 or more."""
    n, s, runs, samples = 6, 1, 1500, 120
    rng = np.random.default_rng(5)
    sets = every_retention(n, s)
    # ω = 5/6, so radius 1 needs P[not a, word untouched] < 1/3. Votes against, with the words that were retained:
    wrong = np.array([2 / 3, 2 / 3, 2 / 3, 0, 0, 0])
    truth_errors = (wrong.sum() - wrong) / n
    assert max(truth_errors) == pytest.approx(1 / 3)
    claimed = 0
    for _ in range(runs):
        drawn = rng.integers(0, n, samples)
        votes = np.where(rng.random(samples) < wrong[drawn], "b", "a")
        claimed += sampled((n, s), Radius(0), vote_record(sets[drawn], votes.tolist()), classes=classes).words >= 1
    assert binomtest(claimed, runs, 0.05, alternative="greater").pvalue > 1e-4
