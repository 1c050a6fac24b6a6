"""From a configuration to the task, the method and the smoother that it names. Loads no model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from fractions import Fraction
from typing import Any

from clucert.config import Config, ExactSection, FlagSection
from clucert.core.calibration import Bias
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.exact import ExactSmoother
from clucert.core.noise.canonical import Canonical
from clucert.core.noise.characters import parse_q
from clucert.core.noise.retention import parse_mask_rate
from clucert.core.refine import load_refiner
from clucert.core.settings import Base, ExactSettings, Perturbation, Settings
from clucert.core.smoothing import Smoother
from clucert.core.stopping import fixed_plan, plans
from clucert.errors import UsageError
from clucert.lexicon import load_lexicon
from clucert.lexicon.canonical import load_form
from clucert.methods import Method, load_any, load_method
from clucert.methods.exact import ExactMethod, readers_of
from clucert.models.function_files import labels_of_model, reads_text
from clucert.models.functions import no_labels
from clucert.protocols import Task
from clucert.redact import clean_base_url
from clucert.section import flag, options_of, shared
from clucert.tasks import custom_task, load_task
from clucert.tasks.bare import BareTask
from clucert.tasks.classification import ClosedTask
from clucert.tasks.open_ended import OpenTask


def task_of(config: Config) -> Task:
    """The task that ``config`` names or spells out, asked at the temperature that it sets; without its prompt where all
    models are functions of texts, whose own labels then do where it names none.
    """
    if all(asked_the_text(config, name) for name in config.model):
        return _bare_task(config)
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


def _bare_task(config: Config) -> Task:
    """The task of functions of texts. Raises :class:`UsageError` for options of a prompt."""
    for name in ("prompt", "system_prompt", "answer_tokens", "temperature"):
        if getattr(config, name):
            raise UsageError(f"{flag(name)} is for language models, and {config.model[0]} is asked the text alone")
    if config.labels is not None:
        return BareTask.labelled(config.task or "labels", config.labels)
    if config.task is None:
        name, labels = _own_labels(config)
        return BareTask.labelled(name, labels)
    task = load_task(config.task)
    own = config.task.endswith((".yaml", ".yml"))
    if own and isinstance(task, ClosedTask) and not any(map(str.isdigit, task.gold)):
        return BareTask.of(task, ordered=True)  # In the order that the user wrote them in.
    return bare(task)


def _own_labels(config: Config) -> tuple[str, tuple[str, ...]]:
    """The name of the first model as a task, and the labels that it says itself."""
    name = config.model[0]
    if name not in config.given:
        return labels_of_model(name)
    model = config.given[name]
    labels = getattr(model, "labels", None)
    if labels is None:
        raise UsageError(getattr(model, "unlabelled", "") or no_labels(name, model))
    return name, tuple(map(str, labels))


def asked_the_text(config: Config, name: str) -> bool:
    """Whether the model of this name is asked the text alone, without a prompt."""
    given = config.given.get(name)
    return reads_text(name) if given is None else getattr(given, "reads_text", False)


def bare(task: Task) -> Task:
    """``task`` as a function of texts is asked it. Answers that are open are read as those of a language model."""
    return BareTask.of(task) if isinstance(task, ClosedTask) and not isinstance(task, BareTask) else task


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
    """The method with the values chosen for the task and the configuration's own on top.

    Raises :class:`UsageError` for a method that asks a fixed family of sub-texts, and for options of such methods.
    """
    return _sampled(load_method(config.method), config, task)


def _sampled(method: Method, config: Config, task: str) -> Method:
    if wrong := next((name for name, value in _exact_options(config).items() if value is not None), None):
        raise UsageError(f"{flag(wrong)} goes with {readers_of(wrong)}")
    return method.for_task(task, **config.method_overrides)


def any_method_of(config: Config, base: Base) -> Method | ExactMethod:
    """The same for a method of either kind, with what was chosen for the task and the models of ``base``."""
    method = load_any(config.method)
    if isinstance(method, Method):
        return _sampled(method, config, base.task)
    flags = exact_flags(config, method.name)
    return method.for_base(base, **_exact_options(config), **flags)


def exact_flags(config: Config, method: str) -> dict[str, Any]:
    """The flag and the groups of an exact method; raises :class:`UsageError` for a change of methods that sample."""
    changes = config.method_overrides
    flags = {name: changes.pop(name) for name in options_of(FlagSection)}
    if wrong := next((name for name, value in changes.items() if value is not None), None):
        raise UsageError(f"{flag(wrong)} goes with methods that sample, which {method} does not")
    return flags


def _exact_options(config: Config) -> dict[str, Any]:
    """Of a configuration that has them, as that of a study does."""
    return {name: getattr(config, name, None) for name in options_of(ExactSection)}


def smoother_of(config: Config, task: Task) -> Smoother:
    """Noise, filter and parameters. Loads the lexicon, no model."""
    return make_smoother(config, method_of(config, task.name), task.labels, base_of(config, task), task)


def certifier_of(config: Config, task: Task) -> Smoother | ExactSmoother:
    """What certifies by the method of ``config``, whether that samples or asks a fixed family of sub-texts."""
    base = base_of(config, task)
    method = any_method_of(config, base)
    if isinstance(method, Method):
        return make_smoother(config, method, task.labels, base, task)
    return exact_smoother(method, base, task.labels, form_of(config))


def form_of(config: Config) -> Canonical | None:
    """What texts are put into before anything else. Raises MissingExtraError where a table is not installed."""
    return load_form(config.canonical or (), config.lexicon_files, config.protect)


def base_of(config: Config, task: Task) -> Base:
    """Who is asked, and what."""
    url = config.base_url and clean_base_url(config.base_url)
    reader = f"judge:{config.judge}" if config.judge else getattr(task, "read_by", None)
    return Base(tuple(config.model), task.name, _question(task), url, config.temperature, reader)


def _question(task: Task) -> str:
    return hashlib.sha256(repr(task.query("text")).encode()).hexdigest()[:12]


def make_smoother(
    config: Config, method: Method, labels: tuple[str, ...] | None, base: Base, task: Task | None = None
) -> Smoother:
    """The smoother of a method. ``task`` tells an llm refine what the words are to be important for."""
    lexicon = load_lexicon(method.lexicon, config.lexicon_files)
    form = form_of(config)
    # The user's own entries go into the name by their digest: certificates over other pools are other certificates.
    entries = "".join(lexicon.name.partition("+user:")[1:])
    unmasked = method.recovery == "characters" or isinstance(method.keep, int)
    computed = {
        "base": base,
        "method": method.name,
        "mask_rate": Fraction(0) if unmasked else parse_mask_rate(method.mask_rate),
        "refine_length": method.refine_length if method.refine != "off" else None,
        "predict_samples": config.samples,
        "looks": fixed_plan(config.certify_samples),
        "lexicon": method.lexicon + entries,
        "flag": method.flags(labels),
        "groups": tuple(method.group),
        "canonical": form.names if form else (),
        "perturbation": Perturbation(method.perturbation, parse_q(method.q))
        if method.perturbation and method.q
        else None,
    }
    settings = Settings(**shared(Settings, config, method) | computed)
    if config.target_radius is not None and not settings.published:
        said = "a flag" if settings.flag else method.name
        raise UsageError(f"--target-radius is a published radius, which {said} has not: leave it out")
    return Smoother(
        settings=plans(config.sampling, settings, config.certify_samples),
        labels=labels,
        lexicon=lexicon,
        refiner=load_refiner(method.refine, task),
        denoiser=Denoiser(load_clusterer(method.clustering), method.threshold),
        protect=frozenset(config.protect),
        show_samples=config.show_samples,
        form=form,
        target_radius=config.target_radius,
    )


def exact_smoother(
    method: ExactMethod,
    base: Base,
    labels: tuple[str, ...] | None,
    form: Canonical | None = None,
    forms: Sequence[str] | None = None,
) -> ExactSmoother:
    """The deployed classifier of a method that asks a fixed family of sub-texts of a text in canonical form.

    ``forms`` names forms whose tables are not at hand: such a smoother cuts no text.

    Raises :class:`UsageError` for open answers, and :class:`InputError` for labels that the task does not have.
    """
    if labels is None:
        raise UsageError(f"{method.name} counts votes for labels, and this task has open answers: choose another task")
    if unknown := {label for bias in method.bias for label in bias.of} - set(labels):
        raise UsageError(f"method {method.name}: bias of {min(unknown)!r}, which is none of the labels")
    settings = ExactSettings(
        base=base,
        method=method.name,
        noise=method.noise(),
        unit=method.unit,
        soft=method.scores != "hard",
        sharpness=method.sharpness,
        bias=tuple(Bias(b.words, tuple(b.of.get(label, 0.0) for label in labels), b.scale) for b in method.bias),
        flag=method.flags(labels),
        canonical=form.names if form else tuple(forms or ()),
        groups=method.label_groups(labels),
        by_length=method.by_length(),
    )
    return ExactSmoother(settings, labels, form)
