"""The GitHub Action: its scripts are run as a runner runs them, with a `gh` that keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import clucert

ACTION = yaml.safe_load((Path(__file__).parents[1] / "action.yml").read_text(encoding="utf-8"))
GH = """#!{python}
import json, os, pathlib, sys
store = pathlib.Path(os.environ["STORE"])
comments = json.loads(store.read_text()) if store.exists() else []
path = next(part for part in sys.argv if part.startswith("repos/"))
fields = dict(part.split("=", 1) for part in sys.argv if part.startswith("body="))
assert os.environ["GH_TOKEN"] == "secret"
if not fields:
    assert path == "repos/o/r/issues/7/comments", path
    print(*(c["id"] for c in comments if c["body"].startswith(os.environ["MARK"])), sep="\\n")
    sys.exit()
body = pathlib.Path(fields["body"].removeprefix("@")).read_text()
if "PATCH" in sys.argv:
    next(c for c in comments if c["id"] == int(path.rpartition("/")[2]))["body"] = body
else:
    comments.append({{"id": 100 + len(comments), "body": body}})
store.write_text(json.dumps(comments))
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    def classify(text: str) -> str:
        return "spam" if "win" in text else "ham"

    rows = [("win win win win win", "spam"), ("see you at noon dear friend", "ham")]
    options: dict[str, Any] = {"labels": ["spam", "ham"], "deterministic": True, "method": "blocks"}
    return clucert.evaluate(data=rows, model=classify, run_dir=tmp_path / "a run", **options).run_dir


def act(tmp_path: Path, runs: str, title: str) -> list[dict[str, Any]]:
    """Run the steps, the expressions of the environment filled in."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir(exist_ok=True)
    (bin_dir / "gh").write_text(GH.format(python=sys.executable))
    (bin_dir / "clucert").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clucert "$@"\n')
    for tool in bin_dir.iterdir():
        tool.chmod(0o755)
    known = {
        "${{ inputs.run-dir }}": runs,
        "${{ inputs.title }}": title,
        "${{ inputs.sarif }}": "clucert.sarif",
        "${{ inputs.token }}": "secret",
        "${{ github.event.pull_request.number }}": "7",
        "${{ runner.temp }}/clucert": str(tmp_path / "temp"),
    }
    own = {"PATH": f"{bin_dir}:{os.environ['PATH']}", "STORE": str(tmp_path / "comments"), "GITHUB_REPOSITORY": "o/r"}
    for step in ACTION["runs"]["steps"]:
        env = {**os.environ, **own, **{name: known[value] for name, value in step["env"].items()}}
        subprocess.run(["bash", "-e", "-o", "pipefail", "-c", step["run"]], env=env, cwd=tmp_path, check=True)
    comments: list[dict[str, Any]] = json.loads((tmp_path / "comments").read_text())
    return comments


def test_it_comments_the_table_once_and_keeps_it_up_to_date(run_dir: Path, tmp_path: Path) -> None:
    run_dir.rename(tmp_path / "run")
    for _ in range(2):
        (comment,) = act(tmp_path, "run", title="Robust $(touch evil) `touch evil` -->")
        assert "### Robust $(touch evil)" in comment["body"]
        assert comment["body"].splitlines()[0].count("-->") == 1
        assert "2 of 2 rows are answered right" in comment["body"]
        assert "| @1 | @2 |" in comment["body"]
    assert json.loads((tmp_path / "clucert.sarif").read_text())["version"] == "2.1.0"
    assert not (tmp_path / "evil").exists()


def test_no_expression_is_pasted_into_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
