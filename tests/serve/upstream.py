"""An upstream for tests: a chat server in a process of its own that fails in the ways that real ones do.

Prints its port. What it does is said by the system message, which the guard never noises: one JSON object with

* ``refuse``: share of the calls that get a refusal (by a digest of the user's text);
* ``delay``: seconds before the answer;
* ``fail``: one of ``FAILURES`` below, or a status;
* ``retry_after``: the header of a failure;
* ``once``: whether only the first call fails.

``GET /stats`` tells how many calls were answered, and how many clients hung up on one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from typing import Any

SECRET = "sk-upstream-0123456789abcdef"
REFUSAL = "I'm sorry, but I can't help with that."


def completion(text: str) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 2, "total_tokens": 1002},
    }


def response(status: int, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class Upstream:
    def __init__(self) -> None:
        self.stats: Counter[str] = Counter()
        self.last: dict[str, Any] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if not await self.answer(lines[0], headers, body, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, line: str, headers: dict[str, str], body: bytes, reader: Any, writer: Any) -> bool:
        """Whether the connection lives on."""
        if line.startswith("GET /stats"):
            writer.write(response(200, json.dumps({**self.stats, "last": self.last}).encode()))
            return True
        if headers.get("authorization") != f"Bearer {SECRET}":
            self.stats["unauthorized"] += 1
            writer.write(response(401, json.dumps({"error": {"message": f"no: {headers}"}}).encode()))
            return True
        if line.startswith("GET /v1/models"):
            writer.write(response(200, b'{"object":"list","data":[]}'))
            return True
        request = json.loads(body)
        self.last = request
        first = request["messages"][0]
        order = json.loads(first["content"]) if first["role"] == "system" and first["content"][:1] == "{" else {}
        return await self.obey(order, request, reader, writer)

    async def obey(self, order: dict[str, Any], request: Any, reader: Any, writer: Any) -> bool:
        text = request["messages"][-1]["content"]
        if order.get("delay"):
            gone = asyncio.ensure_future(reader.read(1))
            done, _ = await asyncio.wait([gone], timeout=order["delay"])
            if done:
                self.stats["hung_up"] += 1
                return False
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        fail = order.get("fail")
        if fail and not (order.get("once") and self.stats["failed"]):
            self.stats["failed"] += 1
            return self.fail(fail, order, text, writer)
        self.stats["answered"] += 1
        number = hashlib.blake2b(text.encode(), digest_size=1).digest()[0] / 256
        said = REFUSAL if number < order.get("refuse", 0) else f"Sure: {text}"
        writer.write(response(200, json.dumps(completion(said)).encode()))
        return True

    def fail(self, fail: Any, order: dict[str, Any], text: str, writer: Any) -> bool:
        match fail:
            case "hang up":
                return False
            case "drop":
                writer.write(response(200, json.dumps(completion("cut")).encode())[:-20])
                return False
            case "not json":
                writer.write(response(200, b"<html>Bad gateway</html>"))
            case "no choices":
                writer.write(response(200, b'{"choices": []}'))
            case "nothing":
                writer.write(response(200, b""))
            case "gzip":
                writer.write(response(200, json.dumps(completion("plain")).encode(), "Content-Encoding: gzip\r\n"))
            case "gzip 503":
                writer.write(response(503, b'{"error": {"message": "plain"}}', "Content-Encoding: gzip\r\n"))
            case "redirect":
                writer.write(response(307, b"", "Location: http://evil.example/v1/chat/completions\r\n"))
            case "negative":
                usage = {"prompt_tokens": -9, "completion_tokens": -9, "total_tokens": -18}
                writer.write(response(200, json.dumps({**completion("odd"), "usage": usage}).encode()))
            case "silence":
                writer.write(response(200, json.dumps(completion("")).encode()))
            case status:
                retry = f"Retry-After: {order['retry_after']}\r\n" if "retry_after" in order else ""
                said = {"error": {"message": f"cannot do {text!r} with key {SECRET}", "type": "x"}}
                writer.write(response(status, json.dumps(said).encode(), retry))
        return True


async def main(upstream: Upstream) -> None:
    server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the caller reads it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Upstream()))
