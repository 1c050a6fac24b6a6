"""A provider's batch API for tests: a process of its own that speaks files, batches and chat completions.

    python -m tests.models.batch_server FOLDER

Prints its port. It writes to FOLDER/log.jsonl what it was asked: ``{"file": n}``, ``{"batch": id, "requests": texts}``,
``{"chat": text}``. How it behaves is read from FOLDER/behaviour.json before each step:

``hold``      batches stay in progress
``end``       what batches end as (``completed``, ``expired``, ``cancelled``, ``failed``)
``answered``  share of the requests that an expired or cancelled batch has answered
``fail``      ``{word: [status, ...]}``: what a request with ``word`` in its text fails with, one after the other
``lost``      this many replies to the creation of a batch get lost
``code``      the error code of a failed batch
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.processes import QuickServer, QuietHandler


def reply_to(text: str) -> str:
    return "positive" if sum(text.encode()) % 7 else "negative"


def completion(body: dict[str, Any]) -> dict[str, Any]:
    words = sum(len(m["content"].split()) for m in body["messages"])
    message = {"role": "assistant", "content": reply_to(body["messages"][-1]["content"])}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 2 * words, "completion_tokens": 1, "total_tokens": 2 * words + 1},
    }


class Provider:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.Lock()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, int] = defaultdict(int)
        self.lost = 0

    def behaviour(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "behaviour.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}

    def log(self, **fields: Any) -> None:
        with (self.folder / "log.jsonl").open("a") as out:
            out.write(json.dumps(fields) + "\n")

    def upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        boundary = content_type.partition("boundary=")[2].encode()
        parts = [part for part in body.split(b"--" + boundary) if b'name="file"' in part]
        content = parts[0].partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        assert any(b'name="purpose"' in part and b"batch" in part for part in body.split(b"--" + boundary))
        identity = self._file(content)
        self.log(file=content.count(b"\n"))
        return {"id": identity, "object": "file", "bytes": len(content), "created_at": 1, "filename": "f",
                "purpose": "batch", "status": "processed"}  # fmt: skip

    def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        assert body["endpoint"] == "/v1/chat/completions"
        assert body["completion_window"] == "24h"
        identity = f"batch_{len(self.batches)}"
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert all(len(line["custom_id"]) <= 64 and line["url"] == body["endpoint"] for line in lines)
        assert len({line["custom_id"] for line in lines}) == len(lines)
        self.log(batch=identity, requests=[line["body"]["messages"][-1]["content"] for line in lines])
        self.batches[identity] = {
            "id": identity, "object": "batch", "endpoint": body["endpoint"], "completion_window": "24h",
            "created_at": len(self.batches), "input_file_id": body["input_file_id"], "status": "validating",
            "metadata": body.get("metadata"), "output_file_id": None, "error_file_id": None, "errors": None,
        }  # fmt: skip
        if self.lost < self.behaviour().get("lost", 0):
            self.lost += 1
            return None
        return self.batches[identity]

    def retrieve(self, identity: str) -> dict[str, Any]:
        batch, behaviour = self.batches[identity], self.behaviour()
        if batch["status"] in ("validating", "in_progress"):
            if behaviour.get("hold"):
                batch["status"] = "in_progress"
            else:
                self._end(batch, behaviour)
        return batch

    def _end(self, batch: dict[str, Any], behaviour: dict[str, Any]) -> None:
        ends = behaviour.get("end", ["completed"])
        end = ends[min(int(batch["id"][6:]), len(ends) - 1)]
        batch["status"] = end
        if end == "failed":
            error = {"code": behaviour.get("code"), "message": "too much sk-verysecret0123456789"}
            batch["errors"] = {"object": "list", "data": [error]}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        count = len(lines) if end == "completed" else int(len(lines) * behaviour.get("answered", 0.5))
        good, bad = [], []
        for line in lines[:count]:
            out = self._answer(line, behaviour.get("fail", {}))
            (good if out["response"]["status_code"] == 200 else bad).append(out)
        if end == "expired":
            error = {"code": "batch_expired", "message": "This request could not be executed in time."}
            late = {"id": "r", "response": None, "error": error}
            bad += [{**late, "custom_id": line["custom_id"]} for line in lines[count:]]
        # In another order than they came.
        for name, part in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if part:
                batch[name] = self._file(b"".join(json.dumps(line).encode() + b"\n" for line in part))

    def _answer(self, line: dict[str, Any], fail: dict[str, list[int]]) -> dict[str, Any]:
        text, status = line["body"]["messages"][-1]["content"], 200
        for word, statuses in fail.items():
            if re.search(rf"\b{word}\b", text):
                number = self.failures[text]
                self.failures[text] += 1
                status = statuses[number] if number < len(statuses) else 200
        body = completion(line["body"]) if status == 200 else {"error": {"message": f"no: {status}"}}
        response = {"status_code": status, "request_id": "q", "body": body}
        return {"id": "r", "custom_id": line["custom_id"], "error": None, "response": response}

    def _file(self, content: bytes) -> str:
        identity = f"file_{len(self.files)}"
        self.files[identity] = content
        return identity


def serve(folder: Path) -> None:
    provider = Provider(folder)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            content = self.posted()
            with provider.lock:
                if self.path == "/v1/files":
                    self.reply(provider.upload(self.headers["Content-Type"], content))
                elif self.path == "/v1/batches":
                    created = provider.create(json.loads(content))
                    if created is None:
                        self.close_connection = True
                        self.connection.close()
                    else:
                        self.reply(created)
                else:
                    body = json.loads(content)
                    provider.log(chat=body["messages"][-1]["content"])
                    self.reply(completion(body))

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].split("/")[2:]
            with provider.lock:
                if path == ["batches"]:
                    self.reply({"object": "list", "data": list(provider.batches.values())[::-1], "has_more": False})
                elif path[:1] == ["batches"] and path[1] in provider.batches:
                    self.reply(provider.retrieve(path[1]))
                elif path[:1] == ["files"] and path[-1] == "content" and path[1] in provider.files:
                    self.reply(provider.files[path[1]])
                else:
                    self.reply({"error": {"message": "not here"}}, 404)

    server = QuickServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 - the caller reads it
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
