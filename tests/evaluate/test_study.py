"""A study as a real process against a real server: killed, interrupted, out of space, out of budget, failing."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from study_world import ROWS, SECRET, World, write_data

from clucert import build
from clucert.errors import InputError, UsageError
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.study import Snapshot, evaluate
from clucert.redact import redact

LATENCY = 0.01


@pytest.mark.slow
def test_killed_at_any_moment_it_asks_nothing_twice_and_ends_the_same(world: World):
    whole = world.finish(world.start(run_dir=str(world.folder / "whole"), cache=str(world.folder / "other.sqlite")))
    assert (whole["done"], whole["new"], whole["stopped"]) == (ROWS, ROWS, None)
    assert max(Counter(world.asked()).values()) == 1
    distinct = set(world.asked())
    (world.folder / "log.txt").write_text("")
    rng = random.Random(7)
    stored: set[str] = set()
    kills = 3
    for _ in range(kills):
        before = len(world.asked())
        process = world.start()
        world.wait_for(before + rng.randrange(1, 40), process)
        time.sleep(rng.random() * 0.03)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was done before it was killed"
        assert not stored & set(world.asked()[before:]), "an answer that was stored was asked for again"
        stored = world.stored()
    before = len(world.asked())
    summary = world.finish(world.start())
    assert not stored & set(world.asked()[before:])
    assert summary["done"] == ROWS
    asked = Counter(world.asked())
    assert set(asked) == distinct
    # What a kill caught in flight, or on its way into the cache, has to be asked again: as many as there are
    # connections of each at most.
    assert asked.total() <= len(distinct) + kills * 2 * 8
    assert world.records("run") == world.records("whole")


def test_the_first_interrupt_finishes_what_is_in_flight(world: World):
    process = world.start()
    world.wait_for(20, process)
    process.send_signal(signal.SIGINT)
    summary = world.finish(process, code=130)
    assert summary["stopped"] == "interrupted"
    assert 1 <= summary["done"] < ROWS
    assert summary["spent"]["calls"] == len(world.asked()) == len(world.stored())
    rest = world.run()
    assert (rest.done, rest.new) == (ROWS, ROWS - summary["done"])
    assert max(Counter(world.asked()).values()) == 1


def test_the_second_interrupt_stops(world: World):
    process = world.start(max_connections=1)
    world.wait_for(5, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    summary = world.finish(process, code=130)
    assert summary["done"] + summary["failed"] < ROWS
    before = len(world.asked())
    assert len(world.stored()) >= before - 1
    assert world.run().done == ROWS
    assert len(world.asked()) <= len(set(world.asked())) + 1


def test_a_budget_stops_with_what_is_done_and_the_next_goes_on(world: World):
    summary = world.run(max_requests=70)
    assert (summary.stopped, summary.exit_code, summary.failed) == ("budget", 4, 0)
    assert "--max-requests 70" in str(summary.reason)
    assert summary.spent.calls == len(world.asked()) == len(world.stored()) == 70
    assert 0 < summary.done < ROWS
    rest = world.run()
    assert (rest.done, rest.exit_code, rest.stopped) == (ROWS, 0, None)
    assert max(Counter(world.asked()).values()) == 1


def test_a_cap_in_money_needs_a_price_and_holds(world: World):
    with pytest.raises(UsageError, match="the price of openai/test is not known"):
        world.run(max_cost=0.01)
    assert not world.asked()
    summary = world.run(max_cost=0.0151, price_input="1", price_output="2")
    assert (summary.stopped, summary.exit_code) == ("budget", 4)
    assert 0.01 < (summary.cost or 0) <= 0.0151
    assert "--max-cost" in str(summary.reason)


def test_a_failed_input_is_recorded_and_tried_again_while_the_others_go_on(world: World):
    write_data(world.folder / "data.jsonl", poison=2)
    summary = world.run()
    assert (summary.done, summary.failed, summary.stopped, summary.exit_code) == (ROWS - 1, 1, None, 1)
    assert list(summary.errors) == ["r2"]
    assert "400" in summary.errors["r2"]
    record = world.records()["r2"]
    assert (record["status"], record["document"]) == ("failed", None)
    assert SECRET not in (world.folder / "run" / "records.jsonl").read_text()
    assert SECRET not in (world.folder / "run" / "manifest.json").read_text()
    asked = len(world.asked())
    again = world.run()
    assert (again.new, again.failed) == (1, 1)
    assert {text for text in world.asked()[asked:] if "unanswerable" not in text} == set()


def test_fail_fast_stops_at_the_first_failure(world: World):
    write_data(world.folder / "data.jsonl", poison=0)
    summary = world.run(fail_fast=True, in_flight=1)
    assert (summary.done, summary.failed, summary.stopped, summary.exit_code) == (0, 1, "error", 1)


def test_a_run_of_nothing_but_failures_stops_and_one_success_is_enough_to_go_on(world: World):
    """When the first twenty have failed it is no row's fault, and the others would be paid for in vain."""
    lines = [{"id": f"r{i}", "text": f"{'unanswerable ' * 9}{i}", "label": "positive"} for i in range(30)]
    data = world.folder / "data.jsonl"
    options = {"in_flight": 1, "samples": 1, "certify_samples": 2}
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stopped = world.run(**options)
    assert (stopped.done, stopped.failed, stopped.stopped, stopped.exit_code) == (0, 20, "error", 1)
    assert "stopped after 20 inputs that all failed: " in (stopped.reason or "")
    lines[3]["text"] = "a good story"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    going = world.run(**options, run_dir=str(world.folder / "other"))
    assert (going.done, going.failed, going.stopped) == (1, 29, None)
    # Its failures are tried again by the next call, which does not take them for a sign.
    again = world.run(**options, run_dir=str(world.folder / "other"))
    assert (again.done, again.failed, again.new, again.stopped) == (1, 29, 29, None)


