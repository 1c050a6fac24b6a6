"""Every bench, one after the other: `make bench`. Nothing else should run on the machine meanwhile.

    python bench/run.py --data ../shared/data [--only cache scheduler]

Writes what each printed to `bench/results/README.md` and its tables to `bench/results/bench.json`. A bench that fails
is written down as failed and makes the exit code 1; one that was not run keeps the result of its last run, with its
date. The sizes are chosen so that all of it takes about forty minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Bench:
    """One script with its arguments; ``{data}`` is the folder of data sets, ``{runs}`` one for the runs it makes."""

    title: str
    command: str
    prepare: str = ""
    """A command of ours that makes what the script reads; resumable, and not timed."""


BENCHES = {
    "noise": Bench("Noise beside TextAttack, nlpaug and RanMASK's own loop", "noise.py --rounds 3"),
    "loops": Bench("A certificate beside straightforward loops, same model", "loops.py --samples 40 --rounds 3"),
    "certificate": Bench(
        "Where the time of a certificate goes", "certificate.py --rounds 2 --samples 50 --certify-samples 300"
    ),
    "encode": Bench("Embedding and clustering", "encode.py --samples 500"),
    "calls": Bench(
        "Votes saved by staged sampling",
        "calls.py {runs}/calls --replays 5",
        "evaluate --task sst2 --data {data}/sst2.jsonl --limit 20 --model hf/smollm2 --run-dir {runs}/calls",
    ),
    "classes": Bench("What closed synonym classes cost in accuracy", "classes.py {data} --rows 200"),
    "proofs": Bench(
        "Exact certificates of few questions beside RanMASK, classifiers trained here",
        "proofs.py {data} --classifiers tfidf --rows 120",
    ),
    "gate": Bench(
        "What a gate adds to a request under load", "gate_load.py --data {data}/jailbreak.jsonl --requests 20000"
    ),
    "canonical": Bench(
        "What canonical forms cost, and what they do to DeepWordBug and TextBugger", "canonical.py {data}"
    ),
    "hf": Bench(
        "The hf backend beside llama.cpp, and its share of the machine's peak",
        "hf_backend.py {data}/sst2_validation.jsonl --rows 60 --rounds 2 --padded-rows 12",
    ),
    "kernels": Bench("Ways to make the hf backend faster, measured before they are built", "kernels.py"),
    "servers": Bench(
        "Servers on this machine beside our own backends", "servers.py --data {data}/sst2_validation.jsonl --rows 40"
    ),
    "prefix": Bench("Tokens computed with and without the shared prefix", "prompt_prefix.py"),
    "scheduler": Bench("The scheduler beside the ideal", "scheduler.py --seconds 3"),
    "cache": Bench("The cache at a million rows, SQLite and PostgreSQL", "cache.py --max 1000000 --postgres"),
    "ray": Bench("Ray with one worker and two", "cluster.py --rows 6 --calls 60"),
    "scale": Bench("What grows with a study, and predicted against simulated time", "scale.py {data}/agnews.jsonl"),
}


def run(bench: Bench, data: Path, runs: Path) -> dict[str, Any]:
    """What one bench printed, and its tables."""

    def filled(command: str) -> list[str]:
        return shlex.split(command.format(data=shlex.quote(str(data)), runs=shlex.quote(str(runs))))

    if bench.prepare:
        command = [sys.executable, "-m", "clucert", *filled(bench.prepare)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    words = filled(bench.command)
    print("$ python", shlex.join([f"bench/{words[0]}", *words[1:]]), file=sys.stderr, flush=True)
    began, load = time.perf_counter(), os.getloadavg()[0]
    command = [sys.executable, str(HERE / words[0]), *words[1:]]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    text = done.stdout.strip()
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return {
        "title": bench.title,
        "command": shlex.join(["python", f"bench/{words[0]}", *words[1:]]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.perf_counter() - began, 1),
        "load_before": round(load, 1),
        "failed": None if done.returncode == 0 else last,
        "text": text,
        "tables": tables(text),
    }


def processor() -> str:
    """What Linux calls the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def tables(text: str) -> list[list[dict[str, str]]]:
    """The Markdown tables in ``text``, each a list of rows by column."""
    found: list[list[dict[str, str]]] = []
    columns: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not columns:
            columns = cells
            found.append([])
        elif any(cell.strip("-: ") for cell in cells):
            found[-1].append(dict(zip(columns, cells, strict=False)))
    return found


def page(machine: dict[str, Any], results: dict[str, Any]) -> str:
    """All results as Markdown."""
    lines = [
        "# What was measured",
        "",
        "Made by `make bench` (`bench/run.py`); each table side by side, in one run. "
        f"{machine['cores']} cores ({machine['processor']}), no GPU in use, Python {machine['python']}.",
        "",
    ]
    for result in results.values():
        lines += [f"## {result['title']}", ""]
        lines += [f"`{result['command']}`, {result['date']}, {result['seconds']:.0f} s.", ""]
        if result["failed"]:
            lines += [f"**Failed:** {result['failed']}", ""]
        lines += [result["text"], ""] if result["tables"] else ["```", result["text"], "```", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--runs", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES))
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    store = RESULTS / "bench.json"
    kept: dict[str, Any] = json.loads(store.read_text())["benches"] if store.exists() else {}
    for name in options.only:
        kept[name] = run(BENCHES[name], options.data.resolve(), options.runs)
        ordered = {name: kept[name] for name in BENCHES if name in kept}
        machine = {
            "cores": os.cpu_count(),
            "processor": processor(),
            "python": platform.python_version(),
            "machine": platform.platform(),
        }
        store.write_text(json.dumps({"machine": machine, "benches": ordered}, indent=1) + "\n")
        (RESULTS / "README.md").write_text(page(machine, ordered))
    failed = [name for name in options.only if kept[name]["failed"]]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see {RESULTS / 'README.md'}")


if __name__ == "__main__":
    main()
