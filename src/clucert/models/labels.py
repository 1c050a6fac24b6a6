"""Exact scores of labels that may be several tokens long.

The score of a label is the log-probability of the shortest run of its tokens that no other label starts with. When all
first tokens differ, which is usual, that is one next-token distribution; labels that share tokens cost one more
call of the model for each branching, and for each shared token. A label that is the start of another one is told apart
by the line break that ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from clucert.errors import InputError

Tokens = tuple[int, ...]
NextTokens = Callable[[Tokens, tuple[int, ...]], Sequence[float]]
"""``(tokens so far, candidates) -> log-probability of each candidate as the next token``."""


def distinguishing(labels: Sequence[Tokens]) -> tuple[Tokens, ...]:
    """The shortest prefix of each label that is a prefix of no other.

    Raises :class:`InputError` when one label, as tokens, is the same as or the start of another.
    """
    return tuple(_shortest_own(i, labels) for i in range(len(labels)))


def score(labels: Sequence[Tokens], next_tokens: NextTokens) -> tuple[float, ...]:
    """Log-probability of each of the :func:`distinguishing` prefixes, one call for each inner node of their tree."""
    total: dict[Tokens, float] = {(): 0.0}
    for node in _inner_nodes(labels):
        children = tuple(sorted({label[len(node)] for label in labels if _below(label, node)}))
        for child, logprob in zip(children, next_tokens(node, children), strict=True):
            total[(*node, child)] = total[node] + logprob
    return tuple(total[label] for label in labels)


def _shortest_own(index: int, labels: Sequence[Tokens]) -> Tokens:
    label = labels[index]
    others = [other for i, other in enumerate(labels) if i != index]
    for length in range(1, len(label) + 1):
        if not any(other[:length] == label[:length] for other in others):
            return label[:length]
    raise InputError("two labels read the same to the model's tokenizer: rename one")


def _inner_nodes(labels: Iterable[Tokens]) -> Iterator[Tokens]:
    """Proper prefixes of the labels, shorter ones first."""
    yield from sorted({label[:i] for label in labels for i in range(len(label))}, key=lambda node: (len(node), node))


def _below(label: Tokens, node: Tokens) -> bool:
    return len(label) > len(node) and label[: len(node)] == node
