"""Callable, ensemble and prompted classifiers, and the names of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.voting import prompted_vote, vote

from clucert.errors import BadAnswerError, InputError, UnknownNameError
from clucert.models.load import load_model
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.classifiers import BaseClassifier, Ensemble, PromptedClassifier, plurality
from clucert.runtime.model_queue import ModelQueue
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Query, Usage

LABELS = ("yes", "no")


def by_length(texts: list[str]) -> list[str]:
    return ["yes" if len(text) % 2 else "no" for text in texts]


# Callables


def test_a_callable_votes_by_label_or_index() -> None:
    by_index = CallableClassifier(lambda texts: [np.int64(len(t) % 2) for t in texts], ("no", "yes"))
    assert isinstance(by_index, BaseClassifier)
    assert vote(by_index, ["a", "bb"]).votes == vote(CallableClassifier(by_length, LABELS), ["a", "bb"]).votes


def test_a_deterministic_callable_sees_equal_texts_once() -> None:
    seen: list[str] = []

    def classify(texts: list[str]) -> list[str]:
        seen.extend(texts)
        return by_length(texts)

    fixed = CallableClassifier(classify, LABELS, deterministic=True)
    assert vote(fixed, ["a", "bb", "a"]).votes == ["yes", "no", "yes"]
    assert seen == ["a", "bb"]
    seen.clear()
    vote(CallableClassifier(classify, LABELS), ["a", "a"])
    assert seen == ["a", "a"]


@pytest.mark.parametrize("returned", [["maybe"], [2], [-1], [True], [0.0], ["yes", "no"], [], "y", None, 5, [["yes"]]])
def test_what_is_no_label_is_never_a_vote(returned: Any) -> None:
    with pytest.raises(BadAnswerError) as caught:
        vote(CallableClassifier(lambda _: returned, LABELS), ["text"])
    assert "\n" not in str(caught.value)


def test_none_is_unparsed_and_an_empty_batch_is_not_asked() -> None:
    assert vote(CallableClassifier(lambda texts: [None for _ in texts], LABELS), ["x"]).votes == [None]
    assert vote(CallableClassifier(lambda _: 1 / 0, LABELS), []).votes == []


def test_labels_are_checked() -> None:
    with pytest.raises(InputError):
        CallableClassifier(by_length, ("yes", "Yes"))


# Ensembles


VOTES = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7)


@settings(deadline=None)
@given(VOTES)
def test_plurality(votes: list[str | None]) -> None:
    winner = plurality(votes)
    counts = Counter(vote for vote in votes if vote is not None)
    if not counts:
        assert winner is None
        return
    assert winner is not None
    assert counts[winner] == max(counts.values())
    tied = [label for label in counts if counts[label] == counts[winner]]
    assert votes.index(winner) == min(votes.index(label) for label in tied)


def test_an_ensemble_votes_text_by_text() -> None:
    members = [
        CallableClassifier(lambda texts, c=constant: [c for _ in texts], LABELS) for constant in ("yes", "no", "no")
    ]
    ensemble = Ensemble([CallableClassifier(by_length, LABELS), *members])
    found = vote(ensemble, ["a", "bb"])
    assert found.votes == ["yes", "no"]
    assert found.usage.calls == 8
    assert ensemble.labels == LABELS


def test_members_must_share_labels() -> None:
    with pytest.raises(InputError, match="same labels"):
        Ensemble([CallableClassifier(by_length, LABELS), CallableClassifier(by_length, ("no", "yes"))])
    with pytest.raises(InputError):
        Ensemble([])


# Prompted


class Scripted:
    """A model whose answers are computed from the text, with a bias for the first label."""

    name = "test/scripted"

    def __init__(self, *, deterministic: bool = True, calibrate: bool = False) -> None:
        self.deterministic, self.calibrate = deterministic, calibrate
        self.asked: list[Query] = []

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        self.asked.extend(queries)
        usage = Usage(calls=1, input=10)
        return [Answer("", (-1.0, -4.0 if "N/A" in q.suffix or "[MASK]" in q.suffix else -2.0), usage) for q in queries]

    def close(self) -> None:
        pass


def test_equal_queries_are_asked_once_unless_the_model_varies() -> None:
    task = ClosedTask("t", LABELS, "?")
    steady, shaky = Scripted(), Scripted(deterministic=False)
    found = prompted_vote(steady, task, ["x", "y", "x"])
    assert len(steady.asked) == 2
    assert found.usage == Usage(calls=2, input=20)
    assert found.votes == ["yes"] * 3
    assert prompted_vote(shaky, task, ["x", "y", "x"]).usage.calls == 3


def test_draws_of_a_sampling_task_are_each_asked() -> None:
    model = Scripted()
    prompted_vote(model, ClosedTask("t", LABELS, "?", temperature=1.0), ["x", "x"], 5)
    assert [q.seed for q in model.asked] == [5, 6]


def test_a_sampling_task_is_not_deterministic_on_any_model() -> None:
    # Or every retention set would be asked about once, and the answers taken for exact probabilities.
    queue = ModelQueue(Scripted())
    assert PromptedClassifier(ClosedTask("t", LABELS, "?"), queue).deterministic
    assert not PromptedClassifier(ClosedTask("t", LABELS, "?", temperature=1.0), queue).deterministic


def test_calibration_takes_the_bias_off_once_and_is_charged_to_nobody() -> None:
    queue = ModelQueue(model := Scripted(calibrate=True))
    classifier = PromptedClassifier(ClosedTask("t", LABELS, "?"), queue)
    first = vote(classifier, ["x"], queue)
    assert first.votes == ["no"]
    assert first.usage.calls == 1
    assert len(model.asked) == 3
    vote(classifier, ["y"], queue)
    assert len(model.asked) == 4


# Names


def test_unknown_providers_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'openai'"):
        load_model("opneai/gpt-4o-mini")


@pytest.mark.parametrize("name", ["openai", "vllm/", "llamacpp/", "llamacpp/nowhere.gguf", f"llamacpp/{__file__}"])
def test_names_that_name_no_model_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        load_model(name)
