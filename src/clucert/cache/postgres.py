"""The answer cache in a PostgreSQL database that many machines share: every statement of its answers is here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from clucert.cache.base import CacheEntry, CacheStats, Claimed, decode_answer, encode_answer
from clucert.cache.claims import CREATE_CLAIMS, Claims, end_claims
from clucert.cache.location import CacheUrl
from clucert.cache.outbox import Outbox
from clucert.cache.reconnect import Database
from clucert.closing import Closing
from clucert.errors import CacheError
from clucert.types import Answer

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA_VERSION = 1
LEASE = 60.0
"""Seconds for which a process that died keeps its questions from the others, unless the URL says otherwise."""
PATIENCE = 60.0
"""Seconds to wait for a server that went away, unless the URL says otherwise."""
_CREATION = 0x436C7543  # the advisory lock under which the tables are made

_CREATE = (
    "CREATE TABLE clucert_schema (version integer NOT NULL)",
    "CREATE TABLE clucert_models (id serial PRIMARY KEY, name text NOT NULL UNIQUE)",
    "CREATE TABLE clucert_answers (id bigserial PRIMARY KEY, key bytea NOT NULL UNIQUE, model integer NOT NULL,"
    " created bigint NOT NULL, answer text NOT NULL)",
    *CREATE_CLAIMS,
    f"INSERT INTO clucert_schema VALUES ({SCHEMA_VERSION})",  # noqa: S608 - a constant
)
# Not to_regclass: it may remember that there was no table when it looked before it had to wait.
_IS_THERE = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables"
    " WHERE tablename = 'clucert_schema' AND schemaname = ANY(current_schemas(false)))"
)
_VERSION = "SELECT version FROM clucert_schema"
_GET = "SELECT key, answer FROM clucert_answers WHERE key = ANY(CAST(:keys AS bytea[]))"
_PUT_MODEL = "INSERT INTO clucert_models (name) VALUES (:model) ON CONFLICT DO NOTHING"
_PUT = (
    "INSERT INTO clucert_answers (key, model, created, answer)"
    " SELECT new.key, m.id, :now, new.answer"
    " FROM unnest(CAST(:keys AS bytea[]), CAST(:answers AS text[])) AS new (key, answer), clucert_models m"
    " WHERE m.name = :model ON CONFLICT (key) DO NOTHING"
)
_TOTALS = "SELECT count(*), min(created), max(created), pg_total_relation_size('clucert_answers') FROM clucert_answers"
_BY_MODEL = (
    "SELECT m.name, count(*) FROM clucert_answers a JOIN clucert_models m ON m.id = a.model"
    " GROUP BY m.name ORDER BY count(*) DESC, m.name"
)
_CLEAR_ALL = "DELETE FROM clucert_answers"
_CLEAR_MODEL = "DELETE FROM clucert_answers WHERE model = (SELECT id FROM clucert_models WHERE name = :model)"
_EXPORT = (
    "SELECT a.key, m.name, a.created, a.answer FROM clucert_answers a JOIN clucert_models m ON m.id = a.model"
    " ORDER BY a.created, a.id"
)


class PostgresCache(Closing):
    """Answers in a PostgreSQL database, shared by threads, processes and machines; a :class:`ClaimingCache`.

    One statement a batch. What ``put_many`` returned from is committed. When the server goes away, every call waits up
    to ``patience`` seconds for it to come back and then goes on where it was; answers that cannot be stored in that
    time are written to a file of this machine (:class:`clucert.cache.outbox.Outbox`) before :class:`CacheError` is
    raised, and are stored by whoever opens this cache next. One object serves one process: open it again after a fork.

    Raises :class:`clucert.errors.MissingExtraError` without ``clucert[postgres]``.
    """

    def __init__(self, url: CacheUrl, *, timeout: float | None = None, create: bool = True) -> None:
        """Connect, and create the tables where they are missing unless not to ``create`` them.

        ``timeout`` is how long to wait for a server that went away. One that is not there in the first place is an
        error at once.
        """
        self.url = url
        self._db = Database(url, timeout or url.patience or PATIENCE)
        self._pid = os.getpid()
        self._closed = False
        self._named: set[str] = set()
        self._outbox = Outbox(str(url))
        self._claims = Claims(self._db, url.lease or LEASE)
        try:
            self.empty = not self._db.run(self._is_there, first=True)
            if create and self.empty:
                self._db.run(_create_tables)
            if create or not self.empty:
                self._check_version()
                self._send_unsent()
        except BaseException:
            self._db.close()
            raise

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that are known; keys that are not are left out."""
        wanted = [bytes.fromhex(key) for key in dict.fromkeys(keys)]
        if not wanted:
            return {}
        with self._usable():
            return self._decoded(self._db.run(lambda db: _rows(db, _GET, keys=wanted)))

    def put_many(self, answers: Mapping[str, Answer], *, model: str) -> None:
        """Store all of ``answers`` in one transaction. The first answer stored under a key stays.

        Raises :class:`CacheError` when the server stays away: the answers then wait in the outbox.
        """
        if not answers:
            return
        now = int(time.time())
        # In the order of the keys, in which every process locks them: no two can wait for each other.
        rows = sorted((bytes.fromhex(key), encode_answer(answer)) for key, answer in answers.items())
        keys, written = [key for key, _ in rows], [answer for _, answer in rows]

        def put(db: Connection) -> None:
            if model not in self._named:
                _execute(db, _PUT_MODEL, model=model)
            _execute(db, _PUT, keys=keys, answers=written, now=now, model=model)
            if self._claims.begun:
                end_claims(db, keys)

        with self._usable():
            try:
                self._db.run(put)
            except CacheError as error:
                kept = self._outbox.keep(CacheEntry(key, model, now, answer) for key, answer in answers.items())
                raise CacheError(f"{error}; {kept}") from None
            self._named.add(model)
        if self._outbox.used:
            self._send_unsent()

    def claim_many(self, keys: Sequence[str]) -> Claimed:
        """Claim the questions that are neither answered nor claimed by another process, all in one transaction."""
        wanted = sorted({bytes.fromhex(key) for key in keys})
        if not wanted:
            return Claimed(frozenset(), {})

        def claim(db: Connection) -> tuple[set[bytes], list[Any]]:
            mine = self._claims.claim(db, wanted)
            # Looked up once the claims are ours: whoever held one before has stored its answer in the transaction
            # that ended the claim.
            known = _rows(db, _GET, keys=wanted)
            done = sorted(mine & {bytes(row[0]) for row in known})
            end_claims(db, done)
            return mine.difference(done), known

        with self._usable():
            self._claims.begin()
            mine, known = self._db.run(claim)
            return Claimed(frozenset(key.hex() for key in mine), self._decoded(known))

    def release_many(self, keys: Sequence[str]) -> None:
        """Give claims back."""
        held = sorted({bytes.fromhex(key) for key in keys})
        if held:
            with self._usable():
                self._db.run(lambda db: self._claims.release(db, held))

    def stats(self) -> CacheStats:
        """Count what is stored; ``size_bytes`` is what the answers and their indices take on the server."""
        if self.empty:
            return CacheStats(str(self.url), 0, 0, {}, None, None)
        with self._usable():
            totals, models = self._db.run(lambda db: (_rows(db, _TOTALS)[0], _rows(db, _BY_MODEL)))
        entries, oldest, newest, size = totals
        return CacheStats(str(self.url), entries, size, dict(models), oldest, newest)

    def clear(self, *, model: str | None = None) -> int:
        """Delete every answer, or those of one model, and return how many there were.

        The space is given back by a VACUUM where this user may do that, otherwise by the server's own, later.
        """
        if self.empty:
            return 0
        with self._usable():
            if model is None:
                deleted = self._db.run(lambda db: _execute(db, _CLEAR_ALL).rowcount)
            else:
                deleted = self._db.run(lambda db: _execute(db, _CLEAR_MODEL, model=model).rowcount)
            with suppress(CacheError):
                self._db.alone("VACUUM clucert_answers")
        return int(deleted)

    def export(self) -> Iterator[CacheEntry]:
        """Every entry that was stored when the iteration began, oldest first, read as it goes."""
        if self.empty:
            return
        with self._usable():
            for key, model, created, stored in self._db.stream(_EXPORT):
                yield CacheEntry(bytes(key).hex(), model, created, self._decode(stored))

    def close(self) -> None:
        """Give the claims back and close the connections; calling it twice is harmless."""
        if not self._closed:
            self._closed = True
            self._claims.end()
            self._db.close()

    def _is_there(self, db: Connection) -> bool:
        return bool(_rows(db, _IS_THERE)[0][0])

    def _check_version(self) -> None:
        self.empty = False
        version = self._db.run(lambda db: _rows(db, _VERSION)[0][0])
        if version != SCHEMA_VERSION:
            raise CacheError(
                f"{self.url} has cache schema {version}, this clucert reads {SCHEMA_VERSION}: "
                "update clucert, or name another database"
            )

    def _send_unsent(self) -> None:
        """Store what an earlier process, or this one, could not."""
        for model, answers in self._outbox.take():
            self.put_many(answers, model=model)
        self._outbox.sent()

    def _decoded(self, rows: Sequence[Any]) -> dict[str, Answer]:
        return {bytes(key).hex(): self._decode(stored) for key, stored in rows}

    def _decode(self, stored: str) -> Answer:
        try:
            return decode_answer(stored)
        except CacheError as error:
            raise CacheError(f"{self.url} holds an entry that is not an answer: run  clucert cache clear") from error

    @contextmanager
    def _usable(self) -> Iterator[None]:
        if self._pid != os.getpid():
            raise CacheError(f"the cache {self.url} was opened before a fork: open it again in this process")
        if self._closed:
            raise CacheError(f"the cache {self.url} is closed")
        yield


def _create_tables(db: Connection) -> None:
    # Only one of many that begin at once makes them; the others find them made.
    _execute(db, "SELECT pg_advisory_xact_lock(:lock)", lock=_CREATION)
    if not _rows(db, _IS_THERE)[0][0]:
        for statement in _CREATE:
            _execute(db, statement)


def _execute(db: Connection, statement: str, **values: Any) -> Any:
    from sqlalchemy import text

    return db.execute(text(statement), values)


def _rows(db: Connection, statement: str, **values: Any) -> list[Any]:
    return list(_execute(db, statement, **values).all())
