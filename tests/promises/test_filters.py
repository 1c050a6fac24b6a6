"""A filter that reads one noised text alone keeps the proof: what it drops is a class of its own that never wins.

What docs/paper.md says of such filters (bench/paper_grid.py measures them), against brute force over every text of the
ball; and that a filter of the whole batch has no such proof.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from itertools import product

from clucert.core.noise.retention import every_retention
from clucert.core.radius import Overlap
from tests.promises.noise_worlds import Text, ball

WORDS, LABELS, DROPPED = "abc", ("yes", "no"), "dropped"


def shares(votes: Mapping[Text, str], text: Text, s: int) -> dict[str, Fraction]:
    """The exact share of each class over all retention sets; ``votes`` are of masked texts."""
    sets = every_retention(len(text), s)
    found = dict.fromkeys((*LABELS, DROPPED), Fraction(0))
    for row in sets.tolist():
        found[votes[tuple(word if kept else "_" for word, kept in zip(text, row, strict=True))]] += Fraction(
            1, len(sets)
        )
    return found


def test_what_is_dropped_one_by_one_is_no_rival_and_no_missing_vote() -> None:
    rng, certified, gained = random.Random(0), 0, 0
    for _ in range(400):
        n, d = rng.randint(3, 5), 1
        s = 1 if rng.random() < 0.8 else 2
        text: Text = tuple(rng.choices(WORDS, k=n))
        lean = rng.choice((0.6, 0.8, 0.95))
        drawn = {
            z: DROPPED if rng.random() < 0.3 else "yes" if rng.random() < lean else "no"
            for z in product((*WORDS, "_"), repeat=n)
        }
        here = shares(drawn, text, s)
        slack = Overlap((Fraction(1),) * n).slack(n, s, d)
        if here["yes"] - here["no"] <= slack:
            continue
        certified += 1
        # As a filter of the batch must count it, what is dropped may be anybody's.
        gained += here["yes"] - here["no"] - here[DROPPED] <= slack
        for other in ball(text, "replace", d, WORDS):
            there = shares(drawn, other, s)
            assert there["yes"] > there["no"], (text, other)
    assert certified > 40
    assert gained > 10


def test_the_share_among_the_kept_alone_proves_nothing() -> None:
    """Five words, one kept: four of five noised texts are dropped, all of the kept say yes, and one word turns it."""
    text: Text = ("a", "a", "a", "a", "b")
    votes = {z: DROPPED if z.count("a") == 1 else "yes" if "b" in z else "no" for z in product((*WORDS, "_"), repeat=5)}
    here, there = shares(votes, text, 1), shares(votes, ("a", "a", "a", "a", "c"), 1)
    kept = {label: here[label] / (1 - here[DROPPED]) for label in LABELS}
    slack = Overlap((Fraction(1),) * 5).slack(5, 1, 1)
    assert kept["yes"] - kept["no"] == 1 > slack
    assert here["yes"] - here["no"] == Fraction(1, 5) <= slack
    assert there["no"] > there["yes"]
