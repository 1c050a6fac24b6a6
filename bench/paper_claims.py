"""The paper's claims, each beside what bench/paper.py found, with an interval and a verdict in words.

A verdict is by a test at 5 %, with Holm's correction over the lines of a claim: twenty lines at 5 % each would hold
once by chance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from clucert.evaluate.compare import holm, sign_test

Fields = dict[str, Any]
PAPER: Fields = json.loads(Path(__file__).with_name("paper_figures.json").read_text(encoding="utf-8"))
"""The paper's own figures, as far as they are known here."""
TIMES_FASTER: float = PAPER["times_faster"]
"""Of the paper, against SelfDenoise."""
LEVEL = 0.05
FEW = 20
"""Of fewer rows nothing is said: methods that get 9 and 5 of 10 right are not told apart."""
FEWEST_TIMED = 3
"""Rows that are timed: of fewer there is no interval."""
BASELINES = ("ranmask", "selfdenoise")
OWN, STRICT = "τ = 0.5, then diameter 0.8", "τ = 0.7, then diameter 0.4"
"""The filter of the method clucert, and the one that raised p(gold) most on validation rows."""

HOLDS, LESS, OPEN, FAILS = "holds", "holds by less", "no difference shown", "does not hold"
BELOW, UNKNOWN = "a constant answer wins", "too few rows"
KINDS = (HOLDS, LESS, OPEN, FAILS, BELOW, UNKNOWN)


@dataclass(frozen=True)
class Line:
    """One claim on one model and task: ``p`` of a test and its ``sign`` (> 0 is in the claim's favour), or a kind that
    an interval gave."""

    claim: str
    where: str
    ours: str
    kind: str = OPEN
    p: float | None = None
    sign: float = 0.0
    rows: int = FEW
    needed: int = FEW
    also: str = ""
    useless: tuple[bool, bool] = (False, False)
    """Whether ours, and the other, is no better than a constant answer."""

    @property
    def verdict(self) -> str:
        """In words, the kind first."""
        shown = self.kind + (f" (p = {self.p:.2g})" if self.p is not None else "") + self.also
        return shown if self.kind != UNKNOWN else f"{UNKNOWN} to say ({self.rows}){self.also}"


def lines_of(found: Sequence[Fields]) -> list[Line]:
    """Every claim on every model and task of which there is a run."""
    lines: list[Line] = []
    for claim in (clustering, tighter, faster, attacks, arithmetic, accuracy):
        held = list(claim(found))
        for name in dict.fromkeys(line.claim for line in held):
            lines += _judged([line for line in held if line.claim == name])
    return lines


def _judged(lines: Sequence[Line]) -> list[Line]:
    """The verdicts of one claim: p by Holm's step-down."""
    tested = {i: line.p for i, line in enumerate(lines) if line.p is not None and line.rows >= line.needed}
    found = list(lines)
    for i, p in zip(tested, holm(list(tested.values())), strict=True):
        kind = OPEN if p >= LEVEL else HOLDS if lines[i].sign > 0 else FAILS
        found[i] = replace(lines[i], kind=kind, p=p)
    found = [replace(line, kind=BELOW) if _winner_is_useless(line) else line for line in found]
    return [replace(line, kind=UNKNOWN) if line.rows < line.needed else line for line in found]


def _winner_is_useless(line: Line) -> bool:
    mine, theirs = line.useless
    return (line.kind == HOLDS and mine) or (line.kind == FAILS and theirs)


def claims(found: Sequence[Fields]) -> list[str]:
    """One table a claim: one line for each model and task of which there is a run."""
    lines = lines_of(found)
    if not lines:
        return []
    told = (
        "p is of a paired test, with Holm's correction over the lines of a claim; where none stands, intervals decide."
    )
    out = ["## What holds", "", told, ""]
    for name in dict.fromkeys(line.claim for line in lines):
        rows = [(line.where, line.ours, line.verdict) for line in lines if line.claim == name]
        out += [f"**{name[0].upper()}{name[1:]}**", "", *table(("model, task", "ours", "verdict"), rows), ""]
    return out


