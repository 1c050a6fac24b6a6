"""`--max-queue K` means K: so many wait, the next is told to come again."""

from __future__ import annotations

import asyncio

import pytest

from clucert.serve.admission import AdmissionControl
from clucert.serve.http_errors import Fault


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("queue", [0, 1, 5])
def test_exactly_so_many_wait_and_the_next_is_refused(places: int, queue: int) -> None:
    async def scene() -> None:
        gate, go = AdmissionControl(places, queue), asyncio.Event()
        outcomes: list[str] = []

        async def visit() -> None:
            try:
                async with gate.slot():
                    await go.wait()
                outcomes.append("served")
            except Fault as fault:
                outcomes.append(f"refused with {fault.status}")

        visits = [asyncio.create_task(visit()) for _ in range(places + queue + 2)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert (gate.in_flight, gate.waiting) == (places, queue)
        assert outcomes == ["refused with 503"] * 2
        go.set()
        await asyncio.gather(*visits)
        assert outcomes.count("served") == places + queue
        # A place is free again, queue or not.
        async with gate.slot():
            pass

    asyncio.run(scene())
