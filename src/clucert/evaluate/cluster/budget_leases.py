"""One budget for many workers: the driver keeps it, and each worker spends from a part that was lent to it.

A worker that has used up its part asks for more and waits; what it does not use it gives back. So a cap holds for all
workers together as exactly as :class:`clucert.runtime.budget.Budget` keeps it for one. A worker that dies takes its
part along: the calls it may have made with it count as made. Without caps nothing is ever asked for.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

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

    @property
    def used(self) -> Room:
        """What was spent, as room."""
        return Room(self.spent.calls, self.spent.input + self.spent.output, self.cost)


@dataclass(frozen=True, slots=True)
class Grant:
    """More room; or the cap that is reached, after which there will be no more."""

    room: Room = field(default_factory=Room)
    reached: str | None = None


class LeasedBudget(Budget):
    """A worker's part. It says ``wait`` where the part is used up, until ``take`` brings more or the end of it."""

    def __init__(self, caps: Limits) -> None:
        super().__init__()
        self._caps = caps
        self._granted = Room()
        self._needs: Reservation | None = None
        self._over: str | None = None
        self.needs_room = asyncio.Event()
        """Set when a call has to wait for room."""
        self._lend(Room())

    def report(self) -> Report:
        """How things stand now; what nobody needs at the moment is given back."""
        if self._needs is not None or not self.in_flight:
            self._lend(self._bound())
        self.needs_room.clear()
        needs = None if self._needs is None else Room(1, self._needs.tokens, self._needs.cost)
        return Report(self.spent, self.cost, self.priced, self._granted, needs)

    def take(self, grant: Grant) -> None:
        """Add the granted room, or stop for good when a cap is reached."""
        self._over = self._over or grant.reached
        if grant.room == Room() and grant.reached is None:
            return
        self._needs = None
        # Who waits is to use the room before anybody reports, and gives back, that nobody needs it.
        self.needs_room.clear()
        self._lend(self._granted + grant.room)
        for listener in self.freed:
            listener()

    def _bound(self) -> Room:
        """What is spent or set aside for a call in flight."""
        tokens = self.spent.input + self.spent.output + self._tokens_aside
        return Room(self.spent.calls + self.in_flight, tokens, self.cost + self._cost_aside)

    def _lend(self, room: Room) -> None:
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
            # What is still lent may be used up; what does not fit into it is never asked.
            self.reached = self._over if verdict == "stop" else None
            return verdict
        self.reached = None
        self._needs = wanted
        self.needs_room.set()
        return "wait"


@dataclass(slots=True)
class _Account:
    report: Report = field(default_factory=Report)
    held: Room = field(default_factory=Room)
    dead: bool = False


class BudgetServer:
    """The driver's side: the caps, what each worker has spent of them, and what is lent."""

    def __init__(self, caps: Limits) -> None:
        self.caps = caps
        self.reached: str | None = None
        """The cap that stopped the work, as the user wrote it."""
        self._accounts: dict[str, _Account] = {}

    @property
    def spent(self) -> Usage:
        """What the workers have reported. Calls that a worker made after its last report before it died are missing."""
        return Usage.total([account.report.spent for account in self._accounts.values()])

    @property
    def dollars(self) -> float | None:
        """What was spent; None when the price of a model that was asked is not known."""
        reports = [account.report for account in self._accounts.values()]
        return sum((report.cost for report in reports), 0.0) if all(report.priced for report in reports) else None

    def exceeded(self) -> BudgetExceededError:
        """The error that stops the work."""
        return BudgetExceededError(f"{self.reached} is reached: run the same command with a larger cap to go on")

    def note(self, worker: str, report: Report) -> None:
        """Take the report of ``worker`` into account."""
        account = self._accounts.setdefault(worker, _Account())
        account.report, account.held = report, report.held

    def mark_dead(self, worker: str) -> None:
        """``worker`` is dead: nobody knows how much of its part it has used."""
        self._accounts.setdefault(worker, _Account()).dead = True

    def grant(self, worker: str, calls: int) -> Grant:
        """Room for up to ``calls`` calls like the one that ``worker`` waits for, as far as there is any.

        Nothing while what others hold may still come back; ``reached`` once it cannot.
        """
        account = self._accounts[worker]
        needs = account.report.needs
        if needs is None:
            return Grant()
        if cap := (self._never_returned() + needs).within(self.caps):
            self.reached = self.reached or cap
            return Grant(reached=cap)
        lent, room = self._lent(), Room()
        for _ in range(calls):
            if (lent + room + needs).within(self.caps):
                break
            room += needs
        account.held += room
        return Grant(room)

    def _never_returned(self) -> Room:
        """Room that is used up, by dead workers all that they held."""
        return sum((a.held if a.dead else a.report.used for a in self._accounts.values()), Room())

    def _lent(self) -> Room:
        """What is spent or lent: calls may cost more than was set aside for them."""
        total = Room()
        for account in self._accounts.values():
            used, held = account.report.used, account.held
            total += Room(used.requests, max(used.tokens, held.tokens), max(used.cost, held.cost))
            total += Room(max(0, held.requests - used.requests))
        return total
