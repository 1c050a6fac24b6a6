"""The audit breaks what can be broken, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from clucert.audit.antonyms import _packaged, antonyms
from clucert.audit.candidates import build_arsenal, candidates, dependence
from clucert.audit.claims import Claim, claims_of
from clucert.audit.steps import Effort, attack_steps
from clucert.core.settings import Look
from clucert.core.vote_records import VoteRecord, pack_sets
from clucert.core.words import WordedText, split
from tests.core.test_smoothing import smoother
from tests.oracle import drive

POOLS = {"good": ("fine", "good"), "bad": ("bad", "poor"), "plot": ("plot", "story"), "cast": ("cast", "crew")}
LABELS = ("positive", "negative")
TEXT = "a good plot , a cast of friends and a lake"


@dataclass(frozen=True)
class Lexicon:
    """Closed classes: every member of a pool has the same pool."""

    name: str = "pairs"

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        of = {w: pool for pool in POOLS.values() for w in pool}
        return tuple((w, *(c for c in of.get(w, ()) if c != w)) for w in text.words)

    def antonyms(self, word: str) -> tuple[str, ...]:
        return {"good": ("bad",), "fine": ("bad",)}.get(word, ())


def mood(texts: list[str]) -> list[str]:
    """Positive when a good word is seen and no bad one; what the synonym recovery never changes."""
    good, bad = {"good", "fine"}, {"bad", "poor", "negative"}
    return ["positive" if good & set(split(t).words) and not bad & set(split(t).words) else "negative" for t in texts]


def certified(recovery: str, mask_rate: str = "0.9"):
    target = smoother(
        recovery=recovery, mask_rate=Fraction(mask_rate), lexicon=Lexicon(), predict_samples=60, looks=(Look(400),)
    )
    result = drive(target.steps(TEXT, "1"), lambda texts, _: mood(texts))
    return target, result.certificate


def attack(target, claim: Claim):
    text = split(TEXT)
    pools = target.lexicon.pools(text, [False] * len(text))
    arsenal = build_arsenal(LABELS, [(TEXT, "positive"), ("a bad and poor film", "negative")], target.lexicon.antonyms)
    return drive(attack_steps(target, text, pools, claim, arsenal, "1", Effort(20, 100)), lambda texts, _: mood(texts))


def test_the_published_radius_of_a_synonym_recovery_is_broken_by_one_word():
    target, certificate = certified("synonym")
    assert certificate.prediction == "positive"
    assert certificate.radius.words >= 1
    (word,) = [
        c for c in claims_of(certificate, certificate.subject.attackable) if (c.kind, c.threat) == ("published", "word")
    ]
    attempt = attack(target, word)
    assert attempt.broken
    assert attempt.answer == "negative"
    assert 1 <= len(attempt.changed) <= word.radius
    assert attempt.p_value <= Effort().level
    assert mood([attempt.text]) == ["negative"]


def test_swaps_inside_closed_classes_do_not_break_it():
    target, certificate = certified("synonym")
    claims = claims_of(certificate, certificate.subject.attackable)
    assert [(c.kind, c.threat) for c in claims] == [
        ("published", "word"),
        ("published", "synonym"),
        ("proved", "synonym"),
    ]
    for claim in claims[1:]:
        attempt = attack(target, claim)
        assert attempt.tried > 0
        assert not attempt.broken


def test_a_radius_proved_by_masking_survives_any_words():
    target, certificate = certified("mask", "0.3")
    for claim in claims_of(certificate, certificate.subject.attackable):
        assert not attack(target, claim).broken


def test_an_abstention_and_radius_zero_claim_nothing():
    _, certificate = certified("synonym")
    zero = dataclasses.replace(certificate, overlaps={})
    assert {c.kind for c in claims_of(zero, certificate.subject.attackable)} == {"published"}
    undecided = dataclasses.replace(
        certificate, selection=certificate.selection + certificate.selection.__class__({"negative": 60})
    )
    assert claims_of(undecided, certificate.subject.attackable) == []


@pytest.mark.parametrize("threat", ["word", "synonym"])
def test_candidates_stay_inside_the_ball(threat):
    text = split(TEXT)
    pools = Lexicon().pools(text, [False] * len(text))
    positions = tuple(i for i, pool in enumerate(pools) if len(pool) > 1 or threat == "word")
    claim = Claim("published", threat, 2, positions, "positive")
    arsenal = build_arsenal(LABELS, [(TEXT, "positive"), ("dull sad slow film", "negative")], Lexicon().antonyms)
    found = list(candidates(text, pools, claim, np.arange(len(text)), arsenal, np.random.default_rng(0)))
    assert found
    for candidate in found:
        changed = [i for i, (a, b) in enumerate(zip(text.words, candidate.words, strict=True)) if a != b]
        assert 1 <= len(changed) <= 2
        assert set(changed) <= set(positions)
        if threat == "synonym":
            assert all(candidate.words[i] in pools[i] for i in changed)


def test_dependence_finds_the_word_that_decides():
    rows = np.random.default_rng(0).random((500, 4)) < 0.5
    vote_record = VoteRecord(
        "certify", 0, tuple("positive" if row[2] else "negative" for row in rows), (True,) * 500, pack_sets(rows)
    )
    effect = dependence([vote_record], rows.shape[1], "positive")
    assert effect.argmax() == 2
    assert effect[2] > 0.9
    assert abs(effect[[0, 1, 3]]).max() < 0.2


def test_packaged_antonyms_follow_the_case_and_arm_the_search():
    assert antonyms("good")[0] == "bad"
    assert antonyms("Good")[0] == "Bad"
    assert "good" in antonyms("awful")  # through "bad", which it is similar to
    assert antonyms("positive")[0] == "negative"
    assert antonyms("iPhone") == antonyms("zxqv") == ()
    arsenal = build_arsenal(LABELS, [(TEXT, "positive")], antonyms)
    assert arsenal.against("positive", "good")[0] == "bad"


def test_no_packaged_word_is_its_own_opposite():
    table = _packaged()
    assert len(table) > 2000
    assert all(others and word not in others for word, others in table.items())
