"""The parts of the page below the first screen, top to bottom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from clucert.evaluate.gold import written_map
from clucert.gap import FIXED, gap
from clucert.report.attacked import parts
from clucert.report.charts import (
    Series,
    both_widths,
    curves,
    duration,
    histogram,
    stage_bars,
    swatch,
)
from clucert.report.figures import decimal, money, percent, span, topic
from clucert.report.markup import Html, element
from clucert.report.outcome import MEANING
from clucert.report.runs import KINDS, Kind
from clucert.report.summary import SHOWN_DELTAS, STAGES, Point, Summary, refined_note

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

TITLES: dict[Kind, str] = {
    "published": "Published radius, under the run's assumptions",
    "word": "Proved, any word for any other",
    "synonym": "Proved, words for their listed synonyms",
}


def assumptions(summaries: Sequence[Summary]) -> Html:
    """What has to be true for the published numbers, in plain words."""
    held = {name: [s.run.name for s in summaries if name in s.assumptions] for name in PLAIN}
    entries = [
        element(
            "div",
            element("dt", f"{name} · {topic(name)}", id=name),
            element("dd", PLAIN[name], element("span", f" Applies to: {', '.join(runs)}.", class_="quiet")),
        )
        for name, runs in held.items()
        if runs
    ]
    always = (
        "A radius says how many words may change before the answer could. It speaks of the smoothed model (many noised "
        "copies of a text, and a vote), not of the bare one. An input counts as certified only when its answer is "
        "right; abstentions, wrong answers and (unless left out) failed inputs count as not certified."
    )
    proved = (
        "The proved radius needs none of the assumptions below: it is a theorem about the votes that were counted. It "
        "comes for two adversaries: one who may write any word, and one who may only use listed synonyms. A radius of "
        "every word that can change counts at every δ. Where no word can change there is nothing to attack: such an "
        "input is certified at no δ from 1 on, and the table of all figures has the share of them."
    )
    domains = "; ".join(f"{s.run.name}: words of {s.counts_words_of}" for s in summaries)
    counted = f"Every radius, the proved ones too, counts words of one text: {domains}. {FIXED[0].upper()}{FIXED[1:]}."
    reasons = [(s, _first_gap(s)) for s in summaries]
    gaps = [element("li", swatch(s.index), f"{s.run.name}, for example {why}.") for s, why in reasons if why]
    listed = (
        element("dl", *entries, class_="assumptions") if entries else element("p", "No run rests on an assumption.")
    )
    gap_list = element("ul", *gaps, class_="gaps") if gaps else None
    return _section(
        "rests",
        "What these numbers rest on",
        element("p", always),
        element("p", proved),
        element("p", counted),
        gap_list,
        listed,
    )


def _first_gap(summary: Summary) -> str | None:
    """Why little of a published radius is proved, told of the first input of which that is so."""
    found = (gap(row.certificate) for row in summary.run.done if row.certificate)
    return next((f"the input with {why}" for why in found if why), None)


def _section(name: str, title: str, *children: object) -> Html:
    return element(
        "section", element("h2", title, id=f"{name}-title"), *children, id=name, aria_labelledby=f"{name}-title"
    )


def certified_accuracy(summaries: Sequence[Summary]) -> Html:
    """The curves of the paper's Figure 3, for each kind of radius."""
    figures = [_curves(summaries, kind) for kind in KINDS]
    return _section(
        "curves",
        "Certified accuracy",
        element(
            "p",
            "The share of inputs that are answered right and whose radius is at least δ words. Each band holds for all "
            "δ at once, at 95% (Dvoretzky, Kiefer and Wolfowitz).",
        ),
        _legend(summaries),
        element("div", *figures, class_="figures"),
    )


def _curves(summaries: Sequence[Summary], kind: Kind) -> Html:
    series = [Series(s.run.name, s.index, s.curves[kind]) for s in summaries]
    title = TITLES[kind] + refined_note(summaries)
    height = 320 if kind == "published" else 240

    def draw(width: int) -> Html:
        return curves(series, width, f"Certified accuracy, {TITLES[kind]}; numbers in the table below", height=height)

    wide = 720 if kind == "published" else 420
    last = max((len(s.points) for s in series), default=0)
    header = element(
        "tr", element("th", "Run", scope="col"), *(element("th", f"δ = {d}", scope="col") for d in range(last))
    )
    rows = [
        element(
            "tr",
            element("th", s.name, scope="row"),
            *(element("td", _cell(s.points[d]) if d < len(s.points) else "–") for d in range(last)),
        )
        for s in series
    ]
    return element(
        "figure",
        element("figcaption", title),
        *both_widths(draw, wide),
        _numbers(f"Numbers: {title}", header, rows),
        class_=f"curve {kind}",
    )


