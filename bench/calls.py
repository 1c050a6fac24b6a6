"""How many votes staged sampling saves, and what it costs in radius, on the votes of finished runs. No model is called.

    python bench/calls.py runs/a runs/b [--replays 20]

A run with fixed N and N' keeps its N + N' votes of each input. Each replay shuffles them (independent votes may come in
any order) and hands them to the code that draws: once with the fixed plan, once with the staged one, selection,
futility and abstentions included. Where there are fewer votes than N + N' (the fixed plan abstained after N, or
--certify-samples asks for more), they are drawn with replacement from those that there are. Prints samples asked about,
mean certified radius (0 unless the answer is right) and the loss with the standard error of its mean over the replays.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.certificate import Certificate
from clucert.core.settings import Look, Settings, Subject
from clucert.core.smoothing import Smoother
from clucert.core.stopping import plans
from clucert.core.vote_records import VoteRecord, pack_sets
from clucert.report.runs import Input, load_run
from clucert.types import Votes


@dataclass
class Deck:
    """A text's votes in shuffled order, dealt as the noise channel would draw them."""

    certificate: Certificate
    order: NDArray[np.intp]
    votes: list[str | None]
    kept: list[bool]
    sets: NDArray[np.bool_]
    dealt: int = 0
    asked: int = 0
    vote_records: list[VoteRecord] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def subject(self) -> Subject:
        return self.certificate.subject

    @property
    def overlaps(self) -> Any:
        return self.certificate.overlaps

    @property
    def example(self) -> str:
        return self.certificate.example

    def sample(self, samples: int, stage: Any, part: int = 0) -> Generator[Any, Any, Votes]:
        """The next ``samples`` votes."""
        yield from ()
        rows = self.order[self.dealt : self.dealt + samples]
        self.dealt += samples
        votes, kept = [self.votes[i] for i in rows], [self.kept[i] for i in rows]
        self.asked += sum(kept)
        self.vote_records.append(VoteRecord(stage, part, tuple(votes), tuple(kept), pack_sets(self.sets[rows])))
        counts = Counter(vote for vote, flag in zip(votes, kept, strict=True) if flag)
        unparsed = counts.pop(None, 0)
        names = self.certificate.labels or [name for name in counts if name is not None]
        return Votes({name: counts[name] for name in names}, unparsed, samples - sum(kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100, help="N of both plans")
    parser.add_argument("--certify-samples", type=int, default=1000, help="N' of both plans")
    options = parser.parse_args()
    print(
        f"{'run':<12}{'inputs':>7}{'N+N′':>10}{'fixed':>9}{'staged':>9}{'share':>8}  "
        f"{'r_avg published':>17}{'loss %':>14}  {'r_avg proved':>14}{'loss %':>14}"
    )
    for path in options.runs:
        print(line(path, options.replays, (options.samples, options.certify_samples)), flush=True)


def line(path: Path, replays: int, sizes: tuple[int, int]) -> str:
    """One run's row."""
    inputs = [row for row in load_run(path).inputs if row.certificate is not None]
    certificates = [row.certificate for row in inputs if row.certificate]
    if any(not c.vote_records or c.settings.selection_looks for c in certificates):
        raise SystemExit(f"{path} was not made with --sampling fixed by a version that keeps vote_records")
    rng = np.random.default_rng(0)
    # Shape (replays, inputs, [fixed, staged], [samples asked, published radius, proved radius]).
    found = np.array([[both(row, rng, sizes) for row in inputs] for _ in range(replays)], dtype=float)
    total, mean = found.sum(axis=1), found.mean(axis=(0, 1))
    shown = f"{sizes[0]}+{sizes[1]}"
    parts = [
        f"{path.name:<12}{len(inputs):>7}{shown:>10}{mean[0, 0]:>9.0f}{mean[1, 0]:>9.0f}{mean[1, 0] / mean[0, 0]:>8.3f}"
    ]
    for k, width in ((1, 17), (2, 14)):
        loss = 100 * (total[:, 0, k] - total[:, 1, k]) / max(total[:, 0, k].mean(), 1e-9)
        error = loss.std(ddof=1) / np.sqrt(replays) if replays > 1 else float("nan")
        shown = f"{mean[0, k]:.3f} → {mean[1, k]:.3f}"
        parts.append(f"{shown:>{width}}{f'{loss.mean():.2f} ± {error:.2f}':>14}")
    return "  ".join(parts)


def both(row: Input, rng: np.random.Generator, sizes: tuple[int, int]) -> list[list[float]]:
    """[samples, published, proved] of the fixed plan and of the staged one, on the same shuffle."""
    certificate = row.certificate
    assert certificate is not None
    settings = replace(certificate.settings, predict_samples=sizes[0], looks=(Look(sizes[1]),))
    n, samples = certificate.n, sizes[1]
    votes = [vote for ballot in certificate.vote_records for vote in ballot.votes]
    kept = [flag for ballot in certificate.vote_records for flag in ballot.kept]
    sets = np.concatenate([ballot.sets(n) for ballot in certificate.vote_records])
    wanted = settings.predict_samples + samples
    order = rng.permutation(len(votes)) if len(votes) >= wanted else rng.integers(0, len(votes), wanted)
    results = []
    for changed in (settings, plans("staged", settings, samples)):
        deck = Deck(certificate, order, votes, kept, sets)
        results.append([deck_result(deck, changed, row.gold), deck.asked])
    return [[asked, *radii] for radii, asked in results]


def deck_result(deck: Deck, settings: Settings, gold: str | None) -> tuple[float, float]:
    """(published, proved) radius; 0 for an abstention and for a wrong answer."""
    smoother = Smoother(settings, deck.certificate.labels, None, None, None)  # type: ignore[arg-type]
    certificate = finish(smoother.certify_from(deck))  # type: ignore[arg-type]
    if certificate.prediction is None or certificate.prediction != gold:
        return 0.0, 0.0
    proved = certificate.proved.get("word")
    return float(certificate.radius.words if certificate.radius else 0), float(proved.words if proved else 0)


def finish(steps: Generator[Any, Any, Certificate]) -> Certificate:
    """Run ``steps``, of which nothing is asked, to the end."""
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        result: Certificate = stop.value
        return result


if __name__ == "__main__":
    main()
