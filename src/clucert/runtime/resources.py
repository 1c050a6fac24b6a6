"""From a configuration to the objects that do the work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, is_dataclass, replace
from fractions import Fraction
from typing import Any

from clucert.config import Config
from clucert.core.certificate import Base, Perturbation, Settings
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.noise.characters import parse_q
from clucert.core.noise.retention import parse_mask_rate
from clucert.core.refine import load_refiner
from clucert.core.smoothing import Smoother
from clucert.core.stopping import fixed_plan, plans
from clucert.driver import Backends
from clucert.errors import UsageError
from clucert.lexicon import load_lexicon
from clucert.methods import Method, load_method
from clucert.models.encoders import load_encoder
from clucert.models.ensemble import Ensemble
from clucert.models.load import ModelOptions, load_model
from clucert.models.prompted import PromptedClassifier
from clucert.protocols import Classifier, Encoder, LanguageModel, Task
from clucert.redact import clean_base_url
from clucert.tasks import custom_task, load_task
from clucert.tasks.classification import check_labels
from clucert.tasks.open_ended import OpenTask
from clucert.types import Answers


@dataclass(frozen=True, slots=True)
class Assembly:
    """A smoother with the backends it asks, and how to free them."""

    smoother: Smoother
    backends: Backends
    close: Callable[[], None] = lambda: None
    models: Mapping[str, LanguageModel] = field(default_factory=dict)
    """By the names in the configuration, the helper's among them; what a scheduler asks instead of ``backends``."""


def assemble(
    config: Config, wrap: Callable[[LanguageModel], LanguageModel] = lambda model: model, task: Task | None = None
) -> Assembly:
    """Everything that ``config`` names, loaded. Small things that can be wrong are checked before any model loads.

    Each model is passed through ``wrap`` (a cache, a progress bar) before it is asked anything. A ``task`` that is
    given comes before the one that ``config`` names.
    """
    task = task or task_of(config)
    smoother = smoother_of(config, task)
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        encoder = pool.submit(_ready_encoder, smoother.settings.encoder or "minilm") if _embeds(smoother) else None
        names = list(dict.fromkeys([*config.model, *_helper_name(config, smoother), *filter(None, [config.judge])]))
        models = {name: wrap(model) for name, model in _load_all(pool, names, options_of(config), stack).items()}
        judge = models[config.judge] if config.judge else None
        classifiers = [classifier_of(models[name], task, judge) for name in config.model]
        helper = models.get(config.helper_model or "", models[config.model[0]])
        backends = Backends(
            classifier=classifiers[0] if len(classifiers) == 1 else Ensemble(classifiers),
            helper=helper,
            encoder=encoder.result() if encoder else None,
        )
        smoother = replace(smoother, answers=_answers(config, backends.classifier, task))
        return Assembly(_exact(config, smoother, backends), backends, stack.pop_all().close, models)
    raise AssertionError("unreachable")


def assemble_callable(
    config: Config, classify: Callable[[list[str]], Sequence[str | int]] | Classifier, labels: tuple[str, ...]
) -> Assembly:
    """A smoother around a Python callable, or around a classifier that is one already."""
    from clucert.models.callable import declared

    check_labels(labels)
    classifier = declared(classify, labels, config.deterministic)
    base = Base((classifier.name,), config.task or "")
    smoother = make_smoother(config, method_of(config, config.task or ""), labels, base)
    smoother = replace(smoother, answers=_answers(config, classifier))
    encoder = load_encoder(smoother.settings.encoder or "minilm") if _embeds(smoother) else None
    needs_helper = "llm" in (smoother.settings.recovery, smoother.settings.refine)
    if needs_helper and config.helper_model is None:
        raise UsageError("this method asks a helper model (refine or fill): give one as helper_model")
    helper = load_model(config.helper_model, options_of(config)) if needs_helper and config.helper_model else None
    backends = Backends(classifier, helper, encoder)
    return Assembly(_exact(config, smoother, backends), backends, helper.close if helper else lambda: None)


def _exact(config: Config, smoother: Smoother, backends: Backends) -> Smoother:
    """``smoother``, enumerating where that is wanted and exact: the vote, a fill included, repeats itself."""
    filled = smoother.settings.recovery == "llm"
    fixed = backends.classifier.deterministic and not (filled and not getattr(backends.helper, "deterministic", False))
    if config.sampling != "auto" or not fixed:
        return smoother
    return replace(smoother, enumerate_up_to=config.samples + config.certify_samples)


def _answers(config: Config, classifier: Classifier, task: Task | None = None) -> Answers:
    """How votes on equal texts are to come about: asked once of what is known or said to repeat itself, on trial of a
    model that has no reason to draw, and anew for every sample of all else.
    """
    if classifier.deterministic:
        return Answers("declared" if config.deterministic else "deterministic")
    if task is None or config.deterministic is not None:
        return Answers("sampled")
    first, second = (task.query("", draw=draw) for draw in (0, 1))
    return Answers("probed" if first == second and first.temperature == 0 else "sampled")


