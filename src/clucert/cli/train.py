"""`clucert train`: rows with labels in, a classifier that is trained on noise out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clucert.cli.options import Command, given_flags, options
from clucert.cli.terminal import echo, echo_json
from clucert.config import ExactSection, SamplingSection, TaskSection
from clucert.errors import UsageError
from clucert.evaluate.runconfig import DataSection, load_config

if TYPE_CHECKING:
    from clucert.core.radius import Kind
    from clucert.sklearn import CertifiedClassifier

MOST_HELD_OUT = 500
"""Rows that the figures are measured on, at most."""


CERTIFIED = "groups"
"""The noise that is trained on and certified with, unless another is named; what only flags names no class."""
MOST_SHOWN = 4
"""Labels that have a column each."""


@click.command(cls=Command)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where to write it: spam.clucert.")
@click.option(
    "--noise",
    default=CERTIFIED,
    show_default=True,
    help="What it is trained on: groups, blocks, chunks, …; for a gate what the gate asks: windows, …, or its file.",
)
@click.option("--copies", type=click.IntRange(0), default=2, show_default=True, help="Noised copies of each row.")
@click.option("--estimator", help="python:FILE.py:NAME, a scikit-learn classifier of texts.  [sentence encoder]")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 0.9),
    default=0.1,
    show_default=True,
    help="Share of the rows to measure it on; they are not trained on.",
)
@options(DataSection)
@options(TaskSection, "task", "labels")
@options(ExactSection, "count", "size", "sharpness")
@options(SamplingSection, "seed")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(
    output: Path, noise: str, copies: int, estimator: str | None, hold_out: float, as_json: bool, **flags: Any
) -> None:
    """Train a classifier on rows and noised copies of them: a file for --model, and for --gate-model of a guard.

    \b
    clucert train --data train.csv -o spam.clucert
    clucert certify "WIN a prize now" --model spam.clucert
    clucert evaluate --model spam.clucert --data test.csv --run-dir runs/a
    clucert train --data prompts.jsonl --task jailbreak \\
        --noise windows --size 4 -o guard.clucert
    """  # noqa: D301
    if output.suffix != ".clucert":
        raise UsageError(f"-o {output}: its name must end in .clucert, so that --model knows what it is")
    given = given_flags(flags)
    config = load_config(None, {"task": None, **given})
    from clucert.cli.screen import warn
    from clucert.evaluate.training import labelled_rows, measured, split_rows
    from clucert.sklearn import CertifiedClassifier

    rows, notes = labelled_rows(config)
    learned, held = split_rows(rows, hold_out, MOST_HELD_OUT, config.seed)
    model = CertifiedClassifier(
        estimator=_estimator(estimator),
        **_noises(noise, {name: given.get(name) for name in ("count", "size")}),
        sharpness=given.get("sharpness"),
        copies=copies,
        random_state=config.seed,
    )
    model.fit([text for text, _ in learned], [label for _, label in learned])
    model.save(output)
    figures = measured(model, held)
    verdict = _verdict(figures)
    said = {"output": str(output), "rows": len(learned), "noise": noise, "verdict": verdict}
    document = {"schema_version": 1, **said, **figures}
    if as_json:
        echo_json(document)
    else:
        _print(verdict, model, noise, len(learned), figures)
        of_gate = f", in a gate  --gate-model {output} --method {noise}" if model.copies_of else ""
        echo(f"wrote {output}: use it with  --model {output}{of_gate}", err=True)
    for note in notes:
        warn("note", note)


def _noises(noise: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """What the classifier is certified with, and what cuts the copies that it is trained on."""
    from clucert.core.settings import Base
    from clucert.methods import load_exact
    from clucert.sklearn import flags_texts

    method = load_exact(noise)
    if method is None or not flags_texts(method):
        if sizes["size"] is not None:
            raise UsageError(f"--size goes with --noise windows: {noise} does not read it, leave it out")
        return {"noise": noise, "count": sizes["count"]}
    return {"noise": CERTIFIED, "copies_of": method.for_base(Base(("estimator",), ""), **sizes)}


def _estimator(name: str | None) -> Any:
    if name is None:
        return None
    from clucert.models.function_files import is_function, target_of

    if not is_function(name):
        raise UsageError(f"--estimator {name}: write  python:FILE.py:NAME")
    estimator = target_of(name)
    if not (hasattr(estimator, "fit") and hasattr(estimator, "predict")):
        raise UsageError(f"--estimator {name} is no scikit-learn classifier: it has no fit or no predict")
    return estimator


def _verdict(figures: dict[str, Any]) -> str:
    """What holds of the rows that were held out."""
    from clucert.report.verdict import held_against

    total = figures["held_out"]
    if not total:
        return "trained on all rows: nothing was held out to measure it on (--hold-out)"
    counts = {name: round(shares["all"] * total) for name, shares in figures["figures"].items()}
    held = {kind: count for name, count in counts.items() if (kind := _kind(name))}
    proved = f"right and proved: {held_against(held, total, 'words')}" if any(held.values()) else "nothing is proved"
    constant = f"always answering the commonest label gets {counts['a constant answer']}"
    return f"{counts['right']} of {total} rows held out are answered right ({constant}); {proved}"


def _kind(name: str) -> Kind | None:
    """The threat that a figure is of; None where it is of none."""
    from clucert.evaluate.radii import kind_of
    from clucert.evaluate.training import PROVED

    return kind_of(name.removeprefix(PROVED)) if name.startswith(PROVED) else None


def _print(verdict: str, model: CertifiedClassifier, noise: str, rows: int, figures: dict[str, Any]) -> None:
    from clucert.cli.screen import headline, pairs, show

    headline(verdict)
    shown: dict[str, object] = {
        "trained on": f"{rows:,} rows and {model.copies} noised copies of each ({noise})",
        "labels": ", ".join(map(str, model.classes_)),
    }
    pairs(shown)
    rows_held = [_row(name, shares) for name, shares in figures["figures"].items()]
    held = figures["held_out"]
    show(rows_held, f"of the {held} rows held out, right, and right and proved, with {model.method_.name}:")


def _row(name: str, shares: dict[str, Any]) -> dict[str, object]:
    from clucert.report.format import against

    kind, by_label = _kind(name), shares["by_label"]
    named = f"proved, {against(kind, 'words')}" if kind else name
    shown = {f"of {label}": share for label, share in by_label.items()} if len(by_label) <= MOST_SHOWN else {}
    return {"": named, "of all": shares["all"], "mean of labels": shares["balanced"], **shown}
