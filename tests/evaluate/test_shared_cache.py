"""Studies in processes of their own over one PostgreSQL cache: what is stored is never asked again."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from study_world import ROWS, SECRET, World
from tests.postgres_server import PASSWORD, QUOTED, PostgresServer

from clucert.cache import cache_stats

LATENCY = 0.01


@pytest.fixture
def shared(postgres: PostgresServer, tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return postgres.url(postgres.new_database(), patience=30)


def start(world: World, shared: str, name: str):
    # Each process has its own config file: they start at the same moment.
    return world.start(cache=shared, run_dir=str(world.folder / name), max_connections=4)


@pytest.mark.slow
def test_two_processes_at_once_write_the_same_records_and_ask_nothing_twice_each(
    world: World, shared: str, monkeypatch
):
    alone = world.run()
    (world.folder / "log.txt").write_text("")
    go = world.folder / "go"
    monkeypatch.setenv("CLUCERT_TEST_GO", str(go))
    workers = [start(world, shared, name) for name in ("one", "two")]
    while len(list(world.folder.glob("go.*"))) < 2:
        time.sleep(0.01)
    go.touch()
    summaries = [world.finish(worker) for worker in workers]
    assert [summary["done"] for summary in summaries] == [ROWS, ROWS]
    asked = Counter(world.asked())
    assert max(asked.values()) <= 2
    assert len(asked) == alone.spent.calls
    # A process that finds answers of the other asks one short question first, which identifies the model.
    assert 0 <= sum(summary["spent"]["calls"] for summary in summaries) - asked.total() <= 2
    assert world.records("one") == world.records("two") == world.records("run")
    assert cache_stats(shared).entries == len(asked)
    for name in ("one", "two"):
        written = (world.folder / name / "manifest.json").read_text() + (
            world.folder / name / "records.jsonl"
        ).read_text()
        assert not any(secret in written for secret in (PASSWORD, QUOTED, SECRET))


@pytest.mark.slow
def test_what_a_killed_process_has_stored_is_not_asked_again(world: World, shared: str):
    first = start(world, shared, "one")
    world.wait_for(40, first)
    first.kill()
    first.communicate()
    died = len(world.asked())
    summary = world.finish(start(world, shared, "two"))
    assert summary["done"] == ROWS
    asked = Counter(world.asked())
    assert died < asked.total()
    # What the first one was asking when it died, or had not stored yet, has to be asked again.
    assert sum(n - 1 for n in asked.values()) <= 2 * 4


@pytest.mark.slow
def test_a_restart_of_the_server_in_mid_run_asks_nothing_twice(world: World, shared: str, postgres: PostgresServer):
    worker = start(world, shared, "one")
    world.wait_for(60, worker)
    postgres.stop("immediate")
    time.sleep(0.5)
    before = len(world.asked())
    # While it is away, answers wait in memory: no more of them than connections, and as many in flight.
    time.sleep(0.5)
    assert len(world.asked()) - before <= 2 * 4
    postgres.start()
    assert world.finish(worker)["done"] == ROWS
    assert max(Counter(world.asked()).values()) == 1


def test_a_server_that_stays_away_ends_the_run_and_the_next_one_pays_for_nothing_again(
    world: World, postgres: PostgresServer, shared: str
):
    impatient = shared.replace("patience=30", "patience=0.5")
    worker = start(world, impatient, "one")
    world.wait_for(60, worker)
    postgres.stop()
    try:
        said = world.finish(worker, code=1)["error"]
    finally:
        postgres.start()
    assert said.startswith("CacheError")
    assert "was away for 0.5 s" in said
    assert "***" in said
    assert PASSWORD not in said
    assert world.finish(start(world, impatient, "one"))["done"] == ROWS
    assert max(Counter(world.asked()).values()) == 1


def test_what_a_budget_stopped_is_gone_on_with_by_another_run(world: World, shared: str):
    first = world.run(cache=shared, max_requests=20)
    assert (first.stopped, first.spent.calls) == ("budget", 20)
    second = world.run(cache=shared, run_dir=str(world.folder / "two"))
    assert (second.done, dict(second.errors)) == (ROWS, {})
    assert max(Counter(world.asked()).values()) == 1
