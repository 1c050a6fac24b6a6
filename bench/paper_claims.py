"""The paper's claims, each beside what bench/paper.py found, with an interval and a verdict in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, t

Fields = dict[str, Any]
PAPER: Fields = json.loads(Path(__file__).with_name("paper_figures.json").read_text(encoding="utf-8"))
"""The paper's own figures, as far as they are known here."""
TIMES_FASTER: float = PAPER["times_faster"]
"""Of the paper, against SelfDenoise."""
LEVEL = 0.05
FEW = 20
"""Of fewer rows nothing is said: methods that get 9 and 5 of 10 right are not told apart."""


def claims(found: Sequence[Fields]) -> list[str]:
    """A table: one line for each claim, model and task of which there is a run."""
    rows = _rows(found)
    if not rows:
        return []
    title = ("the paper claims", "model, task", "ours", "verdict")
    return ["## What holds", "", *folded(table(title, rows), "Every claim, model and task")]


def _rows(found: Sequence[Fields]) -> list[tuple[str, str, str, str]]:
    return [
        (claimed, where, ours, verdict if rows >= FEW else f"too few rows to say ({rows}); so far: {verdict}")
        for claim in (clustering, tighter, faster, attacks, arithmetic, accuracy)
        for claimed, where, ours, verdict, rows in claim(found)
    ]


KINDS = {
    "holds": ("holds",),
    "holds by less": ("faster",),
    "no difference shown": ("no difference", "no loss"),
    "does not hold": ("the reverse", "accuracy is lost"),
    "too few rows": ("too few rows",),
}


def in_short(found: Sequence[Fields]) -> list[str]:
    """One line for each claim: on how many pairs of a model and a task it came out how."""
    rows, lines = _rows(found), []
    for claim in dict.fromkeys(row[0] for row in rows):
        verdicts = [row[3] for row in rows if row[0] == claim]
        counts = [sum(v.startswith(starts) for v in verdicts) for starts in KINDS.values()]
        # Of GSM8K the verdict names the method that came first.
        counts[3] += len(verdicts) - sum(counts)
        lines.append((claim, *(str(count or "–") for count in counts)))
    return ["## In short", "", "Pairs of a model and a task:", "", *table(("the paper claims", *KINDS), lines), ""]


LONG = 12
"""Lines of a table that are shown without being asked for."""


def folded(lines: Sequence[str], what: str) -> list[str]:
    """``lines``, behind a line to click where they are many."""
    if len(lines) <= LONG:
        return list(lines)
    summary = f"<summary>{what} ({len(lines) - 2 * lines[0].startswith('|')} lines)</summary>"
    return ['<details markdown="1">', summary, "", *lines, "", "</details>"]


