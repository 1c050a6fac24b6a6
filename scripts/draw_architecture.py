"""Draw docs/architecture.svg: the packages of CluCERT and who imports whom, read from the source.

    python scripts/draw_architecture.py [FILE or -]

A package is a folder of src/clucert or a module beside them. It stands above all that it imports, and an arrow goes to
each; where a way over other packages leads there anyway, the arrow is left out. Imports for types alone count, and so
do those inside functions. Packages that import one another, directly or not, are joined in red.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

SOURCE = Path(__file__).resolve().parents[1] / "src/clucert"
FRONT = ("__init__", "__main__")
"""Modules that only pass names on: not drawn."""

Graph = Mapping[str, set[str]]


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's name: the module that it is in, the module that it names, and where."""

    importer: str
    imported: str
    line: int

    @property
    def inner(self) -> bool:
        """Whether it is a module of CluCERT itself."""
        return self.imported.partition(".")[0] == SOURCE.name


@cache
def modules(source: Path = SOURCE) -> Mapping[str, Path]:
    """Every module by its dotted name."""
    files = {file.relative_to(source.parent).with_suffix(""): file for file in sorted(source.rglob("*.py"))}
    return {".".join(p.parts[:-1] if p.name == "__init__" else p.parts): file for p, file in files.items()}


@cache
def imports(source: Path = SOURCE) -> list[Import]:
    """Every import in every module, wherever it stands in it. ``from package import module`` names the module."""
    known = modules(source)
    return [one for name, file in known.items() for one in _imports(name, file, known)]


