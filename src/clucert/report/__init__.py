"""Reports of runs: one HTML file, tables, plots, gates and JUnit XML.

Every function takes run directories, as ``clucert evaluate`` leaves them, or what
:func:`clucert.report.runs.load_runs` has read of them, and raises :class:`clucert.errors.InputError` for a folder that
is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clucert.core.radius import Kind
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.report.comparison import RunComparison
    from clucert.report.gates import Gate, GateResult
    from clucert.report.runs import Run
    from clucert.report.summary import Summary

__all__ = [
    "check_gates",
    "compare_runs",
    "parse_gate",
    "write_comment",
    "write_junit",
    "write_plots",
    "write_report",
    "write_sarif",
    "write_tables",
]


def write_report(runs: Sequence[Path | Run], out: Path, *, leave_out_failed: bool = False) -> Path:
    """Write one self-contained HTML file about ``runs`` to ``out``. The same runs give the same bytes."""
    from clucert.report.html import page
    from clucert.report.summary import read_summaries

    return _write(out, page(read_summaries(runs, leave_out_failed=leave_out_failed)))


def write_tables(
    runs: Sequence[Path | Run],
    folder: Path,
    formats: Iterable[str] = ("csv", "json", "md"),
    *,
    leave_out_failed: bool = False,
) -> list[Path]:
    """Write ``summary.FORMAT`` (a row for each run) and ``inputs.FORMAT`` (a row for each input) into ``folder``."""
    from clucert.report.summary import read_summaries
    from clucert.report.tables import input_rows, summary_rows, write_table

    summaries = read_summaries(runs, leave_out_failed=leave_out_failed)
    tables = {"summary": summary_rows(summaries), "inputs": input_rows([summary.run for summary in summaries])}
    folder.mkdir(parents=True, exist_ok=True)
    files = [(folder / f"{name}.{form}", rows) for form in formats for name, rows in tables.items()]
    for file, rows in files:
        write_table(rows, file)
    return [file for file, _ in files]


def write_plots(runs: Sequence[Path | Run], folder: Path, formats: Iterable[str] = ("png",)) -> list[Path]:
    """Write the certified-accuracy curves, radius histograms and stage times as png, svg or pdf into ``folder``."""
    from clucert.report.plots import write
    from clucert.report.summary import read_summaries

    return write(read_summaries(runs), folder, formats)


def parse_gate(written: str) -> Gate:
    """Read a gate such as ``certacc@1=0.6``; raises :class:`clucert.errors.UsageError` for anything else."""
    from clucert.report.gates import parse_gate as parse

    return parse(written)


def check_gates(
    runs: Sequence[Path | Run], gates: Sequence[Gate | str], *, leave_out_failed: bool = False
) -> list[GateResult]:
    """Every gate for every run; the build passes when all have ``passed``. Failed inputs count unless left out."""
    from clucert.report.gates import check
    from clucert.report.gates import parse_gate as parse
    from clucert.report.summary import read_summaries

    parsed = [parse(gate) if isinstance(gate, str) else gate for gate in gates]
    return check(read_summaries(runs, leave_out_failed=leave_out_failed), parsed)


def write_junit(
    runs: Sequence[Path | Run],
    out: Path,
    gates: Sequence[Gate | str] = (),
    *,
    min_radius: int = 0,
    strict: bool | None = None,
    leave_out_failed: bool = False,
) -> list[GateResult]:
    """Write JUnit XML about every input and every gate (:mod:`clucert.report.junit`); returns the gates' results."""
    from clucert.report.gates import check
    from clucert.report.gates import parse_gate as parse
    from clucert.report.junit import junit
    from clucert.report.summary import read_summaries

    summaries = read_summaries(runs, leave_out_failed=leave_out_failed)
    results = check(summaries, [parse(gate) if isinstance(gate, str) else gate for gate in gates])
    _write(out, junit([s.run for s in summaries], results, min_radius=min_radius, strict=strict))
    return results


def write_sarif(runs: Sequence[Path | Run], out: Path, radius: int = 1) -> Path:
    """Write SARIF about every row that is not proved, and every broken certificate (:mod:`clucert.report.sarif`)."""
    from clucert.report.runs import load_runs
    from clucert.report.sarif import sarif

    return _write(out, sarif(load_runs(runs), radius))


def write_results(path: Path, config: StudyConfig, gates: Sequence[Gate]) -> tuple[Summary, list[GateResult]]:
    """The figures of the run that a study left at ``path``, and what the gates say of it; what the options ``junit``
    and ``sarif`` name is written.
    """
    from clucert.report.gates import check
    from clucert.report.junit import junit
    from clucert.report.summary import read_summaries

    (figures,) = read_summaries([path], leave_out_failed=config.leave_out_failed)
    results = check([figures], gates)
    if config.sarif:
        write_sarif([figures.run], config.sarif)
    if config.junit:
        _write(config.junit, junit([figures.run], results))
    return figures, results


def write_comment(runs: Sequence[Path | Run], out: Path, *, leave_out_failed: bool = False) -> Path:
    """Write a comment for a pull request, in Markdown (:mod:`clucert.report.comment`)."""
    from clucert.report.comment import comment
    from clucert.report.summary import read_summaries

    return _write(out, comment(read_summaries(runs, leave_out_failed=leave_out_failed)))


def compare_runs(
    runs: Sequence[Path | Run],
    deltas: Sequence[int] = (0, 1, 2, 3),
    *,
    kind: Kind | None = None,
    common_only: bool = False,
    leave_out_failed: bool = False,
) -> RunComparison:
    """Compare each later run with the first one, input by input. See :func:`clucert.report.comparison.compare`."""
    from clucert.report.comparison import compare
    from clucert.report.runs import load_runs

    return compare(load_runs(runs), deltas, kind=kind, common_only=common_only, leave_out_failed=leave_out_failed)


def _write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")
    return path
