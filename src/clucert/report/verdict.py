"""Runs in one sentence: what holds, for which rows, at what price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from clucert.core.radius import Kind
from clucert.render import calls_in_words
from clucert.report.format import against, percent, spoken_of
from clucert.report.summary import Summary

MOST_KINDS = 3
"""Changes that a sentence names; the table has all."""


def run_verdict(s: Summary) -> str:
    """How many rows are right, how many of them proved against one change of each kind, and what that took."""
    if s.run.inputs and not s.run.done:
        return f"nothing is certified: {_all_failed(len(s.run.inputs))}"
    parts = [*_judged(s), *_unjudged(s)] or ["no row is certified yet"]
    price = calls_in_words(s.usage, s.reused)
    money = "" if s.money is None else f", $ {s.money:,.2f}{' without the cache' if s.reused.calls else ''}"
    return f"{'; '.join(parts)}. It took {price}{money}"


def _all_failed(rows: int) -> str:
    return "the one row failed" if rows == 1 else f"all {rows} rows failed"


def _judged(s: Summary) -> Iterator[str]:
    total = s.denominator
    if not total:
        return
    right = sum(o.correct for o in s.outcomes[s.run.first_kind] if o.scored)
    constant, label = s.standing.constant_share, s.standing.constant_label
    always = f" (always answering {label!r} gets {round((constant or 0) * total)})" if s.standing.labels else ""
    yield f"{right} of {total} rows are answered right{always}"
    held = {k: sum(o.certified_at(spoken_of(k)) for o in s.outcomes[k] if o.scored) for k in _kinds(s)}
    yield _proved(held, s, total)


def _unjudged(s: Summary) -> Iterator[str]:
    rows = [row for row in s.run.done if row.gold is None]
    if not rows:
        return
    held = {
        k: sum(bool(radius and radius.reaches(spoken_of(k))) for radius in (row.radii.get(k) for row in rows))
        for k in _kinds(s)
    }
    which = "1 row has no gold label and is" if len(rows) == 1 else f"{len(rows)} rows have no gold label and are"
    yield f"{which} certified, not judged"
    yield _proved(held, s, len(rows), "")


def _kinds(s: Summary) -> Sequence[Kind]:
    return [kind for kind in s.run.kinds if kind != "published"]


def _proved(held: dict[Kind, int], s: Summary, total: int, also: str = "right and ") -> str:
    if any(held.values()):
        return f"{also}proved: {held_against(held, total, s.run.unit)}"
    claimed = f"; published radii rest on {', '.join(s.assumptions)}" if s.assumptions else ""
    return f"nothing is proved on any of them{claimed}"


def held_against(held: Mapping[Kind, int], total: int, unit: str) -> str:
    """The changes that most of ``total`` rows are proved against: ``8 against 1 inserted word (80%)``; one at least."""
    best = sorted((kind for kind in held if held[kind]), key=lambda kind: -held[kind])[:MOST_KINDS]
    alike: dict[int, list[str]] = {}
    for kind in best:
        alike.setdefault(held[kind], []).append(against(kind, unit))
    shown = [f"{count} against {_listed(changes)} ({percent(count / total)})" for count, changes in alike.items()]
    return ", ".join(shown)


def _listed(changes: Sequence[str]) -> str:
    """The first change, and the others that as many rows are proved against."""
    first, *others = changes
    return f"{first}, as many against {' and '.join(others)}" if others else first
