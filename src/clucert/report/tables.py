"""The summary and the inputs as CSV, JSON, Markdown and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from clucert.core.exact import ExactCertificate
from clucert.core.radius import KINDS, Kind
from clucert.errors import MissingExtraError, UsageError
from clucert.evaluate.gold import written_map
from clucert.evaluate.radii import AnyCertificate
from clucert.evaluate.standing import balanced_at
from clucert.report.format import SHORT
from clucert.report.markup import text
from clucert.report.outcome import state_of
from clucert.report.runs import Input, Run
from clucert.report.summary import SHOWN_DELTAS, STAGES, Summary, kinds_of
from clucert.types import Cost

Cell = str | int | float | None
Rows = Sequence[Mapping[str, Cell]]

FORMATS = ("csv", "json", "md", "parquet")


def summary_rows(summaries: Sequence[Summary]) -> list[dict[str, Cell]]:
    """One row for each run. Shares are from 0 to 1, times in seconds, money in US dollars (None: unknown)."""
    kinds = kinds_of(summaries)
    return [_summary_row(summary, kinds) for summary in summaries]


def _summary_row(s: Summary, kinds: Sequence[Kind]) -> dict[str, Cell]:
    row: dict[str, Cell] = {
        "run": s.run.name,
        "directory": str(s.run.path),
        "task": s.run.manifest.task,
        "method": s.run.manifest.method,
        "model": s.run.model,
        "inputs": len(s.run.inputs),
        "judged": s.judged,
        "failed": s.failed,
        "failed_are": ("left out" if s.leave_out_failed else "not certified") if s.failed else None,
        "unfinished": s.unfinished,
        "label_map": written_map(s.run.manifest.data.label_map) or None,
        "mask_rate": s.standing.mask_rate,
        "constant_answer": s.standing.constant_share,
        "per_label": s.standing.per_label(),
        "balanced_accuracy": s.standing.balanced_accuracy,
        "balanced_certacc@1": s.standing.balanced_certified,
        "radii_at_cap": s.standing.at_cap,
        "attackable_words": s.standing.attackable,
        "leading_votes": s.standing.leading_share,
        "radii_count_words_of": s.counts_words_of,
        "radii_count": s.run.unit,
        "judged_by": s.run.first_kind,
        "clean_accuracy": s.clean.value if s.judged else None,
        "r_avg": s.r_avg,
        "coe": s.coe,
        "uncertified": s.uncertified,
    }
    for kind in kinds:
        row |= _by_kind(s, kind)
    return row | {
        "abstained": s.abstained,
        "unparsed": s.unparsed,
        "kept": s.kept,
        "samples": s.samples,
        "questions_a_row": _per_row(s, s.samples),
        "seconds_a_row": _per_row(s, sum(s.seconds.values())),
        "calls": s.usage.calls,
        "calls_from_cache": s.reused.calls,
        "tokens_in": s.usage.input,
        "tokens_cached": s.usage.cached,
        "tokens_out": s.usage.output,
        "calls_estimated": s.usage.estimated,
        "money": s.money,
        **{f"seconds_{stage}": s.seconds.get(stage, 0.0) for stage in STAGES},
        "assumptions": " ".join(s.assumptions),
        "warnings": "; ".join(s.warnings) or None,
    }


def _per_row(s: Summary, total: float) -> float | None:
    return total / len(s.run.done) if s.run.done else None


def _by_kind(s: Summary, kind: Kind) -> dict[str, Cell]:
    """None where the run does not speak of ``kind``."""
    prefix = "certacc" if kind == "published" else f"proved_{kind}"
    row: dict[str, Cell] = {}
    for delta in range(1, SHOWN_DELTAS + 1):
        point = s.at(kind, delta) if s.judged and kind in s.outcomes else None
        row[f"{prefix}@{delta}"] = None if point is None else point.value
        row[f"{prefix}@{delta}_low"] = None if point is None else point.low
        row[f"{prefix}@{delta}_high"] = None if point is None else point.high
    reached = s.reached(kind)
    row |= {f"{prefix}_mean": reached.mean, f"{prefix}_median": reached.median}
    if kind in ("published", "synonym"):
        row[f"{prefix}_nothing_to_attack"] = s.nothing_to_attack(kind)
    return row


def radius_rows(s: Summary) -> list[dict[str, Cell]]:
    """One row for each radius that the run speaks of: shares that are right and certified at δ, mean and median."""
    rows = []
    for kind in s.run.kinds:
        reached = s.reached(kind)
        row: dict[str, Cell] = {"radius": SHORT[kind], "threat": kind, "counts": s.run.unit}
        row |= {f"@{d}": s.at(kind, d).value if s.judged else None for d in range(1, SHOWN_DELTAS + 1)}
        row |= {"balanced@1": balanced_at(s.outcomes[kind], 1) if s.judged else None}
        rows.append(row | {"median": reached.median, "mean": reached.mean})
    return rows


def input_rows(runs: Sequence[Run]) -> list[dict[str, Cell]]:
    """One row for each input of each run."""
    held = {kind for run in runs for kind in run.kinds}
    kinds = [kind for kind in KINDS if kind in held and kind != "published"]
    return [_input_row(run, row, kinds) for run in runs for row in run.inputs]


def _input_row(run: Run, row: Input, kinds: Sequence[Kind]) -> dict[str, Cell]:
    radii = {"radius": row.radius} | {f"proved_{t}": row.radii.get(t) for t in kinds}
    return {
        "run": run.name,
        "id": row.id,
        "text": row.text,
        "gold": row.gold,
        "answer": row.answer,
        "result": state_of(row),
        **{
            name: None if radius is None or radius.nothing_to_attack or radius.endless else radius.words
            for name, radius in radii.items()
        },
        "radii_count_words_of": None if row.certificate is None else f"the {_domain(row.certificate)} text",
        **_counts(row.certificate),
        **_costs(row.cost),
        "error": row.error,
    }


def _domain(certificate: AnyCertificate) -> str:
    return "original" if isinstance(certificate, ExactCertificate) else certificate.subject.domain


def _counts(certificate: AnyCertificate | None) -> dict[str, Cell]:
    names = ("words", "attackable", "kept", "dropped", "unparsed")
    if certificate is None:
        return dict.fromkeys(names)
    if isinstance(certificate, ExactCertificate):
        asked = certificate.unparsed + sum(certificate.counts.values())
        return dict(zip(names, (certificate.n, certificate.n, asked, 0, certificate.unparsed), strict=True))
    votes = certificate.estimation
    counts = (certificate.n, sum(certificate.subject.attackable), votes.kept, votes.dropped, votes.unparsed)
    return dict(zip(names, counts, strict=True))


def _costs(cost: Cost | None) -> dict[str, Cell]:
    names = ("calls", "tokens_in", "tokens_cached", "tokens_out", "seconds")
    if cost is None:
        return dict.fromkeys(names)
    total = cost.total
    figures = (total.calls, total.input, total.cached, total.output, round(sum(cost.seconds.values()), 6))
    return dict(zip(names, figures, strict=True))


def write_table(rows: Rows, path: Path) -> None:
    """Write ``rows`` in the format that the name's ending says: .csv, .json, .md or .parquet."""
    form = path.suffix.lstrip(".").lower()
    if form == "parquet":
        _write_parquet(rows, path)
        return
    if form not in _TEXT:
        raise UsageError(
            f"a table is written as {', '.join('.' + f for f in FORMATS)}, not {path.suffix or path.name!r}"
        )
    path.write_text(_TEXT[form](rows), encoding="utf-8", newline="")


