"""What the closed synonym classes cost: accuracy of a bare model when words move inside their classes.

    python bench/classes.py ../shared/data --rows 400

For the validation rows of SST-2 and AG News: the text as it is; with every word replaced by the representative of its
class (`--retained-kernel canonical`); with every word redrawn from its class (`redraw`), three times. The classes are
good when all three are right equally often. Discordant pairs are tested with McNemar's exact test (scipy's binomial).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from clucert.core.protect import protected
from clucert.core.threats import canonical_text
from clucert.core.words import WordedText, split
from clucert.lexicon import load_lexicon
from clucert.lexicon.pooling import PooledLexicon
from clucert.models.load import load_model
from clucert.protocols import LanguageModel, Steps
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.classifiers import PromptedClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.tasks import load_task
from clucert.types import Classify

REDRAWS = 3


@dataclass(frozen=True)
class Row:
    text: WordedText
    label: str


def rows_of(path: Path, limit: int) -> list[Row]:
    documents = [json.loads(line) for line in path.read_text().splitlines()[:limit]]
    return [Row(split(document["text"]), document["label"]) for document in documents]


def redrawn(text: WordedText, lexicon: PooledLexicon, rng: np.random.Generator) -> WordedText:
    pools = lexicon.pools(text, protected(text))
    return WordedText(tuple(pool[rng.integers(len(pool))] for pool in pools), text.gaps)


def _asked(texts: list[str]) -> Steps:
    return (yield Classify(texts, "predict"))


def measure(task: str, rows: list[Row], model: LanguageModel, lexicon: PooledLexicon) -> list[str]:
    """Print the rows of a table; return a few changed texts."""
    queue = ModelQueue(model)
    executor = BlockingExecutor(Backends(PromptedClassifier(load_task(task), queue), [queue]))

    def right(change: Callable[[WordedText], WordedText]) -> tuple[np.ndarray, list[str]]:
        texts = [change(row.text).text for row in rows]
        votes = executor.run(lambda: _asked(texts))[0]
        return np.array([vote == row.label for vote, row in zip(votes, rows, strict=True)]), texts

    pools = [lexicon.pools(row.text, protected(row.text)) for row in rows]
    swappable = np.array([np.mean([len(pool) > 1 for pool in pooled]) for pooled in pools])
    base, _ = right(lambda text: text)
    print(f"| {task} | as it is | {base.mean():.3f} | | | {swappable.mean():.2f} of the words can be swapped |")
    rng = np.random.default_rng(0)
    variants = [("canonical", lambda text: canonical_text(text, lexicon, ()))]
    variants += [(f"redraw {k + 1}", lambda text: redrawn(text, lexicon, rng)) for k in range(REDRAWS)]
    examples: list[str] = []
    for name, change in variants:
        found, texts = right(change)
        lost, won = int((base & ~found).sum()), int((~base & found).sum())
        p = binomtest(lost, lost + won).pvalue if lost + won else 1.0
        changed = np.mean([text != row.text.text for text, row in zip(texts, rows, strict=True)])
        note = f"{changed:.2f} of the texts differ"
        print(f"| {task} | {name} | {found.mean():.3f} | {lost} lost, {won} won | {p:.2f} | {note} |")
        if name in ("canonical", "redraw 1"):
            some = [(row.text.text, text) for row, text in zip(rows, texts, strict=True) if row.text.text != text]
            examples += [f"{name}: {before!r} -> {after!r}" for before, after in some[:4]]
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--model", default="hf/smollm2")
    parser.add_argument("--examples", action="store_true", help="Show some of the changed texts.")
    options = parser.parse_args()
    model, lexicon = load_model(options.model), load_lexicon("classes")
    print("| task | text | accuracy | against the text as it is | McNemar p | |\n|---|---|---|---|---|---|")
    examples: list[str] = []
    for task in ("sst2", "agnews"):
        examples += measure(task, rows_of(options.data / f"{task}_validation.jsonl", options.rows), model, lexicon)
    if options.examples:
        print("", *examples, sep="\n")


if __name__ == "__main__":
    main()
