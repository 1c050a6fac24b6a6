"""Tables of plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def text_table(
    lines: Sequence[Sequence[str]], right: Collection[int] = (), width: int | None = None, keys: int = 1
) -> str:
    """Lines of as many cells each as aligned columns of plain text; columns whose places are in ``right`` end flush.

    Cells take as many columns of the terminal as their characters do: a Chinese character takes two. What is wider than
    ``width`` goes on below, beside the first ``keys`` columns again, so that no cell is broken.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]

    def padded(place: int, cell: str) -> str:
        space = " " * (widths[place] - cell_len(cell))
        return space + cell if place in right else cell + space

    return "\n\n".join(
        "\n".join("  ".join(padded(place, line[place]) for place in part).rstrip() for line in lines)
        for part in _parts(widths, width, keys)
    )


def _parts(widths: Sequence[int], width: int | None, keys: int) -> list[list[int]]:
    """The columns that stand beside each other in ``width``; the first ``keys`` of them in every part."""
    if not widths:
        return []
    named = list(range(min(keys, len(widths))))
    first = sum(widths[place] + 2 for place in named) - 2
    parts, taken = [[*named]], first
    for place in range(len(named), len(widths)):
        if width is not None and len(parts[-1]) > len(named) and taken + 2 + widths[place] > width:
            parts.append([*named])
            taken = first
        parts[-1].append(place)
        taken += 2 + widths[place]
    return parts
