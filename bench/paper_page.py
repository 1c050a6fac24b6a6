"""docs/paper.md out of what bench/paper.py has found: every table and sentence from a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper_claims import OWN, PAPER, claims, folded, in_short, table
from paper_text import ASSUMED, ENCODERS, HEAD, READING, SOURCES, WHY

Fields = dict[str, Any]


def _machines(one: Fields) -> list[str]:
    """What its parts were run on."""
    bodies = [body for tasks in one["parts"].values() for body in tasks.values()]
    return sorted({f"{body['machine']} (Python {body['python']})" for body in bodies})


def write(results: Path, page: Path) -> None:
    """The page, of all result files."""
    files = sorted(results.glob("paper-*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    lines = [HEAD, "", *in_short(found), WHY, "", READING, "", *claims(found)]
    for title, part, draw in PARTS:
        held = [(one, task, body) for one in found for task, body in one["parts"].get(part, {}).items()]
        if part == "pools":  # They depend on no model.
            held = list({task: (one, task, body) for one, task, body in reversed(held)}.values())[::-1]
        if held:
            lines += ["", f"## {title}", ""]
        for one, task, body in held:
            lines += [f"**{one['model']}, {task}** ({_how(part, body)})", "", *draw(body["found"], task), ""]
        if part == "grid" and held:
            lines += [ASSUMED]
    lines += ["", "## What was run", ""]
    lines += [f"* {one['model']}: {SOURCES.get(one['model'], '')}{', '.join(_machines(one))}" for one in found]
    lines += ["", ENCODERS]
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


SIZES = {
    "table1": (("N", "samples"), ("N′", "certify")),
    "refine": (("N", "samples"), ("N′", "certify")),
    "filters": (("N", "samples"), ("N′", "certify")),
    "grid": (("samples a row", "grid_samples"),),
}
"""What a part's heading says of its options."""


def _how(part: str, body: Fields) -> str:
    given = [f"{told} = {body['options'][name]}" for told, name in SIZES.get(part, ())]
    return ", ".join([*given, body["date"]])


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
    "τ alone": ("τ = ",),
    "clusters alone": ("largest", "hdbscan"),
    "τ, then clusters": ("both",),
    "confidence": ("confidence",),
    "cosine to what is left": ("cosine",),
}
ALONE = ("confidence", "cosine to what is left")
"""Families that look at one noised text alone."""


def grid(found: Fields, _: str) -> list[str]:
    """The method's own filter, then of each family of filters the best; all of them are in the JSON file."""
    encoders = list(dict.fromkeys(name for noise in found["noises"] for name in noise["correlation"]))
    own, best = [], []
    for noise in found["noises"]:
        none, *others = noise["filters"]
        head = [noise["lexicon"], noise["mask_rate"]]
        mine = next(f for f in others if f["filter"].startswith(f"both: {OWN}"))
        correlations = [number(noise["correlation"].get(name)) for name in encoders]
        own.append([*head, number(none["p_gold"]), *correlations, *_gained(mine)])
        for family, starts in FAMILIES.items():
            if held := [f for f in others if f["filter"].startswith(starts)]:
                top = max(held, key=lambda f: f["gain"][0])
                margin = signed(top["margin_gain"], 3) if family in ALONE else "–"
                best.append([*head, top["filter"].removeprefix("both: "), *_gained(top), margin])
    gained = ("gain in p(gold)", "kept", "up", "down")
    told = [f"correlation, {name}" if len(encoders) > 1 else "correlation" for name in encoders]
    return [
        f"{found['rows']} validation rows. p(gold): the share of votes for the gold label, over the rows; 0 where a "
        f"filter keeps nothing. The method's own filter ({OWN}"
        + (f", {encoders[0]}" if len(encoders) > 1 else "")
        + "):",
        "",
        *table(("lexicon", "mask rate", "p(gold)", *told, *gained), own),
        "",
        "The best filter of each family, picked with the rows in view, so these gains flatter it. *Margin* is what a "
        "proof may use, of a filter that keeps it (`--min-confidence`):",
        "",
        *folded(table(("lexicon", "mask rate", "filter", *gained, "margin"), best), "The table"),
    ]


def _gained(filtered: Fields) -> tuple[str, ...]:
    shares = (f"{filtered[name]:.0%}" for name in ("kept", "raised", "lowered"))
    return (signed(filtered["gain"], 3), *shares)


def table1(found: Fields, task: str) -> list[str]:
    """Table 1, differences, by label, what was tried, and Figure 3."""
    methods = found["methods"]
    rows, more = [], []
    for name, f in methods.items():
        certified = number([f["certacc@1"], f["certacc@1_low"], f["certacc@1_high"]])
        rows.append(
            (
                *(name, f"{f['mask_rate']:g}", number(f["setting"].get("threshold")), number(f["r_avg"])),
                *(number(f["right"]), certified, number(f["proved_word_mean"]), number(f["proved_synonym_mean"])),
                *(number(f["abstained"]), number(f["kept"])),
            )
        )
        more.append(
            (
                *(name, number(f["coe"]), number(f["balanced_accuracy"]), number(f["balanced_certacc@1"])),
                *(number(f["attackable_words"], 1), number(f["radii_at_cap"]), f["per_label"] or "–"),
            )
        )
    title = (
        *("method", "mask rate", "τ", "r_avg, published", "right", "CertAcc(1)"),
        *("r_avg, proved, any word", "proved, words of the pools", "abstained", "kept"),
    )
    title, rows = beside(title, rows, PAPER["table1"].get(task, {}))
    judged = sorted({f["judged"] for f in methods.values()})
    constants = {f["constant_answer"] for f in methods.values() if f["constant_answer"] is not None}
    constant = f" A constant answer is right on {', '.join(map(number, sorted(constants)))}." if constants else ""
    left = f" Not run: {', '.join(found['left'])}." if found.get("left") else ""
    out = [f"{', '.join(map(str, judged))} rows.{constant}{left}", "", *table(title, rows), ""]
    pairs = [
        (name, signed(p["r_avg"]), f"{p['p']:.2g}")
        for name, p in found["pairs"].items()
        if p["r_avg"] and p["p"] is not None
    ]
    if pairs:
        out += [f"Published r_avg less {found['first']}'s, paired by row (p by permutation):", ""]
        out += [*table(("method", "difference", "p"), pairs), ""]
    second = ("method", "Coe", "right, balanced", "CertAcc(1), balanced", "attackable", "at cap", "by label")
    told = [*table(second, more), "", *(f"* {name}: {f['warnings']}" for name, f in methods.items() if f["warnings"])]
    out += [*folded(told, "By label, and more", 0), "", *_tried(methods), ""]
    return [*out, *(f"![{CAPTIONS.get(name, name)}: {task}]({path})" for name, path in found["pictures"].items())]


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
    return folded(table(title, rows), f"Every setting that was tried, on {seen} validation rows", 0)


