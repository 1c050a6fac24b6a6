"""Studies on a real Ray cluster of several nodes, whose processes are killed. The driver's logic: test_dispatch.py."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from ray_cluster import RayCluster, ray_cluster
from study_world import ROWS, SECRET, World

from clucert.errors import ClusterError, MissingExtraError, UsageError
from clucert.evaluate.cluster import rayconnect, shared_budget
from clucert.evaluate.cluster.rayconnect import Sizes, fit, import_ray
from clucert.evaluate.runconfig import StudyConfig, load_config

LATENCY = 0.01

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

IN_FLIGHT, CONNECTIONS = 2, 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster(2) as made:
        yield made


def on(cluster: RayCluster, **changes: Any) -> dict[str, Any]:
    how = {"engine": "ray", "ray_address": cluster.address, "workers": 2}
    return how | {"in_flight": IN_FLIGHT, "max_connections": CONNECTIONS} | changes


def local(world: World) -> Counter[str]:
    world.run(run_dir=str(world.folder / "local"), cache=str(world.folder / "local.sqlite"))
    asked = Counter(world.asked())
    (world.folder / "log.txt").write_text("")
    return asked


def test_the_records_are_those_of_a_local_run_and_the_key_is_nowhere(world: World, cluster: RayCluster):
    asked = local(world)
    process = world.start(**on(cluster))
    world.wait_for(100, process)
    assert [len(pids) for pids in cluster.workers()] == [1, 1]
    summary = world.finish(process)
    assert (summary["done"], summary["new"], summary["spent"]["calls"]) == (ROWS, ROWS, asked.total())
    assert world.records("run") == world.records("local")
    assert Counter(world.asked()) == asked
    held = [path for path in cluster.session.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert held == []


def test_what_is_killed_costs_its_work_in_flight_only(world: World, cluster: RayCluster):
    asked = local(world)
    process = world.start(**on(cluster))
    world.wait_for(60, process)
    ((pid,), _) = cluster.workers()
    cluster.kill_node()
    os.kill(pid, signal.SIGKILL)
    cluster.add()
    summary = world.finish(process)
    assert (summary["done"], summary["failed"]) == (ROWS, 0)
    assert summary["notes"][0].startswith("2 workers died")
    assert world.records("run") == world.records("local")
    assert set(world.asked()) == set(asked)
    # Of each: what was in the air, and what was on its way into the cache.
    assert len(world.asked()) <= asked.total() + 2 * 2 * CONNECTIONS


def test_what_a_lost_machine_had_in_progress_is_done_by_the_others(
    world: World, cluster: RayCluster, monkeypatch: pytest.MonkeyPatch
):
    local(world)
    monkeypatch.setattr(shared_budget, "SILENT", 2.0)

    def kill() -> None:
        while len(world.asked()) < 60:
            time.sleep(0.002)
        cluster.kill_node()

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        summary = world.run(**on(cluster, max_connections=2))
        killing.result()
    cluster.add()
    assert (summary.done, summary.failed) == (ROWS, 0)
    assert world.records("run") == world.records("local")


def test_an_input_that_kills_every_worker_fails_alone(world: World, cluster: RayCluster):
    rows = [json.loads(line) for line in (world.folder / "data.jsonl").read_text().splitlines()]
    rows[2]["text"] = " ".join(["poison"] * 8)
    (world.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    process = world.start(**on(cluster, workers=1, in_flight=1, max_connections=1))
    asked, killed = 0, set()
    while process.poll() is None and len(killed) < 3:
        time.sleep(0.002)
        now = sum("poison" in prompt for prompt in world.asked())
        pids = {pid for node in cluster.workers() for pid in node} - killed if now > asked else set()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        asked = now
    summary = world.finish(process, code=1)
    assert (summary["done"], summary["failed"]) == (ROWS - 1, 1)
    assert summary["errors"] == {"r2": "3 workers died while they were working on this input"}
    assert summary["notes"][0].startswith("3 workers died")


def test_a_driver_that_is_killed_goes_on_where_it_was(world: World, cluster: RayCluster):
    asked = local(world)
    process = world.start(**on(cluster))
    world.wait_for(80, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = world.records("run")
    summary = world.finish(world.start(**on(cluster)))
    assert (summary["done"], summary["new"]) == (ROWS, ROWS - len(kept))
    assert world.records("run") == world.records("local")
    assert set(world.asked()) == set(asked)
    # The workers of a dead driver are killed, too: each loses what it had on the way, in the air and to the cache.
    assert len(world.asked()) <= asked.total() + 2 * 2 * CONNECTIONS


def test_the_second_interrupt_stops(world: World, cluster: RayCluster):
    process = world.start(**on(cluster, max_connections=1))
    world.wait_for(5, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    summary = world.finish(process, code=130)
    assert summary["stopped"] == "interrupted"
    assert summary["done"] + summary["failed"] < ROWS
    assert len(world.stored()) >= len(world.asked()) - 2


def test_a_cap_holds_for_all_workers(world: World, cluster: RayCluster):
    summary = world.run(**on(cluster, max_requests=70))
    assert (summary.stopped, summary.exit_code) == ("budget", 4)
    assert summary.spent.calls == len(world.asked()) == 70


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("127.0.0.1:1", ClusterError, r"no Ray cluster at 127.0.0.1:1 \(Connection refused\): check --ray-address"),
        ("nowhere.invalid:6379", ClusterError, r"no Ray cluster at nowhere.invalid:6379 \(.*\): check --ray-address"),
        ("10.0.0.1", UsageError, "write it like  10.0.0.1:6379"),
    ],
)
def test_a_wrong_address_is_one_line(world: World, address: str, kind: type, message: str):
    with pytest.raises(kind, match=message):
        world.run(engine="ray", ray_address=address)


@pytest.mark.parametrize(("written", "chosen"), [("127.0.0.1:1", "local"), (None, "local"), ("", "local")])
def test_a_cluster_that_has_ended_is_not_waited_for(written: str | None, chosen: str):
    ended = SimpleNamespace(_private=SimpleNamespace(utils=SimpleNamespace(read_ray_address=lambda: written)))
    assert rayconnect._beside(ended) == chosen


def sized(**changes: Any) -> StudyConfig:
    return load_config(None, {"task": "sst2", "data": "x.csv"} | changes)


def test_workers_are_one_a_gpu_or_one_a_node():
    cpus, gpus = {"CPU": 8.0}, {"CPU": 16.0, "GPU": 4.0}
    assert fit([{}, cpus, cpus], sized()) == Sizes(2, 8, 0)
    assert fit([cpus, cpus], sized(workers=3)) == Sizes(3, 4, 0)
    assert fit([cpus, {"CPU": 2.0}], sized(workers=2)) == Sizes(2, 4, 0)
    assert fit([cpus, gpus, gpus], sized()) == Sizes(8, 4, 1)
    assert fit([cpus, gpus], sized(model="openai/gpt")) == Sizes(2, 8, 0)
    assert fit([gpus], sized(worker_gpus=2, worker_cpus=3)) == Sizes(2, 3, 2)
    with pytest.raises(UsageError, match=r"no node has room for a worker of 9 CPUs and 0 GPUs \(nodes: 8 CPUs and 0"):
        fit([cpus], sized(worker_cpus=9))


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'clucert\[ray\]'"):
        import_ray()


@pytest.mark.llm
def test_the_embedded_model_says_the_same_on_two_workers(world: World, cluster: RayCluster):
    model = {"model": "smollm2", "base_url": None, "limit": 2, "samples": 8, "certify_samples": 12}
    here = world.run(**model, run_dir=str(world.folder / "local"), cache=False)
    there = world.run(**on(cluster, **model, cache=False))
    assert (here.done, there.done) == (2, 2)
    assert world.records("run") == world.records("local")
