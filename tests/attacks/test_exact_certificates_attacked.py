"""Attacks on exact certificates: how far they have to go by threat, nearest first, and what is false is broken."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest

import clucert
from clucert.api import SmoothedClassifier
from clucert.attacks.certificates import Match
from clucert.attacks.exact import attack_exact
from clucert.attacks.recipes import deepwordbug
from clucert.audit.balls import ball_of
from clucert.audit.candidates import Arsenal
from clucert.core.exact import ExactCertificate

GOOD = {"warm", "funny", "charming", "thoughtful", "lovely", "bright", "fine", "tender", "witty"}
BAD = ("dull", "mess", "tired", "awful", "flat", "cold", "grim", "stale", "vapid")
LABELS = ["negative", "positive"]
TEXT = "a warm , funny , charming and thoughtful film , lovely and bright , fine and tender and witty"
ARSENAL = Arsenal({"negative": ("negative",)}, {"positive": BAD}, texts={"positive": (" ".join(BAD),)})


def classify(texts: list[str]) -> list[list[float]]:
    """The more good words and the fewer bad ones, the likelier positive: a misspelt good word is none."""
    leads = [sum((word in GOOD) - (word in BAD) for word in text.split()) for text in texts]
    likely = [1 / (1 + exp(0.2 - lead)) for lead in leads]
    return [[1 - p, p] for p in likely]


@pytest.fixture
def model() -> SmoothedClassifier:
    return clucert.smooth(classify, LABELS, method="ranmask", deterministic=True)


def certificate(model: SmoothedClassifier, method: str, **parameters: object) -> ExactCertificate:
    (proof,) = model.prove(TEXT, [method], **parameters)
    return proof.certificate


def test_a_word_attack_is_counted_by_every_threat_that_replaces(model: SmoothedClassifier) -> None:
    certificates = {"g": certificate(model, "groups", count=3), "b": certificate(model, "blocks", count=5)}
    found = {one.threat: one for one in attack_exact(model, certificates, deepwordbug(), Match(max_queries=200))}
    assert set(found) == {"replace", "edit"}
    assert found["edit"].uncertified == 1  # blocks speak of replaced words alone
    for one in found.values():
        assert one.alpha == 0
        assert one.holds
        for duel in one.duels:
            assert not duel.broken
            assert duel.changed is not None
            count = {"g": 3, "b": 5}[duel.id]
            (there,) = model.prove(duel.result.perturbed, [certificates[duel.id].settings.method], count=count)
            assert there.prediction != "positive"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("groups", {"count": 5}),
        ("chunks", {"every": 2}),
        ("windows", {"size": 3, "flag": ("positive",), "at_least": 8}),
    ],
)
def test_a_guided_attack_finds_the_nearest_break_of_every_threat_and_none_inside(
    model: SmoothedClassifier, method: str, parameters: dict[str, object]
) -> None:
    proof = certificate(model, method, **parameters)
    found = attack_exact(model, {"1": proof}, ARSENAL, Match(max_queries=150))
    assert {one.threat for one in found} == {t for t, r in proof.proved.items() if r is not None and not r.everything}
    flipped = 0
    for one in found:
        (duel,) = one.duels
        assert one.holds
        assert not duel.broken
        if duel.changed is None:
            continue
        flipped += 1
        (there,) = model.prove(duel.result.perturbed, [method], **parameters)
        far = ball_of(proof.settings.noise, one.threat).distance(proof.pieces, there.certificate.pieces, 99)
        assert far == duel.changed > duel.claim.radius
        assert there.prediction != "positive"
    assert flipped


def test_a_certificate_of_votes_that_were_never_cast_is_broken(model: SmoothedClassifier) -> None:
    """Votes that all say positive, of a text on which one misspelt word turns the answer."""
    (proof,) = model.prove("a warm film of the town", ["blocks"], count=5)
    forged = replace(
        proof.certificate,
        answers=tuple(replace(shown, vote="positive", shares=(0.0, 1.0)) for shown in proof.certificate.answers),
    )
    assert (forged.prediction, proof.prediction) == ("positive", "negative")
    (one,) = attack_exact(model, {"1": forged}, ARSENAL, Match(max_queries=60))
    assert not one.holds
