"""Loaded models, encoder, cache and budget, put together for the executor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from clucert.build import asked_the_text, bare, certifier_of, make_smoother, method_of, smoother_of, task_of
from clucert.cache import AnswerCache, open_cache
from clucert.config import Config
from clucert.core.exact import ExactSmoother
from clucert.core.settings import Base
from clucert.core.smoothing import Smoother
from clucert.errors import UsageError
from clucert.models.batch import GATHERED, batched
from clucert.models.batchledger import BatchLedger
from clucert.models.encoders import load_encoder
from clucert.models.load import ModelOptions, load_model
from clucert.protocols import Encoder, LanguageModel, Task
from clucert.runtime.budget import Budget, Limits, check_price
from clucert.runtime.callable_classifiers import classifier_of
from clucert.runtime.classifiers import (
    BaseClassifier,
    Ensemble,
    JudgedClassifier,
    PromptedClassifier,
)
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.prices import find_price
from clucert.runtime.queued_models import QueueOptions
from clucert.section import shared
from clucert.tasks.classification import check_labels
from clucert.types import Answers

BATCHES = "batches.jsonl"
"""The list of a run's batches, in its directory."""
FEW = 5
"""Questions of an exact certificate, about."""


Certifier = tuple[Smoother | ExactSmoother, Backends]


@dataclass(slots=True)
class Resources:
    """Loaded models, the cache and the budget, which several runs may share."""

    opened: Smoother | ExactSmoother
    """What certifies by the configuration that was opened."""
    models: Mapping[str, LanguageModel]
    """By the names in the configuration, the helper's and the judge's among them."""
    cache: AnswerCache | None
    budget: Budget
    deterministic: bool
    """Whether equal texts are known, or declared, to get equal answers."""
    task: Task
    """What was asked for when it was opened: it is read once."""
    encoders: dict[str, Encoder] = field(default_factory=dict)

    @property
    def loaded(self) -> Smoother:
        """The smoother of the configuration that was opened. Raises :class:`UsageError` where it does not sample."""
        if isinstance(self.opened, ExactSmoother):
            raise UsageError(f"{self.opened.settings.method} draws no samples: name a method that does")
        return self.opened

    def smoother(self, config: Config, task: Task) -> Smoother:
        """The smoother of ``config``, which may differ in the method from the one that was loaded."""
        loaded = self.loaded
        return replace(smoother_of(config, task), enumerate_up_to=loaded.enumerate_up_to, answers=loaded.answers)

    def certifier(self, config: Config, task: Task) -> Smoother | ExactSmoother:
        """What certifies by ``config``, whose method is of the kind of the one that was opened."""
        return certifier_of(config, task) if isinstance(self.opened, ExactSmoother) else self.smoother(config, task)

    def backends(
        self,
        config: Config,
        task: Task,
        smoother: Smoother | ExactSmoother,
        *,
        batches: Path | None = None,
        watch: Callable[[int, int], None] | None = None,
        judged_early: bool = True,
    ) -> Backends:
        """The backends for the requests of ``smoother``, with new queues.

        Unless ``judged_early``, a model whose first answers cannot be read is asked on: who asks is no study.

        ``batches`` is the folder that keeps the list of batches: models are then asked through their providers' batch
        APIs. ``watch(answered, wanted)`` is told of the answers to each group of questions as they arrive.
        """
        models = self.models
        if batches is not None:
            ledger = BatchLedger.open(batches / BATCHES)
            models = {name: batched(model, ledger) for name, model in models.items()}
        queues = {name: self._queue(model, config, watch, batch=batches is not None) for name, model in models.items()}
        judge = queues[config.judge] if config.judge else None
        asked = {name: bare(task) if asked_the_text(config, name) else task for name in config.model}
        classifiers: list[BaseClassifier] = [
            PromptedClassifier(asked[name], queues[name], watched=judged_early)
            if judge is None
            else JudgedClassifier(asked[name], queues[name], judge)
            for name in config.model
        ]
        return Backends(
            classifier=classifiers[0] if len(classifiers) == 1 else Ensemble(classifiers),
            queues=list(queues.values()),
            helper=queues.get(config.helper_model or config.model[0]),
            encoder=self.encoder(smoother),
        )

    def model_names(self, config: Config) -> list[str]:
        """The names of the base classifiers."""
        return [self.models[name].name for name in config.model]

    def encoder(self, smoother: Smoother | ExactSmoother) -> Encoder | None:
        """The encoder of ``smoother``, loaded once; None where it compares no texts."""
        name = _encoder_name(smoother)
        if name is None:
            return None
        if name not in self.encoders:
            self.encoders[name] = load_encoder(name)
        return self.encoders[name]

    def _queue(
        self, model: LanguageModel, config: Config, watch: Callable[[int, int], None] | None, *, batch: bool
    ) -> ModelQueue:
        base_url = str(getattr(model, "base_url", ""))
        price = find_price(model.name, base_url=base_url, batch=batch, **config.prices)
        check_price(self.budget.limits, price, model.name)
        options = QueueOptions(
            connections=config.max_connections,
            base_url=base_url,
            identity=str(getattr(model, "identity", "")),
            price=price,
        )
        cache = self.cache if getattr(model, "cached", True) else None
        return ModelQueue(model, cache=cache, budget=self.budget, options=options, watch=watch)


