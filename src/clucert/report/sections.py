"""What the parts of the page below the first screen say, top to bottom; their markup is ``page/*.html.j2``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from xml.etree.ElementTree import Element

from clucert.cache.location import redact_argument
from clucert.core.explanation import FIXED, TOKENS, gap
from clucert.core.radius import Kind
from clucert.evaluate.gold import written_map
from clucert.redact import redact
from clucert.report import charts
from clucert.report.format import SHORT, TITLES, Cell, decimal, duration, money, percent, span
from clucert.report.summary import SHOWN_DELTAS, STAGES, Point, Summary, kinds_of, refined_note

PLAIN: dict[str, str] = {
    "A1": "Changed words leave no trace once they are hidden. Here the word that was hidden chooses its synonyms, so a "
    "new word brings other synonyms: against arbitrary words this is known to be false.",
    "A2": "The answer is as stable under this noise as whoever set gamma below 1 said it is. Nothing measured that.",
    "A3": "The votes are as good as independent, although keeping the largest cluster of a batch ties them to one "
    "another.",
    "A4": "The radius counts words of the refined (shortened) text. Whoever edits the original may change which words "
    "survive the refining, and that is not counted.",
}
"""Assumptions for readers who have not read the paper; the exact words are in docs/guarantees.md."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, and its numbers as a table."""

    title: str
    draw: Callable[..., Element]
    """Draws it as wide as its argument ``width``, in SVG units."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    kind: Kind | None = None


def assumed(summaries: Sequence[Summary]) -> list[tuple[str, str]]:
    """What has to be true for the published numbers: (assumption, the runs that it applies to)."""
    held = {name: [s.run.name for s in summaries if name in s.assumptions] for name in PLAIN}
    return [(name, ", ".join(runs)) for name, runs in held.items() if runs]


def counted(summaries: Sequence[Summary]) -> str:
    """Whose words the radii of each run count, and what nobody may change."""
    domains = "; ".join(f"{s.run.name}: {s.run.unit} of {s.counts_words_of}" for s in summaries)
    units = {s.run.unit for s in summaries}
    rules = [rule for unit, rule in (("words", FIXED), ("tokens", TOKENS)) if unit in units]
    said = "".join(f" {rule[0].upper()}{rule[1:]}." for rule in rules)
    what = next(iter(units)) if len(units) == 1 else "units"
    return f"Every radius, the proved ones too, counts {what} of one text: {domains}.{said}"


def gaps(summaries: Sequence[Summary]) -> list[tuple[Summary, str]]:
    """Why little of a published radius is proved, told of the first input of each run of which that is so."""
    found = []
    for s in summaries:
        reasons = (gap(row.sampled) for row in s.run.done if row.sampled)
        if why := next(filter(None, reasons), None):
            found.append((s, f"the input with {why}"))
    return found


def curves(summaries: Sequence[Summary]) -> list[Figure]:
    """The curves of the paper's Figure 3, for each kind of radius."""
    return [_curves(summaries, kind) for kind in kinds_of(summaries)]


def _curves(summaries: Sequence[Summary], kind: Kind) -> Figure:
    series = [charts.Series(s.run.name, s.index, s.curves[kind]) for s in summaries if kind in s.curves]
    height = 320 if kind == kinds_of(summaries)[0] else 240
    draw = partial(
        charts.curves, series, title=f"Certified accuracy, {TITLES[kind]}; numbers in the table below", height=height
    )
    last = max((len(s.points) for s in series), default=0)
    rows = [[s.name, *(_cell(s.points[d]) if d < len(s.points) else "–" for d in range(last))] for s in series]
    title = TITLES[kind] + refined_note(summaries)
    return Figure(title, draw, ["Run", *(f"δ = {d}" for d in range(last))], rows, kind)


def _cell(point: Point) -> Cell:
    return Cell(percent(point.value), span(point))


def histograms(s: Summary) -> list[Figure]:
    """How many inputs have which radius, for each kind of radius."""
    return [_histogram(s, kind) for kind in s.run.kinds]


def _histogram(s: Summary, kind: Kind) -> Figure:
    bins = s.histograms[kind]
    draw = partial(charts.histogram, bins, s.index, title=f"{TITLES[kind]}, {s.run.name}")
    rows = [[b.label, str(b.right), str(b.wrong)] for b in bins]
    return Figure(TITLES[kind] + refined_note([s]), draw, ("Radius", "Right", "Wrong or none"), rows, kind)


def times(summaries: Sequence[Summary]) -> Figure:
    """Stage times (the paper's Figure 4)."""
    bars = [(s.run.name, s.seconds) for s in summaries]
    draw = partial(charts.stage_bars, bars, STAGES, title="Seconds by stage; numbers in the table below")
    rows = []
    for s in summaries:
        total = sum(s.seconds.values())
        per = total / len(s.run.done) if s.run.done else 0.0
        values = [*(s.seconds.get(stage, 0.0) for stage in STAGES), total, per]
        rows.append([s.run.name, *(f"{value:.2f} s" for value in values)])
    return Figure("Seconds by stage", draw, ("Run", *STAGES, "total", "per input"), rows)


