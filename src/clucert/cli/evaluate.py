"""`clucert evaluate`: a data set in, a run directory out."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clucert.cli.options import Command, config_options, given_flags
from clucert.cli.terminal import echo, echo_json
from clucert.errors import InputError, UsageError
from clucert.evaluate.runconfig import StudyConfig, SuffixSection, load_config
from clucert.evaluate.runconfig import print_config as yaml_of

if TYPE_CHECKING:
    from clucert.evaluate.standing import LabelFigures
    from clucert.evaluate.study import RunSummary
    from clucert.report.gates import Gate, GateResult
    from clucert.report.summary import Summary

EXIT_GATE = 3


CONFIG_FILE = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="YAML file; flags override it."
)


@click.command(cls=Command)
@config_options(StudyConfig, without=(SuffixSection,))
@CONFIG_FILE
@click.option("--print-config", is_flag=True, help="Print the whole configuration as YAML and stop.")
@click.option("--dry-run", is_flag=True, help="Print calls, tokens and money; ask nothing.")
@click.option("--show-unparsed", type=int, default=1, help="Print K answers that were no votes.  [1]")
@click.option("-v", "--verbose", is_flag=True, help="Every figure of the run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def evaluate(
    config_file: Path | None,
    print_config: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
    show_unparsed: int,
    **flags: Any,
) -> None:
    """Certify every row of a data set; interruptible at any moment, and continued by the same command.

    \b
    clucert evaluate --task sst2 --data reviews.csv --limit 200 --run-dir runs/a
    clucert evaluate --config study.yaml --method ranmask --run-dir runs/b

    Exit codes: 0 done, 1 some inputs failed, 2 wrong usage, 3 a gate was missed, 4 a cap was reached, 130 interrupted.
    """  # noqa: D301
    config = study_config(config_file, flags)
    if print_config:
        click.echo(yaml_of(config), nl=False)
        return
    if dry_run:
        from clucert.cli.estimate import show_estimate
        from clucert.evaluate.dry_run import dry_run as estimated

        show_estimate(estimated(config), config, as_json=as_json)
        return
    if config.run_dir is None:
        raise UsageError("say where to keep the run: --run-dir runs/a")
    from clucert.cli.progress import study_bar
    from clucert.evaluate.study import evaluate as run
    from clucert.report import parse_gate

    gates = [parse_gate(gate) for gate in config.fail_under]  # One misspelled is told before anything is spent.
    with study_bar() as bar:
        summary = run(config, bar, command=sys.argv)
    missed = _report(config, gates, summary, as_json, verbose)
    _show_unparsed(summary.run_dir, show_unparsed)
    sys.exit(summary.exit_code or (EXIT_GATE if missed else 0))


def study_config(config_file: Path | None, flags: dict[str, Any]) -> StudyConfig:
    """The configuration of a file with the given flags on top.

    Numbers of samples, α and γ in a file are for methods that sample, and an exact one leaves them aside: the same
    file may serve both. As flags they raise :class:`UsageError` beside it.
    """
    from clucert.methods.exact import refuse_sampling

    given = given_flags(flags)
    config = load_config(config_file, given)
    refuse_sampling(given, config)
    return config


def _report(config: StudyConfig, gates: Sequence[Gate], summary: RunSummary, as_json: bool, verbose: bool) -> bool:
    """Print the run's numbers; whether a gate was missed."""
    from clucert.cli.screen import warn
    from clucert.report import write_results

    figures, results = write_results(summary.run_dir, config, gates)
    if as_json:
        echo_json({"schema_version": 1, "run_dir": str(summary.run_dir), **_document(figures, results)})
    else:
        _print(figures, results, verbose=verbose)
    for warning in figures.warnings:
        warn("warning", warning)
    for note in summary.notes:
        warn("note", note)
    if summary.failed:
        first = next(iter(summary.errors.items()))
        echo(f"clucert: {summary.failed} inputs failed, the first ({first[0]}): {first[1]}", err=True)
    if summary.reason:
        echo(f"clucert: {summary.reason}", err=True)
    return not all(result.passed for result in results)


def _document(figures: Summary, results: Sequence[GateResult]) -> dict[str, Any]:
    from clucert.evaluate.roc import roc_document
    from clucert.report.guard import guard_curve
    from clucert.report.tables import radius_rows, summary_rows
    from clucert.report.verdict import run_verdict

    (row,) = summary_rows([figures])
    said: dict[str, Any] = {
        "verdict": run_verdict(figures),
        "summary": row,
        "labels": [dataclasses.asdict(label) for label in figures.standing.labels],
        "warnings": list(figures.warnings),
        "gates": [{"gate": str(r.gate), "value": r.value, "passed": r.passed} for r in results],
    }
    if (curve := guard_curve(figures)) is not None:
        said["roc"] = roc_document(curve.points, counts=curve.counts) | {"at": curve.at.document()}
    return said | {"radii": radius_rows(figures), "population": [kept.document() for kept in figures.population]}