def test_a_full_disk_is_one_line_and_loses_nothing(world: World):
    # Records of this run take about 2 kB each.
    stopped = world.finish(world.start(limit_bytes=12_000, cache=False), code=1)
    assert "no space left" in stopped["error"]
    assert len(stopped["error"].splitlines()) == 1
    kept = world.records()
    assert 0 < len(kept) < ROWS
    summary = world.run(cache=False)
    assert (summary.done, summary.new) == (ROWS, ROWS - len(kept))


def test_a_full_cache_is_one_line_and_loses_nothing(world: World):
    stopped = world.finish(world.start(limit_bytes=90_000), code=1)
    assert stopped["error"].startswith("CacheError")
    assert len(stopped["error"].splitlines()) == 1
    stored = world.stored()
    assert stored
    before = len(world.asked())
    assert world.run().done == ROWS
    assert not stored & set(world.asked()[before:])


def test_another_process_in_the_same_run_is_refused(world: World):
    first = world.start()
    world.wait_for(1, first)
    with pytest.raises(UsageError, match="another process"):
        world.run()
    assert world.finish(first)["done"] == ROWS


def test_a_run_reads_its_task_once(world: World, monkeypatch: pytest.MonkeyPatch):
    """A file that changes while the run begins is not read as two tasks."""
    read: list[str] = []
    load_task = build.load_task
    monkeypatch.setattr(build, "load_task", lambda name: read.append(name) or load_task(name))
    assert world.run(limit=1).done == 1
    assert read == ["sst2"]


def test_a_finished_run_loads_no_model(world: World, monkeypatch: pytest.MonkeyPatch):
    world.run()
    monkeypatch.setattr("clucert.runtime.resources.load_model", lambda *_: pytest.fail("a model was loaded"))
    summary = world.run()
    assert (summary.done, summary.new, summary.exit_code) == (ROWS, 0, 0)


def test_a_raised_limit_goes_on_and_a_lowered_one_is_refused(world: World):
    assert world.run(limit=3).done == 3
    summary = world.run(limit=5)
    assert (summary.done, summary.new) == (5, 2)
    with pytest.raises(UsageError, match="it has 5 inputs"):
        world.run(limit=4)
    with pytest.raises(UsageError, match="alpha was"):
        world.run(limit=5, alpha=0.1)


