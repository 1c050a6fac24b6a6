"""The upstream of a gate: the request goes there once, byte by byte, and so does its answer come back."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from pydantic_core import from_json

from clucert.errors import BadAnswerError, ModelError
from clucert.guard.client_text import Api
from clucert.models.http_client import ClientTransport, Reach, proxy_of
from clucert.models.http_stream import Stream, StreamPool
from clucert.models.replies import FailedReply, Reply, unpacked
from clucert.models.server_address import openai_endpoint
from clucert.models.server_errors import Asked, error_of

log = logging.getLogger("clucert.serve")

PATHS: Mapping[str, Api] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
"""What a gate serves."""
MOST_ERROR = 1 << 16
"""Bytes of an upstream's error that are read."""
MOST_ANSWER = 64 << 20
"""Bytes of an answer that is not streamed."""
_ANSWERS = range(200, 204)
"""Statuses of success that have a body, and a whole one."""
_EVENTS = "text/event-stream"
_LAST_EVENT = re.compile(
    rb"[\r\n](?:data: ?\[DONE\]|"
    rb"(?:event: ?|data: ?\{\"type\": ?\")(?:response\.(?:completed|failed|incomplete)|error)[\"\r\n])"
)
"""What is sent at the end of a stream of each API; no text within an event has a line of its own."""
_MOST_OF_LAST = 64
"""Bytes that it has at most."""


class Upstream:
    """An OpenAI-compatible server that requests are passed on to. Belongs to one event loop.

    It is reached like a model: through the proxy that the environment names, unless it is on this machine, and trusting
    ``ca_file`` or ``SSL_CERT_FILE`` where they are given. Nothing is followed elsewhere, nor asked twice, unless a kept
    connection turns out to be closed. No header of a client goes there, and none of the upstream's comes back.
    Raises :class:`clucert.errors.UsageError` for a proxy or certificates that cannot be used.
    """

    def __init__(self, url: str, model: str, *, timeout: float, connections: int, ca_file: Path | None = None) -> None:
        """``model`` is its name there, and ``timeout`` how many seconds may pass without a byte."""
        endpoint = openai_endpoint(url, os.environ)
        chat = endpoint.addresses[0].chat
        # The client asked for events, or for one JSON body: servers go by the request, not by this.
        accepted = {"User-Agent": "clucert", "Accept": f"application/json, {_EVENTS}"}
        reach = Reach({**endpoint.headers, **accepted}, timeout, connections, MOST_ANSWER, ca_file)
        self._urls = {path: chat.replace("/chat/completions", path.removeprefix("/v1")) for path in PATHS}
        flags = ("--upstream", "--request-timeout")
        self._asked = Asked(endpoint.base_url, model, "OPENAI_API_KEY", timeout, endpoint.scrub, *flags)
        self._answered = False
        self._logged = ""
        proxy = proxy_of(chat)
        direct = StreamPool(
            chat, reach.headers, timeout=timeout, connect_timeout=reach.connect_timeout, ca_file=reach.ca_file
        )
        self._direct, self._through = direct, ClientTransport(reach, proxy) if proxy else None

    async def open(self, path: str, body: bytes) -> Stream:
        """The upstream's response to ``body``, which succeeded so far; the caller closes it.

        Raises :class:`clucert.errors.ModelError` when the upstream fails or refuses. What it says is shown without
        keys.
        """
        try:
            stream = await (self._through or self._direct).open(self._urls[path], body)
        except (OSError, ModelError) as failure:
            raise self._error(failure) from None
        try:
            await self._check(stream)
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _check(self, stream: Stream) -> None:
        if stream.status not in _ANSWERS:
            # What an endless error says is left aside.
            said = await self._read(stream, MOST_ERROR) or b""
            raise self._error(FailedReply(unpacked(Reply(stream.status, stream.fields, said), MOST_ERROR)))
        codings = {value.strip().lower() for name, value in stream.fields if name.lower() == b"content-encoding"}
        if streams(stream) and codings - {b"identity", b""}:
            raise BadAnswerError("the upstream compressed its events, which nobody asked for")
        self._answered, self._logged = True, ""

    async def answer(self, stream: Stream) -> bytes:
        """The whole of an answer that comes in one piece, unpacked.

        Raises :class:`BadAnswerError` for one that is no object, or too long, and like :meth:`open`.
        """
        body = await self._read(stream, MOST_ANSWER)
        if body is None:
            raise BadAnswerError(f"the upstream's answer is larger than {MOST_ANSWER:,} bytes")
        body = unpacked(Reply(stream.status, stream.fields, body), MOST_ANSWER).body
        try:
            found = from_json(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BadAnswerError("the upstream's answer is not a JSON object")
        return body

    async def close(self) -> None:
        """Hang up."""
        self._direct.close()
        if self._through is not None:
            await self._through.close()

    async def _read(self, stream: Stream, most: int) -> bytes | None:
        try:
            return await stream.read(most)
        except (OSError, ModelError) as failure:
            raise self._error(failure) from None

    def _error(self, failure: Exception) -> ModelError:
        error = error_of(failure, self._asked, answered=self._answered)
        # Clients are not told why, and the server's own words, which may repeat a prompt, are logged nowhere.
        if isinstance(failure, OSError) and self._logged != (said := str(error)):
            self._logged = said
            log.warning("upstream: %s", said)
        return error


def streams(stream: Stream) -> bool:
    """Whether the answer comes as server-sent events."""
    return stream.headers.get("content-type", "").partition(";")[0].strip().lower() == _EVENTS


async def passed_on(stream: Stream, until: float) -> AsyncIterator[bytes]:
    """The upstream's events as they come.

    Raises ``TimeoutError`` where they do not end until the event loop's time ``until``, or nothing comes for long, and
    ``OSError`` where the upstream breaks off; also where that looks like an end: with the connection, and no last
    event.
    """
    loop, ended, before = asyncio.get_running_loop(), not stream.unframed, b"\n"
    while True:
        async with asyncio.timeout_at(until):
            chunk = await stream.chunk()
        if not chunk:
            break
        yield chunk
        # Where bytes are always there, nothing is waited for above.
        if loop.time() > until:
            raise TimeoutError
        if not ended:
            before += chunk
            ended, before = bool(_LAST_EVENT.search(before)), before[-_MOST_OF_LAST:]
    if not ended:
        raise ConnectionResetError("the upstream closed the connection before the last event")
