"""Staged sampling claims too much with probability α at most: computed exactly, over all votes there can be.

Nothing is simulated. The probability of every outcome of the votes is summed, with the code's own stopping in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product
from math import factorial, prod

import numpy as np
import pytest
from scipy.stats import binom

import clucert
from clucert import certificate_json
from clucert.core.bounds import class_bounds
from clucert.core.certificate import Certificate
from clucert.core.consistency import problems
from clucert.core.group_sequential import Path, boundaries
from clucert.core.settings import Look
from clucert.core.smoothing import Certified
from clucert.core.stopping import decided, plans, staged_plan
from clucert.errors import InputError
from clucert.types import Votes
from tests.core.test_certificate import make

ALPHA = 0.05
THRESHOLDS = (0.5, 0.48, 0.45, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)


def crossing(trials: tuple[int, ...], allowed: tuple[int, ...], p: float) -> float:
    """P[the error count is at or below its boundary at some look], for p(error) = ``p``, count by count."""
    alive, crossed, before = {0: 1.0}, 0.0, 0
    for count, most in zip(trials, allowed, strict=True):
        step = binom.pmf(np.arange(count - before + 1), count - before, p)
        grown = np.zeros(count + 1)
        for errors, weight in alive.items():
            grown[errors : errors + len(step)] += weight * step
        crossed += grown[: most + 1].sum()
        alive = {errors: grown[errors] for errors in range(most + 1, count + 1)}
        before = count
    return crossed


@pytest.mark.parametrize("samples", [30, 300])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("alpha", [ALPHA, 0.001, 0.4])
def test_both_directions_together_err_with_probability_alpha_at_most(samples, filtered, alpha):
    """The true majority and its first false radius, and the other class as the majority: at every p between."""
    trials, spent = plan(samples, alpha, filtered)
    majority = boundaries(trials, spent, 0.5, True)
    for threshold in THRESHOLDS:
        allowed = boundaries(trials, spent, threshold, True)
        assert all(most <= cap for most, cap in zip(allowed, majority, strict=True))
        # p: of an error of the majority class, from the threshold (the radius is false) to ½.
        total = [
            crossing(trials, allowed, p) + crossing(trials, majority, 1 - p) for p in np.linspace(threshold, 0.5, 8)
        ]
        assert max(total) <= alpha * (1 + 1e-9)
        # And little is given away: at the threshold itself most of α is spent, unless so few votes cannot show it.
        if allowed[-1] >= 10:
            assert total[0] > 0.6 * alpha


def plan(samples: int, alpha: float, filtered: bool = False) -> tuple[tuple[int, ...], tuple[float, ...]]:
    looks = staged_plan(samples, filtered=filtered)
    shares = np.cumsum([float(look.share) for look in looks])
    return tuple(look.samples for look in looks), tuple(float(alpha * min(1.0, share)) for share in shares)


def multinomial(total: int, classes: int) -> Iterator[tuple[int, ...]]:
    for counts in product(range(total + 1), repeat=classes - 1):
        if sum(counts) <= total:
            yield (*counts, total - sum(counts))


def weight(counts: tuple[int, ...], p: tuple[float, ...]) -> float:
    ways = factorial(sum(counts)) / prod(map(factorial, counts))
    return ways * prod(q**count for q, count in zip(p, counts, strict=True))


TRIALS, SPENT = (3, 7, 12), (0.1, 0.2, 0.25)


@cache
def claims(path: tuple[int, ...]) -> int:
    """How many thresholds, from ½ down, are shown for a class with these cumulative votes."""
    errors = tuple(total - hits for total, hits in zip(TRIALS, path, strict=True))
    shown = 0
    while shown < len(THRESHOLDS) and Path(TRIALS, errors, SPENT, True).below(THRESHOLDS[shown]):
        shown += 1
    return shown


@pytest.mark.parametrize(
    "p",
    [
        (0.5, 0.5, 0.0),
        (0.5, 0.25, 0.25),
        (1 / 3, 1 / 3, 1 / 3),
        (0.52, 0.48, 0.0),
        (0.55, 0.4, 0.05),
        (0.6, 0.4, 0.0),
        (0.7, 0.2, 0.1),
        (0.8, 0.2, 0.0),
        (0.9, 0.05, 0.05),
        (0.98, 0.02, 0.0),
    ],
)
def test_whatever_the_number_of_classes_the_claims_about_all_of_them_are_true_together(p):
    wrong = 0.0
    steps = [multinomial(after - before, 3) for before, after in zip((0, *TRIALS), TRIALS, strict=False)]
    for first, second, third in product(*map(list, steps)):
        for name in range(3):
            path = tuple(np.cumsum([first[name], second[name], third[name]]).tolist())
            shown = claims(path)
            # False where a threshold was shown that is not above the class's true rate of errors.
            if shown and THRESHOLDS[shown - 1] <= 1 - p[name] + 1e-12:
                wrong += weight(first, p) * weight(second, p) * weight(third, p)
                break
    assert wrong <= SPENT[-1]


def outcomes(base: Certificate, p: dict[str, float]) -> Iterator[tuple[float, Certificate]]:
    """Every certificate that staged sampling can end with, and its probability, by the code's own stopping."""
    pending = [(1.0, base)]
    while pending:
        chance, now = pending.pop()
        if now.readings and decided(now):
            yield chance, now
            continue
        look = now.settings.looks[len(now.readings)]
        before = now.estimation
        for counts in multinomial(look.samples - before.drawn, len(p)):
            each = weight(counts, tuple(p.values()))
            if each > 0:
                drawn = before + Votes(dict(zip(p, counts, strict=True)))
                pending.append((chance * each, replace(now, readings=(*now.readings, drawn))))


