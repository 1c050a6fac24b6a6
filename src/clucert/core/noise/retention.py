"""The noise channel: which words are kept, and what is put in the place of the others.

A sample of the channel is a retention set ``T``, uniform over the ``C(n, s)`` sets of ``s = ⌊(1 − m)·n⌋`` positions,
and a recovery of the positions outside ``T``. The recoveries are sans-I/O generators (see
:class:`clucert.protocols.Recovery`); what each of them lets a certificate prove is told by the overlap of its kernels.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Generator, Sequence
from fractions import Fraction
from math import comb
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clucert.core.thresholds import exact
from clucert.core.words import WordedText
from clucert.errors import InputError
from clucert.types import Recovered, Request, Stage

MASK = "[MASK]"
"""The mask token of the literature."""

Retained = Literal["keep", "redraw"]
"""The kernel K on retained words: identity, or a draw from the word's pool."""


def parse_mask_rate(value: str | Fraction | float) -> Fraction:
    """The mask rate as an exact number in (0, 1).

    A float means the decimal it prints as: ``0.9`` is 9/10, so that ``⌊(1 − m)·10⌋`` is 1 and not 0.

    Raises:
        InputError: not a number, or not strictly between 0 and 1.

    """
    rate = exact(value, "mask rate")
    if not 0 < rate < 1:
        raise InputError(f"mask rate {value} is out of range: give a number above 0 and below 1")
    return rate


def retained_count(n: int, mask_rate: Fraction) -> int:
    """``s = ⌊(1 − m)·n⌋``, exactly, and at least 1 for a text that has a word; 0 for one that has none."""
    return min(n, max(1, (1 - mask_rate) * n // 1))


def sample_retention(rng: np.random.Generator, n: int, s: int, samples: int) -> NDArray[np.bool_]:
    """Independent retention sets, each uniform over the ``C(n, s)`` sets: shape (samples, n), True keeps the word.

    Raises:
        InputError: unless ``0 ≤ s ≤ n`` and ``samples ≥ 0``.

    """
    if not 0 <= s <= n or samples < 0:
        raise InputError(f"cannot keep {s} of {n} words {samples} times: ask for 0 ≤ s ≤ n and samples ≥ 0")
    rows = np.zeros((samples, n), dtype=np.bool_)
    rows[:, :s] = True
    return rng.permuted(rows, axis=1, out=rows)


def every_retention(n: int, s: int) -> NDArray[np.bool_]:
    """All ``C(n, s)`` retention sets in lexicographic order, shape (C(n, s), n): for exhaustive certificates."""
    rows = np.zeros((comb(n, s), n), dtype=np.bool_)
    for row, kept in zip(rows, itertools.combinations(range(n), s), strict=True):
        row[list(kept)] = True
    return rows


def rng_for(seed: int, example: str | int, stage: str) -> np.random.Generator:
    """The generator of one stage of one example: the same on every machine and in every order of work.

    ``example`` counts as its decimal string, so that an index survives a round trip through a file. Streams of
    different (seed, example, stage) are independent for all practical purposes (SeedSequence over BLAKE2b).

    Raises:
        InputError: a negative seed.

    """
    if seed < 0:
        raise InputError(f"seed {seed} is negative: give 0 or more")
    digest = hashlib.blake2b(f"{len(stage)}:{stage}:{example}".encode(errors="surrogatepass"), digest_size=32)
    words = np.frombuffer(digest.digest(), dtype="<u4")
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))


def keyed_seed(key: bytes, *said: str, size: int = 32) -> int:
    """A seed of ``size`` bytes for :func:`rng_for`: a keyed digest (BLAKE2b) of ``said``, which nobody foresees without
    ``key`` (at most 64 bytes). Other parts or another division into parts give another seed.
    """
    digest = hashlib.blake2b(key=key, digest_size=size)
    for part in said:
        raw = part.encode(errors="surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return int.from_bytes(digest.digest(), "big")


class MaskRecovery:
    """Leaves the mask token where it is (RanMASK): ``κ^M = 1`` against any word."""

    name = "mask"
    deterministic = True

    def __init__(self, token: str = MASK) -> None:
        self.token = token

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """Mask what is not retained; ``rng`` is not read."""
        yield from ()
        return Recovered(_assemble(text, [(word, self.token) for word in text.words], (~retained).view(np.int8)))


class SynonymRecovery:
    """Draws each masked word uniformly from the pool of the word that stood there.

    ``pools[i]`` is the support of kernel M at position i, as a set: it holds the word itself exactly when the caller
    put it there, and a pool of one leaves nothing to chance. Kernel K, on retained words, is the identity
    (``"keep"``) or a draw from the same pool (``"redraw"``). This recovery reads the masked-out words: against a word
    that has another pool it proves nothing (``guarantees.md``, A1).

    An object belongs to one text: the one that the pools were looked up for.
    """

    name = "synonym"

    def __init__(self, pools: Sequence[Sequence[str]], retained: Retained = "keep") -> None:
        self.pools = tuple(tuple(dict.fromkeys(pool)) for pool in pools)
        if not all(self.pools):
            raise InputError("a synonym pool is empty: give the word itself where nothing may replace it")
        self.retained = retained
        self.deterministic = all(len(pool) == 1 for pool in self.pools)

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """Fill the masked positions.

        Raises:
            InputError: the pools are those of another text.

        """
        yield from ()
        if len(self.pools) != len(text):
            raise InputError(f"{len(self.pools)} pools for {len(text)} words: look them up for this very text")
        sizes = np.fromiter(map(len, self.pools), dtype=np.intp, count=len(self.pools))
        drawn = np.ones_like(retained) if self.retained == "redraw" else ~retained
        chosen = np.zeros(retained.shape, dtype=np.intp)
        chosen[drawn] = rng.integers(1, 1 + np.broadcast_to(sizes, retained.shape)[drawn])
        options = [(word, *pool) for word, pool in zip(text.words, self.pools, strict=True)]
        return Recovered(_assemble(text, options, chosen))


def _assemble(text: WordedText, options: Sequence[Sequence[str]], chosen: NDArray[np.integer[Any]]) -> list[str]:
    """The text with ``options[i][chosen[row, i]]`` at position i, for each row of ``chosen``.

    A text costs one gather and one join over the positions that vary: what does not, gaps included, is glued to the
    option after it beforehand.
    """
    lead, varying, starts = "", list[int](), list[int]()
    table: list[str] = []
    for i, words in enumerate(options):
        lead += text.gaps[i]
        if all(word == words[0] for word in words):
            lead += words[0]
            continue
        varying.append(i)
        starts.append(len(table))
        table += [lead + word for word in words]
        lead = ""
    tail = lead + text.gaps[-1]
    if not varying:
        return [tail] * len(chosen)
    picked = np.array(table, dtype=object)[chosen[:, varying] + np.array(starts)]
    return ["".join(row) + tail for row in picked.tolist()]


def kernel_overlap(a: Collection[str], b: Collection[str]) -> Fraction:
    """``κ = 1 − TV(uniform(a), uniform(b)) = |a ∩ b| / max(|a|, |b|)``, pools read as sets.

    Raises:
        InputError: a pool is empty.

    """
    left, right = set(a), set(b)
    if not left or not right:
        raise InputError("a synonym pool is empty: give the word itself where nothing may replace it")
    return Fraction(len(left & right), max(len(left), len(right)))
