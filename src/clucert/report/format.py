"""Figures as people read them."""

from __future__ import annotations

from typing import NamedTuple

from clucert.core.certificate import ASSUMPTIONS
from clucert.core.radius import ENDLESS, Kind
from clucert.report.summary import Point, Summary

FILTERS = ("number", "span", "topic")
"""Functions that the page's templates call as filters."""


TITLES: dict[Kind, str] = {
    "published": "Published radius, under the run's assumptions",
    "word": "Proved, any word for any other",
    "synonym": "Proved, words for their listed synonyms",
    "insert": "Proved, inserted anywhere",
    "delete": "Proved, deleted",
    "move": "Proved, moved",
    "edit": "Proved, inserted, deleted or replaced in any mix",
    "append": "Proved, added before and behind",
    "suffix": "Proved, appended",
    "ends": "Proved, text put before and behind",
    "block": "Proved, inserted blocks of any length",
}
"""What a radius is about, as the title of a chart."""
SHORT: dict[Kind, str] = {
    "published": "published",
    "word": "proved, any word",
    "synonym": "proved, synonyms",
    "insert": "proved, inserted",
    "delete": "proved, deleted",
    "move": "proved, moved",
    "edit": "proved, edited",
    "append": "proved, before and behind",
    "suffix": "proved, appended",
    "ends": "proved, text around",
    "block": "proved, blocks inserted",
}
_AGAINST: dict[Kind, str] = {
    "published": "1 changed {}",
    "word": "1 replaced {}",
    "synonym": "1 {} swapped for a listed synonym",
    "insert": "1 inserted {}",
    "delete": "1 deleted {}",
    "move": "1 moved {}",
    "edit": "1 inserted, deleted or replaced {}",
    "append": "1 {} added before or behind",
    "suffix": "1 appended {}",
    "ends": "any number of {}s before and behind",
    "block": "1 inserted block of {}s of any length",
}


def spoken_of(kind: Kind) -> int:
    """At how many changes a row counts as proved where one share stands for the kind.

    One. Of text before and behind any number: what is flagged stays so whatever is put there, what passes only for a
    few words only.
    """
    return ENDLESS if kind == "ends" else 1


def against(kind: Kind, unit: str) -> str:
    """The least change: ``1 inserted word``. What certificates count as tokens are words and marks, not a model's."""
    return _AGAINST[kind].format("word" if unit == "tokens" else unit.removesuffix("s"))


def titled(kind: Kind) -> str:
    """The same as a column's heading: ``Proved, inserted``."""
    return SHORT[kind][0].upper() + SHORT[kind][1:]


class Cell(NamedTuple):
    """A figure in a table: its interval beside it in small type, and the class of its ``td``."""

    value: str
    range: str = ""
    kind: str = ""


def percent(share: float | None, digits: int = 0) -> str:
    """``62%``; an en dash for nothing to divide by. Nothing is rounded to all or to none: ``>99%``, ``<1%``."""
    if share is None:
        return "–"
    step = 10.0**-digits
    written = f"{100 * share:.{digits}f}"
    if share > 0 and float(written) == 0:
        return f"<{step:.{digits}f}%"
    if share < 1 and float(written) == 100:
        return f">{100 - step:.{digits}f}%"
    return f"{written}%"


def span(point: Point) -> str:
    """The interval, for people: ``54–68%``."""
    return f"{100 * point.low:.0f}–{100 * point.high:.0f}%"


def number(value: int) -> str:
    """Thousands kept apart, millions shortened: ``22,000``, ``12.3 M``."""
    return f"{value:,}" if value < 10_000_000 else f"{value / 1e6:,.1f} M"


def money(summary: Summary) -> str:
    """What it cost, or that nobody knows."""
    return "unknown" if summary.money is None else f"$ {summary.money:,.2f}"


def decimal(value: float | None) -> str:
    """Two digits; an en dash for nothing to divide by."""
    return "–" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """For people: ``0.4 s``, ``41 s``, ``12 min``, ``3.5 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def topic(name: str) -> str:
    """``recovery`` of ``recovery: two texts look alike …``."""
    return ASSUMPTIONS[name].partition(":")[0]
