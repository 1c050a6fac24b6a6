"""One budget for many workers: an actor that all of them call to settle what they spent and to reserve room for more.

A worker reserves room for a few calls at once, waits where there is none, and gives back what it does not use. So a cap
holds for all workers together as exactly as :class:`clucert.runtime.budget.Budget` keeps it for one. What a worker that
fell silent had reserved counts as spent, for it may have spent it. Without caps nothing is ever reserved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from clucert.errors import BudgetExceededError
from clucert.runtime.budget import Budget, Limits, Reservation, Verdict
from clucert.types import Usage


@dataclass(frozen=True, slots=True)
class Room:
    """Calls, tokens and US dollars."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Room) -> Room:
        return Room(self.requests + other.requests, self.tokens + other.tokens, self.cost + other.cost)

    def within(self, limits: Limits) -> str | None:
        """The first cap that it exceeds, as the user wrote it; None when it keeps them all."""
        if limits.requests is not None and self.requests > limits.requests:
            return f"--max-requests {limits.requests:,}"
        if limits.tokens is not None and self.tokens > limits.tokens:
            return f"--max-tokens {limits.tokens:,}"
        # Sums of dollars in another order differ in the last digits.
        if limits.cost is not None and self.cost > limits.cost * (1 + 1e-9):
            return f"--max-cost {limits.cost:g}"
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """A worker's budget: all it has ``spent`` so far, all it may spend (``held``), and what its next call needs."""

    spent: Usage = field(default_factory=Usage)
    cost: float = 0.0
    priced: bool = True
    held: Room = field(default_factory=Room)
    needs: Room | None = None
    votes: int = 0
    """Noised texts that it has voted on."""

    @property
    def used(self) -> Room:
        """What was spent, as room."""
        return Room(self.spent.calls, self.spent.input + self.spent.output, self.cost)


@dataclass(frozen=True, slots=True)
class Grant:
    """More room; or the cap that is reached, after which there will be no more."""

    room: Room = field(default_factory=Room)
    reached: str | None = None


class WorkerBudget(Budget):
    """What one worker may spend: ``wait`` where that is used up, until ``take`` brings more room or the end of it."""

    def __init__(self, caps: Limits) -> None:
        super().__init__()
        self._caps = caps
        self._granted = Room()
        self._needs: Reservation | None = None
        self._over: str | None = None
        self.needs_room = asyncio.Event()
        """Set when a call has to wait for room."""
        self._hold(Room())

    def report(self, votes: int = 0) -> Report:
        """What was spent; room that no call needs now is given back."""
        if self._needs is not None or not self.in_flight:
            self._hold(self._bound())
        self.needs_room.clear()
        needs = None if self._needs is None else Room(1, self._needs.tokens, self._needs.cost)
        return Report(self.spent, self.cost, self.priced, self._granted, needs, votes)

    def take(self, grant: Grant) -> None:
        """Add the granted room, or stop for good when a cap is reached."""
        self._over = self._over or grant.reached
        if grant.room == Room() and grant.reached is None:
            return
        self._needs = None
        # The calls that wait are to use the room before a report gives it back as not needed.
        self.needs_room.clear()
        self._hold(self._granted + grant.room)
        for listener in self.freed:
            listener()

    def _bound(self) -> Room:
        """What is spent or set aside for a call in flight."""
        tokens = self.spent.input + self.spent.output + self._tokens_aside
        return Room(self.spent.calls + self.in_flight, tokens, self.cost + self._cost_aside)

    def _hold(self, room: Room) -> None:
        self._granted = room
        caps = self._caps
        self.limits = Limits(
            None if caps.requests is None else room.requests,
            None if caps.tokens is None else room.tokens,
            None if caps.cost is None else room.cost * (1 + 1e-9),
        )

    def _verdict(self, wanted: Reservation) -> Verdict:
        verdict = super()._verdict(wanted)
        if verdict == "go":
            return verdict
        if self._over is not None:
            # What is still held may be used up; a call that does not fit into it is never made.
            self.reached = self._over if verdict == "stop" else None
            return verdict
        self.reached = None
        self._needs = wanted
        self.needs_room.set()
        return "wait"


SILENT = 30.0
"""Seconds without a report after which a worker counts as dead; they report several times a second."""

