"""The page's charts as PNG or SVG files for papers and slides (matplotlib, the ``plot`` extra)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clucert.errors import MissingExtraError, UsageError
from clucert.report.markup import text
from clucert.report.runs import KINDS, Kind
from clucert.report.summary import STAGES, Summary, refined_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
COLOURS = ("#2b5c9e", "#b3541e", "#2d7d5a", "#8b3f86", "#7a6a12", "#b03060", "#35757f", "#5b5750")
STAGE_COLOURS = ("#2b5c9e", "#7fa6d6", "#2d7d5a", "#d59a2a", "#b3541e", "#8b3f86", "#8d8a83")
MARKERS = "os^D"
DASHES = ("-", "--", ":")
TITLES: dict[Kind, str] = {"published": "Published radius", "word": "Proved, any word", "synonym": "Proved, synonyms"}
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e7e4dc",
    "axes.axisbelow": True,
    "font.size": 9,
    "svg.hashsalt": "clucert",
    "text.parse_math": False,
}


def write(summaries: Sequence[Summary], folder: Path, formats: Iterable[str] = ("png",)) -> list[Path]:
    """Write ``certified-accuracy``, ``radii`` and ``stages`` into ``folder``; returns the files.

    Raises :class:`MissingExtraError` without matplotlib and :class:`UsageError` for an unknown format.
    """
    wanted = tuple(formats)
    for form in wanted:
        if form not in FORMATS:
            raise UsageError(f"plots are written as {', '.join(FORMATS)}, not {form!r}")
    try:
        import matplotlib as mpl
    except ImportError:
        raise MissingExtraError("matplotlib (plots)", "pip install 'clucert[plot]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with mpl.rc_context(STYLE):
        for name, draw in (("certified-accuracy", curves), ("radii", radii), ("stages", stages)):
            figure = draw(summaries)
            for form in wanted:
                files.append(folder / f"{name}.{form}")
                # Without its date, the same run gives the same file.
                metadata = {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
                figure.savefig(files[-1], dpi=200, bbox_inches="tight", metadata=metadata)
    return files


def curves(summaries: Sequence[Summary]) -> Figure:
    """Certified accuracy over δ with 95 % bands, one panel for each kind of radius."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _panels(1, len(KINDS), 4.0, 3.0)
    for axis, kind in zip(axes, KINDS, strict=True):
        for s in summaries:
            points = s.curves[kind]
            colour, deltas = COLOURS[s.index % len(COLOURS)], range(len(points))
            axis.fill_between(deltas, [p.low for p in points], [p.high for p in points], color=colour, alpha=0.15, lw=0)
            axis.plot(
                deltas,
                [p.value for p in points],
                color=colour,
                label=text(s.run.name),
                marker=MARKERS[s.index % len(MARKERS)],
                linestyle=DASHES[s.index // len(COLOURS) % len(DASHES)],
                markersize=4,
            )
        axis.set(title=f"{TITLES[kind]}{refined_note(summaries)}", xlabel="words that may change (δ)", ylim=(0, 1))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("certified accuracy")
    axes[0].legend(frameon=False)
    return figure


def radii(summaries: Sequence[Summary]) -> Figure:
    """Radius histograms: a row for each run, a column for each kind; pale where the answer is wrong."""
    figure, axes = _panels(len(summaries), len(KINDS), 3.4, 1.9)
    for i, s in enumerate(summaries):
        for j, kind in enumerate(KINDS):
            axis, bins = axes[i * len(KINDS) + j], s.histograms[kind]
            colour, places = COLOURS[s.index % len(COLOURS)], range(len(bins))
            right = [b.right for b in bins]
            axis.bar(places, right, color=colour)
            axis.bar(places, [b.wrong for b in bins], bottom=right, color=colour, alpha=0.35)
            step = -(-len(bins) // 12) or 1
            axis.set_xticks(list(places)[::step], [b.label for b in bins][::step])
            axis.set_title(f"{text(s.run.name)}: {TITLES[kind].lower()}{refined_note([s])}", fontsize=8)
    return figure


def stages(summaries: Sequence[Summary]) -> Figure:
    """Seconds by stage (the paper's Figure 4), summed over the inputs."""
    figure, (axis,) = _panels(1, 1, 7.0, 0.6 + 0.5 * len(summaries))
    names = [text(s.run.name) for s in summaries]
    left = [0.0] * len(summaries)
    for stage, colour in zip(STAGES, STAGE_COLOURS, strict=True):
        seconds = [s.seconds.get(stage, 0.0) for s in summaries]
        axis.barh(range(len(names)), seconds, left=left, color=colour, label=stage, height=0.6)
        left = [a + b for a, b in zip(left, seconds, strict=True)]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.set_xlabel("seconds, summed over inputs")
    axis.legend(frameon=False, ncols=len(STAGES), loc="lower left", bbox_to_anchor=(0, 1), fontsize=7)
    return figure


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
