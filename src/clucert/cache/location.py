"""Where a cache is: a file of this machine, or a database that machines share. A password is never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, SerializationInfo

from clucert.errors import InputError
from clucert.redact import HIDDEN, SECRET_PARAMETER, redact, without_credentials

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,40}://")
_PAIRS = re.compile(r"\s*(?:host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=", re.IGNORECASE)
"""How libpq writes a database without a URL: no name of a file, and its password would be shown as part of one."""
_SCHEMES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_HOW = "write it like  postgresql+psycopg://user@host/database  (the password may be in PGPASSWORD or ~/.pgpass)"


@dataclass(frozen=True, slots=True, repr=False)
class CacheUrl:
    """A PostgreSQL database. ``str`` and ``repr`` show ``***`` in place of the password.

    A URL that was read back from where it was shown (a manifest, a printed configuration) has no password any more:
    PostgreSQL's own means, ``PGPASSWORD`` and ``~/.pgpass``, then supply it.
    """

    user: str
    host: str
    port: int | None
    database: str
    patience: float | None = None
    """Seconds to wait for a server that went away (``?patience=60``)."""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What else libpq is told, such as ``sslmode``."""
    password: str | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Parse ``url``. Raises :class:`InputError`, which does not repeat it, for one that cannot be used."""
        try:
            parts = urlsplit(url)
            # A slash or question mark of an unquoted password would end the host.
            usable = parts.scheme in _SCHEMES and not parts.fragment and "@" not in parts.path + parts.query
            port = parts.port
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            # URLs of earlier versions may say for how long a process keeps its questions to itself.
            options.pop("lease", None)
            patience = _seconds(options.pop("patience", None))
        except ValueError:
            usable, port, options, patience = False, None, {}, None
        database = unquote(parts.path.strip("/")) if usable else ""
        if not usable or not database or "/" in database:
            raise InputError(f"the cache's URL cannot be used: {_HOW}; special characters in it as %xx")
        asked = options.pop("password", "")
        secret = unquote(parts.password or "") or asked
        return cls(
            user=unquote(parts.username or ""),
            host=parts.hostname or "",
            port=port,
            database=database,
            patience=patience,
            options={name: value for name, value in options.items() if value != HIDDEN},
            password=secret if secret not in ("", HIDDEN) else None,
        )

    def __str__(self) -> str:
        user = quote(self.user, safe="")
        secret = f":{HIDDEN}" if self.password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        query = {} if self.patience is None else {"patience": f"{self.patience:g}"}
        query |= {name: HIDDEN if SECRET_PARAMETER.search(name) else value for name, value in self.options.items()}
        at = "@" if user or secret else ""
        shown = f"?{urlencode(query, safe='*/')}" if query else ""
        return f"postgresql+psycopg://{user}{secret}{at}{host}{port}/{quote(self.database)}{shown}"

    def __repr__(self) -> str:
        return f"CacheUrl({str(self)!r})"

    def scrub(self, message: str) -> str:
        """``message`` on one line without the password."""
        return redact(message, (self.password, *(v for k, v in self.options.items() if SECRET_PARAMETER.search(k))))


CacheLocation = Path | CacheUrl


def cache_location(written: str | os.PathLike[str] | CacheUrl) -> CacheLocation:
    """A file or a database, from how a user writes it. Raises :class:`InputError` for a URL of anything else."""
    if isinstance(written, CacheUrl):
        return written
    if isinstance(written, str) and _is_database(written):
        return CacheUrl.of(written)
    return Path(written).expanduser()


def redact_argument(argument: str) -> str:
    """A part of a command line as it may be shown: a URL in it loses its user, its password and its secrets."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.partition("://")[0] in _SCHEMES and "://" in value:
        try:
            return f"{option}{equals}{CacheUrl.of(value)}"
        except InputError:
            return f"{option}{equals}postgresql://{HIDDEN}"
    if "://" in value or "@" in value:
        value = without_credentials(value)
    return redact(f"{option}{equals}{value}")


def _parsed(value: object) -> Any:
    if value in ("False", "false"):
        # How earlier versions wrote "no cache"; a file of that name is not meant.
        return False
    return cache_location(value) if isinstance(value, str) and _is_database(value) else value


def _is_database(written: str) -> bool:
    return bool(_URL.match(written) or _PAIRS.match(written))


def _dumped(value: CacheLocation | Literal[False] | None, info: SerializationInfo) -> Any:
    return str(value) if isinstance(value, CacheUrl) or (value and info.mode == "json") else value


CacheField = Annotated[
    Path | InstanceOf[CacheUrl] | Literal[False] | None, BeforeValidator(_parsed), PlainSerializer(_dumped)
]
"""Where a configuration keeps answers: None is the user's cache folder, False nowhere. Dumped without its password."""


def _seconds(written: str | None) -> float | None:
    if written is None:
        return None
    value = float(written)
    if not 0 < value < 86_400:
        raise ValueError(written)
    return value
