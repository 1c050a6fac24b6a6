"""`clucert compare`: the same rows under two or more methods."""

from __future__ import annotations

from pathlib import Path

import click

from clucert.cli.options import Choice, Command, options
from clucert.cli.report import RUNS
from clucert.cli.terminal import echo, echo_json
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
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
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
    from clucert.render import rows_table
    from clucert.report import compare_runs

    comparison = compare_runs(
        runs,
        delta,
        kind=kind,
        common_only=common_only,
        leave_out_failed=bool(leave_out_failed),
    )
    if as_json:
        echo_json(comparison.document(), indent=2)
    else:
        echo(rows_table(comparison.runs))
        echo(rows_table(comparison.rows()))
    for note in comparison.notes:
        echo(f"clucert: warning: {note}", err=True)
