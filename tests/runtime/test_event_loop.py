"""The loop of a study leaves the process as it found it."""

from __future__ import annotations

import gc

import pytest

from clucert.runtime import event_loop as loops


async def thresholds() -> tuple[int, int, int]:
    return gc.get_threshold()


async def fails() -> None:
    raise KeyError("x")


def test_garbage_is_looked_for_less_often_while_it_runs() -> None:
    before = gc.get_threshold()
    assert loops.run(thresholds()) >= loops.RARE
    assert gc.get_threshold() == before
    with pytest.raises(KeyError):
        loops.run(fails())
    assert gc.get_threshold() == before


def test_a_collector_that_was_switched_off_stays_off() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0, *before[1:])
    try:
        assert loops.run(thresholds())[0] == 0
    finally:
        gc.set_threshold(*before)
