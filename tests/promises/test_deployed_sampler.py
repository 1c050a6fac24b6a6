"""How likely the deployed sampler answers as certified: the stated bound against exact enumeration and simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest

import clucert
from clucert.core.bounds import abstention_p_value, agreement, leader
from clucert.core.certificate import Certificate
from clucert.types import Votes
from tests.screens import verbose


def exact(p: tuple[Fraction, ...], samples: int, alpha: float) -> float:
    """P[the first class wins the vote and the test], over every count of three classes."""
    total = Fraction(0)
    for first, second in product(range(samples + 1), repeat=2):
        third = samples - first - second
        if third < 0:
            continue
        votes = Votes({"a": first, "b": second, "c": third})
        if leader(votes) == "a" and abstention_p_value(votes) <= alpha:
            ways = comb(samples, first) * comb(samples - first, second)
            total += ways * p[0] ** first * p[1] ** second * p[2] ** third
    return float(total)


@pytest.mark.parametrize("samples", [4, 9, 20])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("low", [Fraction(1, 10), Fraction(1, 2), Fraction(7, 10), Fraction(19, 20), Fraction(1)])
def test_the_bound_is_below_every_split_of_the_rest_and_attained_by_one(
    samples: int, alpha: float, low: Fraction
) -> None:
    bound = agreement(low, samples, alpha)
    rest = 1 - low
    for share in (Fraction(0), Fraction(1, 4), Fraction(1, 2)):
        assert exact((low, rest * (1 - share), rest * share), samples, alpha) >= bound - 1e-12
    assert exact((low, rest, Fraction(0)), samples, alpha) == pytest.approx(bound, abs=1e-12)
    higher = low + rest / 3
    assert exact((higher, 1 - higher, Fraction(0)), samples, alpha) >= bound - 1e-12


def test_too_few_samples_never_answer() -> None:
    assert agreement(1, 5, 0.05) == 0.0
    assert agreement(1, 6, 0.05) == 1.0
    assert agreement(-0.2, 20, 0.05) == 0.0


WORDS = 12


def reads(texts: list[str]) -> list[str]:
    return ["a" if "BAD" not in text.split() else "b" for text in texts]


def certificate(**options: object) -> Certificate:
    text = " ".join(f"w{i}" for i in range(WORDS))
    made = {"method": "ranmask", "mask_rate": "0.8", "samples": 20, "certify_samples": 400, "deterministic": True}
    return clucert.smooth(reads, ["a", "b"], **{**made, **options}).certify(text).certificate


def test_on_the_worst_text_of_the_ball_the_sampler_answers_as_often_as_is_said() -> None:
    made = certificate()
    radius = made.proved["word"]
    assert radius is not None
    assert radius.words >= 1
    words = [f"w{i}" for i in range(WORDS)]
    smoothed = clucert.smooth(
        reads, ["a", "b"], method="ranmask", mask_rate="0.8", samples=20, certify_samples=9, deterministic=True, seed=5
    )
    for changes in range(radius.words + 1):
        text = " ".join([*["BAD"] * changes, *words[changes:]])
        votes = smoothed.predict([text] * 400).votes
        said = made.agreement("word", changes)
        assert said is not None
        share = np.mean([vote == "a" for vote in votes])
        # The ideal vote stays, and never turns; the sampler abstains the more the nearer the edge.
        assert share >= said - 3 * np.sqrt(0.25 / 400)
    assert made.agreement("word", radius.words) < made.agreement("word", 0)  # type: ignore[operator]


def test_it_says_nothing_where_nothing_is_proved() -> None:
    made = certificate()
    radius = made.proved["word"]
    assert radius is not None
    assert made.agreement("word", radius.words + 1) is None
    assert made.agreement("word", -1) is None
    assert made.agreement("other", 0) is None
    assert certificate(sampling="staged").agreement("word", 0) is None


def test_the_document_and_the_terminal_tell_it() -> None:
    found = clucert.certify_callable(
        " ".join(f"w{i}" for i in range(WORDS)),
        reads,
        ["a", "b"],
        method="ranmask",
        mask_rate="0.8",
        samples=20,
        certify_samples=400,
    )
    radius = found.certificate.proved["word"]
    assert radius is not None
    told = found.document()["derived"]["proved"]["word"]["agreement"]
    assert told == found.certificate.agreement("word", radius.words)
    assert 0 < told < 0.9
    assert f"at the edge of the proved radius ({radius.words}, any words)" in verbose(found)
    assert "answers" in verbose(found)
