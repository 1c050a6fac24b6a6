"""`clucert init`: a small project that runs as it is."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from clucert.cli.options import AS_JSON, Command
from clucert.cli.terminal import echo, echo_json
from clucert.errors import InputError

FILES = {
    "task.yaml": "what is asked, and how answers are read",
    "prompt.txt": "the question, with {text} for the text",
    "data.csv": "ten rows with their labels",
    "clucert.yaml": "model, method, and the gates of the build",
    ".gitignore": "what is not kept",
    ".github/workflows/robustness.yml": "the same on every pull request",
}


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@AS_JSON
def init(folder: Path, as_json: bool) -> None:
    """Write a small project into FOLDER: a task, its prompt, ten rows, a configuration and a CI workflow.

    It runs as it is, with the embedded model. No file is ever overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder")
    if there := [name for name in FILES if (folder / name).exists()]:
        raise InputError(f"{folder / there[0]} is there already: name another folder")
    for name in FILES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((resources.files("clucert.cli") / "project" / name).read_bytes())
    run = [f"cd {folder}", "clucert evaluate --config clucert.yaml", "clucert report runs/first -o report.html"]
    if as_json:
        echo_json({"schema_version": 1, "folder": str(folder), "files": list(FILES), "next": run})
        return
    from clucert.cli.screen import headline, pairs

    headline(f"{folder} holds a project of {len(FILES)} files that runs as it is:")
    pairs(FILES)
    echo("\nnext:\n" + "\n".join(f"  {line}" for line in run))
