"""vLLM's OpenAI-compatible server on the CPU, in an environment and a process of its own.

``python bench/servers.py --setup`` makes the environment; CLUCERT_VLLM names another one's Python.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes import free_port, healthy

HOME = Path("~/.cache/clucert-bench/vllm").expanduser()
START_SECONDS = 300
MAX_TOKENS = 2048


def vllm_python() -> Path | None:
    """The Python that has vLLM, or None."""
    python = Path(os.environ.get("CLUCERT_VLLM") or HOME / "bin/python")
    return python if python.exists() else None


@contextmanager
def served_vllm(model: Path, name: str, *, key: str | None = None) -> Iterator[str]:
    """The base URL of a server of the model in the folder ``model`` under ``name``, started as docs/servers.md says."""
    port = free_port()
    flags = {
        "--model": model,
        "--served-model-name": name,
        "--port": port,
        "--max-num-seqs": 256,
        "--max-logprobs": 20,
        "--max-model-len": MAX_TOKENS,
        **({"--api-key": key} if key else {}),
    }
    command = [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", *(x for pair in flags.items() for x in pair)]
    command += ["--enable-prefix-caching", "--enable-prompt-tokens-details"]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+b") as log:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder, env={**os.environ, **offline}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            if not healthy(process, url, START_SECONDS):
                said = Path(log.name).read_text(errors="replace")[-2000:]
                raise RuntimeError(f"vLLM did not start:\n{said}")
            yield url
        finally:
            # Its engine and its workers are processes of their own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
