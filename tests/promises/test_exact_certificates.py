"""Exact certificates from end to end: texts in the ball get the certified answer, and what is stored reads back.

The theorems are held to every text of their balls in test_noise_groups.py and test_noise_windows.py.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clucert
from clucert.api import SmoothedClassifier, load_exact
from clucert.core.settings import Base
from clucert.errors import InputError, UsageError
from clucert.methods.exact import ExactMethod

LABELS = ["yes", "no"]
VOCABULARY = tuple("abcdefgh")
BIAS = [{"words": 1, "of": {"yes": 0.4, "no": -0.4}}, {"of": {"yes": -0.2, "no": 0.2}}]
AFFINE = [{**each, "scale": scale} for each, scale in zip(BIAS, (3.0, 1.5), strict=True)]
"""By length of the sub-text: an insertion moves sub-texts from one class to the other."""


def scattered(seed: int, sure: float):
    """A classifier that says "yes" of most texts, whatever they are, and gives probabilities."""

    def classify(texts: list[str]) -> list[list[float]]:
        rows = []
        for text in texts:
            rng = random.Random(f"{seed}/{text}")
            yes = rng.random() if rng.random() > sure else 0.5 + rng.random() / 2
            rows.append([yes, 1 - yes])
        return rows

    return classify


def smoothed(seed: int = 0, sure: float = 0.8) -> SmoothedClassifier:
    return clucert.smooth(scattered(seed, sure), LABELS, method="ranmask", deterministic=True)


def edited(words: tuple[str, ...], threat: str) -> Iterator[tuple[str, ...]]:
    """All texts that one operation makes of ``words``."""
    n = len(words)
    if threat in ("insert", "edit"):
        yield from ((*words[:i], w, *words[i:]) for i in range(n + 1) for w in VOCABULARY)
    if threat in ("delete", "edit"):
        yield from ((*words[:i], *words[i + 1 :]) for i in range(n))
    if threat in ("replace", "edit"):
        yield from ((*words[:i], w, *words[i + 1 :]) for i in range(n) for w in VOCABULARY)
    if threat == "move":
        for i, j in itertools.product(range(n), range(n)):
            rest = (*words[:i], *words[i + 1 :])
            yield (*rest[:j], words[i], *rest[j:])


def ball(words: tuple[str, ...], threat: str, radius: int) -> set[tuple[str, ...]]:
    reached = {words}
    for _ in range(radius):
        reached |= {changed for each in reached for changed in edited(each, threat)}
    return {each for each in reached if each}


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("groups", {"count": 5}),
        ("groups", {"count": 5, "scores": "hard"}),
        ("groups", {"count": 3, "hashes": 2}),
        ("blocks", {"count": 5}),
        ("blocks", {"count": 5, "scores": "hard"}),
        ("chunks", {"every": 2}),
        ("groups", {"count": 5, "bias": BIAS}),
        ("blocks", {"count": 3, "bias": BIAS}),
        ("chunks", {"every": 2, "bias": BIAS}),
        ("groups", {"count": 5, "bias": AFFINE}),
        ("blocks", {"count": 3, "bias": AFFINE}),
        ("chunks", {"every": 2, "bias": AFFINE}),
    ],
)
def test_texts_in_the_ball_get_the_certified_answer(method: str, parameters: dict[str, object]) -> None:
    claims = 0
    for seed in range(12):
        with smoothed(seed, 0.9) as model:
            words = tuple(random.Random(seed).choices(VOCABULARY, k=7))
            (proof,) = model.prove(" ".join(words), [method], **parameters)
            for threat, radius in proof.proved.items():
                if radius is None or not radius.words:
                    continue
                claims += 1
                reached = sorted(ball(words, threat, min(radius.words, 2)))
                for changed in random.Random(seed).sample(reached, min(len(reached), 60)):
                    (other,) = model.prove(" ".join(changed), [method], **parameters)
                    assert other.prediction == proof.prediction, (seed, threat, radius, words, changed)
    assert claims >= 3


def test_a_certificate_is_read_back_to_the_same_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    with smoothed(3) as model:
        (proof,) = model.prove("u v w u v w w", ["groups"], count=3)
    document = proof.document()
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    back = load_exact(path)
    assert (back.prediction, back.proved) == (proof.prediction, proof.proved)
    assert back.document()["derived"] == document["derived"]
    first = document["answers"][0]
    for wrong in (
        {"kind": "other"},
        {"text": "u v"},
        {"labels": ["yes", "UNPARSED"]},
        {"labels": ["yes", "yes"]},
        {"answers": document["answers"][1:]},
        {"answers": [{**first, "vote": "maybe"}, *document["answers"][1:]]},
        {"answers": [{**first, "shares": [2.0, 0.0]}, *document["answers"][1:]]},
        {"answers": [{**first, "shares": [float("nan"), 0.0]}, *document["answers"][1:]]},
        {"method": {**document["method"], "count": 0}},
        {"method": {**document["method"], "count": 4}},
        {"schema_version": 2},
    ):
        path.write_text(json.dumps(document | wrong))
        with pytest.raises(InputError) as caught:
            load_exact(path)
        assert "\n" not in str(caught.value)


def test_blocks_by_length_are_those_of_their_length_and_hold_in_their_balls(tmp_path: Path) -> None:
    counts = [[4, 2], [6, 3]]
    claims = 0
    for seed in range(12):
        for n in (3, 4, 5, 6, 7, 9):
            words = tuple(random.Random(seed).choices(VOCABULARY, k=n))
            with smoothed(seed, 0.95) as model:
                (proof,) = model.prove(" ".join(words), ["blocks"], counts=counts, count=5)
                (plain,) = model.prove(" ".join(words), ["blocks"], count=2 if n <= 4 else 3 if n <= 6 else 5)
                assert (proof.prediction, proof.proved) == (plain.prediction, plain.proved)
                radius = proof.proved["replace"]
                if radius is None or not radius.words:
                    continue
                claims += 1
                for changed in sorted(ball(words, "replace", 1)):
                    (other,) = model.prove(" ".join(changed), ["blocks"], counts=counts, count=5)
                    assert other.prediction == proof.prediction
            path = tmp_path / "c.json"
            path.write_text(json.dumps(proof.document()))
            assert load_exact(path).proved == proof.proved
    assert claims > 10
    for wrong in (
        {"counts": [[6, 3], [4, 2]]},
        {"counts": [[0, 3]]},
        {"counts": [[4, 0]]},
        {"counts": counts, "kept": 3},
    ):
        with pytest.raises(InputError):
            smoothed().prove("u v", ["blocks"], **wrong)
    with pytest.raises(InputError, match="only blocks"):
        smoothed().prove("u v", ["groups"], counts=counts)
    with pytest.raises(InputError, match="by length"):
        smoothed().prove("u v", ["blocks"], counts=counts, flag=["yes"])


def test_where_nothing_is_proved_the_missing_lead_is_named() -> None:
    model = clucert.smooth(
        lambda texts: ["yes" if "a" in text.split() else "no" for text in texts],
        LABELS,
        method="ranmask",
        deterministic=True,
    )
    (proof,) = model.prove("a b c d", ["blocks"], count=2)
    assert all(radius is None or not radius.words for radius in proof.proved.values())
    assert "nothing" in str(proof)
    assert "leads" in str(proof)
    assert "one word replaced can take" in str(proof)


def test_a_classifier_that_may_draw_is_refused_the_word_exact() -> None:
    model = clucert.smooth(scattered(0, 0.5), LABELS, method="ranmask")
    with pytest.raises(UsageError, match="deterministic"):
        model.prove("u v w")


def test_text_before_and_behind_does_not_unflag() -> None:
    def classify(texts: list[str]) -> list[str]:
        return ["yes" if "bad word" in text else "no" for text in texts]

    model = clucert.smooth(classify, LABELS, method="ranmask", deterministic=True)
    options = {"flag": ("yes",), "size": 3}
    (proof,) = model.prove("say a bad word now", ["windows"], **options)
    assert proof.prediction == "yes"
    ends = proof.proved["ends"]
    assert ends is not None
    assert ends.everything
    for before, behind in itertools.product(("", "good words " * 9), repeat=2):
        (other,) = model.prove(f"{before} say a bad word now {behind}", ["windows"], **options)
        assert other.prediction == "yes"
    (suffixed,) = model.prove("say a bad word now", ["erase-and-check"], flag=("yes",), suffix=4)
    assert suffixed.proved["suffix"] is not None
    assert suffixed.proved["suffix"].words == 4
    with pytest.raises(InputError, match="--flag"):
        model.prove("say", ["windows"])


def test_units_may_be_passages_and_what_is_no_list_is_refused() -> None:
    def classify(texts: list[str]) -> list[str]:
        return ["no" if "poison" in text else "yes" for text in texts]

    model = clucert.smooth(classify, LABELS, method="ranmask", deterministic=True)
    passages = [f"passage {i}" for i in range(7)]
    (proof,) = model.prove(json.dumps(passages), ["blocks"], unit="passage", count=7)
    radius = proof.proved["replace"]
    assert radius is not None
    assert radius.words == 3
    for k in range(radius.words + 1):
        poisoned = ["poison"] * k + passages[k:]
        assert model.prove(json.dumps(poisoned), ["blocks"], unit="passage", count=7)[0].prediction == "yes"
    with pytest.raises(InputError, match="JSON list"):
        model.prove("no list", ["blocks"], unit="passage")


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_a_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no words"):
        smoothed().prove(text)


def test_one_word_emoji_and_long_texts_have_certificates() -> None:
    model = smoothed(1, 1.0)
    for text in ("word", "😀", "שלום עולם", "a\0b", "<b>x</b> &amp; y", "w " * 20_000):
        for proof in model.prove(text):
            assert proof.prediction is not None


def test_a_method_of_each_kind_says_where_it_belongs() -> None:
    with pytest.raises(UsageError, match="prove"):
        clucert.smooth(scattered(0, 0.5), LABELS, method="groups")
    with pytest.raises(UsageError, match="samples"):
        smoothed().prove("u", ["ranmask"])
    with pytest.raises(UsageError, match="mask_rate"):
        smoothed().prove("u", ["groups"], mask_rate="0.5")


def test_a_bias_is_for_every_length_or_for_lengths_that_grow() -> None:
    with smoothed() as model:
        flat, listed, none = (
            model.prove("a b c d e", ["blocks"], bias=bias)[0].certificate
            for bias in ({"yes": 9.0, "no": -9.0}, [{"of": {"yes": 9.0, "no": -9.0}}], {})
        )
        assert flat.prediction == listed.prediction == "no"
        assert none.settings.bias == ()
        for wrong in (
            [{"words": 3, "of": {}}],
            [{"of": {}}, {"of": {}}],
            [{"words": 3, "of": {}}, {"words": 2, "of": {}}],
        ):
            with pytest.raises(InputError, match="lengths must grow"):
                model.prove("a b c d e", ["blocks"], bias=wrong)
        with pytest.raises(UsageError, match="none of the labels"):
            model.prove("a b c d e", ["blocks"], bias={"maybe": 1.0})


@pytest.mark.parametrize("method", ["blocks", "groups", "chunks"])
def test_any_calibration_is_part_of_the_classifier_that_is_certified(method: str) -> None:
    """Whatever the numbers are: the certificate is that of a model that calibrates its own answers."""
    rng = random.Random(4)
    for seed in range(25):
        biases = [
            {"words": words, "of": {"yes": rng.gauss(0, 1), "no": rng.gauss(0, 1)}, "scale": math.exp(rng.gauss(0, 1))}
            for words in (1, 2, None)
        ]

        def calibrated(texts: list[str], seed: int = seed, biases: list[dict[str, Any]] = biases) -> list[list[float]]:
            found = []
            for text, shares in zip(texts, scattered(seed, 0.6)(texts), strict=True):
                own = next(b for b in biases if b["words"] is None or len(text.split()) <= b["words"])
                z = [(math.log(round(p, 6)) - own["of"][name]) * own["scale"]
                     for name, p in zip(LABELS, shares, strict=True)]  # fmt: skip
                found.append([math.exp(x) / sum(map(math.exp, z)) for x in z])
            return found

        own = clucert.smooth(calibrated, LABELS, method="ranmask", deterministic=True)
        text = " ".join(rng.choices(VOCABULARY, k=9))
        for votes in ({}, {"scores": "hard"}, {"sharpness": 1.0}):
            (outer,) = smoothed(seed, 0.6).prove(text, [method], bias=biases, **votes)
            (inner,) = own.prove(text, [method], **votes)
            assert (outer.prediction, outer.proved) == (inner.prediction, inner.proved)
            for there, here in zip(outer.certificate.family[0], inner.certificate.family[0], strict=True):
                assert {name: float(p) for name, p in there.items()} == pytest.approx(
                    {name: float(p) for name, p in here.items()}, abs=1e-4
                )


def test_what_was_tuned_for_a_model_is_taken_for_that_model_and_task_alone() -> None:
    method = ExactMethod(
        name="m", family="blocks", models={"big": {"sst2": {"count": 7}}}, tasks={"sst2": {"count": 3}}
    )
    counts = [
        method.for_base(Base(models, task)).count
        for models, task in ((("big",), "sst2"), (("small",), "sst2"), (("big",), "agnews"), (("big", "small"), "sst2"))
    ]
    assert counts == [7, 3, 5, 3]
    assert method.for_base(Base(("big",), "sst2"), count=9).count == 9


@pytest.mark.parametrize("sharpness", [1.0, 100.0])
@pytest.mark.parametrize(("size", "scale"), [(50.0, 1.0), (1000.0, 100.0), (1e308, 1e-300), (1e308, 100.0)])
def test_no_bias_is_too_large_to_count_with(tmp_path: Path, size: float, scale: float, sharpness: float) -> None:
    with smoothed(sure=1.0) as model:
        bias = ({"of": {"yes": size, "no": -size}, "scale": scale},)
        (proof,) = model.prove("a b c d e f", ["groups"], bias=bias, sharpness=sharpness)
    assert proof.prediction == "no"
    stored = tmp_path / "proof.json"
    stored.write_text(json.dumps(proof.document()))
    assert load_exact(stored).certificate == proof.certificate


@pytest.mark.parametrize("given", [{"at_least": 2}, {"flag_threshold": "0.2"}])
def test_a_number_that_flags_needs_labels(given: dict[str, object]) -> None:
    with smoothed() as model, pytest.raises(InputError, match="needs the labels that flag a text"):
        model.prove("a b c", ["groups"], **given)
