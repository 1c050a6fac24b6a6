"""`clucert report`: one HTML file about runs; tables and plots on demand."""

from __future__ import annotations

from pathlib import Path

import click

from clucert.cli.options import Choice, Command, options
from clucert.cli.terminal import echo
from clucert.evaluate.runconfig import ResultSection

RUNS = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command(cls=Command)
@RUNS
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True)
@click.option("--tables", type=click.Path(path_type=Path), help="Folder for summary and inputs as tables.")
@click.option(
    "--table-format",
    type=Choice(["csv", "json", "md", "parquet"]),
    multiple=True,
    default=("csv", "json", "md"),
    show_default=True,
    help="Repeatable.",
)
@options(ResultSection, "leave_out_failed", "sarif")
@click.option("--comment", type=click.Path(path_type=Path), help="Write a comment for a pull request, in Markdown.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for the charts as files.")
@click.option(
    "--plot-format",
    type=Choice(["svg", "png", "pdf"]),
    multiple=True,
    default=("png",),
    show_default=True,
    help="png and pdf with the extra clucert[plot]. Repeatable.",
)
def report(
    runs: tuple[Path, ...],
    out: Path,
    tables: Path | None,
    table_format: tuple[str, ...],
    leave_out_failed: bool | None,
    plots: Path | None,
    plot_format: tuple[str, ...],
    **also: Path | None,
) -> None:
    """Write what RUNS found to one HTML file that needs no network."""
    from clucert.redact import redact
    from clucert.report import write_comment, write_plots, write_report, write_sarif, write_tables
    from clucert.report.runs import load_runs

    leave_out, found = bool(leave_out_failed), load_runs(runs)
    written = [write_report(found, out, leave_out_failed=leave_out)]
    if tables:
        written += write_tables(found, tables, table_format, leave_out_failed=leave_out)
    if comment := also["comment"]:
        written.append(write_comment(found, comment, leave_out_failed=leave_out))
    if sarif := also["sarif"]:
        written.append(write_sarif(found, sarif))
    if plots:
        written += write_plots(found, plots, plot_format)
    for path in written:
        echo(redact(f"wrote {path}"), err=True)
