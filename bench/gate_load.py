"""What a gate adds to a request under load, and what it holds: 500 clients, a scikit-learn classifier, one run.

    python bench/gate_load.py --data jailbreak.jsonl [--clients 500] [--requests 100000] [--seconds 2] [--fail 0.3]

The upstream is a process that answers after ``--seconds``, as a language model does, since clients wait for one. Each
client asks again as soon as it is answered, with a prompt that nobody has asked before. Blocks of the bare upstream and
of the gate take turns; the median and the 99th percentile of what a request took beyond the upstream's own time, over
all blocks of a kind, are compared. The gate is ``clucert serve --gate`` with a TF-IDF and logistic regression trained
on half of the rows. Then the upstream fails a share of the calls, and some clients hang up: every answer is checked
against what the upstream says to that prompt, and what was begun for nobody must end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import httptools

GATE = """
import json
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

rows = [json.loads(line) for line in open({data!r}, encoding="utf-8")][::2]
classifier = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=30))
classifier.fit([row["text"] for row in rows], [row["label"] for row in rows])
"""
KEY = "bench"
LINE = re.compile(rb"HTTP/1.1 (\d+)")


class Upstream(asyncio.Protocol):
    """Answers with a digest of the prompt after a while; fails when the prompt says so."""

    seconds = 0.0
    open = served = gone = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.parser, self.body, self.path = transport, httptools.HttpRequestParser(self), [], b""
        self.timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
            Upstream.open -= 1
            Upstream.gone += 1

    def on_url(self, url: bytes) -> None:
        self.path, self.body = url, []

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.path == b"/stats":
            self.write(200, {"open": Upstream.open, "served": Upstream.served, "gone": Upstream.gone})
        elif self.path.endswith(b"/models"):
            self.write(200, {"object": "list", "data": []})
        else:
            Upstream.open += 1
            began = time.perf_counter()
            wait = random.uniform(0.5, 1.5) * self.seconds
            self.timer = asyncio.get_running_loop().call_later(wait, self.answer, b"".join(self.body), began)

    def answer(self, body: bytes, began: float) -> None:
        self.timer = None
        Upstream.open -= 1
        Upstream.served += 1
        said = json.loads(body)["messages"][-1]["content"]
        if said.endswith("fail"):
            self.write(random.choice((500, 503, 429)), {"error": {"message": "no"}})
        elif said.endswith("drop"):
            self.transport.close()
        else:
            message = {"role": "assistant", "content": f"echo {said}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
            named = {"id": "1", "object": "chat.completion", "model": "m", "took": time.perf_counter() - began}
            self.write(200, {**named, "choices": [choice], "usage": usage})

    def write(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def run_upstream(seconds: float) -> None:
    Upstream.seconds = seconds
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def upstream(seconds: float) -> Iterator[int]:
    command = [sys.executable, __file__, "--upstream", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


class Gate:
    """A running ``clucert serve --gate``."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port, self._proc = port, Path(f"/proc/{process.pid}")

    @property
    def memory(self) -> float:
        """MB that are resident."""
        return int((self._proc / "status").read_text().partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name: str) -> float:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as reply:
            return sum(float(x.rsplit(" ", 1)[1]) for x in reply.read().decode().splitlines() if x.startswith(name))


