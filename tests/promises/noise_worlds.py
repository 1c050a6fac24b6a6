"""Small worlds for the brute force of noises: every text in a ball, and the worst of *all* classifiers, exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations, product
from math import comb, prod

Text = tuple[str, ...]


def texts(vocabulary: Iterable[str], longest: int, shortest: int = 0) -> Iterator[Text]:
    for n in range(shortest, longest + 1):
        yield from product(tuple(vocabulary), repeat=n)


def inserted(x: Text, vocabulary: Iterable[str]) -> Iterator[Text]:
    for i, word in product(range(len(x) + 1), vocabulary):
        yield (*x[:i], word, *x[i:])


def deleted(x: Text, _: Iterable[str] = ()) -> Iterator[Text]:
    for i in range(len(x)):
        yield x[:i] + x[i + 1 :]


def replaced(x: Text, vocabulary: Iterable[str]) -> Iterator[Text]:
    for i, word in product(range(len(x)), vocabulary):
        yield (*x[:i], word, *x[i + 1 :])


def moved(x: Text, _: Iterable[str] = ()) -> Iterator[Text]:
    for i in range(len(x)):
        yield from inserted(x[:i] + x[i + 1 :], (x[i],))


OPERATIONS = {"insert": (inserted,), "delete": (deleted,), "replace": (replaced,), "move": (moved,)}
OPERATIONS["edit"] = (inserted, deleted, replaced, moved)


def ball(x: Text, threat: str, r: int, vocabulary: Iterable[str]) -> set[Text]:
    """Every text that at most r operations of the threat lead to."""
    words = tuple(vocabulary)
    seen, edge = {x}, {x}
    for _ in range(r):
        edge = {y for z in edge for step in OPERATIONS[threat] for y in step(z, words)} - seen
        seen |= edge
    return seen


@cache
def common(x: Text, y: Text) -> int:
    """The length of a longest common subsequence."""
    if not x or not y:
        return 0
    if x[-1] == y[-1]:
        return 1 + common(x[:-1], y[:-1])
    return max(common(x[:-1], y), common(x, y[:-1]))


Law = dict[object, Fraction]


def pooled_law(words: Sequence[str], s: int, pool: Callable[[str], Sequence[str]]) -> Counter[Text]:
    """The exact law of a noised text: s words kept, a draw from the pools at the others."""
    found: Counter[Text] = Counter()
    n = len(words)
    for kept in combinations(range(n), s):
        options = [(word,) if i in kept else pool(word) for i, word in enumerate(words)]
        for text in product(*options):
            found[text] += Fraction(1, comb(n, s) * prod(map(len, options)))
    return found


def lowest(before: Law, after: Law, reached: Fraction, bottom: int) -> Fraction:
    """The least that Σ after·g can be over *all* g with values in [bottom, 1] and Σ before·g ≥ reached.

    A linear program with one constraint beside the box: fill the cheapest outcomes first. Exact.
    """
    g_before, g_after = Fraction(bottom), Fraction(bottom)
    outcomes = {*before, *after}
    assert sum(before.values()) == sum(after.values()) == 1
    assert reached <= 1
    for z in sorted((z for z in outcomes if before.get(z)), key=lambda z: after.get(z, 0) / before[z]):
        if g_before >= reached:
            break
        share = min(Fraction(1), (reached - g_before) / (before[z] * (1 - bottom)))
        g_before += share * before[z] * (1 - bottom)
        g_after += share * after.get(z, Fraction(0)) * (1 - bottom)
    return g_after
