"""The base classifier of a guard: the votes of its detector, the answers kept, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from tests.voting import vote

from clucert.guard.classifier import RefusalClassifier, SideAnswers
from clucert.guard.conversation import GuardTask, Turn
from clucert.refusals import PhraseDetector, RefusalDetector
from clucert.runtime.classifiers import Judge
from clucert.runtime.judge import JudgeDetector
from clucert.runtime.model_queue import ModelQueue
from clucert.types import Answer, Message, Query, Usage

TEXTS = [f"a prompt with the number {i}" for i in (3, 1, 4, 1, 5, 9, 2, 6)]


@dataclass
class Parrot:
    """Refuses odd numbers; as a judge, calls what says "sorry" refused, and nothing else it is sure of."""

    name: str
    deterministic: bool = True

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [Answer(self._says(query), usage=Usage(1, 3, 1)) for query in queries]

    def _says(self, query: Query) -> str:
        text = query.messages[-1].content
        if query.labels:
            return "refused" if "sorry" in text else "complied" if "number 2" in text else "who knows"
        return "Sorry, I'm sorry, no." if int(text[-1]) % 2 else f"Yes: {text}"

    def close(self) -> None:
        pass


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_votes_are_those_of_the_detector_and_answers_are_kept(judged: bool, temperature: float) -> None:
    model, judge = Parrot("test/model"), Parrot("test/judge")
    detector: RefusalDetector = JudgeDetector(judge) if judged else PhraseDetector()
    turn = Turn.of(Query((Message("user", "x"),), temperature=temperature))
    task, side_answers = GuardTask(turn, detector), SideAnswers()
    queues = ModelQueue(model), ModelQueue(judge)
    classifier = RefusalClassifier(queues[0], task, side_answers, Judge(queues[1]) if judged else None)
    found = vote(classifier, TEXTS, *queues, first_draw=5)
    expected = ["refused", "refused", None if judged else "complied", "refused"]
    assert found.votes[:4] == expected
    # One text comes twice: a model that samples is asked about each draw, a judge that does not about each exchange.
    assert found.usage.calls == (7 if temperature == 0 else 8) + (7 if judged else 0)
    assert side_answers.first["refused"].text.startswith("Sorry")
    assert side_answers.first["complied"].text == f"Yes: {TEXTS[6 if judged else 2]}"
