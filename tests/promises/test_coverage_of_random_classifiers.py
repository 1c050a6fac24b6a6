"""A classifier that draws its answers is certified no more often than α allows, whatever it is wrapped in."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import clucert
from clucert.build import make_smoother, method_of
from clucert.cache import open_cache
from clucert.config import Config
from clucert.core.channel import TWO_ANSWERS
from clucert.core.noise.fill import LlmRecovery
from clucert.core.noise.retention import rng_for
from clucert.core.radius import published_slack
from clucert.core.repeats import Repeats, probes_needed
from clucert.core.settings import Base
from clucert.core.words import split
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.classifiers import Ensemble
from clucert.tasks import load_task
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Answers, Predictions, Query
from tests.oracle import drive
from tests.voting import Asked, answers_to

SEEDS = 1_000
ALPHA = 0.05
LABELS = ["heads", "tails"]
FEW = {"method": "ranmask", "mask_rate": "0.9", "samples": 20, "certify_samples": 60}
TEXT = "a film of seven words or so"
"""One of its seven words is kept: seven noised texts, each of them drawn many times."""


def coin(seed: int) -> Callable[[list[str]], list[str]]:
    rng = random.Random(seed)
    return lambda texts: [rng.choice(LABELS) for _ in texts]


def test_a_coin_through_the_readmes_call_is_certified_no_more_often_than_alpha() -> None:
    certified = [clucert.smooth(coin(s), LABELS, seed=s, **FEW).certify(TEXT) for s in range(SEEDS)]
    assert sum(c.prediction is not None for c in certified) <= ALPHA * SEEDS
    assert {str(c.certificate.answers) for c in certified} == {"sampled, every noised text asked anew"}


def test_a_biased_coin_gets_no_radius_that_its_bias_does_not_bear() -> None:
    wrong = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        found = clucert.smooth(
            lambda texts, rng=rng: ["heads" if rng.random() < 0.75 else "tails" for _ in texts],
            LABELS,
            seed=seed,
            **{**FEW, "mask_rate": "0.5"},
        ).certify("four words are here")
        radius = found.radius
        # True margin of "heads": 0.75 − 0.25.
        wrong += radius is not None and (
            found.prediction != "heads" or Fraction(1, 2) <= published_slack(4, 2, radius.words)
        )
    assert wrong <= ALPHA * SEEDS


class Undeclared:
    """Has all of a classifier but the word on whether it repeats itself."""

    name = "undeclared"
    labels = tuple(LABELS)

    def __init__(self, seed: int) -> None:
        self.coin = coin(seed)
        self.asked: list[str] = []

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        self.asked += texts
        return Predictions(tuple(self.coin(list(texts))))


def test_a_classifier_that_does_not_say_is_taken_for_one_that_draws() -> None:
    one = Undeclared(1)
    found = clucert.smooth(one, LABELS, sampling="auto", **FEW).certify(TEXT)  # type: ignore[arg-type]
    assert found.certificate.answers == Answers("sampled")
    assert not found.certificate.exhaustive
    assert len(one.asked) == found.cost.samples
    said = clucert.smooth(one, LABELS, sampling="auto", deterministic=True, **FEW)  # type: ignore[arg-type]
    assert said.certify(TEXT).certificate.answers == Answers("declared")


def test_only_what_repeats_itself_is_evaluated_exactly() -> None:
    def first(texts: list[str]) -> list[str]:
        return ["heads"] * len(texts)

    assert not clucert.smooth(first, LABELS, sampling="auto", **FEW).certify(TEXT).certificate.exhaustive
    exact = clucert.smooth(first, LABELS, sampling="auto", deterministic=True, **FEW).certify(TEXT)
    assert exact.certificate.exhaustive
    assert exact.cost.total.calls == len(split(TEXT))


def test_an_ensemble_repeats_itself_when_all_its_members_do() -> None:
    fixed, drawn = (CallableClassifier(coin(0), LABELS, deterministic=d) for d in (True, False))
    assert [Ensemble(pair).deterministic for pair in ((fixed, fixed), (fixed, drawn), (drawn, drawn))] == [
        True,
        False,
        False,
    ]


# Servers: nobody knows whether they repeat themselves.


@dataclass
class Server:
    """Answers as a server does, and writes down what it is asked."""

    reply: Callable[[str, int], str]
    """By the text and by how many questions came before."""
    deterministic: bool = False
    name: str = "openai/test"
    asked: list[Query] = field(default_factory=list)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        found = []
        for query in queries:
            found.append(Answer(self.reply(query.messages[-1].content, len(self.asked))))
            self.asked.append(query)
        return found

    def close(self) -> None:
        pass


TASK = ClosedTask("coin", tuple(LABELS), "Heads or tails?")


def served(server: Any, text: str, seed: int = 0, task: Any = TASK, **options: Any) -> clucert.Certificate:
    config = Config.of(seed=seed, **{**FEW, **options})
    smoother = make_smoother(config, method_of(config, task.name), tuple(LABELS), Base(("test",), "coin"))
    smoother = replace(smoother, answers=Answers("probed"))

    def predict(texts: Sequence[str], first_draw: int) -> list[str | None]:
        # Numbered as the queue numbers the draws of a server.
        queries = [replace(task.query(t, draw=d), draw=d) for d, t in enumerate(texts, first_draw)]
        return [task.read(answer) for answer in server.answer(queries)]

    return drive(smoother.steps(text, ""), predict).certificate


@pytest.mark.parametrize("text", ["film", TEXT])
def test_a_server_that_tosses_a_coin_is_certified_no_more_often_than_alpha(text: str) -> None:
    certified = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        certified += served(Server(lambda *_, rng=rng: rng.choice(LABELS)), text, seed).prediction is not None
    assert certified <= ALPHA * SEEDS


def test_a_steady_server_is_asked_each_question_once_and_probed_from_beginning_to_end() -> None:
    server = Server(lambda text, _: "heads" if "film" not in text else "tails")
    found = served(server, TEXT)
    texts = [query.messages[-1].content for query in server.asked]
    often, count = Counter(texts).most_common(1)[0]
    probes = probes_needed(ALPHA)
    assert found.answers == Answers("probed", probes)
    assert len(texts) == len(set(texts)) + probes
    assert found.prediction == "heads"
    assert count >= 3
    first, last = texts.index(often), len(texts) - 1 - texts[::-1].index(often)
    between = texts.index(often, first + 1)
    new = {text: texts.index(text) for text in texts}
    # First among the selecting samples, then among or before the certifying ones, then after all of them.
    assert first < between < last
    assert last >= max(new.values())
    assert "probed 6 times, no difference" in str(found.answers)
    draws = [query.draw for query in server.asked]
    assert draws == list(range(len(texts)))


@pytest.mark.parametrize("turns_at", [8, 10, 12])
def test_a_server_that_changes_midway_is_not_certified_on_shared_votes(turns_at: int) -> None:
    """Here it answers "tails" for good from some question on: what was shared before is thrown away."""
    server = Server(lambda _, before: "heads" if before < turns_at else "tails")
    found = served(server, TEXT)
    assert found.answers == Answers("sampled")
    assert TWO_ANSWERS in found.notes
    assert found.prediction == "tails"
    # Twenty selecting and sixty certifying samples, each asked anew.
    assert (found.selection.drawn, found.estimation.drawn) == (20, 60)
    assert sum(query.draw is not None for query in server.asked) == len(server.asked)
    assert len({query.draw for query in server.asked}) == len(server.asked) >= 80
    assert {vote_record.part for vote_record in found.vote_records} == {1_000}


def test_the_sampled_votes_of_a_fallen_server_read_back_with_their_retention_sets() -> None:
    from clucert import certificate_json as document
    from clucert.core.smoothing import Certified

    found = served(Server(lambda _, before: "heads" if before < 8 else "tails"), TEXT)
    back = document.read(document.write(Certified(found)))[0].certificate
    assert back == found
    assert back.vote_records


def test_where_nothing_is_asked_twice_nothing_is_probed() -> None:
    words = " ".join(f"w{i}" for i in range(40))
    server = Server(lambda *_: "heads")
    found = served(server, words, mask_rate="0.5")
    assert found.answers == Answers("sampled")
    assert len(server.asked) == 80


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01, 0.001, 1e-6])
def test_enough_probes_that_a_coin_seldom_passes(alpha: float) -> None:
    probes = probes_needed(alpha)
    assert 0.5**probes <= alpha / 2
    repeats = Repeats(alpha)
    new, again = repeats.plan(["x", "x"])
    assert (new, again) == (["x"], [])
    repeats.learn(new, ["heads"])
    _, again = repeats.plan(["x"])
    assert again
    repeats.check(again, ["heads"] * len(again))
    last = repeats.last()
    assert len(again) + len(last) >= probes


def test_a_cache_keeps_the_draws_of_a_server_apart(tmp_path: Any) -> None:
    rng = random.Random(3)
    with open_cache(tmp_path / "cache.sqlite") as cache:
        server = Server(lambda *_: rng.choice(LABELS))
        asked = Asked(server, TASK, cache)
        votes = asked.predict(["film"] * 40, first_draw=0).votes
        assert len(server.asked) == 40
        assert set(votes) == set(LABELS)
        assert asked.predict(["film"] * 40, first_draw=0).votes == votes
        assert len(server.asked) == 40
        asked.predict(["film"], first_draw=40)
        assert len(server.asked) == 41


def test_a_helper_that_draws_fills_equal_masked_texts_anew(tmp_path: Any) -> None:
    rng = random.Random(5)
    server = Server(lambda *_: f"1: {rng.choice(['good', 'bad'])}")
    text = split("a film")
    recovery = LlmRecovery()

    with open_cache(tmp_path / "cache.sqlite") as cache:
        steps = recovery.recover(text, np.array([[True, False]] * 30), rng_for(0, "", "x"), "certify")
        queries = next(steps).queries
        answers = answers_to(server, cache, queries)
        assert len(server.asked) == 30
        assert len({answer.text for answer in answers}) == 2
        server.deterministic = True
        answers_to(server, cache, queries)
        assert len(server.asked) == 31


def test_a_judge_that_draws_is_asked_about_every_answer(tmp_path: Any) -> None:
    rng = random.Random(7)
    model = Server(lambda *_: "Sure, here it is", deterministic=True)
    judge = Server(lambda *_: rng.choice(["refused", "complied"]), name="openai/judge")
    with open_cache(tmp_path / "cache.sqlite") as cache:
        judged = Asked(model, load_task("refusal"), cache, judge)
        assert not judged.deterministic
        for first in (0, 20):
            assert len(set(judged.predict(["tell me"] * 20, first_draw=first).votes)) == 2
        assert len(judge.asked) == 40
