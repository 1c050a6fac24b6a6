"""Batching and row trees of the hf backend: pure parts, no torch needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.errors import ModelError
from clucert.models.hf.batching import LargestBatch, Schedule, by_beginning, by_length, in_batches, next_batch
from clucert.models.hf.rows import TokenTree, grow, merge, padded_length


class TooBig(MemoryError):
    pass


def is_too_big(error: Exception) -> bool:
    return isinstance(error, TooBig)


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 20), st.integers(1, 200), st.integers(1, 20))
def test_every_query_is_answered_in_order_whatever_fits(lengths: list[int], rows: int, tokens: int, fits: int) -> None:
    sizes: list[int] = []

    def work(batch: list[int]) -> list[tuple[int, int]]:
        if len(batch) > fits:
            raise TooBig
        sizes.append(len(batch))
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= tokens
        return [(i, lengths[i]) for i in batch]

    limits = LargestBatch(rows, tokens)
    assert in_batches(by_length(lengths), work, limits, is_too_big) == list(enumerate(lengths))
    assert max(sizes, default=0) <= min(rows, fits)
    assert 1 <= limits.rows <= rows


def test_batches_hold_rows_of_like_length() -> None:
    seen: list[list[int]] = []
    lengths = [9, 1, 8, 2]

    def work(batch: list[int]) -> list[int]:
        seen.append([lengths[i] for i in batch])
        return list(batch)

    in_batches(by_length(lengths), work, LargestBatch(2, 100), is_too_big)
    assert seen == [[1, 2], [8, 9]]


def test_a_single_query_that_does_not_fit_is_an_error_not_a_loop() -> None:
    def work(batch: list[int]) -> list[int]:
        raise TooBig

    with pytest.raises(ModelError, match="does not fit into memory on its own"):
        in_batches(by_length([7]), work, LargestBatch(8, 100), is_too_big)


def test_other_errors_are_not_taken_for_full_memory() -> None:
    def work(batch: list[int]) -> list[int]:
        raise RuntimeError("shape mismatch")

    limits = LargestBatch(8, 100)
    with pytest.raises(RuntimeError, match="shape"):
        in_batches(by_length([7, 7]), work, limits, is_too_big)
    assert limits.rows == 8


def test_one_long_query_is_a_batch_of_its_own() -> None:
    assert list(next_batch(Schedule([0, 1], [500, 500]), LargestBatch(8, 100))) == [0]


def test_queries_that_begin_alike_stand_together_and_count_once() -> None:
    prompts = [(1, 2, 3), (9, 2, 3), (1, 2, 4), tuple(range(20)), (1, 2, 3)]
    line = by_beginning([len(prompt) for prompt in prompts], prompts)
    assert list(line.order) == [0, 4, 2, 1, 3]
    assert list(line.tokens) == [3, 0, 1, 3, 20]


def test_long_queries_that_begin_alike_are_not_all_computed_at_once() -> None:
    # Each attends to all of its tokens, shared or not: 256 of them would need gigabytes for their masks alone.
    prompts = [(*range(1000), i) for i in range(256)]
    line = by_beginning([len(prompt) for prompt in prompts], prompts)
    assert 1 < len(next_batch(line, LargestBatch(256, 2048))) < 10
    short = [prompt[-40:] for prompt in prompts]
    assert len(next_batch(by_beginning([40] * 256, short), LargestBatch(256, 2048))) == 256


TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=18).map(tuple), min_size=1, max_size=12)


@given(TEXTS)
def test_the_line_counts_the_tokens_that_are_computed(prompts: list[tuple[int, ...]]) -> None:
    line = by_beginning([len(prompt) for prompt in prompts], prompts)
    assert sum(line.tokens) == len(merge([grow(prompt) for prompt in prompts]).tokens)


@given(TEXTS)
def test_merged_rows_are_whole_and_share_every_beginning(prompts: list[tuple[int, ...]]) -> None:
    nodes = ((), (1,), (2,), (1, 0))
    rows = [grow(prompt, nodes) for prompt in prompts]
    merged = merge(rows)
    for row, places in zip(rows, merged.places, strict=True):
        assert tuple(merged.tokens[i] for i in places) == row.tokens
        assert tuple(merged.depths[i] for i in places) == row.depths
    owners: dict[int, set[tuple[object, ...]]] = {}
    for row, places in zip(rows, merged.places, strict=True):
        for slot, place in enumerate(places):
            owners.setdefault(place, set()).add((padded_length(len(row)), slot, row.path(slot)))
    # One token in the batch is one thing to compute, and nothing is computed twice.
    assert all(len(meanings) == 1 for meanings in owners.values())
    assert len({next(iter(meanings)) for meanings in owners.values()}) == len(owners) == len(merged.tokens)


def test_a_text_without_branches_is_causal() -> None:
    row = grow((5, 6, 7))
    assert row.reads == (2,)
    assert np.array_equal(row.visible(), np.tril(np.ones((3, 3), dtype=bool)))


def test_branches_see_their_ancestors_and_nothing_else() -> None:
    row = grow((5, 6), ((), (1,), (2,), (1, 3)))
    assert row.tokens == (5, 6, 1, 2, 3)
    assert row.depths == (0, 1, 2, 2, 3)
    assert row.reads == (1, 2, 3, 4)
    assert [row.path(i) for i in row.reads] == [(5, 6), (5, 6, 1), (5, 6, 2), (5, 6, 1, 3)]
    assert row.visible().tolist() == [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [True, True, True, False, False],
        [True, True, False, True, False],
        [True, True, True, False, True],
    ]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_the_causal_shortcut_is_what_the_parents_say(tokens: list[int]) -> None:
    row = grow(tuple(tokens))
    n = len(row)
    slow = TokenTree((*row.tokens, 0), (*row.parents, -1), (*row.depths, 0), row.reads)
    assert np.array_equal(slow.visible()[:n, :n], row.visible())
