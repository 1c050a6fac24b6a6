"""`clucert compare`: the same rows under two or more methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from clucert.cli.options import AS_JSON, Choice, Command, options
from clucert.cli.report import RUNS
from clucert.cli.terminal import echo_json
from clucert.core.radius import KINDS
from clucert.evaluate.runconfig import ResultSection


@click.command(cls=Command)
@RUNS
@click.option("--delta", multiple=True, type=int, default=(0, 1, 2, 3), help="Radii to compare at. Repeatable.")
@click.option(
    "--radius",
    "kind",
    type=Choice([*KINDS, "replace"]),
    metavar="KIND",
    help="published, or a threat: word (or replace), synonym, insert, delete, move, edit, append, suffix, ends, block."
    "  [published, or the first that all have]",
)
@click.option("--common-only", is_flag=True, help="Compare the rows that all runs have.")
@options(ResultSection, "leave_out_failed")
@AS_JSON
def compare(
    runs: tuple[Path, ...],
    delta: tuple[int, ...],
    kind: str | None,
    common_only: bool,
    leave_out_failed: bool | None,
    as_json: bool,
) -> None:
    """Compare each later run with the first, input by input.

    McNemar's exact test for certified accuracy at each radius; a paired permutation test and bootstrap for r_avg.
    """
    from clucert.cli.screen import headline, say, show, warn
    from clucert.report import compare_runs
    from clucert.report.verdict import comparison_verdict

    comparison = compare_runs(
        runs,
        delta,
        kind=kind,
        common_only=common_only,
        leave_out_failed=bool(leave_out_failed),
    )
    verdict = comparison_verdict(comparison)
    if as_json:
        echo_json({"verdict": verdict, **comparison.document()}, indent=2)
    else:
        headline(verdict)
        show([{name: row[name] for name in row if name != "per_label"} for row in comparison.runs], "each by itself:")
        say(*(f"{row['run']}: {row['per_label']}" for row in comparison.runs if row["per_label"]))
        rows = comparison.rows()
        for other in comparison.others:
            mine = [row for row in rows if row["run"] == other.run]
            about = f"{mine[0]['pairs']} pairs, radii in {mine[0]['radii_count_words_of']}"
            show([_told(row) for row in mine], f"{other.run} against {comparison.baseline} ({about}):")
    for note in comparison.notes:
        warn("warning", note)


_IN_THE_TITLE = ("run", "against", "radius", "pairs", "radii_count_words_of")


def _told(row: Mapping[str, object]) -> dict[str, object]:
    """A row without what is the same in all."""
    return {name: value for name, value in row.items() if name not in _IN_THE_TITLE}
