"""What fields a server takes, learned from a question of our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from clucert.errors import ModelError
from clucert.models.chat_api import AcceptedFields, request_of, without_refused
from clucert.models.replies import FailedReply
from clucert.types import Answer, Message, Query

KNOWN_SECONDS = 60.0
"""How long a question that the server took is not put to it again."""


class Dialect:
    """Which fields the server of ``model`` takes. ``answer`` sends a body; :meth:`learn` belongs to one event loop."""

    def __init__(self, model: str, answer: Callable[[Query, dict[str, Any]], Awaitable[Answer]]) -> None:
        self.accepted = AcceptedFields()
        self._model, self._answer = model, answer
        self._learning = asyncio.Lock()
        self._taken: dict[frozenset[str], float] = {}
        """Until when the server is known to take questions with these fields."""

    async def learn(self, query: Query, accepted: AcceptedFields) -> bool:
        """Find out which fields of ``query`` the server takes; whether that is news to who knows of ``accepted``.

        It is asked a question of our own, with values of our own: what it says about a text that somebody else wrote
        may name any field, and would change how everybody's questions are asked. And nothing is kept unless this
        question is answered in the end.
        """
        async with self._learning:
            if self.accepted != accepted:
                return True
            own = _own_question(query)
            names = frozenset(request_of(self._model, own, accepted))
            if time.monotonic() < self._taken.get(names, 0.0):
                return False
            found = await self._taken_of(own)
            if found == accepted:
                self._taken[names] = time.monotonic() + KNOWN_SECONDS
            self.accepted = found
            return found != accepted

    async def _taken_of(self, own: Query) -> AcceptedFields:
        """What is accepted, without what the server refuses of the question ``own``, where it answers it then."""
        found = self.accepted
        while True:
            body = request_of(self._model, own, found)
            try:
                await self._answer(own, body)
            except FailedReply as failure:
                without = without_refused(found, failure.about, body) if failure.refuses else None
                if without is None:
                    return self.accepted
                found = without
            except (OSError, ModelError):
                return self.accepted
            else:
                return found


def _own_question(query: Query) -> Query:
    """A question with the optional fields of ``query``, and nothing else of it."""
    return Query(
        (Message("user", "Say yes."),),
        max_tokens=16,
        temperature=query.temperature,
        seed=None if query.seed is None else 1,
        stop=("\n\n\n",) if query.stop else (),
        labels=("yes", "no") if query.labels else (),
    )
