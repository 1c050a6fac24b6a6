"""Caps on what a run may spend, and what it has spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from clucert.errors import BudgetExceededError, UsageError
from clucert.types import Query, Usage, estimate_input

Price = Callable[[Usage], float | None]
"""US dollars for a usage; None when the model's price is not known."""

Verdict = Literal["go", "wait", "stop"]


def estimate_usage(query: Query) -> Usage:
    """What one call is expected to cost at most: its estimated input, and an answer of full length."""
    return Usage(calls=1, input=estimate_input(query), output=query.max_tokens)


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps on one invocation: calls sent, tokens in and out, US dollars. None is no cap."""

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is set aside for a call in flight."""

    tokens: int = 0
    cost: float = 0.0


_NOTHING = Reservation()


@dataclass(slots=True)
class Budget:
    """What this invocation has spent, what its calls in flight may still cost, and whether another one fits.

    Calls are counted exactly and never exceed their cap. Tokens and dollars are known once an answer is there: for each
    call in flight an estimate (:func:`estimate_usage`) is set aside first, so these caps hold unless calls cost more
    than their estimates. Not thread-safe: belongs to one event loop.
    """

    limits: Limits = field(default_factory=Limits)
    spent: Usage = field(default_factory=Usage)
    """Of calls that came back. One that failed counts as a call of unknown cost. Where a server reports no usage, it is
    estimated, and ``spent.estimated`` counts those calls."""
    cost: float = 0.0
    """US dollars, of the calls whose price is known."""
    priced: bool = True
    """False once a call was made whose price is not known: ``cost`` is then a lower bound."""
    in_flight: int = 0
    reached: str | None = None
    """The cap that stopped the work, as the user wrote it."""
    freed: list[Callable[[], None]] = field(default_factory=list)
    """Called when a call came back and another one may fit."""
    _tokens_aside: int = 0
    _cost_aside: float = 0.0

    def reserve(self, query: Query, price: Price | None) -> tuple[Verdict, Reservation]:
        """Whether ``query`` may be sent now, and if so (``go``) what was set aside for it.

        ``wait``: perhaps, once a call in flight has come back. ``stop``: not any more.
        """
        limits = self.limits
        capped = limits.tokens is not None or limits.cost is not None
        if not capped and limits.requests is None:
            self.in_flight += 1
            return "go", _NOTHING
        wanted = self._wanted(query, price) if capped else _NOTHING
        verdict = self._verdict(wanted)
        if verdict == "go":
            self.in_flight += 1
            self._tokens_aside += wanted.tokens
            self._cost_aside += wanted.cost
        return verdict, wanted

    def settle(self, reserved: Reservation, usage: Usage | None, price: Price | None) -> None:
        """A call came back: with its usage, or (None) without an answer."""
        self.in_flight -= 1
        self._tokens_aside -= reserved.tokens
        self._cost_aside -= reserved.cost
        if usage is not None and min(usage.document().values()) < 0:
            usage = None  # A user's own model that miscounts must not lower what was spent.
        self.spent += Usage(calls=1) if usage is None else usage
        cost = price(usage) if price and usage is not None else None
        if cost is None:
            self.priced = False
        else:
            self.cost += cost
        if reserved is not _NOTHING:
            for listener in self.freed:
                listener()

    @property
    def dollars(self) -> float | None:
        """What was spent; None when the price of a model that was asked is not known."""
        return self.cost if self.priced else None

    def exceeded(self) -> BudgetExceededError:
        """The error that stops the work."""
        return BudgetExceededError(f"{self.reached} is reached: run the same command with a larger cap to go on")

    def _wanted(self, query: Query, price: Price | None) -> Reservation:
        usage = estimate_usage(query)
        return Reservation(usage.input + usage.output, (price(usage) if price else None) or 0.0)

    def _verdict(self, wanted: Reservation) -> Verdict:
        limits, spent = self.limits, self.spent
        if limits.requests is not None and spent.calls + self.in_flight >= limits.requests:
            return self._stop(f"--max-requests {limits.requests:,}")
        wait = False
        if limits.tokens is not None:
            tokens = spent.input + spent.output + wanted.tokens
            if tokens > limits.tokens:
                return self._stop(f"--max-tokens {limits.tokens:,}")
            wait |= tokens + self._tokens_aside > limits.tokens
        if limits.cost is not None:
            cost = self.cost + wanted.cost
            if cost > limits.cost:
                return self._stop(f"--max-cost {limits.cost:g}")
            wait |= cost + self._cost_aside > limits.cost
        return "wait" if wait else "go"

    def _stop(self, cap: str) -> Verdict:
        self.reached = self.reached or cap
        return "stop"


def check_price(limits: Limits, price: Price | None, model: str) -> None:
    """Raise :class:`UsageError` when a cap in dollars could not be kept for ``model``."""
    if limits.cost is not None and (price is None or price(Usage(1, 1, 1)) is None):
        raise UsageError(f"--max-cost: the price of {model} is not known: cap it with --max-tokens or --max-requests")
