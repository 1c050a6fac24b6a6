"""An upstream of gates: it speaks four APIs, streams, and is the gate's classifier under ``/guard``.

Prints its port. ``GET /stats`` has the bytes, the path and the headers of the last request, and how many there were. A
system message tells how to behave, as in ``upstream.py``: beside that, ``events`` is how many are streamed, ``pause``
the seconds between them, ``break`` that the connection is closed after them, and ``say`` the answer.

The classifier says *harmful* where it sees a word of ``HARMFUL``, *banana* where it sees one, else *safe*; with
*outage* in the text it fails.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from upstream import SECRET, Upstream, completion, main, response

HARMFUL = frozenset({"bomb", "weapon", "hack"})


class GateUpstream(Upstream):
    async def answer(self, line: str, headers: dict[str, str], body: bytes, reader: Any, writer: Any) -> bool:
        path = line.split(" ")[1]
        if path.startswith("/guard"):
            return self.classify(path, body, writer)
        if path == "/stats" or path == "/v1/models" or headers.get("authorization") != f"Bearer {SECRET}":
            return await super().answer(line, headers, body, reader, writer)
        self.last = {"path": path, "headers": headers, "body": base64.b64encode(body).decode()}
        self.stats["asked"] += 1
        request = json.loads(body)
        first = request.get("messages", [{}])[0].get("content")
        order = json.loads(first) if isinstance(first, str) and first[:1] == "{" else {}
        if order.get("fail"):
            return self.fail(order["fail"], order, "the prompt", writer)
        if request.get("stream"):
            return await self.stream(path, order, reader, writer)
        writer.write(response(200, json.dumps(self.whole(path, request, order)).encode()))
        return True

    def classify(self, path: str, body: bytes, writer: Any) -> bool:
        if path.endswith("/models"):
            writer.write(response(200, b'{"object":"list","data":[]}'))
            return True
        self.stats["classified"] += 1
        text = json.loads(body)["messages"][-1]["content"].casefold()
        words = set(text.replace("\n", " ").split())
        if "outage" in words:
            writer.write(response(400, b'{"error":{"message":"down"}}'))
            return True
        said = "harmful" if words & HARMFUL else "banana" if "banana" in words else "safe"
        writer.write(response(200, json.dumps(completion(said)).encode()))
        return True

    def whole(self, path: str, request: Any, order: Any) -> dict[str, Any]:
        said = order.get("say", "Sure.")
        match path:
            case "/v1/chat/completions":
                message: dict[str, Any] = {"role": "assistant", "content": said}
                if request.get("tools"):
                    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                    message = {"role": "assistant", "content": None, "tool_calls": [call]}
                choices = [
                    {"index": i, "finish_reason": "stop", "message": message} for i in range(request.get("n") or 1)
                ]
                return {**completion(said), "choices": choices}
            case "/v1/responses":
                part = {"type": "output_text", "text": said, "annotations": []}
                item = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [part]}
                head = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "stub"}
                more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
                return {**head, "output": [item], **more}
            case "/v1/completions":
                choice = {"index": 0, "text": said, "finish_reason": "stop", "logprobs": None}
                return {"id": "c", "object": "text_completion", "created": 1, "model": "stub", "choices": [choice]}
        row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "model": "stub", "data": [row], "usage": usage}

    async def stream(self, path: str, order: Any, reader: Any, writer: Any) -> bool:
        head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        gone = asyncio.ensure_future(reader.read(1))
        for i in range(order.get("events", 3)):
            delta = {"index": 0, "delta": {"content": f"word{i} "}, "finish_reason": None}
            event = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [delta]}
            self.chunk(writer, b": a comment\n\ndata: %s\n\n" % json.dumps(event).encode())
            await writer.drain()
            self.stats["events"] += 1
            done, _ = await asyncio.wait([gone], timeout=order.get("pause", 0))
            if done:
                self.stats["hung_up"] += 1
                return False
        if order.get("break"):
            return False
        self.chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        return True

    @staticmethod
    def chunk(writer: Any, data: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


if __name__ == "__main__":
    asyncio.run(main(GateUpstream()))