def to_csv(rows: Rows) -> str:
    """RFC 4180, except that a text cell which a spreadsheet would run as a formula is given a leading apostrophe.

    That is text which starts with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return, and is not a plain number.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = list(rows[0]) if rows else []
    writer.writerow(map(_defused, names))
    for row in rows:
        writer.writerow(_defused(row[name]) for name in names)
    return out.getvalue()


_FORMULA = re.compile(r"[\s\x00]*[=+\-@\t\r＝＋－＠]")
_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?%?")


def _defused(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    string = _encodable(cell).replace("\0", "�")
    return f"'{string}" if _FORMULA.match(string) and not _NUMBER.fullmatch(string) else string


def _encodable(string: str) -> str:
    """Without the unpaired surrogates that no file can hold."""
    return string.encode("utf-8", "replace").decode("utf-8")


def to_json(rows: Rows) -> str:
    """A list of objects."""
    return json.dumps(list(rows), indent=1, allow_nan=False) + "\n"


def to_markdown(rows: Rows) -> str:
    """A pipe table. Text is escaped: no link, image, HTML or other markup of a data set comes alive in it."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = [names, ["---" if isinstance(rows[0][name], str) else "---:" for name in names]]
    lines += [[_markdown(row[name]) for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$^:@-])")


def _markdown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return _PUNCTUATION.sub(r"\\\1", text(cell)) if isinstance(cell, str) else str(cell)


_TEXT: dict[str, Callable[[Rows], str]] = {"csv": to_csv, "json": to_json, "md": to_markdown}


def _write_parquet(rows: Rows, path: Path) -> None:
    try:
        pa = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("pyarrow (Parquet files)", "pip install 'clucert[parquet]'") from None
    names = list(rows[0]) if rows else []
    columns = {name: [_encodable(c) if isinstance(c := row[name], str) else c for row in rows] for name in names}
    parquet.write_table(pa.table(columns), path)
