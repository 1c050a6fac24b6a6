"""What servers reply, read with limits by ourselves: bodies, error documents, and when to come back. Pure: no I/O."""

from __future__ import annotations

import math
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from pydantic_core import from_json

from clucert.errors import BadAnswerError

MOST_BYTES = 10_000_000
"""The longest body that is read unless told otherwise, unpacked."""
_PACKINGS = 3
"""Content encodings, one in another, that are undone at most."""
_DOCUMENT = 1_000_000
"""Bytes of an error document that are looked at."""
_SAID = ("error", "message", "msg", "detail", "errors", "error_description", "status_msg", "title", "reason")
"""Fields of error documents that hold a sentence, or what holds one, the most telling first."""
_CODES = ("code", "type", "status", "error_code", "status_code", "error")
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_PASSING = frozenset({408, 409, 425, 429})
_BUSY = re.compile(
    r"rate.?limit|too.many.requests|resource.?exhausted|overloaded|unavailable|server.?error|internal|bad.?gateway|"
    r"time.?d?.?out|(?:try|retry) (?:it |this |your request )?(?:again|later)|temporar",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"invalid.api.?key|incorrect.api.?key|unauthori[sz]ed|authentication|not authenticated", re.IGNORECASE
)
_UNKNOWN = re.compile(r"(?:not |un)(?:supported|known|recognized|expected|implemented)|not support", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,500}>")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, whatever its status."""

    status: int
    fields: Sequence[tuple[bytes, bytes]]
    """The headers as received."""
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers, their names in lower case; decoded when asked for: only those of odd responses are."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.fields}


def ends_with_connection(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether headers give the body no length: it ends where the connection ends, and a cut looks like that."""
    return not {name.lower() for name, _ in fields} & {b"content-length", b"transfer-encoding"}


def too_long(limit: int) -> BadAnswerError:
    """That a server sent more than ``limit`` bytes."""
    return BadAnswerError(f"the server's answer is longer than {limit:,} bytes: raise --max-answer-bytes to read it")


def unpacked(reply: Reply, limit: int) -> Reply:
    """``reply`` with its content encoding undone, and without a byte order mark; one that is mislabelled as it is.

    Raises :class:`BadAnswerError` when it is longer than ``limit`` bytes, before it is unpacked further.
    """
    body = reply.body
    # Nearly no reply has an encoding: none is asked for.
    if all(name.lower() != b"content-encoding" for name, _ in reply.fields):
        return Reply(reply.status, reply.fields, body[3:]) if body.startswith(BOM_UTF8) else reply
    named = reply.headers["content-encoding"].split(",")
    for name in [each.strip().lower() for each in reversed(named)][:_PACKINGS]:
        if name in ("gzip", "x-gzip", "deflate"):
            body = _inflated(body, limit)
    return Reply(reply.status, reply.fields, body.removeprefix(BOM_UTF8))


def _inflated(body: bytes, limit: int) -> bytes:
    for window in (47, -15):  # gzip or zlib; without a header, as some servers understand "deflate"
        unpacker = zlib.decompressobj(window)
        try:
            plain = unpacker.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(plain) > limit:
            raise too_long(limit)
        return plain
    return body


class FailedReply(Exception):  # noqa: N818 - not an error of this package: it becomes one at the border
    """A reply that is no success: of another status than 200, or an error inside a 200."""

    def __init__(self, reply: Reply, status: int | None = None) -> None:
        """``status`` is what the body says in place of a 200."""
        super().__init__(f"status {status or reply.status}")
        self.reply = reply
        self.status = status or reply.status

    @cached_property
    def _document(self) -> Any:
        return _error_document(self.reply.body)

    @cached_property
    def said(self) -> str:
        """The server's own words, on one line: hostile text, and it may repeat the prompt."""
        found = "; ".join(dict.fromkeys(_sentences(self._document)))
        if not found and self._document not in ([], {}):
            text = self.reply.body[: 20 * _SHOWN].decode("utf-8", "replace")
            found = "" if "\0" in text else _TAG.sub(" ", text) if self._document is None else text
        return " ".join(found[: 10 * _SHOWN].split()) or "no reason given"

    @cached_property
    def codes(self) -> frozenset[str]:
        """Codes and types that the error document gives."""
        return frozenset(_codes(self._document))

    @cached_property
    def parameter(self) -> str:
        """The request field that it is about, where the document names one."""
        error = _error_of(self._document)
        named = error.get("param") if isinstance(error, dict) else None
        return named if isinstance(named, str) else ""

    @property
    def out_of_quota(self) -> bool:
        """Whether the account's quota is used up, which servers report like a rate limit."""
        return bool(self.codes & _QUOTA)

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed another time."""
        return (self.status in _PASSING or self.status >= 500) and not self.out_of_quota

    @property
    def refuses(self) -> bool:
        """Whether it may be about a field of the request; some servers call an unknown one an error of their own."""
        return self.status in (400, 403, 404, 422) or (self.status in (500, 501) and bool(_UNKNOWN.search(self.said)))

    @property
    def about(self) -> str:
        """The field that it is about by its name, else what it says."""
        return self.parameter or self.said

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, at least 0 and finite; None where it does not say."""
        return retry_after(self.reply)


_SHOWN = 300


def document_of(body: bytes) -> Any:
    """``body`` as JSON; None where it is none, or too long for an error document."""
    try:
        return from_json(body) if len(body) <= _DOCUMENT else None
    except ValueError:
        return None


def _error_document(body: bytes) -> Any:
    """The document in ``body``; in a list of one, as Google's servers send it, what is listed."""
    found = document_of(body)
    return found[0] if isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict) else found