def open_resources(config: Config, stack: ExitStack, task: Task | None = None) -> Resources:
    """Load what ``config`` names; ``stack`` frees it. Small things are checked before any model loads.

    A ``task`` that is given comes before the one that ``config`` names.
    """
    task = task or task_of(config)
    smoother = certifier_of(config, task)
    cache = None if config.cache is False else stack.enter_context(closing(open_cache(config.cache)))
    budget = Budget(Limits(config.max_requests, config.max_tokens, config.max_cost))
    with ThreadPoolExecutor(2) as pool:
        name = _encoder_name(smoother)
        encoder = pool.submit(_ready_encoder, name) if name else None
        names = list(dict.fromkeys([*config.model, *_helper_name(config, smoother), *filter(None, [config.judge])]))
        given = {name: config.given[name] for name in names if name in config.given}
        loaded = [name for name in names if name not in given]
        models = given | _load_all(pool, loaded, options_of(config), stack)
        encoders = {name: encoder.result()} if name and encoder else {}
    asked = [models[name] for name in [*config.model, *filter(None, [config.judge])]]
    fixed = all(model.deterministic for model in asked) and not _draws(task)
    if isinstance(smoother, ExactSmoother):
        check_exact(deterministic=fixed)
        return Resources(smoother, models, cache, budget, fixed, task)
    helper = models.get(config.helper_model or config.model[0])
    # A function that nobody vouches for may draw at random, and is not put on trial.
    on_trial = None if any(asked_the_text(config, name) for name in config.model) else task
    smoother = _asked(config, smoother, asked, deterministic=fixed, helper=helper, task=on_trial)
    return Resources(smoother, models, cache, budget, fixed, task, encoders)


def _asked(
    config: Config,
    smoother: Smoother,
    voters: Sequence[object],
    *,
    deterministic: bool,
    helper: LanguageModel | None,
    task: Task | None = None,
) -> Smoother:
    """``smoother`` with how votes on equal texts are to come about, and enumerating where that is wanted and exact.

    Equal texts share one vote where the classifier is deterministic or declared so, on trial where the model should be
    but is not bound to, and otherwise each sample is asked anew. Enumerating needs deterministic votes, fills included.
    """
    if deterministic:
        declared = config.deterministic or any(getattr(voter, "declared", False) for voter in voters)
        answers = Answers("declared" if declared else "deterministic")
    elif task is None or config.deterministic is not None or _draws(task) or task.query("").temperature > 0:
        answers = Answers("sampled")
    else:
        answers = Answers("probed")
    smoother = replace(smoother, answers=answers)
    drawn = smoother.settings.recovery == "llm" and not getattr(helper, "deterministic", False)
    if config.sampling != "auto" or not deterministic or drawn:
        return smoother
    return replace(smoother, enumerate_up_to=config.samples + config.certify_samples)


def check_exact(*, deterministic: bool) -> None:
    """Raise :class:`UsageError` unless equal texts get equal answers: otherwise nothing is exact."""
    if not deterministic:
        raise UsageError(
            "exact certificates need equal answers to equal texts: vouch for them (--deterministic, "
            "deterministic=True), or sample (--method ranmask for replaced words, --method deletion for added ones)"
        )


def _draws(task: Task) -> bool:
    """Whether the task samples: its questions about one text differ from draw to draw."""
    return task.query("", draw=0) != task.query("", draw=1)