def test_it_runs_off_the_main_thread_and_tells_its_progress(world: World):
    seen: list[Snapshot] = []
    results: list[Any] = []
    config = world.study(limit=4)
    thread = threading.Thread(target=lambda: results.append(evaluate(config, seen.append)))
    thread.start()
    thread.join()
    assert results[0].done == 4
    last = seen[-1]
    assert (last.total, last.done, last.failed, last.in_flight, last.cost) == (4, 4, 0, 0, None)
    assert last.spent == results[0].spent
    assert last.votes == sum(r["document"]["cost"]["samples"] for r in world.records().values())
    assert [s.done for s in seen] == sorted(s.done for s in seen)


def test_several_models_vote_and_each_is_asked(world: World):
    summary = world.run(model=["openai/one", "openai/two"], limit=2)
    single = world.run(model=["openai/one"], limit=2, run_dir=str(world.folder / "one"))
    # Both models are the same server; the first run has asked all that the second one needs.
    # But for the short question, which tells that it is still the same model.
    assert single.spent.calls == 1
    assert summary.spent.calls == len(world.asked()) == 2 * len(set(world.asked()))


def test_a_plan_names_its_run_and_reads_no_model(tmp_path: Path):
    write_data(tmp_path / "data.jsonl")
    config = load_config(
        None, {"task": "sst2", "data": str(tmp_path / "data.jsonl"), "model": "vllm/org/m", "limit": 4}
    )
    plan = make_plan(config, ["clucert", "evaluate", "--api", SECRET])
    assert str(plan.run_dir) == "runs/sst2-clucert-vllm-org-m"
    assert plan.manifest.data.rows == 4
    assert SECRET not in plan.manifest.model_dump_json()
    with pytest.raises(UsageError, match="--data"):
        make_plan(load_config(None, {"task": "sst2"}))


def test_secrets_are_scrubbed():
    env = {"MY_API_KEY": "hunter2hunter2", "SHORT_KEY": "abc", "HOME": "/home/me"}
    said = redact("key hunter2hunter2 at http://me:pw@host/v1\nBearer abc.def sk-12345678 abc", env=env)
    assert said == "key *** at http://host/v1 Bearer *** *** abc"


def test_the_yaml_file_is_overridden_by_flags_and_read_strictly(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("task: sst2\n\nmask_rte: 0.3\n")
    with pytest.raises(InputError, match=r"run\.yaml:3: unknown key 'mask_rte': did you mean mask_rate"):
        load_config(path, {})
    path.write_text("task: sst2\nalpha: 5\n")
    with pytest.raises(InputError, match=r"run\.yaml:2: alpha: .* less than 1 .*5"):
        load_config(path, {})
    assert load_config(path, {"alpha": 0.1}).alpha == 0.1
    with pytest.raises(UsageError, match=r"--samples: .* greater than or equal to 1"):
        load_config(path, {"alpha": 0.1, "samples": 0})
    path.write_text("task: sst2\ntask: agnews\n")
    with pytest.raises(InputError, match="'task' is there twice"):
        load_config(path, {})
    path.write_text("task: [sst2\n")
    with pytest.raises(InputError, match="not YAML"):
        load_config(path, {})
    path.write_text("- task\n")
    with pytest.raises(InputError, match="must hold fields"):
        load_config(path, {})
    path.write_text("")
    assert load_config(path, {}) == load_config(None, {})


def test_a_server_that_nobody_vouches_for_is_probed_and_the_records_say_so(world: World):
    world.run(deterministic=None)
    answers = [record["document"]["answers"] for record in world.records().values()]
    assert {answer["kind"] for answer in answers} <= {"probed", "sampled"}
    probed = [answer for answer in answers if answer["kind"] == "probed"]
    assert probed
    assert all(answer["probes"] >= 2 for answer in probed)
    # Each text's draws are its own: what a probe asks again is asked again.
    asked = len(world.asked())
    assert asked - len(set(world.asked())) >= sum(answer["probes"] for answer in answers)
    again = world.run(deterministic=None, run_dir=str(world.folder / "again"))
    assert again.spent.calls == 1, "the greeting"
    assert len(world.asked()) == asked
    assert world.records("again") == world.records()
    sampled = world.run(deterministic=False, run_dir=str(world.folder / "sampled"))
    kinds = [record["document"]["answers"]["kind"] for record in world.records("sampled").values()]
    assert set(kinds) == {"sampled"}
    assert sampled.spent.calls > 0
