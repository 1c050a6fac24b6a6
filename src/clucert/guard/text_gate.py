"""A gate with the classifier that it asks, opened from a configuration or around a classifier of one's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Unpack

from clucert.build import task_of
from clucert.context_manager import ContextManager
from clucert.core.exact import ExactSmoother
from clucert.core.smoothing import Smoother
from clucert.errors import InputError, UsageError, shortened
from clucert.guard.client_text import ClientText, Said, client_text
from clucert.guard.gate import Gate, Verdict
from clucert.guard.model import NoiseKey
from clucert.methods import load_any, load_exact
from clucert.methods.exact import ExactConfig, ExactMethod
from clucert.objects import config_of
from clucert.options import AnyMethodOptions
from clucert.protocols import Task
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.callable_classifiers import classifier_of
from clucert.runtime.computation import Backends
from clucert.runtime.resources import function_backends, open_resources
from clucert.section import spelled_out
from clucert.tasks.classification import ClosedTask
from clucert.types import Who

GATE: dict[str, Any] = {
    "method": "windows",
    "samples": 50,
    "certify_samples": 100,
    "cache": False,
    "canonical": ["characters"],
}
"""What a gate does unless told otherwise."""
SAMPLED = ("samples", "certify_samples")
"""Methods that ask every sub-text draw none."""
_SHARE = "0.5"
"""η where nobody chose one: of methods that go by a share."""


def gate_config(**options: Any) -> ExactConfig:
    """The configuration of a gate: the fields of :class:`Config` and of exact methods.

    Without ``flag`` a text is flagged by the label that the task guards against; without a threshold, at a share of
    0.5, or, where sub-texts are counted (windows, chunks), at one.
    """
    return _of_one_model(ExactConfig.of(**_with_defaults(options)))


def _with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    fields = {**GATE, **options}
    if load_exact(fields["method"]) is not None:
        fields = {name: value for name, value in fields.items() if name in options or name not in SAMPLED}
    return fields


def _of_one_model(config: ExactConfig) -> ExactConfig:
    if len(config.model) > 1:
        raise UsageError("a gate asks one model: name one")
    return config


def _with_flag(config: ExactConfig, task: Task) -> ExactConfig:
    """The configuration with a flag, and a threshold where the method goes by a share."""
    method, given = load_any(config.method), config.model_dump(include={"flag", "flag_threshold", "at_least"})
    guarded = getattr(task, "guarded", None)
    flag = given["flag"] or method.flag or ([guarded] if guarded else [])
    if not flag:
        raise UsageError(f"say which labels of {task.name} block a request: --flag {(task.labels or ('…',))[0]}")
    counts = isinstance(method, ExactMethod) and (
        method.family not in ("blocks", "groups") or given["at_least"] is not None or method.at_least > 1
    )
    share = given["flag_threshold"] or method.flag_threshold or (None if counts else _SHARE)
    return config.model_copy(update={"flag": list(flag), "flag_threshold": share})


def load_gate(
    config: ExactConfig, stack: ExitStack, key: bytes | None = None, max_calls: int | None = None
) -> tuple[Gate, Backends]:
    """The gate that ``config`` describes, and who answers it; ``stack`` frees its model.

    ``key`` is what sampled noise is drawn from; None draws a secret one. ``max_calls`` are those of one request.
    """
    task = task_of(config)
    config = _with_flag(config, task)
    resources = open_resources(config, stack, task)
    backends = resources.backends(config, task, resources.opened, judged_early=False)
    return _gate(resources.opened, backends, key, max_calls)


def load_function_gate(
    classify: object,
    labels: Sequence[str],
    config: ExactConfig,
    stack: ExitStack,
    key: bytes | None = None,
    max_calls: int | None = None,
) -> tuple[Gate, Backends]:
    """The same around a function of texts, a fitted scikit-learn classifier, or a classifier of one's own."""
    classifier = classifier_of(classify, labels, config.deterministic)
    task: Task = task_of(config) if config.task else ClosedTask(classifier.name, tuple(labels), "")
    config = _with_flag(config, task)
    certifier, backends = function_backends(config, task, classifier, stack)
    return _gate(certifier, backends, key, max_calls)


