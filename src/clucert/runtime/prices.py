"""What a run costs in US dollars, by published list prices or the user's own; None where the price is unknown."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.metadata import version
from typing import Any

from clucert.core.thresholds import exact
from clucert.errors import InputError, UsageError, shortened
from clucert.redact import clean_base_url
from clucert.types import Usage

_BATCH = {"processing": "batch"}
"""Selects the price of a batch API in ``genai-prices``."""
_MILLION = Decimal(1_000_000)
_DEAREST = 1_000_000
"""US dollars per million tokens that a user may give."""
_LOCAL_PROVIDERS = frozenset({"callable", "hf", "llamacpp", "local", "ollama", "python", "smollm2", "vllm"})
"""Providers that run on the user's machines: no list has a price for them."""


@dataclass(frozen=True, slots=True)
class FlatPrice:
    """The user's own prices, US dollars per million tokens. Input that was cached costs ``input`` unless ``cached``."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None

    @property
    def source(self) -> str:
        """Where the price comes from, for the manifest and the report."""
        cached = "" if self.cached is None else f", ${self.cached} cached input"
        return f"given by the user: ${self.input} input{cached}, ${self.output} output per million tokens"

    def cost(self, usage: Usage) -> Decimal:
        """US dollars for ``usage``, exact."""
        cached = min(usage.cached, usage.input)
        rate = self.input if self.cached is None else self.cached
        return (self.input * (usage.input - cached) + rate * cached + self.output * usage.output) / _MILLION

    def __call__(self, usage: Usage) -> float:
        """:meth:`cost` in floating point, for budgets."""
        return float(self.cost(usage))


@dataclass(frozen=True, slots=True)
class ListPrice:
    """A published price. Prices that depend on the length of a request are those of the mean call of a usage."""

    model: str
    where: Mapping[str, str]
    """The provider, as ``genai-prices`` names it."""
    source: str
    """Where the price comes from, for the manifest and the report."""
    context: Mapping[str, str] | None = None
    """What else the price depends on."""

    def cost(self, usage: Usage) -> Decimal:
        """US dollars for ``usage``, to 10⁻¹² dollars, by the prices in force now."""
        calls = Decimal(max(usage.calls, 1))
        mean = {
            "input_tokens": usage.input / calls,
            "output_tokens": usage.output / calls,
            "cache_read_tokens": min(usage.cached, usage.input) / calls,
        }
        total: Decimal = _calculate(self.model, self.where, mean, self.context).total_price
        return (total * calls).quantize(Decimal("1e-12"))

    def __call__(self, usage: Usage) -> float:
        """:meth:`cost` in floating point, for budgets."""
        return float(self.cost(usage))


ModelPrice = FlatPrice | ListPrice


def find_price(
    model: str,
    *,
    base_url: str = "",
    price_input: str | None = None,
    price_output: str | None = None,
    price_cached: str | None = None,
    batch: bool = False,
) -> ModelPrice | None:
    """The price of ``model`` (``provider/name``), or None for "unknown": never a guess.

    The user's own prices (US dollars per million tokens, as written on the command line) come first. Otherwise the
    ``genai-prices`` package is asked, offline: about the provider that serves ``base_url`` if there is one, else the
    provider in the model's name. Local providers, and servers at unknown addresses, have no known price.

    Of requests through the ``batch`` API the user's own prices are taken to be those of a batch; of a model for which
    the package lists no batch price, the price is unknown.

    Raises :class:`UsageError` for a price that is no number, and for one of input and output without the other.
    """
    if price_input is not None or price_output is not None or price_cached is not None:
        if price_input is None or price_output is None:
            raise UsageError("a price needs both --price-input and --price-output, in dollars per million tokens")
        cached = None if price_cached is None else _dollars("--price-cached", price_cached)
        return FlatPrice(_dollars("--price-input", price_input), _dollars("--price-output", price_output), cached)
    provider, _, name = model.partition("/")
    if not name or (not base_url and provider in _LOCAL_PROVIDERS):
        return None
    return _listed(provider, name, base_url, batch)


def _listed(provider: str, name: str, base_url: str, batch: bool) -> ListPrice | None:
    where = {"provider_api_url": f"{clean_base_url(base_url)}/v1"} if base_url else {"provider_id": provider}
    try:
        found = _calculate(name, where, {"input_tokens": 0, "output_tokens": 0})
    except (ImportError, LookupError):
        return None
    source = f"genai-prices {version('genai-prices')}: {found.provider.id}/{found.model.id}"
    if not batch:
        return ListPrice(name, where, source)
    # Where there is no variant for batches, the package would silently give the ordinary price.
    variants = getattr(found.model, "price_variants", None) or ()
    listed = any(variant.when == _BATCH for variant in variants)
    return ListPrice(name, where, f"{source}, batch", _BATCH) if listed else None


def _calculate(
    model: str,
    where: Mapping[str, str],
    tokens: Mapping[str, int | Decimal],
    context: Mapping[str, str] | None = None,
) -> Any:
    prices = importlib.import_module("genai_prices")
    more = {"price_context": dict(context)} if context else {}
    return prices.calc_price(prices.Usage(**tokens), model, **where, **more)


def _dollars(option: str, written: str) -> Decimal:
    plain = written.strip().removeprefix("$")
    try:
        exact(plain, option)
        value = Decimal(plain)
    except (InputError, InvalidOperation):
        value = Decimal("NaN")
    if not (value.is_finite() and 0 <= value <= _DEAREST):
        raise UsageError(f"{option} must be dollars per million tokens, such as 0.15, not {shortened(written, 40)!r}")
    return value
