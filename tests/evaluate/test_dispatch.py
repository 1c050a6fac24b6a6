"""The driver of a cluster, with real workers in this process that die, break and disagree. Ray: see test_ray.py."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
from study_world import ROWS, World, write_data

from clucert import errors
from clucert.errors import (
    AuthenticationError,
    ClusterError,
    MissingExtraError,
    ModelUnavailableError,
    UnknownNameError,
    UsageError,
)
from clucert.evaluate import study
from clucert.evaluate.cluster import dispatch, shared_budget
from clucert.evaluate.cluster.dispatch import TRIES, Dispatcher, WorkerPool
from clucert.evaluate.cluster.messages import InputReply, Order, Ready, Trouble, WorkerLostError
from clucert.evaluate.cluster.rayengine import order_of
from clucert.evaluate.cluster.shared_budget import Grant, Process, Report, SharedBudget, Totals
from clucert.evaluate.cluster.worker import Worker
from clucert.evaluate.engine import Engine, open_engine
from clucert.evaluate.plan import Plan
from clucert.evaluate.runconfig import StudyConfig
from clucert.protocols import Task
from clucert.runtime.budget import Limits

LATENCY = 0.01


class Near:
    """A worker in this process, whose calls are repeated in a new one when it dies, as Ray does it.

    ``office.dies(number)`` says whether it is killed while it has that input in progress.
    """

    def __init__(self, name: str, office: Office) -> None:
        self.name, self._office, self._away = name, office, False
        self._start()

    async def prepare(self, order: Order) -> Ready:
        if self._office.broken:
            raise WorkerLostError("out of memory")
        if self._away or not self._office.room:
            await asyncio.sleep(3600)
        return await self._repeated(lambda: self._worker.prepare(self._office.change(order)))

    async def certify(self, order: Order, identity: str, text: str) -> InputReply:
        def call() -> Any:
            if self._office.dies(int(identity[1:])):
                asyncio.get_running_loop().call_later(self._office.delay, self._die, self._gone)
            elif self._office.vanishes(int(identity[1:])):
                self._die(self._gone)
                self._away = True
            return asyncio.sleep(3600) if self._away else self._worker.certify(order, identity, text)

        return await self._repeated(call)

    async def end(self, *, now: bool) -> None:
        await _ended(self._worker, now)

    def _start(self) -> None:
        self._worker, self._gone = Worker(self.name), asyncio.get_running_loop().create_future()

    def _die(self, gone: asyncio.Future[None]) -> None:
        if gone is self._gone:
            self._office.dead.append(asyncio.ensure_future(_ended(self._worker, now=True)))
            gone.set_result(None)
            self._start()

    async def _repeated(self, call: Callable[[], Any]) -> Any:
        for _ in range(TRIES):
            gone, task = self._gone, asyncio.ensure_future(call())
            try:
                await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not task.done():
                    task.cancel()
            if not gone.done():
                return task.result()
        raise WorkerLostError("killed")


async def _ended(worker: Worker, now: bool) -> None:
    await worker.end(now)
    await worker.close()


class NearBudget:
    """The budget in this process."""

    def __init__(self, caps: Limits) -> None:
        self.shared = SharedBudget(caps, shared_budget.SILENT)

    async def account(self, process: Process, report: Report, calls: int) -> Grant:
        return self.shared.account(process, report, calls)

    async def totals(self) -> Totals:
        return self.shared.totals()


class Office:
    """An engine whose workers are near."""

    notes = ()

    def __init__(self, config: StudyConfig) -> None:
        budget = NearBudget(Limits(config.max_requests, config.max_tokens, config.max_cost))
        self.pool = WorkerPool([], budget)
        self._count = config.workers or 2
        self.dies: Callable[[int], bool] = lambda _number: False
        self.vanishes: Callable[[int], bool] = lambda _number: False
        self.delay, self.broken, self.room = 0.02, False, True
        self.dead: list[asyncio.Future[None]] = []
        self.change: Callable[[Order], Order] = lambda order: order

    @property
    def meter(self) -> Totals:
        return self.pool.totals

    def runner(self, plan: Plan) -> Dispatcher:
        return NearDispatcher(self, order_of(plan, self.pool.budget))


class NearDispatcher(Dispatcher):
    """Hires on the event loop that it runs on."""

    def __init__(self, office: Office, order: Order) -> None:
        super().__init__(office.pool, order)
        self._office = office

    async def run(self, examples: Any, done: Any) -> None:
        office = self._office
        office.pool.workers = office.pool.workers or [Near(f"worker {i + 1}", office) for i in range(office._count)]
        try:
            await super().run(examples, done)
        finally:
            await asyncio.gather(*office.dead)


class Offices(list[Office]):
    """The engines that were opened; ``settings`` are those of the next ones."""

    settings: dict[str, Any]


@pytest.fixture
def offices(monkeypatch: pytest.MonkeyPatch) -> Offices:
    """The engine ``ray``, made of near workers."""
    made = Offices()
    made.settings = {}

    def open_near(config: StudyConfig, task: Task, stack: ExitStack) -> Engine:
        if config.engine != "ray":
            return open_engine(config, task, stack)
        made.append(Office(config))
        vars(made[-1]).update(made.settings)
        return made[-1]

    monkeypatch.setattr(study, "open_engine", open_near)
    return made


def local(world: World, **changes: Any) -> Any:
    world.run(run_dir=str(world.folder / "local"), cache=str(world.folder / "local.sqlite"), **changes)
    asked = world.asked()
    (world.folder / "log.txt").write_text("")
    return asked


@pytest.mark.parametrize("workers", [1, 3])
def test_the_records_are_those_of_a_local_run(world: World, offices: Offices, workers: int):
    asked = local(world)
    summary = world.run(engine="ray", workers=workers)
    assert (summary.done, summary.new, summary.failed, summary.stopped) == (ROWS, ROWS, 0, None)
    assert world.records("run") == world.records("local")
    assert Counter(world.asked()) == Counter(asked)
    assert summary.spent.calls == len(asked)


def test_workers_that_die_cost_what_they_had_in_hand(world: World, offices: Offices):
    asked = local(world)
    # Two deaths at most: an input that happens to be in progress at three is given up, whoever was to blame.
    doomed = [1, 8]

    def dies(number: int) -> bool:
        if number in doomed:
            doomed.remove(number)
            return True
        return False

    offices.settings["dies"] = dies
    summary = world.run(engine="ray", workers=2, in_flight=2)
    assert (summary.done, summary.failed) == (ROWS, 0)
    assert world.records("run") == world.records("local")
    lost = offices[0].meter.lost
    assert 1 <= lost <= 2
    assert len(offices[0].dead) == lost
    assert set(world.asked()) == set(asked)
    # Each that died had two inputs in progress, and what these had on the way is asked again.
    assert len(world.asked()) <= len(asked) + lost * 8 * 2


def test_an_input_that_kills_its_workers_fails_and_the_others_go_on(world: World, offices: Offices):
    offices.settings.update(dies=lambda number: number == 2, delay=0)
    summary = world.run(engine="ray", workers=2, in_flight=1)
    assert (summary.done, summary.failed, summary.exit_code) == (ROWS - 1, 1, 1)
    assert summary.errors == {"r2": "3 workers died while they were working on this input"}
    assert world.run(engine="local").done == ROWS


def test_an_input_that_kills_the_only_worker_at_once_fails_alone(world: World, offices: Offices):
    offices.settings.update(dies=lambda number: number == 0, delay=0)
    summary = world.run(engine="ray", workers=1, in_flight=1)
    assert (summary.done, summary.failed, summary.stopped) == (ROWS - 1, 1, None)


def test_the_inputs_of_a_worker_that_stays_away_are_taken_by_the_others(
    world: World, offices: Offices, monkeypatch: pytest.MonkeyPatch
):
    asked = local(world)
    monkeypatch.setattr(shared_budget, "SILENT", 1.0)
    doomed = [ROWS - 1]
    offices.settings["vanishes"] = lambda number: number in doomed and bool(doomed.pop())
    summary = world.run(engine="ray", workers=2, in_flight=2)
    assert (summary.done, summary.failed) == (ROWS, 0)
    assert world.records("run") == world.records("local")
    assert set(world.asked()) == set(asked)


def test_an_input_whose_workers_all_stay_away_fails_alone(
    world: World, offices: Offices, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared_budget, "SILENT", 1.0)
    offices.settings["vanishes"] = lambda number: number == 2
    summary = world.run(engine="ray", workers=4, in_flight=1)
    assert summary.errors == {"r2": "3 workers died while they were working on this input"}
    assert (summary.done, summary.failed) == (ROWS - 1, 1)


def test_workers_that_die_before_they_begin_stop_the_run(world: World, offices: Offices):
    offices.settings["broken"] = True
    with pytest.raises(ClusterError, match=r"3 workers died in a row, the last one \(worker \d\): out of memory"):
        world.run(engine="ray", workers=1)
    assert not world.asked()


def test_a_cluster_without_room_is_given_up_after_a_while(
    world: World, offices: Offices, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatch, "PATIENCE", 0.5)
    offices.settings["room"] = False
    with pytest.raises(ClusterError, match="no room for a worker"):
        world.run(engine="ray")


def test_caps_hold_for_all_workers_together(world: World, offices: Offices):
    summary = world.run(engine="ray", workers=3, max_requests=70)
    assert (summary.stopped, summary.exit_code, summary.failed) == ("budget", 4, 0)
    assert "--max-requests 70 is reached" in str(summary.reason)
    assert summary.spent.calls == len(world.asked()) == 70
    summary = world.run(engine="ray", workers=3, max_cost=0.0151, price_input="1", price_output="2")
    assert 0.0149 < (summary.cost or 0) <= 0.0151
    assert world.run(engine="ray", workers=3).done == ROWS
    # Workers share answers by the cache: a question that two of them ask at the same moment is asked twice.
    assert len(world.asked()) <= len(set(world.asked())) + 2


def test_errors_are_those_of_a_local_run(world: World, offices: Offices):
    write_data(world.folder / "data.jsonl", poison=2)
    local(world)
    summary = world.run(engine="ray")
    assert (summary.done, summary.failed) == (ROWS - 1, 1)
    assert world.records("run") == world.records("local")
    stopped = world.run(engine="ray", fail_fast=True, in_flight=1, run_dir=str(world.folder / "fast"))
    assert stopped.stopped == "error"
    with pytest.raises(UsageError, match=r"worker 1 on .*: the price of openai/test is not known"):
        world.run(engine="ray", workers=1, max_cost=1.0)


def test_a_model_that_a_worker_cannot_load_is_one_line(world: World, offices: Offices):
    with pytest.raises(UsageError, match=r"^worker \d on .*nowhere.gguf"):
        world.run(engine="ray", model="llamacpp/nowhere.gguf")


def test_the_first_interrupt_finishes_what_is_in_flight(world: World, offices: Offices):
    def interrupt(snapshot: study.Snapshot) -> None:
        if snapshot.votes and not snapshot.stopping:
            os.kill(os.getpid(), signal.SIGINT)

    summary = study.evaluate(world.study(engine="ray", workers=2, in_flight=1, max_connections=1), interrupt)
    assert (summary.stopped, summary.exit_code) == ("interrupted", 130)
    assert 1 <= summary.done < ROWS
    assert summary.spent.calls == len(world.asked()) == len(world.stored())


def test_a_bug_in_a_worker_stops_the_run_with_one_line(world: World, offices: Offices, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("at Bearer abcdef0123456789")

    monkeypatch.setattr("clucert.core.smoothing.Smoother.steps", broken)
    with pytest.raises(ClusterError, match=r"^worker \d on .*: ZeroDivisionError: at Bearer \*\*\* \(.*\.py:\d+\)$"):
        world.run(engine="ray")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "0.0.1"}, "the driver 0.0.1: install the same one on every node"),
        ({"files": {}}, "its prompt file is missing or not the driver's"),
        ({"parameters": {}}, "method 'ranmask' is not the driver's here"),
    ],
)
def test_a_worker_that_is_not_set_up_as_the_driver_is_refused(
    world: World, offices: Offices, changes: dict, message: str
):
    prompt = world.folder / "prompt.txt"
    prompt.write_text("{text}\nGood or bad?")
    offices.settings["change"] = lambda order: dataclasses.replace(order, **changes)
    with pytest.raises(UsageError, match=message):
        world.run(engine="ray", task="mine", labels=["positive", "negative"], prompt=str(prompt))
    assert not world.asked()


def test_a_call_that_comes_late_asks_nothing_more(world: World):
    from clucert.evaluate.plan import make_plan

    async def late() -> InputReply:
        worker, order = Worker("worker 1"), order_of(make_plan(world.study()), NearBudget(Limits()))
        assert (await worker.prepare(order)).trouble is None
        assert (await worker.certify(order, "r0", "a warm story")).outcome
        await worker.end(now=False)
        try:
            return await worker.certify(order, "r1", "a dull story")
        finally:
            await worker.close()

    before = len(world.asked())
    assert asyncio.run(late()).trouble == Trouble("UsageError", mock.ANY)
    assert not any("dull" in prompt for prompt in world.asked()[before:])


def test_a_process_that_comes_back_with_other_models_is_refused(world: World):
    from clucert.evaluate.plan import make_plan

    async def restarted() -> InputReply:
        order = order_of(make_plan(world.study()), NearBudget(Limits()))
        worker = Worker("worker 1")
        try:
            return await worker.certify(dataclasses.replace(order, models=("others",)), "r0", "a warm story")
        finally:
            await _ended(worker, now=True)

    trouble = asyncio.run(restarted()).trouble
    assert trouble is not None
    assert "other models than the first worker" in trouble.message
    assert not world.asked()


def test_models_that_differ_are_refused():
    pool = WorkerPool([], NearBudget(Limits()))
    pool.register("worker 1", Ready(1, "a", False, models=("one",)))
    pool.register("worker 2", Ready(1, "b", True, models=("one",)))
    assert (pool.machines, pool.file_caches) == ({"a", "b"}, True)
    with pytest.raises(UsageError, match="worker 3 on c has other models"):
        pool.register("worker 3", Ready(1, "c", False, models=("two",)))


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no key"),
        ModelUnavailableError("away"),
        UnknownNameError("task", "sst3", ["sst2"]),
        MissingExtraError("Ray", "pip install"),
        UsageError("no"),
    ],
)
def test_errors_travel_as_what_they_are(error: errors.CluCertError):
    again = Trouble.of(error).error()
    assert (type(again), str(again), again.exit_code) == (type(error), " ".join(str(error).split()), error.exit_code)


def test_the_order_shows_no_key_and_no_other_variable(world: World):
    from clucert.evaluate.plan import make_plan

    env = {"OPENAI_API_KEY": "sk-very-secret", "HOME": "/root", "MY_PROXY": "http://me:pw@p"}
    order = order_of(make_plan(world.study()), NearBudget(Limits()), ["MY_PROXY", "ABSENT"], env)
    assert order.environment == {"OPENAI_API_KEY": "sk-very-secret", "MY_PROXY": "http://me:pw@p"}
    assert "secret" not in repr(order)
    assert "pw" not in repr(order)


def test_what_only_a_cluster_has_is_refused_elsewhere(world: World):
    with pytest.raises(UsageError, match="--workers is for --engine ray"):
        world.run(workers=2)
    with pytest.raises(UnknownNameError, match="unknown engine 'rey'"):
        world.run(engine="rey")