def _cell(point: Point) -> Html:
    return element("span", percent(point.value), element("small", f" {span(point)}"))


def _numbers(name: str, head: Html, rows: Sequence[Html]) -> Html:
    table = element("table", element("caption", name, class_="hidden"), element("thead", head), element("tbody", *rows))
    return element("details", element("summary", "Numbers"), _scrolling(name, table))


def _scrolling(name: str, table: Html) -> Html:
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=name)


def _legend(summaries: Sequence[Summary]) -> Html:
    return element("ul", *(element("li", swatch(s.index), s.run.name) for s in summaries), class_="legend")


def audits(summaries: Sequence[Summary]) -> Html | None:
    """What an adversary achieved; nothing when no run was audited."""
    found = [(s.index, s.run.name, s.run.audit) for s in summaries]
    if all(audit is None for _, _, audit in found):
        return None
    return _section(
        "audit",
        "Attacked",
        element(
            "p",
            "clucert audit searched inside the certified balls for texts that flip the smoothed answer. A break counts "
            "only when fresh samples confirm it. The proved radius must show no more breaks than its error "
            "probability allows; the published one may show more, where what it assumes is false.",
        ),
        *parts(found),
    )


def radii(summaries: Sequence[Summary]) -> Html:
    """Radius histograms: one row for each run, one column for each kind of radius."""
    rows = []
    for s in summaries:
        cells = [_histogram(s, kind) for kind in KINDS]
        rows.append(element("div", element("h3", swatch(s.index), s.run.name), element("div", *cells, class_="thirds")))
    return _section(
        "radii",
        "Radii",
        element(
            "p",
            "How many inputs have which radius. Pale: the answer is wrong, so its radius certifies a mistake. "
            "“none”: abstained, or nothing is proved.",
        ),
        *rows,
    )


def _histogram(summary: Summary, kind: Kind) -> Html:
    title = f"{TITLES[kind]}, {summary.run.name}"

    def draw(width: int) -> Html:
        return histogram(summary.histograms[kind], summary.index, width, title)

    head = element("tr", *(element("th", name, scope="col") for name in ("Radius", "Right", "Wrong or none")))
    rows = [
        element("tr", element("th", b.label, scope="row"), element("td", str(b.right)), element("td", str(b.wrong)))
        for b in summary.histograms[kind]
    ]
    caption = element("figcaption", TITLES[kind] + refined_note([summary]))
    return element("figure", caption, *both_widths(draw, 330), _numbers(title, head, rows))


def costs(summaries: Sequence[Summary]) -> Html:
    """Stage times (the paper's Figure 4)."""
    times = [(s.run.name, s.seconds) for s in summaries]

    def draw(width: int) -> Html:
        return stage_bars(times, STAGES, width, "Seconds by stage; numbers in the table below")

    keys = [element("li", element("span", class_=f"key stage{k}"), stage) for k, stage in enumerate(STAGES)]
    columns = ("Run", *STAGES, "total", "per input")
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    rows = []
    for s in summaries:
        total = sum(s.seconds.values())
        per = total / len(s.run.done) if s.run.done else 0.0
        values = [*(s.seconds.get(stage, 0.0) for stage in STAGES), total, per]
        rows.append(
            element("tr", element("th", s.run.name, scope="row"), *(element("td", f"{v:.2f} s") for v in values))
        )
    table = element(
        "table",
        element("caption", "Seconds by stage", class_="hidden"),
        element("thead", head),
        element("tbody", *rows),
    )
    return _section(
        "cost",
        "Time by stage",
        element("ul", *keys, class_="legend"),
        element("figure", *both_widths(draw, 960)),
        _scrolling("Seconds by stage", table),
    )


def summary_table(summaries: Sequence[Summary]) -> Html:
    """Every figure of every run: one row for each figure, one column for each run."""
    head = element(
        "tr",
        element("th", "Figure", scope="col"),
        *(element("th", swatch(s.index), s.run.name, scope="col") for s in summaries),
    )
    columns = [list(_figures(s)) for s in summaries]
    rows = [
        element("tr", element("th", line[0][0], scope="row"), *(element("td", value) for _, value in line))
        for line in zip(*columns, strict=True)
    ]
    table = element(
        "table",
        element("caption", "Summary of the runs", class_="hidden"),
        element("thead", head),
        element("tbody", *rows),
    )
    return _section("summary", "All figures", _scrolling("Summary of the runs", table))


