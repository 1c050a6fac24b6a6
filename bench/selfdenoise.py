"""SelfDenoise and CluCERT, same model, rows, N and N', nothing shared: seconds and tokens by stage, side by side.

    python bench/selfdenoise.py ../shared/data/sst2_validation.jsonl --rows 4 --rounds 2

Each round runs both in turn, in processes of their own, without a cache; medians over the rounds are reported, and the
ratio is the median of the ratios within a round. The mask rates are the methods' own (SelfDenoise 0.7, CluCERT 0.95).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

STAGES = ("refine", "noise", "recover", "encode", "cluster", "model", "certificate")
METHODS = ("clucert", "selfdenoise")


def run(method: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds by stage, and calls and tokens by kind, of all rows together."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "--task": "sst2",
            "--data": options.data,
            "--limit": options.rows,
            "--method": method,
            "--samples": options.samples,
            "--certify-samples": options.certify,
            "--model": options.model,
            "--run-dir": f"{folder}/run",
        }
        words = [str(word) for pair in flags.items() for word in pair]
        subprocess.run(
            [sys.executable, "-m", "clucert", "evaluate", *words, "--no-cache"], check=True, capture_output=True
        )
        records = [json.loads(line) for line in Path(folder, "run", "records.jsonl").read_text().splitlines()]
    total: Counter[str] = Counter()
    for record in records:
        cost = record["document"]["cost"]
        for stage in STAGES:
            total[stage] += cost["seconds"].get(stage, 0.0)
        for kind in ("classify", "generate"):
            for unit, count in cost[kind].items():
                total[f"{kind} {unit}"] += count
    total["seconds"] = sum(total[stage] for stage in STAGES)
    return dict(total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--certify", type=int, default=100)
    parser.add_argument("--model", default="hf/smollm2")
    options = parser.parse_args()
    rounds = [{method: run(method, options) for method in METHODS} for _ in range(options.rounds)]
    drawn = options.rows * (options.samples + options.certify)
    print(f"{options.model}, {options.rows} rows, {drawn:,} samples a method, medians of {options.rounds} rounds\n")
    print("| | clucert | selfdenoise | selfdenoise / clucert |\n|---|---:|---:|---:|")
    for key in ("seconds", *STAGES, *(k for k in rounds[0]["clucert"] if k.startswith(("classify", "generate")))):
        ours, theirs = (median(r[method][key] for r in rounds) for method in METHODS)
        ratios = [r["selfdenoise"][key] / r["clucert"][key] for r in rounds if r["clucert"][key]]
        ratio = f"{median(ratios):.1f}" if ratios else ""
        unit = "s" if key == "seconds" or key in STAGES else ""
        print(f"| {key} | {ours:,.4g} {unit} | {theirs:,.4g} {unit} | {ratio} |")


if __name__ == "__main__":
    main()