def in_short(found: Sequence[Fields]) -> list[str]:
    """One line for each claim: on how many pairs of a model and a task it came out how."""
    lines, rows = lines_of(found), []
    for claim in dict.fromkeys(line.claim for line in lines):
        kinds = [line.kind for line in lines if line.claim == claim]
        rows.append((claim, *(str(kinds.count(kind) or "–") for kind in KINDS)))
    told = "Lines of *What holds*, for most claims one for each pair of a model and a task:"
    return ["## In short", "", told, "", *table(("the paper claims", *KINDS), rows), ""]


LONG = 12
"""Lines of a table that are shown without being asked for."""


def folded(lines: Sequence[str], what: str, longest: int = LONG) -> list[str]:
    """``lines``, behind a line to click where they are many."""
    if len(lines) <= longest:
        return list(lines)
    summary = f"<summary>{what} ({len(lines) - 2 * lines[0].startswith('|')} lines)</summary>"
    return ['<details markdown="1">', summary, "", *lines, "", "</details>"]


def table(title: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(title)} |", "|---" * len(title) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def parts_of(found: Sequence[Fields], part: str) -> Iterator[tuple[str, Fields]]:
    """("model, task", what was found) of one part, over all models."""
    for one in found:
        for task, body in one["parts"].get(part, {}).items():
            yield f"{one['model']}, {task}", body["found"]


def _table1(found: Sequence[Fields], *, arithmetic: bool = False) -> Iterator[tuple[str, Fields]]:
    """Tables 1 in which clucert is the method that the others are paired with, and has radii with an end."""
    for where, body in parts_of(found, "table1"):
        if where.endswith("gsm8k") == arithmetic and body["first"] == "clucert" and body["methods"]["clucert"]["r_avg"]:
            yield where, body


def _gain(body: Fields, other: str) -> tuple[list[float | None], float] | None:
    """How much larger clucert's mean radius is than ``other``'s, with its interval, and p."""
    pair = body["pairs"].get(other)
    if not pair or not pair["r_avg"] or pair["p"] is None:
        return None
    middle, low, high = (None if v is None else 0.0 - v for v in pair["r_avg"])
    return [middle, high, low], pair["p"]


def _shown(value: Sequence[float | None]) -> str:
    middle, low, high = value
    return f"{middle:+.2f} words" + (", equal on every row" if low is None else f" [{low:+.2f}, {high:+.2f}]")


def _rows_of(body: Fields, *methods: str) -> int:
    return min((body["methods"][name].get("judged") or 0) for name in methods)


def _mean(value: float | None) -> str:
    return "without end" if value is None else f"{value:.2f}"


CLUSTERING = "clustering gives tighter bounds"


def clustering(found: Sequence[Fields]) -> Iterator[Line]:
    """Tighter bounds by clustering: against the same without it, and without τ, too."""
    for where, body in _table1(found):
        gains = {name: _gain(body, name) for name in ("clucert, no clustering", "clucert, no filter")}
        if not (gain := gains["clucert, no clustering"]):
            continue
        methods = {"clucert": "clucert", "without clustering": "clucert, no clustering"}
        kept = {told: body["methods"][name]["kept"] for told, name in methods.items()}
        ours = f"published r_avg {_shown(gain[0])}"
        if whole := gains["clucert, no filter"]:
            ours += f"; against no filter at all {_shown(whole[0])}"
        ours += f"; kept {', '.join(f'{told} {share:.0%}' for told, share in kept.items() if share is not None)}"
        rows = _rows_of(body, *methods.values())
        yield Line(CLUSTERING, where, ours, p=gain[1], sign=gain[0][0] or 0.0, rows=rows)
    for where, body in parts_of(found, "filters"):
        for way, line in body["ways"].items():
            if (pair := line["pair"]) and pair["r_avg"] and pair["p"] is not None:
                ours = f"published r_avg {_shown(pair['r_avg'])} against no filter; kept {line['kept']:.0%}"
                told = f"{where}, whole texts, {way}"
                claim = CLUSTERING + (", a stricter filter" if way.startswith(STRICT) else "")
                yield Line(claim, told, ours, p=pair["p"], sign=pair["r_avg"][0] or 0.0, rows=line["judged"])


