"""One worker and two, side by side in one run on the same rows: what a Ray cluster adds and what it costs.

    python bench/cluster.py [--rows 12] [--calls 100] [--only server]

Rows of the table:

* ``embedded``: the embedded language model. Both cases have the same cores, so two workers cannot be faster than one
  where one fills them: the row shows what the second process costs. Each gets half of the cores.
* ``server``: a local server that takes 50 ms a call, eight connections for each worker. Here the work is waiting, so
  two workers have twice the connections; the row shows whether the driver keeps both busy.

``local`` is the engine of one process. Time is that of the inputs: models are loaded, and the cluster is up, before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clucert.evaluate.engine import open_engine
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import load_config
from clucert.runtime import event_loop as loops

# This file is not called ray.py: a script's own folder comes first where Python looks for the package.
from scheduler import LATENCY, SERVER

TEXT = "a thoughtful film with a fine cast told without haste and with some wit though the end is dull"


def write_rows(path: Path, rows: int) -> None:
    words = TEXT.split()
    with path.open("w") as out:
        for i in range(rows):
            text = " ".join(words[(i * 7 + j * (1 + i % 3)) % len(words)] for j in range(12))
            out.write(json.dumps({"id": f"r{i}", "text": f"{i} {text}", "label": "positive"}) + "\n")


def seconds(config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
    """Time of all rows but the first few, which warm up; their calls; and the counts of each certificate."""
    study = load_config(None, config)
    plan = make_plan(study)
    warm, rows = plan.dataset.examples[:2], plan.dataset.examples[2:]
    counts: dict[str, Any] = {}

    async def done(outcome: Any) -> None:
        counts[outcome.tag.id] = outcome.result.certificate.readings

    with ExitStack() as stack:
        engine = open_engine(study, plan.task, stack)
        loops.run(engine.runner(plan).run(warm, done))
        before, began = engine.meter.spent.calls, time.perf_counter()
        loops.run(engine.runner(plan).run(rows, done))
        return time.perf_counter() - began, engine.meter.spent.calls - before, counts


def compare(name: str, config: dict[str, Any], per_worker: dict[str, Any]) -> None:
    cores = os.cpu_count() or 1
    cases = [("local", {}), ("1 worker", {"engine": "ray", "workers": 1, "worker_cpus": cores})]
    cases += [("2 workers", {"engine": "ray", "workers": 2, "worker_cpus": max(1, cores // 2)})]
    first: Any = None
    base = 0.0
    for case, engine in cases:
        took, calls, counts = seconds({**config, **per_worker, **engine})
        first, base = first or counts, base or calls / took
        same = "same" if counts == first else "DIFFERENT"
        print(
            f"| {name} | {case} | {took:.1f} | {calls} | {calls / took:,.1f} | {calls / took / base:.2f} | {same} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--calls", type=int, default=100, help="samples of each row")
    parser.add_argument("--only", choices=["embedded", "server"])
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}\n")
    print("| model | engine | seconds | calls | calls/s | of local | certificates |")
    print("|---|---|---:|---:|---:|---:|---|")
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(LATENCY)], stdout=subprocess.PIPE, text=True)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "rows.jsonl"
            write_rows(data, arguments.rows)
            common = {"task": "sst2", "data": str(data), "method": "ranmask", "mask_rate": "0.3", "cache": False}
            common |= {"samples": arguments.calls // 5, "certify_samples": arguments.calls * 4 // 5}
            if arguments.only != "server":
                compare("embedded", common, {"model": "smollm2"})
            if arguments.only == "embedded":
                return
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
            compare("server", common, {"model": "vllm/m", "base_url": url, "max_connections": 8, "in_flight": 4})
    finally:
        ray.shutdown()
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