def all_figures(summaries: Sequence[Summary]) -> list[list[str | Cell]]:
    """Every figure of every run: one row for each figure, its name first, then one cell for each run."""
    columns = [list(_figures(s, kinds_of(summaries))) for s in summaries]
    return [[line[0][0], *(value for _, value in line)] for line in zip(*columns, strict=True)]


def _figures(s: Summary, kinds: Sequence[Kind]) -> Iterable[tuple[str, str | Cell]]:
    yield "Inputs", f"{len(s.run.inputs):,}"
    yield "Judged: certificate and gold label", f"{s.judged:,}"
    yield "Failed", f"{s.failed:,}, {'left out' if s.leave_out_failed else 'counted as not certified'}"
    yield "Rows not done, in no figure", f"{s.unfinished:,}"
    yield "Gold labels read as", written_map(s.run.manifest.data.label_map) or "written"
    yield from _standing(s)
    yield "Every radius counts words of", s.counts_words_of
    yield "Every radius counts", s.run.unit
    yield "Clean accuracy", _cell(s.clean) if s.judged else "–"
    yield "Mean radius r_avg, in words", _mean(s)
    yield "Coe = std / mean", decimal(s.coe)
    yield "Not certified (radius counted as 0)", percent(s.uncertified)
    for kind in kinds:
        speaks = s.judged and kind in s.outcomes
        for delta in range(1, SHOWN_DELTAS + 1):
            yield f"CertAcc@{delta}, {SHORT[kind]}", _cell(s.at(kind, delta)) if speaks else "–"
        reached = s.reached(kind)
        yield f"Mean radius, {SHORT[kind]}", decimal(reached.mean)
        yield f"Median radius, {SHORT[kind]}", decimal(reached.median)
        if kind in ("published", "synonym"):
            yield f"Nothing to attack, {SHORT[kind]}", percent(s.nothing_to_attack(kind), 1)
    yield "Abstained", percent(s.abstained, 1)
    yield "Unparsed answers", percent(s.unparsed, 1)
    yield "Kept by the clustering", percent(s.kept, 1)
    yield "Noised texts voted on", f"{s.samples:,}"
    yield "Model calls", f"{s.usage.calls:,}"
    yield "Model calls answered from the cache", f"{s.reused.calls:,}"
    yield "Tokens in", f"{s.usage.input:,}"
    yield "Tokens in, cached", f"{s.usage.cached:,}"
    yield "Tokens out", f"{s.usage.output:,}"
    yield "Model calls whose tokens are an estimate", f"{s.usage.estimated:,}"
    yield "Money, with an empty cache", money(s)
    yield "Time, summed over inputs", duration(sum(s.seconds.values()))


def _standing(s: Summary) -> Iterable[tuple[str, str | Cell]]:
    found = s.standing
    yield "Judged by the radius", SHORT[s.run.first_kind]
    yield "Mask rate", decimal(found.mask_rate)
    yield "A constant answer would get", percent(found.constant_share)
    yield "By label", found.per_label() or "–"
    yield "Balanced accuracy: mean over labels", percent(found.balanced_accuracy)
    yield "Balanced CertAcc@1, by that radius", percent(found.balanced_certified)
    yield "Published radii at the number of attackable words", percent(found.at_cap)
    yield "Attackable words, median", decimal(found.attackable)
    yield "Largest share of the votes for one label", percent(found.leading_share)


def _mean(s: Summary) -> str | Cell:
    found = s.metrics.r_avg
    if found is None or found.low is None or found.high is None:
        return decimal(s.r_avg)
    return Cell(decimal(found.value), f"{found.low:.2f}–{found.high:.2f}")


def made(summary: Summary) -> list[tuple[str, str]]:
    """What would be needed to make the run again."""
    manifest = summary.run.manifest
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    rows = [
        ("Command", " ".join(map(redact_argument, manifest.command))),
        ("Directory", str(summary.run.path)),
        (
            "Data",
            " · ".join(
                filter(None, [redact(manifest.data.path), f"{manifest.data.rows} rows" if manifest.data.rows else ""])
            ),
        ),
        ("Data, SHA-256", manifest.data.sha256),
        ("Records without a checksum", str(summary.run.unsealed or "")),
        ("Seed", "" if manifest.seed is None else str(manifest.seed)),
        ("Settings", summary.settings),
        ("Created", manifest.created),
        ("CluCERT", manifest.clucert_version),
        ("Versions", versions),
    ]
    return [(name, value) for name, value in rows if value]


def made_by(summaries: Sequence[Summary]) -> str:
    """The versions of CluCERT that made the runs."""
    versions = sorted({s.run.manifest.clucert_version for s in summaries if s.run.manifest.clucert_version})
    return f"CluCERT {', '.join(versions)}" if versions else "CluCERT"