def _gate(
    certifier: Smoother | ExactSmoother, backends: Backends, key: bytes | None, max_calls: int | None
) -> tuple[Gate, Backends]:
    gate = Gate(certifier, key or NoiseKey().raw, max_calls)
    if backends.classifier is None:
        raise UsageError("a gate needs a classifier")
    classifier = gate.wary(backends.classifier)
    return gate, Backends(classifier, backends.queues, backends.helper, backends.encoder)


class TextGate(ContextManager):
    """A gate that owns its model. Safe to call from several threads."""

    def __init__(self, gate: Gate, backends: Backends, stack: ExitStack) -> None:
        self.gate = gate
        self._executor = BlockingExecutor(backends)
        self._stack = stack

    def check(
        self, request: str | Sequence[dict[str, Any]] | ClientText, read: Collection[Who] = ("user", "tool")
    ) -> Verdict:
        """What is decided about one text, about the messages of a chat of which the roles in ``read`` are read, or
        about what was found in a request.

        Raises :class:`clucert.errors.InputError` where there is nothing to read, or more than one request may cost, and
        :class:`clucert.errors.ModelError` when the classifier does not answer: nothing passes then.
        """
        if isinstance(request, ClientText):
            found = request
        elif request is None or isinstance(request, bytes | float | int):
            raise InputError(f"a gate reads a text or the messages of a chat, and this is {type(request).__name__}")
        elif isinstance(request, str):
            found = ClientText((Said("text", request),))
        else:
            found = client_text({"messages": list(request)}, "chat", read)
        verdict, _ = self._executor.run(lambda: self.gate.steps(found))
        checked: Verdict = verdict
        return checked

    def __repr__(self) -> str:
        """One line."""
        settings, flag = self.gate.certifier.settings, self.gate.flag
        return f"<TextGate {settings.method}({', '.join(settings.base.models)}), flags {shortened(flag.name, 80)}>"

    def close(self) -> None:
        """Free the model; calling it twice is harmless."""
        self._executor.close()
        self._stack.close()


@spelled_out(AnyMethodOptions, ExactConfig, GATE)
def open_gate(
    classify: object = None,
    labels: Sequence[str] = (),
    *,
    model: object = None,
    max_calls: int | None = None,
    **given: Unpack[AnyMethodOptions],
) -> TextGate:
    """A gate for prompts: ``open_gate(task="jailbreak", model="smollm2", method="windows", size=12)``.

    ``classify``, or ``model``, may be any function of texts, a fitted scikit-learn classifier, a trained classifier's
    file: ``open_gate(pipeline, ["harmful", "safe"], flag=["harmful"], method="groups")``. It needs ``labels`` where
    neither it nor a ``task`` says them. ``max_calls`` are those that one request may cost (None: any number).
    ``options`` are the fields of :class:`clucert.config.Config` and of exact methods, ``threshold`` is η; see
    :func:`gate_config` for what they are by default.
    """
    options: dict[str, Any] = dict(given)
    if classify is not None and model is not None:
        raise UsageError("a gate asks one classifier: leave out model")
    classify = model if classify is None else classify
    named = not labels or classify is None or isinstance(classify, str | list | tuple)
    if named and labels and options.get("task"):
        raise UsageError("labels and a task, which has its own: give one of them")
    if named:
        options |= {"labels": list(labels)} if labels else {}
        options |= {} if classify is None else {"model": classify}
    config = _of_one_model(config_of(ExactConfig, _with_defaults(options), flagged=True))
    key = NoiseKey(config.seed if config.seeded else None).raw
    with ExitStack() as stack:
        if named:
            gate, backends = load_gate(config, stack, key, max_calls)
        else:
            gate, backends = load_function_gate(classify, labels, config, stack, key, max_calls)
        return TextGate(gate, backends, stack.pop_all())
    raise AssertionError("unreachable")
