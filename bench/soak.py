"""Faults on purpose, counted: `make soak`. Studies are killed, starved, doubled and lied to, and go on.

    python -m bench.soak [--minutes 20] [--scale 1] [--only kills disk …] [--write]

Every study asks a server that answers by a fixed rule, and is compared with one that nobody disturbed. Four counts are
to be 0: records that were on the disk and are gone or other than before; calls paid twice, beyond those whose answers
were under way when the fault struck; inputs whose result is another, by its checksum; studies that hang, or
cannot go on. ``--write`` puts the table into docs/runs.md. ``--scale 0.1`` takes a tenth of the moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.evaluate.chat_server import completion
from tests.evaluate.study_world import World, chatting, write_data
from tests.models.fake_server import Reply, Request, error, serving

from clucert.evaluate.run_directory import read_records

ROOT = Path(__file__).parents[1]
CONNECTIONS = 8
ROWS = 12
LATENCY = 0.01
PATIENCE = 240.0
"""Seconds until a study that neither ends nor asks is taken to hang, however long it takes on a busy machine."""
MARKS = ("<!-- soak: begin -->", "<!-- soak: end -->")
TAINT = 0.15
"""Share of a misbehaving server's replies that are not as they should be."""


@dataclass
class Count:
    """What came of one kind of fault."""

    moments: int = 0
    lost: int = 0
    twice: int = 0
    different: int = 0
    stuck: int = 0
    remark: str = ""
    seconds: float = 0.0


@dataclass
class Soak:
    """The folder, the clock and the dice of all scenarios."""

    folder: Path
    ends: float
    scale: float
    rng: random.Random = field(default_factory=lambda: random.Random(16))
    expected: dict[str, str] = field(default_factory=dict)
    """The checksum of each record of a study that nobody disturbed."""

    def times(self, moments: int) -> int:
        """How many of ``moments`` are tried."""
        return max(1, round(moments * self.scale))

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.ends

    @contextmanager
    def world(self, latency: float = LATENCY) -> Iterator[World]:
        """A new folder, and a server that notes each question before it answers it."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        write_data(folder / "data.jsonl", ROWS)
        with chatting(folder, latency) as port:
            yield World(folder, port)

    def finished(self, world: World, count: Count, **changes: Any) -> bool:
        """Let the study of ``changes`` go on until it is done; False when it hangs or cannot."""
        for _ in range(12):
            process = world.start(**changes)
            printed = ended(world, process, count)
            if printed is None:
                return False
            out, err = printed
            if "Traceback" in err:
                count.remark = err.strip().splitlines()[-1][:100]
            if process.returncode == 0:
                return True
        count.stuck += 1
        count.remark = (out or err).strip()[-100:]
        return False

    def compare(self, world: World, count: Count, seen: dict[str, str], run: str = "run") -> None:
        """Add what the finished study lost of what was ``seen``, and what is other than expected."""
        found = checksums(world.folder / run)
        count.lost += sum(found.get(identity) != checksum for identity, checksum in seen.items())
        count.different += sum(found.get(identity) != checksum for identity, checksum in self.expected.items())

    def settle(self, world: World, count: Count, seen: dict[str, str], allowed: int = 0, **changes: Any) -> None:
        """Let the study end; count what it lost of what was ``seen``, is other, or paid twice beyond ``allowed``."""
        if self.finished(world, count, **changes):
            self.compare(world, count, seen)
            count.twice += max(0, repeated(world.asked()) - allowed)


def checksums(run: Path) -> dict[str, str]:
    """The checksums of the records that are done, by id, as if all had asked one address; a torn last line is none."""
    if not (run / "records.jsonl").exists():
        return {}
    found = {}
    for name, record in read_records(run)[0].items():
        if record.document is not None:
            base = {**record.document["settings"]["base"], "base_url": None}
            document = {**record.document, "settings": {**record.document["settings"], "base": base}}
            found[name] = record.model_copy(update={"document": document}).sealed().checksum or ""
    return found


def repeated(asked: list[str]) -> int:
    """Questions that were asked again."""
    return sum(times - 1 for times in Counter(asked).values())


def under_way(world: World) -> int:
    """Questions that were asked and whose answers are not kept."""
    return len(set(world.asked()) - world.stored())


def written(folder: Path) -> int:
    """The bytes of all files in ``folder``: each question, answer and record adds some."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size
    return size


