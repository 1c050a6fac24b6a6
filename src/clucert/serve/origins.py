"""Who may talk to an endpoint that asks for no key: whoever is on this machine, not the pages of a browser on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clucert.serve.http_errors import Fault, invalid
from clucert.serve.options import is_loopback


class LocalOnly:
    """Refuses, with 403, what a browser on this machine was made to send.

    A page of any site can send requests to loopback, and its name can be pointed there (DNS rebinding). So ``Host``
    must be loopback or one of ``hosts``, and so must be ``Origin``, where there is one; a browser that says that the
    request comes from another site is believed. ``refused`` is told of each that is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], refused: Callable[[Fault], None]) -> None:
        self._app, self._hosts, self._refused = app, frozenset(host.lower() for host in hosts), refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            headers = HTTPConnection(scope).headers
            hosts, origins = headers.getlist("host"), headers.getlist("origin")
            same_site = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
            urls = [*(f"//{host}" for host in hosts), *origins]
            if len(hosts) != 1 or not same_site or not all(map(self._known, urls)):
                message = "this endpoint answers this machine only: see --allow-host"
                fault = invalid(message, "forbidden_host", status=403)
                self._refused(fault)
                await JSONResponse(fault.body(), fault.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _known(self, url: str) -> bool:
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or host in self._hosts
