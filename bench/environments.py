"""Environments of their own for peers that do not run beside what CluCERT needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def environment(home: Path, *installs: Sequence[str | Path]) -> Path:
    """The Python of the environment ``home``; made, with one ``pip install`` after the other, where it is missing."""
    python = home / "bin/python"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        for arguments in installs:
            subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)
        (home / "ready").touch()
    return python
