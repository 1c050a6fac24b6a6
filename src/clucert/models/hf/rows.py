"""What is computed of one query after its shared prefix: its own tokens, and the branches its labels take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clucert.models.labels import Tokens

LENGTH_MULTIPLE = 8


@dataclass(frozen=True, slots=True)
class TokenTree:
    """A tree of tokens behind a prefix. Token i follows token ``parents[i]``, which is before it; -1 is the prefix.

    The trunk is the query's text; the branches are prefixes of labels, none of which attends to another.
    """

    tokens: Tokens
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    """Position behind the prefix, from 0."""
    reads: tuple[int, ...]
    """The tokens whose next-token distribution is wanted."""

    def __len__(self) -> int:
        return len(self.tokens)

    def visible(self) -> NDArray[np.bool_]:
        """``[i, j]``: token i attends to token j, which is i itself or one of its ancestors."""
        n = len(self)
        if self.parents == tuple(range(-1, n - 1)):
            return np.tril(np.ones((n, n), dtype=np.bool_))
        seen = np.eye(n, dtype=np.bool_)
        for i, parent in enumerate(self.parents):
            if parent >= 0:
                seen[i] |= seen[parent]
        return seen

    def path(self, index: int) -> Tokens:
        """The tokens from the prefix to token ``index``, itself included."""
        reverse: list[int] = []
        while index >= 0:
            reverse.append(self.tokens[index])
            index = self.parents[index]
        return tuple(reversed(reverse))


def grow(trunk: Tokens, nodes: Sequence[Tokens] = ((),)) -> TokenTree:
    """The row that reads the distribution after ``trunk + node`` for each of ``nodes``.

    ``nodes`` start with the empty one and hold every start of each of theirs, shorter ones first.
    """
    tokens, parents, reads = list(trunk), list(range(-1, len(trunk) - 1)), [len(trunk) - 1]
    depths = list(range(len(trunk)))
    place: dict[Tokens, int] = {(): len(trunk) - 1}
    for node in nodes[1:]:
        place[node] = len(tokens)
        tokens.append(node[-1])
        parents.append(place[node[:-1]])
        depths.append(len(trunk) + len(node) - 1)
        reads.append(place[node])
    return TokenTree(tuple(tokens), tuple(parents), tuple(depths), tuple(reads))


def round_up(number: int, multiple: int) -> int:
    """The least multiple of ``multiple`` that is no less than ``number``."""
    return -(-number // multiple) * multiple


def padded_length(tokens: int) -> int:
    """The length that a row of ``tokens`` is padded to: a function of the row alone."""
    return round_up(tokens, LENGTH_MULTIPLE)


@dataclass(frozen=True, slots=True)
class Merged:
    """The tokens of many rows, those that rows begin with alike held once."""

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    places: tuple[tuple[int, ...], ...]
    """For each row, where its tokens are in ``tokens``."""


def merge(rows: Sequence[TokenTree]) -> Merged:
    """Store every common prefix of rows of one padded length once.

    What a model computes at a token depends on the tokens before it, to the last bit also on where they lie in the row
    and on the padded length. Tokens are held as one only where all of these agree, so a row's numbers are the same
    whatever it is merged with.
    """
    found: dict[tuple[int, int, int, int], int] = {}
    depths: list[int] = []
    places: list[tuple[int, ...]] = []
    for row in rows:
        length = padded_length(len(row))
        own: list[int] = []
        for slot, (token, parent, depth) in enumerate(zip(row.tokens, row.parents, row.depths, strict=True)):
            key = (length, own[parent] if parent >= 0 else -1, slot, token)
            place = found.setdefault(key, len(found))
            if place == len(depths):
                depths.append(depth)
            own.append(place)
        places.append(tuple(own))
    return Merged(tuple(token for *_, token in found), tuple(depths), tuple(places))