def tighter(found: Sequence[Fields]) -> Iterator[Line]:
    """Larger radii than the baselines."""
    return _larger(found, "larger certified radii than")


def arithmetic(found: Sequence[Fields]) -> Iterator[Line]:
    """First on GSM8K."""
    return _larger(found, "first on GSM8K, before", arithmetic=True)


def _larger(found: Sequence[Fields], claim: str, *, arithmetic: bool = False) -> Iterator[Line]:
    for where, body in _table1(found, arithmetic=arithmetic):
        for other in BASELINES:
            if gain := _gain(body, other):
                yield _beside(f"{claim} {other}", where, body, other, *gain)


def _beside(claim: str, where: str, body: Fields, other: str, gain: Sequence[float | None], p: float) -> Line:
    mine, theirs = body["methods"]["clucert"], body["methods"][other]
    also = ""
    if (theirs["proved_word_mean"] or 0) > (mine["proved_word_mean"] or 0):
        also += f"; of what is proved against any words, {other} has the larger mean"
    useless = (_no_use(mine, mine["certacc@1"]), _no_use(theirs, theirs["certacc@1"]))
    also += _named_useless("right and certified at one word", other, useless)
    right_p = body["pairs"][other]["right_p"]
    if mine["right"][0] < theirs["right"][0] and right_p < LEVEL:
        also += f"; clucert is right on fewer (p = {right_p:.2g})"
    ours = (
        f"published r_avg {_shown(gain)}, at mask rates {mine['mask_rate']:g} and {theirs['mask_rate']:g}; right: "
        f"clucert {mine['right'][0]:.2f}, {other} {theirs['right'][0]:.2f}; proved against any words: clucert "
        f"{_mean(mine['proved_word_mean'])}, {other} {_mean(theirs['proved_word_mean'])}; clucert's radii at the cap "
        f"{mine['radii_at_cap'] or 0:.0%}"
    )
    rows = _rows_of(body, "clucert", other)
    return Line(claim, where, ours, p=p, sign=gain[0] or 0.0, rows=rows, also=also, useless=useless)


def faster(found: Sequence[Fields]) -> Iterator[Line]:
    """6.8 times faster: rows are few and times skewed, so a t interval of the logarithms."""
    for where, body in parts_of(found, "figure4"):
        if "selfdenoise" not in body["methods"]:
            continue
        mine, theirs = (body["methods"][name] for name in ("clucert", "selfdenoise"))
        both = [name for name in mine["rows"] if name in theirs["rows"]]
        logs = np.array([np.log(theirs["rows"][name] / mine["rows"][name]) for name in both])
        claim = f"{TIMES_FASTER} times faster than SelfDenoise"
        if len(both) < FEWEST_TIMED:
            yield Line(claim, where, "–", rows=len(both), needed=FEWEST_TIMED)
            continue
        half = float(t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5)
        ratio, low, high = (float(np.exp(logs.mean() + side * half)) for side in (0, -1, 1))
        ours = (
            f"{ratio:.1f} times [{low:.1f}, {high:.1f}], the geometric mean of {len(both)} rows, {mine['samples']:,} "
            "samples each"
        )
        yield Line(claim, where, ours, kind=_faster(low, high), rows=len(both), needed=FEWEST_TIMED)


