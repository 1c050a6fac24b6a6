"""Charts as SVG elements, for the page and for files: they need no script, print, and are the same for the same run.

Colours are classes of the style sheet (``run0`` … ``run7``), so they follow light, dark and print.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from clucert.report.format import duration
from clucert.report.markup import text
from clucert.report.summary import Bin, Point
from clucert.types import Work

Scale = Callable[[float], float]

COLOURS = 8
MARKERS = 4


@dataclass(frozen=True, slots=True)
class Series:
    """One run's curve: ``points[δ]`` for δ = 0, 1, …; ``index`` picks its colour."""

    name: str
    index: int
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area of a chart ``width`` units wide, in SVG units."""

    width: int
    height: int
    left: int = 46
    right: int = 14
    top: int = 12
    bottom: int = 42

    @property
    def inner(self) -> int:
        """Width between the margins."""
        return self.width - self.left - self.right

    @property
    def base(self) -> int:
        """Where the horizontal axis is."""
        return self.height - self.bottom

    def y(self, share: float) -> float:
        """Height of a share of 1."""
        return self.base - share * (self.base - self.top)


def curves(series: Sequence[Series], width: int, title: str, *, height: int = 300) -> Element:
    """Certified accuracy over the number of changed words, a line for each run and a band for its interval.

    Of several runs each has a panel of its own, with the lines of the others pale behind it: no band lies over another.
    """
    if len(series) < 2:
        frame = Frame(width, height)
        return _svg(frame, title, _panel(frame, series, series))
    beside = max(1, min(len(series), width // PANEL))
    each = Frame(width // beside, 200, top=34)
    whole = Frame(width, each.height * -(-len(series) // beside))
    panels = []
    for i, mine in enumerate(series):
        name = label(each.left, 16, shorten(mine.name, each.inner // 7), kind="title")
        place = {"x": i % beside * each.width, "y": i // beside * each.height}
        size = {"width": each.width, "height": each.height}
        panels.append(shape("svg", name, *_panel(each, [mine], series), **place, **size))
    return _svg(whole, title, panels)


PANEL = 230
"""Least width of one panel."""


def _panel(frame: Frame, mine: Sequence[Series], series: Sequence[Series]) -> list[Element]:
    """The band and line of ``mine`` over the pale lines of the others of ``series``."""
    last = max((len(s.points) - 1 for s in series), default=0)

    def x(delta: float) -> float:
        return frame.left + frame.inner * delta / max(last, 1)

    axes = [*_share_axis(frame), *_count_axis(frame, x, last, "words that may change (δ)")]
    others = [_route(s, x, frame, "behind") for s in series if s not in mine]
    return [*axes, *(_band(s, x, frame) for s in mine), *others, *(_line(s, x, frame) for s in mine)]


def histogram(bins: Sequence[Bin], index: int, width: int, title: str, *, height: int = 170) -> Element:
    """How many inputs have which radius; answers that are wrong are drawn paler, on top."""
    frame = Frame(width, height, left=38)
    tallest = max((b.right + b.wrong for b in bins), default=0) or 1
    slot = frame.inner / max(len(bins), 1)
    every = max(1, -(-len(bins) * 30 // frame.inner))
    parts: list[Element] = list(_number_axis(frame, tallest))
    for i, column in enumerate(bins):
        x = frame.left + i * slot
        thick = min(slot * 0.76, 36)
        parts += _column(column, x + (slot - thick) / 2, thick, tallest, index, frame)
        if i % every == 0:
            parts.append(label(x + slot / 2, frame.base + 16, column.label, "middle"))
    parts.append(label(frame.left + frame.inner / 2, frame.height - 4, "radius in words", "middle", "axis"))
    return _svg(frame, title, parts)


def stage_bars(
    rows: Sequence[tuple[str, Mapping[Work, float]]], stages: Sequence[Work], width: int, title: str
) -> Element:
    """One bar for each run, as long as its seconds, cut into stages."""
    row_height = 46
    frame = Frame(width, len(rows) * row_height + 34, left=4, right=60, top=4, bottom=34)
    longest = max((sum(seconds.values()) for _, seconds in rows), default=0) or 1
    parts: list[Element] = []
    for i, (name, seconds) in enumerate(rows):
        top = frame.top + i * row_height
        parts.append(label(frame.left, top + 13, shorten(name, width // 9), "start"))
        parts += _stage_bar(seconds, stages, longest, top + 20, frame)
    return _svg(
        frame, title, [*parts, label(frame.left, frame.height - 8, "seconds, summed over inputs", "start", "axis")]
    )


def _stage_bar(
    seconds: Mapping[Work, float], stages: Sequence[Work], longest: float, top: float, frame: Frame
) -> Iterable[Element]:
    x = float(frame.left)
    for k, stage in enumerate(stages):
        length = frame.inner * seconds.get(stage, 0.0) / longest
        if length > 0:
            hint = _title(f"{stage}: {seconds[stage]:.1f} s")
            yield shape("rect", hint, x=_n(x), y=_n(top), width=_n(length), height=16, class_=f"stage{k}")
        x += length
    yield label(x + 6, top + 13, duration(sum(seconds.values())), "start")


def interval_bar(point: Point, index: int) -> Element:
    """One share with its interval on a track from 0 to 1."""
    low, high, value = (100 * v for v in (point.low, point.high, point.value))
    colour, middle = f"run{index % COLOURS}", min(max(value - 0.6, 0), 98.8)
    return shape(
        "svg",
        shape("rect", x=0, y=3, width=100, height=2, class_="track"),
        shape("rect", x=_n(low), y=1.5, width=_n(max(high - low, 0.6)), height=5, class_=f"band {colour}"),
        shape("rect", x=_n(middle), y=0, width=1.2, height=8, class_=f"mark {colour}"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="interval",
        aria_hidden="true",
    )


def swatch(index: int) -> Element:
    """The line and marker of a run, for legends and headings."""
    line = shape("path", d="M0 6H24", class_=_line_style(index))
    mark = _marker(12, 6, index)
    size = {"viewBox": "0 0 24 12", "width": 24, "height": 12}
    return shape("svg", line, mark, **size, class_="swatch", aria_hidden="true")


def _svg(frame: Frame, title: str, parts: Iterable[Element]) -> Element:
    size = f"0 0 {frame.width} {frame.height}"
    return shape("svg", *parts, viewBox=size, role="img", aria_label=title, class_="chart")


def _band(series: Series, x: Scale, frame: Frame) -> Element:
    upper = [f"{_n(x(d))} {_n(frame.y(p.high))}" for d, p in enumerate(series.points)]
    lower = [f"{_n(x(d))} {_n(frame.y(p.low))}" for d, p in enumerate(series.points)]
    return shape("path", d=f"M{'L'.join([*upper, *reversed(lower)])}Z", class_=f"band run{series.index % COLOURS}")


def _line(series: Series, x: Scale, frame: Frame) -> Element:
    places = [(x(d), frame.y(p.value)) for d, p in enumerate(series.points)]
    path = _route(series, x, frame, _line_style(series.index))
    dots = []
    for delta, (point, (a, b)) in enumerate(zip(series.points, places, strict=True)):
        hint = (
            f"{series.name}: {100 * point.value:.1f}% at δ = {delta} ({100 * point.low:.1f} to {100 * point.high:.1f}%)"
        )
        dots.append(shape("g", _title(hint), _marker(a, b, series.index)))
    return shape("g", path, *dots)


def _route(series: Series, x: Scale, frame: Frame, style: str) -> Element:
    places = (f"{_n(x(d))} {_n(frame.y(p.value))}" for d, p in enumerate(series.points))
    return shape("path", d="M" + "L".join(places), class_=style)


def _line_style(index: int) -> str:
    return f"line run{index % COLOURS} dash{index // COLOURS % 3}"


def _marker(x: float, y: float, index: int) -> Element:
    """A circle, square, triangle or diamond: runs differ without colour too."""
    classes, form = f"mark run{index % COLOURS}", index % MARKERS
    if form == 0:
        return shape("circle", cx=_n(x), cy=_n(y), r=3.5, class_=classes)
    if form == 1:
        return shape("rect", x=_n(x - 3), y=_n(y - 3), width=6, height=6, class_=classes)
    if form == 2:
        return shape("path", d=f"M{_n(x)} {_n(y - 4)}l4 7h-8Z", class_=classes)
    return shape("path", d=f"M{_n(x)} {_n(y - 4.5)}l4.5 4.5l-4.5 4.5l-4.5 -4.5Z", class_=classes)


def _share_axis(frame: Frame) -> Iterable[Element]:
    for percent in (0, 25, 50, 75, 100):
        y = frame.y(percent / 100)
        yield shape("line", x1=frame.left, x2=frame.width - frame.right, y1=_n(y), y2=_n(y), class_="grid")
        yield label(frame.left - 6, y + 4, f"{percent}%", "end")


def _count_axis(frame: Frame, x: Scale, last: int, name: str) -> Iterable[Element]:
    for tick in range(0, last + 1, _step(last, frame.inner // 34)):
        yield label(x(tick), frame.base + 17, str(tick), "middle")
    yield label(frame.left + frame.inner / 2, frame.height - 4, name, "middle", "axis")


def _number_axis(frame: Frame, tallest: int) -> Iterable[Element]:
    for tick in range(0, tallest + 1, _step(tallest, 4)):
        y = frame.y(tick / tallest)
        yield shape("line", x1=frame.left, x2=frame.width - frame.right, y1=_n(y), y2=_n(y), class_="grid")
        yield label(frame.left - 6, y + 4, str(tick), "end")


def _column(column: Bin, x: float, width: float, tallest: int, index: int, frame: Frame) -> Iterable[Element]:
    lower = frame.y(column.right / tallest)
    upper = frame.y((column.right + column.wrong) / tallest)
    colour = f"run{index % COLOURS}"
    hint = _title(f"{column.label}: {column.right} right, {column.wrong} not")
    for top, bottom, kind in ((lower, frame.base, "bar"), (upper, lower, "bar pale")):
        if bottom - top > 0:
            yield shape(
                "rect", hint, x=_n(x), y=_n(top), width=_n(width), height=_n(bottom - top), class_=f"{kind} {colour}"
            )


def label(x: float, y: float, string: str, anchor: str = "start", kind: str = "tick") -> Element:
    """Words at a place."""
    words = shape("text", x=_n(x), y=_n(y), text_anchor=anchor, class_=kind)
    words.text = text(string)
    return words


def _title(hint: str) -> Element:
    """What is shown while the pointer is over the shape."""
    title = Element("title")
    title.text = text(hint)
    return title


def shape(name: str, /, *children: Element, **attributes: object) -> Element:
    """An SVG element. An attribute's trailing underscore is dropped, inner ones become hyphens: ``text_anchor``."""
    named = {key.rstrip("_").replace("_", "-"): text(value) for key, value in attributes.items()}
    shape = Element(name, named)
    shape.extend(children)
    return shape


def _step(last: int, ticks: int) -> int:
    """A round distance between ticks: 1, 2, 5, 10, …"""
    wanted = max(1.0, last / max(ticks, 1))
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size >= wanted:
                return factor * size
        size *= 10


def shorten(string: str, limit: int) -> str:
    """At most ``limit`` characters."""
    return string if len(string) <= limit else string[: limit - 1] + "…"


def _n(value: float) -> str:
    """A coordinate: two decimals at most, no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
