"""What commands print: the sentence that says what holds, lists of what there is, and a project to begin with."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clucert
from clucert.methods import load_any, method_names, proves
from clucert.methods.exact import ExactMethod
from tests.cli.test_certify import clucert as command

TEXT = "a good and great and fine film with a charming story and a happy end for all"
LONG = " . ".join(" ".join(f"word{i}{k}" for k in "abcdefghijkl") for i in range(8))


def test_bare_clucert_prints_help_in_groups_and_is_no_error() -> None:
    shown = command()
    assert (shown.returncode, shown.stderr) == (0, b"")
    titles = re.findall(r"^(\S.*):$", shown.stdout.decode(), re.MULTILINE)
    assert titles == ["Options", "Start", "A data set", "Try to break it", "Run it", "What there is"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", ("clucert", "groups", "ranmask")),
        ("tasks", ("agnews", "sst2")),
        ("models", ("hf", "openai", "smollm2")),
        ("attacks", ("deepwordbug", "guided", "suffix")),
    ],
)
def test_lists_say_the_same_as_json(what: str, names: tuple[str, ...]) -> None:
    listed = json.loads(command(what, "--json").stdout)[what]
    shown = command(what).stdout.decode()
    assert {*names} <= {entry["name"] for entry in listed}
    for entry in listed:
        line = next(line for line in shown.splitlines() if line.startswith(f"{entry['name']} "))
        assert len(line) > len(entry["name"]) + 10
    assert not re.search(r"``|:func:|:class:", shown)


@pytest.mark.parametrize("name", [name for name in method_names() if name != "selfdenoise"])
def test_a_method_can_prove_what_the_list_says_and_nothing_else(name: str) -> None:
    """Of a classifier that always answers alike, with which a radius is as large as it gets. Synonyms in open pools:
    next to nothing.
    """
    method = load_any(name)
    said = proves(method)
    samples = {} if isinstance(method, ExactMethod) else {"method": name, "samples": 30, "certify_samples": 200}
    with clucert.smooth(lambda texts: ["yes"] * len(texts), ("yes", "no"), deterministic=True, **samples) as model:
        if isinstance(method, ExactMethod):
            flag = {"flag": ["yes"]} if method.family in ("windows", "erase") else {}
            proved = model.prove(LONG, [name], **flag)[0].certificate.proved
        else:
            proved = model.certify(TEXT).certificate.proved
    held = {threat for threat, radius in proved.items() if radius is not None and (radius.words or radius.everything)}
    assert held <= {*said["proves"]}
    if "few" not in said["in_words"]:
        assert held == {*said["proves"]}


def test_a_new_project_is_whole_and_overwrites_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    made = command("init", str(folder), "--json")
    files = json.loads(made.stdout)["files"]
    assert made.returncode == 0
    assert len(files) == 6
    assert all((folder / name).read_bytes() for name in files)
    (folder / "data.csv").write_text("mine")
    again = command("init", str(folder))
    assert again.returncode == 2
    assert "is there already" in again.stderr.decode()
    assert (folder / "data.csv").read_text() == "mine"
    assert b"is a file: name a folder" in command("init", str(folder / "data.csv")).stderr


@pytest.mark.llm
def test_a_new_project_runs_as_it_is(tmp_path: Path) -> None:
    made = json.loads(command("init", str(tmp_path / "new"), "--json").stdout)
    for line in made["next"][1:]:
        done = subprocess.run(
            [sys.executable, "-m", *line.split()], cwd=tmp_path / "new", capture_output=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "new/report.html").stat().st_size > 10_000


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines of a command whose output is a terminal of so many columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clucert", *arguments],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"},
    )
    os.close(theirs)
    read = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        read += part
    assert process.wait() == 0
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in read.decode().splitlines()]


@pytest.mark.parametrize("columns", [80, 120])
def test_lists_fit_the_terminal_without_breaking_a_word(columns: int) -> None:
    lines = on_terminal(columns, "methods")
    assert max(map(len, lines)) <= columns
    plain = " ".join(command("methods").stdout.decode().split())
    assert " ".join(" ".join(lines).split()) == plain