def _imports(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[Import]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Import(name, full if full in known else base, node.lineno)


def circles(source: Path = SOURCE) -> list[list[str]]:
    """Groups of modules that import one another, directly or not. A package and a module inside it may."""
    known = modules(source)
    graph: dict[str, set[str]] = {name: set() for name in known}
    for one in imports(source):
        if one.imported in known and not f"{one.imported}.".startswith(f"{one.importer}."):
            graph[one.importer].add(one.imported)
    reached = {name: _reached(graph, name) for name in graph}
    groups = {tuple(sorted({name, *(o for o in reached[name] if name in reached[o])})) for name in graph}
    return sorted(list(group) for group in groups if len(group) > 1)


def _reached(graph: Graph, start: str) -> set[str]:
    """What can be reached from ``start``; ``start`` itself only over a circle."""
    found: set[str] = set()
    left = list(graph[start])
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += graph[name]
    return found


def packages(source: Path = SOURCE) -> dict[str, set[str]]:
    """Each package and those that it imports."""
    graph: dict[str, set[str]] = {}
    for name in modules(source):
        part = name.split(".")[1] if "." in name else "__init__"
        graph.setdefault(part, set())
    for one in imports(source):
        ends = [name.split(".")[1] if "." in name else "__init__" for name in (one.importer, one.imported)]
        if one.inner and ends[0] != ends[1] and not set(ends) & set(FRONT):
            graph[ends[0]].add(ends[1])
    return {name: others for name, others in graph.items() if name not in FRONT}


def shortened(graph: Graph) -> dict[str, set[str]]:
    """Without the arrows that a way over others replaces; arrows into and inside a circle all stay."""
    reached = {name: _reached(graph, name) for name in graph}

    def replaced(name: str, other: str) -> bool:
        ways = (via for via in graph[name] - {other} if name not in reached[via] and via not in reached[other])
        return any(other in reached[via] for via in ways)

    return {name: {other for other in others if not replaced(name, other)} for name, others in graph.items()}


def rows(graph: Graph) -> list[list[str]]:
    """Packages from top to bottom: each below all that import it, as high as that allows; circles share a row."""
    height: dict[str, int] = {}

    def rank(name: str) -> int:
        if name not in height:
            reached = {other: _reached(graph, other) for other in graph}
            circle = {name, *(o for o in reached[name] if name in reached[o])}
            below = {o for member in circle for o in graph[member]} - circle
            level = 1 + max((rank(o) for o in below), default=-1)
            height.update(dict.fromkeys(circle, level))
        return height[name]

    for name in sorted(graph):
        rank(name)
    return [sorted(n for n in graph if height[n] == level) for level in range(max(height.values()), -1, -1)]


WIDE, HIGH, GAP, LANE, DOWN, MARGIN = 118, 30, 32, 22, 84, 20
Item = tuple[str, str, int]
"""What stands in a row: (package, "", row), or the arrow (importer, imported, row) that passes it."""


def draw(graph: Graph) -> str:
    """The picture as SVG."""
    lines = rows(graph)
    arrows = sorted((a, b) for a, others in shortened(graph).items() for b in others)
    level, place = _levels(lines), _placed(lines, arrows)
    left, right = min(place.values()), max(place.values())
    width, height = right - left + WIDE + 2 * MARGIN, DOWN * (len(lines) - 1) + HIGH + 2 * MARGIN
    view = f"{left - WIDE / 2 - MARGIN:g} {-HIGH / 2 - MARGIN:g} {width:g} {height:g}"
    boxes = [_box(name, place[name, "", level[name]], DOWN * level[name]) for name in sorted(graph)]
    drawn = "\n".join([*(_arrow(place, level, a, b) for a, b in arrows), *boxes])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" width="{width:g}" height="{height:g}">
<title>The packages of CluCERT: an arrow goes to what is imported</title>
<style>
rect {{ fill: #fff; stroke: #2b5c9e; stroke-width: 1.5 }} .paper {{ stroke: none }}
text {{ font: 14px Arial, Helvetica, sans-serif; fill: #1d1c1a; text-anchor: middle }}
path {{ fill: none; stroke: #8d8a83 }} .circle {{ stroke: #a5302a; stroke-width: 2 }}
marker path {{ fill: #8d8a83; stroke: none }}
</style>
<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0L8 4L0 8Z"/></marker>
<rect x="{left - WIDE / 2 - MARGIN:g}" y="{-HIGH / 2 - MARGIN:g}" width="{width:g}" height="{height:g}" class="paper"/>
{drawn}
</svg>
"""


def _levels(lines: list[list[str]]) -> dict[str, int]:
    return {name: level for level, line in enumerate(lines) for name in line}


def _placed(lines: list[list[str]], arrows: list[tuple[str, str]]) -> dict[Item, float]:
    """Across, row by row, in the order of where the arrows come from, so that few cross; none passes behind a box."""
    level = _levels(lines)
    place: dict[Item, float] = {}
    for row, line in enumerate(lines):
        above: dict[Item, list[float]] = {(name, "", row): [] for name in line}
        for a, b in arrows:
            if level[a] < row <= level[b]:
                end = (b, "", row) if row == level[b] else (a, b, row)
                start = (a, "", row - 1) if level[a] == row - 1 else (a, b, row - 1)
                above.setdefault(end, []).append(place[start])
        middle = {item: sum(xs) / len(xs) if xs else 0.0 for item, xs in above.items()}
        items = [item for _, item in sorted((at, item) for item, at in middle.items())]
        widths = [LANE if item[1] else WIDE + GAP for item in items]
        x = -sum(widths) / 2
        for item, width in zip(items, widths, strict=True):
            place[item] = x + width / 2
            x += width
    return place


def _arrow(place: Mapping[Item, float], level: Mapping[str, int], start: str, end: str) -> str:
    x, to_x = place[start, "", level[start]], place[end, "", level[end]]
    low = DOWN * level[start] + HIGH / 2
    if level[start] == level[end]:  # a circle: below the boxes
        return f'<path class="circle" d="M{x:g} {low:g}C{x:g} {low + 26:g} {to_x:g} {low + 26:g} {to_x:g} {low:g}"/>'
    ways = [(x, low)]
    for row in range(level[start] + 1, level[end]):
        across = place[start, end, row]
        ways += [(across, DOWN * row - HIGH / 2), (across, DOWN * row + HIGH / 2)]
    ways.append((to_x, DOWN * level[end] - HIGH / 2))
    path = f"M{x:g} {low:g}"
    for (a, b), (c, d) in itertools.pairwise(ways):
        path += f"C{a:g} {(b + d) / 2:g} {c:g} {(b + d) / 2:g} {c:g} {d:g}"
    return f'<path marker-end="url(#tip)" d="{path}"/>'


def _box(name: str, x: float, y: float) -> str:
    box = f'<rect x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}" rx="4"/>'
    return f'{box}<text x="{x:g}" y="{y + 5:g}">{escape(name)}</text>'


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else str(SOURCE.parents[1] / "docs/architecture.svg")
    picture = draw(packages())
    if target == "-":
        sys.stdout.write(picture)
    else:
        Path(target).write_text(picture, encoding="utf-8")
