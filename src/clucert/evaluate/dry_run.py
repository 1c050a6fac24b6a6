"""What a study would ask, counted before anything is spent.

The noise is drawn as the study will draw it, the prompts are the task's own, equal queries count once, and answers that
are in the cache are told apart; nothing is sent. What only the answers could tell is taken at its dearest: every vote
is for one label and no look is the last, so that no input stops early; the filter drops nothing; an open answer takes
all the tokens that it may. So the numbers are upper bounds, but for what cannot be foreseen (which words an llm refine
keeps, calls that have to be repeated because they failed, a server that gives one question two answers) and the two
calls that calibrate a local model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from clucert.cache.server_identity import identifying_query
from clucert.config import Config
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.exact import ExactSmoother
from clucert.core.noise.retention import MASK
from clucert.core.smoothing import Smoother
from clucert.core.words import split
from clucert.evaluate.data import Example
from clucert.evaluate.plan import Plan, make_plan
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.shards import shard_of
from clucert.protocols import Task
from clucert.refusals.judge import JUDGE, judged_text
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.budget import estimate_usage
from clucert.runtime.classifiers import Voted
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queued_models import Keyed
from clucert.runtime.resources import Resources, open_resources
from clucert.types import CHARACTERS_PER_TOKEN, Answer, Query, Usage, estimate_input

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
    """Whether input tokens were counted by the model's own tokenizer, or there are none; if not, by the rule of four
    characters."""


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
    if config.shard:
        plan = shard_of(plan)
    records = read_records(plan.run_dir)[0] if plan.run_dir.is_dir() else {}
    done = {identity for identity, record in records.items() if record.status == "done"}
    left = [example for example in plan.dataset.examples if example.id not in done]
    seen = left if rows is None else left[:rows]
    with ExitStack() as stack:
        return _count(plan, left, seen, open_resources(plan.config, stack, plan.task))


def _count(plan: Plan, left: Sequence[Example], seen: Sequence[Example], resources: Resources) -> DryRun:
    config = plan.config
    dearest = _dearest(resources.certifier(config.model_copy(update={"sampling": "fixed"}), plan.task))
    counting = Counting.of(resources, config, plan.task, resources.certifier(config, plan.task))
    executor = BlockingExecutor(counting.backends)
    try:
        for example in seen:
            executor.run(partial(dearest.steps, example.text, example.id))
    finally:
        executor.close()
    return counting.scaled(len(left), len(seen))


@dataclass(frozen=True, slots=True)
class Counting:
    """Backends that ask nothing and count what they would ask."""

    backends: Backends
    classifier: DearestClassifier
    counts: Mapping[str, _Count]

    @classmethod
    def of(cls, resources: Resources, config: Config, task: Task, certifier: Smoother | ExactSmoother) -> Counting:
        """Those for what ``certifier`` asks of the models of ``config``."""
        real = resources.backends(config, task, certifier)
        counts = {queue.model.name: _Count(queue, resources) for queue in real.queues}
        asked = [counts[name] for name in resources.model_names(config)]
        judge = counts[resources.models[config.judge].name] if config.judge else None
        helper = ModelQueue(_LikelyModel(counts[real.helper.model.name])) if real.helper else None
        classifier = DearestClassifier(task, asked, judge)
        return cls(Backends(classifier, [helper] if helper else [], helper, real.encoder), classifier, counts)

    def scaled(self, left: int, seen: int) -> DryRun:
        """What ``left`` inputs cost, of which ``seen`` were counted."""
        scale = left / seen if seen else 0.0
        return DryRun(left, seen, {name: count.scaled(scale) for name, count in self.counts.items()})


def _dearest(smoother: Smoother | ExactSmoother) -> Smoother | ExactSmoother:
    """One look at the end, nothing filtered: the dearest computation. Recoveries and embeddings cost no question."""
    if isinstance(smoother, ExactSmoother):
        return smoother
    settings = replace(smoother.settings, recoveries=1)
    return replace(smoother, settings=settings, denoiser=Denoiser(load_clusterer("none")))


class DearestClassifier:
    """Counts what the models would be asked, and votes for one ``answer`` always: no input stops early."""

    name, deterministic = "dry run", True

    def __init__(self, task: Task, asked: Sequence[_Count], judge: _Count | None) -> None:
        self.labels = task.labels
        self.answer = self.labels[0] if self.labels else "0"
        self._task, self._asked, self._judge = task, asked, judge

    def prepare(self, texts: Sequence[str], first_draw: int) -> Sequence[str]:
        """Count the queries to each model, and to the judge of their answers."""
        for count in self._asked:
            count.add(count.queue.keys(self._task, texts, first_draw))
        if self._judge is not None and texts:
            # One verdict on each answer, of which only the length is known.
            said = "x" * (CHARACTERS_PER_TOKEN * max(self._task.query(text).max_tokens for text in texts))
            judged = self._judge.queue.keys(JUDGE, [judged_text(said, text) for text in texts], first_draw)
            self._judge.add(judged * len(self._asked))
        return texts

    async def vote(self, prepared: Sequence[str]) -> Voted:
        """The same for each."""
        return Voted([self.answer] * len(prepared))


class _LikelyModel:
    """Stands for the helper: counts what it would be asked, and says something of about the right length."""

    name, deterministic = "dry run", False

    def __init__(self, count: _Count) -> None:
        self._count = count

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """A likely answer to each query."""
        self._count.add(map(self._count.queue.key, queries))
        return [Answer(_likely_answer(query)) for query in queries]

    def close(self) -> None:
        """Nothing to free."""


def _likely_answer(query: Query) -> str:
    """An answer of about the right length: a masked text with words for masks, or the list of a text's words.

    The longest first: a refined text of those has more synonyms, so fewer of its samples are asked about once for all.
    """
    shown = query.messages[-1].content
    if MASK in shown:
        return shown.replace(MASK, "the")
    return ", ".join(sorted(split(shown).words, key=len, reverse=True))


@dataclass(slots=True)
class _Count:
    """The distinct queries to one model."""

    queue: ModelQueue
    resources: Resources
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
        known = self.resources.cache.get_many(keys) if self.resources.cache is not None else {}
        for query, key in new:
            if key in known:
                self.cached += 1
                continue
            self.calls += 1
            if not self.free:
                self.input += (self.tokenizer or estimate_input)(query)
                self.output += _output_tokens(query)

    @property
    def free(self) -> bool:
        """Whether it is a function, which costs no tokens."""
        return bool(getattr(self.queue.model, "reads_text", False))

    @property
    def tokenizer(self) -> Callable[[Query], int] | None:
        """How the model itself counts the tokens of a query, if it can say."""
        return getattr(self.queue.model, "count_tokens", None)

    def scaled(self, scale: float) -> ModelEstimate:
        """The counts for ``scale`` times as many inputs."""
        calls, cached, tokens_in, tokens_out = (
            round(scale * number) for number in (self.calls, self.cached, self.input, self.output)
        )
        if self.cached and self.queue.must_identify:
            # Before answers of the cache are used, the server is identified.
            identifying = estimate_usage(identifying_query(self.first)) if self.first else Usage(1)
            calls, tokens_in, tokens_out = calls + 1, tokens_in + identifying.input, tokens_out + identifying.output
        price = self.queue.options.price
        cost = price(Usage(calls, tokens_in, tokens_out)) if price else None
        return ModelEstimate(calls, cached, tokens_in, tokens_out, cost, self.free or self.tokenizer is not None)


def _output_tokens(query: Query) -> int:
    """Tokens of the answer: those of the longest label, of a filled-in text, or all that the answer may have."""
    if query.labels:
        expected = max(map(len, query.labels))
    elif MASK in query.messages[-1].content:
        expected = len(_likely_answer(query))
    else:
        return query.max_tokens
    return min(query.max_tokens, 1 + expected // CHARACTERS_PER_TOKEN)
