"""Runs as a comment on a pull request: a sentence, a short table and the warnings of each, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clucert.report.summary import Summary
from clucert.report.tables import radius_rows, summary_rows, to_markdown
from clucert.report.verdict import run_verdict

FIGURES = ("clean_accuracy", "balanced_accuracy", "constant_answer", "abstained", "failed")
"""Columns of the summary that come first."""
LEFT_OUT = ("@4", "@5", "threat", "mean")
"""Columns of the radii that a comment has no room for."""


def comment(summaries: Sequence[Summary]) -> str:
    """The comment. What comes of a run, labels and names among it, is escaped: it cannot be markup, nor a mention."""
    return "\n\n".join(_runs(summaries)) + "\n"


def _runs(summaries: Sequence[Summary]) -> Iterator[str]:
    for s, row in zip(summaries, summary_rows(summaries), strict=True):
        yield f"**{escaped(s.run.name)}** · {escaped(s.run.model)} · {len(s.run.inputs)} rows"
        yield f"{escaped(run_verdict(s))}."
        yield to_markdown([{name: row[name] for name in FIGURES if name in row}]).rstrip()
        radii = [{name: cell for name, cell in each.items() if name not in LEFT_OUT} for each in radius_rows(s)]
        yield to_markdown(radii).rstrip()
        yield from (f"⚠️ {escaped(warning)}" for warning in s.warnings)


def escaped(said: str) -> str:
    """``said`` as a cell of a table is written, and with no mention of anybody."""
    (cell,) = to_markdown([{"x": said}]).splitlines()[2:]
    return cell.strip("| ").replace("@", "@\u200b")
