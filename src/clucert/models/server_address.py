"""The address and the key of an OpenAI-compatible server; the key is kept out of everything that is shown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from clucert.errors import AuthenticationError, InputError
from clucert.redact import SECRET_PARAMETER, redact

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""Sent to servers that need no key: the client insists on one."""

_VERSION = re.compile(r"/v\d+\w*(?=/|$)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's base URL, without credentials, and the ``Authorization`` header that it wants."""

    base_url: str
    authorization: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False, default=())

    @classmethod
    def of(cls, url: str, key: str | None) -> Self:
        """From a URL with or without ``/v1`` and with or without ``user:password@``; ``key`` may be missing."""
        parts = _split(url)
        base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], _versioned(parts.path), "", ""))
        told = [value for name, value in parse_qsl(parts.query) if SECRET_PARAMETER.search(name)]
        if parts.username is None:
            return cls(base, f"Bearer {key or NO_KEY}", tuple(filter(None, (key, *told))))
        user, password = unquote(parts.username), unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        written = (parts.password, parts.username) if parts.password else (parts.username,)
        return cls(base, f"Basic {token}", tuple(s for s in (token, password, user, *written, key, *told) if s))

    def scrub(self, message: str) -> str:
        """``message`` on one line, at most 300 characters, with the key, and whatever looks like one, replaced."""
        return redact(message, self.secrets, limit=300)


def openai_endpoint(base_url: str | None, env: Mapping[str, str]) -> Endpoint:
    """``--base-url``, else ``OPENAI_BASE_URL``, else OpenAI, the only one that requires ``OPENAI_API_KEY``."""
    key = env.get("OPENAI_API_KEY")
    url = base_url or env.get("OPENAI_BASE_URL") or OPENAI_URL
    endpoint = Endpoint.of(url, key)
    if endpoint.base_url == OPENAI_URL and not key:
        raise AuthenticationError("no key for api.openai.com: set OPENAI_API_KEY, or give a server with --base-url")
    return endpoint


def local_endpoint(default: str, variable: str, base_url: str | None, env: Mapping[str, str]) -> Endpoint:
    """A server of the user's own. It gets the key in ``variable`` if there is one, and never OpenAI's."""
    return Endpoint.of(base_url or default, env.get(variable))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        # The URL itself is not repeated: it may hold a password.
        raise InputError("the base URL is not a URL: write it like  http://localhost:8000/v1")
    return parts


def _versioned(path: str) -> str:
    path = path.rstrip("/").removesuffix("/chat/completions")
    return path if _VERSION.search(path) else f"{path}/v1"
