"""On an event loop a guard casts the votes, hears the answers and pays the bill that it does without one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from clucert.guard.classifier import Heard, RefusalClassifier, RefusalVoter
from clucert.guard.conversation import GuardTask, Turn
from clucert.refusals import JudgeDetector, PhraseDetector, RefusalDetector
from clucert.runtime.classifiers import Judge
from clucert.runtime.model_queue import Lane
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
def test_both_forms_of_the_base_classifier_agree(judged: bool, temperature: float) -> None:
    model, judge = Parrot("test/model"), Parrot("test/judge")
    detector: RefusalDetector = JudgeDetector(judge) if judged else PhraseDetector()
    turn = Turn.of(Query((Message("user", "x"),), temperature=temperature))
    task, one, two = GuardTask(turn, detector), Heard(), Heard()
    plain = RefusalClassifier(model, task, one).predict(TEXTS, first_draw=5)

    async def on_a_loop():
        lanes = Lane(model), Lane(judge)
        for lane in lanes:
            lane.start()
        voter = RefusalVoter(lanes[0], task, two, Judge(lanes[1]) if judged else None)
        try:
            return await voter.vote(voter.prepare(TEXTS, 5))
        finally:
            for lane in lanes:
                await lane.stop()

    looped = asyncio.run(on_a_loop())
    assert plain.votes == tuple(looped.votes)
    assert plain.usage == looped.usage
    assert one.first == two.first
    expected = ["refused", "refused", None if judged else "complied", "refused"]
    assert list(plain.votes[:4]) == expected
    # One text comes twice: a model that samples is asked about each draw, a judge that does not about each exchange.
    assert plain.usage.calls == (7 if temperature == 0 else 8) + (7 if judged else 0)
    assert one.first["refused"].text.startswith("Sorry")
    assert one.first["complied"].text == f"Yes: {TEXTS[6 if judged else 2]}"
