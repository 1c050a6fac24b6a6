"""The library's front door: a certificate in one call, many with one session."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from clucert import certificate_json, exact_json
from clucert.border import MAX_JSON, json_value, read_bytes
from clucert.certification import Certification, ExactCertification
from clucert.config import Config, ExactOptions, FlagSection, implied_method
from clucert.context_manager import ContextManager
from clucert.core.smoothing import Smoother, check_unicode, side_by_side
from clucert.errors import InputError, UsageError, shortened
from clucert.methods import load_exact as method_of_name
from clucert.methods.exact import ExactConfig, ExactMethod, refuse_sampling
from clucert.objects import config_of
from clucert.options import CertifyOptions, ExactName, Predicts, ProveOptions, SmoothOptions
from clucert.protocols import Classifier, Steps
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.computation import Backends, Progress
from clucert.section import options_of, refuse_unknown, spelled_out
from clucert.types import Cost, Predictions

if TYPE_CHECKING:
    from clucert.evaluate.study import RunSummary


def a_text(text: object) -> str:
    """``text``, if it is one. Raises :class:`InputError` for anything else, such as the NaN of a data frame."""
    if not isinstance(text, str):
        raise InputError(f"a text to certify is a str, not {type(text).__name__}: {shortened(repr(text), 40)}")
    check_unicode(text)
    return str(text)


class SmoothedClassifier(ContextManager):
    """A smoothed classifier g over a base classifier f. It is a :class:`clucert.protocols.Classifier` itself.

    ``certify`` draws N + N′ samples a text, ``predict`` only N. Safe to call from several threads.

    ``certify`` is a study, which anybody may repeat: it draws from the public seed of the settings. ``predict`` is what
    is deployed: it draws from 256 secret bits of this object and the text, so that nobody can choose words against the
    noise; they are shown and stored nowhere. With ``seeded``, for studies only, it draws from the seed.
    """

    def __init__(
        self, smoother: Smoother, backends: Backends, stack: ExitStack | None = None, *, seeded: bool = False
    ) -> None:
        self.smoother, self.backends = smoother, backends
        base = backends.classifier
        self.name = f"{smoother.settings.method}({base.name if base else ''})"
        self._key = None if seeded else secrets.token_bytes(32)
        # Seeded noise depends on the place of a text in the call.
        self.deterministic = bool(base and base.deterministic) and not seeded
        self._executor = BlockingExecutor(backends)
        self._stack = stack or ExitStack()

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What it answers: the labels, those of a group as one, or flagged and passed; None when answers are open."""
        return self.smoother.classes

    def certify(self, text: str, *, example: str = "", progress: Progress | None = None) -> Certification:
        """Certify one text (paper, Algorithm 1). ``example`` gives it noise of its own under the same seed.

        Raises :class:`clucert.errors.InputError` for a text that has no words or too many, and
        :class:`clucert.errors.ModelError` when a model does not answer: no certificate is issued then.
        """
        certified, cost = self.run(functools.partial(self.smoother.steps, a_text(text), example), progress)
        return Certification(certified.certificate, certified.samples, cost)

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """The smoothed answer to each text; None where N samples do not tell it from the next.

        The same text gets the same noise as long as this object lives, and so does another of the same canonical form.
        Where it was made with a seed, ``first_draw``
        numbers the texts in the seed instead.
        """
        if isinstance(texts, str):
            raise InputError("predict takes a list of texts: put the one text into a list")
        key = self._key
        steps = [
            functools.partial(self.smoother.predict_steps, text, str(index))
            if key is None
            else functools.partial(self.smoother.keyed(key, self.smoother.said(text)).predict_steps, text)
            for index, text in enumerate(texts, first_draw)
        ]
        votes, cost = self.run(functools.partial(side_by_side, steps))
        return Predictions(tuple(votes), cost.total)

    def prove(
        self,
        text: str,
        methods: str | Sequence[str] = ("blocks", "groups"),
        *,
        example: str = "",
        progress: Progress | None = None,
        **parameters: Any,
    ) -> list[ExactCertification]:
        """Exact certificates of few questions, one a method (``blocks``, ``groups``, ``chunks``, ``windows``,
        ``erase-and-check``, or a method file). ``parameters`` change fields of the methods, such as ``count=9``; the
        names are those of :func:`clucert.certify`.

        What is proved is about the classifier that counts the votes of those sub-texts: ``prediction`` is its answer.
        Raises :class:`UsageError` unless the base classifier is known, or declared, to answer equal texts alike:
        otherwise nothing is exact.
        """
        from clucert.build import exact_smoother
        from clucert.methods import load_exact
        from clucert.runtime.resources import check_exact

        base = self.backends.classifier
        check_exact(deterministic=base is not None and base.deterministic)
        text, found = a_text(text), []
        refuse_unknown(parameters, ExactMethod.model_fields, options_of(ExactOptions))
        for name in [methods] if isinstance(methods, str) else methods:
            method = load_exact(name)
            if method is None:
                raise UsageError(f"{name} samples: use certify")
            settings = self.smoother.settings
            fitted = method.for_base(settings.base, **parameters)
            smoother = exact_smoother(fitted, settings.base, self.smoother.labels, self.smoother.form)
            certificate, cost = self.run(functools.partial(smoother.steps, text, example), progress)
            found.append(ExactCertification(certificate, fitted, cost))
        return found

    def run(self, steps: Callable[[], Steps], progress: Progress | None = None) -> tuple[Any, Cost]:
        """The result of a sans-I/O computation that asks this classifier's base classifier, and what it cost."""
        return self._executor.run(steps, progress)

    def __repr__(self) -> str:
        """One line."""
        of = "" if self.labels is None else f": {shortened(', '.join(self.labels), 80)}"
        return f"<{type(self).__name__} {self.name}{of}>"

    def close(self) -> None:
        """Free what was loaded; calling it twice is harmless."""
        self._executor.close()
        self._stack.close()