def classifier_of(model: LanguageModel, task: Task, judge: LanguageModel | None = None) -> Classifier:
    """The base classifier: ``task`` put to ``model``, and its answers to ``judge`` where there is one."""
    if judge is None:
        return PromptedClassifier(model, task)
    from clucert.models.judged import JudgedClassifier

    return JudgedClassifier(model, task, judge)


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


def _helper_name(config: Config, smoother: Smoother) -> list[str]:
    asks = "llm" in (smoother.settings.recovery, smoother.settings.refine)
    return [config.helper_model] if asks and config.helper_model else []


def _embeds(smoother: Smoother) -> bool:
    # An llm refine falls back to the embedding one.
    settings = smoother.settings
    return smoother.denoiser.needs_embeddings or settings.refine != "off" or settings.recoveries > 1


def options_of(config: Config) -> ModelOptions:
    """How to reach the models."""
    return ModelOptions(
        base_url=config.base_url,
        timeout=config.timeout,
        max_retries=config.max_retries,
        max_connections=config.max_connections,
        temperature=config.temperature,
        deterministic=bool(config.deterministic),
        accept_model_change=config.accept_model_change,
    )


def task_of(config: Config) -> Task:
    """The task that ``config`` names or spells out, asked at the temperature that it sets."""
    if config.labels is not None or config.prompt is not None:
        task: Any = custom_task(labels=config.labels, prompt=config.prompt, name=config.task)
    elif config.task is None:
        raise UsageError("say what to ask: --task sst2 (or agnews, …), or --labels a,b with --prompt prompt.txt")
    else:
        task = load_task(config.task)
    # A task found through an entry point may not be a dataclass; it then asks at the temperature it likes.
    fields = _answer_fields(config, task)
    if config.temperature and is_dataclass(task) and hasattr(task, "temperature"):
        fields["temperature"] = config.temperature
    checked: Task = replace(task, **fields) if fields else task
    return checked


def _answer_fields(config: Config, task: Task) -> dict[str, Any]:
    """What the configuration says about answers, as fields of the task. Raises UsageError for what it does not have."""
    if config.judge is not None and getattr(task, "read_by", None) is None:
        raise UsageError(f"--judge reads refusals; the answers of {task.name} are read by the task: try --task refusal")
    if config.system_prompt is not None and not isinstance(task, OpenTask):
        raise UsageError(f"{task.name} has no free answers: --system-prompt goes with --task refusal")
    if config.answer_tokens is not None and not (is_dataclass(task) and hasattr(task, "max_tokens")):
        raise UsageError(f"the task {task.name} says itself how long its answers are: leave out --answer-tokens")
    given = {"instruction": config.system_prompt, "max_tokens": config.answer_tokens}
    return {name: value for name, value in given.items() if value is not None}


def method_of(config: Config, task: str) -> Method:
    """The method with the values chosen for the task and the configuration's own on top."""
    return load_method(config.method).for_task(task, **config.method_overrides)


def smoother_of(config: Config, task: Task) -> Smoother:
    """Noise, filter and parameters. Loads the lexicon, no model."""
    url = config.base_url and clean_base_url(config.base_url)
    reader = f"judge:{config.judge}" if config.judge else getattr(task, "read_by", None)
    base = Base(tuple(config.model), task.name, _question(task), url, config.temperature, reader)
    return make_smoother(config, method_of(config, task.name), task.labels, base, task)


def _question(task: Task) -> str:
    return hashlib.sha256(repr(task.query("text")).encode()).hexdigest()[:12]


def make_smoother(
    config: Config, method: Method, labels: tuple[str, ...] | None, base: Base, task: Task | None = None
) -> Smoother:
    """The smoother of a method. ``task`` tells an llm refine what the words are to be important for."""
    lexicon = load_lexicon(method.lexicon, config.lexicon_files)
    # The user's own entries go into the name by their digest: certificates over other pools are other certificates.
    entries = "".join(lexicon.name.partition("+user:")[1:])
    settings = Settings(
        base=base,
        method=method.name,
        mask_rate=Fraction(0) if method.recovery == "characters" else parse_mask_rate(method.mask_rate),
        recovery=method.recovery,
        clustering=method.clustering,
        threshold=method.threshold,
        refine=method.refine,
        refine_length=method.refine_length if method.refine != "off" else None,
        alpha=config.alpha,
        gamma=config.gamma,
        predict_samples=config.samples,
        looks=fixed_plan(config.certify_samples),
        seed=config.seed,
        lexicon=method.lexicon + entries,
        encoder=method.encoder,
        retained_kernel=method.retained_kernel,
        recoveries=method.recoveries,
        perturbation=Perturbation(method.perturbation, parse_q(method.q)) if method.perturbation and method.q else None,
    )
    return Smoother(
        settings=plans(config.sampling, settings, labels, config.certify_samples),
        labels=labels,
        lexicon=lexicon,
        refiner=load_refiner(method.refine, task),
        denoiser=Denoiser(load_clusterer(method.clustering), method.threshold),
        protect=frozenset(config.protect),
        show_samples=config.show_samples,
        target_radius=config.target_radius,
    )
