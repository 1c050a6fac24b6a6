"""The paper's Table 1 here: several methods on the same rows, with the same model, prompt, seed, N and N'.

    python bench/study.py sst2 ../shared/data/sst2.jsonl --rows 100 --out runs/study

Every method is one `clucert evaluate` with a run directory of its own, so the study can be killed and continued. Then
`clucert compare` pairs the rows, and the table with the exact commands is written to `bench/results/study-TASK.md`
and `.json`. Packaged methods refine alike (embedding scorer, the task's L), except the one that is there to show what
no refine does; a method file (as `clucert tune -o` writes it) is used as it is. Timings in the runs depend on what else
the machine did, and on answers shared through the cache;
`bench/selfdenoise.py` is where time is compared.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = ("clucert", "clucert-no-clustering", "clucert-no-refine", "ranmask", "selfdenoise")
LENGTHS = {"sst2": 20, "agnews": 40, "gsm8k": 60}
RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "mask_rate": "mask rate",
    "r_avg": "r_avg",
    "coe": "Coe",
    "clean_accuracy": "clean",
    "constant_answer": "constant answer",
    "abstained": "abstained",
    "certacc@1": "CertAcc(1)",
    "certacc@2": "CertAcc(2)",
    "certacc@3": "CertAcc(3)",
    "proved_word@1": "proved, any word (1)",
    "proved_synonym@1": "proved, synonyms (1)",
    "balanced_certacc@1": "CertAcc(1), mean over labels",
    "per_label": "by label (right; CertAcc(1))",
    "radii_at_cap": "radii at the attackable words",
    "attackable_words": "attackable, median",
    "kept": "kept",
    "samples": "samples",
    "calls": "calls",
}


def evaluate(options: argparse.Namespace, method: str) -> list[str]:
    """The command of one method."""
    own = method == "clucert-no-refine" or method.endswith(".yaml")
    refine = [] if own else ["--refine", "embedding", "--refine-length", str(options.length)]
    flags = {
        "--task": options.task,
        "--data": options.data,
        "--limit": options.rows,
        "--method": method,
        "--samples": options.samples,
        "--certify-samples": options.certify,
        "--model": options.model,
        "--seed": options.seed,
        "--cache": options.cache or options.out / "answers.sqlite",
        "--run-dir": options.out / Path(method).stem,
    }
    return ["clucert", "evaluate", *(str(word) for pair in flags.items() for word in pair), *refine, "--json"]


def output(command: list[str]) -> dict[str, Any]:
    """What a command of ours prints as JSON; its progress goes to the terminal."""
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.PIPE, check=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def cell(summary: dict[str, Any], column: str) -> str:
    """A figure, with its interval where it has one."""
    value, low, high = (summary.get(column + end) for end in ("", "_low", "_high"))
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    shown = f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
    return shown if low is None else f"{shown} [{low:.2f}, {high:.2f}]"


def table(summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown: one line a method."""
    lines = ["| method | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method, summary in summaries.items():
        lines.append(f"| {method} | " + " | ".join(cell(summary, column) for column in COLUMNS) + " |")
    return lines


def differences(comparison: dict[str, Any], methods: list[str]) -> list[str]:
    """Markdown: each method against the first, by its name."""
    lines = ["| method | r_avg − first's | 95 % interval | p |", "|---|---|---|---|"]
    for method, other in zip(methods[1:], comparison["others"], strict=True):
        value, low, high = (other["r_avg"][name] for name in ("value", "low", "high"))
        interval = "equal on every row" if low is None else f"[{low:+.2f}, {high:+.2f}]"
        lines.append(f"| {Path(method).stem} | {value:+.2f} | {interval} | {other['p_value']:.2g} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--certify", type=int, default=100)
    parser.add_argument("--model", default="hf/smollm2")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", help="file of answers")
    parser.add_argument("--name", help="of the result files")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    options = parser.parse_args()
    options.length = LENGTHS.get(options.task, 40)
    options.out.mkdir(parents=True, exist_ok=True)
    methods: list[str] = options.methods.split(",")
    commands = {method: evaluate(options, method) for method in methods}
    summaries = {Path(method).stem: output(command)["summary"] for method, command in commands.items()}
    comparison = output(["clucert", "compare", *(str(options.out / Path(m).stem) for m in methods), "--json"])
    name = options.name or f"study-{options.task}"
    RESULTS.mkdir(exist_ok=True)
    document = {"commands": {m: shlex.join(c) for m, c in commands.items()}, "summaries": summaries}
    (RESULTS / f"{name}.json").write_text(json.dumps(document | {"comparison": comparison}, indent=1) + "\n")
    lines = [
        f"# {options.task}, the first {options.rows} rows of {Path(options.data).name}, {options.model}",
        "",
        f"N = {options.samples}, N' = {options.certify}, alpha = 0.05, seed {options.seed}; certified accuracies with "
        "95 % intervals. Radii in words.",
        "",
        *table(summaries),
        "",
        f"Published r_avg against {Path(methods[0]).stem}, paired by row (permutation test, bootstrap):",
        "",
        *differences(comparison, methods),
        "",
        *(f"* {note}" for note in comparison["notes"]),
        "",
        "```",
        *document["commands"].values(),
        "```",
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