class Session(SmoothedClassifier):
    """A smoothed classifier made from a configuration, which owns its models: close it, or use it as a context.

    Answers are kept in the cache that ``config.cache`` names, so what was paid for once is not paid for again.
    ``watch(answered, wanted)`` is told of every answer as it arrives.
    """

    def __init__(self, config: Config, watch: Callable[[int, int], None] | None = None) -> None:
        from clucert.methods import load_method
        from clucert.runtime.resources import open_resources

        load_method(config.method)  # Before any model loads: what draws no samples is refused.
        self.config = config
        with ExitStack() as stack:
            resources = open_resources(config, stack)
            backends = resources.backends(config, resources.task, resources.loaded, watch=watch)
            super().__init__(resources.loaded, backends, stack.pop_all(), seeded=config.seeded)

    def proofs_beside(self, text: str) -> list[ExactCertification]:
        """What :meth:`prove` gives with the flag and the groups of the configuration, where that is possible: none for
        open answers, nor where the model is not known to answer equal texts alike.
        """
        base = self.backends.classifier
        if self.labels is None or base is None or not base.deterministic:
            return []
        return self.prove(text, **{name: getattr(self.config, name) for name in options_of(FlagSection)})


class ExactSession(ContextManager):
    """The classifier that an exact method deploys (``config.method``), made from a configuration; it owns its models.

    ``watch(answered, wanted)`` is told of every answer as it arrives. Raises :class:`UsageError` for a method that
    samples, and for a model that does not answer equal texts alike.
    """

    def __init__(self, config: ExactConfig, watch: Callable[[int, int], None] | None = None) -> None:
        from clucert.build import any_method_of, base_of, task_of
        from clucert.runtime.resources import open_resources

        task = task_of(config)
        method = any_method_of(config, base_of(config, task))
        if not isinstance(method, ExactMethod):
            raise UsageError(f"{config.method} samples: use certify")
        self.method = method
        with ExitStack() as stack:
            resources = open_resources(config, stack, task)
            self._smoother: Any = resources.opened
            self._executor = BlockingExecutor(resources.backends(config, task, resources.opened, watch=watch))
            self._stack = stack.pop_all()

    def prove(self, text: str, *, example: str = "", progress: Progress | None = None) -> ExactCertification:
        """The exact certificate of one text. Raises :class:`InputError` for a text without a unit."""
        steps = functools.partial(self._smoother.steps, a_text(text), example)
        certificate, cost = self._executor.run(steps, progress)
        return ExactCertification(certificate, self.method, cost)

    def close(self) -> None:
        """Free what was loaded; calling it twice is harmless."""
        self._executor.close()
        self._stack.close()


@spelled_out(CertifyOptions, Config)
def open_session(**options: Unpack[CertifyOptions]) -> Session:
    """A session with the fields of :class:`clucert.config.Config`: ``open_session(task="sst2", model="smollm2")``."""
    return Session(config_of(Config, options))


