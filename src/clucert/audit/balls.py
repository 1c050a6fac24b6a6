"""How far a text is from another, by threat: the fewest operations that an attacker needs. What is inside a ball.

An audit calls a claim broken only for a text that this module finds inside its ball, whatever made the text. Texts are
sequences of *pieces* (tokens, sentences, passages, turns), as the noise cuts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clucert.core.noise.groups import Chunks, Each

Pieces = tuple[str, ...]
Distance = Callable[[Pieces, Pieces], int | None]
"""The fewest operations that make the second of the first; None where none do."""

SHIFT = "shift"
"""Inserted, deleted or moved, in any mix: what :class:`clucert.core.noise.groups.Groups` says in one line."""
MOST_STATES = 100_000
"""Of one search for a mix of moves and replacements; a text that needs more is taken to be outside."""


@dataclass(frozen=True, slots=True)
class Ball:
    """The texts that a threat reaches with up to so many operations."""

    name: str

    def distance(self, x: Pieces, y: Pieces, most: int) -> int | None:
        """The fewest operations of the threat that make ``y`` of ``x``; None where it takes more than ``most``.

        Exact, but for mixes of replaced and moved pieces that take more than ``MOST_STATES``: those are None.
        """
        if self.name == "edit or move":
            return edited_or_moved(x, y, most)
        found = DISTANCES[self.name](x, y)
        return None if found is None or found > most else found

    @property
    def operations(self) -> tuple[str, ...]:
        """What an attacker may do to one piece, or with a block of them."""
        return OPERATIONS[self.name]


def ball_of(noise: object, threat: str) -> Ball:
    """The ball that a radius of ``noise`` for ``threat`` speaks of."""
    if isinstance(noise, Each):
        return Ball(f"{threat}, any order")
    if threat == "edit" and not isinstance(noise, Chunks):
        return Ball("edit or move")
    return Ball({"word": "replace", "append": "ends"}.get(threat, threat))


def inserted(x: Pieces, y: Pieces) -> int | None:
    """Pieces inserted anywhere."""
    rest = iter(y)
    return len(y) - len(x) if all(piece in rest for piece in x) else None


def deleted(x: Pieces, y: Pieces) -> int | None:
    """Pieces deleted."""
    return inserted(y, x)


def replaced(x: Pieces, y: Pieces) -> int | None:
    """Pieces replaced, one for one."""
    return sum(a != b for a, b in zip(x, y, strict=True)) if len(x) == len(y) else None


def moved(x: Pieces, y: Pieces) -> int | None:
    """Pieces moved: each move leaves all but one of those that keep their order."""
    return len(x) - common(x, y) if Counter(x) == Counter(y) else None


def shifted(x: Pieces, y: Pieces) -> int:
    """Pieces inserted, deleted or moved: with l in common by order and c by kind, c − l of the rest are moves."""
    return len(x) + len(y) - _shared(x, y) - common(x, y)


def edited(x: Pieces, y: Pieces) -> int:
    """Pieces inserted, deleted or replaced (Levenshtein)."""
    x, y = _trimmed(x, y)
    row = list(range(len(y) + 1))
    for i, a in enumerate(x, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(y, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def edited_or_moved(x: Pieces, y: Pieces, most: int) -> int | None:
    """Pieces inserted, deleted, replaced or moved, in any mix; None for more than ``most``.

    At least ``max(n, n′) − l`` (each operation costs the common subsequence one piece of either text), and at most the
    distances without moves or without replacements. Between them it is searched for.
    """
    x, y = _trimmed(x, y)
    least, enough = max(len(x), len(y)) - common(x, y), min(edited(x, y), shifted(x, y))
    for r in range(least, min(enough, most + 1)):
        if _reached(x, y, r):
            return r
    return enough if enough <= most else None


Surplus = tuple[tuple[str, int], ...]
"""How often a piece was taken out more than it was put in."""
_State = tuple[int, int, int, int, Surplus]


def _reached(x: Pieces, y: Pieces, most: int) -> bool:
    """Whether ``most`` operations make y of x.

    Pieces of x are kept, replaced or taken out, those of y kept, replacements or put in; what is taken out and put in
    again is one move. Equal heads are kept: any way that does not can be turned into one that does, at no cost.
    """
    edge: list[_State] = [(0, 0, 0, 0, ())]
    seen = set(edge)
    while edge:
        i, j, swaps, out, surplus = edge.pop()
        while i < len(x) and j < len(y) and x[i] == y[j]:
            i, j = i + 1, j + 1
        put = out - (i - j)
        if i == len(x) and j == len(y):
            # Σ |surplus| is what was taken out and not put in again, or the other way round.
            if swaps + (out + put + sum(abs(count) for _, count in surplus)) // 2 <= most:
                return True
            continue
        options: list[_State] = []
        if i < len(x) and swaps + max(out + 1, put) <= most:
            options.append((i + 1, j, swaps, out + 1, _counted(surplus, x[i], 1)))
        if j < len(y) and swaps + max(out, put + 1) <= most:
            options.append((i, j + 1, swaps, out, _counted(surplus, y[j], -1)))
        if i < len(x) and j < len(y) and swaps + 1 + max(out, put) <= most:
            options.append((i + 1, j + 1, swaps + 1, out, surplus))
        edge += [state for state in options if state not in seen]
        seen.update(options)
        if len(seen) > MOST_STATES:
            return False
    return False


def _counted(surplus: Surplus, piece: str, by: int) -> Surplus:
    counts = dict(surplus)
    counts[piece] = counts.get(piece, 0) + by
    return tuple(sorted((each, count) for each, count in counts.items() if count))


def in_blocks(x: Pieces, y: Pieces) -> int | None:
    """Blocks of any length inserted anywhere."""
    if inserted(x, y) is None:
        return None
    never = len(y) + 1
    # By how many pieces of x have been passed: blocks so far, outside a block and inside one.
    outside, inside = [0] + [never] * len(x), [never] * (len(x) + 1)
    for piece in y:
        within = [min(a + 1, b) for a, b in zip(outside, inside, strict=True)]
        passed = [never] + [min(outside[i], inside[i]) if piece == x[i] else never for i in range(len(x))]
        outside, inside = passed, within
    return min(outside[-1], inside[-1])


def around(x: Pieces, y: Pieces) -> int | None:
    """Pieces before and behind."""
    within = any(y[i : i + len(x)] == x for i in range(len(y) - len(x) + 1))
    return len(y) - len(x) if within else None


def appended(x: Pieces, y: Pieces) -> int | None:
    """Pieces behind."""
    return len(y) - len(x) if y[: len(x)] == x else None


def common(x: Sequence[str], y: Sequence[str]) -> int:
    """The length of a longest common subsequence."""
    row = [0] * (len(y) + 1)
    for a in x:
        last = 0
        for j, b in enumerate(y, 1):
            last, row[j] = row[j], last + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


def changes(x: Pieces, y: Pieces) -> tuple[tuple[str, str], ...]:
    """(what stood there, what stands there now) for each place where they differ; "" where nothing does."""
    from difflib import SequenceMatcher

    found = SequenceMatcher(None, x, y, autojunk=False).get_opcodes()
    return tuple((" ".join(x[a:b]), " ".join(y[c:d])) for tag, a, b, c, d in found if tag != "equal")


def _shared(x: Pieces, y: Pieces) -> int:
    """Pieces that both have, in whatever order."""
    return (Counter(x) & Counter(y)).total()


def _trimmed(x: Pieces, y: Pieces) -> tuple[Pieces, Pieces]:
    """Without what both begin and end with, which no shortest way changes."""
    shorter = min(len(x), len(y))
    start = next((i for i in range(shorter) if x[i] != y[i]), shorter)
    x, y = x[start:], y[start:]
    shorter -= start
    end = next((i for i in range(shorter) if x[-1 - i] != y[-1 - i]), shorter)
    return x[: len(x) - end], y[: len(y) - end]


def _bag_inserted(x: Pieces, y: Pieces) -> int | None:
    return len(y) - len(x) if _shared(x, y) == len(x) else None


def _bag_deleted(x: Pieces, y: Pieces) -> int | None:
    return _bag_inserted(y, x)


def _bag_replaced(x: Pieces, y: Pieces) -> int | None:
    return len(x) - _shared(x, y) if len(x) == len(y) else None


def _bag_edited(x: Pieces, y: Pieces) -> int:
    return max(len(x), len(y)) - _shared(x, y)


DISTANCES: Mapping[str, Distance] = {
    "insert": inserted,
    "delete": deleted,
    "replace": replaced,
    "move": moved,
    SHIFT: shifted,
    "edit": edited,
    "block": in_blocks,
    "ends": around,
    "suffix": appended,
    "insert, any order": _bag_inserted,
    "delete, any order": _bag_deleted,
    "replace, any order": _bag_replaced,
    "edit, any order": _bag_edited,
}
"""By the name of a ball; ``edit or move`` is :func:`edited_or_moved`."""

_EDITS = ("replace", "insert", "delete")
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("insert", "delete", "replace", "move", "block", "ends", "suffix")},
    SHIFT: ("insert", "delete", "move"),
    "edit": _EDITS,
    "edit or move": (*_EDITS, "move"),
    **{f"{name}, any order": (name,) for name in _EDITS},
    "edit, any order": _EDITS,
}
