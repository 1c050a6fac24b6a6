"""The address and the key of an OpenAI-compatible server; the key is kept out of everything that is shown."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from clucert.errors import AuthenticationError, InputError
from clucert.redact import SECRET_PARAMETER, redact

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""Sent to servers that need no key: many insist on one."""

_VERSION = re.compile(r"/v\d+\w*(?=/|$)")
_CHAT, _INVOCATIONS = "/chat/completions", "/invocations"
_AZURE_HOST = re.compile(r"\.(?:openai\.azure\.com|cognitiveservices\.azure\.com|services\.ai\.azure\.com)$")
_AZURE_PATH = re.compile(r"/openai/deployments/[^/]+$")
_UNVERSIONED = re.compile(
    r"^//(?:api\.perplexity\.ai|api\.githubcopilot\.com)$|/(?:inference|serving-endpoints|models)$"
)
"""Addresses behind which there is no ``/v1``: tried without it first."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server takes questions, and where it lists its models, if it does."""

    chat: str
    models: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's base URL, without credentials, what each request says of who asks, and where requests go."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    addresses: tuple[Address, ...] = field(repr=False)
    """With and without ``/v1`` where the URL does not say, the likelier first. Their queries may hold a key."""
    secrets: tuple[str, ...] = field(repr=False, default=())

    @classmethod
    def of(cls, url: str, key: str | None, *, model: str = "", extra: Mapping[str, str] | None = None) -> Self:
        """From a URL with or without ``/v1``, ``user:password@`` and query; ``key`` may be missing.

        A URL that ends in ``/chat/completions`` or ``/invocations`` is the whole address. On Azure, ``model`` is the
        deployment where the URL names none. ``extra`` headers go to this server too. Raises :class:`InputError`.
        """
        parts = _split(url)
        netloc = parts.netloc.rpartition("@")[2]
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~").rstrip("/")
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        azure = bool(_AZURE_HOST.search(parts.hostname or ""))
        if azure and path in ("", "/openai"):
            named = any(name == "api-version" for name, _ in pairs)
            path = f"/openai/deployments/{quote(model, safe='')}" if named else "/openai/v1"
        root = urlunsplit((parts.scheme, netloc, "", "", ""))
        query = f"?{urlencode(pairs)}" if pairs else ""
        bases = _bases(parts.hostname or "", path)
        if path.endswith(_INVOCATIONS):
            addresses = [Address(f"{root}{path}{query}", None)]
        else:
            addresses = [Address(f"{root}{base}{_CHAT}{query}", f"{root}{base}/models{query}") for base in bases]
        shown = urlencode([(name, value) for name, value in pairs if not SECRET_PARAMETER.search(name)])
        told = [value for name, value in pairs if SECRET_PARAMETER.search(name)]
        by_key = azure or bool(_AZURE_PATH.search(path.removesuffix(_CHAT)))
        who, secrets = _credentials(parts, key, azure=by_key)
        return cls(
            f"{root}{bases[0]}{f'?{shown}' if shown else ''}",
            {**who, **_checked(extra or {})},
            tuple(addresses),
            tuple(filter(None, (*secrets, *told, *(extra or {}).values()))),
        )

    def scrub(self, message: str) -> str:
        """``message`` on one line, at most 300 characters, with the key, and whatever looks like one, replaced."""
        return redact(message, self.secrets, limit=300)


def openai_endpoint(base_url: str | None, env: Mapping[str, str], model: str = "") -> Endpoint:
    """``--base-url``, else ``OPENAI_BASE_URL``, else OpenAI, the only one that requires ``OPENAI_API_KEY``.

    ``OPENAI_ORG_ID`` and ``OPENAI_PROJECT_ID`` are sent along where they are set.
    """
    key = env.get("OPENAI_API_KEY")
    url = base_url or env.get("OPENAI_BASE_URL") or OPENAI_URL
    named = {"OpenAI-Organization": env.get("OPENAI_ORG_ID"), "OpenAI-Project": env.get("OPENAI_PROJECT_ID")}
    extra = {name: value.strip() for name, value in named.items() if value and value.strip()}
    endpoint = Endpoint.of(url, key, model=model, extra=extra)
    if endpoint.base_url == OPENAI_URL and not key:
        raise AuthenticationError("no key for api.openai.com: set OPENAI_API_KEY, or give a server with --base-url")
    return endpoint


def local_endpoint(
    default: str, variable: str, base_url: str | None, env: Mapping[str, str], model: str = ""
) -> Endpoint:
    """A server of the user's own. It gets the key in ``variable`` if there is one, and never OpenAI's."""
    return Endpoint.of(base_url or default, env.get(variable), model=model)


def _credentials(parts: SplitResult, key: str | None, *, azure: bool) -> tuple[dict[str, str], tuple[str, ...]]:
    """The headers that say who asks, and what of them is secret, as it is written somewhere."""
    key = (key or "").strip()
    if parts.username is None:
        header = {"api-key": key} if azure and key else {"Authorization": f"Bearer {key or NO_KEY}"}
        return _checked(header), (key,)
    user, password = unquote(parts.username), unquote(parts.password or "")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    written = (parts.password, parts.username) if parts.password else (parts.username,)
    return {"Authorization": f"Basic {token}"}, (token, password, user, *written, key)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """``headers``. Raises :class:`InputError` where one cannot be sent; its value is not repeated."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InputError(
                f"the key, organisation or project for {name} has a character that no key has: copy it anew"
            )
    return dict(headers)


def _with_scheme(url: str) -> str:
    """A host on the internet, ``api.example.com``, is reached by TLS: a key would go there for all to read."""
    if "://" in url:
        return url
    host = re.split("[/?#]", url, maxsplit=1)[0].rpartition("@")[2]
    named = re.fullmatch(r"[^:]+[.][^:.\d]{2,}(:443)?", host)
    return f"{'https' if named else 'http'}://{url}"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(_with_scheme(url))
        host = parts.hostname or ""
        usable = parts.scheme in ("http", "https") and bool(host) and (parts.port is None or parts.port > 0)
        plain = host if host.isascii() else host.encode("idna").decode()
        usable = usable and not re.search(r"[\s\x00-\x20\x7f\"<>\\^`{|}]", url.rpartition("@")[2])
    except ValueError:
        usable = False
    if not usable:
        # The URL itself is not repeated: it may hold a password.
        raise InputError("the base URL is not a URL: write it like  http://localhost:8000/v1")
    return parts if host.isascii() else parts._replace(netloc=parts.netloc.lower().replace(host, plain))


def _bases(host: str, path: str) -> tuple[str, ...]:
    """What paths stand behind, the likelier first: with ``/v1`` and without, unless the path tells."""
    if path.endswith((_CHAT, _INVOCATIONS)):
        return (path.removesuffix(_CHAT),)
    if _VERSION.search(path) or _AZURE_PATH.search(path):
        return (path,)
    without_first = bool(_UNVERSIONED.search(path or f"//{host}"))
    return (path, f"{path}/v1") if without_first else (f"{path}/v1", path)
