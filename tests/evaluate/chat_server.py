"""A chat server for tests: a process of its own that answers by a fixed rule and writes down what it was asked.

    python chat_server.py LOG [SECONDS]

Prints its port. Each request adds one JSON line to LOG before it is answered: the last user message. A message that
holds "unanswerable" gets a 400.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path


def reply_to(text: str) -> str:
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") % 100
    good = any(word in text for word in ("good", "fine", "nice", "warm", "funny", "moving"))
    return "negative" if good == (number < 8) else "positive"


async def serve(log: Path, latency: float) -> None:
    out = log.open("a", encoding="utf-8")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:")
                body = json.loads(await reader.readexactly(length))
                text = body["messages"][-1]["content"]
                out.write(json.dumps(text) + "\n")
                out.flush()
                await asyncio.sleep(latency)
                status = b"400 Bad Request" if "unanswerable" in text else b"200 OK"
                words = sum(len(message["content"].split()) for message in body["messages"])
                answer = {"error": {"message": "cannot"}} if "unanswerable" in text else completion(text, words)
                content = json.dumps(answer).encode()
                writer.write(
                    b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (status, len(content), content)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the caller reads it
    await server.serve_forever()


def completion(text: str, words: int) -> dict:
    message = {"role": "assistant", "content": reply_to(text)}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 2 * words, "completion_tokens": 1, "total_tokens": 2 * words + 1},
    }


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
