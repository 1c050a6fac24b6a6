"""The files of a batch API: requests, one JSON object a line, in; answers and errors, in any order, out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clucert.models.replies import FailedReply, Reply, failure_within

ENDPOINT = "/v1/chat/completions"
_PASSING_CODES = frozenset({"batch_expired", "server_error", "rate_limit_exceeded"})


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold; these are OpenAI's."""

    requests: int = 50_000
    size: int = 200_000_000
    """Bytes of the input file."""


_NAMED = re.compile(rb'"custom_id"\s{0,9}:\s{0,9}"([\w.-]{1,64})"')


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Response(_Lenient):
    status_code: int = Field(ge=100, le=999)
    body: Any = None


class _OutputLine(_Lenient):
    custom_id: str
    response: _Response | None = None
    error: Any = None


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The result of one request: the body of a completion, or why there is none."""

    id: str
    body: Any = None
    status: int | None = None
    """HTTP status of a request that failed, if it got as far as that."""
    message: str | None = None
    """Why it failed; None for an answer."""
    transient: bool = False
    """Whether the same request may succeed another time."""


def request_line(identity: str, body: dict[str, Any]) -> bytes:
    """One line of an input file."""
    line = {"custom_id": identity, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def split_lines(lines: Iterable[tuple[str, bytes]], limits: BatchLimits) -> Iterator[list[tuple[str, bytes]]]:
    """``(id, line)`` pairs in as few parts as ``limits`` allow, in order. A line that is too long is a part alone."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for identity, line in lines:
        if part and (len(part) >= limits.requests or size + len(line) > limits.size):
            yield part
            part, size = [], 0
        part.append((identity, line))
        size += len(line)
    if part:
        yield part


def read_lines(content: bytes) -> list[RequestResult]:
    """The lines of an output or error file.

    One that cannot be read, and says what it is about, has failed for good: that request was paid for. Others are left
    out, as if they were missing.
    """
    found = []
    for raw in content.splitlines():
        try:
            found.append(_read(_OutputLine.model_validate_json(raw)))
        except ValidationError:
            if named := _NAMED.search(raw):
                found.append(RequestResult(named[1].decode(), message="its line of the batch's file cannot be read"))
    return found


def _read(line: _OutputLine) -> RequestResult:
    if line.response is None:
        failed = FailedReply(_reply(400, {"error": line.error}))
        said = failed.said if line.error else "no answer and no error"
        return RequestResult(line.custom_id, None, None, said, bool(failed.codes & _PASSING_CODES))
    reply = _reply(line.response.status_code, line.response.body)
    failure = failure_within(reply) if reply.status == 200 else FailedReply(reply)
    if failure is None:
        return RequestResult(line.custom_id, line.response.body)
    return RequestResult(line.custom_id, None, failure.status, failure.said, failure.passing)


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, (), b"" if body is None else json.dumps(body).encode("ascii"))


def joined(part: Sequence[tuple[str, bytes]]) -> bytes:
    """The input file of a part."""
    return b"".join(line for _, line in part)
