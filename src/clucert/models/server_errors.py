"""What a failed request is called: one line that says what happened, and which flag or variable to change."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clucert.errors import (
    AuthenticationError,
    ModelError,
    ModelStatusError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from clucert.models.replies import FailedReply, Reply
from clucert.models.retries import ToldError, UnreachedError, causes, was_refused

_OF_THE_KEY = re.compile(
    r"key|token|credential|auth|permission|forbidden|access|denied|subscription|organi[sz]ation|project|billing|"
    r"country|region|territory|no reason given",
    re.IGNORECASE,
)
_OF_THE_TEXT = re.compile(
    r"content.?(?:policy|filter|management)|moderation|flagged|guardrail|jailbreak|safety|"
    r"\b(?:input|prompt|message|text|request) (?:contains|was|is|has)\b",
    re.IGNORECASE,
)
_OF_WHO_ASKS = re.compile(r"account|api.?key|organi[sz]ation|project|billing", re.IGNORECASE)
"""What a 403 speaks of that is about one question: unless it names who asks, too."""
_BAD_KEY = re.compile(r"(?:invalid|incorrect|wrong) api.?key|api.?key (?:is )?(?:not valid|invalid|incorrect)", re.I)
"""How a 400 begins by which some servers (Google's, xAI's) refuse a key."""
_ADVICE = (
    (re.compile(r"\btemperature\b"), "its temperature is its own: give  --temperature 1"),
    (
        re.compile(r"\bmax_(?:completion_|output_)?tokens\b|output limit"),
        "--answer-tokens sets how long answers may be",
    ),
)
"""What a server complains about, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The server that a request went to, in the user's words."""

    where: str
    model: str
    key: str
    """The variable that holds its key."""
    timeout: float
    scrub: Callable[[str], str]
    """A text of the server on one line, without secrets."""
    url_flag: str = "--base-url"
    time_flag: str = "--timeout"


def error_of(failure: Exception, asked: Asked, *, answered: bool) -> ModelError:
    """The error that ``failure`` is to the user; ``answered`` says whether this server has answered a question."""
    where = asked.where
    if isinstance(failure, ModelError):
        return type(failure)(asked.scrub(str(failure)))
    if isinstance(failure, FailedReply):
        return _status_error(failure, asked, answered=answered)
    if isinstance(failure, TimeoutError):
        if isinstance(failure, UnreachedError):
            return ModelTimeoutError(f"{where} {failure}: is the server running, and {asked.url_flag} right?")
        return ModelTimeoutError(f"{where} did not answer within {asked.timeout:g} s: raise {asked.time_flag}")
    return ModelUnavailableError(f"{where} {_lost(failure, asked)}")


def _lost(failure: Exception, asked: Asked) -> str:
    """Why there is no reply, behind the name of the server."""
    for cause in causes(failure):
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _tls(cause, asked)
    if isinstance(failure, ToldError):
        advice = _OF_PROXIES if failure.proxy else f"is {asked.url_flag} right?"
        return f"{asked.scrub(str(failure))}: {advice}"
    if any(isinstance(cause, socket.gaierror) for cause in causes(failure)):
        return f"has a host name that is not known here: is {asked.url_flag} right?"
    why = "refused the connection" if was_refused(failure) else "closed the connection"
    return f"{why}: is the server running, and {asked.url_flag} right?"


_OF_PROXIES = "are HTTP_PROXY, HTTPS_PROXY and NO_PROXY right?"


def _tls(error: ssl.SSLError, asked: Asked) -> str:
    """What is wrong with the encryption of a connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".") or "verification failed"
        if "mismatch" in why.lower():
            return f"has the TLS certificate of another host ({why}): is {asked.url_flag} right?"
        return f"has a TLS certificate that is not trusted ({why}): name its authority with --ca-file or SSL_CERT_FILE"
    reason = (error.reason or "no reason given").replace("_", " ").lower()
    return f"failed at TLS ({reason}): does it want http:// in place of https://?"


def _status_error(failure: FailedReply, asked: Asked, *, answered: bool) -> ModelError:
    status, where, said = failure.status, asked.where, asked.scrub(failure.said)
    if failure.out_of_quota:
        return ModelStatusError(f"{where}: the account's quota is used up ({status}): top it up", status, said=said)
    about = f"{failure.parameter} {failure.said}".casefold()
    advice = next((what for pattern, what in _ADVICE if failure.refuses and pattern.search(about)), None)
    of_the_text = _OF_THE_TEXT.search(f"{about} {' '.join(failure.codes)}") and not _OF_WHO_ASKS.search(about)
    # Once a key has been good for an answer, a 403 is about one question: a filter, or a field.
    of_the_key = not (answered or advice or failure.parameter or of_the_text) and _OF_THE_KEY.search(about)
    bad_key = status == 400 and not answered and bool(_BAD_KEY.match(failure.said))
    if status == 401 or bad_key or (status == 403 and of_the_key):
        return AuthenticationError(f"{where} refused the key ({status}): check {asked.key}; it said: {said}")
    if status == 404:
        return ModelStatusError(f"{where} has no model {asked.model!r} (404): {said}", status, said=said)
    answer = f"answered {status}" if status == failure.reply.status else "answered with an error"
    message = f"{where} {answer}: {said}{f' ({advice})' if advice else ''}"
    return ModelStatusError(message, status, said=said, retry_after=failure.retry_after)


def plain_failure(error: Exception) -> Exception:
    """An error of the official client as what a transport raises."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APITimeoutError):
        return TimeoutError()
    if isinstance(error, APIStatusError):
        response: Any = error.response
        return FailedReply(Reply(response.status_code, response.headers.raw, response.content))
    if isinstance(error, APIConnectionError):
        for cause in causes(error)[1:]:
            if isinstance(cause, OSError | ModelError):
                return cause
    return ConnectionError(f"closed the connection ({type(error).__name__})")