Process = tuple[str, str]
"""A worker's name, and what tells its processes apart: one that died is started again under the same name."""


@dataclass(slots=True)
class _Account:
    heard: float
    report: Report = field(default_factory=Report)
    held: Room = field(default_factory=Room)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all workers have spent. Calls that a worker made after its last report before it died are missing."""

    spent: Usage = field(default_factory=Usage)
    dollars: float | None = 0.0
    """None when the price of a model that was asked is not known."""
    reached: str | None = None
    """The cap that stopped the work, as the user wrote it."""
    votes: int = 0
    lost: int = 0
    """Processes of workers that were replaced, for they died."""
    alive: frozenset[str] = frozenset()
    """The workers that have reported a moment ago."""
    silence: float = 0.0
    """Seconds since the last report of any worker."""

    def exceeded(self) -> BudgetExceededError:
        """The error that stops the work."""
        return BudgetExceededError(f"{self.reached} is reached: run the same command with a larger cap to go on")


class BudgetService(Protocol):
    """How workers and the driver reach the :class:`SharedBudget`."""

    async def account(self, process: Process, report: Report, calls: int) -> Grant:
        """Settle, then reserve."""
        ...

    async def totals(self) -> Totals:
        """What was spent."""
        ...


class SharedBudget:
    """The caps of a run, what each worker has spent of them, and what it holds."""

    def __init__(self, caps: Limits, silent: float = SILENT, clock: Callable[[], float] = time.monotonic) -> None:
        """A worker that has not reported for ``silent`` seconds counts as dead."""
        self.caps, self._silent = caps, silent
        self._clock, self._began = clock, clock()
        self._reached: str | None = None
        self._accounts: dict[Process, _Account] = {}
        self._current: dict[str, Process] = {}
        """The last process of each worker."""

    def account(self, process: Process, report: Report, calls: int) -> Grant:
        """:meth:`settle`, then :meth:`reserve`, in one message."""
        self.settle(process, report)
        return self.reserve(process, calls)

    def settle(self, process: Process, report: Report) -> None:
        """Take the report of ``process`` into account. A new process of a worker is the end of the one before it."""
        if process not in self._accounts:
            self._current[process[0]] = process
        self._accounts[process] = _Account(self._clock(), report, report.held)

    def reserve(self, process: Process, calls: int) -> Grant:
        """Room for up to ``calls`` calls like the one that ``process`` waits for, as far as there is any.

        Nothing while what others hold may still come back; ``reached`` once it cannot.
        """
        account = self._accounts[process]
        needs = account.report.needs
        if needs is None:
            return Grant()
        if cap := (self._never_returned() + needs).within(self.caps):
            self._reached = self._reached or cap
            return Grant(reached=cap)
        taken, room = self._taken(), Room()
        for _ in range(calls):
            if (taken + room + needs).within(self.caps):
                break
            room += needs
        account.held += room
        return Grant(room)

    def totals(self) -> Totals:
        """What was spent, and by how many workers."""
        accounts = list(self._accounts.values())
        reports = [account.report for account in accounts]
        return Totals(
            spent=Usage.total([report.spent for report in reports]),
            dollars=sum((r.cost for r in reports), 0.0) if all(r.priced for r in reports) else None,
            reached=self._reached,
            votes=sum(report.votes for report in reports),
            lost=len(self._accounts) - len(self._current),
            alive=frozenset(process[0] for process in self._accounts if not self._is_dead(process)),
            silence=self._clock() - max([self._began, *(account.heard for account in accounts)]),
        )

    def _is_dead(self, process: Process) -> bool:
        silent = self._clock() - self._accounts[process].heard > self._silent
        return silent or self._current[process[0]] != process

    def _never_returned(self) -> Room:
        """Room that is used up, by dead workers all that they held."""
        return sum((a.held if self._is_dead(p) else a.report.used for p, a in self._accounts.items()), Room())

    def _taken(self) -> Room:
        """What is spent or held: calls may cost more than was reserved for them."""
        total = Room()
        for account in self._accounts.values():
            used, held = account.report.used, account.held
            total += Room(used.requests, max(used.tokens, held.tokens), max(used.cost, held.cost))
            total += Room(max(0, held.requests - used.requests))
        return total
