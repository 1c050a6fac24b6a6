from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from attack_world import LABELS, defended, hard, label, probabilities, smooth_small, soft
from tests.voting import prompted_vote, score, votes_of

from clucert.attacks.victims import BareVictim, SmoothedVictim
from clucert.errors import BadAnswerError
from clucert.models.load import load_model
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.classifiers import PromptedClassifier, softmax
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.tasks import load_task
from clucert.types import Answer, Query

TEXTS = ("a warm and funny film", "a dull mess", "", "the warm and funny film is dull")


def test_probabilities_are_passed_on_and_labels_have_all_of_the_share() -> None:
    for text, row, word in zip(TEXTS, probabilities(TEXTS), label(TEXTS), strict=True):
        (scored,), (bare,) = score(soft(), [text]), score(hard(), [text])
        assert (scored.answer, dict(scored.shares)) == (word, dict(zip(LABELS, row, strict=True)))
        assert (bare.answer, dict(bare.shares)) == (word, {word: 1.0})
        assert bare.share("no such label") == 0.0


@pytest.mark.parametrize("rows", [[], [[0.5, 0.5]] * 2, [[1.0]]])
def test_a_callable_must_give_one_row_for_each_text(rows: list[list[float]]) -> None:
    with pytest.raises(BadAnswerError, match=r"one answer for each text, got 0|2 probabilities for each text"):
        score(BareVictim(Backends(CallableClassifier(lambda _: rows, LABELS))), ["x"])


def test_a_smoothed_victim_answers_by_the_majority_of_its_votes() -> None:
    victim = defended(25)
    for text, votes, scored in zip(TEXTS, votes_of(victim, TEXTS), score(victim, TEXTS), strict=True):
        if not text:
            assert (scored.answer, votes.drawn) == (None, 0)
            continue
        assert votes.drawn == votes.kept == 25
        assert scored.shares == {name: count / 25 for name, count in votes.counts.items()}
        assert scored.answer == max(LABELS, key=votes.counts.__getitem__)


def test_the_same_text_gets_the_same_votes_whatever_it_is_asked_with() -> None:
    victim = defended(9)
    together = votes_of(victim, TEXTS)
    assert together == [votes_of(victim, [text])[0] for text in TEXTS]
    assert together == list(reversed(votes_of(victim, TEXTS[::-1])))


def test_fresh_votes_are_other_votes() -> None:
    text = "the warm film is dull but funny and flat"
    victim = defended(15, mask_rate="0.6")
    assert votes_of(victim.fresh(200), [text])[0].drawn == 200
    assert len({str(votes_of(v, [text])) for v in (victim, victim.fresh())}) == 2


def test_a_filter_with_its_encoder_counts_what_it_keeps() -> None:
    smoothed = smooth_small(method="clucert-no-refine")
    victim = SmoothedVictim(smoothed.smoother, smoothed.backends, 12)
    (votes,), (scored,) = votes_of(victim, TEXTS[:1]), score(victim, TEXTS[:1])
    assert votes.drawn == 12
    assert sum(scored.shares.values()) == pytest.approx(1)


def test_softmax_sums_to_one_and_takes_minus_infinity() -> None:
    assert softmax([0.0, math.log(3)]) == pytest.approx([0.25, 0.75])
    assert softmax([-5.0, -math.inf]) == [1.0, 0.0]


class Scoring:
    """A model whose scores are given."""

    name, deterministic = "scoring", True

    def __init__(self, answer: Answer) -> None:
        self.reply = answer

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [self.reply] * len(queries)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "shares"),
    [
        (Answer("", (math.log(0.2), math.log(0.6))), {"positive": 0.25, "negative": 0.75}),
        (Answer("Negative."), {"negative": 1.0}),
        (Answer("no idea"), {}),
    ],
)
def test_a_model_without_scores_gives_bare_labels(answer: Answer, shares: dict[str, float]) -> None:
    queue = ModelQueue(Scoring(answer))
    (scored,) = score(BareVictim(Backends(PromptedClassifier(load_task("sst2"), queue), [queue])), ["x"])
    assert scored.answer == ("negative" if shares else None)
    assert scored.shares == pytest.approx(shares)


@pytest.mark.llm
def test_a_language_model_as_victim_answers_as_it_does_as_classifier() -> None:
    model, task = load_model("smollm2"), load_task("sst2")
    try:
        queue = ModelQueue(model)
        scored = score(BareVictim(Backends(PromptedClassifier(task, queue), [queue])), TEXTS)
        assert [s.answer for s in scored] == prompted_vote(model, task, TEXTS).votes
        assert all(sum(s.shares.values()) == pytest.approx(1) for s in scored)
        assert len({s.share("positive") for s in scored}) == len(TEXTS)
    finally:
        model.close()