def ended(world: World, process: subprocess.Popen[str], count: Count) -> tuple[str, str] | None:
    """What ``process`` printed until it ended; None for one that hangs, which is killed and counted."""
    before, since = -1, time.monotonic()
    while True:
        try:
            return process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            if (now := written(world.folder)) != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                count.stuck += 1
                kill(process)
                return None


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a power cut does."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def kills(soak: Soak) -> Count:
    """kill -9 at random moments of a local run, which the same command continues."""
    count = Count()
    while count.moments < soak.times(30) and not soak.late:
        with soak.world() as world:
            seen: dict[str, str] = {}
            allowed, whole = 0, False
            while not whole and count.moments < soak.times(30):
                process = world.start()
                if soak.rng.random() < 0.3:
                    time.sleep(soak.rng.random() * 1.5)
                else:
                    world.wait_for(len(world.asked()) + soak.rng.randint(1, 60), process)
                whole = process.poll() is not None
                kill(process)
                if not whole:
                    count.moments += 1
                    allowed += under_way(world)
                    seen |= checksums(world.folder / "run")
            soak.settle(world, count, seen, allowed)
    return count


def shards(soak: Soak) -> Count:
    """kill -9 of one of two shards that run at the same time, on one cache; then they are merged."""
    count = Count()
    while count.moments < soak.times(10) and not soak.late:
        with soak.world() as world:
            seen: dict[Path, dict[str, str]] = {}
            allowed = 0
            for _ in range(2):
                both = [world.start(shard=f"{i}/2") for i in (1, 2)]
                world.wait_for(len(world.asked()) + soak.rng.randint(5, 120), both[0])
                for process in both:
                    kill(process)
                count.moments += 1
                allowed += under_way(world)
                seen |= {path: checksums(path) for path in (world.folder / "run/shards").glob("*-of-2")}
            if all(soak.finished(world, count, shard=f"{i}/2") for i in (1, 2)):
                # Two processes that ask the same at one moment both ask: the shards share no row, and no question.
                soak.settle(world, count, {k: v for found in seen.values() for k, v in found.items()}, allowed)
    return count


def ray(soak: Soak) -> Count:
    """kill -9 of the driver or of a worker of a Ray cluster of two nodes."""
    count = Count()
    try:
        from tests.evaluate.ray_cluster import ray_cluster
    except ImportError:
        return Count(remark="not run: ray is not installed")
    with ray_cluster(2) as cluster:
        options: dict[str, Any] = {"engine": "ray", "ray_address": cluster.address, "workers": 2}
        while count.moments < soak.times(10) and not soak.late:
            with soak.world() as world:
                process = world.start(**options)
                world.wait_for(soak.rng.randint(5, 200), process)
                workers = [pid for node in cluster.workers() for pid in node]
                if workers and soak.rng.random() < 0.5:
                    os.kill(soak.rng.choice(workers), signal.SIGKILL)
                else:
                    kill(process)
                count.moments += 1
                allowed, seen = 2 * CONNECTIONS, checksums(world.folder / "run")
                ended(world, process, count)
                soak.settle(world, count, seen, allowed, **options)
    return count


def disk(soak: Soak) -> Count:
    """No file may grow beyond a random size, as on a full disk; then there is space again."""
    count = Count()
    for _ in range(soak.times(10)):
        if soak.late:
            break
        with soak.world() as world:
            process = world.start(limit_bytes=int(10 ** soak.rng.uniform(3, 5.3)))
            out, err = ended(world, process, count) or ("", "")
            count.moments += 1
            if "Traceback" in err or "\n" in out.strip():
                count.remark = f"not one line: {(err or out).strip()[-80:]}"
            allowed, seen = under_way(world), checksums(world.folder / "run")
            soak.settle(world, count, seen, allowed)
    return count


