"""A PostgreSQL server of the tests' own: a temporary folder, a free port, a password; started, stopped, restarted.

Needs Debian's ``postgresql`` (``scripts/postgres.sh``). Without it the tests are skipped, except in CI (``CI=true``),
where they fail: a shared cache that never met its server is not tested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.processes import free_port

PASSWORD = "corre/ct horse@battery"
QUOTED = "corre%2Fct%20horse%40battery"
_numbers = count()


def missing() -> str | None:
    """What is not installed, or None."""
    for module in ("psycopg", "psycopg_pool"):
        try:
            __import__(module)
        except ImportError:
            return f"{module} is not installed: pip install 'clucert[postgres]'"
    if _program("initdb") is None:
        return "PostgreSQL is not installed: bash scripts/postgres.sh"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL refuses root, and there is no runuser to be somebody else"
    return None


def _program(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


@dataclass
class PostgresServer:
    """A server in ``folder`` on ``port``; its superuser is ``clucert``."""

    folder: Path
    port: int
    durable: bool = False
    """Whether an answer that was stored survives a power cut, as in a default installation."""

    @classmethod
    def make(cls, *, durable: bool = False) -> PostgresServer:
        """Make and start one."""
        if why := missing():
            if os.environ.get("CI") == "true":
                pytest.fail(why)
            pytest.skip(why)
        folder = Path(tempfile.mkdtemp(prefix="clucert-pg-"))
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        server = cls(folder, free_port(), durable)
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ("-U", "clucert", "-A", "scram-sha-256", "--pwfile", str(secret), "-N", "-E", "UTF8", "--locale=C")
        server._run("initdb", "-D", str(folder / "data"), *options)
        server.start()
        return server

    def start(self) -> None:
        fsync = "on" if self.durable else "off"
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder), "fsync": fsync}
        written = " ".join(["-p", str(self.port), *(f"-c {name}={value}" for name, value in settings.items())])
        self._run(
            "pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", written
        )

    def stop(self, mode: str = "fast") -> None:
        """``fast`` ends every session; ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self.folder / "data"))

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, *, password: str = QUOTED, **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql+psycopg://clucert:{password}@127.0.0.1:{self.port}/{database}{query and '?'}{query}"

    def new_database(self) -> str:
        """The name of an empty database."""
        name = f"test_{next(_numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        where = {"host": "127.0.0.1", "port": self.port, "user": "clucert", "password": PASSWORD, "dbname": database}
        with psycopg.connect(**where, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        path = _program(program)
        assert path is not None
        as_whom = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*as_whom, path, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
