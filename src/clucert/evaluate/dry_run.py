"""What a study would ask, counted before anything is spent.

The noise is drawn as the study will draw it, the prompts are the task's own, equal queries count once, and answers that
are in the cache are told apart; nothing is sent. What only the answers could tell is taken at its dearest: every vote
is for one label and no look is the last, so that no input stops early; the filter drops nothing; an open answer takes
all the tokens that it may. So the numbers are upper bounds, but for what cannot be foreseen (an llm refine that has to
be asked again, calls that have to be repeated because they failed, a server that gives one question two answers) and
the two calls that calibrate a local model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from clucert.cache.authors import introduction
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.noise.retention import MASK
from clucert.core.smoothing import Smoother
from clucert.evaluate.data import Example
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import StudyConfig
from clucert.protocols import Encoder, Steps
from clucert.refusals.judge import JUDGE, judged_text
from clucert.runtime.backends import Workshop, open_workshop
from clucert.runtime.budget import estimate_usage
from clucert.runtime.model_queue import Keyed, Lane
from clucert.types import CHARACTERS_PER_TOKEN, Classify, Encode, Generate, Phase, Query, Usage, estimate_input

ROWS = 20
"""Inputs that are looked at by default; the others are taken to be like them."""


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """What one model would be asked over the whole study, at most."""

    calls: int
    """Calls that would be made."""
    cached: int
    """Queries more, whose answers are in the cache."""
    input: int
    output: int
    cost: float | None
    """US dollars; None when the price is not known."""
    tokenizer: bool
    """Whether input tokens were counted by the model's own tokenizer; if not, by the rule of four characters."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a study would cost at most."""

    inputs: int
    """Inputs that have no certificate yet."""
    looked_at: int
    """How many of them were counted; the numbers are scaled up from these."""
    models: Mapping[str, ModelEstimate]

    @property
    def calls(self) -> int:
        """Calls to all models."""
        return sum(model.calls for model in self.models.values())

    @property
    def tokens(self) -> int:
        """Tokens in and out of all models."""
        return sum(model.input + model.output for model in self.models.values())

    @property
    def cost(self) -> float | None:
        """US dollars; None when the price of a model that would be asked is not known."""
        costs = [model.cost for model in self.models.values() if model.calls]
        return None if None in costs else sum(cost for cost in costs if cost is not None)


def dry_run(config: StudyConfig, rows: int | None = ROWS) -> DryRun:
    """Estimate the study of ``config`` from its first ``rows`` inputs, or from all of them (None).

    Raises :class:`clucert.errors.UsageError` for what is missing or wrong, as the study itself would.
    """
    plan = make_plan(config)
    records = read_records(plan.run_dir)[0] if plan.run_dir.is_dir() else {}
    done = {identity for identity, record in records.items() if record.status == "done"}
    left = [example for example in plan.dataset.examples if example.id not in done]
    seen = left if rows is None else left[:rows]
    with ExitStack() as stack:
        return _count(plan, left, seen, open_workshop(plan.config, stack))


def _count(plan: Plan, left: Sequence[Example], seen: Sequence[Example], workshop: Workshop) -> DryRun:
    config = plan.config
    # One look at the end, nothing filtered: the dearest course.
    dearest = replace(
        workshop.smoother(config.model_copy(update={"sampling": "fixed"}), plan.task),
        denoiser=Denoiser(load_clusterer("none")),
    )
    crew = workshop.crew(config, plan.task, workshop.smoother(config, plan.task))
    lanes = {lane.model.name: lane for lane in crew.lanes}
    asked = [lanes[name] for name in workshop.model_names(config)]
    counts = {name: _Count(lane, workshop) for name, lane in lanes.items()}
    for example in seen:
        for request in _play(dearest, example, crew.encoder):
            if isinstance(request, Generate) and crew.helper is not None:
                counts[crew.helper.model.name].add(map(crew.helper.key, request.queries))
            elif isinstance(request, Classify):
                for lane in asked:
                    counts[lane.model.name].add(lane.keys(plan.task, request.texts, request.first_draw))
                if config.judge:
                    # One verdict on each answer, of which only the length is known.
                    longest = max(plan.task.query(text).max_tokens for text in request.texts)
                    said = "x" * (CHARACTERS_PER_TOKEN * longest)
                    judge = lanes[workshop.assembly.models[config.judge].name]
                    judged = judge.keys(JUDGE, [judged_text(said, t) for t in request.texts], request.first_draw)
                    counts[judge.model.name].add(judged * len(asked))
    scale = len(left) / len(seen) if seen else 0.0
    return DryRun(len(left), len(seen), {name: count.scaled(scale) for name, count in counts.items()})


