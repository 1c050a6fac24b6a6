"""Loaded models, encoder, cache and budget, put together for a scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from clucert.cache import AnswerCache, open_cache
from clucert.core.smoothing import Smoother
from clucert.evaluate.runconfig import StudyConfig
from clucert.models.batch import GATHERED, batched
from clucert.models.batchledger import BatchLedger
from clucert.models.encoders import load_encoder
from clucert.protocols import Encoder, LanguageModel, Task
from clucert.runtime.budget import Budget, Limits, check_price
from clucert.runtime.classifiers import EnsembleVoter, JudgedVoter, PromptedVoter, Voter
from clucert.runtime.computation import Crew
from clucert.runtime.model_queue import Lane, LaneOptions
from clucert.runtime.prices import find_price
from clucert.runtime.resources import Assembly, assemble, smoother_of

BATCHES = "batches.jsonl"
"""The list of a run's batches, in its directory."""


def inputs_in_flight(config: StudyConfig, crew: Crew) -> int:
    """How many inputs keep the models busy while others are between two questions: at least 4, at most 64."""
    if config.in_flight is not None:
        return config.in_flight
    if config.batch:
        # A stage of all of them goes into the same batches.
        return max(1, GATHERED // (config.samples + config.certify_samples))
    capacity = max((lane.capacity for lane in crew.lanes), default=1)
    return min(64, max(4, 2 + math.ceil(3 * capacity / (config.samples + config.certify_samples))))


def open_workshop(config: StudyConfig, stack: ExitStack) -> Workshop:
    """Load what ``config`` names; ``stack`` frees it."""
    assembly = assemble(config)
    stack.callback(assembly.close)
    cache = None if config.cache is False else stack.enter_context(closing(open_cache(config.cache)))
    budget = Budget(Limits(config.max_requests, config.max_tokens, config.max_cost))
    return Workshop(assembly, cache, budget)


@dataclass(slots=True)
class Workshop:
    """Loaded models, the cache and the budget, which several runs may share."""

    assembly: Assembly
    cache: AnswerCache | None
    budget: Budget
    encoders: dict[str, Encoder] = field(default_factory=dict)

    def smoother(self, config: StudyConfig, task: Task) -> Smoother:
        """The smoother of ``config``, which may differ in the method from the one that was loaded."""
        smoother = smoother_of(config, task)
        loaded = self.assembly.smoother
        return replace(smoother, enumerate_up_to=loaded.enumerate_up_to, answers=loaded.answers)

    def crew(self, config: StudyConfig, task: Task, smoother: Smoother, run_dir: Path | None = None) -> Crew:
        """Who answers the requests of ``smoother``; lanes are made anew for each run.

        With ``config.batch``, a run in ``run_dir`` keeps the list of its batches there; without one, nothing is asked
        in batches.
        """
        models: Mapping[str, LanguageModel] = self.assembly.models
        if config.batch and run_dir is not None:
            ledger = BatchLedger.open(run_dir / BATCHES)
            models = {name: batched(model, ledger) for name, model in models.items()}
        lanes = {name: self._lane(model, config) for name, model in models.items()}
        judge = lanes[config.judge] if config.judge else None
        voters: list[Voter] = [
            PromptedVoter(task, lanes[name]) if judge is None else JudgedVoter(task, lanes[name], judge)
            for name in config.model
        ]
        return Crew(
            voter=voters[0] if len(voters) == 1 else EnsembleVoter(voters),
            lanes=list(lanes.values()),
            helper=lanes.get(config.helper_model or config.model[0]),
            encoder=self._encoder(smoother),
        )

    def model_names(self, config: StudyConfig) -> list[str]:
        """What the base classifiers call themselves."""
        return [self.assembly.models[name].name for name in config.model]

    def _lane(self, model: LanguageModel, config: StudyConfig) -> Lane:
        base_url = str(getattr(model, "base_url", ""))
        price = find_price(model.name, base_url=base_url, batch=config.batch, **config.prices)
        check_price(self.budget.limits, price, model.name)
        options = LaneOptions(
            connections=config.max_connections,
            base_url=base_url,
            identity=str(getattr(model, "identity", "")),
            price=price,
        )
        return Lane(model, cache=self.cache, budget=self.budget, options=options)

    def _encoder(self, smoother: Smoother) -> Encoder | None:
        settings = smoother.settings
        name = settings.encoder or "minilm"
        loaded = self.assembly.backends.encoder
        if loaded is not None and loaded.name == name:
            return loaded
        if not smoother.denoiser.needs_embeddings and settings.refine == "off" and settings.recoveries == 1:
            return None
        if name not in self.encoders:
            self.encoders[name] = load_encoder(name)
        return self.encoders[name]
