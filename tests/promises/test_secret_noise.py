"""What is deployed draws its noise from a key that nobody knows; what is a study draws from its public seed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import clucert
from clucert.certificate_json import read
from clucert.core.noise.retention import keyed_seed, rng_for, sample_retention
from clucert.core.settings import Base
from clucert.guard import SmoothedModel
from clucert.guard.model import Defence, NoiseKey, guard_config
from clucert.refusals import LABELS
from clucert.runtime.resources import make_smoother, method_of
from clucert.types import Answer, Message, Query

TEXT = "a long enough film with a quiet plot and a warm cast of friends"
SIDES = ["a", "b"]


def smoothed(seen: list[str], **options: Any) -> clucert.SmoothedClassifier:
    def classify(texts: list[str]) -> list[str]:
        seen.extend(texts)
        return ["a"] * len(texts)

    return clucert.smooth(classify, SIDES, method="ranmask", samples=30, certify_samples=30, **options)


def test_predict_draws_from_a_secret_and_studies_from_the_seed() -> None:
    one, two, first, second = ([] for _ in range(4))
    smoothed(one).predict([TEXT])
    smoothed(two).predict([TEXT])
    assert one != two
    smoothed(first, seed=0).predict([TEXT])
    smoothed(second, seed=0).predict([TEXT])
    assert first == second != one
    certificates = [smoothed([]).certify(TEXT).certificate for _ in range(2)]
    assert certificates[0] == certificates[1]
    assert certificates[0].settings.seed == 0


def test_the_same_text_meets_the_same_noise_wherever_it_stands_in_a_call() -> None:
    seen: list[str] = []
    one = smoothed(seen)
    one.predict([TEXT])
    alone = list(seen)
    seen.clear()
    one.predict(["another film", TEXT, TEXT], first_draw=7)
    assert seen[30:60] == seen[60:] == alone


def test_a_smoothed_classifier_repeats_itself_only_where_its_noise_and_its_base_do() -> None:
    assert smoothed([], deterministic=True).deterministic
    assert not smoothed([]).deterministic
    # Noise by a text's place in the call.
    assert not smoothed([], deterministic=True, seed=1).deterministic


def test_the_key_is_nowhere_to_be_seen() -> None:
    one = smoothed([])
    key = one._key
    assert key is not None
    assert len(key) == 32
    keyed = one.smoother.keyed(key, TEXT)
    assert keyed.settings.seed is None
    for shown in (repr(one), repr(keyed), str(keyed.settings)):
        assert key.hex() not in shown
        assert str(keyed.secret) not in shown
        assert str(int.from_bytes(key, "big")) not in shown


def test_no_part_of_what_is_keyed_runs_into_the_next() -> None:
    seeds = [keyed_seed(b"k", *said) for said in (("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ())]
    seeds += [keyed_seed(b"l", "ab", "c")]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds).bit_length() > 240


class Chat:
    """Complies, and writes down what it is asked."""

    name, deterministic = "test/chat", False

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def answer(self, queries: list[Query]) -> list[Answer]:
        self.asked += queries
        return [Answer("Sure, here it is.") for _ in queries]

    def close(self) -> None:
        pass


def guard(seed: int | None = None) -> tuple[SmoothedModel, Chat]:
    config = guard_config(method="ranmask")
    smoother = make_smoother(config, method_of(config, "refusal"), LABELS, Base(("test/chat",), "refusal"))
    model = Chat()
    return SmoothedModel(model, Defence(smoother), seed=seed), model


def noise(model: Chat) -> list[str]:
    return [query.messages[-1].content for query in model.asked]


def test_a_guard_draws_from_a_secret_and_its_certificate_does_not_tell_it() -> None:
    (one, first), (two, second) = guard(), guard()
    found = one.respond(TEXT)
    two.respond(TEXT)
    assert noise(first) != noise(second)
    certificate = found.certificate
    assert certificate.settings.seed is None
    # The votes behind the counts cannot be drawn again without the key, so they are not stored; the rest reads back.
    stored = json.loads(json.dumps(found.document()))
    assert stored["ballots"] is None
    back = read(stored)[0].certificate
    assert back.proved == certificate.proved
    assert (back.selection, back.readings, back.settings) == (
        certificate.selection,
        certificate.readings,
        certificate.settings,
    )
    said = json.dumps([stored, found.summary()]) + repr(one.defence) + repr(found)
    assert one._key.raw.hex() not in said


@pytest.mark.parametrize(
    "change",
    [{"max_tokens": 5}, {"temperature": 0.9}, {"stop": ("x",)}, {"seed": 5}, {"extra": (("user", '"me"'),)}],
)
def test_no_parameter_buys_a_new_draw(change: dict[str, Any]) -> None:
    """Noise is a function of the prompt and the key: whoever asks again with other parameters meets the same."""
    one, model = guard()
    plain = Query((Message("system", "Be kind."), Message("user", TEXT)))
    one.respond(plain)
    before = noise(model)
    model.asked.clear()
    one.respond(replace(plain, **change))
    assert noise(model) == before


def test_no_other_turn_buys_a_new_draw_and_another_prompt_does() -> None:
    one, model = guard()
    drawn = []
    for system, text in (("Be kind.", TEXT), ("Be rude.", TEXT), ("Be kind.", f"{TEXT} again")):
        model.asked.clear()
        one.respond(Query((Message("system", system), Message("user", text))))
        drawn.append(noise(model))
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_the_seeds_of_a_model_that_samples_are_secret_too() -> None:
    seeds = []
    for _ in range(2):
        one, model = guard()
        one.respond(TEXT, temperature=1.0)
        seeds.append([query.seed for query in model.asked])
        assert len(set(seeds[-1])) == len(seeds[-1])
    assert not set(seeds[0]) & set(seeds[1])


def test_a_seeded_guard_is_for_studies_and_repeats_itself() -> None:
    (one, first), (two, second) = guard(4), guard(4)
    assert one.respond(TEXT).certificate == two.respond(TEXT).certificate
    assert noise(first) == noise(second)
    assert one.respond(TEXT).certificate.settings.seed is not None
    assert NoiseKey().raw != NoiseKey().raw


def test_a_public_seed_can_be_attacked_and_a_secret_key_cannot() -> None:
    """g sees the bad word in half of its samples and is of two minds. Whoever knows the retention sets puts the word
    where they happen to keep it, and the sampler answers "b" without a doubt.
    """
    words = [f"w{i}" for i in range(40)]

    def bad(texts: list[str]) -> list[str]:
        return ["b" if "BAD" in text.split() else "a" for text in texts]

    def flips(seed: int, *, public: bool) -> bool:
        kept = sample_retention(rng_for(seed, "0", "predict-0"), 40, 20, 30).sum(axis=0)
        best = int(kept.argmax())
        text = " ".join([*words[:best], "BAD", *words[best + 1 :]])
        options = {"seed": seed} if public else {}
        made = clucert.smooth(bad, SIDES, method="ranmask", mask_rate="0.5", samples=30, deterministic=True, **options)
        return made.predict([text]).votes == ("b",)

    assert sum(flips(seed, public=True) for seed in range(60)) >= 30
    # At most α of the time, whichever word is bad: P[more than 10 of 60] < 1e-3.
    assert sum(flips(seed, public=False) for seed in range(60)) <= 10
