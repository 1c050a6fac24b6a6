"""``clucert attack --certificates RUN``: known attacks on what a run has proved, and how far they have to go."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from clucert.api import Session
from clucert.attacks.certificates import Comparison, Match, attack_certificates, proved_claim
from clucert.attacks.recipes import load_attack
from clucert.attacks.search import GreedyWordSwap
from clucert.attacks.table import cell
from clucert.audit.claims import Threat
from clucert.errors import InputError, UsageError
from clucert.evaluate.read_certificates import read_run
from clucert.render import text_table

SCHEMA_VERSION = 1
FILE = "empirical.json"

Progress = Callable[[int, int], None]
"""``(comparisons done, comparisons in all)``."""


@dataclass(frozen=True, slots=True)
class Empirical:
    """Comparisons of one run: a recipe and a threat model each."""

    run: str
    match: Match
    comparisons: tuple[tuple[str, Comparison], ...]

    def document(self) -> dict[str, Any]:
        """Everything as JSON, the texts included."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": self.run,
            "votes_per_query": self.match.samples,
            "max_queries": self.match.max_queries,
            "confirm": self.match.confirm,
            "comparisons": [{"recipe": recipe, **found.document()} for recipe, found in self.comparisons],
        }

    def __str__(self) -> str:
        """The table as text."""
        title = ("recipe", "change", "proved", "certified", "empirical", "never flipped", "broken", "exceeds")
        table = text_table([title, *(_cells(recipe, found) for recipe, found in self.comparisons)])
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

    ``match.threat`` is ignored: both threat models are attacked where anything is proved for them. Models, task and
    method are the run's, with ``overrides`` for how to reach them. ``empirical.json`` in the run directory has all of
    it; answers are in the cache, so what was interrupted goes on where it was.

    Raises :class:`UsageError` for a recipe that does not keep words in their places, :class:`InputError` for a folder
    that is no run or holds nothing proved, and what the model raises.
    """
    match = match or Match()
    attacks = {name: _word_attack(name) for name in recipes}
    config, certificates = read_run(run_dir, limit, overrides)
    threats = [t for t in get_args(Threat) if any(proved_claim(c, t) for c in certificates.values())]
    if not threats:
        raise InputError(f"{run_dir} holds no certificate with a proved radius: there is nothing to attack")
    wanted = [(name, threat) for name in attacks for threat in threats]
    found: list[tuple[str, Comparison]] = []
    with Session(config) as smoothed:
        for done, (name, threat) in enumerate(wanted, 1):
            aimed = replace(match, threat=threat)
            found.append((name, attack_certificates(smoothed, certificates, attacks[name], aimed)))
            if progress:
                progress(done, len(wanted))
    result = Empirical(str(run_dir), match, tuple(found))
    text = json.dumps(result.document(), ensure_ascii=False, indent=1)
    (run_dir / FILE).write_text(f"{text}\n", encoding="utf-8")
    return result


def _word_attack(name: str) -> GreedyWordSwap:
    attack = load_attack(name)
    if not isinstance(attack, GreedyWordSwap):
        raise UsageError(f"{name} does not keep words in their places: try deepwordbug, textbugger or synonyms")
    return attack


def _cells(recipe: str, found: Comparison) -> tuple[str, ...]:
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
