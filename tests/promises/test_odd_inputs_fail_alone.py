"""One odd reply is one failed input, with its reason in one line, and the study goes on: with a cache and without."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.study import evaluate
from tests.models.fake_server import completion
from tests.models.raw_servers import http, listening, read_request

GOOD = completion("positive", prompt_tokens=900).body
MARKED = b"\xef\xbb\xbf" + json.dumps(GOOD).encode()


def changed(**change: object) -> bytes:
    body = json.loads(json.dumps(GOOD))
    body["choices"][0] |= change
    return json.dumps(body).encode()


def top(logprob: object) -> dict[str, object]:
    return {"content": [{"token": "positive", "top_logprobs": [{"token": "positive", "logprob": logprob}]}]}


FAILING = {
    "mislabelled gzip on an error": http(b'{"error": "no"}', b"Content-Encoding: gzip", status=b"400 No"),
    "retry-after that is no ASCII": http(b"{}", "Retry-After: ٣".encode(), status=b"429 Slow"),
    "retry-after without end": http(b"{}", b"Retry-After: inf", status=b"429 Slow"),
    "retry-after below zero": http(b"{}", b"Retry-After: -1", status=b"503 Busy"),
    "brackets": http(b"[" * 5000),
    "switching protocols": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"],
    "no choices": http(b'{"choices": null}'),
    "an error in a 200": http(b'{"error": {"message": "no", "code": 400}}'),
    "a bomb": http(gzip.compress(b"[" * 30_000_000), b"Content-Encoding: gzip"),
    "headers": [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000],
    "no HTTP": [b"220 mail.example ESMTP\r\n"],
    "half an answer": [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"],
    "half a head": [b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Le"],
    "half of what has no length": [b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(GOOD).encode()[:-9]],
}
FINE = {
    "brackets in the text, unread": http(changed(message={"content": "[" * 5000})),
    "a count of 4,299 digits": http(json.dumps({**GOOD, "usage": {"prompt_tokens": 10**4298}}).encode()),
    "an infinite log-probability": http(changed(logprobs=top(float("inf")))),
    "no log-probability": http(changed(logprobs=top(None))),
    "null log-probabilities": http(changed(logprobs={"content": [None]})),
    "a byte order mark": http(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    "a byte order mark, packed": http(
        gzip.compress(b"\xef\xbb\xbf" + json.dumps(GOOD).encode()), b"Content-Encoding: gzip"
    ),
    "no length and no header": [b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(GOOD).encode()],
    "nothing odd": http(json.dumps(GOOD).encode()),
}


@pytest.mark.parametrize("cached", [False, True])
def test_each_odd_reply_fails_its_input_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing-to-see-here")
    monkeypatch.setattr("clucert.models.retries.FIRST_LIMITED", 0.01)
    monkeypatch.setattr("clucert.models.retries.FIRST_WAIT", 0.01)
    answers = list({**FINE, **FAILING}.values())
    rows = [{"id": name, "text": f"odd{i} " * 8, "label": "positive"} for i, name in enumerate({**FINE, **FAILING})]
    # Rows without anything odd come first: the first answers of a run must be readable.
    rows = [{"id": f"plain {i}", "text": f"plain{i} " * 8, "label": "positive"} for i in range(8)] + rows
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def handle(connection, found) -> None:
        head, body = read_request(connection)
        odd = re.search(rb"odd(\d+)", body)
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        for part in answers[int(odd[1])] if odd else http(json.dumps(GOOD).encode()):
            connection.sendall(part)

    with listening(handle) as server:
        config = {
            **{"task": "sst2", "data": str(tmp_path / "data.jsonl"), "model": "openai/test", "base_url": server.url},
            **{"method": "ranmask", "samples": 3, "certify_samples": 6, "max_retries": 1, "timeout": 5.0},
            **{"cache": tmp_path / "c.sqlite" if cached else False, "run_dir": tmp_path / "run"},
            **{"max_answer_bytes": 1_000_000, "in_flight": 1},
        }
        summary = evaluate(load_config(None, config), command=["clucert"])
    assert sorted(summary.errors) == sorted(FAILING), summary.reason
    assert summary.stopped is None
    assert (summary.done, summary.failed) == (8 + len(FINE), len(FAILING))
    for name, why in summary.errors.items():
        assert why.isprintable(), name
        assert len(why) < 400, name
    assert "closed the connection" in summary.errors["half a head"]
    assert len(read_records(tmp_path / "run")[0]) == len(rows)
