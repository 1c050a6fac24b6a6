"""The library's front door: a certificate in one call, many with one session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clucert import certificate_json as document
from clucert.config import Config
from clucert.context_manager import Closing
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.radius import Radius
from clucert.core.smoothing import Certified, Smoother
from clucert.driver import Backends, Cost, Progress, drive
from clucert.errors import InputError
from clucert.protocols import Classifier, LanguageModel, Task
from clucert.types import Predictions, Usage, Vote

if TYPE_CHECKING:
    from clucert.runtime.resources import Assembly


@dataclass(frozen=True, slots=True)
class Certification:
    """A certificate with the samples that were asked for and what it cost."""

    certificate: Certificate
    samples: tuple[Sample, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @property
    def prediction(self) -> str | None:
        """The smoothed answer, or None for an abstention."""
        return self.certificate.prediction

    @property
    def radius(self) -> Radius | None:
        """The published radius; see :class:`clucert.Certificate` for what it assumes."""
        return self.certificate.radius

    def document(self) -> dict[str, Any]:
        """Everything as one JSON document (docs/json.md)."""
        return document.write(Certified(self.certificate, self.samples), self.cost)

    def __str__(self) -> str:
        """What the command line prints."""
        from rich.console import Console

        from clucert.render import print_certified

        console = Console(width=120, highlight=False, color_system=None, soft_wrap=True)
        with console.capture() as captured:
            print_certified(console, self.certificate, self.cost)
        return captured.get().rstrip()


class SmoothedClassifier:
    """A smoothed classifier g over a base classifier f. It is a :class:`clucert.protocols.Classifier` itself.

    ``certify`` draws N + N′ samples a text, ``predict`` only N.

    ``certify`` is a study, which anybody may repeat: it draws from the public seed of the settings. ``predict`` is what
    is deployed: it draws from 256 secret bits of this object and the text, so that nobody can choose words against the
    noise; they are shown and stored nowhere. With ``seeded``, for studies only, it draws from the seed.
    """

    def __init__(self, smoother: Smoother, backends: Backends, *, seeded: bool = False) -> None:
        self.smoother, self.backends = smoother, backends
        self.name = f"{smoother.settings.method}({backends.classifier.name})"
        self._key = None if seeded else secrets.token_bytes(32)
        # Seeded noise depends on the place of a text in the call.
        self.deterministic = backends.classifier.deterministic and not seeded

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed label set, or None when answers are open."""
        return self.smoother.labels

    def certify(self, text: str, *, example: str = "", progress: Progress | None = None) -> Certification:
        """Certify one text (paper, Algorithm 1). ``example`` gives it noise of its own under the same seed.

        Raises :class:`clucert.errors.InputError` for a text that has no words or too many, and
        :class:`clucert.errors.ModelError` when a model does not answer: no certificate is issued then.
        """
        if not isinstance(text, str):
            raise InputError(f"a text to certify is a str, not {type(text).__name__}: decode it first")
        certified, cost = drive(self.smoother.steps(text, example), self.backends, progress)
        return Certification(certified.certificate, certified.samples, cost)

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """The smoothed answer to each text; None where N samples do not tell it from the next.

        The same text gets the same noise as long as this object lives. Where it was made with a seed, ``first_draw``
        numbers the texts in the seed instead.
        """
        votes: list[Vote] = []
        usage = Usage()
        for index, text in enumerate(texts, first_draw):
            key = self._key
            steps = (
                self.smoother.predict_steps(text, str(index))
                if key is None
                else self.smoother.keyed(key, text).predict_steps(text)
            )
            vote, cost = drive(steps, self.backends)
            votes.append(vote)
            usage += cost.total
        return Predictions(tuple(votes), usage)


class Session(SmoothedClassifier, Closing):
    """A smoothed classifier made from a configuration, which owns its models: close it, or use it as a context.

    Answers are kept in the cache that ``config.cache`` names, so what was paid for once is not paid for again.
    ``watch(answered, wanted)`` is told of every answer as it arrives.
    """

    def __init__(self, config: Config, watch: Callable[[int, int], None] | None = None) -> None:
        self.config = config
        with ExitStack() as stack:
            assembly = loaded(config, stack, watch=watch)
            super().__init__(assembly.smoother, assembly.backends, seeded=config.seeded)
            self._close = stack.pop_all().close

    def close(self) -> None:
        """Free the models; calling it twice is harmless."""
        self._close()


def loaded(
    config: Config, stack: ExitStack, *, watch: Callable[[int, int], None] | None = None, task: Task | None = None
) -> Assembly:
    """What ``config`` names, with its cache before each model; ``stack`` frees it. A ``task`` given comes first."""
    from clucert.cache import CachedModel, open_cache
    from clucert.models.watched import WatchedModel
    from clucert.runtime.resources import assemble

    cache = None if config.cache is False else stack.enter_context(closing(open_cache(config.cache)))

    def wrap(model: LanguageModel) -> LanguageModel:
        seen = WatchedModel(model, watch) if watch else model
        if cache is None:
            return seen
        base_url, identity = getattr(model, "base_url", ""), getattr(model, "identity", "")
        return CachedModel(seen, cache, base_url=base_url, identity=identity)

    assembly = assemble(config, wrap, task)
    stack.callback(assembly.close)
    return assembly


def open_session(**options: Any) -> Session:
    """A session with the fields of :class:`clucert.config.Config`: ``open_session(task="sst2", model="smollm2")``."""
    return Session(Config.of(**options))


def certify(text: str, **options: Any) -> Certification:
    """Certify one text; ``options`` are the fields of :class:`clucert.config.Config`.

    >>> clucert.certify("A thoughtful, quick response.", task="sst2").radius  # doctest: +SKIP
    Radius(words=1, everything=False, nothing_to_attack=False)
    """
    with open_session(**options) as session:
        return session.certify(text)


def certify_callable(
    text: str, classify: Callable[[list[str]], Sequence[str | int]], labels: Sequence[str], **options: Any
) -> Certification:
    """Certify the answer of any Python callable: a list of texts in, a list of labels (or their indices) out.

    Every sample is asked about unless ``deterministic=True`` says that equal texts always get equal labels.
    """
    return smooth(classify, labels, **options).certify(text)


def smooth(
    classify: Callable[[list[str]], Sequence[str | int]] | Classifier, labels: Sequence[str], **options: Any
) -> SmoothedClassifier:
    """A smoothed classifier over any Python callable or :class:`clucert.protocols.Classifier`.

    A callable is asked about every sample, for it may draw at random: say ``deterministic=True`` where equal texts
    always get equal labels, and they are asked about once. A classifier says so itself (``deterministic``); one that
    does not say is asked about every sample, too. ``seed`` is for studies: without it ``predict`` draws from a secret.
    """
    from clucert.runtime.resources import assemble_callable

    config = Config.of(**options)
    assembly = assemble_callable(config, classify, tuple(labels))
    return SmoothedClassifier(assembly.smoother, assembly.backends, seeded=config.seeded)


def load(path: str | Path) -> Certification:
    """Read a certificate that ``clucert certify --json`` wrote. Radii are derived anew from its counts.

    Raises :class:`clucert.errors.InputError`, one line that names the field, for what no certification could have
    written.
    """
    import json

    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the certificate {path}: {error}") from None
    certified, cost = document.read(fields)
    return Certification(certified.certificate, certified.samples, cost or Cost())