def _faster(low: float, high: float) -> str:
    if low > 1:
        return HOLDS if low >= TIMES_FASTER else LESS
    return FAILS if high < TIMES_FASTER else OPEN


def attacks(found: Sequence[Fields]) -> Iterator[Line]:
    """Lower attack success: which rows are right under attack, of all rows, whoever was right before."""
    for where, body in parts_of(found, "table2"):
        for recipe in dict.fromkeys(line["recipe"] for line in body["lines"]):
            lines = {line["defence"]: line for line in body["lines"] if line["recipe"] == recipe}
            if "clucert" not in lines:
                continue
            mine = lines["clucert"]
            # Those that the paper compares with, where they had as many votes and queries.
            for rival in BASELINES:
                theirs = lines.get(rival)
                if theirs and (theirs["votes"], theirs["most"]) == (mine["votes"], mine["most"]):
                    yield _fewer_attacked(recipe, where, lines, rival)


def _fewer_attacked(recipe: str, where: str, lines: Mapping[str, Mapping[str, Any]], rival: str) -> Line:
    ours = [_attacked(name, lines[name]) for name in ("clucert", rival, "none")]
    new = [name for name in lines if name not in ("none", "clucert", "clucert, no refine", *BASELINES)]
    of_use = [name for name in new if not _no_more_right(lines[name])]
    if of_use:
        best = max(of_use, key=lambda name: lines[name]["balanced"])
        ours.append(f"not of the paper, {_attacked(best, lines[best])}")
    mine, theirs = (set(lines[name]["held"]) for name in ("clucert", rival))
    won, lost = len(mine - theirs), len(theirs - mine)
    rows = min(lines[name]["inputs"] for name in ("clucert", rival))
    useless = (_no_more_right(lines["clucert"]), _no_more_right(lines[rival]))
    also = _named_useless("under attack right", rival, useless)
    claim = f"lower success of {recipe} than with {rival}"
    p = sign_test(won, lost)
    return Line(claim, where, "; ".join(ours), p=p, sign=won - lost, rows=rows, also=also, useless=useless)


def _no_more_right(line: Mapping[str, Any]) -> bool:
    return _no_use(line, line["accuracy_under_attack"]["value"])


def _no_use(figures: Mapping[str, Any], share: float) -> bool:
    return share <= (figures["constant_answer"] or 0)


def _named_useless(what: str, other: str, useless: tuple[bool, bool]) -> str:
    below = [name for name, no_use in zip(("clucert", other), useless, strict=True) if no_use]
    return f"; {what} on no more rows than a constant answer: {', '.join(below)}" if below else ""


def _attacked(name: str, line: Mapping[str, Any]) -> str:
    def shown(value: Mapping[str, float] | None) -> str:
        return "–" if not value else f"{value['value']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"

    told = f"{name}: right under attack {shown(line['accuracy_under_attack'])}, success {shown(line['success_rate'])}"
    return told + (f", on fresh noise {shown(line['confirmed_rate'])}" if line["confirmed_rate"] else "")


def accuracy(found: Sequence[Fields]) -> Iterator[Line]:
    """Accuracy kept under refine: of the bare model. No difference shown is as much as few rows can say for it."""
    for where, body in parts_of(found, "refine"):
        for way, line in body["ways"].items():
            if way == "off":
                continue
            lost, won = line["lost"], line["won"]
            middle, low, high = line["bare_right"]
            ours = (
                f"bare model right on {middle:.2f} [{low:.2f}, {high:.2f}] of the texts refined to {body['length']} "
                f"words, {body['ways']['off']['bare_right'][0]:.2f} as they are; {lost} lost, {won} won"
            )
            if way == "llm" and line["own"] is not None:
                ours += f"; {line['own']:.0%} of the kept words are of its lists, the others embedding chose"
            claim = f"accuracy is kept under refine ({way})"
            yield Line(claim, where, ours, p=sign_test(won, lost), sign=won - lost, rows=body["rows"])
