"""The endpoint's own keys: compared in constant time, and read again when their file changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from clucert.errors import InputError
from clucert.serve.options import read_keys

log = logging.getLogger("clucert.serve")

LOOK_SECONDS = 1.0
"""How often the file is looked at, at most."""


class KeyRing:
    """Keys, any of which opens the endpoint; none leaves it open.

    With ``file`` they are those of the file: a changed one is read at the next request, a second later at most. One
    that cannot be read, or that holds no key, changes nothing, and is told to the log: a slip never opens the endpoint.
    """

    def __init__(self, keys: Sequence[str], file: Path | None = None) -> None:
        self._digests = tuple(map(_digest, keys))
        self._file = file
        self._looked, self._seen = time.monotonic(), _state(file)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def opens(self, key: str) -> bool:
        """Whether ``key`` is one of them."""
        self._look()
        given = _digest(key)
        # Every key is compared, each in constant time: neither says how near a guess was.
        return any([hmac.compare_digest(given, known) for known in self._digests])  # noqa: C419 - no short cut

    def _look(self) -> None:
        now = time.monotonic()
        if self._file is None or now - self._looked < LOOK_SECONDS:
            return
        self._looked, seen = now, _state(self._file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._digests = tuple(map(_digest, read_keys(self._file)))
        except InputError as error:
            log.warning("the keys stay as they are: %s", error)
        else:
            log.info("keys read again: %d", len(self._digests))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _state(file: Path | None) -> tuple[int, ...] | None:
    """What changes with the content of a file, also where a link is turned to another one; None without one."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
