"""Does the scheduler keep a server busy? Calls a second against a local server that takes 50 ms for each.

    python bench/scheduler.py [--seconds 4] [--connections 64 512]

The server is a process of its own on this machine and speaks chat completions. The ideal is connections / 50 ms. Rows:

* ``keep-alive``: the HTTP transport alone, one coroutine a connection;
* ``scheduler``: six inputs in flight with 1,000 distinct queries each: prompts, keys, line, transport, parser;
* ``scheduler + cache``: the same, every answer in the SQLite cache before it counts;
* ``official client``: the ``openai`` client in the place of the transport.

Processor time is that of the client process, all threads, and of the server; where the two together need more than the
machine has, calls a second are bounded by it, and the column ``limit`` says where (one core for the client's Python).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clucert.cache import open_cache
from clucert.models import openai as backend
from clucert.models.chat_api import AcceptedFields, request_of
from clucert.models.http_pool import KeepAlive
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.runtime import event_loop as loops
from clucert.runtime.classifiers import PromptedClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.executor import Executor, Job, JobOutcome
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queued_models import QueueOptions
from clucert.tasks import load_task
from clucert.types import Classify

LATENCY = 0.05
QUERIES = 1_000
TEXT = "input {} variant {}: a thoughtful film with a fine cast , told without haste and with some wit"

SERVER = r"""
import asyncio, sys
BODY = (b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"positive"}}],'
        b'"usage":{"prompt_tokens":300,"completion_tokens":1,"total_tokens":301}}')
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest, self.loop = transport, b"", asyncio.get_running_loop()
    def data_received(self, data):
        self.rest += data
        end = self.rest.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.rest[:end].lower()
        # The model list is asked for once, without a body; it has no list.
        at = head.find(b"content-length:")
        size = end + 4 + (int(head[at + 15:].split(b"\r\n", 1)[0]) if at >= 0 else 0)
        if len(self.rest) >= size:
            self.rest = self.rest[size:]
            self.loop.call_later(float(sys.argv[1]), self.transport.write, REPLY)

async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@dataclass(frozen=True)
class Measured:
    calls: int
    seconds: float
    client: float
    server: float


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(work: Callable[[], Any], server: int) -> Measured:
    began, client, served = time.perf_counter(), time.process_time(), cpu_of(server)
    calls = loops.run(work())
    return Measured(calls, time.perf_counter() - began, time.process_time() - client, cpu_of(server) - served)


async def transport(url: str, connections: int, calls: int) -> int:
    import json

    address = f"{url}/v1/chat/completions"
    pool = KeepAlive(address, {"Authorization": "Bearer x"}, timeout=60, connect_timeout=60)
    task = load_task("sst2")
    left = iter(range(calls))

    async def worker() -> None:
        for i in left:
            await pool.send(
                "POST", address, json.dumps(request_of("m", task.query(TEXT.format(0, i)), AcceptedFields())).encode()
            )

    await asyncio.gather(*(worker() for _ in range(connections)))
    pool.close()
    return calls


async def scheduler(model: OpenAIModel, connections: int, inputs: int, cache: Path | None) -> int:
    answers = None if cache is None else open_cache(cache)
    queue = ModelQueue(model, cache=answers, options=QueueOptions(connections=connections, base_url=model.base_url))
    work = Executor(Backends(PromptedClassifier(load_task("sst2"), queue), [queue]), in_flight=6)

    def steps(i: int) -> Any:
        yield Classify([TEXT.format(i, j) for j in range(QUERIES)], "certify")

    async def done(outcome: JobOutcome[int]) -> None:
        if outcome.error:
            raise outcome.error

    await work.run((Job(i, lambda i=i: steps(i)) for i in range(inputs)), done)
    if answers is not None:
        answers.close()
    return inputs * QUERIES


async def released(model: OpenAIModel) -> None:
    model.release()


def rows(url: str, server: int, connections: int, seconds: float, folder: Path) -> dict[str, Measured]:
    ideal = connections / LATENCY
    calls = int(ideal * seconds)
    inputs = max(6, calls // QUERIES)
    # Loading is not what is measured: the first call imports, connects and learns the fields that the server accepts.
    model: OpenAIModel = backend.load_vllm("m", ModelOptions(base_url=url, max_connections=connections))
    model.answer([load_task("sst2").query("warm up")])
    found = {
        "keep-alive": measure(lambda: transport(url, connections, calls), server),
        "scheduler": measure(lambda: scheduler(model, connections, inputs, None), server),
        "scheduler + cache": measure(
            lambda: scheduler(model, connections, inputs, folder / f"{connections}.db"), server
        ),
    }
    fast = backend._open_transport
    backend._open_transport = lambda *_: None
    asyncio.run_coroutine_threadsafe(released(model), model._loop).result()
    found["official client"] = measure(lambda: scheduler(model, connections, 1, None), server)
    backend._open_transport = fast
    model.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="ideal time of one row")
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 512])
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.python_version()}, load before: {os.getloadavg()[0]:.1f}\n")
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(LATENCY)], stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    print(
        "| connections | what | calls/s | of the ideal | client CPU, µs/call | server CPU, µs/call | limit, calls/s |"
    )
    print("|---:|---|---:|---:|---:|---:|---:|")
    try:
        with tempfile.TemporaryDirectory() as folder:
            for connections in arguments.connections:
                for name, m in rows(url, server.pid, connections, arguments.seconds, Path(folder)).items():
                    rate, ideal, each = m.calls / m.seconds, connections / LATENCY, m.client / m.calls
                    print(
                        f"| {connections} | {name} | {rate:,.0f} | {rate / ideal:.0%} | {each * 1e6:.0f} "
                        f"| {m.server / m.calls * 1e6:.0f} | {1 / each:,.0f} |",
                        flush=True,
                    )
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
