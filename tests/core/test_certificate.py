"""What a certificate derives from its counts, and what it says it assumes."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert.core.bounds import lower_bound
from clucert.core.certificate import ASSUMPTIONS, Certificate
from clucert.core.radius import Overlap, Radius
from clucert.core.settings import Base, Look, Settings, Subject
from clucert.types import Votes


def make(
    selection: Votes,
    estimation: Votes,
    *,
    n: int = 20,
    s: int = 2,
    labels: tuple[str, ...] | None = ("positive", "negative"),
    attackable: int | None = None,
    domain: str = "original",
    **settings: object,
) -> Certificate:
    words = tuple(f"w{i}" for i in range(n))
    hidden = attackable if attackable is not None else n
    defaults = {
        "base": Base(("smollm2",), "sst2"),
        "method": "ranmask",
        "mask_rate": Fraction(9, 10),
        "recovery": "mask",
        "clustering": "none",
        "threshold": None,
        "refine": "off",
        "refine_length": None,
        "alpha": 0.05,
        "gamma": 1.0,
        "predict_samples": selection.drawn,
        "looks": (Look(estimation.drawn),),
        "seed": 0,
    }
    return Certificate(
        subject=Subject(
            text=" ".join(words),
            noised_text=" ".join(words),
            domain=domain,  # type: ignore[arg-type]
            original_words=n,
            words=words,
            retained=s,
            attackable=tuple(i < hidden for i in range(n)),
            protected=(None,) * n,
            positions=tuple(range(n)),
        ),
        settings=Settings(**{**defaults, **settings}),  # type: ignore[arg-type]
        labels=labels,
        selection=selection,
        readings=(estimation,),
        overlaps={"word": Overlap((Fraction(1),) * n)},
    )


def test_a_clear_majority_is_certified_and_the_numbers_follow_the_paper():
    certificate = make(Votes({"positive": 95, "negative": 5}), Votes({"positive": 930, "negative": 70}))
    low = lower_bound(930, 1000, 0.05)
    assert certificate.prediction == "positive"
    assert certificate.bounds.low == low
    # Δ for n = 20, s = 2: 1/10, 37/190, 27/95, 7/19, 17/38, …; two labels need p_low − Δ_t > 1/2.
    assert low - 7 / 19 > 0.5 > low - 17 / 38
    assert certificate.radius == Radius(4)
    assert certificate.proved == {"word": Radius(4)}
    assert certificate.assumptions == ()


@pytest.mark.parametrize(
    ("selection", "why"),
    [
        (Votes({"positive": 52, "negative": 48}), "too close to call"),
        (Votes({"positive": 5, "negative": 0}), "too few to call even when all agree"),
        (Votes({"positive": 0, "negative": 0}, unparsed=100), "unreadable answers: 100 of 100"),
        (Votes({"positive": 40, "negative": 0}, unparsed=60), "unreadable answers: 60 of 100"),
        (Votes({"positive": 51, "negative": 0}, unparsed=49), "too close"),
        (Votes({}, dropped=100), "no noised text"),
    ],
)
def test_abstention_is_an_answer_with_a_reason(selection, why):
    certificate = make(selection, Votes({"positive": 1000}))
    assert certificate.prediction is None
    assert certificate.radius is None
    assert certificate.proved == {"word": None}
    assert why in certificate.abstained


def test_fresh_samples_that_disagree_make_it_abstain():
    certificate = make(Votes({"positive": 90, "negative": 10}), Votes({"positive": 480, "negative": 520}))
    assert certificate.candidate == "positive"
    assert certificate.prediction is None
    assert "not confirmed" in certificate.abstained


def test_dropped_samples_lower_the_proved_radius_only():
    votes = Votes({"positive": 800, "negative": 0}, dropped=200)
    certificate = make(Votes({"positive": 80}, dropped=20), votes, clustering="agglomerative")
    unfiltered = make(Votes({"positive": 80}), Votes({"positive": 800, "negative": 200}))
    assert certificate.radius.words > certificate.proved["word"].words
    assert certificate.proved == unfiltered.proved


def test_radius_stops_at_the_words_that_can_be_hidden():
    votes = (Votes({"positive": 100}), Votes({"positive": 1000}))
    assert make(*votes).radius.words > 2
    assert make(*votes, attackable=2).radius == Radius(2, everything=True)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ()),
        ({"recovery": "llm"}, ()),
        ({"recovery": "synonym"}, ("A1",)),
        ({"gamma": 0.5}, ("A2",)),
        ({"clustering": "agglomerative"}, ("A3",)),
        ({"domain": "refined"}, ("A4",)),
        ({"recovery": "synonym", "gamma": 0.9, "clustering": "kmeans", "domain": "refined"}, tuple(ASSUMPTIONS)),
    ],
)
def test_only_the_assumptions_that_apply_are_named(settings, names):
    assert make(Votes({"positive": 9}), Votes({"positive": 9}), **settings).assumptions == names


@given(st.integers(60, 100), st.integers(550, 1000), st.floats(0.001, 0.04), st.floats(0, 0.9))
def test_larger_alpha_and_smaller_gamma_never_lower_the_radius(chosen, certified, alpha, gamma):
    certificate = make(
        Votes({"positive": chosen, "negative": 100 - chosen}),
        Votes({"positive": certified, "negative": 1000 - certified}),
    )

    def words(c: Certificate) -> int:
        return -1 if c.radius is None else c.radius.words

    assert words(certificate.replace(alpha=alpha)) <= words(certificate)
    assert words(certificate.replace(gamma=gamma)) >= words(certificate)
    assert certificate.replace(alpha=alpha).readings is certificate.readings


def test_a_certificate_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(Votes({"positive": 9}), Votes({"positive": 9})).labels = ()  # type: ignore[misc]


def test_several_looks_share_alpha_and_a_radius_that_one_showed_stays():
    early, late = Votes({"positive": 100, "negative": 0}), Votes({"positive": 150, "negative": 50})
    base = make(Votes({"positive": 90, "negative": 10}), late)
    looks = (Look(100, Fraction(1, 4)), Look(200, Fraction(3, 4)))
    settings = dataclasses.replace(base.settings, looks=looks)
    both = dataclasses.replace(base, settings=settings, readings=(early, late))
    assert both.bounds.low == pytest.approx(lower_bound(100, 100, 0.05 / 4), abs=1e-4)
    assert both.bounds.low <= lower_bound(100, 100, 0.05 / 4)
    stopped = dataclasses.replace(both, readings=(early,))
    assert stopped.radius == both.radius
    assert stopped.estimation == early


def test_every_retention_set_evaluated_needs_no_interval():
    votes = Votes({"positive": 150, "negative": 40})
    exact = dataclasses.replace(make(votes, Votes({})), exhaustive=True, readings=())
    assert exact.bounds.low == Fraction(150, 190)
    # p − Δ_t > 1/2 with Δ = 1/10, 37/190, 27/95, 7/19: 3 words; the sampled bound on so few votes gives fewer.
    assert exact.radius == Radius(3)
    assert make(votes, votes).radius.words < 3
    tie = dataclasses.replace(exact, selection=Votes({"positive": 95, "negative": 95}))
    assert tie.prediction is None
