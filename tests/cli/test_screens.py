"""What commands print: the sentence that says what holds, lists of what there is, and a project to begin with."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clucert
from clucert.methods import load_any, method_names, proves
from clucert.methods.exact import ExactMethod
from tests.commands import Command

TEXT = "a good and great and fine film with a charming story and a happy end for all"
LONG = " . ".join(" ".join(f"word{i}{k}" for k in "abcdefghijkl") for i in range(8))


def test_bare_clucert_prints_help_in_groups_and_is_no_error(run_cli: Command) -> None:
    shown = run_cli()
    assert (shown.code, shown.err) == (0, "")
    titles = re.findall(r"^(\S.*):$", shown.out, re.MULTILINE)
    assert titles == ["Options", "Start", "A data set", "Try to break it", "Run it", "What there is"]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", ("clucert", "groups", "ranmask")),
        ("tasks", ("agnews", "sst2")),
        ("models", ("hf", "openai", "smollm2", "python", "FILE.clucert")),
        ("attacks", ("deepwordbug", "guided", "suffix")),
    ],
)
def test_lists_say_the_same_as_json(what: str, names: tuple[str, ...], run_cli: Command) -> None:
    listed = json.loads(run_cli(what, "--json").out)[what]
    shown = run_cli(what).out
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


def test_a_new_project_is_whole_and_overwrites_nothing(tmp_path: Path, run_cli: Command) -> None:
    folder = tmp_path / "new"
    made = run_cli("init", folder, "--json")
    files = json.loads(made.out)["files"]
    assert made.code == 0
    assert len(files) == 6
    assert all((folder / name).read_bytes() for name in files)
    (folder / "data.csv").write_text("mine")
    again = run_cli("init", folder)
    assert again.code == 2
    assert "is there already" in again.err
    assert (folder / "data.csv").read_text() == "mine"
    assert "is a file: name a folder" in run_cli("init", folder / "data.csv").err


@pytest.mark.llm
def test_a_new_project_runs_as_it_is(tmp_path: Path, run_cli: Command) -> None:
    made = json.loads(run_cli("init", tmp_path / "new", "--json").out)
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
def test_lists_fit_the_terminal_without_breaking_a_word(columns: int, run_cli: Command) -> None:
    lines = on_terminal(columns, "methods")
    assert max(map(len, lines)) <= columns
    plain = " ".join(run_cli("methods").out.split())
    assert " ".join(" ".join(lines).split()) == plain


@pytest.mark.parametrize("ignored", [False, True])
def test_an_interrupt_while_it_is_imported_shows_no_traceback(ignored: bool, tmp_path: Path) -> None:
    """Where a script had it ignored (`clucert … &`), it goes on."""
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('went on', flush=True)\nos._exit(0)\n"
    )
    # Not as it is: these tests may themselves run where interrupts are ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "clucert", "methods"],
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.stderr == ""
    assert (done.returncode, done.stdout) == ((0, "went on\n") if ignored else (-signal.SIGINT, ""))