def doubled(soak: Soak) -> Count:
    """Two processes on one run at the same moment, of which one is refused; and two runs on one cache."""
    count = Count()
    for _ in range(soak.times(5)):
        if soak.late:
            break
        with soak.world() as world:
            both = [world.start(), world.start()]
            codes = []
            for process in both:
                ended(world, process, count)
                codes.append(process.returncode)
            count.moments += 1
            if sorted(codes) not in ([0, 2], [0, 0]):
                count.remark = f"exit codes {codes}"
            soak.compare(world, count, {})
            count.twice += repeated(world.asked())
        with soak.world() as world:
            pair = [world.start(run_dir=str(world.folder / name)) for name in ("run", "other")]
            for process in pair:
                ended(world, process, count)
            count.moments += 1
            for name in ("run", "other"):
                soak.compare(world, count, {}, name)
            # Both ask what both have under way.
            count.twice += max(0, max(Counter(world.asked()).values()) - 2)
    return count


def postgres(soak: Soak) -> Count:
    """The server of the shared cache crashes, or is restarted, in the middle of a run."""
    from tests.postgres_server import PostgresServer, missing

    count = Count()
    if why := missing():
        return Count(remark=f"not run: {why}")
    server = PostgresServer.make(durable=True)
    try:
        for number in range(soak.times(6)):
            if soak.late:
                break
            with soak.world() as world:
                cache = server.url(server.new_database(), patience=20)
                process = world.start(cache=cache)
                world.wait_for(soak.rng.randint(20, 300), process)
                server.stop("immediate" if number % 2 else "fast")
                time.sleep(soak.rng.random() * 2)
                server.start()
                count.moments += 1
                seen = checksums(world.folder / "run")
                ended(world, process, count)
                soak.settle(world, count, seen, CONNECTIONS, cache=cache)
    finally:
        server.remove()
    return count