def failure_within(reply: Reply) -> FailedReply | None:
    """The error that the body of a 200 reports in place of an answer, or beside it; None where it reports none."""
    error = _error_of(_error_document(reply.body))
    if error is None:
        return None
    failed = FailedReply(reply, 400)
    codes = [int(code) for code in failed.codes if code.isascii() and code.isdigit() and len(code) == 3]
    named = " ".join([*failed.codes, failed.said])
    status = next((code for code in codes if 400 <= code < 600), None)
    if status is None:
        retryable = isinstance(error, dict) and (error.get("retryable") is True or error.get("retry") is True)
        status = 401 if _KEY.search(" ".join(failed.codes)) else 503 if retryable or _BUSY.search(named) else 400
    return FailedReply(reply, status)


def _error_of(document: Any) -> Any:
    """What an error document says of the error: of its first choice where a router reports the server behind it."""
    if not isinstance(document, dict):
        return None
    for name in ("error", "errors", "detail"):
        if document.get(name):
            return document[name]
    choices = document.get("choices")
    if isinstance(choices, list) and choices:
        return choices[0].get("error") or None if isinstance(choices[0], dict) else None
    told = any(
        isinstance(document.get(name), str | dict) and document[name] for name in ("message", "msg", "base_resp")
    )
    return document if told else None


def _sentences(value: Any, depth: int = 0) -> Iterator[str]:
    """What an error document says, in its words; of a complaint about fields (``loc``, ``msg``), with their names."""
    if depth > 4:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value[:3]:
            yield from _sentences(each, depth + 1)
    elif isinstance(value, dict):
        place = value.get("loc") or value.get("param")
        where = [str(part)[:80] for part in place[:6]] if isinstance(place, list) else []
        told = next((value[name] for name in (*_SAID, "base_resp") if value.get(name) not in (None, "", [], {})), None)
        for sentence in _sentences(told, depth + 1):
            yield f"{'.'.join(where)}: {sentence}" if where else sentence


def _codes(document: Any) -> Iterator[str]:
    for held in (document, _error_of(document), document.get("base_resp") if isinstance(document, dict) else None):
        if isinstance(held, dict):
            yield from (str(held[name])[:80] for name in _CODES if type(held.get(name)) in (str, int))


def retry_after(reply: Reply) -> float | None:
    """Seconds that ``retry-after-ms`` or ``retry-after`` (seconds or a date) asks to wait; None for anything else."""
    headers = reply.headers
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,15}(?:\.[0-9]{0,15})?", value):
            return float(value) * unit
    try:
        date = parsedate_to_datetime(headers.get("retry-after", "")[:80])
        seconds = (date - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
