"""What canonical forms cost in clean accuracy, and what they do to DeepWordBug and TextBugger.

    python bench/canonical.py ../shared/data [--rows 300] [--attacked 100] [--out bench/results/canonical]

The classifier is ``tfidf`` of bench/proofs.py (word pairs, logistic regression), trained on ``<task>_train.jsonl``: as
it is (*put before it*: only the texts that are asked about are in canonical form), and on texts in the same form
(*trained on it*, which is what is attacked). All that is printed is of ``<task>.jsonl``, equally many rows of each
label; shares are means over the labels. *Sealed*, of all words of those texts: may be misspelt by one letter any number
of times; *in classes*: may become their synonyms any number of times. An attack asks the deployed classifier, form and
all, for its probabilities, and succeeds where the answer becomes wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clucert.attacks.recipes import load_attack
from clucert.attacks.steps import attack_text
from clucert.attacks.victims import BareVictim
from clucert.core.noise.canonical import FORMS, Canonical
from clucert.core.noise.retention import rng_for
from clucert.lexicon.canonical import load_form
from clucert.models.encoders import MiniLmEncoder
from clucert.protocols import Encoder
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends
from proofs import Row, Tfidf, balanced, by_label, mean, publish, rows_of

SETTINGS: dict[str, tuple[str, ...]] = {"none": (), **{form: (form,) for form in FORMS}, "all": FORMS}
RECIPES = ("deepwordbug", "textbugger")
Probabilities = Callable[[list[str]], Any]


def formed(form: Canonical | None, texts: Sequence[str]) -> list[str]:
    return [form.worded(text).text for text in texts] if form else list(texts)


def free_share(form: Canonical | None, rows: Sequence[Row]) -> tuple[float, float]:
    """Of all words, those that are sealed and those whose synonyms are free."""
    if form is None:
        return 0.0, 0.0
    free = [form.free(row.text) for row in rows]
    total = sum(each.words for each in free)
    return sum(len(f.sealed) for f in free) / total, sum(len(f.synonyms) for f in free) / total


def accuracy(
    model: Probabilities, form: Canonical | None, rows: Sequence[Row], labels: Sequence[str]
) -> dict[str, float]:
    answers = np.asarray(model(formed(form, [row.text for row in rows]))).argmax(axis=1)
    return by_label(rows, [labels[i] == row.label for i, row in zip(answers, rows, strict=True)], labels)


def attacked(
    recipe: str,
    model: Probabilities,
    form: Canonical | None,
    rows: Sequence[Row],
    labels: Sequence[str],
    encoder: Encoder,
) -> dict[str, Any]:
    def deployed(texts: list[str]) -> Any:
        return model(formed(form, texts))

    classifier = CallableClassifier(deployed, labels, name="tfidf", deterministic=True)
    attack, victim = load_attack(recipe), BareVictim(Backends(classifier))
    found = [
        attack_text(attack, victim, row.text, row.label, rng_for(0, i, recipe), encoder=encoder)
        for i, row in enumerate(rows)
    ]
    live = [each for each in found if each.status != "skipped"]
    won = [each for each in live if each.status == "success"]
    return {
        "attacked": len(live),
        "success": round(len(won) / max(1, len(live)), 4),
        "right_under_attack": round((len(live) - len(won)) / len(rows), 4),
        "words_changed": round(float(np.mean([each.words_changed for each in won])), 2) if won else None,
        "queries": round(float(np.mean([each.queries for each in live])), 1),
    }


def measure(task: str, options: argparse.Namespace, encoder: Encoder) -> list[dict[str, Any]]:
    train = rows_of(options.data / f"{task}_train.jsonl")
    rows = balanced(rows_of(options.data / f"{task}.jsonl"), options.rows)
    labels = tuple(sorted({row.label for row in train}))
    few = balanced(rows, options.attacked)
    gold = [row.label for row in train]
    plain = Tfidf().fit([row.text for row in train], gold)
    lines = []
    for name, kinds in SETTINGS.items():
        form = load_form(kinds)
        model = Tfidf().fit(formed(form, [row.text for row in train]), gold) if form else plain
        sealed, classes = free_share(form, rows)
        line: dict[str, Any] = {"task": task, "form": name, "tables": list(form.names) if form else []}
        line |= {"rows": len(rows), "sealed": round(sealed, 4), "in_classes": round(classes, 4)}
        for how, used in (("put_before", plain), ("trained_on", model)):
            right = accuracy(used, form, rows, labels)
            line[how] = {"balanced": mean(right), "by_label": right}
        # TextBugger compares sentences by an encoder, which takes most of the time: with no form and with all of them.
        recipes = RECIPES if name in ("none", "all") else RECIPES[:1]
        line["attacks"] = {r: attacked(r, model, form, few, labels, encoder) for r in recipes}
        print(f"{task}, {name}: {line['attacks']}", file=sys.stderr, flush=True)
        lines.append(line)
    return lines


def clean_table(lines: Sequence[dict[str, Any]]) -> str:
    out = [
        "| task | form | put before it | trained on it | by label | sealed | in classes |",
        "|---|---|" + "---:|" * 5,
    ]
    for line in lines:
        by = ", ".join(f"{label} {share:.3f}" for label, share in line["trained_on"]["by_label"].items())
        cells = [f"{line['put_before']['balanced']:.3f}", f"{line['trained_on']['balanced']:.3f}", by]
        cells += [f"{line[name]:.2f}" if line[name] else "–" for name in ("sealed", "in_classes")]
        out.append(f"| {line['task']} | {line['form']} | {' | '.join(cells)} |")
    return "\n".join(out)


def attack_table(lines: Sequence[dict[str, Any]]) -> str:
    names = ("success", "right after", "words changed", "queries")
    title = [f"{recipe}: {name}" if name == "success" else name for recipe in RECIPES for name in names]
    out = [f"| task | form | attacked | {' | '.join(title)} |", "|---|---|" + "---:|" * (1 + len(title))]
    for line in lines:
        cells = [str(line["attacks"][RECIPES[0]]["attacked"])]
        for recipe in RECIPES:
            one = line["attacks"].get(recipe)
            if one is None:
                cells += ["–"] * len(names)
                continue
            changed = "–" if one["words_changed"] is None else f"{one['words_changed']:.1f}"
            cells += [f"{one['success']:.2f}", f"{one['right_under_attack']:.2f}", changed, f"{one['queries']:.0f}"]
        out.append(f"| {line['task']} | {line['form']} | {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "agnews", "sms"])
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--attacked", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    began, encoder = time.perf_counter(), MiniLmEncoder()
    lines = [line for task in options.tasks for line in measure(task, options, encoder)]
    text = f"Clean accuracy, balanced\n\n{clean_table(lines)}\n\nUnder attack\n\n{attack_table(lines)}\n"
    document = {"rows": options.rows, "attacked": options.attacked, "lines": lines}
    document["seconds"] = round(time.perf_counter() - began, 1)
    publish(document, text, options.out)


if __name__ == "__main__":
    main()
