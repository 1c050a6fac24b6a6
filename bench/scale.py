"""What grows with a study, and whether the time predicted on paper is the time it takes.

    python bench/scale.py ../shared/data/agnews.jsonl

Growth: `clucert evaluate` on more and more rows against a local server that answers at once: peak memory of the
process, bytes of the run directory per row, bytes of the cache per answer.

Time: the same against servers with the latencies and limits of real ones (a process of its own; latency log-normal, a
token bucket of requests that answers 429 with Retry-After, a bounded number of requests worked on at once). The
prediction is the largest of calls / rate limit, calls × latency / connections, calls × latency / slots of the server;
docs/scale.md extrapolates with the same formula.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = r"""
import asyncio, random, sys, time
latency, spread, rate, slots = map(float, sys.argv[1:])
BODY = (b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"World"}}],'
        b'"usage":{"prompt_tokens":300,"completion_tokens":1,"total_tokens":301}}')
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
LIMITED = (b'HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: application/json\r\n'
           b'Content-Length: 43\r\n\r\n{"error":{"message":"rate limit","code":""}}'[:-1])
gate = asyncio.Semaphore(int(slots)) if slots else None
bucket, last = rate, time.monotonic()

def allowed():
    global bucket, last
    if not rate:
        return True
    now = time.monotonic()
    bucket, last = min(rate, bucket + (now - last) * rate), now
    if bucket < 1:
        return False
    bucket -= 1
    return True

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        self.rest += data
        end = self.rest.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.rest[:end].lower()
        size = end + 4 + int(head[head.find(b"content-length:") + 15:].split(b"\r\n", 1)[0])
        if len(self.rest) >= size:
            self.rest = self.rest[size:]
            asyncio.create_task(self.answer())
    async def answer(self):
        if not allowed():
            self.transport.write(LIMITED)
            return
        wait = random.lognormvariate(0, spread) * latency if latency else 0
        if gate is None:
            await asyncio.sleep(wait)
        else:
            async with gate:
                await asyncio.sleep(wait)
        self.transport.write(REPLY)

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Backend:
    """A server. Seconds, requests a second (0: no limit), requests worked on at once (0: any number)."""

    name: str
    latency: float = 0.0
    spread: float = 0.0
    rate: float = 0.0
    slots: int = 0
    connections: int = 64

    def predicted(self, calls: int) -> float:
        """Seconds for ``calls``; the mean of a log-normal is its median · exp(spread² / 2)."""
        mean = self.latency * math.exp(self.spread**2 / 2)
        allowed = calls / self.rate if self.rate else 0.0
        return max(allowed, calls * mean / min(self.connections, self.slots or self.connections))


BACKENDS = (
    Backend("an API without a limit in reach, 64 connections", 0.4, 0.5, 0, 0, 64),
    Backend("the same, 256 connections", 0.4, 0.5, 0, 0, 256),
    Backend("an API with 100 requests a second, 256 connections", 0.4, 0.5, 100, 0, 256),
    Backend("one GPU server with 32 slots of 150 ms", 0.15, 0.2, 0, 32, 128),
)


@contextlib.contextmanager
def serving(backend: Backend) -> Iterator[str]:
    arguments = map(str, (backend.latency, backend.spread, backend.rate, backend.slots))
    process = subprocess.Popen([sys.executable, "-c", SERVER, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


def evaluate(
    url: str, data: str, rows: int, backend: Backend, folder: Path, samples: tuple[int, int]
) -> dict[str, Any]:
    flags = {
        "--task": "agnews",
        "--data": data,
        "--limit": rows,
        "--method": "ranmask",
        "--samples": samples[0],
        "--certify-samples": samples[1],
        "--model": "openai/m",
        "--base-url": url,
        "--max-connections": backend.connections,
        "--max-retries": 1000,
        "--cache": folder / "answers.sqlite",
        "--run-dir": folder / "run",
    }
    words = [str(word) for pair in flags.items() for word in pair]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "clucert", "evaluate", *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENAI_API_KEY": "unused"},
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"clucert evaluate ended with {os.waitstatus_to_exitcode(status)}")
    summary = json.loads(printed)["summary"]
    seconds = time.perf_counter() - began
    stored = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
    cached = sum(path.stat().st_size for path in folder.glob("answers.sqlite*"))
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "stored": stored,
        "cached": cached,
        "calls": summary["calls"],
        "samples": summary["samples"],
    }


def growth(options: argparse.Namespace) -> None:
    print("| rows | samples | calls | peak memory | run directory, a row | cache, an answer | s | CPU, ms a call |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    backend = Backend("at once")
    for rows in options.rows:
        with serving(backend) as url, tempfile.TemporaryDirectory() as folder:
            m = evaluate(url, options.data, rows, backend, Path(folder), (20, options.certify))
        print(
            f"| {rows:,} | {m['samples']:,} | {m['calls']:,} | {m['memory'] / 2**20:.0f} MiB "
            f"| {m['stored'] / rows / 1000:.1f} kB | {m['cached'] / m['calls']:.0f} B | {m['seconds']:.0f} "
            f"| {1e3 * m['cpu'] / m['calls']:.2f} |",
            flush=True,
        )


def times(options: argparse.Namespace) -> None:
    print("\n| server | calls | predicted, s | took, s | ratio |\n|---|---:|---:|---:|---:|")
    for backend in BACKENDS:
        with serving(backend) as url, tempfile.TemporaryDirectory() as folder:
            m = evaluate(url, options.data, options.time_rows, backend, Path(folder), (20, 100))
        predicted = backend.predicted(m["calls"])
        took = m["seconds"]
        print(
            f"| {backend.name} | {m['calls']:,} | {predicted:.1f} | {took:.1f} | {took / predicted:.2f} |", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--certify", type=int, default=80)
    parser.add_argument("--time-rows", type=int, default=60)
    options = parser.parse_args()
    growth(options)
    times(options)


if __name__ == "__main__":
    main()
