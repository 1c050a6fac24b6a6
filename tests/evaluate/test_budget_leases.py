"""Caps that many workers share: kept whatever they do, whoever dies, and used up when there is enough to do."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert.evaluate.cluster.budget_leases import BudgetServer, Grant, LeasedBudget, Report, Room
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
        self.name, self.left, self.made = name, calls, 0
        self.budget = LeasedBudget(caps)
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
    st.tuples(st.sampled_from(["begin", "begin", "finish", "heartbeat", "die"]), st.integers(0, 2), st.integers(1, 7)),
    max_size=120,
)
caps = st.one_of(
    st.builds(Limits, requests=st.integers(0, 40)),
    st.builds(Limits, tokens=st.integers(0, 500)),
    st.builds(Limits, cost=st.floats(0, 1.0)),
    st.builds(Limits, requests=st.integers(0, 40), tokens=st.integers(0, 500), cost=st.floats(0, 1.0)),
)


def _heartbeat(budget_server: BudgetServer, seat: Seat, grants: dict[str, Grant], chunk: int) -> None:
    seat.budget.take(grants[seat.name])
    seat.begin()
    budget_server.note(seat.name, seat.budget.report())
    grants[seat.name] = budget_server.grant(seat.name, chunk)


@given(caps, steps, st.integers(1, 30))
def test_no_order_of_events_exceeds_a_cap_and_what_is_left_gets_used(limits: Limits, events: list, work: int):
    budget_server = BudgetServer(limits)
    seats = [Seat(f"w{i}", limits, work) for i in range(3)]
    grants = {seat.name: Grant() for seat in seats}
    dead: list[Seat] = []
    spent = Usage()
    for event, who, output in events:
        seat = seats[who]
        if seat in dead:
            continue
        if event == "begin":
            seat.begin()
        elif event == "finish" and seat.aside:
            seat.finish(usage := Usage(1, 13, output))
            spent += usage
        elif event == "heartbeat":
            _heartbeat(budget_server, seat, grants, 4)
        elif event == "die" and len(dead) < 2:
            # What it had in flight was asked, whoever heard the answer.
            spent += Usage(len(seat.aside), 13 * len(seat.aside), 7 * len(seat.aside))
            dead.append(seat)
            budget_server.mark_dead(seat.name)
    alive = [seat for seat in seats if seat not in dead]
    for _ in range(400):
        for seat in alive:
            seat.begin()
            while seat.aside:
                seat.finish(MOST)
                spent += MOST
            _heartbeat(budget_server, seat, grants, 4)
        if not any(seat.left or seat.aside for seat in alive):
            break
    assert not any(seat.left or seat.aside for seat in alive), "a worker waits for ever"
    used = Room(spent.calls, spent.input + spent.output, price(spent))
    assert used.within(limits) is None
    if not dead:
        assert budget_server.spent == spent
        assert budget_server.dollars == pytest.approx(price(spent))
        if budget_server.reached:
            assert (used + Room(1, 20, price(MOST))).within(limits), "it stopped before the cap"
        else:
            assert spent.calls == 3 * work


def test_without_caps_nothing_is_asked_for():
    budget = LeasedBudget(Limits())
    for _ in range(100):
        assert budget.reserve(QUERY, price)[0] == "go"
    assert not budget.needs_room.is_set()
    assert budget.report().needs is None


def test_a_call_that_waits_is_told_at_once_and_goes_when_there_is_room():
    async def main() -> list[str]:
        budget = LeasedBudget(Limits(requests=5))
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


def test_what_a_dead_worker_held_counts_as_spent():
    budget_server = BudgetServer(Limits(requests=10))
    budget_server.note("a", Report(needs=Room(1)))
    assert budget_server.grant("a", 8).room == Room(8)
    budget_server.mark_dead("a")
    budget_server.note("b", Report(needs=Room(1)))
    assert budget_server.grant("b", 8).room == Room(2)
    budget_server.note("b", Report(spent=Usage(calls=2), held=Room(2), needs=Room(1)))
    assert budget_server.grant("b", 8).reached == "--max-requests 10"
    assert "--max-requests 10 is reached" in str(budget_server.exceeded())