def clock(soak: Soak) -> Count:
    """The clock of the machine jumps forth and back, by hours, every tenth of a second (libfaketime)."""
    library = next(iter(Path("/usr/lib").rglob("libfaketime.so.1")), None)
    if library is None:
        return Count(remark="not run: libfaketime is not installed (Debian: faketime)")
    count = Count()
    for _ in range(soak.times(5)):
        if soak.late:
            break
        with soak.world() as world:
            now = world.folder / "clock"
            now.write_text("+0\n")
            fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(now), "FAKETIME_NO_CACHE": "1"}
            fake["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
            kept = {name: os.environ.get(name) for name in fake}
            os.environ.update(fake)
            try:
                process = world.start()
            finally:
                for name, value in kept.items():
                    os.environ.pop(name, None) if value is None else os.environ.update({name: value})
            mover = threading.Thread(target=_move, args=(soak.rng, now, process, count))
            mover.start()
            ended(world, process, count)
            mover.join()
            soak.settle(world, count, {})
    return count


def _move(rng: random.Random, now: Path, process: subprocess.Popen[str], count: Count) -> None:
    while process.poll() is None:
        now.write_text(f"{rng.choice('+-')}{rng.randint(1, 100_000)}\n")
        count.moments += 1
        time.sleep(0.1)


def _right(request: Request) -> Reply:
    messages = request.body["messages"]
    words = sum(len(message["content"].split()) for message in messages)
    return Reply(body=completion(messages[-1]["content"], words), delay=LATENCY)


def _cut(request: Request) -> Reply:
    whole = json.dumps(_right(request).body).encode()
    return Reply(raw=whole[: len(whole) // 2])


SERVERS: dict[str, Callable[[Request], Reply]] = {
    "500": lambda _: error(500),
    "503 with Retry-After": lambda _: error(503, headers={"Retry-After": "0"}),
    "429 without Retry-After": lambda _: error(429, "slow down"),
    "closed connection": lambda _: Reply(drop=True),
    "half an answer": _cut,
    "a page of HTML": lambda _: Reply(raw=b"<html>it works</html>", headers={"Content-Type": "text/html"}),
    "an error inside a 200": lambda _: Reply(body={"error": {"message": "overloaded", "code": 503}}),
    "mislabelled gzip": lambda request: Reply(body=_right(request).body, headers={"Content-Encoding": "gzip"}),
    "5,000 brackets": lambda _: Reply(raw=b"[" * 5000),
    "silence": lambda _: Reply(drop=True, delay=3.0),
}


def servers(soak: Soak) -> Count:
    """Ten servers, each with its own way to misbehave on some requests, and ten studies at the same time."""
    count, lock = Count(), threading.Lock()

    def one(name: str) -> None:
        rng, given = random.Random(name), Counter[str]()

        def respond(request: Request, _: int) -> Reply:
            with lock:
                bad = rng.random() < TAINT
                count.moments += bad
                if not bad:
                    given[request.body["messages"][-1]["content"]] += 1
            return SERVERS[name](request) if bad else _right(request)

        with serving(respond) as server:
            folder = Path(tempfile.mkdtemp(dir=soak.folder))
            write_data(folder / "data.jsonl", ROWS)
            world = World(folder, int(server.url.rpartition(":")[2]))
            if soak.finished(world, count, max_retries=4, timeout=1.5, samples=10, certify_samples=30):
                with lock:
                    soak.compare(world, count, {})
                    # The short question that identifies the model is asked by each process.
                    paid = Counter({text: n for text, n in given.items() if text.startswith("Review: ")})
                    count.twice += repeated(list(paid.elements()))
            else:
                count.remark = f"{name}: not done: {count.remark}"[:160]

    names = list(SERVERS)[: max(2, soak.times(len(SERVERS)))]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(one, names))
    return count


SCENARIOS: dict[str, tuple[str, Callable[[Soak], Count]]] = {
    "kills": ("`kill -9`, local run", kills),
    "shards": ("`kill -9`, two shards", shards),
    "disk": ("disk full", disk),
    "doubled": ("two processes, one run or one cache", doubled),
    "postgres": ("PostgreSQL stopped or crashed", postgres),
    "clock": ("clock moved by hours", clock),
    "servers": ("wrong replies of ten servers at once", servers),
    "ray": ("`kill -9`, Ray driver or worker", ray),
}


def table(found: dict[str, Count]) -> str:
    """The counts, as Markdown."""
    lines = ["| fault | moments | records lost | calls paid twice | different results | stuck | seconds |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, count in found.items():
        numbers = (count.moments, count.lost, count.twice, count.different, count.stuck, round(count.seconds))
        shown = [f"{SCENARIOS[name][0]}{f' ({count.remark})' if count.remark else ''}", *(f"{n:,}" for n in numbers)]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def _overdue(*_: object) -> None:
    raise TimeoutError("it did not come to the moment that was waited for")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--write", action="store_true", help="put the table into docs/runs.md")
    given = parser.parse_args()
    signal.signal(signal.SIGALRM, _overdue)
    signal.alarm(int(60 * given.minutes + PATIENCE))
    folder = Path(tempfile.mkdtemp(prefix="clucert-soak-"))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    soak = Soak(folder, time.monotonic() + 60 * given.minutes, given.scale)
    found: dict[str, Count] = {}
    try:
        with soak.world(0.0) as world:
            assert soak.finished(world, Count()), "the undisturbed study does not end"
            soak.expected = checksums(world.folder / "run")
            assert len(soak.expected) == ROWS
        for name in given.only:
            began = time.monotonic()
            try:
                count = Count(remark="not run: no time left") if soak.late else SCENARIOS[name][1](soak)
            except TimeoutError as error:
                count = Count(stuck=1, remark=str(error))
            count.seconds = time.monotonic() - began
            found[name] = count
            print(table({name: count}).splitlines()[-1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(found))
    if given.write:
        page = ROOT / "docs/runs.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
        page.write_text(
            f"{before}{MARKS[0]}\n{table(found)}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8"
        )
    bad = [name for name, c in found.items() if c.lost or c.twice or c.different or c.stuck]
    if bad:
        sys.exit(f"something was lost, paid twice, different or stuck: {', '.join(bad)}")


if __name__ == "__main__":
    main()
