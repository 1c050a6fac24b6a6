"""Fit the label bias of a model to sub-texts of validation rows, by their length; print it as `models:` of a method.

    python bench/calibrate.py ../shared/data --model smollm2 --tasks sst2 agnews --method blocks

`clucert tune` fits it to the rows that it tunes on, as part of its search. Here rows are cut into 3, 5 and 7 parts, and
rows of one label are joined (three and ten at a time) to longer texts, as the validation rows at hand are short. The
packaged figures of `blocks` and `groups` were made so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from clucert.core.calibration import Fragment, fit
from clucert.core.noise.groups import Blocks, Groups
from clucert.evaluate.calibrated import label_biases
from clucert.methods import load_exact
from clucert.models.load import load_model
from clucert.protocols import LanguageModel
from clucert.tasks import load_task
from proofs import Row, asked_model, balanced, certify, fragments, rows_of

COUNTS = (3, 5, 7)
JOINED = (3, 10)
"""Rows in a joined text."""


def joined(rows: Sequence[Row], size: int) -> list[Row]:
    """Rows of one label, ``size`` at a time, as one text each."""
    labels = sorted({row.label for row in rows})
    own = {label: [row.text for row in rows if row.label == label] for label in labels}
    return [
        Row(" ".join(texts[i : i + size]), label)
        for label, texts in own.items()
        for i in range(0, len(texts) - size + 1, size)
    ]


def measured(model: LanguageModel, task: str, method: str, rows: Sequence[Row], long: int) -> list[Fragment]:
    """The fragments of ``rows``, and of at most ``long`` joined ones of each size."""
    question = load_task(task)
    labels = tuple(question.labels or ())
    key = exact.key.encode() if (exact := load_exact(method)) else b""
    found: list[Fragment] = []
    for count in COUNTS:
        noise = Blocks(count) if method == "blocks" else Groups(count, key)
        texts = [*rows, *(row for size in JOINED for row in balanced(joined(rows, size), long))]
        certificates, seconds = certify(noise, texts, labels, *asked_model(question, model))
        print(f"{task} {method} K={count}: {len(texts)} texts, {seconds:.2f} s each", file=sys.stderr)
        found += fragments(certificates, texts)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="+", default=["sst2", "agnews"])
    parser.add_argument("--method", choices=["blocks", "groups"], default="blocks")
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--long", type=int, default=24)
    options = parser.parse_args()
    model = load_model(options.model)
    tuned = {}
    for task in options.tasks:
        rows = balanced(rows_of(options.data / f"{task}_validation.jsonl"), options.rows)
        labels = load_task(task).labels or ()
        biases = fit(measured(model, task, options.method, rows, options.long))
        tuned[task] = {"bias": [bias.model_dump(exclude_none=True) for bias in label_biases(biases, labels)]}
    print(yaml.safe_dump({"models": {options.model: tuned}}, sort_keys=False, default_flow_style=None))


if __name__ == "__main__":
    main()
