"""Money is exact where a price is known, and None where it is not."""

from __future__ import annotations

import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.errors import UsageError
from clucert.runtime.prices import FlatPrice, find_price
from clucert.types import Usage

count = st.integers(0, 10**9)


@settings(deadline=None)
@given(count, count, count)
def test_own_prices_are_exact(fresh, cached, output):
    price = find_price("any", price_input="0.10", price_output="$2", price_cached="0.025")
    usage = Usage(1, fresh + cached, output, cached)
    micro = 100_000 * fresh + 25_000 * cached + 2_000_000 * output
    assert price.cost(usage) == Decimal(micro) / 10**12
    assert find_price("any", price_input="0.1", price_output="2").cost(usage) == (
        Decimal(100_000 * (fresh + cached) + 2_000_000 * output) / 10**12
    )


def test_own_prices_come_first_and_say_so():
    price = find_price("openai/gpt-4o-mini", price_input="1", price_output="3")
    assert price == FlatPrice(Decimal(1), Decimal(3))
    assert price.source == "given by the user: $1 input, $3 output per million tokens"
    assert price(Usage(1, 1_000_000, 1_000_000)) == 4.0


@pytest.mark.parametrize("written", ["", "cheap", "-1", "NaN", "inf", "0,15"])
def test_a_price_that_is_none_is_refused(written):
    with pytest.raises(UsageError, match="--price-input must be dollars"):
        find_price("m", price_input=written, price_output="1")


def test_half_a_price_is_refused():
    for half in ({"price_input": "1"}, {"price_output": "1"}, {"price_cached": "1"}):
        with pytest.raises(UsageError, match="both --price-input and --price-output"):
            find_price("m", **half)


class TestListPrices:
    @pytest.fixture(autouse=True)
    def _listed(self):
        pytest.importorskip("genai_prices")

    def test_a_known_model(self):
        price = find_price("openai/gpt-4o-mini")
        same = find_price("openai/gpt-4o-mini", base_url="https://API.openai.com")
        assert price.source.endswith(": openai/gpt-4o-mini")
        # $0.15, $0.075 cached and $0.60 a million, since July 2024
        usage = Usage(3, 300_001, 2_000, 100_000)
        assert price.cost(usage) == same.cost(usage) == Decimal("0.03870015")
        assert price.cost(Usage()) == 0
        assert price(usage) == pytest.approx(0.03870015)

    def test_many_short_calls_do_not_cost_what_one_long_call_does(self):
        """Prices of Gemini 2.5 Pro double above 200,000 tokens a call."""
        price = find_price("google/gemini-2.5-pro")
        short, long = price.cost(Usage(1000, 300_000, 0)), price.cost(Usage(1, 300_000, 0))
        assert short == price.cost(Usage(1, 300, 0)) * 1000
        assert long == 2 * short

    def test_more_cached_than_there_was_is_not_an_error(self):
        price = find_price("openai/gpt-4o-mini")
        assert price.cost(Usage(1, 100, 0, 500)) == price.cost(Usage(1, 100, 0, 100))

    @pytest.mark.parametrize(
        ("model", "base_url"),
        [
            ("openai/no-such-model", ""),
            ("nobody/gpt-4o-mini", ""),
            ("gpt-4o-mini", ""),
            ("smollm2", ""),
            ("hf/meta-llama/Llama-3.1-8B-Instruct", ""),
            ("llamacpp//models/gpt-4o-mini.gguf", ""),
            ("ollama/llama3", ""),
            ("vllm/gpt-4o-mini", ""),
            ("openai/gpt-4o-mini", "http://127.0.0.1:8080/v1"),
            ("openai/gpt-4o-mini", "localhost:8080"),
        ],
    )
    def test_unknown_is_none(self, model, base_url):
        assert find_price(model, base_url=base_url) is None


def test_without_the_package_every_list_price_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert find_price("openai/gpt-4o-mini") is None
