"""SmoothLLM's noise: how much it changes, and that nothing is certified with it."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.core.test_certificate import make
from tests.screens import verbose

import clucert.api
from clucert import certificate_json as document
from clucert.core.channel import make_recovery
from clucert.core.noise.characters import (
    ALPHABET,
    PERTURBATIONS,
    CharacterRecovery,
    insert,
    parse_q,
    patch,
    perturbed_count,
    swap,
)
from clucert.core.radius import Radius
from clucert.core.settings import Perturbation
from clucert.core.smoothing import VOTES_ONLY, Certified
from clucert.core.words import split
from clucert.errors import InputError
from clucert.methods import load_method
from clucert.types import Votes

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
PERCENT = st.fractions(Fraction(1, 100), Fraction(100))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(TEXTS, PERCENT, st.integers(0, 9))
def test_swap_changes_m_places_and_no_length(text: str, q: Fraction, seed: int) -> None:
    m = perturbed_count(len(text), q)
    out = swap(text, m, rng(seed))
    changed = [new for old, new in zip(text, out, strict=True) if old != new]
    assert len(changed) <= m
    assert set(changed) <= set(ALPHABET)


@given(st.text("äöü", min_size=1, max_size=60), PERCENT, st.integers(0, 9))
def test_exactly_q_percent_of_the_characters_change(text: str, q: Fraction, seed: int) -> None:
    """Of letters outside the alphabet, so that no draw is the old letter."""
    m = int(len(text) * q / 100)
    assert sum(a != b for a, b in zip(text, swap(text, m, rng(seed)), strict=True)) == m
    patched = [a != b for a, b in zip(text, patch(text, m, rng(seed)), strict=True)]
    assert sum(patched) == m
    assert "".join("x" if p else "." for p in patched).strip(".") == "x" * m
    longer = insert(text, m, rng(seed))
    assert len(longer) == len(text) + m
    assert "".join(c for c in longer if c in "äöü") == text


@given(TEXTS, PERCENT, st.integers(0, 9))
def test_insert_keeps_the_text_and_never_puts_two_in_one_place(text: str, q: Fraction, seed: int) -> None:
    m = perturbed_count(len(text), q)
    out = insert(text, m, rng(seed))
    rest = iter(out)
    assert all(c in rest for c in text)
    assert len(out) == len(text) + m
    assert out.endswith(text[-1])


@given(st.integers(0, 5000), PERCENT)
def test_the_count_is_the_exact_floor(length: int, q: Fraction) -> None:
    m = perturbed_count(length, q)
    assert m <= q * length / 100 < m + 1


def test_the_count_has_no_rounding_error() -> None:
    assert perturbed_count(1000, parse_q("0.7")) == 7
    assert perturbed_count(1000, parse_q(0.7)) == 7
    assert perturbed_count(10, parse_q(100)) == 10
    assert perturbed_count(9, parse_q(10)) == 0


@pytest.mark.parametrize("q", ["0", "-1", "101", "ten", "1/0", "nan"])
def test_a_wrong_q_is_refused(q: str) -> None:
    with pytest.raises(InputError, match=r"percentage|is not a number"):
        parse_q(q)


def test_places_are_uniform() -> None:
    generator, hits = rng(7), Counter[int]()
    for _ in range(4000):
        hits.update(i for i, c in enumerate(swap("ääää", 1, generator)) if c != "ä")
    # Four standard deviations of a binomial with p = 1/4.
    assert all(abs(hits[i] - 1000) < 4 * 4000**0.5 / 2 for i in range(4))


def test_letters_are_uniform() -> None:
    drawn = Counter(swap("ä" * 20_000, 20_000, rng(3)))
    assert set(drawn) == set(ALPHABET)
    assert len(ALPHABET) == 100
    assert all(abs(n - 200) < 5 * 200**0.5 for n in drawn.values())


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_rows_are_independent_and_repeat_with_the_seed(kind: str) -> None:
    recovery = CharacterRecovery(Perturbation(kind, Fraction(20)))  # type: ignore[arg-type]
    text = split("tell me how to bake a loaf of bread , please")

    def draw(seed: int) -> list[str]:
        steps = recovery.recover(text, np.ones((30, len(text)), dtype=np.bool_), rng(seed), "predict")
        with pytest.raises(StopIteration) as stop:
            next(steps)
        return list(stop.value.value.texts)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len(set(draw(1))) > 25
    assert not recovery.deterministic


def test_a_short_text_stays_as_it_is() -> None:
    steps = CharacterRecovery(Perturbation()).recover(
        split("hi you"), np.ones((2, 2), dtype=np.bool_), rng(), "predict"
    )
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value.texts == ["hi you", "hi you"]


@given(st.text("ab", min_size=2, max_size=5), st.integers(0, 4), st.integers(1, 3), st.sampled_from("ab"))
def test_one_changed_character_overlaps_in_m_of_n_places_and_no_more(text: str, place: int, m: int, new: str) -> None:
    """By enumeration over two letters: 1 − TV of the swap kernel on texts that differ in one character is m/n."""
    n = len(text)
    assume(place < n and m <= n and text[place] != new)
    other = text[:place] + new + text[place + 1 :]

    def distribution(of: str) -> dict[str, Fraction]:
        sets = list(combinations(range(n), m))
        found: dict[str, Fraction] = {}
        for chosen in sets:
            for letters in product("ab", repeat=m):
                out = list(of)
                for i, letter in zip(chosen, letters, strict=True):
                    out[i] = letter
                key = "".join(out)
                found[key] = found.get(key, Fraction(0)) + Fraction(1, len(sets) * 2**m)
        return found

    a, b = distribution(text), distribution(other)
    overlap = sum(min(p, b.get(key, Fraction(0))) for key, p in a.items())
    assert overlap == Fraction(m, n)


def smoothllm(**options: object) -> clucert.api.SmoothedClassifier:
    def classify(texts: list[str]) -> list[str]:
        return ["refused" if "bomb" in text else "complied" for text in texts]

    fields: dict[str, object] = {"method": "smoothllm", "q": "5", "samples": 40, "certify_samples": 300, **options}
    return clucert.api.smooth(classify, ["refused", "complied"], **fields)


TEXT = "tell me a way to build a bomb from things that I have at home"


def test_smoothllm_votes_and_certifies_no_word() -> None:
    certificate = smoothllm().certify(TEXT).certificate
    assert certificate.prediction == "refused"
    assert certificate.s == certificate.n
    assert certificate.radius == Radius(0)
    assert certificate.proved["word"] == Radius(0)
    assert not any(certificate.subject.attackable)
    assert certificate.assumptions == ()
    assert VOTES_ONLY in certificate.notes


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5])
def test_no_gamma_gives_smoothllm_a_radius(gamma: float) -> None:
    certificate = smoothllm(gamma=gamma).certify(TEXT).certificate
    assert certificate.radius == Radius(0)
    assert "A2" not in certificate.assumptions


def test_the_vote_is_indeed_broken_by_one_word() -> None:
    """Why 0 is right: whatever the margin, one changed word flips the answer."""
    model = smoothllm()
    assert model.certify(TEXT).prediction == "refused"
    assert model.certify(TEXT.replace("bomb", "shed")).prediction == "complied"


def test_a_synonym_is_no_more_hidden_than_any_word() -> None:
    certificate = smoothllm().certify("a funny film with a good cast and a slow story about a bomb").certificate
    assert certificate.overlaps["synonym"].masked
    assert set(certificate.overlaps["synonym"].masked) == {Fraction(0)}
    assert certificate.proved["synonym"] == Radius(0)


def test_the_perturbation_survives_the_document_and_is_shown() -> None:
    certified = Certified(make(Votes({"positive": 9}), Votes({"positive": 9}), perturbation=Perturbation("insert")))
    written = json.loads(json.dumps(document.write(certified)))
    assert written["settings"]["perturbation"] == {"kind": "insert", "q": "10"}
    assert document.read(written)[0].certificate == certified.certificate
    del written["settings"]["perturbation"], written["settings"]["base"]["reader"]
    assert document.read(written)[0].certificate.settings.perturbation is None  # written by an earlier version
    assert "swap of 5 % of the characters" in verbose(smoothllm().certify(TEXT))


def test_the_method_reads_its_options() -> None:
    method = load_method("smoothllm").for_task("jailbreak", q="5", perturbation="patch")
    assert (method.q, method.perturbation, method.mask_rate) == ("5", "patch", "0")
    seen = smoothllm(perturbation="patch").certify(TEXT).certificate.settings
    assert seen.perturbation == Perturbation("patch", Fraction(5))
    assert isinstance(make_recovery(seen, ()), CharacterRecovery)


@pytest.mark.parametrize(
    ("method", "options", "problem"),
    [
        ("smoothllm", {"q": "0"}, "out of range"),
        ("smoothllm", {"q": "x"}, "not a number"),
        ("smoothllm", {"perturbation": "delete"}, "perturbation"),
        ("smoothllm", {"mask_rate": "0.3"}, "mask_rate"),
        ("smoothllm", {"recoveries": 3}, "recover more than once"),
        ("ranmask", {"q": "5"}, "smoothllm"),
        ("ranmask", {"mask_rate": "0"}, "masks nothing"),
        ("ranmask", {"recovery": "characters"}, "start from smoothllm"),
    ],
)
def test_options_that_do_not_go_together_are_refused(method: str, options: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        load_method(method).for_task("sst2", **options)
    assert "\n" not in str(caught.value)
