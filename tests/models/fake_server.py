"""A real HTTP server that misbehaves on demand, for the error paths of clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.processes import QuietHandler, answering


@dataclass
class Reply:
    """One reply; ``drop`` closes the connection instead, ``delay`` waits first."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    drop: bool = False
    delay: float = 0.0


@dataclass
class Request:
    """What a client sent; header names are in lower case."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str


def completion(text: str, *, prompt_tokens: int = 500, logprobs: Any = None) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
    return Reply(body={"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def error(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    return Reply(status, {"error": {"message": message, **fields}}, headers or {})


class Server:
    def __init__(self, respond: Callable[[Request, int], Reply]) -> None:
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        server = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = json.loads(self.posted())
                with server._lock:
                    number = len(server.requests)
                    server.requests.append(Request(body, {k.lower(): v for k, v in self.headers.items()}, self.path))
                reply = respond(server.requests[number], number)
                time.sleep(reply.delay)
                if reply.drop:
                    self.close_connection = True
                    self.connection.close()
                    return
                try:
                    self.reply(reply.body if reply.raw is None else reply.raw, reply.status, reply.headers)
                except OSError:  # the client gave up, as some tests make it do
                    self.close_connection = True

        self.handler, self.url = Handler, ""


@contextmanager
def serving(respond: Callable[[Request, int], Reply] | list[Reply]) -> Iterator[Server]:
    """A server that answers request number i by ``respond(request, i)``, or with the i-th reply (the last one on)."""
    server = Server(respond if callable(respond) else lambda _, i: respond[min(i, len(respond) - 1)])
    with answering(server.handler) as server.url:
        yield server
