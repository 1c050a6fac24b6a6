"""How fast the answer cache is: puts and bulk look-ups with 10^3 to 10^6 answers stored, SQLite beside PostgreSQL.

    python bench/cache.py [--max 1000000] [--postgres] [--url postgresql+psycopg://user@host/database]

Measures a SQLite file in a temporary folder; with ``--postgres``, a server from Debian's packages too, which it starts
on this machine with default settings; with ``--url``, that database, which must be empty. They take turns at each
size. A put is a batch of 500 new answers in one transaction; a look-up asks for 500 random keys, half of them stored.
The medians of 41 batches, once the cache holds the given number of answers, are printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clucert.cache import open_cache
from clucert.cache.location import cache_location
from clucert.types import Answer, Usage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.postgres_server import PostgresServer

BATCH = 500
REPEATS = 41


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def batch(first: int) -> dict[str, Answer]:
    """A scored binary answer, the commonest kind."""
    usage = Usage(calls=1, input=312, output=1, cached=280)
    return {key(i): Answer("positive", (-0.1 - i % 7, -2.3), usage) for i in range(first, first + BATCH)}


def median_rate(work: list[float]) -> float:
    return BATCH / statistics.median(work)


class Measured:
    """One cache as it fills."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path, self.stored = name, path, 0
        self.cache = open_cache(path)
        if self.cache.stats().entries:
            sys.exit(f"{cache_location(path)} holds answers: name an empty database")

    def fill(self, size: int) -> None:
        while self.stored < size:
            self.put()

    def put(self) -> float:
        new = batch(self.stored)
        self.stored += BATCH
        start = time.perf_counter()
        self.cache.put_many(new, model="bench/model")
        return time.perf_counter() - start

    def get(self, keys: list[str]) -> float:
        start = time.perf_counter()
        self.cache.get_many(keys)
        return time.perf_counter() - start

    def row(self, size: int) -> str:
        rng = random.Random(size)
        self.fill(size)
        puts, gets, singles = [], [], []
        for _ in range(REPEATS):
            puts.append(self.put())
            keys = [key(rng.randrange(2 * self.stored)) for _ in range(BATCH)]
            gets.append(self.get(keys))
            singles.append(self.get(keys[:1]))
        self.cache.close()
        start = time.perf_counter()
        self.cache = open_cache(self.path)
        opened = time.perf_counter() - start
        mb = self.cache.stats().size_bytes / 1e6
        return (
            f"| {size:,} | {self.name} | {median_rate(puts):,.0f} | {median_rate(gets):,.0f} "
            f"| {statistics.median(singles) * 1e6:.0f} | {mb:.1f} | {opened * 1e3:.1f} |"
        )


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database of a server of our own."""
    server = PostgresServer.make(durable=True)
    try:
        yield server.url(server.new_database())
    finally:
        server.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true", help="Start a server here and measure it, too.")
    parser.add_argument("--url", help="An empty database to measure, too.")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        caches = [Measured("SQLite", str(Path(folder) / "answers.sqlite"))]
        if given.postgres:
            caches.append(Measured("PostgreSQL", stack.enter_context(postgres())))
        if given.url:
            caches.append(Measured(str(cache_location(given.url)), given.url))
        print("| answers stored | cache | puts/s | look-ups/s | one look-up alone, µs | size, MB | open, ms |")
        print("|---:|---|---:|---:|---:|---:|---:|")
        for size in (n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= given.max):
            for cache in caches:
                print(cache.row(size), flush=True)
        for cache in caches:
            cache.cache.close()


if __name__ == "__main__":
    main()
