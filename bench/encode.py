"""Seconds (wall, CPU) to embed and to cluster the samples of one certificate: medians, one row a setting.

    python bench/encode.py [--samples 1000] [--repeats 3]

Texts are random words of a fixed list put for 30 % of a text's words, as noise does. Other load on the machine moves
the wall times: compare rows of one run, and CPU times across runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from clucert.core.denoise import Denoiser, load_clusterer, medoid_of_largest
from clucert.models.encoders import MiniLmEncoder

WORDS = (
    "the a film movie story plot actor scene music director market share price report company bank game team season "
    "coach player win loss great poor slow quick bright dark clever dull moving funny sad long short new old young "
    "warm cold strong weak quiet loud said shows makes finds takes gives seems becomes on in with from under over "
    "during while because although never always often rarely almost really quite very rather two three many few"
)
VOCABULARY = WORDS.split()
CLUSTERERS = ("agglomerative", "kmeans", "hdbscan", "threshold")


def noised(words: int, samples: int, rng: np.random.Generator) -> list[str]:
    """A text of ``words`` words, ``samples`` times with 30 % of them replaced."""
    base = rng.choice(VOCABULARY, words)
    swapped = rng.random((samples, words)) < 0.3
    return [" ".join(row) for row in np.where(swapped, rng.choice(VOCABULARY, (samples, words)), base)]


def median_seconds(work: Callable[[], object], repeats: int) -> str:
    """Median wall and CPU time of ``repeats`` runs, after one that is not counted."""
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return f"{statistics.median(wall):>8.3f} {statistics.median(cpu):>8.3f}"


def bench_encoder(samples: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    print(f"{samples:,} texts\n{'words':>6} {'threads':>8} {'batch':>6} {'wall s':>8} {'CPU s':>8}")
    for words in (20, 45):
        texts = noised(words, samples, rng)
        for threads in (1, 2):
            for batch in (8, 32, 128):
                encoder = MiniLmEncoder(threads=threads, batch_size=batch)
                seconds = median_seconds(lambda encode=encoder.encode, texts=texts: encode(texts), repeats)
                print(f"{words:>6} {threads:>8} {batch:>6} {seconds}", flush=True)


def bench_clusterers(samples: int, repeats: int) -> None:
    rng = np.random.default_rng(1)
    rows = MiniLmEncoder().encode(noised(20, samples, rng))
    print(f"\n{'clusterer':>24} {'N':>6} {'wall s':>8} {'CPU s':>8}")
    for count in (samples // 10, samples // 2, samples):
        for name in CLUSTERERS:
            denoiser = Denoiser(load_clusterer(name), 0.3)
            seconds = median_seconds(lambda d=denoiser, n=count: d.select(rows[:n], rows[0]), repeats)
            print(f"{name:>24} {count:>6} {seconds}")
    recoveries = rows[: samples // 4 * 4].reshape(-1, 4, rows.shape[1])
    seconds = median_seconds(lambda: medoid_of_largest(recoveries), repeats)
    print(f"{f'medoids of {len(recoveries)} x 4':>24} {samples:>6} {seconds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    bench_encoder(options.samples, options.repeats)
    bench_clusterers(options.samples, options.repeats)


if __name__ == "__main__":
    main()
