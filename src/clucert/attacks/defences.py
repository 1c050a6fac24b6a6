"""Whom a run of attacks asks: the model of a configuration, bare and under each method, behind one cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from clucert.attacks.victims import BareVictim, ExactVictim, SmoothedVictim, Victim
from clucert.build import certifier_of
from clucert.config import ChangeSection
from clucert.core.exact import ExactSmoother
from clucert.core.smoothing import Smoother
from clucert.errors import InputError
from clucert.evaluate.runconfig import StudyConfig
from clucert.methods import CHARACTERS, load_any
from clucert.methods.exact import ExactMethod
from clucert.protocols import Task
from clucert.runtime.classifiers import BaseClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.resources import Resources, check_exact, function_backends, open_resources
from clucert.section import options_of

UNDEFENDED = "none"
"""The bare model."""


def load_victims(
    config: StudyConfig,
    task: Task,
    defences: Sequence[str],
    stack: ExitStack,
    classifier: BaseClassifier | None = None,
) -> tuple[dict[str, Victim], Sequence[ModelQueue]]:
    """The model of ``config``, or ``classifier``, bare and under each method, behind one cache, and the queues they
    share; ``stack`` frees them.

    Raises :class:`UsageError` for an exact method around what answers equal texts differently.
    """
    if classifier is not None:
        methods = {name: config_of(config, name) for name in defences if name != UNDEFENDED}
        found = {n: function_backends(c, task, classifier, stack) for n, c in methods.items()}
        bare = BareVictim(Backends(classifier))
        return {n: _victim(*found[n], config) if n in found else bare for n in defences}, ()
    opened = open_defences(config, task, defences, stack)
    shared = opened.resources.backends(opened.config, task, opened.resources.opened)
    return opened.victims(shared), shared.queues


@dataclass(frozen=True, slots=True)
class Defences:
    """What stands between an attack and the models of a configuration."""

    config: StudyConfig
    """Of the defence that needs most: it decides what is loaded."""
    resources: Resources
    certifiers: Mapping[str, Smoother | ExactSmoother]
    names: Sequence[str]

    def victims(self, shared: Backends) -> dict[str, Victim]:
        """The victims by their names, around ``shared``."""
        victims: dict[str, Victim] = {UNDEFENDED: BareVictim(shared)}
        for name, certifier in self.certifiers.items():
            backends = dataclasses.replace(shared, encoder=self.resources.encoder(certifier))
            if isinstance(certifier, ExactSmoother):
                check_exact(deterministic=self.resources.deterministic)
            else:
                certifier = dataclasses.replace(certifier, answers=self.resources.loaded.answers)  # noqa: PLW2901
            victims[name] = _victim(certifier, backends, self.config)
        return {name: victims[name] for name in self.names}


def open_defences(config: StudyConfig, task: Task, names: Sequence[str], stack: ExitStack) -> Defences:
    """Load what the methods ``names`` need around the model of ``config``; ``stack`` frees it."""
    methods = {name: config_of(config, name) for name in names if name != UNDEFENDED}
    certifiers = {name: certifier_of(changed, task) for name, changed in methods.items()}
    # Of all methods, the one that needs the helper model decides what is loaded, and else one that samples.
    first = max(certifiers, key=lambda name: _needs(certifiers[name]), default=None)
    wanted = methods[first] if first else config_of(config, config.method)
    return Defences(wanted, open_resources(wanted, stack, task), certifiers, names)


def _needs(certifier: Smoother | ExactSmoother) -> int:
    """How much of what may be loaded a defence needs."""
    if isinstance(certifier, ExactSmoother):
        return 0
    return 2 if "llm" in (certifier.settings.recovery, certifier.settings.refine) else 1


def _victim(certifier: Smoother | ExactSmoother, backends: Backends, config: StudyConfig) -> Victim:
    if isinstance(certifier, ExactSmoother):
        said = certifier.settings.flag
        if certifier.settings.groups or (said and set(said.names(certifier.labels)) - set(certifier.labels)):
            raise InputError(
                "an attack is judged by the labels of the task: leave out --group, and flag one of two labels; the "
                "claims of any guard are attacked by  clucert audit  of its run"
            )
        return ExactVictim(certifier, backends)
    return SmoothedVictim(certifier, backends, config.samples)


def config_of(config: StudyConfig, defence: str) -> StudyConfig:
    """The configuration of one defence among several: what is meant for another kind of noise is left out."""
    method = load_any(defence)
    if isinstance(method, ExactMethod):
        # Nor do they have pools: lexicon files are those of the canonical form.
        files = [str(path) for path in config.lexicon_files]
        return config.model_copy(
            update={"method": defence, "lexicon": files, **dict.fromkeys(options_of(ChangeSection))}
        )
    characters = (config.method_overrides["recovery"] or method.recovery) == "characters"
    others = ("mask_rate",) if characters else CHARACTERS
    return config.model_copy(update={"method": defence, **dict.fromkeys(others)})
