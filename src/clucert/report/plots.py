"""The page's charts as files for papers and slides: SVG, and PNG or PDF with the ``plot`` extra."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, tostring

from clucert.errors import MissingExtraError, UsageError
from clucert.report import sections
from clucert.report.charts import label, shape, shorten, swatch
from clucert.report.markup import packaged
from clucert.report.summary import STAGES, Summary

FORMATS = ("png", "svg", "pdf")
GAP = 24
"""Between two charts, in SVG units."""

TITLE_CHARACTER = 6.8
"""Width of a bold letter of a title, in SVG units, on average."""

Item = tuple[str, Element]
"""A chart and its title, or a key and its name."""


def write(summaries: Sequence[Summary], folder: Path, formats: Iterable[str] = ("png",)) -> list[Path]:
    """Write ``certified-accuracy``, ``radii`` and ``stages`` into ``folder``; returns the files.

    The same runs give the same bytes of SVG and PNG; in a PDF the order of its entries differs. Raises
    :class:`MissingExtraError` for png and pdf without their converter and :class:`UsageError` for an unknown format.
    """
    encoders = {form: _encoder(form) for form in formats}
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for name, draw in (("certified-accuracy", curves), ("radii", radii), ("stages", stages)):
        svg = tostring(draw(summaries), encoding="utf-8", xml_declaration=True)
        for form, encode in encoders.items():
            files.append(folder / f"{name}.{form}")
            files[-1].write_bytes(encode(svg))
    return files


def _encoder(form: str) -> Callable[[bytes], bytes]:
    if form not in FORMATS:
        raise UsageError(f"plots are written as {', '.join(FORMATS)}, not {form!r}")
    if form == "svg":
        return bytes
    try:
        import vl_convert
    except ImportError:
        raise MissingExtraError("vl-convert-python (plots as PNG and PDF)", "pip install 'clucert[plot]'") from None
    if form == "pdf":
        return lambda svg: bytes(vl_convert.svg_to_pdf(svg.decode()))
    return lambda svg: bytes(vl_convert.svg_to_png(svg.decode(), scale=2))


def curves(summaries: Sequence[Summary]) -> Element:
    """Certified accuracy over δ with 95 % bands, one chart for each kind of radius."""
    first, *others = sections.curves(summaries)
    small = [(figure.title, figure.draw(width=420)) for figure in others]
    return _sheet([[(first.title, first.draw(width=720))], small, *([_run(s)] for s in summaries)])


def radii(summaries: Sequence[Summary]) -> Element:
    """Radius histograms: a row for each run, a column for each kind; pale where the answer is wrong."""
    rows: list[Sequence[Item]] = []
    for s in summaries:
        rows += [[_run(s)], [(figure.title, figure.draw(width=330)) for figure in sections.histograms(s)]]
    return _sheet(rows)


def stages(summaries: Sequence[Summary]) -> Element:
    """Seconds by stage (the paper's Figure 4), summed over the inputs."""
    figure = sections.times(summaries)
    keys = [(stage, shape("rect", x=0, y=0, width=12, height=12, class_=f"stage{k}")) for k, stage in enumerate(STAGES)]
    return _sheet([[(figure.title, figure.draw(width=960))], *([key] for key in keys)])


def _run(s: Summary) -> Item:
    return s.run.name, swatch(s.index)


def _sheet(rows: Iterable[Sequence[Item]]) -> Element:
    """Rows of charts and of keys, on white, with the light colours of the page."""
    parts: list[Element] = []
    y, right = GAP, 0
    for row in rows:
        x, below = GAP, y
        for title, picture in row:
            if picture.get("class") == "chart":
                width, height = map(int, picture.attrib["viewBox"].split()[2:])
                # A title must not run into that of the next chart.
                told = shorten(title, int(width / TITLE_CHARACTER))
                parts += [label(x, y + 12, told, kind="title"), _placed(picture, x, y + 20, width, height)]
                x, below = x + width + GAP, y + 20 + height + GAP
            else:
                parts += [_placed(shape("svg", picture), x, y, 24, 12), label(x + 32, y + 10, shorten(title, 110))]
                below = y + 20
        y, right = below, max(right, x)
    style, paper = Element("style"), shape("rect", width=right, height=y + 4, fill="#fff")
    style.text = _style()
    size = {"viewBox": f"0 0 {right} {y + 4}", "width": right, "height": y + 4}
    return shape("svg", style, paper, *parts, xmlns="http://www.w3.org/2000/svg", **size)


def _placed(chart: Element, x: int, y: int, width: int, height: int) -> Element:
    chart.attrib |= {"x": str(x), "y": str(y), "width": str(width), "height": str(height)}
    return chart


def _style() -> str:
    """The page's light colours without variables, which programs other than browsers do not know."""
    light = packaged("style.css").partition("}")[0]
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", light))
    runs = "".join(
        f".{name} {{ fill: {colour} }} .line.{name} {{ fill: none; stroke: {colour} }}\n"
        for name, colour in colours.items()
        if name.startswith(("run", "stage"))
    )
    return f"""
text {{ font: 12px Arial, Helvetica, sans-serif; fill: {colours["quiet"]} }}
.title {{ font-weight: bold; fill: {colours["ink"]} }}
.grid {{ stroke: {colours["grid"]} }}
{runs}.line {{ stroke-width: 2; stroke-linejoin: round }}
.dash1 {{ stroke-dasharray: 7 4 }} .dash2 {{ stroke-dasharray: 2 4 }}
.behind {{ fill: none; stroke: {colours["quiet"]}; opacity: 0.35 }}
.band {{ opacity: 0.16 }} .pale {{ opacity: 0.35 }}
"""
