"""Certified against empirical radii, on victims small enough to know."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attack_world import LABELS, ROWS, label, smooth_small

from clucert.api import smooth
from clucert.attacks import certificates as certified
from clucert.attacks.certificates import Match, empirical_vs_certified
from clucert.attacks.constraints import WithinPools
from clucert.attacks.recipes import deepwordbug, synonyms
from clucert.audit.claims import Claim
from clucert.core.words import split
from clucert.lexicon import load_lexicon

TEXTS = [(str(i), text) for i, (text, _) in enumerate(ROWS[:7])]
MATCH = Match(samples=40, confirm=200)


def test_no_attack_flips_a_proved_certificate_and_all_go_further_than_it() -> None:
    smoothed = smooth_small(mask_rate="0.6", samples=60, certify_samples=400)
    found = empirical_vs_certified(smoothed, TEXTS, deepwordbug(), MATCH)
    assert found.duels
    assert len(found.duels) + found.uncertified == len(TEXTS)
    assert {duel.result.status for duel in found.duels} == {"success", "failure"}
    assert not any(duel.broken for duel in found.duels)
    assert found.holds
    assert found.exceeds is not None
    assert found.exceeds.value == sum(d.empirical is None or d.empirical > d.claim.radius for d in found.duels) / len(
        found.duels
    )
    for duel in found.duels:
        if duel.result.status == "success":
            assert len(split(duel.result.perturbed)) == len(split(duel.result.text))
    assert found.document()["certified"] == len(found.duels)


def test_duels_side_by_side_come_to_the_same_in_fewer_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counting(texts: list[str]) -> list[str]:
        calls.append(len(texts))
        return label(texts)

    smoothed = smooth(counting, LABELS, method="ranmask", mask_rate="0.6", samples=60, certify_samples=400)
    certificates = {identity: smoothed.certify(text, example=identity).certificate for identity, text in TEXTS}
    calls.clear()
    together = certified.attack_certificates(smoothed, certificates, deepwordbug(), MATCH)
    rounds = len(calls)
    calls.clear()
    monkeypatch.setattr(certified, "SIDE_BY_SIDE", 1)
    assert certified.attack_certificates(smoothed, certificates, deepwordbug(), MATCH) == together
    assert rounds < len(calls)


def test_a_radius_that_is_too_large_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def boast(certificate, threat):  # type: ignore[no-untyped-def]
        return Claim("proved", threat, certificate.n, tuple(range(certificate.n)), certificate.prediction)

    monkeypatch.setattr(certified, "proved_claim", boast)
    found = empirical_vs_certified(smooth_small(samples=60, certify_samples=100), TEXTS, deepwordbug(), MATCH)
    broken = [duel for duel in found.duels if duel.broken]
    assert len(broken) >= 2
    # Two in seven may be bad luck; the same share of many more is not.
    assert not replace(found, duels=found.duels * 6).holds
    for duel in broken:
        assert duel.changed is not None
        assert 1 <= duel.changed <= duel.result.words_changed


def test_synonym_claims_are_attacked_with_words_of_their_pools_only() -> None:
    favourites = {"film": "movie", "plot": "story", "great": "good", "dull": "tame"}

    def loves_some_words(texts: list[str]) -> list[str]:
        return [LABELS[any(w in favourites for w in split(t).words)] for t in texts]

    smoothed = smooth(loves_some_words, LABELS, method="clucert-no-refine", clustering="none", samples=60)
    lexicon = load_lexicon()
    found = empirical_vs_certified(smoothed, TEXTS, synonyms(), Match(threat="synonym", samples=40, confirm=200))
    assert found.threat == "synonym"
    for duel in found.duels:
        for _, old, new in duel.result.changes:
            assert new in lexicon.pool(old)
        assert not duel.broken


def test_pools_are_those_of_the_smoother() -> None:
    attack = synonyms().restricted((1,), WithinPools((("a",), ("dull",))))
    assert attack.positions == (1,)
    assert isinstance(attack.constraints[0], WithinPools)
