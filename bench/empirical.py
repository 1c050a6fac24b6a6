"""Certified against empirical radii: how far word attacks have to go to flip what is proved.

    python bench/empirical.py DATA.jsonl [--rows 20] [--methods ranmask,clucert-proved] [--recipes deepwordbug]

Each row is certified; the proved radius is then attacked with word substitutions, as many as it takes (see
``clucert.attacks.certified``). ``broken``: a flip within the radius, confirmed on fresh votes; at most alpha of the
certificates may be. The empirical radius is one word less than the smallest flip found, and ``exceeds`` says how often
it is larger than the certified one, or no flip was found. Shares have 95 % intervals, radii are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from clucert.api import open_session
from clucert.attacks.certified import Comparison, Match, empirical_vs_certified
from clucert.attacks.recipes import load_attack
from clucert.attacks.search import GreedyWordSwap
from clucert.audit.claims import Threat
from clucert.evaluate.metrics import Estimate

COLUMNS = (
    "method | recipe | threat | certified | certified radius | empirical radius | never flipped | broken | exceeds"
)


def row(method: str, recipe: str, found: Comparison) -> str:
    duels = found.duels
    flipped = [duel.empirical for duel in duels if duel.empirical is not None]
    radii = [duel.claim.radius for duel in duels]
    cells = [
        method,
        recipe,
        found.threat,
        f"{len(duels)} / {len(duels) + found.uncertified}",
        f"{statistics.median(radii):g}" if radii else "–",
        f"{statistics.median(flipped):g}" if flipped else "–",
        str(len(duels) - len(flipped)),
        _share(found.broken),
        _share(found.exceeds),
    ]
    return f"| {' | '.join(cells)} |"


def _share(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--model", default="hf/smollm2")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--methods", default="ranmask,clucert-proved")
    parser.add_argument("--recipes", default="deepwordbug")
    parser.add_argument("--threats", default="word,synonym")
    parser.add_argument("--samples", type=int, default=25, help="N, and the votes of one query of an attack")
    parser.add_argument("--certify-samples", type=int, default=200)
    parser.add_argument("--max-queries", type=int, default=60)
    options = parser.parse_args()
    with options.data.open(encoding="utf-8") as file:
        texts = [(str(i), json.loads(line)["text"]) for i, line in zip(range(options.rows), file, strict=False)]
    print(f"| {COLUMNS} |\n|{'---|' * (COLUMNS.count('|') + 1)}")
    for method in options.methods.split(","):
        chosen = {"samples": options.samples, "certify_samples": options.certify_samples}
        with open_session(task=options.task, model=options.model, method=method, **chosen) as session:
            for recipe in options.recipes.split(","):
                attack = load_attack(recipe)
                if not isinstance(attack, GreedyWordSwap):
                    parser.error(f"{recipe} does not keep words in their places: try deepwordbug or synonyms")
                for threat in options.threats.split(","):
                    found = run(session, texts, attack, threat, options)
                    print(row(method, recipe, found), flush=True)


def run(
    session: object, texts: list[tuple[str, str]], attack: GreedyWordSwap, threat: Threat, options: argparse.Namespace
) -> Comparison:
    match = Match(threat=threat, samples=options.samples, confirm=200, max_queries=options.max_queries)
    return empirical_vs_certified(session, texts, attack, match)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