def _figures(s: Summary) -> Iterable[tuple[str, object]]:
    yield "Inputs", f"{len(s.run.inputs):,}"
    yield "Judged: certificate and gold label", f"{s.judged:,}"
    yield "Failed", f"{s.failed:,}, {'left out' if s.leave_out_failed else 'counted as not certified'}"
    yield "Rows not done, in no figure", f"{s.unfinished:,}"
    yield "Gold labels read as", written_map(s.run.manifest.data.label_map) or "written"
    yield from _standing(s)
    yield "Every radius counts words of", s.counts_words_of
    yield "Clean accuracy", _cell(s.clean) if s.judged else "–"
    yield "Mean radius r_avg, in words", _mean(s)
    yield "Coe = std / mean", decimal(s.coe)
    yield "Not certified (radius counted as 0)", percent(s.uncertified)
    for kind in KINDS:
        for delta in range(1, SHOWN_DELTAS + 1):
            yield f"CertAcc@{delta}, {_SHORT[kind]}", _cell(s.at(kind, delta)) if s.judged else "–"
        if kind != "word":
            yield f"Nothing to attack, {_SHORT[kind]}", percent(s.nothing_to_attack(kind), 1)
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


def _standing(s: Summary) -> Iterable[tuple[str, object]]:
    found = s.standing
    yield "Mask rate", decimal(found.mask_rate)
    yield "A constant answer would get", percent(found.constant_share)
    yield "By label", found.per_label() or "–"
    yield "Balanced accuracy: mean over labels", percent(found.balanced_accuracy)
    yield "Balanced CertAcc@1, published", percent(found.balanced_certified)
    yield "Published radii at the number of attackable words", percent(found.at_cap)
    yield "Attackable words, median", decimal(found.attackable)
    yield "Largest share of the votes for one label", percent(found.leading_share)


_SHORT: dict[Kind, str] = {"published": "published", "word": "proved, any word", "synonym": "proved, synonyms"}


def _mean(s: Summary) -> str | Html:
    found = s.metrics.r_avg
    if found is None or found.low is None or found.high is None:
        return decimal(s.r_avg)
    return element("span", decimal(found.value), element("small", f" {found.low:.2f}–{found.high:.2f}"))


def inputs(summaries: Sequence[Summary]) -> Html:
    """The controls and the empty table that the script fills."""
    options = [element("option", s.run.name, value=str(i)) for i, s in enumerate(summaries)]
    states = [element("option", "every result", value="")]
    states += [element("option", f"{state}: {meaning}", value=state) for state, meaning in MEANING.items()]
    controls = element(
        "form",
        element("label", "Run", element("select", *options, id="run")),
        element(
            "label", "Search", element("input", id="search", type="search", autocomplete="off", spellcheck="false")
        ),
        element("label", "Show", element("select", *states, id="state")),
        id="controls",
        role="search",
    )
    pager = element(
        "nav",
        element("button", "Previous", type="button", id="previous"),
        element("span", id="place", role="status"),
        element("button", "Next", type="button", id="next"),
        aria_label="Pages of inputs",
        id="pager",
    )
    return _section(
        "inputs",
        "Inputs",
        element("noscript", element("p", "This table needs JavaScript. Everything above does not.")),
        controls,
        element("div", id="table"),
        pager,
    )


def provenance(summaries: Sequence[Summary]) -> Html:
    """What would be needed to make the runs again."""
    return _section("provenance", "How the runs were made", *(_made(s) for s in summaries))


def _made(summary: Summary) -> Html:
    manifest = summary.run.manifest
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest.versions.items()))
    rows = [
        ("Command", _PASSWORD.sub("//…@", " ".join(manifest.command))),
        ("Directory", str(summary.run.path)),
        (
            "Data",
            " · ".join(filter(None, [manifest.data.path, f"{manifest.data.rows} rows" if manifest.data.rows else ""])),
        ),
        ("Data, SHA-256", manifest.data.sha256),
        ("Seed", "" if manifest.seed is None else str(manifest.seed)),
        ("Settings", summary.settings),
        ("Created", manifest.created),
        ("CluCERT", manifest.clucert_version),
        ("Versions", versions),
    ]
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in rows if value]
    return element("div", element("h3", swatch(summary.index), summary.run.name), element("dl", *pairs, class_="made"))


_PASSWORD = re.compile(r"//[^/@\s]+@")
"""Who signs in to a server by its address has a secret in the command."""


def footer(summaries: Sequence[Summary]) -> Html:
    """Who made this."""
    versions = sorted({s.run.manifest.clucert_version for s in summaries if s.run.manifest.clucert_version})
    made = f"CluCERT {', '.join(versions)}" if versions else "CluCERT"
    return element("footer", element("p", f"{made} · this file loads nothing from anywhere and sends nothing anywhere"))
