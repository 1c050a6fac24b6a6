"""Shards of a run: merged they are the run that was never divided, whatever happened to them on the way."""

from __future__ import annotations

from collections import Counter

import pytest
from study_world import ROWS, World, write_data

from clucert.errors import UsageError
from clucert.evaluate.run_directory import MANIFEST, open_run, read_manifest

LATENCY = 0.01

SHARDS = 3


def shard(world: World, number: int, **changes):
    return world.run(shard=f"{number}/{SHARDS}", **changes)


def test_merged_shards_are_the_undivided_run_and_ask_nothing_again(world: World):
    whole = str(world.folder / "whole")
    world.run(run_dir=whole, cache=str(world.folder / "other.sqlite"))
    distinct = set(world.asked())
    (world.folder / "log.txt").write_text("")
    totals = [shard(world, number).total for number in range(1, SHARDS + 1)]
    assert totals == [len(range(i, ROWS, SHARDS)) for i in range(SHARDS)]
    assert set(world.records("run/shards/2-of-3")) == {f"r{i}" for i in range(1, ROWS, SHARDS)}
    asked = world.asked()
    assert set(asked) == distinct
    assert max(Counter(asked).values()) == 1
    # Without the cache: only the records can be what the merge goes by.
    merged = world.run(cache=str(world.folder / "empty.sqlite"))
    assert world.asked() == asked
    assert (merged.done, merged.new, merged.spent.calls) == (ROWS, 0, 0)
    assert f"{ROWS} records were taken from {SHARDS} shards" in merged.notes
    assert world.records("run") == world.records("whole")
    # Merging twice changes nothing.
    before = (world.folder / "run" / "records.jsonl").read_bytes()
    assert world.run().done == ROWS
    assert (world.folder / "run" / "records.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_killed_shard_resumes_and_the_merge_does_what_is_missing(world: World):
    world.run(run_dir=str(world.folder / "whole"), cache=str(world.folder / "other.sqlite"))
    (world.folder / "log.txt").write_text("")
    process = world.start(shard=f"1/{SHARDS}")
    world.wait_for(10, process)
    process.kill()
    process.communicate()
    stored = world.stored()
    before = len(world.asked())
    resumed = shard(world, 1)
    assert resumed.done == resumed.total == len(range(0, ROWS, SHARDS))
    assert not stored & set(world.asked()[before:])
    shard(world, 2)
    merged = world.run()
    assert merged.new == len(range(2, ROWS, SHARDS))
    assert world.records("run") == world.records("whole")


def test_a_failed_input_of_a_shard_is_tried_again_by_the_merge(world: World):
    write_data(world.folder / "data.jsonl", poison=0)
    assert shard(world, 1).failed == 1
    merged = world.run()
    assert (merged.failed, merged.done, list(merged.errors)) == (1, ROWS - 1, ["r0"])


def test_a_shard_of_another_run_is_refused_before_anything_is_taken(world: World):
    shard(world, 1)
    asked = len(world.asked())
    with pytest.raises(UsageError, match=r"1-of-3 is a part of another run: seed was 0 and is now 5"):
        world.run(seed=5)
    data = world.folder / "data.jsonl"
    data.write_text(data.read_text().replace('"label": "positive"', '"label": "negative"', 1))
    with pytest.raises(UsageError, match="its input 'r0' has another text or label now"):
        world.run()
    assert not (world.folder / "run" / MANIFEST).exists()
    assert len(world.asked()) == asked


def test_a_shard_that_is_being_written_is_refused(world: World):
    shard(world, 1)
    path = world.folder / "run" / "shards" / "1-of-3"
    data = world.study(shard="1/3")
    from clucert.evaluate.plan import make_plan
    from clucert.evaluate.shards import shard_of

    plan = shard_of(make_plan(data))
    with open_run(path, plan.manifest, plan.inputs), pytest.raises(UsageError, match="1-of-3 is being written"):
        world.run()


def test_shards_that_two_models_answered_are_refused_unless_accepted(world: World):
    for number in (1, 2):
        shard(world, number)
        path = world.folder / "run" / "shards" / f"{number}-of-3"
        told = read_manifest(path).model_copy(update={"answered_by": {"openai/test": f"model {number}"}})
        (path / MANIFEST).write_text(told.model_dump_json())
    with pytest.raises(UsageError, match="was answered by 'model 2' and the rest by 'model 1'"):
        world.run()
    assert world.records("run") == {}


@pytest.mark.parametrize("value", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_refused(world: World, value: str):
    from clucert.errors import InputError

    with pytest.raises((UsageError, InputError), match="must be i/n"):
        world.run(shard=value)


def test_more_shards_than_rows_are_refused(world: World):
    with pytest.raises(UsageError, match=f"take at most {ROWS} shards"):
        world.run(shard=f"1/{ROWS + 1}")
