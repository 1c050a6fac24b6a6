"""Options of the endpoint."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clucert.errors import InputError, UsageError
from clucert.guard.result import Policy
from clucert.refusals import PhraseDetector, RefusalDetector

KEY_VARIABLE = "CLUCERT_API_KEY"
EXTRA_COMMAND = "pip install 'clucert[serve]'"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of the HTTP endpoint."""

    model: str
    """The upstream's name of the model, and the only one that clients may ask for."""
    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[str, ...] = field(default=(), repr=False)
    """Each gives access to ``/v1``; without any, access is open."""
    max_in_flight: int = 8
    """Requests that are worked on at a time."""
    max_queue: int = 64
    """Requests that wait at a time; the next one gets 503."""
    max_body: int = 1 << 20
    """Bytes of a request."""
    max_tokens: int = 1024
    """Longest answer: what a request gets that asks for more, or does not say."""
    temperature: float = 1.0
    """Where a request names none; 1 is OpenAI's."""
    request_timeout: float = 300.0
    """Seconds for a request, its wait in the queue included."""
    shutdown_timeout: float = 60.0
    """Seconds that requests in flight have once the server is told to stop."""
    log_prompts: bool = False


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """Options of the guard."""

    policy: Policy = field(default_factory=Policy)
    detector: RefusalDetector = field(default_factory=PhraseDetector)
    seed: int | None = None
    """Fixes the noise and shows its seed, for studies; None draws a secret key: nobody can foresee it then."""


def read_keys(file: Path | None, env: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The endpoint's own keys: one a line in ``file``, else comma-separated in ``CLUCERT_API_KEY``.

    Never from the command line, which other users of the machine can see. Raises :class:`InputError` for a file that
    holds none, or a key that no client can send.
    """
    if file is None:
        found, origin = env.get(KEY_VARIABLE, "").split(","), KEY_VARIABLE
    else:
        origin = str(file)
        try:
            found = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    keys = tuple(key.strip() for key in found if key.strip())
    if file is not None and not keys:
        raise InputError(f"{file} holds no key: write one a line, or leave --api-key-file away")
    if any(not (key.isascii() and key.isprintable()) or " " in key for key in keys):
        raise InputError(f"a key in {origin} has blanks or characters that are not ASCII: clients cannot send it")
    return keys


def check_exposure(host: str, keys: tuple[str, ...], *, allowed: bool) -> None:
    """Raise :class:`UsageError` where anybody on the network could spend the upstream's tokens."""
    if keys or allowed or _loopback(host):
        return
    raise UsageError(f"--host {host} opens the endpoint to others: set {KEY_VARIABLE}, or say --no-api-key")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
