"""The command line in this process: what a command printed and how it ended, without half a second to begin."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from clucert.cli import main


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code and its two streams."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()


Command = Callable[..., Ended]


def refused(ended: Ended, code: int, *words: str) -> None:
    """One line on stderr that says what to do, nothing on stdout, no traceback."""
    assert (ended.code, ended.stdout) == (code, b""), ended.err
    assert ended.err.startswith("clucert: ")
    assert ended.err.count("\n") == 1, ended.err
    for word in words:
        assert word in ended.err


def runner(monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[bytes]) -> Command:
    """What runs ``clucert ARGUMENTS`` as a shell would, in this process."""

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        captured.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["clucert", *map(str, arguments)])
            patched.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            with pytest.raises(SystemExit) as left:
                main()
        printed = captured.readouterr()
        return Ended(int(str(left.value.code)), printed.out, printed.err)

    return run
