"""Staged looks: coverage, no radius beyond the fixed one's truth, and stopping that is worth it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.core.test_certificate import make
from tests.oracle import drive

from clucert.core.bounds import abstention_p_value
from clucert.core.certificate import Certificate
from clucert.core.settings import Subject
from clucert.core.smoothing import Smoother
from clucert.core.stopping import decided, fixed_plan, plans, selected, staged_plan, staged_selection
from clucert.types import Votes


def certificate(selection: Votes, readings: tuple[Votes, ...], looks, **changes) -> Certificate:
    base = make(selection, readings[-1] if readings else Votes({}), **changes)
    return dataclasses.replace(base, settings=dataclasses.replace(base.settings, looks=looks), readings=readings)


BINARY, FOUR = ("positive", "negative"), ("a", "b", "c", "d")


@pytest.mark.parametrize("samples", [1, 2, 7, 25, 50, 200, 1000, 10**7])
def test_plans_end_at_n_prime_and_spend_no_more_than_alpha(samples):
    for looks in (
        fixed_plan(samples),
        staged_plan(samples),
        staged_plan(samples, filtered=True),
        staged_selection(samples),
    ):
        assert looks[-1].samples == samples
        assert sum(look.share for look in looks) == 1
        assert all(look.share > 0 for look in looks)
        counts = [look.samples for look in looks]
        assert counts == sorted(set(counts))


@dataclasses.dataclass
class Dealer:
    """A channel whose votes have known probabilities."""

    subject: Subject
    overlaps: dict
    p: dict[str, float]
    rng: np.random.Generator
    notes: tuple[str, ...] = ()
    vote_records: tuple = ()
    example: str = ""

    def sample(self, samples, stage, part=0):
        yield from ()
        drawn = self.rng.multinomial(samples, list(self.p.values()))
        return Votes(dict(zip(self.p, map(int, drawn), strict=True)))


def simulate(p: dict[str, float], labels, *, n: int, s: int, rng: np.random.Generator, **sizes: int) -> Certificate:
    """A whole staged certificate on votes of known probabilities, drawn by the code that draws."""
    base = certificate(Votes({}), (), (), n=n, s=s, labels=labels)
    initial = dataclasses.replace(base.settings, predict_samples=sizes.get("select", 50))
    settings = plans("staged", initial, sizes.get("certify", 300))
    smoother = Smoother(settings, labels, None, None, None)  # type: ignore[arg-type]
    return drive(smoother.certify_from(Dealer(base.subject, base.overlaps, p, rng)), {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("p", "labels", "truth"),
    [
        # n = 20, s = 2: Δ = 1/10, 37/190, …; radius 1 needs a margin of more than 1/5, radius 2 of more than 37/95.
        ({"positive": 0.6, "negative": 0.4}, BINARY, 0),
        ({"positive": 132 / 190, "negative": 58 / 190}, BINARY, 1),
        ({"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}, FOUR, 0),
    ],
)
def test_a_staged_radius_is_too_large_no_more_often_than_alpha(p, labels, truth):
    """The votes lie exactly on a threshold, where it is missed most often; stopping included."""
    rng, runs = np.random.default_rng(11), 300
    found = [simulate(p, labels, n=20, s=2, rng=rng).radius for _ in range(runs)]
    misses = sum(radius is not None and radius.words > truth for radius in found)
    assert binomtest(misses, runs, 0.05, alternative="greater").pvalue > 1e-4
    assert any(radius is not None for radius in found)


def test_staged_votes_are_few_where_the_answer_is_clear():
    made = simulate({"positive": 1.0, "negative": 0.0}, BINARY, n=20, s=2, rng=np.random.default_rng(0), certify=1000)
    fixed = certificate(Votes({"positive": 100}), (Votes({"positive": 1000}),), fixed_plan(1000), n=20, s=2)
    assert made.radius == fixed.radius
    assert made.selection.drawn + made.estimation.drawn < 200


def test_selection_goes_on_while_it_may_still_be_told_and_stops_when_not():
    settings = certificate(Votes({}), (), ()).settings
    settings = plans("staged", dataclasses.replace(settings, predict_samples=100), 1000)
    assert selected(Votes({"positive": 10, "negative": 0}), settings)
    assert not selected(Votes({"positive": 7, "negative": 3}), settings)
    assert selected(Votes({"positive": 26, "negative": 24}), settings)
    # Below alpha and not below the look's share of it: stopping here would be an abstention.
    early = Votes({"positive": 9, "negative": 1})
    assert abstention_p_value(early) <= settings.alpha
    assert not selected(early, settings)
    assert not selected(Votes({"positive": 0, "negative": 0}, unparsed=5, dropped=5), settings)


def test_a_unanimous_text_is_decided_early_and_a_close_call_is_not():
    looks = staged_plan(1000, filtered=True)
    selection = Votes({"positive": 100, "negative": 0})
    # n = 20, s = 10: Δ_1 = 1/2, so radius 0 is all there is, and 20 unanimous votes reach it.
    clear = certificate(selection, (Votes({"positive": 20}),), looks, s=10)
    assert clear.radius.words == 0
    assert decided(clear)
    # s = 2 leaves thresholds up to p = 0.947: one look of 20 votes is not the end.
    close = certificate(selection, (Votes({"positive": 20}),), looks, s=2)
    assert not decided(close)


def test_no_look_left_means_decided():
    votes = Votes({"positive": 60, "negative": 40})
    assert decided(certificate(votes, (votes,), fixed_plan(100)))


def test_a_target_is_decided_both_ways():
    looks = staged_plan(1000, filtered=True)
    selection = Votes({"positive": 99, "negative": 1})
    reached = certificate(selection, (Votes({"positive": 20}),), looks)
    assert reached.radius.words >= 1
    assert decided(reached, target=1)
    hopeless = certificate(Votes({"positive": 70, "negative": 30}), (Votes({"positive": 13, "negative": 7}),), looks)
    assert decided(hopeless, target=6)
    assert not decided(hopeless, target=1)


@pytest.mark.parametrize("labels", [BINARY, FOUR])
def test_a_radius_that_is_the_target_is_enough(labels):
    first = labels[0]
    looks = staged_plan(1000)
    reading = Votes({first: looks[1].samples, **dict.fromkeys(labels[1:], 0)})
    made = certificate(Votes({first: 100}), (reading, reading), looks, labels=labels)
    assert made.radius is not None
    assert made.radius.words >= 1
    assert not made.radius.everything
    assert decided(made, made.radius.words)
    assert not decided(made, made.radius.words + 1)
