"""What a run says of a guard: recall and false positives, with those certificates that a flag has."""

from __future__ import annotations

from fractions import Fraction

from clucert.evaluate.roc import Curve, Point, Row, curve_of, point_at
from clucert.report.summary import Summary


def rows_of(summary: Summary) -> list[Row]:
    """The inputs with a gold label; none where the run flags nothing. Failed ones are there unless left out."""
    flag = summary.run.manifest.flag
    if flag is None:
        return []
    kept = [row for row in summary.run.inputs if not (summary.leave_out_failed and row.certificate is None)]
    return [Row(row.gold == flag.name, row.certificate) for row in kept if row.gold is not None]


def guard_point(summary: Summary, delta: int = 0) -> Point | None:
    """What the run's own threshold does, also under ``delta`` changes; None where nothing was judged."""
    rows = rows_of(summary)
    own = next((row.certificate.settings.flag for row in rows if row.certificate is not None), None)
    return None if own is None else point_at(rows, own.share or Fraction(own.at_least), (delta,))


def guard_curve(summary: Summary) -> Curve | None:
    """The certified ROC; None where the run flags nothing, or has no certificate."""
    flag, rows = summary.run.manifest.flag, rows_of(summary)
    return curve_of(rows, flag) if flag is not None and any(row.certificate for row in rows) else None
