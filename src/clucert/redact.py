"""Secrets kept out of whatever is shown or written down: messages, commands, manifests, configurations, cache keys.

The only place that knows what a secret looks like. Nothing here prints or stores anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from clucert.visible import visible

HIDDEN = "***"
SECRET_PARAMETER = re.compile(r"key|token|secret|sig|pass|auth|credential", re.IGNORECASE)
"""In the name of a URL's parameter: what it is set to is not shown."""

_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_LEAST = 8
"""Characters of the shortest value of such an environment variable that is taken for a secret."""
_LOOKS = re.compile(r"\b(?:sk|pk|key|gsk|hf|xai)[-_][\w-]{8,}|(?<=[Bb]earer )\S+|(?<=[Bb]asic )\S+")
_USER = re.compile(r"(?<=://)[^\s/@]+@")
_PARAMETER = re.compile(
    r"([?&;][\w.%-]{0,60}?(?:key|token|secret|sig|pass|auth|credential)[\w.%-]{0,60}=)[^\s&;#]+", re.IGNORECASE
)
_HEADER = re.compile(
    r"\b((?:[\w-]{0,40}?api[-_]key|authorization)['\"]?\s*[:=]\s*['\"]?)(?!Bearer |Basic )[^\s'\",]+", re.I
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def redact(
    message: str,
    secrets: Iterable[str | None] = (),
    *,
    env: Mapping[str, str] = os.environ,
    limit: int | None = None,
) -> str:
    """``message`` on one line, without ``secrets``, those of the environment, and what looks like one.

    ``limit`` cuts it to that many characters, once nothing secret is left in it.
    """
    known = {secret for secret in secrets if secret}
    known |= {value for name, value in env.items() if _SECRET_VARIABLE.search(name) and len(value) >= _LEAST}
    written = known | {quote(secret, safe="") for secret in known}
    for secret in sorted(written, key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    message = _USER.sub("", _LOOKS.sub(HIDDEN, message))
    message = _HEADER.sub(rf"\1{HIDDEN}", _PARAMETER.sub(rf"\1{HIDDEN}", message))
    message = " ".join(visible(message).split())
    return message if limit is None or len(message) <= limit else f"{message[: limit - 3]}…"


def without_credentials(url: str) -> str:
    """``url`` without user, password and secret parameters; one without them as it is."""
    scheme, found, rest = url.rpartition("://")
    place, question, query = rest.partition("?")
    # A slash or question mark in a password that was not quoted would end the host.
    if "@" in place or "@" in query.partition("=")[0]:
        place, question, query = rest.rpartition("@")[2].partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(SECRET_PARAMETER.search(name) for name, _ in pairs):
        query = urlencode([(name, value) for name, value in pairs if not SECRET_PARAMETER.search(name)])
        question = "?" if query else ""
    return f"{scheme}{found}{place}{question}{query}"


def clean_base_url(url: str) -> str:
    """``url`` without user, password and secret parameters, written in one way.

    ``http://host``, ``http://host/`` and ``http://host/v1`` are the same server.
    """
    if not url:
        return ""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if parts.port is not None and parts.port != _DEFAULT_PORTS.get(parts.scheme.lower()):
        host = f"{host}:{parts.port}"
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    query = urlencode(sorted((k, v) for k, v in parse_qsl(parts.query) if not SECRET_PARAMETER.search(k)))
    return urlunsplit((parts.scheme.lower(), host, path, query, ""))
