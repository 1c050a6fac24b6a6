"""A scorer for inspect_ai that certifies, and a reader of its logs (extra ``clucert[inspect]``).

.. code-block:: python

    Task(
        dataset=[Sample("a warm and funny film", target="positive"), ...],
        solver=[prompt_template("Is this review positive or negative? {prompt}"), generate()],
        scorer=certified(["positive", "negative"], method="blocks", deterministic=True),
    )

The classifier that is certified is the model under evaluation with the messages that the solver has made, in which
sub-texts stand in place of the sample's input. Solvers that call the model more than once are not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Unpack

from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessage, ChatMessageAssistant, GenerateConfig, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import TaskState

from clucert.build import any_method_of, base_of
from clucert.certification import Certification, ExactCertification
from clucert.core.exact import ExactCertificate
from clucert.core.radius import Radius
from clucert.errors import InputError, UsageError
from clucert.evaluate.read_certificates import certificate_of
from clucert.methods.exact import ExactConfig
from clucert.objects import config_of
from clucert.options import AnyMethodOptions
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Computation
from clucert.runtime.executor import Executor
from clucert.runtime.resources import function_backends
from clucert.tasks.bare import BareTask
from clucert.tasks.parse import parse_label

SCORE = "certified"


@scorer(metrics={"right": [mean(), stderr()], "certified": [mean(), stderr()]}, name=SCORE)  # type: ignore[untyped-decorator]
def certified(
    labels: Sequence[str],
    *,
    radius: int = 1,
    threat: str | None = None,
    **options: Unpack[AnyMethodOptions],
) -> Scorer:
    """Scores ``right`` (the smoothed answer is the target) and ``certified`` (right, and proved to stay so under any
    ``radius`` operations of ``threat``; None: the method's first).

    ``options`` are those of :func:`clucert.certify`. An exact method needs ``deterministic=True``, your word that the
    model answers equal texts alike; it is asked at temperature 0. The method is ``blocks`` unless another is named. The
    certificate is in the score's metadata.
    """
    config = config_of(ExactConfig, {"method": "blocks", **options})
    task = BareTask.labelled("labels", labels)
    any_method_of(config, base_of(config, task))  # What is wrong is told before anything is asked.

    async def score(state: TaskState, target: Target) -> Score:
        with ExitStack() as stack:
            classifier = _classifier(state, task.labels, deterministic=bool(config.deterministic))
            named = config.model_copy(update={"model": [classifier.name]})
            method: Any = any_method_of(named, base_of(named, task))
            certifier, backends = function_backends(named, task, classifier, stack)
            executor = Executor(backends)
            computation = Computation(lambda: certifier.steps(state.input_text, str(state.sample_id)))
            async with executor.opened():
                found = await executor.compute(computation)
        if isinstance(found, ExactCertificate):
            result: Any = ExactCertification(found, method, computation.cost)
        else:
            result = Certification(found.certificate, found.samples, computation.cost)
        proved = result.certificate.proved
        right = result.prediction in target.target
        return Score(
            value={"right": float(right), "certified": float(right and _reaches(proved, threat, radius))},
            answer=result.prediction,
            explanation=str(result),
            metadata={"certificate": result.document()},
        )

    return score


def _reaches(proved: Any, threat: str | None, radius: int) -> bool:
    if threat is not None and threat not in proved:
        raise UsageError(f"nothing is said of {threat!r}: the threats are {', '.join(proved)}")
    found: Radius | None = proved[threat or next(iter(proved))]
    return found is not None and found.reaches(radius)


def _classifier(state: TaskState, labels: tuple[str, ...], *, deterministic: bool) -> CallableClassifier:
    """The model under evaluation, asked as the solver asked it, with another text."""
    model, asked = get_model(), _asked(state)
    config = GenerateConfig(temperature=0.0) if deterministic else GenerateConfig()

    async def one(text: str) -> str | None:
        messages = [_with_text(message, state.input_text, text) for message in asked]
        answer = await model.generate(messages, config=config)
        return parse_label(answer.completion, {label: label for label in labels})

    async def classify(texts: list[str]) -> list[str | None]:
        return list(await asyncio.gather(*map(one, texts)))

    return CallableClassifier(classify, labels, name=str(model), deterministic=deterministic)


def _asked(state: TaskState) -> list[ChatMessage]:
    """The messages up to the model's first answer. Raises :class:`InputError` where the input is in none of them."""
    answers = [i for i, message in enumerate(state.messages) if isinstance(message, ChatMessageAssistant)]
    asked = state.messages[: answers[0]] if answers else list(state.messages)
    if not any(state.input_text in message.text for message in asked):
        raise InputError("the solver's messages do not hold the sample's input as it is: nothing could be noised")
    return asked


def _with_text(message: ChatMessage, given: str, text: str) -> ChatMessage:
    """The message with ``text`` for the last place where the input stands; other turns stay as they are."""
    if given not in message.text:
        return message
    before, _, behind = message.text.rpartition(given)
    return message.model_copy(update={"content": f"{before}{text}{behind}"})


# Logs


def read_rows(log: str | Path | EvalLog) -> list[dict[str, Any]]:
    """The samples of a log as rows for :func:`clucert.evaluate`: id, text and label, where there is one target."""
    return [
        {"id": str(sample.id), "text": _input_of(sample), "label": _target_of(sample)}
        for sample in _read(log).samples or ()
    ]


def read_certificates(log: str | Path | EvalLog) -> dict[str, Any]:
    """The certificates in a log by the sample's id, and ``id/epoch`` after the first; derived anew from their votes.

    A log may come from anybody: a certificate that no certification could have written is an :class:`InputError`.
    """
    found: dict[str, Any] = {}
    for sample in _read(log).samples or ():
        document = ((sample.scores or {}).get(SCORE, Score(value=0)).metadata or {}).get("certificate")
        if document is not None:
            name = str(sample.id) if sample.epoch == 1 else f"{sample.id}/{sample.epoch}"
            found[name] = certificate_of(document)
    return found


def _read(log: str | Path | EvalLog) -> EvalLog:
    if isinstance(log, EvalLog):
        return log
    try:
        return read_eval_log(str(log))
    except (OSError, ValueError) as error:
        raise InputError(f"{log} is no log of inspect_ai: {' '.join(str(error).split())[:200]}") from None


def _input_of(sample: Any) -> str:
    return sample.input if isinstance(sample.input, str) else next(m.text for m in sample.input if m.role == "user")


def _target_of(sample: Any) -> str | None:
    return sample.target if isinstance(sample.target, str) else sample.target[0] if len(sample.target) == 1 else None
