"""A smoothed model: a language model that answers only where noise does not change whether it refuses."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Unpack

from clucert.config import GUARD, Config
from clucert.context_manager import ContextManager
from clucert.core.noise.retention import keyed_seed
from clucert.core.smoothing import Smoother
from clucert.errors import UsageError
from clucert.guard.classifier import RefusalClassifier, SideAnswers
from clucert.guard.conversation import MAX_SEED, GuardTask, Turn, folded_words
from clucert.guard.result import Guarded, Policy, chosen
from clucert.objects import config_of
from clucert.options import CertifyOptions
from clucert.protocols import Encoder, LanguageModel
from clucert.refusals import PhraseDetector, RefusalDetector
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.classifiers import Judge
from clucert.runtime.computation import Backends, Computation, Progress
from clucert.runtime.executor import Executor
from clucert.runtime.judge import JudgeDetector
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.resources import Resources, open_resources
from clucert.section import spelled_out
from clucert.types import Answer, Answers, Message, Query

SEED_BYTES = 6
"""Of a seed that a certificate shows: it survives every JSON reader, which may hold numbers in 53 bits."""


class NoiseKey:
    """What the noise of a guard is drawn from: 256 secret bits, shown and stored nowhere; for studies a public seed."""

    def __init__(self, seed: int | None = None) -> None:
        self.public = seed is not None
        self.raw = secrets.token_bytes(32) if seed is None else str(seed).encode()


@dataclass(frozen=True, slots=True)
class Defence:
    """How prompts are noised and answers are read: a guard without its model."""

    smoother: Smoother
    detector: RefusalDetector = field(default_factory=PhraseDetector)
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        self.smoother.settings.need_majority("an answer of the guard")

    def task(self, turn: Turn) -> GuardTask:
        """The question whose answer the votes are read from."""
        return GuardTask(turn, self.detector)

    def prepare(self, query: Query, key: NoiseKey) -> tuple[Turn, Smoother]:
        """The turn of ``query`` that is noised, and its smoother.

        The noise, and the seed of a model that samples, are functions of the key and of the words of that turn alone,
        whatever their case, accents, invisible characters and what stands between them. Other turns, roles, parameters
        and the client's own seed buy no other draw of a prompt: only another prompt does.
        """
        turn = Turn.of(query)
        said = folded_words(self.smoother.said(turn.text))
        turn = Turn(dataclasses.replace(query, seed=keyed_seed(key.raw, "draws", *said) % MAX_SEED), turn.position)
        smoother = self._about(turn)
        if key.public:
            seed = keyed_seed(key.raw, "noise", *said, size=SEED_BYTES)
            return turn, dataclasses.replace(smoother, settings=dataclasses.replace(smoother.settings, seed=seed))
        return turn, smoother.keyed(key.raw, "noise", *said)

    def _about(self, turn: Turn) -> Smoother:
        """The smoother whose certificates name what was asked about ``turn``."""
        settings = self.smoother.settings
        temperature = turn.query.temperature
        base = dataclasses.replace(
            settings.base, reader=self.detector.name, question=turn.digest, temperature=temperature
        )
        smoother = dataclasses.replace(self.smoother, settings=dataclasses.replace(settings, base=base))
        if temperature > 0:
            # Neither is evaluating every retention set once exact then, nor may equal texts share a vote.
            return dataclasses.replace(smoother, enumerate_up_to=0, answers=Answers("sampled"))
        return smoother


@dataclass(frozen=True, slots=True)
class Guard:
    """Answers prompts on an event loop, many at a time, through an executor whose queues have been started."""

    defence: Defence
    model: ModelQueue
    helper: ModelQueue | None = None
    judge: Judge | None = None
    """Comes before the detector of ``defence``."""
    encoder: Encoder | None = None

    async def respond(
        self, executor: Executor, query: Query, key: NoiseKey, progress: Progress | None = None
    ) -> Guarded:
        """Answer the last user turn of ``query`` under the noise that ``key`` gives its messages.

        Raises :class:`clucert.errors.InputError` for a prompt without words or with too many, and
        :class:`clucert.errors.ModelError` when the model does not answer: a lost vote is never guessed.
        """
        # In a thread: a long prompt must not hold up the others.
        turn, smoother = await asyncio.to_thread(self.defence.prepare, query, key)
        side_answers = SideAnswers()
        backends = Backends(
            classifier=RefusalClassifier(self.model, self.defence.task(turn), side_answers, self.judge),
            helper=self.helper or self.model,
            encoder=self.encoder,
        )
        computation = Computation(lambda: smoother.steps(turn.text), progress)
        certified = await executor.compute(computation, backends)
        answer, source = chosen(certified.certificate, side_answers, self.defence.policy)
        if answer is None:
            asked = await self.model.ask([self.model.key(turn.asked(smoother.said(turn.text), 0))])
            answer = asked.answers[0]
            computation.cost.classify += asked.usage
        return Guarded(answer, source, certified.certificate, certified.samples, computation.cost)


class SmoothedModel(ContextManager):
    """A guard around ``model``, which is a :class:`clucert.protocols.LanguageModel` itself.

    **What it does.** ``respond`` draws N noised prompts, has the model answer each, and lets the detector say which
    answers refuse. The majority is confirmed on N′ fresh noised prompts (paper, Algorithm 1); what is handed out is one
    of the model's own answers on that side, with the certificate of the vote. Where neither side is confirmed, the
    policy decides.

    **Guarantee.** That of :class:`clucert.Certificate` for the base classifier "does the model's answer refuse?": with
    probability at least 1 − α no change of the prompt within the radius turns the *smoothed vote*. It says nothing
    about what the answer says beyond that side, nor about answers whose ``source`` is ``undefended``.
    """

    def __init__(
        self,
        model: LanguageModel,
        defence: Defence,
        *,
        encoder: Encoder | None = None,
        helper: LanguageModel | None = None,
        close: Callable[[], None] | None = None,
        seed: int | None = None,
    ) -> None:
        """``seed`` is for studies: it makes the noise public, and reproducible. Without it the noise is secret."""
        self.model, self.defence = model, defence
        self.name = f"{defence.smoother.settings.method}({model.name})"
        self.deterministic = model.deterministic
        self._close = close or model.close
        self._key = NoiseKey(seed)
        detector = defence.detector
        judging = ModelQueue(detector.model) if isinstance(detector, JudgeDetector) else None
        helping = ModelQueue(helper) if helper is not None and helper is not model else None
        asking = ModelQueue(model)
        judge = Judge(judging) if judging else None
        self._asks = (asking, helping, judge, encoder)
        self._executor = BlockingExecutor(Backends(queues=[q for q in (asking, helping, judging) if q]))

    def respond(
        self, prompt: str | Query, *, max_tokens: int = 256, temperature: float = 0.0, progress: Progress | None = None
    ) -> Guarded:
        """Answer one prompt, or the last user turn of a whole conversation (a :class:`clucert.types.Query`, whose own
        ``max_tokens`` and ``temperature`` then count).

        Costs up to N + N′ calls of the model. Raises :class:`clucert.errors.InputError` for a prompt without words or
        with too many, and :class:`clucert.errors.ModelError` when the model does not answer: a lost vote is never
        guessed.
        """
        if isinstance(prompt, str):
            prompt = Query((Message("user", prompt),), max_tokens=max_tokens, temperature=temperature)
        query = prompt
        return self._executor.call(
            lambda executor: Guard(self.defence, *self._asks).respond(executor, query, self._key, progress)
        )

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """The guarded answer to each query, in order; ``usage`` is what all the calls behind it cost."""
        guarded = [self.respond(query) for query in queries]
        return [dataclasses.replace(each.answer, usage=each.cost.total) for each in guarded]

    def __repr__(self) -> str:
        """One line."""
        return f"<SmoothedModel {self.name}>"

    def close(self) -> None:
        """Free the models; calling it twice is harmless."""
        self._executor.close()
        self._close()


def guard_config(**options: Any) -> Config:
    """The configuration of a guard: :class:`clucert.config.Config` with the defaults of guards."""
    config = config_of(Config, {**GUARD, **options})
    asked = [name for name in ("task", "labels", "prompt") if getattr(config, name) is not None]
    if asked:
        raise UsageError(f"a guard has no {asked[0]}: it asks the model what the user asks, and votes on refusals")
    if len(config.model) > 1:
        raise UsageError("a guard hands out answers of one model: give one --model")
    return config


@spelled_out(CertifyOptions, Config, GUARD)
def open_guard(
    *, detector: RefusalDetector | None = None, policy: Policy | None = None, **options: Unpack[CertifyOptions]
) -> SmoothedModel:
    """A guard that owns its models: ``open_guard(model="vllm/NAME", base_url=…, method="ranmask", samples=20)``.

    ``options`` are the fields of :class:`clucert.config.Config`; the defaults in :data:`clucert.config.GUARD` differ:
    10 samples choose the side, 40 fresh ones certify it, and no answer is kept unless ``cache`` names where. Refusals
    are told by a packaged list of phrases, by ``detector``, or by the model that ``judge`` names. The noise is drawn
    from a secret key, so that nobody can search for a prompt that it happens to leave intact; ``seed``, for studies
    only, makes it public.
    """
    config = guard_config(**options)
    with ExitStack() as stack:
        resources, defence = load_guard(config, stack, detector or PhraseDetector(), policy or Policy())
        names = (config.model[0], config.helper_model or config.model[0])
        model, helper = (resources.models.get(name, resources.models[config.model[0]]) for name in names)
        encoder = resources.encoder(defence.smoother)
        seed = config.seed if config.seeded else None
        return SmoothedModel(model, defence, encoder=encoder, helper=helper, close=stack.pop_all().close, seed=seed)
    raise AssertionError("unreachable")


def load_guard(
    config: Config, stack: ExitStack, detector: RefusalDetector, policy: Policy
) -> tuple[Resources, Defence]:
    """The models that ``config`` names, and the defence around them; ``stack`` frees them. A judge comes first."""
    resources = open_resources(config, stack, GuardTask(BLANK, detector))
    if config.judge is not None:
        detector = JudgeDetector(resources.models[config.judge])
    return resources, Defence(resources.loaded, detector, policy)


BLANK = Turn.of(Query((Message("user", ""),)))
"""Stands for the turn of a conversation that is not there yet."""
