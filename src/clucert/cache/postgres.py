"""The answer cache in a PostgreSQL database that many machines share: all of its SQL is here."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from clucert.cache.base import CacheEntry, CacheStats, decode_answer, encode_answer
from clucert.cache.location import CacheUrl
from clucert.cache.outbox import Outbox
from clucert.context_manager import ContextManager
from clucert.errors import CacheError, MissingExtraError
from clucert.types import Answer

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from tenacity import Retrying

    Db = Connection[tuple[Any, ...]]

T = TypeVar("T")

SCHEMA_VERSION = 1
PATIENCE = 60.0
"""Seconds to wait for a server that went away, unless the URL says otherwise."""
POSTGRES_COMMAND = "pip install 'clucert[postgres]'"
_CREATION = 0x436C7543  # the advisory lock under which the tables are made
_CONNECT_SECONDS = 1.0
"""Longest wait for one connection before another one is tried."""
_PASSING = frozenset({"57P01", "57P02", "57P03", "53300", "40001", "40P01"})
"""Shut down by an administrator, after a crash, starting up, too many connections; serialization failure, deadlock."""
_STARTING = ("starting up", "shutting down", "recovery mode", "not yet accepting connections")
_PASSWORD = "check the user and the password (PGPASSWORD or ~/.pgpass)"  # noqa: S105 - a hint, no password
_DATABASE = "create the database (createdb), or name another one"
_HINTS = {
    "42501": "let this user create tables in the database's schema, or name another database",
    "53100": "free some space on the server; what was stored is safe",
    # A connection that could not be made has no code, only words.
    "authentication failed": _PASSWORD,
    "no password supplied": _PASSWORD,
    "does not exist": _DATABASE,
}

_CREATE = (
    "CREATE TABLE clucert_schema (version integer NOT NULL)",
    "CREATE TABLE clucert_models (id serial PRIMARY KEY, name text NOT NULL UNIQUE)",
    "CREATE TABLE clucert_answers (id bigserial PRIMARY KEY, key bytea NOT NULL UNIQUE, model integer NOT NULL,"
    " created bigint NOT NULL, answer text NOT NULL)",
    f"INSERT INTO clucert_schema VALUES ({SCHEMA_VERSION})",  # noqa: S608 - a constant
)
# Not to_regclass: it may return a result from before it waited for the lock.
_IS_THERE = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables"
    " WHERE tablename = 'clucert_schema' AND schemaname = ANY(current_schemas(false)))"
)
_VERSION = "SELECT version FROM clucert_schema"
_GET = "SELECT key, answer FROM clucert_answers WHERE key = ANY(CAST(%(keys)s AS bytea[]))"
_PUT_MODEL = "INSERT INTO clucert_models (name) VALUES (%(model)s) ON CONFLICT DO NOTHING"
_PUT = (
    "INSERT INTO clucert_answers (key, model, created, answer)"
    " SELECT new.key, m.id, %(now)s, new.answer"
    " FROM unnest(CAST(%(keys)s AS bytea[]), CAST(%(answers)s AS text[])) AS new (key, answer), clucert_models m"
    " WHERE m.name = %(model)s ON CONFLICT (key) DO NOTHING"
)
_TOTALS = "SELECT count(*), min(created), max(created), pg_total_relation_size('clucert_answers') FROM clucert_answers"
_BY_MODEL = (
    "SELECT m.name, count(*) FROM clucert_answers a JOIN clucert_models m ON m.id = a.model"
    " GROUP BY m.name ORDER BY count(*) DESC, m.name"
)
_CLEAR_ALL = "DELETE FROM clucert_answers"
_CLEAR_MODEL = "DELETE FROM clucert_answers WHERE model = (SELECT id FROM clucert_models WHERE name = %(model)s)"
_EXPORT = (
    "SELECT a.key, m.name, a.created, a.answer FROM clucert_answers a JOIN clucert_models m ON m.id = a.model"
    " ORDER BY a.created, a.id"
)


class PostgresCache(ContextManager):
    """Answers in a PostgreSQL database, shared by threads, processes and machines.

    One statement a batch. Two processes that ask the same question at the same moment both ask it; the first answer
    stays. What ``put_many`` returned from is committed. When the server goes away, every call waits up
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
        self._db = _Database(url, timeout or url.patience or PATIENCE)
        self._pid = os.getpid()
        self._closed = False
        self._named: set[str] = set()
        self._outbox = Outbox(str(url))
        try:
            self._db.open()
            self.empty = not self._db.run(_is_there)
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

        def put(db: Db) -> None:
            if model not in self._named:
                _execute(db, _PUT_MODEL, model=model)
            _execute(db, _PUT, keys=keys, answers=written, now=now, model=model)

        with self._usable():
            try:
                self._db.run(put)
            except CacheError as error:
                kept = self._outbox.keep(CacheEntry(key, model, now, answer) for key, answer in answers.items())
                raise CacheError(f"{error}; {kept}") from None
            self._named.add(model)
        if self._outbox.used:
            self._send_unsent()

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
                self._db.execute_alone(b"VACUUM clucert_answers")
        return int(deleted)

    def export(self) -> Iterator[CacheEntry]:
        """Every entry that was stored when the iteration began, oldest first, read as it goes."""
        if self.empty:
            return
        with self._usable():
            for key, model, created, stored in self._db.stream(_EXPORT.encode()):
                yield CacheEntry(bytes(key).hex(), model, created, self._decode(stored))

    def close(self) -> None:
        """Close the connections; calling it twice is harmless."""
        if not self._closed:
            self._closed = True
            self._db.close()

    def _check_version(self) -> None:
        self.empty = False
        version = self._db.run(lambda db: _rows(db, _VERSION)[0][0])
        if version != SCHEMA_VERSION:
            raise CacheError(
                f"{self.url} has cache schema {version}, this clucert reads {SCHEMA_VERSION}: "
                "update clucert, or name another database"
            )

    def _send_unsent(self) -> None:
        """Store what this process or an earlier one could not."""
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


