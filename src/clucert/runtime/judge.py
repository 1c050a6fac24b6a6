"""Refusals by meaning: a language model is asked whether an answer declines the request."""

from __future__ import annotations

from collections.abc import Sequence

from clucert.protocols import LanguageModel
from clucert.refusals.base import RefusalLabel
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.classifiers import Judge
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.types import Usage


class JudgeDetector:
    """Asks ``model`` whether an answer refuses; a verdict that names neither label, or both, is None.

    An empty answer is ``refused`` without a call, as for :class:`clucert.refusals.PhraseDetector`. Equal exchanges are
    asked about once when the model is deterministic. A judge is a classifier with errors of its own: a certificate
    over its labels is about model and judge together.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.name = f"judge:{model.name}"
        self.deterministic = model.deterministic

    def label(self, answer: str, prompt: str = "") -> RefusalLabel | None:
        """``refused``, ``complied``, or None for a verdict that names no label. Raises what the model raises."""
        return self.labels([answer], [prompt])[0]

    def labels(self, answers: Sequence[str], prompts: Sequence[str]) -> list[RefusalLabel | None]:
        """The label of each answer to the prompt at the same place."""
        return self.judge(answers, prompts)[0]

    def judge(
        self, answers: Sequence[str], prompts: Sequence[str], first_draw: int = 0
    ) -> tuple[list[RefusalLabel | None], Usage]:
        """The labels, and what they cost; ``first_draw`` numbers the verdicts of a judge that samples."""
        queue = ModelQueue(self.model)
        executor = BlockingExecutor(Backends(queues=(queue,)))
        try:
            labels, voted = executor.call(lambda _: Judge(queue).label(answers, prompts, first_draw))
        finally:
            executor.close()
        return labels, voted.usage
