"""A queue that hangs up: who goes away takes along only what nobody else waits for."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queue_entries import Asked
from clucert.runtime.queued_models import QueueOptions
from clucert.types import Answer, Message, Query, Usage


class Slow:
    """Answers when it is told to, and counts who hung up."""

    name = "test/slow"
    deterministic = True

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.hung_up: list[str] = []

    async def answer_async(self, query: Query) -> Answer:
        text = query.messages[0].content
        self.begun.append(text)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.hung_up.append(text)
            raise
        return Answer(text, usage=Usage(1))


def run(scene: Callable[[Slow, ModelQueue], Awaitable[None]], *, abandon: bool) -> None:
    async def main() -> None:
        model = Slow()
        queue = ModelQueue(model, options=QueueOptions(connections=2, abandon=abandon))
        queue.start()
        try:
            await scene(model, queue)
        finally:
            model.go.set()
            await queue.stop()

    asyncio.run(main())


def ask(queue: ModelQueue, *texts: str) -> asyncio.Task[Asked]:
    return asyncio.create_task(queue.ask([queue.key(Query((Message("user", text),))) for text in texts]))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def give_up(task: asyncio.Task[Asked]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()


def test_calls_of_somebody_who_went_away_are_hung_up_and_those_in_the_line_never_made() -> None:
    async def scene(model: Slow, queue: ModelQueue) -> None:
        gone = ask(queue, "a", "b", "c", "d")
        await settle()
        assert model.begun == ["a", "b"]
        await give_up(gone)
        assert model.hung_up == ["a", "b"]
        stays = ask(queue, "e", "a")
        await settle()
        assert model.begun == ["a", "b", "e", "a"]
        model.go.set()
        assert [answer.text for answer in (await stays).answers] == ["e", "a"]

    run(scene, abandon=True)


def test_a_call_that_somebody_else_waits_for_goes_on() -> None:
    async def scene(model: Slow, queue: ModelQueue) -> None:
        gone, stays = ask(queue, "a", "b"), ask(queue, "a")
        await settle()
        await give_up(gone)
        assert model.hung_up == ["b"]
        model.go.set()
        assert (await stays).answers[0].text == "a"
        assert model.begun == ["a", "b"]

    run(scene, abandon=True)


def test_a_study_keeps_its_calls() -> None:
    async def scene(model: Slow, queue: ModelQueue) -> None:
        gone = ask(queue, "a", "b", "c")
        await settle()
        await give_up(gone)
        assert model.hung_up == []

    run(scene, abandon=False)


def test_what_was_answered_leaves_no_garbage() -> None:
    """Freed at once: the collector, which a gate runs seldom, has next to nothing to find."""

    async def scene(model: Slow, queue: ModelQueue) -> None:
        model.go.set()
        await ask(queue, "first")
        gc.collect()
        gc.disable()
        try:
            for i in range(100):
                await ask(queue, f"a{i}", f"b{i}", f"a{i}")
            assert gc.collect() < 100
        finally:
            gc.enable()

    run(scene, abandon=True)
