"""What is rare among requests: proxies and redirects, by the HTTP library that the official client is built on."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import re
import ssl
from collections.abc import AsyncIterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from clucert.errors import BadAnswerError, InputError, MissingExtraError
from clucert.models.http_pool import FunctionTransport, Handler, trusted
from clucert.models.http_stream import Stream
from clucert.models.replies import Reply, too_long, unpacked
from clucert.models.retries import FinalError, ToldError, UnreachedError, causes

REDIRECTS = 5
_REDIRECTED = frozenset({301, 302, 307, 308})
_SCHEMES = ("http", "https", "socks5", "socks5h")


def http_library() -> Any:
    """The HTTP library that the official client is built on: httpx up to its version 2, httpx2 since."""
    import openai

    return importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])


def proxy_of(url: str) -> str | None:
    """The proxy that the environment sends requests to ``url`` through; None for none, as always for this machine.

    Raises :class:`InputError` for a proxy that cannot be used, and :class:`MissingExtraError` for one of SOCKS where
    ``clucert[socks]`` is not installed. The proxy's address, which may hold a password, is in neither.
    """
    parts = urlsplit(url)
    proxies, host = getproxies(), parts.hostname or ""
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_loopback(host) or proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = proxy.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise InputError(f"the proxy of the environment is of a kind that is not known: one of {', '.join(_SCHEMES)}")
    if not _is_address(proxy):
        raise InputError(_NO_PROXY)
    if scheme.startswith("socks"):
        try:
            importlib.import_module("socksio")
        except ImportError:
            raise MissingExtraError("what SOCKS proxies need", "pip install 'clucert[socks]'") from None
    return proxy


_NO_PROXY = "the proxy of the environment is no URL: write it like  http://host:8080"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@dataclass(frozen=True, slots=True)
class Reach:
    """How the server is reached; what each request to it says."""

    headers: Mapping[str, str]
    timeout: float
    connections: int
    limit: int
    """Bytes of an answer that are read at most."""
    ca_file: Path | None = None

    @property
    def connect_timeout(self) -> float:
        """Seconds that opening a connection may take."""
        return min(self.timeout, 10.0)


def client_options(http: Any, reach: Reach) -> dict[str, Any]:
    """How a client of the library ``http`` reaches a server: what it trusts, how long it waits, and no environment."""
    return {
        "verify": trusted(reach.ca_file),
        "timeout": http.Timeout(reach.timeout, connect=reach.connect_timeout, pool=None),
        "limits": http.Limits(max_connections=reach.connections, max_keepalive_connections=reach.connections),
        "trust_env": False,
        # What a server sets for one request is nothing that another one says.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
    }


async def read_reply(response: Any, stream: AsyncIterable[bytes], limit: int) -> Reply:
    """The library's ``response`` with the bytes of ``stream``, unpacked.

    Raises :class:`BadAnswerError` when they are more than ``limit``, before more are read.
    """
    parts, size = [], 0
    async for part in stream:
        size += len(part)
        if size > limit:
            raise too_long(limit)
        parts.append(part)
    return unpacked(Reply(response.status_code, response.headers.raw, b"".join(parts)), limit)


class ClientTransport:
    """Requests through ``proxy``, or straight to any server; belongs to one event loop."""

    def __init__(self, reach: Reach, proxy: str | None = None, *, named: bool = True) -> None:
        """With ``named`` unset no header tells who asks."""
        http, self._reach, self._through = http_library(), reach, " (through a proxy)" if proxy else ""
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        headers |= reach.headers if named else {}
        try:
            self._client = http.AsyncClient(headers=headers, proxy=proxy, **client_options(http, reach))
        except http.InvalidURL:
            raise InputError(_NO_PROXY) from None
        self._errors = http.HTTPError, http.InvalidURL, http.StreamError
        self._unreached, self._timeouts = http.ConnectTimeout, http.TimeoutException
        self._refusals, self._failed = http.ProxyError, http.ConnectError

    async def send(self, method: str, url: str, body: bytes = b"") -> Reply:
        """What :class:`clucert.models.http_pool.Transport` says."""
        with self._plainly():
            async with asyncio.timeout(self._reach.timeout):
                return await self._read(method, url, body)

    async def open(self, url: str, body: bytes) -> Stream:
        """Post ``body`` and wait for the headers of the response. Raises like :meth:`send`.

        On a connection of its own: the library reads bytes beyond an answer as the answer to its next request.
        """
        request = self._client.build_request("POST", url, content=body, headers={"Connection": "close"})
        with self._plainly():
            response = await self._client.send(request, stream=True)
        chunks = aiter(response.aiter_raw())

        async def chunk() -> bytes:
            with self._plainly():
                found: bytes = await anext(chunks, b"")
                return found

        return Stream(Reply(response.status_code, response.headers.raw, b""), chunk, response.aclose)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _read(self, method: str, url: str, body: bytes) -> Reply:
        async with self._client.stream(method, url, content=body) as response:
            return await read_reply(response, response.aiter_raw(), self._reach.limit)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Raise what a socket raises in place of the library's errors."""
        try:
            yield
        except self._unreached as error:
            raise UnreachedError(
                f"could not be reached within {self._reach.connect_timeout:g} s{self._through}"
            ) from error
        except self._timeouts as error:
            raise TimeoutError(f"did not answer in time{self._through}") from error
        except self._errors as error:
            raise self._plain(error) from error

    def _plain(self, error: Exception) -> OSError:
        """``error`` as what a socket raises."""
        if isinstance(error, self._refusals):
            said = str(error)[:100]
            kind = FinalError if said[:3] in ("401", "403", "407") else ToldError
            return kind(f"cannot be reached: the proxy answered {said or 'nothing'}", proxy=True)
        why = causes(error)
        if self._through and isinstance(error, self._failed) and not any(isinstance(c, ssl.SSLError) for c in why):
            return ToldError("cannot be reached: the proxy of the environment does not answer", proxy=True)
        for cause in why[1:]:
            if isinstance(cause, OSError):
                return cause
        return ConnectionError(f"closed the connection{self._through} ({str(error)[:100] or type(error).__name__})")


