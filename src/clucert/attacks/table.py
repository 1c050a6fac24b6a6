"""The table of an attack run: what the defences were worth against each recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from clucert.attacks.base import AttackResult
from clucert.attacks.suffix import SUFFIX
from clucert.core.noise.retention import rng_for
from clucert.evaluate.metrics import Estimate, bootstrap_mean, proportion
from clucert.render import safe
from clucert.text_table import text_table

LEVEL = 0.95
MOST_LABELS = 20
"""More gold labels than this are open answers, of which each is hardly met twice."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """One input under one recipe and one defence. ``result`` is None when a call failed for good."""

    recipe: str
    defence: str
    id: str
    result: AttackResult | None
    confirmed: bool | None = None
    """Of a success: whether the answer differs on noise that the attacker has not seen; None without noise."""


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One line of the table. Shares have Clopper-Pearson intervals, means BCa bootstrap intervals, at 95 %.

    As TextAttack counts: inputs that the victim gets wrong are skipped, and the success rate, the queries and the words
    changed are about the others; words changed about successes only.
    """

    recipe: str
    defence: str
    inputs: int
    failed: int
    """Left out everywhere: a call failed."""
    skipped: int
    successes: int
    exhausted: int
    """Attacks that the budget ended without success."""
    clean_accuracy: Estimate | None
    success_rate: Estimate | None
    accuracy_under_attack: Estimate | None
    queries: Estimate | None
    words_changed: Estimate | None
    confirmed_rate: Estimate | None
    """Success rate counting only texts that also flip the victim on fresh noise; None where nothing is random."""
    asr: Estimate | None = None
    """Attacked prompts answered wrongly / all of them, whatever the answer was before: the attack success rate of GCG
    and SmoothLLM. Of the recipe ``suffix`` only, which attacks inputs that were wrong before, too."""
    unattacked_right: Estimate | None = None
    """Right answers to rows that are not attacked (safe prompts): what refusing everything would cost."""
    by_label: Mapping[str, float] | None = None
    """Accuracy under attack of the inputs of each gold label; None where answers are open."""
    balanced: float | None = None
    """Mean over the labels of that."""
    constant_answer: float | None = None
    """What answering the commonest gold label to everything gets right, under every attack."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def attack_rows(attacked: Iterable[Attacked]) -> list[AttackRow]:
    """A row for each recipe and defence, in the order in which they are first met."""
    groups: dict[tuple[str, str], list[Attacked]] = {}
    for one in attacked:
        groups.setdefault((one.recipe, one.defence), []).append(one)
    return [_row(recipe, defence, group) for (recipe, defence), group in groups.items()]


def _row(recipe: str, defence: str, group: Sequence[Attacked]) -> AttackRow:
    rest = [one.result for one in group if one.result is not None and one.result.status == "unattacked"]
    group = [one for one in group if one.result is None or one.result.status != "unattacked"]
    done = [(one, one.result) for one in group if one.result is not None]
    live = [(one, result) for one, result in done if result.status != "skipped"]
    won = [(one, result) for one, result in live if result.status == "success"]
    random = any(one.confirmed is not None for one, _ in won)
    by_label, constant = _by_label([result for _, result in done])
    return AttackRow(
        recipe=recipe,
        defence=defence,
        inputs=len(group),
        failed=len(group) - len(done),
        skipped=len(done) - len(live),
        successes=len(won),
        exhausted=sum(result.exhausted for _, result in live),
        clean_accuracy=_share(len(live), len(done)),
        success_rate=_share(len(won), len(live)),
        accuracy_under_attack=_share(len(live) - len(won), len(done)),
        queries=_mean([result.queries for _, result in live]),
        words_changed=_mean([result.words_changed for _, result in won]),
        confirmed_rate=_share(sum(bool(one.confirmed) for one, _ in won), len(live)) if random else None,
        asr=_share(sum(r.after != r.gold for _, r in done), len(done)) if recipe == SUFFIX else None,
        unattacked_right=_share(sum(r.before == r.gold for r in rest), len(rest)),
        by_label=by_label,
        balanced=fmean(by_label.values()) if by_label else None,
        constant_answer=constant,
    )


def _by_label(results: Sequence[AttackResult]) -> tuple[Mapping[str, float] | None, float | None]:
    """Accuracy under attack by gold label, and what a constant answer gets."""
    golds = Counter(result.gold for result in results)
    if not golds:
        return None, None
    held = Counter(result.gold for result in results if result.status == "failure")
    shares = {gold: held[gold] / count for gold, count in sorted(golds.items())}
    return (shares if len(golds) <= MOST_LABELS else None), max(golds.values()) / len(results)


def _share(hits: int, total: int) -> Estimate | None:
    return proportion(hits, total, LEVEL) if total else None


def _mean(values: Sequence[int]) -> Estimate | None:
    if not values:
        return None
    return bootstrap_mean(np.array(values, dtype=np.float64), rng_for(0, "attack table", "bootstrap"), LEVEL)


_COLUMNS: Mapping[str, str] = {
    "recipe": "recipe",
    "defence": "defence",
    "clean_accuracy": "clean accuracy",
    "success_rate": "attack success",
    "confirmed_rate": "on fresh noise",
    "accuracy_under_attack": "acc. under attack",
    "balanced": "balanced",
    "constant_answer": "constant answer",
    "queries": "queries",
    "words_changed": "words changed",
}
_SUFFIX_COLUMNS: Mapping[str, str] = {"asr": "ASR", "unattacked_right": "unattacked right"}
"""Shown where there is something to show."""


def verdict_of(rows: Sequence[AttackRow]) -> str:
    """For each recipe, one sentence: how many right answers each defence lets it turn, and for how many queries."""
    said = []
    for recipe in dict.fromkeys(row.recipe for row in rows):
        mine = [row for row in rows if row.recipe == recipe]
        said.append(f"{recipe} turns {', '.join(map(_turned, mine))}")
    return ". ".join(said) or "nothing was attacked"


def _turned(row: AttackRow) -> str:
    defence = "the bare model" if row.defence == "none" else row.defence
    live = row.inputs - row.failed - row.skipped
    if not live:
        return f"nothing of {defence}: it had no right answer to turn"
    asked = f" ({row.queries.value:.0f} queries each)" if row.queries else ""
    return f"{row.successes} of {live} right answers of {defence}{asked}"


def render_rows(rows: Sequence[AttackRow], width: int | None = None) -> str:
    """The table as text."""
    return text_table(cells_of(rows), width=width, keys=2)


def cells_of(rows: Sequence[AttackRow]) -> list[list[str]]:
    """The titles, and a line for each row: each value with its 95 % interval, and how many inputs it is about."""
    more = {name: title for name, title in _SUFFIX_COLUMNS.items() if any(getattr(r, name) is not None for r in rows)}
    columns = {**_COLUMNS, **more}
    lines = [[*columns.values(), "acc. under attack by label", "attacked / inputs"]]
    for row in rows:
        cells = [cell(getattr(row, name), share=name not in ("queries", "words_changed")) for name in columns]
        note = f", {row.exhausted} out of budget" if row.exhausted else ""
        note += f", {row.failed} failed" if row.failed else ""
        labels = ", ".join(f"{safe(label, 40).plain} {share:.0%}" for label, share in (row.by_label or {}).items())
        lines.append([*cells, labels or "–", f"{row.inputs - row.failed - row.skipped} / {row.inputs}{note}"])
    return lines


def cell(value: str | float | Estimate | None, *, share: bool) -> str:
    """A value with its interval, a ``share`` in percent; a dash where there is none."""
    if value is None or isinstance(value, str):
        return value or "–"
    if isinstance(value, float):
        return f"{100 * value:.0f} %"
    scale, unit, digits = (100, " %", 0) if share else (1, "", 1)
    middle = f"{value.value * scale:.{digits}f}{unit}"
    if value.low is None or value.high is None:
        return middle
    return f"{middle} [{value.low * scale:.{digits}f}, {value.high * scale:.{digits}f}]"
