"""One sentence about the gap between what is published and what is proved."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from tests.core.test_certificate import make

from clucert import certificate_json as document
from clucert.core.explanation import gap
from clucert.core.radius import Overlap
from clucert.core.smoothing import Certified
from clucert.types import Votes

CLEAR = (Votes({"positive": 100}), Votes({"positive": 1000}))


def blind_to_nothing(**settings: object):
    """A certificate whose recovery proves nothing against any words."""
    made = make(*CLEAR, **settings)
    return dataclasses.replace(made, overlaps={"word": Overlap((Fraction(0),) * made.n)})


def test_no_gap_no_sentence():
    assert gap(make(*CLEAR)) is None
    assert gap(make(Votes({"positive": 50, "negative": 50}), Votes({}))) is None


@pytest.mark.parametrize(
    ("settings", "said", "option"),
    [
        ({"recovery": "synonym"}, "(A1)", "--recovery mask"),
        ({"recovery": "synonym"}, "pool of a masked word", "--lexicon classes --retained-kernel canonical"),
        ({"gamma": 0.1, "recovery": "mask"}, "gamma = 0.1", "--gamma 1"),
    ],
)
def test_it_says_why_and_what_to_do(settings, said, option):
    sentence = gap(blind_to_nothing(**settings))
    assert said in sentence
    assert option in sentence
    assert "\n" not in sentence


def test_dropped_samples_are_a_reason_of_their_own():
    votes = (Votes({"positive": 70}, dropped=30), Votes({"positive": 700}, dropped=300))
    sentence = gap(make(*votes, clustering="agglomerative"))
    assert "counts against the answer" in sentence
    assert "--clustering none" in sentence
    assert "A1" not in sentence


def test_the_document_says_it():
    certificate = blind_to_nothing(recovery="synonym")
    assert document.write(Certified(certificate))["derived"]["gap"] == gap(certificate)
