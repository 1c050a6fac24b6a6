"""``clucert attack --certificates RUN``: known attacks on what a run has proved, and how far they have to go."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from clucert.api import Session
from clucert.attacks.certificates import Match, RadiiCompared, attack_certificates, proved_claim
from clucert.attacks.exact import GUIDED, attack_exact
from clucert.attacks.recipes import load_attack
from clucert.attacks.search import GreedyWordSwap
from clucert.attacks.table import cell
from clucert.audit.claims import Threat
from clucert.audit.exact_steps import armed
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.errors import InputError, UsageError
from clucert.evaluate.read_certificates import need_models, read_any_run
from clucert.evaluate.runconfig import StudyConfig
from clucert.notebook import Shown
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.resources import open_resources
from clucert.text_table import text_table
from clucert.visible import harmless_json

SCHEMA_VERSION = 1
FILE = "empirical.json"

Progress = Callable[[int, int], None]
"""``(comparisons done, comparisons in all)``."""


TITLE = ("recipe", "change", "proved", "certified", "empirical", "never flipped", "broken", "exceeds")


@dataclass(frozen=True, slots=True, repr=False)
class Empirical(Shown):
    """Comparisons of one run: a recipe and a threat model each."""

    run: str
    match: Match
    comparisons: tuple[tuple[str, RadiiCompared], ...]

    def document(self) -> dict[str, Any]:
        """Everything as JSON, the texts included."""
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "run": self.run,
            "votes_per_query": self.match.samples,
            "max_queries": self.match.max_queries,
            "confirm": self.match.confirm,
            "comparisons": [{"recipe": recipe, **found.document()} for recipe, found in self.comparisons],
        }

    def __str__(self) -> str:
        return self.text()

    @property
    def verdict(self) -> str:
        """One sentence: how many proved claims the attacks broke, and how far they had to go."""
        said = []
        for recipe, found in self.comparisons:
            change = found.duels[0].claim.said if found.duels else found.threat
            broken = sum(duel.broken for duel in found.duels)
            told = f"{recipe} broke {broken or 'none'} of {len(found.duels)} proved claims ({change})"
            if not broken:
                turned = sum(duel.changed is not None for duel in found.duels)
                told += f", and turned {turned} answers with larger changes"
            said.append(told)
        return "; ".join(said)

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The verdict and the table."""
        lines = [_cells(recipe, found) for recipe, found in self.comparisons]
        return self.verdict, [dict(zip(TITLE, line, strict=True)) for line in lines], ()

    def text(self, width: int | None = None) -> str:
        """The table in so many columns."""
        table = text_table([TITLE, *(_cells(recipe, found) for recipe, found in self.comparisons)], width=width, keys=2)
        claims = [duel.claim for _, found in self.comparisons for duel in found.duels]
        domains = sorted({claim.domain for claim in claims})
        counted = "words" if all(claim.ball is None for claim in claims) else "operations on the pieces"
        return f"{table}\nRadii count {counted} of {' or '.join(f'the {domain} text' for domain in domains)}."


def attack_run(
    run_dir: Path,
    recipes: Sequence[str],
    match: Match | None = None,
    *,
    limit: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Empirical:
    """Attack the proved claims of the first ``limit`` certificates of a run with each recipe, and write the outcome.

    ``match.threat`` is ignored: all threat models are attacked where anything is proved for them; of exact certificates
    those that a recipe reaches, and all with the recipe ``guided``. Models, task and
    method are the run's, with ``overrides`` for how to reach them. ``empirical.json`` in the run directory has all of
    it; answers are in the cache, so what was interrupted goes on where it was.

    Raises :class:`UsageError` for a recipe that does not keep words in their places, :class:`InputError` for a folder
    that is no run or holds nothing proved, and what the model raises.
    """
    match = match or Match()
    attacks = {name: None if name == GUIDED else _word_attack(name) for name in recipes}
    need_models(run_dir, overrides)
    config, certificates = read_any_run(run_dir, limit, overrides)
    exact = {name: each for name, each in certificates.items() if isinstance(each, ExactCertificate)}
    if exact:
        found = _on_exact(config, exact, attacks, match, progress)
    else:
        sampled = {name: each for name, each in certificates.items() if isinstance(each, Certificate)}
        found = _on_sampled(config, sampled, attacks, match, progress)
    if not found:
        raise InputError(f"{run_dir} holds no certificate with a proved radius: there is nothing to attack")
    result = Empirical(str(run_dir), match, tuple(found))
    text = harmless_json(result.document(), indent=1)
    (run_dir / FILE).write_text(f"{text}\n", encoding="utf-8")
    return result


def _on_sampled(
    config: StudyConfig,
    certificates: Mapping[str, Certificate],
    attacks: Mapping[str, GreedyWordSwap | None],
    match: Match,
    progress: Progress | None,
) -> list[tuple[str, RadiiCompared]]:
    threats = [t for t in get_args(Threat) if any(proved_claim(c, t) for c in certificates.values())]
    wanted = [(name, attack, threat) for name, attack in attacks.items() for threat in threats]
    found: list[tuple[str, RadiiCompared]] = []
    if not wanted:
        return found
    with Session(config) as smoothed:
        for done, (name, attack, threat) in enumerate(wanted, 1):
            if attack is None:
                raise UsageError(f"{name} searches exact certificates; of a method that samples: clucert audit")
            aimed = replace(match, threat=threat)
            found.append((name, attack_certificates(smoothed, certificates, attack, aimed)))
            if progress:
                progress(done, len(wanted))
    return found


def _on_exact(
    config: StudyConfig,
    certificates: Mapping[str, ExactCertificate],
    attacks: Mapping[str, GreedyWordSwap | None],
    match: Match,
    progress: Progress | None,
) -> list[tuple[str, RadiiCompared]]:
    found: list[tuple[str, RadiiCompared]] = []
    with ExitStack() as stack:
        resources = open_resources(config, stack)
        backends = resources.backends(config, resources.task, resources.certifier(config, resources.task))
        executor = stack.enter_context(closing(BlockingExecutor(backends)))
        arsenal = armed(list(certificates.values()))
        for done, (name, attack) in enumerate(attacks.items(), 1):
            found += [(name, one) for one in attack_exact(executor, certificates, attack or arsenal, match)]
            if progress:
                progress(done, len(attacks))
    return found


def _word_attack(name: str) -> GreedyWordSwap:
    attack = load_attack(name)
    if not isinstance(attack, GreedyWordSwap):
        raise UsageError(f"{name} does not keep words in their places: try deepwordbug, textbugger or synonyms")
    return attack


def _cells(recipe: str, found: RadiiCompared) -> tuple[str, ...]:
    duels = found.duels
    flipped = [duel.empirical for duel in duels if duel.empirical is not None]
    return (
        recipe,
        duels[0].claim.said if duels else found.threat,
        f"{len(duels)} / {len(duels) + found.uncertified}",
        _median([duel.claim.radius for duel in duels]),
        _median(flipped),
        str(len(duels) - len(flipped)),
        cell(found.broken, share=True),
        cell(found.exceeds, share=True),
    )


def _median(values: Sequence[int]) -> str:
    return f"{statistics.median(values):g}" if values else "–"