@overload
def certify(text: str, *, method: ExactName, **options: Unpack[ProveOptions]) -> ExactCertification: ...  # type: ignore[overload-overlap]


@overload
def certify(text: str, **options: Unpack[CertifyOptions]) -> Certification: ...


def certify(text: str, **options: Any) -> Certification | ExactCertification:
    """Certify one text, as ``clucert certify`` does, with the same options by the same names.

    ``model`` is a name, or an object: a function of one text or of a list, plain or async, a fitted scikit-learn
    classifier, a Hugging Face pipeline. An exact ``method`` (blocks, groups, …), or that of a trained classifier, gives
    an :class:`ExactCertification`. Where no method is named, exact certificates come beside the default one, if the
    model answers equal texts alike (``exact``).

    >>> clucert.certify("A thoughtful, quick response.", task="sst2").radius  # doctest: +SKIP
    Radius(words=1, everything=False, nothing_to_attack=False)
    """
    method = options.get("method") or implied_method(options.get("model"))
    if method is not None and method_of_name(method) is not None:
        with ExactSession(config_of(ExactConfig, options)) as proving:
            return proving.prove(text)
    with Session(config_of(Config, options)) as session:
        found = session.certify(text)
        return replace(found, exact=tuple(session.proofs_beside(text))) if method is None else found


certify = spelled_out(ProveOptions, ExactConfig)(spelled_out(CertifyOptions, Config)(certify))


def certify_callable(
    text: str, classify: Callable[[list[str]], Sequence[str | int]], labels: Sequence[str], **options: Any
) -> Certification:
    """Certify the answer of any Python callable: a list of texts in, a list of labels (or their indices) out.

    Every sample is asked about unless ``deterministic=True`` says that equal texts always get equal labels.
    """
    with smooth(classify, labels, **options) as smoothed:
        return smoothed.certify(text)


def evaluate_callable(
    classify: object, labels: Sequence[str], data: str | Path, run_dir: str | Path, **options: Any
) -> RunSummary:
    """Certify every row of a data set for a function of texts, or a fitted scikit-learn classifier or pipeline.

    ``options`` are the fields of :class:`clucert.evaluate.runconfig.StudyConfig`, such as ``method="groups"``. The same
    call goes on with a run that was interrupted; ``clucert report`` and ``compare`` read the run directory.
    """
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.evaluate.study import evaluate_callable as evaluate

    config = StudyConfig.of(data=str(data), run_dir=run_dir, **options)
    refuse_sampling(options, config)
    return evaluate(classify, labels, config)


@spelled_out(SmoothOptions, Config)
def smooth(
    classify: Callable[..., Any] | Predicts | Classifier,
    labels: Sequence[str] | None = None,
    **options: Unpack[SmoothOptions],
) -> SmoothedClassifier:
    """A smoothed classifier over a function of one text or of a list, plain or async, a fitted scikit-learn classifier,
    a Hugging Face pipeline, or a :class:`clucert.protocols.Classifier`. ``labels`` may be left out where it says itself
    what they are, as a fitted classifier does.

    A callable is asked about every sample, for it may draw at random: say ``deterministic=True`` where equal texts
    always get equal labels, and they are asked about once. A classifier says so itself (``deterministic``); one that
    does not say is asked about every sample, too. ``seed`` is for studies: without it ``predict`` draws from a secret.
    """
    from clucert.runtime.callable_classifiers import labels_of
    from clucert.runtime.resources import backends_of_callable

    config = Config.of(**options)
    with ExitStack() as stack:
        smoother, backends = backends_of_callable(config, classify, labels_of(classify, labels), stack)
        return SmoothedClassifier(smoother, backends, stack.pop_all(), seeded=config.seeded)
    raise AssertionError("unreachable")


def load_exact(path: str | Path) -> ExactCertification:
    """Read an exact certificate. What it says is derived anew from the answers it holds."""
    return ExactCertification(*exact_json.read(_json_of(path)))


def load(path: str | Path) -> Certification:
    """Read a certificate that ``clucert certify --json`` wrote. Radii are derived anew from its counts.

    Raises :class:`clucert.errors.InputError`, one line that names the field, for what no certification could have
    written.
    """
    certified, cost = certificate_json.read(_json_of(path))
    return Certification(certified.certificate, certified.samples, cost or Cost())


def _json_of(path: str | Path) -> Any:
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder, and no certificate: clucert.load_run reads a run")
    return json_value(read_bytes(Path(path), MAX_JSON), f"the certificate {path}")
