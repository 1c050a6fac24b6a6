"""Requests to one server from any event loop: which of its addresses answers, over which connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from clucert.models.http_client import RareRequests, Reach, is_redirect, proxy_of
from clucert.models.http_pool import FunctionTransport, Handler, KeepAlive, Transport, trusted
from clucert.models.replies import FailedReply, Reply, document_of
from clucert.models.server_address import Address, Endpoint


@dataclass(frozen=True, slots=True)
class _Connections:
    """What belongs to one event loop."""

    slots: asyncio.Semaphore
    transport: Transport | None
    """None behind a proxy."""


class Requests:
    """Sends to the server at ``endpoint``, or to the function ``server`` in its place."""

    def __init__(
        self,
        endpoint: Endpoint,
        reach: Reach,
        submit: Callable[[Coroutine[Any, Any, Reply]], Future[Reply]],
        server: Handler | None,
    ) -> None:
        """``submit`` runs what only one event loop may run on that loop.

        Raises :class:`clucert.errors.UsageError` for a proxy or certificates that cannot be used.
        """
        if server is None:
            proxy_of(endpoint.base_url)
        if reach.ca_file is not None:
            trusted(reach.ca_file)
        self._endpoint, self._reach, self._submit, self._server = endpoint, reach, submit, server
        self._address = endpoint.addresses[0]
        self._rare = RareRequests(reach, server)
        self._connections: dict[asyncio.AbstractEventLoop, _Connections] = {}

    @property
    def slots(self) -> asyncio.Semaphore:
        """As many as there may be questions under way on the running event loop."""
        return self._here().slots

    async def post(self, body: bytes, *, settled: bool) -> Reply:
        """The reply to a question. Raises :class:`FailedReply` where it is no success, and what a transport raises.

        Until it is ``settled`` where the server answers, its other address is asked what the first one does not know.
        """
        address = self._address
        reply = await self._send("POST", address.chat, body)
        if reply.status in (404, 405) and not settled:
            reply, self._address = await self._elsewhere(body, reply, address)
        if reply.status != 200:
            raise FailedReply(reply)
        return reply

    async def list_models(self) -> Reply | None:
        """The server's model list; None where it has no address for one."""
        reply: Reply | None = None
        # In the same order in every run, wherever questions are sent: the list identifies the model.
        for address in self._endpoint.addresses:
            if address.models is not None and (reply is None or reply.status in (404, 405)):
                reply = await self._send("GET", address.models)
        return reply

    def release(self) -> None:
        """Close the connections that the running event loop has opened."""
        connections = self._connections.pop(asyncio.get_running_loop(), None)
        if connections is not None and connections.transport is not None:
            connections.transport.close()

    async def close(self) -> None:
        """Close what goes through proxies, on the loop that ``submit`` names."""
        await self._rare.close()

    async def _elsewhere(self, body: bytes, reply: Reply, address: Address) -> tuple[Reply, Address]:
        """What another address says to a question that ``address`` does not know, where that is an answer."""
        for other in self._endpoint.addresses:
            if other != address:
                second = await self._send("POST", other.chat, body)
                # Some servers show a page for every address that they do not know.
                if second.status not in (404, 405) and isinstance(document_of(second.body), dict):
                    return second, other
        return reply, address

    async def _send(self, method: str, url: str, body: bytes = b"") -> Reply:
        transport, reply = self._here().transport, None
        if transport is not None:
            reply = await transport.send(method, url, body)
            if not is_redirect(reply):
                return reply
        # General HTTP clients belong to one loop.
        return await asyncio.wrap_future(self._submit(self._rare.send(method, url, body, reply)))

    def _here(self) -> _Connections:
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            # Drop those of loops that ended without a release.
            self._connections = {other: kept for other, kept in self._connections.items() if not other.is_closed()}
            slots = asyncio.Semaphore(self._reach.connections)
            connections = self._connections[loop] = _Connections(slots, self._open())
        return connections

    def _open(self) -> Transport | None:
        url, reach = self._address.chat, self._reach
        if self._server is not None:
            return FunctionTransport(self._server)
        if proxy_of(url):
            return None
        return KeepAlive(
            url,
            {"User-Agent": "clucert", **reach.headers},
            timeout=reach.timeout,
            connect_timeout=reach.connect_timeout,
            limit=reach.limit,
            ca_file=reach.ca_file,
        )
