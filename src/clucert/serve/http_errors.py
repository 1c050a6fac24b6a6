"""Errors of requests, in the format that OpenAI's clients read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from clucert.errors import (
    AuthenticationError,
    BadAnswerError,
    CluCertError,
    InputError,
    ModelChangedError,
    ModelStatusError,
    ModelTimeoutError,
    ModelUnavailableError,
    TooMuchError,
)

LONGEST_WAIT = 3600.0
"""Seconds that a client is told to wait at most."""


@dataclass(eq=False)
class Fault(Exception):  # noqa: N818 - it is what is answered, not only what is raised
    """A request that gets an error instead of an answer. ``message`` is for the client and never names the upstream."""

    status: int
    kind: str
    """OpenAI's ``type``."""
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.code}"

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """The headers that go with the status."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(math.ceil(min(max(1.0, self.retry_after), LONGEST_WAIT)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers


def invalid(message: str, code: str = "invalid_request", param: str | None = None, status: int = 400) -> Fault:
    """An error in the request itself."""
    return Fault(status, "invalid_request_error", code, message, param)


def no_such_model(served: str, asked: object = "") -> Fault:
    """A request for another model than the one that is served, or for none."""
    if asked is None:
        return invalid(f'the request names no model: add "model": {json.dumps(served)}', param="model")
    return invalid(f"there is no such model here: ask for {served!r}", "model_not_found", "model", 404)


def overloaded(retry_after: float) -> Fault:
    """All slots and the queue are full."""
    message = "this endpoint is at its limits: try again later"
    return Fault(503, "server_error", "overloaded", message, retry_after=retry_after)


def late(seconds: float) -> Fault:
    """The request took too long."""
    return Fault(504, "server_error", "timeout", f"no answer within {seconds:g} s: the request was given up")


def fault_of(error: CluCertError) -> Fault:
    """What a client is told about ``error``: what it can do about it, and nothing about the upstream's network."""
    match error:
        case TooMuchError():
            return invalid(str(error), "request_too_large", status=413)
        case InputError():
            return invalid(str(error))
        case ModelStatusError():
            return _status_fault(error)
        case ModelTimeoutError():
            return Fault(504, "server_error", "upstream_timeout", "the upstream did not answer in time")
    for kind, code, message in _UPSTREAM:
        if isinstance(error, kind):
            return _upstream(code, message)
    return Fault(500, "server_error", "internal_error", "this endpoint failed: its log says more")


_UPSTREAM = (
    (AuthenticationError, "upstream_auth", "the upstream refused this endpoint: its key, its account or its region"),
    (ModelChangedError, "upstream_changed", "another model answers for the upstream than before: ask again"),
    (ModelUnavailableError, "upstream_unreachable", "the upstream cannot be reached, or hung up"),
    (BadAnswerError, "upstream_bad_answer", "the upstream's answer is none of this API"),
)


def _status_fault(error: ModelStatusError) -> Fault:
    match error.status:
        case 400 | 403 | 413 | 422:
            # A 403 that is about the key is no ModelStatusError: this one is about the request.
            status = 403 if error.status == 403 else 400
            return invalid(f"the upstream refuses the request: {error.said}", "upstream_refused", status=status)
        case 429:
            message = "the upstream is at its rate limit: try again later"
            return Fault(429, "rate_limit_error", "upstream_rate_limit", message, retry_after=error.retry_after or 1)
    return _upstream("upstream_error", f"the upstream answered {error.status}", error.retry_after)


def _upstream(code: str, message: str, retry_after: float | None = None) -> Fault:
    return Fault(502, "server_error", code, message, retry_after=retry_after)