class RareRequests:
    """Requests that go through a proxy, and those that are redirected; belongs to one event loop."""

    def __init__(self, reach: Reach, server: Handler | None = None) -> None:
        """``server`` answers in place of all servers."""
        self._reach, self._function = reach, server and FunctionTransport(server)
        self._clients: dict[tuple[str | None, bool], ClientTransport] = {}

    async def send(self, method: str, url: str, body: bytes, reply: Reply | None = None) -> Reply:
        """What :class:`clucert.models.http_pool.Transport` says; ``reply`` is what the request got already.

        Redirects are followed, and keep the method. Another host is not told who asks.
        """
        here, named = url, True
        for _ in range(REDIRECTS + 1):
            if reply is None:
                reply = await (self._function or self._client(here, named=named)).send(method, here, body)
            if not is_redirect(reply):
                return reply
            here = urljoin(here, reply.headers["location"])
            if urlsplit(here).scheme not in ("http", "https") or not (here.isascii() and here.isprintable()):
                raise BadAnswerError("the server redirects to what is no address of the web")
            named = named and _is_same_server(url, here)
            reply = None
        raise BadAnswerError(f"the server redirects more than {REDIRECTS} times")

    async def close(self) -> None:
        """Close every connection; calling it twice is harmless."""
        while self._clients:
            await self._clients.popitem()[1].close()

    def _client(self, url: str, *, named: bool) -> ClientTransport:
        key = proxy_of(url), named
        if key not in self._clients:
            self._clients[key] = ClientTransport(self._reach, key[0], named=named)
        return self._clients[key]


def is_redirect(reply: Reply) -> bool:
    """Whether the same request is to be sent to another address; one that names none is a failure."""
    return reply.status in _REDIRECTED and bool(reply.headers.get("location"))


def _is_same_server(url: str, there: str) -> bool:
    """Whether both are of one host, and no encryption is given up."""
    one, other = urlsplit(url), urlsplit(there)
    ports = [part.port or {"https": 443}.get(part.scheme, 80) for part in (one, other)]
    if one.hostname != other.hostname:
        return False
    return (one.scheme == other.scheme and ports[0] == ports[1]) or (other.scheme == "https" and ports[1] == 443)
