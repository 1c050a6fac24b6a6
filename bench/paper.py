"""Every table and figure of *CluCERT* (AAAI 2026) on a model at hand, and which of its claims hold there.

    python bench/paper.py --data ../shared/data --model smollm2 [--rows 60] [--tasks sst2 agnews] [--only table1]

``--model`` is a language model as `clucert` takes it (``smollm2``, ``hf/smollm2``, ``hf/FILE.gguf``, ``vllm/NAME``), or
``tfidf`` or ``minilm``: a classifier trained here on ``<task>_train.jsonl``. The same command goes on where it was
stopped, row by row (``--out``). Results are kept in ``bench/results/paper-MODEL.json``, and ``docs/paper.md`` is
written anew from all files of this kind after every part, so it says what was run and nothing else.

Methods are tuned alike: the same mask rates, the same validation rows (as many of each label), and the largest mean
published radius of the settings that get at most one row less right than the best one; ablations of clucert keep its
setting. Refine is the same for all, as in the paper, but where a line says otherwise. Parts: pools, grid, table1 (with
figure3), filters, refine, table2, figure4, speed; the claims come last.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paper_grid
import paper_page
from paper_models import TRAINED, Fields
from paper_parts import figure4, filters, pools, refine, table1, table2
from paper_speed import speed
from paper_study import LENGTHS, METHODS, PAGE, RESULTS, ROOT, Study

PARTS: dict[str, Callable[[Study, str], Fields]] = {
    "pools": pools,
    "grid": lambda study, task: paper_grid.run(study.asked, task, study.options, study.say),
    "table1": table1,
    "filters": filters,
    "refine": refine,
    "table2": table2,
    "figure4": figure4,
    "speed": lambda study, task: speed(
        study.options.model, study.asked.data, task, study.options.speed_queries, study.say
    ),
}
OPEN = ("pools", "table1")
"""Parts of a task with open answers: of GSM8K, the paper has Table 1."""


def main() -> None:
    options = parse()
    study = Study(options)
    study.say("$ " + shlex.join(["python", *sys.argv]))
    wanted = ["table1" if part == "figure3" else part for part in options.only or PARTS]
    for part in dict.fromkeys(wanted):
        for task in options.tasks:
            if task == "gsm8k" and (part not in OPEN or study.asked.is_trained):
                continue
            began = time.perf_counter()
            if found := PARTS[part](study, task):
                study.keep(part, task, found, time.perf_counter() - began)
    paper_page.write(RESULTS, PAGE)
    print(f"{study.file}, {PAGE}")


def parse() -> argparse.Namespace:
    """The options; sizes are those of a night on two cores with SmolLM2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--model", default="smollm2", help=f"as clucert takes it, or one of {', '.join(TRAINED)}")
    parser.add_argument("--rows", type=int, default=60, help="test rows of Table 1, Figure 3 and refine")
    parser.add_argument("--tasks", nargs="+", choices=LENGTHS, default=["sst2", "agnews"])
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "figure3"], help="these parts")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="of Table 1; all")
    parser.add_argument("--samples", type=int, default=25, help="N")
    parser.add_argument("--certify", type=int, default=100, help="N′")
    parser.add_argument("--validation-rows", type=int, default=24)
    parser.add_argument("--mask-rates", nargs="+", default=["0.7", "0.9", "0.95"], help="a half certifies little")
    parser.add_argument("--refine", choices=["off", "embedding", "llm"], default="embedding", help="of all methods")
    parser.add_argument("--grid-samples", type=int, default=40)
    parser.add_argument("--encoders", nargs="+", default=["minilm"], help="of the grid: minilm, sbert/NAME")
    parser.add_argument("--attacked", type=int, default=30, help="rows of Table 2")
    parser.add_argument("--votes", type=int, default=25, help="of a query in Table 2")
    parser.add_argument("--max-queries", type=int, help="of one attack")
    parser.add_argument("--slow-votes", type=int, default=3, help="of selfdenoise")
    parser.add_argument("--slow-queries", type=int, default=50, help="of one attack on selfdenoise")
    parser.add_argument("--figure4-samples", type=int, default=1000, help="of a row")
    parser.add_argument("--figure4-rows", type=int, default=10, help="those that abstain are not timed")
    parser.add_argument("--speed-queries", type=int, default=200)
    parser.add_argument("--deterministic", action="store_const", const=True, help="vouch for a server")
    parser.add_argument("--name", help="of the result file; from the model's")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