def _print(figures: Summary, results: Sequence[GateResult], *, verbose: bool) -> None:
    """The sentence, the shares by threat beside those of a constant answer, by label, and the price of a row."""
    from clucert.cli.screen import headline, pairs, say, show, width
    from clucert.render import roc_text
    from clucert.report.format import SHORT
    from clucert.report.guard import guard_curve
    from clucert.report.population import sentences
    from clucert.report.tables import summary_rows
    from clucert.report.verdict import run_verdict

    headline(run_verdict(figures))
    say(*sentences(figures.population))
    (row,) = summary_rows([figures])
    if figures.judged:
        marks = " (words and punctuation marks alike)" if figures.run.unit == "tokens" else ""
        show(_by_threat(figures), f"share of the rows that are right and certified at so many changes{marks}:")
        by_label = [_by_label(label) for label in figures.standing.labels]
        show(by_label, f"by gold label, certified as in {SHORT[figures.run.first_kind]!r}:")
    echo()
    pairs(_condensed(row) if verbose else _in_short(figures, row))
    if (curve := guard_curve(figures)) is not None:
        echo(roc_text(curve.points, curve.at, curve.at_said, counts=curve.counts, width=width()))
    for result in results:
        echo(str(result))


def _show_unparsed(run_dir: Path, limit: int) -> None:
    """Print ``limit`` answers that were no votes, of all inputs, on standard error."""
    from clucert.evaluate.run_directory import read_records
    from clucert.models.legible import distinct, shown
    from clucert.types import Unread

    records = read_records(run_dir)[0].values() if limit > 0 else ()
    try:
        found = [Unread(**answer) for record in records for answer in (record.document or {}).get("unread", ())]
    except TypeError as error:
        raise InputError(f"{run_dir} holds an unread answer that is none: {error}") from None
    for answer in distinct(found)[:limit]:
        echo(f"clucert: unparsed ({answer.why}): {shown(answer.text, 200)}", err=True)


_SAID_ELSEWHERE = ("warnings", "label_map", "per_label")


def _by_threat(figures: Summary) -> list[dict[str, object]]:
    """The shares of each radius, without columns that nothing reaches; under them those of a constant answer."""
    from clucert.report.summary import SHOWN_DELTAS
    from clucert.report.tables import radius_rows

    rows = radius_rows(figures)
    ats = [f"@{d}" for d in range(1, SHOWN_DELTAS + 1)]
    last = max((i for i, at in enumerate(ats) if any(row[at] for row in rows)), default=0)
    names = ["radius", *ats[: last + 1], "balanced@1", "median", "mean"]
    shown: list[dict[str, object]] = [{name: row[name] for name in names} for row in rows]
    standing = figures.standing
    if standing.labels and standing.constant_share is not None:
        always = {"radius": f"always {standing.constant_label}", "balanced@1": 1 / len(standing.labels)}
        shown.append(dict.fromkeys(names) | dict.fromkeys(ats[: last + 1], standing.constant_share) | always)
    return shown


def _in_short(figures: Summary, row: Mapping[str, object]) -> dict[str, object]:
    """What a reader needs of the figures that no table above has."""
    shown: dict[str, object] = {}
    if figures.judged:
        alike = figures.standing.balanced_accuracy
        mean = "" if alike is None else f", mean over the labels {alike:.3f}"
        clean = figures.clean
        shown["right"] = f"{clean.value:.3f}  [{clean.low:.3f}, {clean.high:.3f}]{mean}"
    lost = {"of the rows abstained on": figures.abstained, "of the votes named no label": figures.unparsed}
    if any(lost.values()):
        shown["no answer"] = ", ".join(f"{share:.2g} {what}" for what, share in lost.items() if share)
    if done := len(figures.run.done):
        calls, votes = figures.usage.calls / done, figures.samples / done
        asked = f"{calls:.4g} calls" if calls else f"{votes:.4g} votes"
        shown["cost"] = f"{asked} and {row['seconds_a_row']:.2g} s a row (mean)"
    path = shlex.quote(str(figures.run.path))
    shown["kept in"] = f"{path}  (-v for all; as a page: clucert report {path} -o report.html)"
    return shown


def _by_label(label: LabelFigures) -> dict[str, object]:
    return {
        "label": label.label,
        "rows": label.inputs,
        "right": label.clean_accuracy,
        "right and certified at 1": label.certified,
        "mean radius": label.r_avg,
    }


def _condensed(row: Mapping[str, object]) -> dict[str, object]:
    """For the terminal: a share and its interval on one line, and no line for what there is nothing of."""
    shown: dict[str, object] = {}
    for name, value in row.items():
        low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
        empty = value in (None, "", 0) and not name.endswith("@1") and name not in ("failed", "clean_accuracy")
        if name.endswith(("_low", "_high", "_mean", "_median")) or empty or name in _SAID_ELSEWHERE:
            continue
        shown[name] = value if low is None or high is None else f"{value:.3f}  [{low:.3f}, {high:.3f}]"
    return shown