def table(title: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def parts_of(found: Sequence[Fields], part: str) -> Iterator[tuple[str, str, Fields]]:
    """(model, task, what was found) of one part, over all models."""
    for one in found:
        for task, body in one["parts"].get(part, {}).items():
            yield one["model"], task, body["found"]


Rows = Iterator[tuple[str, str, str, str, int]]
"""The claim, model and task, what we found, the verdict, and on how many rows."""


def _difference(value: Sequence[float | None], p: float, larger: str, smaller: str) -> str:
    middle = value[0] or 0.0
    if p >= LEVEL:
        return f"no difference shown (p = {p:.2g})"
    return f"{larger if middle > 0 else smaller} (p = {p:.2g})"


def _turned(value: Sequence[float | None]) -> list[float | None]:
    """The difference the other way round."""
    middle, low, high = (None if v is None else 0.0 - v for v in value)
    return [middle, high, low]


def _shown(value: Sequence[float | None]) -> str:
    middle, low, high = value
    return f"{middle:+.2f} words" + (", equal on every row" if low is None else f" [{low:+.2f}, {high:+.2f}]")


def clustering(found: Sequence[Fields]) -> Rows:
    """Tighter bounds by clustering."""
    for model, task, body in parts_of(found, "table1"):
        pair = body["pairs"].get("clucert, no clustering")
        if pair and body["first"] == "clucert":
            gain = _turned(pair["r_avg"])
            verdict = _difference(gain, pair["p"], "holds for the published radius", "the reverse")
            proved = [body["methods"][m]["proved_synonym_mean"] for m in ("clucert", "clucert, no clustering")]
            ours = f"published r_avg {_shown(gain)}; proved against synonyms {proved[0]:.2f} and {proved[1]:.2f}"
            yield "clustering gives tighter bounds", f"{model}, {task}", ours, verdict, body.get("rows", FEW)


def tighter(found: Sequence[Fields]) -> Rows:
    """Larger radii than the baselines."""
    for model, task, body in parts_of(found, "table1"):
        for other in ("ranmask", "selfdenoise"):
            pair = body["pairs"].get(other)
            if not pair or body["first"] != "clucert" or task == "gsm8k":
                continue
            gain = _turned(pair["r_avg"])
            mine, theirs = body["methods"]["clucert"], body["methods"][other]
            verdict = _difference(gain, pair["p"], "holds for the published radius", "the reverse")
            if theirs["proved_word_mean"] > mine["proved_word_mean"]:
                verdict += f"; of what is proved against any words, {other} has more"
            if mine["right"][0] < mine["constant_answer"]:
                verdict += "; a constant answer is right on more rows"
            ours = (
                f"published r_avg {_shown(gain)}; proved against any words {mine['proved_word_mean']:.2f} and "
                f"{theirs['proved_word_mean']:.2f}; balanced accuracy {mine['balanced_accuracy']:.2f} and "
                f"{theirs['balanced_accuracy']:.2f}; radii at the cap {mine['radii_at_cap'] or 0:.0%}"
            )
            yield f"larger certified radii than {other}", f"{model}, {task}", ours, verdict, body.get("rows", FEW)


def faster(found: Sequence[Fields]) -> Rows:
    """6.8 times faster: rows are few and times skewed, so a t interval of the logarithms."""
    for model, task, body in parts_of(found, "figure4"):
        methods = body["methods"]
        if "selfdenoise" not in methods:
            continue
        mine, theirs = (methods[name] for name in ("clucert", "selfdenoise"))
        ratios = np.log(theirs["rows"]) - np.log(mine["rows"])
        ratio, half = float(np.exp(ratios.mean())), 0.0
        if len(ratios) > 1:
            half = float(t.ppf(0.975, len(ratios) - 1) * ratios.std(ddof=1) / len(ratios) ** 0.5)
        low, high = ratio / np.exp(half), ratio * np.exp(half)
        ours = (
            f"{ratio:.1f} times [{low:.1f}, {high:.1f}], the geometric mean of {len(ratios)} rows, "
            f"{mine['samples'] // len(ratios):,} samples each"
        )
        verdict = _faster(low, high)
        yield f"{TIMES_FASTER} times faster than SelfDenoise", f"{model}, {task}", ours, verdict, FEW


def _faster(low: float, high: float) -> str:
    if low <= 1 <= high:
        return "no difference shown"
    if high < 1:
        return "the reverse"
    if low >= TIMES_FASTER:
        return "holds"
    return "faster, by less" if high < TIMES_FASTER else f"faster; whether by {TIMES_FASTER} is not shown"


def attacks(found: Sequence[Fields]) -> Rows:
    """Lower attack success than the others."""
    for model, task, body in parts_of(found, "table2"):
        for recipe in dict.fromkeys(line["recipe"] for line in body["lines"]):
            lines = {line["defence"]: line for line in body["lines"] if line["recipe"] == recipe}
            mine = lines.get("clucert")
            others = {
                n: f for n, f in lines.items() if n not in ("clucert", "clucert, no refine") and f["success_rate"]
            }
            if not mine or not mine["success_rate"] or not others:
                continue
            best = min(others, key=lambda name: others[name]["success_rate"]["value"])
            a, b = mine["success_rate"], others[best]["success_rate"]
            shown = [f"{v['value']:.0%} [{v['low']:.0%}, {v['high']:.0%}]" for v in (a, b)]
            ours = f"success {shown[0]}; the least of the others, {best}: {shown[1]}"
            apart = a["high"] < b["low"] or b["high"] < a["low"]
            verdict = "no difference shown" if not apart else "holds" if a["value"] < b["value"] else "the reverse"
            attacked = min(lines[name]["inputs"] - lines[name]["skipped"] for name in ("clucert", best))
            yield f"lowest success of {recipe}", f"{model}, {task}", ours, verdict, attacked


def arithmetic(found: Sequence[Fields]) -> Rows:
    """First on GSM8K."""
    for model, task, body in parts_of(found, "table1"):
        if task != "gsm8k":
            continue
        means = {name: f["r_avg"] for name, f in body["methods"].items() if f["r_avg"]}
        first = max(means, key=lambda name: means[name][0])
        ours = "; ".join(f"{name} {value[0]:.2f}" for name, value in means.items())
        verdict = "holds by the mean" if first == "clucert" else f"{first} has the largest mean"
        yield "first on GSM8K", f"{model}, {task}", f"published r_avg: {ours}", verdict, body.get("rows", FEW)


def accuracy(found: Sequence[Fields]) -> Rows:
    """Accuracy kept under refine."""
    for model, task, body in parts_of(found, "refine"):
        for way, line in body["ways"].items():
            if way == "off":
                continue
            lost, won = line["lost"], line["won"]
            p = binomtest(lost, lost + won).pvalue if lost + won else 1.0
            middle, low, high = line["bare_right"]
            ours = (
                f"bare model right on {middle:.2f} [{low:.2f}, {high:.2f}] of the texts refined to {body['length']} "
                f"words, {body['ways']['off']['bare_right'][0]:.2f} as they are; {lost} lost, {won} won"
            )
            if way == "llm" and line["fell_back"]:
                ours += f"; the model's list was unusable on {line['fell_back']:.0%}"
            verdict = (
                f"no loss shown (McNemar p = {p:.2g})"
                if p >= LEVEL or won >= lost
                else f"accuracy is lost (p = {p:.2g})"
            )
            yield f"accuracy is kept under refine ({way})", f"{model}, {task}", ours, verdict, body.get("rows", FEW)