class _Database:
    """A pool of connections to ``url``; what a lost connection interrupted is done again. Thread-safe."""

    def __init__(self, url: CacheUrl, patience: float) -> None:
        try:
            import psycopg
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise MissingExtraError("PostgreSQL support (psycopg, psycopg_pool)", POSTGRES_COMMAND) from error
        self._url, self._patience = url, patience
        self._gave_up = False
        self._passing = (psycopg.OperationalError, psycopg.InterfaceError)
        self._error = psycopg.Error
        self._connect: Callable[..., Db] = psycopg.connect
        self._to: dict[str, Any] = {
            "connect_timeout": 10,
            "application_name": "clucert",
            **url.options,
            **{"user": url.user, "host": url.host, "port": url.port, "dbname": url.database, "password": url.password},
        }
        self._to = {name: value for name, value in self._to.items() if value not in (None, "")}
        # The pool's messages about lost connections do not belong on the user's terminal.
        logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
        # A failed connection is given up at once: `run` asks for the next one.
        self._pool = ConnectionPool(
            kwargs=self._to, min_size=0, max_size=4, open=False, reconnect_timeout=0, num_workers=1
        )

    def open(self) -> None:
        """See that the server is there; one that is starting is waited for. Raises :class:`CacheError`."""
        try:
            self._repeated(_is_starting, 0.1)(lambda: self._connect(**self._to).close())
        except self._error as error:
            raise CacheError(self._explain(error)) from None
        self._pool.open()

    def run(self, work: Callable[[Db], T]) -> T:
        """``work`` in one transaction, repeated from its start when the connection is lost or it met a conflict.

        ``work`` must be harmless to repeat: a commit whose reply was lost is repeated, too. Waits up to ``patience``
        seconds in all for a server that went away; not again once it has been waited for in vain. Raises
        :class:`CacheError`.
        """
        if self._gave_up and (problem := self._problem()) is not None:
            raise CacheError(self._explain(problem)) from None
        deadline = time.monotonic() + self._patience

        def once() -> T:
            left = deadline - time.monotonic()
            with self._pool.connection(timeout=min(_CONNECT_SECONDS, max(left, 0.01))) as connection:
                return work(connection)

        try:
            result: T = self._repeated(self._is_passing, 0.02)(once)
        except self._error as error:
            self._gave_up = self._is_passing(error)
            # Not chained: the driver's frames hold the password.
            raise CacheError(self._explain(self._problem() or error if self._gave_up else error)) from None
        self._gave_up = False
        return result

    def execute_alone(self, statement: bytes) -> None:
        """Execute ``statement`` outside of a transaction, once. Raises :class:`CacheError`."""
        with self._explained(), self._connect(**self._to, autocommit=True) as connection:
            connection.execute(statement)

    def stream(self, statement: bytes) -> Iterator[tuple[Any, ...]]:
        """Rows of ``statement`` as of now, fetched as they are read. Raises :class:`CacheError`; not repeated."""
        with self._explained(), self._connect(**self._to) as connection, connection.cursor("clucert_rows") as cursor:
            cursor.itersize = 1000
            yield from cursor.execute(statement)

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _repeated(self, passing: Callable[[Error], bool], pause: float) -> Retrying:
        """Repeats what raises a ``passing`` error, ``pause`` seconds apart, until ``patience`` is over."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, self._error) and passing(error)),
            stop=stop_after_delay(self._patience),
            wait=wait_fixed(pause),
            reraise=True,
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise CacheError(self._explain(error)) from None

    def _problem(self) -> Error | None:
        """Why no connection can be made now; None when one can."""
        try:
            self._connect(**self._to).close()
        except self._error as error:
            return error
        return None

    def _is_passing(self, error: Error) -> bool:
        """Whether the server, or another transaction, is the problem, and not the request."""
        if error.sqlstate is None:
            # Neither a connection that broke nor one that could not be made has a code.
            return isinstance(error, self._passing)
        return error.sqlstate in _PASSING or error.sqlstate.startswith("08")

    def _explain(self, error: Error) -> str:
        # The details of a server's message may repeat the row, and with it the answer.
        reason = self._url.scrub(error.diag.message_primary or str(error)).removeprefix("connection failed: ")
        reason = reason if len(reason) <= 200 else f"{reason[:197]}…"
        # With FATAL, the server is up and refuses the connection for good.
        if self._is_passing(error) and ("FATAL:" not in reason or _is_starting(error)):
            waited = f"was away for {self._patience:g} s" if self._gave_up else "cannot be reached"
            return f"{self._url} {waited} ({reason}): start it, and run the same command again"
        words = error.sqlstate or reason
        hint = next((hint for word, hint in _HINTS.items() if word in words), "name another cache, or go without one")
        return f"{self._url} cannot be used ({reason}): {hint}"


def _is_starting(error: Error) -> bool:
    return error.sqlstate == "57P03" or any(words in str(error) for words in _STARTING)


def _is_there(db: Db) -> bool:
    return bool(_rows(db, _IS_THERE)[0][0])


def _create_tables(db: Db) -> None:
    # Of many processes that start at once, only one creates the tables.
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATION,))
    if not _is_there(db):
        for statement in _CREATE:
            db.execute(statement.encode())


def _execute(db: Db, statement: str, **values: Any) -> Any:
    # As bytes: only a literal string may be given as one, so that nobody writes a value into it.
    return db.execute(statement.encode(), values)


def _rows(db: Db, statement: str, **values: Any) -> list[Any]:
    return list(_execute(db, statement, **values))
