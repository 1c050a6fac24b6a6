"""A filter that reads one noised text alone keeps the proof: what it drops is a class of its own that never wins.

What docs/paper.md says of such filters (bench/paper_grid.py measures them), against brute force over every text of the
ball; and that a filter of the whole batch has no such proof.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction
from itertools import product

import pytest

from clucert.core.certificate import Certificate
from clucert.core.noise.retention import every_retention
from clucert.core.radius import Overlap
from clucert.core.settings import Settings
from clucert.core.stopping import plans
from clucert.errors import InputError
from clucert.types import Scored
from tests.core.test_smoothing import play, smoother
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


def confident(yes: float) -> Scored:
    """The answer of a model that gives the first label this share."""
    return Scored("positive" if yes >= 0.5 else "negative", {"positive": yes, "negative": 1 - yes})


def certificate_of(text: Text, shares: Mapping[str, float], **changes: object) -> Certificate:
    """With ``--min-confidence 0.8``; a noised text is named by the words that are left of it."""
    smooth = smoother(min_confidence=0.8, **changes)
    result, asked = play(smooth.steps(" ".join(text)), lambda noised: confident(shares[noised]))
    assert all(request.scored for request in asked)
    return result.certificate


def answer_of(text: Text, shares: Mapping[str, float], s: int) -> str | None:
    """The answer of the classifier that is certified, by its definition; None for a tie."""
    rows = every_retention(len(text), s).tolist()
    noised = [" ".join(w if kept else "[MASK]" for w, kept in zip(text, row, strict=True)) for row in rows]
    votes = [confident(shares[z]).answer for z in noised if not 0.2 < shares[z] < 0.8]
    lead = votes.count("positive") - votes.count("negative")
    return None if lead == 0 else "positive" if lead > 0 else "negative"


def test_min_confidence_certifies_the_classifier_that_it_deploys() -> None:
    """Every retention set evaluated, against every text of the ball."""
    rng, certified, least = random.Random(1), 0, []
    for _ in range(120):
        n = rng.randint(3, 5)
        lean = rng.choice((0.2, 0.9))
        shares = {
            " ".join(z): rng.choice((0.3, 0.6)) if rng.random() < 0.5 else 0.95 if rng.random() < lean else 0.05
            for z in product((*WORDS, "[MASK]"), repeat=n)
        }
        text: Text = tuple(rng.choices(WORDS, k=n))
        found = certificate_of(text, shares, mask_rate=Fraction(n - 1, n), enumerate_up_to=10)
        assert found.exhaustive
        assert found.prediction == answer_of(text, shares, 1)
        assert found.radius is None
        radius = found.proved["word"]
        if radius is not None and radius.words:
            certified += 1
            least.append(found.selection.dropped)
            for other in ball(text, "replace", min(radius.words, 2), WORDS):
                assert answer_of(other, shares, 1) == found.prediction
    assert certified > 10
    assert max(least) > 0


@pytest.mark.parametrize("sampling", ["fixed", "auto"])
def test_min_confidence_keeps_its_level_where_one_word_makes_a_tie(sampling: str) -> None:
    """Ten words, one kept: three votes for, one against, six unsure, so one word of another kind makes it a tie."""
    text: Text = tuple("yyynuuuuuu")
    shares = {
        " ".join(w if i == j else "[MASK]" for j in range(10)): {"y": 0.9, "n": 0.1, "u": 0.6}[w]
        for i, w in enumerate(text)
    }
    wrong = answered = 0
    given = {"mask_rate": Fraction(9, 10), "alpha": 0.2, "predict_samples": 100}
    made: Settings = plans(sampling, smoother(**given).settings, 200)
    given |= {"looks": made.looks, "selection_looks": made.selection_looks, "direct": made.direct}
    for seed in range(60):
        found = certificate_of(text, shares, seed=seed, **given)
        answered += found.prediction == "positive"
        radius = found.proved["word"]
        wrong += radius is not None and radius.words > 0
        assert found.selection.dropped + found.estimation.dropped > 0
    assert answered > 30
    assert wrong <= 22, "more than a level of 0.2 allows by chance (99.9 %)"


def test_min_confidence_wants_shares_labels_and_a_majority() -> None:
    with pytest.raises(InputError, match="gives its label alone"):
        play(smoother(min_confidence=0.8).steps("a good film"), lambda _: Scored("positive", {"positive": 1.0}))
    with pytest.raises(InputError, match="open answers"):
        smoother(min_confidence=0.8, labels=None)
    found = certificate_of(("a", "b"), dict.fromkeys(("a [MASK]", "[MASK] b"), 0.9))
    with pytest.raises(InputError, match="leave out --min-confidence"):
        found.at(flag=["negative"], threshold=0.1)
