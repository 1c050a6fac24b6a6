"""Opening the cache, and what ``clucert cache`` does with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO, overload

from clucert.cache.base import CacheStats
from clucert.cache.location import CacheLocation, CacheUrl, cache_location
from clucert.cache.outbox import cache_folder, entry_line
from clucert.cache.sqlite import SqliteCache

if TYPE_CHECKING:
    from clucert.cache.postgres import PostgresCache

Written = str | os.PathLike[str] | CacheUrl | None
"""A cache as a user names it: a file, ``postgresql+psycopg://user@host/database``, or None for the usual one."""


def default_cache_path() -> CacheLocation:
    """``$CLUCERT_CACHE``, else ``$XDG_CACHE_HOME/clucert/answers.sqlite``, else the same under ``~/.cache``."""
    if chosen := os.environ.get("CLUCERT_CACHE"):
        return cache_location(chosen)
    return cache_folder() / "answers.sqlite"


@overload
def open_cache(path: os.PathLike[str], *, timeout: float | None = None) -> SqliteCache: ...
@overload
def open_cache(path: Written = None, *, timeout: float | None = None) -> SqliteCache | PostgresCache: ...
def open_cache(path: Written = None, *, timeout: float | None = None) -> SqliteCache | PostgresCache:
    """The cache at ``path`` (default: :func:`default_cache_path`), created if it is not there.

    ``timeout`` is how many seconds to wait for other processes (30) or for a server that went away (60).

    Raises :class:`clucert.errors.CacheError` when it cannot be used; a damaged file is never touched.
    """
    where = _where(path)
    if isinstance(where, CacheUrl):
        from clucert.cache.postgres import PostgresCache

        return PostgresCache(where, timeout=timeout)
    return SqliteCache(where) if timeout is None else SqliteCache(where, timeout=timeout)


def cache_stats(path: Written = None) -> CacheStats:
    """What the cache holds; nothing is created where there is none."""
    where = _where(path)
    found = _existing(where)
    if found is None:
        return CacheStats(str(where), 0, 0, {}, None, None)
    with found as cache:
        return cache.stats()


def clear_cache(path: Written = None, *, model: str | None = None) -> int:
    """Delete every answer, or those of one model; return how many there were."""
    found = _existing(_where(path))
    if found is None:
        return 0
    with found as cache:
        return cache.clear(model=model)


def export_cache(out: TextIO, path: Written = None) -> int:
    """Write every entry to ``out``, one JSON object a line, oldest first; return how many.

    Fields: ``key``, ``model``, ``created`` (seconds since 1970), ``answer``. The requests are not stored, only the
    digest of each (``key``).
    """
    found = _existing(_where(path))
    if found is None:
        return 0
    written = 0
    with found as cache:
        for entry in cache.export():
            out.write(entry_line(entry))
            written += 1
    return written


def _where(path: Written) -> CacheLocation:
    return default_cache_path() if path is None else cache_location(path)


def _existing(where: CacheLocation) -> SqliteCache | PostgresCache | None:
    """The cache that is there, if there is one."""
    if isinstance(where, CacheUrl):
        from clucert.cache.postgres import PostgresCache

        return PostgresCache(where, create=False)
    return SqliteCache(where) if where.exists() else None
