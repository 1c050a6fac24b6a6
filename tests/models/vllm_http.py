"""vLLM's OpenAI-compatible server on the CPU, in an environment and a process of its own.

``python bench/servers.py --setup`` makes the environment; CLUCERT_VLLM names another one's Python.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
            _wait(process, port, Path(folder) / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            # Its engine and its workers are processes of their own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except HTTPError:
            raise
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            return
    raise RuntimeError(f"vLLM did not start:\n{log.read_text(errors='replace')[-2000:]}")