def backends_of_callable(
    config: Config, classify: object, labels: tuple[str, ...], stack: ExitStack
) -> tuple[Smoother, Backends]:
    """A smoother around a Python callable, or around a classifier that is one already, and its backends."""
    check_labels(labels)
    classifier = classifier_of(classify, labels, config.deterministic)
    base = Base((classifier.name,), config.task or "")
    smoother = make_smoother(config, method_of(config, config.task or ""), labels, base)
    encoder = load_encoder(smoother.settings.encoder or "minilm") if embeds(smoother) else None
    needs_helper = "llm" in (smoother.settings.recovery, smoother.settings.refine)
    if needs_helper and config.helper_model is None:
        raise UsageError("this method asks a helper model (refine or fill): give one as helper_model")
    queues: list[ModelQueue] = []
    if needs_helper and config.helper_model:
        loaded = load_model(config.helper_model, options_of(config))
        stack.callback(loaded.close)
        queues.append(ModelQueue(loaded))
    helper = queues[0] if queues else None
    model = helper.model if helper and isinstance(helper.model, LanguageModel) else None
    smoother = _asked(config, smoother, [classifier], deterministic=classifier.deterministic, helper=model)
    return smoother, Backends(classifier, queues, helper, encoder)


def function_backends(config: Config, task: Task, classifier: BaseClassifier, stack: ExitStack) -> Certifier:
    """What certifies a classifier of the user's own by ``config``, of either kind of method, and who answers it: by its
    own name, whatever model ``config`` names.
    """
    config = config.model_copy(update={"model": [classifier.name]})
    smoother = certifier_of(config, task)
    if isinstance(smoother, ExactSmoother):
        check_exact(deterministic=classifier.deterministic)
        return smoother, Backends(classifier)
    return backends_of_callable(config, classifier, task.labels or (), stack)


def inputs_in_flight(config: Config, backends: Backends, *, exact: bool = False) -> int:
    """How many inputs keep the models busy while others are between two questions: at least 4, at most 64.

    An ``exact`` one asks few questions.
    """
    questions = FEW if exact else config.samples + config.certify_samples
    wanted: int | None = getattr(config, "in_flight", None)
    if wanted is not None:
        return wanted
    if any(queue.gathers for queue in backends.queues):
        # A stage of all of them goes into the same batches.
        return max(1, GATHERED // questions)
    capacity = max((queue.capacity for queue in backends.queues), default=1)
    return min(64, max(4, 2 + math.ceil(3 * capacity / questions)))


def embeds(smoother: Smoother) -> bool:
    """Whether ``smoother`` asks an encoder. An llm refine falls back to the embedding one."""
    settings = smoother.settings
    return smoother.denoiser.needs_embeddings or settings.refine != "off" or settings.recoveries > 1


def options_of(config: Config) -> ModelOptions:
    """How to reach the models."""
    return ModelOptions(**shared(ModelOptions, config) | {"deterministic": bool(config.deterministic)})


def _ready_encoder(name: str) -> Encoder:
    """The encoder with its weights loaded, and the filter's libraries, while the language model loads beside it."""
    from importlib import import_module

    encoder = load_encoder(name)
    encoder.encode(["ready"])
    for library in ("scipy.cluster.hierarchy", "scipy.spatial.distance"):
        import_module(library)
    return encoder


def _load_all(
    pool: ThreadPoolExecutor, names: Sequence[str], options: ModelOptions, stack: ExitStack
) -> dict[str, LanguageModel]:
    loading: dict[str, Future[LanguageModel]] = {name: pool.submit(load_model, name, options) for name in names}
    loaded: dict[str, LanguageModel] = {}
    for name, future in loading.items():
        loaded[name] = future.result()
        stack.callback(loaded[name].close)
    return loaded


def _encoder_name(smoother: Smoother | ExactSmoother) -> str | None:
    if isinstance(smoother, ExactSmoother) or not embeds(smoother):
        return None
    return smoother.settings.encoder or "minilm"


def _helper_name(config: Config, smoother: Smoother | ExactSmoother) -> list[str]:
    if isinstance(smoother, ExactSmoother):
        return []
    asks = "llm" in (smoother.settings.recovery, smoother.settings.refine)
    return [config.helper_model] if asks and config.helper_model else []
