"""Rows to train a classifier on, and what it is worth on rows that it was not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clucert.build import task_of
from clucert.errors import InputError
from clucert.evaluate.data import load_examples
from clucert.evaluate.plan import read_examples, with_columns
from clucert.evaluate.runconfig import StudyConfig
from clucert.tasks.bare import BareTask
from clucert.tasks.classification import check_labels

if TYPE_CHECKING:
    from clucert.sklearn import CertifiedClassifier

Row = tuple[str, str]
"""A text and its label."""

MOST_LABELS = 100
PROVED = "proved, any 1 "
"""How figures name a threat."""


def labelled_rows(config: StudyConfig) -> tuple[list[Row], list[str]]:
    """The rows of the data that have a label and a text, and what ought to be known of them.

    Labels are read as the task says, where one is named, or are those of ``labels``; otherwise they are whatever the
    label column has. Raises :class:`InputError` for a column that is no class.
    """
    task: Any = None
    if config.labels is not None:
        task = BareTask.labelled(config.task or "labels", config.labels)
    elif config.task is not None:
        task = task_of(config.model_copy(update={"model": ["smollm2"]}))
    if task is None:
        dataset = load_examples(config.source, labels=None)
    else:
        dataset = read_examples(with_columns(config), task, need_labels=True)
    rows = [(e.text, e.label) for e in dataset.examples if e.label is not None]
    notes = list(dataset.notes)
    if skipped := dataset.skipped:
        notes.append(
            f"{len(skipped)} malformed rows were left out, the first: {skipped[0].where}: {skipped[0].problem}"
        )
    counts = Counter(label for _, label in rows)
    if len(counts) > MOST_LABELS:
        raise InputError(f"the label column has {len(counts):,} different values, which are no classes: --label-column")
    check_labels(sorted(counts))
    return rows, notes


def split_rows(rows: Sequence[Row], share: float, most: int, seed: int) -> tuple[list[Row], list[Row]]:
    """The rows to train on, and others, at most ``most``, to measure on. No text is on both sides."""
    held_out = min(most, int(len(rows) * share))
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    held = [rows[i] for i in order[:held_out]]
    seen = {text for text, _ in held}
    return [rows[i] for i in order[held_out:] if rows[i][0] not in seen], held


def measured(model: CertifiedClassifier, held: Sequence[Row]) -> dict[str, Any]:
    """What the classifier is worth on ``held``: accuracy, and right *and* proved under any one operation of a threat.

    Each is the share of all rows, of those of each label, and the mean over the labels: one share alone may be that of
    a constant answer.
    """
    if not held:
        return {"held_out": 0, "figures": {}}
    labels = np.array([label for _, label in held])
    commonest = Counter(labels.tolist()).most_common(1)[0][0]
    right, proved = model.outcomes([text for text, _ in held], labels)
    hits = {"right": right} | {f"{PROVED}{threat}": each for threat, each in proved.items()}
    hits["a constant answer"] = labels == commonest
    figures = {}
    for name, each in hits.items():
        by_label = {str(label): float(each[labels == label].mean()) for label in np.unique(labels)}
        balanced = float(np.mean(list(by_label.values())))
        figures[name] = {"all": float(each.mean()), "balanced": balanced, "by_label": by_label}
    return {"held_out": len(held), "figures": figures}