def _play(smoother: Smoother, example: Example, encoder: Encoder | None) -> list[Classify | Generate]:
    """The questions that ``smoother`` asks about ``example`` when it is answered at the dearest."""
    asked: list[Classify | Generate] = []
    steps: Steps = smoother.steps(example.text, example.id)
    label = smoother.labels[0] if smoother.labels else "0"
    reply: Any = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration:
            return asked
        match request:
            case Phase():
                reply = None
            case Encode(texts=texts, stage="refine") if encoder is not None:
                # The refined text decides what is asked, and an encoder costs nothing.
                reply = encoder.encode(texts)
            case Encode(texts=texts):
                reply = np.ones((len(texts), 1), dtype=np.float32)
            case Generate(queries=queries):
                asked.append(request)
                reply = [_likely_answer(query) for query in queries]
            case Classify(texts=texts):
                asked.append(request)
                reply = [label] * len(texts)


def _likely_answer(query: Query) -> str:
    """An answer of about the right length: the words of a numbered text, or a masked text with words for masks."""
    shown = query.messages[-1].content
    numbered = re.findall(r"(?<!\S)\d+:\S+", shown)
    return ", ".join(numbered) if numbered and MASK not in shown else shown.replace(MASK, "the")


@dataclass(slots=True)
class _Count:
    """The distinct queries to one model."""

    lane: Lane
    workshop: Workshop
    calls: int = 0
    cached: int = 0
    input: int = 0
    output: int = 0
    seen: set[str] = field(default_factory=set)
    first: Query | None = None

    def add(self, queries: Iterable[Keyed]) -> None:
        """Count what has not been counted yet and is not in the cache."""
        new: list[Keyed] = []
        for query, key in queries:
            self.first = self.first or query
            if key is None or key not in self.seen:
                new.append((query, key))
                self.seen.update(() if key is None else (key,))
        keys = [key for _, key in new if key is not None]
        known = self.workshop.cache.get_many(keys) if self.workshop.cache is not None else {}
        for query, key in new:
            if key in known:
                self.cached += 1
                continue
            self.calls += 1
            self.input += (self.tokenizer or estimate_input)(query)
            self.output += _output_tokens(query)

    @property
    def tokenizer(self) -> Callable[[Query], int] | None:
        """How the model itself counts the tokens of a query, if it can say."""
        return getattr(self.lane.model, "count_tokens", None)

    def scaled(self, scale: float) -> ModelEstimate:
        """The counts for ``scale`` times as many inputs."""
        calls, cached, tokens_in, tokens_out = (
            round(scale * number) for number in (self.calls, self.cached, self.input, self.output)
        )
        if self.cached and self.lane.must_greet:
            # Whose the answers in the cache are is asked first.
            greeting = estimate_usage(introduction(self.first)) if self.first else Usage(1)
            calls, tokens_in, tokens_out = calls + 1, tokens_in + greeting.input, tokens_out + greeting.output
        price = self.lane.options.price
        cost = price(Usage(calls, tokens_in, tokens_out)) if price else None
        return ModelEstimate(calls, cached, tokens_in, tokens_out, cost, self.tokenizer is not None)


def _output_tokens(query: Query) -> int:
    """Tokens of the answer: those of the longest label, of a filled-in text, or all that the answer may have."""
    if query.labels:
        expected = max(map(len, query.labels))
    elif MASK in query.messages[-1].content:
        expected = len(_likely_answer(query))
    else:
        return query.max_tokens
    return min(query.max_tokens, 1 + expected // CHARACTERS_PER_TOKEN)
