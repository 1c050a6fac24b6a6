"""Caps that many workers share: kept whatever they do, whoever dies, and used up when there is enough to do."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert.evaluate.cluster.shared_budget import SILENT, Grant, Process, Report, Room, SharedBudget, WorkerBudget
from clucert.runtime.budget import Limits, Reservation
from clucert.types import Message, Query, Usage

QUERY = Query(messages=(Message("user", "x" * 36),), max_tokens=7)
"""Estimated at 13 tokens in and 7 out."""
MOST = Usage(calls=1, input=13, output=7)


def price(usage: Usage) -> float:
    return (usage.input + 3 * usage.output) / 1000


class Seat:
    """A worker with a line of calls to make."""

    def __init__(self, name: str, caps: Limits, calls: int) -> None:
        self.process, self.left, self.made = (name, "first"), calls, 0
        self.budget = WorkerBudget(caps)
        self.aside: list[Reservation] = []

    def begin(self) -> None:
        if self.left:
            verdict, aside = self.budget.reserve(QUERY, price)
            if verdict == "go":
                self.left -= 1
                self.made += 1
                self.aside.append(aside)
            elif verdict == "stop":
                self.left = 0

    def finish(self, usage: Usage) -> None:
        if self.aside:
            self.budget.settle(self.aside.pop(), usage, price)


steps = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "finish", "report", "die"]), st.integers(0, 2), st.integers(1, 7)),
    max_size=120,
)
caps = st.one_of(
    st.builds(Limits, requests=st.integers(0, 40)),
    st.builds(Limits, tokens=st.integers(0, 500)),
    st.builds(Limits, cost=st.floats(0, 1.0)),
    st.builds(Limits, requests=st.integers(0, 40), tokens=st.integers(0, 500), cost=st.floats(0, 1.0)),
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _report(shared: SharedBudget, seat: Seat, grants: dict[Process, Grant], chunk: int) -> None:
    """One round of a worker: what was granted is taken, a call begun, and the next room asked for."""
    seat.budget.take(grants.get(seat.process, Grant()))
    seat.begin()
    grants[seat.process] = shared.account(seat.process, seat.budget.report(), chunk)


@given(caps, steps, st.integers(1, 30), st.booleans())
def test_no_order_of_events_exceeds_a_cap_and_what_is_left_gets_used(
    limits: Limits, events: list, work: int, restarted: bool
):
    clock = Clock()
    shared = SharedBudget(limits, clock=clock)
    seats = [Seat(f"w{i}", limits, work) for i in range(3)]
    grants: dict[Process, Grant] = {}
    dead: list[Seat] = []
    spent = Usage()
    for event, who, output in events:
        seat = seats[who]
        if event == "begin":
            seat.begin()
        elif event == "finish" and seat.aside:
            seat.finish(usage := Usage(1, 13, output))
            spent += usage
        elif event == "report":
            _report(shared, seat, grants, 4)
        elif event == "die" and len(dead) < 2:
            # What it had in flight was asked, whoever heard the answer; it comes back with an empty budget, or never.
            spent += Usage(len(seat.aside), 13 * len(seat.aside), 7 * len(seat.aside))
            dead.append(seat)
            seats[who] = Seat(seat.process[0], limits, work if restarted else 0)
            seats[who].process = (seat.process[0], f"after {len(dead)}")
    alive = seats if restarted else [seat for seat in seats if seat.process[1] == "first"]
    for _ in range(400):
        clock.now += SILENT / 10
        for seat in alive:
            seat.begin()
            while seat.aside:
                seat.finish(MOST)
                spent += MOST
            _report(shared, seat, grants, 4)
        if not any(seat.left or seat.aside for seat in alive):
            break
    assert not any(seat.left or seat.aside for seat in alive), "a worker waits for ever"
    used = Room(spent.calls, spent.input + spent.output, price(spent))
    assert used.within(limits) is None
    totals = shared.totals()
    if not dead:
        assert totals.spent == spent
        assert totals.dollars == pytest.approx(price(spent))
        assert totals.lost == 0
        if totals.reached:
            assert (used + Room(1, 20, price(MOST))).within(limits), "it stopped before the cap"
        else:
            assert spent.calls == 3 * work


def test_without_caps_nothing_is_asked_for():
    budget = WorkerBudget(Limits())
    for _ in range(100):
        assert budget.reserve(QUERY, price)[0] == "go"
    assert not budget.needs_room.is_set()
    assert budget.report().needs is None


def test_a_call_that_waits_is_told_at_once_and_goes_when_there_is_room():
    async def main() -> list[str]:
        budget = WorkerBudget(Limits(requests=5))
        woken: list[str] = []
        budget.freed.append(lambda: woken.append("freed"))
        assert budget.reserve(QUERY, None)[0] == "wait"
        await asyncio.wait_for(budget.needs_room.wait(), 1)
        assert budget.report().needs == Room(1, 0, 0.0)
        budget.take(Grant(Room(2)))
        assert [budget.reserve(QUERY, None)[0] for _ in range(3)] == ["go", "go", "wait"]
        budget.take(Grant(reached="--max-requests 5"))
        assert budget.reserve(QUERY, None)[0] == "stop"
        assert budget.reached == "--max-requests 5"
        return woken

    assert asyncio.run(main()) == ["freed", "freed"]


A, A_AGAIN, B = ("a", "1"), ("a", "2"), ("b", "1")
ONE = Report(needs=Room(1))


@pytest.mark.parametrize("replaced", [False, True])
def test_what_a_dead_worker_held_counts_as_spent(replaced: bool):
    clock = Clock()
    shared = SharedBudget(Limits(requests=10), clock=clock)
    assert shared.account(A, ONE, 8).room == Room(8)
    assert shared.account(B, ONE, 8).room == Room(2)
    used_up = Report(spent=Usage(calls=2), held=Room(2), needs=Room(1))
    assert shared.account(B, used_up, 8) == Grant(), "what the other one holds may come back"
    if replaced:
        shared.settle(A_AGAIN, Report())
    else:
        clock.now += SILENT + 1
    assert shared.account(B, used_up, 8).reached == "--max-requests 10"
    totals = shared.totals()
    assert (totals.lost, totals.alive) == ((1, {"a", "b"}) if replaced else (0, {"b"}))
    assert "--max-requests 10 is reached" in str(totals.exceeded())


def test_a_late_report_of_a_dead_process_does_not_bring_it_back():
    shared = SharedBudget(Limits(requests=10), clock=Clock())
    shared.account(A, ONE, 8)
    shared.settle(A_AGAIN, Report())
    shared.settle(A, Report(spent=Usage(calls=3), held=Room(8)))
    assert (shared.totals().lost, shared.totals().spent.calls) == (1, 3)
    assert shared.account(A_AGAIN, ONE, 8).room == Room(2)


def test_the_silence_is_that_of_all_workers():
    clock = Clock()
    shared = SharedBudget(Limits(), clock=clock)
    clock.now = 5
    assert shared.totals().silence == 5
    shared.settle(A, Report())
    clock.now = 7
    assert shared.totals().silence == 2
