"""llama.cpp's OpenAI-compatible server with the embedded model, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clucert.models.weights import smollm2_path

_SERVER = """
import json, sys
import xllamacpp
given = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = given["path"]
params.n_ctx = 2048 * given["slots"]
params.n_parallel = given["slots"]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given["threads"]
params.n_batch, params.n_ubatch = max(2048, given["batch"]), given["batch"]
params.fit_params = params.warmup = params.ui = False
params.verbosity = -1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def served_smollm2(*, slots: int = 2, threads: int = 1, batch: int = 512, weights: Path | None = None) -> Iterator[str]:
    """The base URL of a server that lives as long as the context; ``batch`` is what it computes at once (``-ub``)."""
    given = {"path": str(weights or smollm2_path()), "slots": slots, "threads": threads, "batch": batch}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()
