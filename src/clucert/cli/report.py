"""`clucert report`: one HTML file about runs; tables and plots on demand."""

from __future__ import annotations

from pathlib import Path

import click

from clucert.cli.options import leave_out_failed_option

RUNS = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command(short_help="Write one self-contained HTML file about runs.")
@RUNS
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True)
@click.option("--tables", type=click.Path(path_type=Path), help="Folder for summary and inputs as tables.")
@click.option(
    "--table-format", multiple=True, default=("csv", "json", "md"), help="csv, json, md, parquet. Repeatable."
)
@leave_out_failed_option
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for the charts as files.")
@click.option(
    "--plot-format", multiple=True, default=("png",), help="svg, or png and pdf (extra clucert[plot]). Repeatable."
)
def report(
    runs: tuple[Path, ...],
    out: Path,
    tables: Path | None,
    table_format: tuple[str, ...],
    leave_out_failed: bool | None,
    plots: Path | None,
    plot_format: tuple[str, ...],
) -> None:
    """Write what RUNS found to one HTML file that needs no network."""
    from clucert.report import write_plots, write_report, write_tables

    leave_out = bool(leave_out_failed)
    written = [write_report(runs, out, leave_out_failed=leave_out)]
    if tables:
        written += write_tables(runs, tables, table_format, leave_out_failed=leave_out)
    if plots:
        written += write_plots(runs, plots, plot_format)
    for path in written:
        click.echo(f"wrote {path}", err=True)
