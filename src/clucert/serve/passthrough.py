"""The upstream of a gate: the request goes there once, byte by byte, and so does its answer come back."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic_core import from_json

from clucert.errors import AuthenticationError, BadAnswerError, ModelStatusError, ModelTimeoutError, UsageError
from clucert.errors import ModelUnavailableError as UnavailableError
from clucert.guard.client_text import Api
from clucert.models.http_client import proxy_of
from clucert.models.http_stream import Stream, StreamPool
from clucert.models.replies import FailedReply, Reply
from clucert.models.server_address import openai_endpoint

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
_EVENTS = "text/event-stream"


class Upstream:
    """An OpenAI-compatible server that requests are passed on to. Belongs to one event loop.

    Nothing is asked twice, nothing is followed elsewhere, and no header of a client goes there. Raises
    :class:`UsageError` for an address that is reached through a proxy.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._endpoint = openai_endpoint(url, os.environ)
        chat = self._endpoint.addresses[0].chat
        if proxy_of(chat) is not None:
            raise UsageError("a gate reaches its upstream directly: add its host to NO_PROXY")
        headers = {**self._endpoint.headers, "User-Agent": "clucert"}
        # The client asked for events, or for one JSON body: servers go by the request, not by this.
        headers["Accept"] = f"application/json, {_EVENTS}"
        self._urls = {path: chat.replace("/chat/completions", path.removeprefix("/v1")) for path in PATHS}
        self._pool = StreamPool(chat, headers, timeout=timeout, connect_timeout=min(timeout, 10.0))

    async def open(self, path: str, body: bytes) -> Stream:
        """The upstream's response to ``body``, which succeeded so far; the caller closes it.

        Raises :class:`clucert.errors.ModelError` when the upstream fails or refuses. What it says is shown without
        keys.
        """
        try:
            stream = await self._pool.open(self._urls[path], body)
        except TimeoutError:
            raise ModelTimeoutError("the upstream did not answer in time") from None
        except OSError:
            raise UnavailableError("the upstream cannot be reached, or hung up") from None
        try:
            await self._check(stream)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _check(self, stream: Stream) -> None:
        if any(value != b"identity" for name, value in stream.fields if name.lower() == b"content-encoding"):
            raise BadAnswerError("the upstream compressed its answer, which nobody asked for")
        if 200 <= stream.status < 300:
            return
        if stream.status in (401, 403):
            raise AuthenticationError(f"the upstream refused the key ({stream.status})")
        failed = FailedReply(Reply(stream.status, stream.fields, await _whole(stream, MOST_ERROR)))
        said = self._endpoint.scrub(failed.said)
        message = f"the upstream answered {stream.status}: {said}"
        raise ModelStatusError(message, stream.status, said=said, retry_after=failed.retry_after)

    @staticmethod
    async def answer(stream: Stream) -> bytes:
        """The whole of an answer that comes in one piece. Raises :class:`BadAnswerError` for one that is no object."""
        body = await _whole(stream, MOST_ANSWER)
        try:
            found = from_json(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BadAnswerError("the upstream's answer is not a JSON object")
        return body

    def close(self) -> None:
        """Hang up."""
        self._pool.close()


def streams(stream: Stream) -> bool:
    """Whether the answer comes as server-sent events."""
    return stream.headers.get("content-type", "").partition(";")[0].strip().lower() == _EVENTS


async def _whole(stream: Stream, most: int) -> bytes:
    try:
        body = await stream.read(most)
    except TimeoutError:
        raise ModelTimeoutError("the upstream did not answer in time") from None
    except OSError:
        raise UnavailableError("the upstream hung up in the middle of its answer") from None
    if body is None:
        raise BadAnswerError(f"the upstream's answer is larger than {most:,} bytes")
    return body
