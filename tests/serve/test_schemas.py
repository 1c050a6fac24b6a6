"""Requests as any client may write them, read without the network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert.models.chat_api import AcceptedFields, request_of
from clucert.serve.admission import AdmissionControl
from clucert.serve.fields import strict_json
from clucert.serve.http_errors import Fault
from clucert.serve.schemas import UNSUPPORTED, ParsedRequest, encode, read_request

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
LAST = {"role": "user", "content": "hello there"}


def read(body: bytes) -> ParsedRequest:
    return read_request(strict_json(body), model="m", max_tokens=50, temperature=1.0)


@given(st.binary() | json_values.map(encode) | st.dictionaries(st.text(), json_values).map(encode))
def test_any_bytes_are_a_request_or_a_fault_of_the_client(body: bytes) -> None:
    try:
        outcome: object = read(body)
    except Fault as fault:
        outcome = fault
    assert isinstance(outcome, ParsedRequest) or (outcome.status in (400, 404) and json.dumps(outcome.body()))


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: name not in UNSUPPORTED), json_values, max_size=4))
def test_fields_that_the_guard_does_not_know_never_reach_the_upstream(more: dict[str, Any]) -> None:
    known = {"model": "m", "messages": [LAST], "stream": True, "temperature": 0.5, "max_tokens": 7}
    try:
        sent = request_of("m", read(encode(more | known)).query, AcceptedFields())
    except Fault:
        return
    assert sent.keys() - {"model", "messages", "temperature", "max_tokens", "stop", "seed", "user", "top_p"} == set()
    assert sent["messages"] == [LAST]


@pytest.mark.parametrize(
    ("name", "off"), [("tools", []), ("tool_choice", "none"), ("logprobs", False), ("audio", None)]
)
def test_what_is_switched_off_need_not_be_supported(name: str, off: object) -> None:
    wanted = read(encode({"model": "m", "messages": [LAST], name: off}))
    assert wanted.query.extra == ()


def test_the_gate_lets_in_in_order_and_no_more_than_it_may() -> None:
    async def scene() -> None:
        gate, order, go = AdmissionControl(2, 3), [], asyncio.Event()

        async def visit(name: int) -> None:
            async with gate.slot():
                order.append(name)
                await go.wait()

        visits = [asyncio.create_task(visit(i)) for i in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (gate.in_flight, gate.waiting, order) == (2, 3, [0, 1])
        with pytest.raises(Fault) as raised:
            gate.check()
        assert raised.value.status == 503
        assert int(raised.value.headers()["retry-after"]) >= 1
        visits[3].cancel()
        await asyncio.gather(visits[3], return_exceptions=True)
        gate.check()
        go.set()
        await asyncio.gather(*visits, return_exceptions=True)
        assert order == [0, 1, 2, 4]
        assert (gate.in_flight, gate.waiting) == (0, 0)

    asyncio.run(scene())
