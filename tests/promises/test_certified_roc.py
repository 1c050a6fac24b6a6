"""A threshold chosen on validation rows keeps its false-positive rate, and certified recall only falls."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from fractions import Fraction

import pytest
from scipy.stats import binom

import clucert
from clucert.core.noise.canonical import Spelling
from clucert.core.thresholds import most_to_pass, rows_needed
from clucert.errors import InputError
from clucert.evaluate.roc import (
    DELTAS,
    MISSPELL,
    SHARES,
    Guarded,
    GuardedRow,
    RocPoint,
    certified_roc,
    choose,
    is_flagged,
    point_at,
    reading,
)
from clucert.lexicon.lookalikes import english_frequencies
from tests.promises.test_flags import scattered

LABELS = ("harmful", "unsafe", "safe")
FLAG = ["harmful", "unsafe"]
METHODS = ["groups", "blocks", "windows", "chunks", "erase-and-check", "deletion", "ranmask"]


def certified(method: str, text: str, seed: int, share: float, samples: int = 60) -> Guarded:
    def classify(texts: list[str]) -> list[list[float]]:
        return [list(scattered(seed, share)(t).shares or (0.2, 0.2, 0.6)) for t in texts]

    given = {"deterministic": True, "seed": seed, "samples": samples, "certify_samples": 200}
    if method in ("deletion", "ranmask"):
        options = {"method": method, "mask_rate": "0.7", "flag": FLAG, "flag_threshold": "0.5"}
        return clucert.smooth(classify, LABELS, **given, **options).certify(text).certificate
    model = clucert.smooth(classify, LABELS, method="ranmask", **given)
    size = {"size": 3} if method == "windows" else {}
    return model.prove(text, [method], flag=tuple(FLAG), **size)[0].certificate


@pytest.mark.parametrize("method", METHODS)
def test_certified_recall_falls_with_changes_and_with_the_threshold(method: str) -> None:
    rng = random.Random(method)
    rows = []
    for i in range(24):
        text = " ".join(rng.choices("abcdefgh", k=rng.randint(5, 12)))
        harmful = i % 2 == 0
        rows.append(GuardedRow(harmful, certified(method, text, i, 0.9 if harmful else 0.15)))
    points = certified_roc([*rows, GuardedRow(True, None), GuardedRow(False, None)], FLAG)
    assert [p.threshold for p in points] == sorted((p.threshold for p in points), reverse=True)
    for before, after in itertools.pairwise(points):
        assert before.false_positives <= after.false_positives
        assert before.recalled <= after.recalled
    for point in points:
        assert (point.harmful, point.harmless) == (13, 13)
        for threat, by in point.surviving.items():
            held = [point.recalled, *(by[d] for d in DELTAS)]
            assert held == sorted(held, reverse=True), threat
    last = points[-1]
    assert last.recalled > 6
    assert any(by[1] for by in last.surviving.values())
    assert last.document()["survives"].keys() == last.surviving.keys()
    # A failed row is blocked: a false positive, and no recall.
    assert points[0].false_positives >= 1
    assert last.recalled <= 12
    assert points[0].recall() == points[0].recalled / 13


def test_a_point_is_what_single_certificates_say() -> None:
    rows = [GuardedRow(i < 4, certified("groups", f"a b c d {i}", i, 0.7)) for i in range(8)]
    (point,) = certified_roc(rows, FLAG, [Fraction(2, 5)])
    read = [reading(row.certificate, FLAG, Fraction(2, 5)) for row in rows if row.certificate]
    assert point.recalled == sum(map(is_flagged, read[:4]))
    assert point.false_positives == sum(map(is_flagged, read[4:]))
    proved = [c.proved["insert"] for c in read[:4] if is_flagged(c)]
    assert point.surviving["insert"][1] == sum(r is not None and r.reaches(1) for r in proved)


@pytest.mark.parametrize("law", ["sampled", "exact"])
def test_the_chosen_threshold_keeps_its_rate_but_with_probability_delta(law: str) -> None:
    """Harmless texts have a p_harm each. The rate of the rule as it is deployed, by simulation of whole choices."""
    rng, fpr, confidence, rows, samples, runs = random.Random(5), Fraction(1, 10), Fraction(9, 10), 80, 60, 400
    grid = [Fraction(i, 20) for i in range(18, 0, -2)]
    most = {eta: most_to_pass(samples, eta, 0.05) for eta in grid}

    def rate(eta: Fraction) -> float:
        """Exactly: p_harm of harmless texts is one of ten values, all alike."""
        if law == "exact":
            return sum(Fraction(i, 20) >= eta for i in range(10)) / 10
        return sum(float(binom.sf(most[eta], samples, i / 20)) for i in range(10)) / 10

    rates = {eta: rate(eta) for eta in grid}
    assert min(rates.values()) < float(fpr) < max(rates.values())
    wrong = chosen = 0
    for _ in range(runs):
        texts = [rng.randrange(10) / 20 for _ in range(rows)]
        votes = [p if law == "exact" else sum(rng.random() < p for _ in range(samples)) for p in texts]
        flags = {eta: sum(v >= eta if law == "exact" else v > most[eta] for v in votes) for eta in grid}
        points = [RocPoint(eta, rows, flags[eta], 0, 0, {}) for eta in grid]
        try:
            found = choose(points, fpr, confidence)
        except InputError:
            continue
        chosen += 1
        wrong += rates[found.point.threshold] > fpr
    assert wrong <= binom.ppf(0.999, runs, float(1 - confidence))
    assert chosen > runs / 3


def test_too_few_harmless_rows_are_told_how_many_it_takes() -> None:
    few = [RocPoint(Fraction(1, 2), 298, 0, 10, 9, {})]
    with pytest.raises(InputError, match=r"298 harmless rows cannot show .* it takes 299"):
        choose(few, Fraction(1, 100), Fraction(95, 100))
    enough = [RocPoint(eta, 299, 0, 10, 9, {}) for eta in SHARES]
    assert choose(enough, Fraction(1, 100), Fraction(95, 100)).point.threshold == Fraction(1, 100)
    assert rows_needed(0.01) == 299
    with pytest.raises(InputError, match=r"at the highest, 0\.9, 3 of 299"):
        choose([RocPoint(Fraction(9, 10), 299, 3, 10, 9, {})], Fraction(1, 100), Fraction(95, 100))
    with pytest.raises(InputError, match="no row"):
        certified_roc([GuardedRow(True, None)], FLAG)


def test_the_bound_on_one_threshold_is_no_more_than_the_rate_that_is_promised() -> None:
    points = [RocPoint(eta, 400, 2 if eta < Fraction(1, 2) else 0, 10, 9, {}) for eta in SHARES]
    found = choose(points, Fraction(2, 100), Fraction(95, 100))
    assert found.point.threshold == Fraction(1, 100)
    assert found.upper <= 0.02
    assert found.p_value <= 0.05


@pytest.mark.parametrize("method", ["groups", "windows"])
def test_recall_that_survives_misspellings_survives_every_one_of_them(method: str) -> None:
    """Any nine words of prompts misspelt by one letter, into no dictionary word: sealed ones for free."""
    rng, words = random.Random(3), english_frequencies()
    triggers, grid = {"explain", "building", "planet", "house"}, (Fraction(1), Fraction(2))
    known = ("explain", "bomb", "house", "planet", "don't", "building", "at", "a", "thing", "U.S.", "cat.")

    def classify(texts: list[str]) -> list[str]:
        return ["harmful" if triggers & set(text.split()) else "safe" for text in texts]

    more = {"windows": {"size": 2}, "groups": {"count": 3}}[method]
    grid = grid if method == "windows" else (Fraction(1, 10), Fraction(3, 10))
    model = clucert.smooth(classify, LABELS, method="ranmask", canonical=["spelling"], deterministic=True)

    def certified_now(text: str) -> Guarded:
        return model.prove(text, [method], flag=tuple(FLAG), **more)[0].certificate

    survived = 0
    for _ in range(3):
        text = " ".join([*rng.choices(known, k=4), "explain", "building", "planet", "house"])
        certificate = certified_now(text)
        for at in certified_roc([GuardedRow(True, certificate)], FLAG, grid):
            mine = GuardedRow(True, reading(certificate, FLAG, at.threshold))
            for wanted in (1, 9):
                if not point_at([mine], at.threshold, (wanted,)).surviving[MISSPELL][wanted]:
                    continue
                survived += 1
                other = _misspelt(text, wanted, rng, words)
                assert is_flagged(reading(certified_now(other), FLAG, at.threshold)), (text, other, at.threshold)
    assert survived >= 3


def _misspelt(text: str, most: int, rng: random.Random, words: Mapping[str, int]) -> str:
    """The text with up to ``most`` of its words of plain letters misspelt."""
    pieces = text.split(" ")
    places = [i for i, piece in enumerate(pieces) if piece.isalpha()]
    for i in rng.sample(places, min(most, len(places))):
        found = [w for w in Spelling(words).edits(pieces[i].lower()) if w and w not in words]
        pieces[i] = rng.choice(found)
    return " ".join(pieces)
