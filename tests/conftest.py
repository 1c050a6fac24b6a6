"""Hypothesis: the same examples in every run; ``make fuzz`` looks for new ones. A PostgreSQL server, and the command
line, for all.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.commands import Command, runner
from tests.postgres_server import PostgresServer

# A clean clone that fails by luck helps nobody. What `make fuzz` finds becomes a test of its own.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; tests that stop it start it again."""
    server = PostgresServer.make()
    yield server
    server.remove()


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """``run_cli("evaluate", "--data", path)`` in this process. Not beside ``capsys``: it takes both streams."""
    return runner(monkeypatch, capfdbinary)
