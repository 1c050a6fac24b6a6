"""Secrets kept out of whatever is shown or written down: messages, commands, manifests, configurations, cache keys.

The only place that knows what a secret looks like. Nothing here prints or stores anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from clucert.visible import visible

HIDDEN = "***"
SECRET_PARAMETER = re.compile(r"key|token|secret|sig|pass|auth|credential|^code$", re.IGNORECASE)
"""In the name of a URL's parameter: what it is set to is not shown."""

_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_LEAST = 8
"""Characters of the shortest value of such an environment variable that is taken for a secret."""
_LOOKS = re.compile(
    r"\b(?:sk|pk|key|gsk|hf|xai|pplx|nvapi|gh[oprsu]|github_pat|glpat|xox[a-z])[-_][\w-]{8,}|\bAIza[\w-]{30,}"
    r"|\bdapi[0-9a-f]{24,}|\beyJ[\w-]{8,}(?:\.[\w-]+){1,4}|(?<=[Bb]earer )\S+|(?<=[Bb]asic )\S+"
)
"""Keys of providers, tokens of GitHub (whose models are asked with one), Databricks and Google, and signed ones."""
_URL = re.compile(r"(?!hf:)[A-Za-z][A-Za-z0-9+.-]{1,40}:/{1,2}\S+")
"""With one slash, too: so a path is shown that was given as a URL. ``hf:/folder@split`` has no user and no password."""
_FIELD = re.compile(
    r"""((['"])[\w-]{0,60}?(?:key|token|secret|passw|auth|credential)[\w-]{0,60}\2\s{0,9}:\s*)(?:(['"]).*?\3|[^\s,}\]]+)""",
    re.IGNORECASE,
)
"""Of an object that is shown, as Python or JSON writes it."""
_PARAMETER = re.compile(
    r"([?&;](?:[\w.%-]{0,60}?(?:key|token|secret|sig|pass|auth|credential)[\w.%-]{0,60}|code)=)[^\s&;#]+", re.IGNORECASE
)
_PASSWORD = re.compile(
    r"((?<![\w.%-])(?:passw(?:or)?d|(?-i:[A-Z0-9_]{0,60}(?:KEY|TOKEN|SECRET|PASSWORD)[A-Z0-9_]{0,60}))\s{0,9}=\s{0,9})"
    r"[^\s&;#]+",
    re.IGNORECASE,
)
"""As libpq writes it, or as a shell sets a variable."""
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
    message = " ".join(visible(_hidden(message, secrets, env)).split())
    return message if limit is None or len(message) <= limit else f"{message[: limit - 3]}…"


def shown(value: Any) -> Any:
    """``value``, of lists, mappings and strings, with what :func:`redact` hides; else each string as it is."""
    if isinstance(value, str):
        return _hidden(value)
    if isinstance(value, Mapping):
        return {name: shown(item) for name, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value


def _hidden(text: str, secrets: Iterable[str | None] = (), env: Mapping[str, str] = os.environ) -> str:
    known = {secret for secret in secrets if secret}
    known |= {value for name, value in env.items() if _SECRET_VARIABLE.search(name) and len(value) >= _LEAST}
    written = known | {quote(secret, safe="") for secret in known}
    for secret in sorted(written, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _LOOKS.sub(HIDDEN, _URL.sub(_without_password, text))
    for named in (_FIELD, _PARAMETER, _PASSWORD, _HEADER):
        text = named.sub(rf"\1{HIDDEN}", text)
    return text


def _without_password(url: re.Match[str]) -> str:
    """A URL whose password is hidden already keeps its user, whom a configuration that is read back needs; so does an
    example, whose user is called ``user``.
    """
    for kept in (f":{HIDDEN}@", "://user@"):
        user, hidden, rest = url[0].partition(kept)
        if hidden and "@" not in user:
            return f"{user}{hidden}{without_credentials(f'x://{rest}').removeprefix('x://')}"
    return without_credentials(url[0])


def without_credentials(url: str) -> str:
    """``url`` without user, password and secret parameters; one without them as it is."""
    scheme, found, rest = url.rpartition("://")
    place, question, query = rest.partition("?")
    # A slash or question mark in a password that was not quoted would end the host: what has a port that is none, or
    # no path before its question mark, is taken for one.
    _, colon, port = place.partition("/")[0].rpartition(":")
    unquoted = "/" not in place or (colon and not port.isdecimal() and "]" not in port)
    if "@" in place or "@" in query.partition("=")[0] or ("@" in query and unquoted):
        place, question, query = rest.rpartition("@")[2].partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(SECRET_PARAMETER.search(name) for name, _ in pairs):
        query = urlencode([(name, value) for name, value in pairs if not SECRET_PARAMETER.search(name)])
        question = "?" if query else ""
    return f"{scheme}{found}{place}{question}{query}"


def clean_base_url(url: str) -> str:
    """``url`` without user, password and secret parameters, written in one way.

    ``http://host``, ``http://host/`` and ``http://host/v1`` are the same server. What is no URL stays as it is but for
    its credentials: whoever is to ask there refuses it.
    """
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return without_credentials(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme.lower()):
        host = f"{host}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    query = urlencode(sorted((k, v) for k, v in parse_qsl(parts.query) if not SECRET_PARAMETER.search(k)))
    return urlunsplit((parts.scheme.lower(), host, path, query, ""))