def _is(point: Fields, setting: Fields) -> bool:
    """Whether a tried point is what the method was run with."""
    return all(setting.get(name) == point[name] for name in ("mask_rate", "threshold") if name in point)


CAPTIONS = {
    "certified-accuracy": "Figure 3, the share that is right and certified by published radius, with 95 % bands",
    "stages": "Seconds by stage",
}


def filters(found: Fields, _: str) -> list[str]:
    """What a filter does to radii, with nothing else changed."""
    rows = [
        (
            *(way, number(f["r_avg"]), "–" if not f["pair"] else signed(f["pair"]["r_avg"])),
            *("–" if not f["pair"] else f"{f['pair']['p']:.2g}", number(f["right"]), number(f["abstained"])),
            *(number(f["kept"]), f"{f['samples']:,}", f"{f['calls']:,}"),
        )
        for way, f in found["ways"].items()
    ]
    title = ("filter", "r_avg, published", "against no filter", "p", "right", "abstained", "kept", "samples", "calls")
    (judged, *_) = (f["judged"] for f in found["ways"].values())
    told = (
        f"{judged} test rows, whole texts, wide pools. The same samples for all, but for *more samples*: there N and "
        "N′ are divided by the share that was kept. What a filter drops is not asked about."
    )
    return [told, "", *table(title, rows)]


def refine(found: Fields, _: str) -> list[str]:
    """Refine, three ways."""
    rows = [
        (
            way,
            number(f["bare_right"]),
            f"{f['lost']} lost, {f['won']} won",
            f"{f['shortened']:.0%}",
            "–" if f["own"] is None else f"{f['own']:.0%}",
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
        "kept by its choice",
        "smoothed right",
        "r_avg",
        "attackable",
    )
    told = (
        f"{found['rows']} rows, L = {found['length']}. *Smoothed* is the method clucert, at the setting chosen for it "
        "under refine by embedding. *Kept by its choice*: of the words that shortened texts keep; where a model's list "
        "is too short, embedding chooses the others."
    )
    return [told, "", *table(title, rows)]


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
    if not any(f["defence"] == "selfdenoise" for f in found["lines"]):
        note += " Not attacked: selfdenoise, of which each vote costs a fill, where the model can fill masks at all."
    told = (
        f"{found['rows']} rows.{note} An attack goes on until the answer on the noise that it sees is another; *on "
        "fresh noise* is the share that other samples confirm. ranmask and clucert are as tuned in Table 1, deletion "
        "and groups as they come; *canonical characters and spelling* is the bare model behind canonical forms."
    )
    return [told, "", *folded(table(title, rows), "The table", 20)]


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
    timed = ", ".join(
        f"{name} {f['samples']:,} samples of each of {len(f['rows'])} rows at mask rate {f['setting']['mask_rate']}"
        for name, f in methods.items()
    )
    told = (
        "For each 1,000 samples, one row at a time, from an empty cache; of equal texts of a round (N, then N′) one is "
        "asked about. Timed: "
        f"{timed}."
    )
    out = [told, "", *table(("", *methods), rows), ""]
    return [*out, *(f"![{CAPTIONS[name]}]({path})" for name, path in found["pictures"].items())]


def speed(found: Fields, _: str) -> list[str]:
    """Backends side by side."""
    rows = [
        (name, *(_spread(f[figure]) for figure in ("label", "alike", "fill")), str(f["at_once"]), _spread(f["cost"], 1))
        for name, f in found["backends"].items()
    ]
    first, second = (f["label"][0] for f in found["backends"].values())
    title = (
        *("backend", "label queries a second", "of one text", "fills of it a second", "fills at once"),
        "label queries a fill costs",
    )
    return [
        f"{found['queries']} label queries, noised copies of four rows; then copies of another row, and fills of it. "
        f"Medians of {found['turns']} turns on texts of their own, with the least and the most. The first asks "
        f"{first / second:.1f} times as many label queries a second as the second.",
        "",
        *table(title, rows),
    ]


def _spread(values: Sequence[float], digits: int = 2) -> str:
    middle, low, high = values
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


PARTS: list[tuple[str, str, Callable[[Fields, str], list[str]]]] = [
    ("Pools", "pools", pools),
    ("Filters: clustering, τ and the noised text alone", "grid", grid),
    ("Table 1 and Figure 3", "table1", table1),
    ("Filters on test rows", "filters", filters),
    ("Refine", "refine", refine),
    ("Table 2: attacks", "table2", table2),
    ("Figure 4: seconds and tokens", "figure4", figure4),
    ("Speed", "speed", speed),
]