@contextmanager
def gate(port: int, data: Path, folder: Path, flags: list[str]) -> Iterator[Gate]:
    (folder / "gate.py").write_text(GATE.format(data=str(data)))
    model = ["--gate", "jailbreak", "--gate-model", f"python:{folder / 'gate.py'}:classifier", "--deterministic"]
    command = [sys.executable, "-m", "clucert", "serve", "--upstream", f"http://127.0.0.1:{port}", "--model", "m"]
    log = folder / "log"
    with log.open("wb") as sink:
        env = {**os.environ, "CLUCERT_API_KEY": KEY, "OPENAI_API_KEY": "none"}
        process = subprocess.Popen([*command, "--port", "0", *model, *flags], stderr=sink, env=env)
    try:
        while not (found := re.search(r"at http://127.0.0.1:(\d+)/v1", log.read_text())):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield Gate(process, int(found[1]))
    finally:
        process.terminate()
        process.wait()


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.buffer, self.answer = transport, b"", None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        if len(body) >= length and self.answer is not None and not self.answer.done():
            self.buffer = b""
            self.answer.set_result((int(LINE.match(head)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionResetError())

    async def ask(self, said: str) -> tuple[int, bytes]:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": said}]}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(
            f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        return await self.answer


class Load:
    """Clients that ask until ``requests`` have been asked."""

    def __init__(self, rows: list[str], clients: int, pause: float) -> None:
        self._rows, self._clients, self._pause = rows, clients, pause
        self._number = count()
        self.outcomes: Counter[str] = Counter()

    async def run(self, port: int, requests: int, *, fail: float = 0.0, hang_up: float = 0.0) -> list[float]:
        """The latencies of the answers, without the upstream's own time; ``outcomes`` counts what came."""
        left, latencies = iter(range(requests)), list[float]()
        self.outcomes = Counter()

        async def one(i: int) -> None:
            # They do not all begin at once.
            await asyncio.sleep(2 * i / self._clients)
            client = None
            for _ in left:
                if client is None or client.transport.is_closing():
                    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
                number = next(self._number)
                odd = ("fail" if number % 2 else "drop") if random.random() < fail else "ok"
                said = f"{self._rows[number % len(self._rows)]} number {number} {odd}"
                began = time.perf_counter()
                try:
                    if random.random() < hang_up:
                        await asyncio.wait_for(client.ask(said), 0.05)
                    status, body = await client.ask(said)
                except TimeoutError:
                    client.transport.abort()
                    client = None
                    self.outcomes["hung up"] += 1
                    continue
                except ConnectionError:
                    client = None
                    self.outcomes["dropped"] += 1
                    continue
                came = outcome(status, body, said, odd)
                self.outcomes[came] += 1
                if came == "answered":
                    # What is blocked comes back at once: it would flatter the gate.
                    latencies.append(time.perf_counter() - began - json.loads(body)["took"])
                elif came == "blocked":
                    # Who is refused thinks as long as an answer would have taken.
                    await asyncio.sleep(self._pause)

        await asyncio.gather(*map(one, range(self._clients)))
        return latencies


def outcome(status: int, body: bytes, said: str, odd: str) -> str:
    if status != 200:
        return f"status {status}" if odd != "ok" else f"status {status} without cause"
    found = json.loads(body)
    text = found["choices"][0]["message"]["content"]
    if found.get("clucert", {}).get("decision") == "blocked":
        return "blocked"
    return "answered" if text == f"echo {said}" and odd == "ok" else "WRONG"


def quantiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, in ms."""
    ordered = sorted(seconds)
    return 1000 * median(ordered), 1000 * ordered[int(0.99 * len(ordered))]


async def measure(options: argparse.Namespace, port: int, served: Gate, rows: list[str]) -> None:
    load = Load(rows, options.clients, options.seconds)
    await load.run(served.port, 2 * options.clients)
    bare, gated, memory, cpu, asked = [], [], [], 0.0, 0
    began = time.perf_counter()
    for block in range(options.blocks):
        bare += await load.run(port, options.requests // options.blocks // 4)
        before = served.cpu
        gated += await load.run(served.port, options.requests // options.blocks)
        cpu, asked = cpu + served.cpu - before, asked + options.requests // options.blocks
        memory.append(served.memory)
        wrong = {name: n for name, n in load.outcomes.items() if name not in ("answered", "blocked")}
        print(f"block {block + 1}: {dict(load.outcomes)}{' WRONG' if wrong else ''}, {memory[-1]:.0f} MB", flush=True)
    (bare50, bare99), (gate50, gate99) = quantiles(bare), quantiles(gated)
    rate = asked / (time.perf_counter() - began)
    print(f"\n| {options.clients} clients, upstream {options.seconds:g} s | p50 | p99 |\n|---|---|---|")
    print(f"| bare upstream, ms | {bare50:.1f} | {bare99:.1f} |\n| gate, ms | {gate50:.1f} | {gate99:.1f} |")
    print(f"| **added**, ms | **{gate50 - bare50:.1f}** | **{gate99 - bare99:.1f}** |")
    print(
        f"\n{len(gated):,} requests through the gate ({rate:.0f}/s over all), {1000 * cpu / asked:.2f} ms of processor"
    )
    print(f"time each; memory {memory[0]:.0f} MB after the first block, {memory[-1]:.0f} MB after the last")


async def break_it(options: argparse.Namespace, port: int, served: Gate, rows: list[str]) -> None:
    load = Load(rows, options.clients, options.seconds)
    await load.run(served.port, options.requests // 10, fail=options.fail, hang_up=0.05)
    await asyncio.sleep(0.5)
    with urlopen(f"http://127.0.0.1:{port}/stats") as reply:
        stats = json.load(reply)
    print(f"\nupstream failing {options.fail:.0%}, 5 % of the clients hanging up: {dict(load.outcomes)}")
    print(f"wrong answers: {load.outcomes['WRONG']}; the upstream's calls that were hung up on: {stats['gone']}, still")
    print(f"open: {stats['open']}; in flight at the gate: {served.metric('clucert_in_flight'):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="the upstream's mean time to an answer")
    parser.add_argument("--harmful", type=float, default=0.1, help="share of the prompts that ought to be blocked")
    parser.add_argument("--fail", type=float, default=0.3)
    parser.add_argument("--flags", default="--method windows --size 8", help="of clucert serve")
    options = parser.parse_args()
    if options.upstream is not None:
        asyncio.run(run_upstream(options.upstream))
        return
    random.seed(0)
    found = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    harmful, safe = ([row["text"] for row in found if (row["label"] == "harmful") == kind] for kind in (True, False))
    rows = [random.choice(harmful if random.random() < options.harmful else safe) for _ in range(10_000)]
    with (
        TemporaryDirectory() as folder,
        upstream(options.seconds) as port,
        gate(port, options.data.resolve(), Path(folder), options.flags.split()) as served,
    ):
        asyncio.run(measure(options, port, served, rows))
        asyncio.run(break_it(options, port, served, rows))


if __name__ == "__main__":
    main()