def staged(labels: tuple[str, ...], certify: int, selection: Votes, alpha: float) -> Certificate:
    made = make(Votes({}), Votes({}), n=20, s=2, labels=labels, alpha=alpha)
    settings = plans("staged", replace(made.settings, predict_samples=100), certify)
    if selection.drawn:
        settings = replace(settings, selection_looks=(Look(selection.drawn),))
    return replace(made, settings=settings, selection=selection, readings=())


@pytest.mark.parametrize(
    ("p", "truth"),
    [
        # n = 20, s = 2: Δ = 1/10, 37/190, …; the radius is 0 up to a margin of 1/5, 1 up to 37/95. None: no majority.
        ({"a": 0.5, "b": 0.5}, None),
        ({"a": 0.6, "b": 0.4}, 0),
        ({"a": 132 / 190, "b": 58 / 190}, 1),
        ({"a": 0.6, "b": 0.2, "c": 0.1, "d": 0.1}, 1),
        ({"a": 0.4, "b": 0.4, "c": 0.2, "d": 0.0}, None),
        ({"a": 0.45, "b": 0.25, "c": 0.25, "d": 0.05}, 0),
    ],
)
def test_no_whole_certificate_claims_too_much_more_often_than_alpha(p, truth):
    """Votes exactly on a threshold, two labels chosen by the votes that certify them, four named beforehand."""
    two = len(p) == 2
    base = staged(tuple(p), 18 if two else 12, Votes({}) if two else Votes({"a": 10}), 0.3)
    total = wrong = claimed = 0.0
    for chance, made in outcomes(base, p):
        total += chance
        radius = made.radius
        if radius is None:
            continue
        claimed += chance
        bound = truth if made.prediction == "a" else None
        wrong += chance * (bound is None or radius.words > bound)
    assert total == pytest.approx(1)
    assert wrong <= 0.3
    assert claimed > 0.01


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "d"), None])
def test_counts_by_look_keep_all_that_a_certificate_says(labels):
    named = Votes({}) if labels is None or len(labels) == 2 else Votes({"a": 10, "b": 0})
    base = staged(labels or ("a", "b"), 1000, named, 0.05)
    made = replace(base, labels=labels, readings=(Votes({"a": 6, "b": 1}), Votes({"a": 10, "b": 1})))
    document = certificate_json.write(Certified(made))
    assert document["settings"]["direct"] is True
    read, _ = certificate_json.read(document)
    assert read.certificate == made
    assert certificate_json.write(read) == document
    chosen = replace(made, selection=Votes({"a": 3}))
    assert any("selection: has 3 votes" in problem for problem in problems(chosen))


def test_a_stored_certificate_of_four_labels_says_no_less_than_when_its_looks_shared_alpha_by_a_union_bound():
    looks = (Look(20, Fraction(1, 5)), Look(80, Fraction(3, 10)), Look(200, Fraction(1, 2)))
    rng = np.random.default_rng(0)
    for p in ((1.0, 0.0, 0.0, 0.0), (0.9, 0.05, 0.03, 0.02), (0.5, 0.3, 0.1, 0.1)):
        drawn = np.cumsum([rng.multinomial(more, p) for more in (20, 60, 120)], axis=0)
        readings = tuple(Votes(dict(zip("abcd", counts.tolist(), strict=True))) for counts in drawn)
        made = make(Votes({"a": 100}), readings[-1], labels=tuple("abcd"))
        made = replace(made, settings=replace(made.settings, looks=looks), readings=readings)
        before = [
            class_bounds(votes, "a", made.labels, float(Fraction("0.05") * look.share)).margin
            for votes, look in zip(readings, looks, strict=True)
        ]
        assert made.bounds.margin >= max(before) - 2e-4
        assert certificate_json.read(certificate_json.write(Certified(made)))[0].certificate.radius == made.radius


def test_merged_labels_are_two_classes_that_need_no_votes_to_be_chosen_and_a_flag_needs_some():
    def classify(texts):
        return ["abc"[len(text) % 3] for text in texts]

    text = "a warm and funny film with a clever script"
    options = {"method": "ranmask", "sampling": "staged", "deterministic": True, "seed": 0}
    with clucert.smooth(classify, ("a", "b", "c"), group=["b,c"], **options) as smoothed:
        made = smoothed.certify(text).certificate
    assert made.selection.drawn == 0
    assert made.labels is not None
    assert len(made.labels) == 2
    document = certificate_json.write(Certified(made))
    assert certificate_json.read(document)[0].certificate.proved == made.proved
    with pytest.raises(InputError, match="--flag"):
        made.at(flag=["a"], threshold=0.5)
