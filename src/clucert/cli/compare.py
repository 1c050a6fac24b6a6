"""`clucert compare`: the same rows under two or more methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    from clucert.report.comparison import comparison_verdict, told

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
        show(_alone(comparison.runs), "each by itself:")
        say(*(f"{row['run']}: {row['per_label']}" for row in comparison.runs if row["per_label"]))
        rows = comparison.rows()
        for other in comparison.others:
            mine = [row for row in rows if row["run"] == other.run]
            about = f"{mine[0]['pairs']} pairs, radii in {mine[0]['radii_count_words_of']}"
            title = f"{other.run} (second) against {comparison.baseline} (first), {about}:"
            show([told(row) for row in mine], title)
    for note in comparison.notes:
        warn("warning", note)


_SHORT = {
    "clean_accuracy": "right",
    "radii_count": "counts",
    "radii_at_cap": "at cap",
    "attackable_words": "attackable",
    "questions_a_row": "questions",
    "balanced_certacc@1": "balanced@1",
}


def _alone(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Under short names, without the columns that say nothing of any run."""
    names = [name for name in rows[0] if name != "per_label" and any(row[name] is not None for row in rows)]
    alike = {name for name in ("failed", "radii_count") if name in names and len({row[name] for row in rows}) == 1}
    shown = [name for name in names if name not in alike or (name == "failed" and rows[0][name])]
    return [{_SHORT.get(name, name): row[name] for name in shown} for row in rows]
