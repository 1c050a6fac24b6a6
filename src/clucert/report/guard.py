"""What a run says of a guard: recall and false positives, with those certificates that a flag has."""

from __future__ import annotations

from fractions import Fraction

from clucert.core.thresholds import Flag
from clucert.evaluate.roc import GuardedRow, RocCurve, RocPoint, curve_of, point_at
from clucert.report.summary import Summary


def rows_of(summary: Summary) -> list[GuardedRow]:
    """The inputs with a gold label; none where the run flags nothing. Failed ones are there unless left out."""
    flag = _flag(summary)
    if flag is None:
        return []
    kept = [row for row in summary.run.inputs if not (summary.leave_out_failed and row.certificate is None)]
    return [GuardedRow(row.gold == flag.name, row.certificate) for row in kept if row.gold is not None]


def guard_point(summary: Summary, delta: int = 0) -> RocPoint | None:
    """What the run's own threshold does, also under ``delta`` changes; None where nothing was judged."""
    flag = _flag(summary)
    return None if flag is None else point_at(rows_of(summary), flag.share or Fraction(flag.at_least), (delta,))


def guard_curve(summary: Summary) -> RocCurve | None:
    """The certified ROC; None where the run flags nothing, or has no certificate."""
    flag = _flag(summary)
    return None if flag is None else curve_of(rows_of(summary), flag)


def _flag(summary: Summary) -> Flag | None:
    certificates = (row.certificate for row in summary.run.done)
    return next((each.settings.flag for each in certificates if each is not None), None)
