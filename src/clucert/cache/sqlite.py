"""The answer cache in one SQLite file: all of its SQL is here."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from clucert.cache.base import CacheEntry, CacheStats, decode_answer, encode_answer
from clucert.context_manager import ContextManager
from clucert.errors import CacheError
from clucert.types import Answer

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x436C7543  # "CluC" in the file's header: another program's database is never written to

_CREATE = (
    # Random keys live in the index alone, so that the rows themselves are only ever appended.
    "CREATE TABLE IF NOT EXISTS models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, key BLOB NOT NULL, model INTEGER NOT NULL,"
    " created INTEGER NOT NULL, answer TEXT NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS answers_key ON answers (key)",
)
_PUT_MODEL = "INSERT INTO models (name) VALUES (?) ON CONFLICT DO NOTHING"
_PUT = (
    "INSERT INTO answers (key, model, created, answer) VALUES (?, (SELECT id FROM models WHERE name = ?), ?, ?)"
    " ON CONFLICT DO NOTHING"
)
_GET = "SELECT key, answer FROM answers WHERE key IN ({})"
_TOTALS = "SELECT count(*), min(created), max(created) FROM answers"
_BY_MODEL = (
    "SELECT m.name, count(*) FROM answers a JOIN models m ON m.id = a.model"
    " GROUP BY a.model ORDER BY count(*) DESC, m.name"
)
_CLEAR_ALL = "DELETE FROM answers"
_CLEAR_MODEL = "DELETE FROM answers WHERE model = (SELECT id FROM models WHERE name = ?)"
_EXPORT = "SELECT a.key, m.name, a.created, a.answer FROM answers a JOIN models m ON m.id = a.model ORDER BY a.id"
_NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_LOOKUP_CHUNK = 500  # below the 999 variables that the oldest supported SQLite allows


class SqliteCache(ContextManager):
    """Answers in one SQLite file (write-ahead log), shared by threads and processes.

    One transaction a batch. A process that is killed loses nothing that ``put_many`` returned from; a power cut may
    lose the last transactions but does not damage the file. The file is created readable by its owner alone (0600).
    One object serves one process: open it again after a fork.
    """

    def __init__(self, path: Path, *, timeout: float = 30.0) -> None:
        """Open ``path``, creating it if it is not there. Wait up to ``timeout`` seconds for other processes."""
        self.path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False
        with self._explained():
            _create_private(path)
            self._db = _connect(path, timeout)
        try:
            with self._explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that are known; keys that are not are left out."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Answer] = {}
        with self._using() as db:
            for start in range(0, len(wanted), _LOOKUP_CHUNK):
                chunk = [bytes.fromhex(key) for key in wanted[start : start + _LOOKUP_CHUNK]]
                marks = ",".join("?" * len(chunk))
                for key, stored in db.execute(_GET.format(marks), chunk):
                    found[key.hex()] = self._decode(stored)
        return found

    def put_many(self, answers: Mapping[str, Answer], *, model: str) -> None:
        """Store all of ``answers`` in one transaction. The first answer stored under a key stays."""
        if not answers:
            return
        now = int(time.time())
        rows = [(bytes.fromhex(key), model, now, encode_answer(answer)) for key, answer in answers.items()]
        with self._using() as db, _transaction(db):
            db.execute(_PUT_MODEL, (model,))
            db.executemany(_PUT, rows)

    def stats(self) -> CacheStats:
        """Count what is stored; ``size_bytes`` includes the write-ahead log."""
        with self._using() as db:
            entries, oldest, newest = db.execute(_TOTALS).fetchone()
            models = dict(db.execute(_BY_MODEL).fetchall())
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        size = sum(f.stat().st_size for f in files if f.exists())
        return CacheStats(str(self.path), entries, size, models, oldest, newest)

    def clear(self, *, model: str | None = None) -> int:
        """Delete every answer, or those of one model, give the space back, and return how many there were."""
        with self._using() as db:
            with _transaction(db):
                done = db.execute(_CLEAR_ALL) if model is None else db.execute(_CLEAR_MODEL, (model,))
                deleted = done.rowcount
            # Giving space back needs the file to itself; the answers are gone either way.
            with suppress(sqlite3.OperationalError):
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def export(self) -> Iterator[CacheEntry]:
        """Every entry that was stored when the iteration began, oldest first, read as it goes."""
        with self._explained():
            db = _connect(self.path, self._timeout)
        try:
            with self._explained():
                rows = db.execute(_EXPORT)
            while True:
                with self._explained():
                    batch = rows.fetchmany(1000)
                if not batch:
                    return
                for key, model, created, stored in batch:
                    yield CacheEntry(key.hex(), model, created, self._decode(stored))
        finally:
            db.close()

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._db.close()

    def _prepare(self) -> None:
        """Check that the file is ours, switch to the write-ahead log, create the tables."""
        db = self._db
        application, version, empty = _header(db)
        if empty and not application and not version:
            self._switch_to_wal()
            with _transaction(db):
                for statement in _CREATE:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            return
        if application != _APPLICATION_ID:
            raise CacheError(f"{self.path} is the database of another program: name another file with CLUCERT_CACHE")
        if version != SCHEMA_VERSION:
            raise CacheError(
                f"{self.path} has cache schema {version}, this clucert reads {SCHEMA_VERSION}: "
                "update clucert, or name another file with CLUCERT_CACHE"
            )

    def _switch_to_wal(self) -> None:
        # SQLite does not wait for its busy timeout here when two processes switch at once.
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

        retrying = Retrying(
            retry=retry_if_exception(lambda error: _code(error) == sqlite3.SQLITE_BUSY),
            stop=stop_after_delay(self._timeout),
            wait=wait_fixed(0.01),
            reraise=True,
        )
        retrying(self._db.execute, "PRAGMA journal_mode = WAL")

    def _decode(self, stored: str) -> Answer:
        try:
            return decode_answer(stored)
        except CacheError as error:
            raise CacheError(f"{self.path} holds an entry that is not an answer: run  clucert cache clear") from error

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():
            # SQLite's locks do not survive a fork; going on could damage the file.
            raise CacheError(f"the cache {self.path} was opened before a fork: open it again in this process")
        with self._lock:
            if self._closed:
                raise CacheError(f"the cache {self.path} is closed")
            with self._explained():
                yield self._db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into one line that says what to do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise CacheError(self._explain(error)) from None

    def _explain(self, error: sqlite3.Error | OSError) -> str:
        path, code = self.path, _code(error)
        elsewhere = "name another file with CLUCERT_CACHE, or go without a cache"
        if code == sqlite3.SQLITE_BUSY:
            return (
                f"{path} was locked by another process for more than {self._timeout:g} s: "
                f"end that process, or {elsewhere}"
            )
        number = getattr(error, "errno", None)
        if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
            return f"no space left for {path}: free some, or {elsewhere}; what was stored is safe"
        if code in _NOT_WRITABLE or number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{path} cannot be opened for writing: make it and its folder writable, or {elsewhere}"
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return f"{path} is damaged or no cache ({error}): move the file away, or {elsewhere}"
        return f"{path} cannot be used ({error}): {elsewhere}"


def _code(error: BaseException) -> int | None:
    """SQLite's primary result code; the extended ones keep it in the low byte."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def _create_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _connect(path: Path, timeout: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    # In WAL mode NORMAL costs no fsync a transaction and still never damages the file.
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -65536")  # 64 MiB: the index of a million keys
    return db


def _header(db: sqlite3.Connection) -> tuple[int, int, bool]:
    """Application id, schema version, and whether the file has no tables: as of one moment."""
    with _transaction(db, "DEFERRED"):
        empty = db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
    return application, version, empty


@contextmanager
def _transaction(db: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE") -> Iterator[None]:
    # A writer begins IMMEDIATE: one that reads first and writes later can fail without waiting.
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
