"""The run directory: appended, locked, repaired, refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.errors import InputError, UsageError
from clucert.evaluate.run_directory import (
    Data,
    Manifest,
    Record,
    RunError,
    RunSession,
    input_digest,
    open_run,
    read_manifest,
    read_records,
)
from clucert.report.runs import load_run

INPUTS = {name: input_digest(name, f"text of {name}", "good") for name in "abcdef"}


def manifest(rows: int = 6, digest: str = "0" * 64, files: dict[str, str] | None = None, **changes: Any) -> Manifest:
    config = {"alpha": 0.05, "max_connections": 32, "limit": rows, "data": "d.csv", "timeout": 60.0} | changes
    return Manifest(
        clucert_version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        command=["clucert", "evaluate"],
        config=config,
        task="sst2",
        labels=["good", "bad"],
        method="clucert",
        parameters={"mask_rate": "0.7"},
        files=files or {},
        model=["m"],
        data=Data(path="d.csv", sha256=digest, rows=rows),
        seed=0,
        versions={"numpy": "2"},
        sessions=[RunSession(started="now", command=["clucert"], versions={"numpy": "2"})],
    )


def record(name: str, **changes: Any) -> Record:
    fields = {"id": name, "gold": "good", "status": "failed", "error": "no", "input": INPUTS[name]} | changes
    return Record(**fields)


def test_records_are_read_back_and_the_last_one_of_an_id_counts(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a"), record("b", error="umlaut ü\u2028 and\nnewline")])
        run.append([record("a", status="done", error=None, document={"x": [1, 2.5, None]})])
        assert (run.appended, run.failures) == (3, 1)
    with open_run(tmp_path, manifest(), INPUTS) as run:
        assert list(run.records) == ["b", "a"]
        assert run.records["a"].document == {"x": [1, 2.5, None]}
        assert run.records["b"].error == "umlaut ü\u2028 and\nnewline"
        assert not run.repaired


def test_the_report_reads_what_was_written(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a", error="the server is away")])
    read = load_run(tmp_path)
    assert (read.name, read.model, read.inputs[0].error) == ("clucert", "m", "the server is away")


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(min_value=0))
def test_wherever_a_kill_tears_the_file_whole_records_stay_and_the_rest_is_cut(tmp_path_factory, cut: int):
    path = tmp_path_factory.mktemp("run")
    with open_run(path, manifest(), INPUTS) as run:
        run.append([record(name, error="ü" * 5) for name in "abc"])
    file = path / "records.jsonl"
    whole = file.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    file.write_bytes(kept)
    lines = kept.count(b"\n")
    with open_run(path, manifest(), INPUTS) as run:
        assert list(run.records) == list("abc")[:lines]
        assert run.repaired == (not kept.endswith(b"\n") and kept != b"")
        run.append([record("d")])
    assert (
        file.read_bytes() == b"".join(kept.splitlines(keepends=True)[:lines]) + file.read_bytes().splitlines(True)[-1]
    )
    assert list(read_records(path)[0]) == [*"abc"[:lines], "d"]


def test_a_damaged_line_is_named_and_left_alone(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a"), record("b")])
    file = tmp_path / "records.jsonl"
    damaged = file.read_bytes().replace(b'"id":"a"', b'"id":7  ')
    file.write_bytes(damaged)
    with pytest.raises(InputError, match=r"records\.jsonl:1 is damaged"):
        open_run(tmp_path, manifest(), INPUTS)
    assert file.read_bytes() == damaged


def test_a_run_that_ended_before_its_manifest_was_there_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="no space left"):
            open_run(tmp_path, manifest(), INPUTS)
    assert not (tmp_path / "manifest.json").exists()
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a")])
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"holds records\.jsonl and no manifest\.json"):
        open_run(tmp_path, manifest(), INPUTS)


def test_two_processes_cannot_write_one_run(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS):
        script = (
            "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
            "from test_run_directory import *\n"
            "try: open_run(pathlib.Path(sys.argv[2]), manifest(), INPUTS)\n"
            "except UsageError as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert f"is being written by another process (process {os.getpid()})" in done.stdout
    open_run(tmp_path, manifest(), INPUTS).close()


def test_the_same_run_goes_on_and_remembers_its_sessions(tmp_path: Path):
    open_run(tmp_path, manifest(), INPUTS).close()
    later = manifest(max_connections=512, timeout=5.0, max_cost=3).model_copy(
        update={"created": "later", "versions": {"numpy": "3"}}
    )
    open_run(tmp_path, later, INPUTS).close()
    now = read_manifest(tmp_path)
    assert now.created == "2026-01-01T00:00:00+00:00"
    assert now.versions == {"numpy": "2"}
    assert now.config["max_connections"] == 512
    assert len(now.sessions) == 2


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (manifest(alpha=0.1), r"alpha was 0\.05 and is now 0\.1"),
        (manifest(seed=3), "seed was not set and is now 3"),
        (manifest(base_url="http://x"), "base_url was not set"),
        (manifest().model_copy(update={"task": "agnews"}), 'task was "sst2" and is now "agnews"'),
        (manifest().model_copy(update={"labels": ["a", "b"]}), "labels was"),
        (manifest().model_copy(update={"model": ["n"]}), r'model was \["m"\] and is now \["n"\]'),
        (manifest().model_copy(update={"method": "ranmask"}), "method was"),
        (manifest().model_copy(update={"parameters": {"mask_rate": "0.5"}}), "the method's mask_rate was"),
        (manifest(files={"prompt": "ff"}), "the prompt file has changed"),
        (manifest(rows=5, digest="1" * 64), "it has 6 inputs, and now there are 5"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(tmp_path: Path, changed: Manifest, what: str):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a")])
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match=what) as caught:
        open_run(tmp_path, changed, INPUTS)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "manifest.json").read_bytes() == before
    open_run(tmp_path, manifest(), INPUTS).close()


def test_a_run_of_which_nothing_came_gives_its_place_to_another(tmp_path: Path):
    open_run(tmp_path, manifest(), INPUTS).close()
    other = manifest(alpha=0.1)
    open_run(tmp_path, other, INPUTS).close()
    assert read_manifest(tmp_path).config["alpha"] == 0.1
    assert len(read_manifest(tmp_path).sessions) == 1
    for left in ("batches.jsonl", "shards"):
        (tmp_path / left).mkdir()
        with pytest.raises(UsageError, match="alpha was"):
            open_run(tmp_path, manifest(), INPUTS)
        (tmp_path / left).rmdir()
    (tmp_path / "records.jsonl").write_text('{"id": "a", "gol')
    with pytest.raises(UsageError, match="alpha was"):
        open_run(tmp_path, manifest(), INPUTS)
    assert read_manifest(tmp_path).config["alpha"] == 0.1


def test_a_limit_may_be_raised_but_no_input_may_change(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a"), record("b")])
    more = {**INPUTS, "g": "new"}
    larger = manifest(rows=7, digest="1" * 64)
    with pytest.raises(UsageError, match="its input 'b' has another text or label now"):
        open_run(tmp_path, larger, more | {"b": "other"})
    with pytest.raises(UsageError, match="its input 'a' is not among the data any more"):
        open_run(tmp_path, larger, {name: digest for name, digest in more.items() if name != "a"})
    open_run(tmp_path, larger, more).close()
    assert read_manifest(tmp_path).data.rows == 7


def test_a_folder_that_holds_something_else_is_not_touched(tmp_path: Path):
    (tmp_path / "records.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match="no manifest"):
        open_run(tmp_path, manifest(), INPUTS)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        open_run(tmp_path, manifest(), INPUTS)
    newer = json.loads(manifest().model_dump_json()) | {"schema_version": 99}
    (tmp_path / "manifest.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match="upgrade"):
        open_run(tmp_path, manifest(), INPUTS)
    assert (tmp_path / "records.jsonl").read_text() == "mine\n"


def test_a_path_that_is_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written") as caught:
        open_run(tmp_path / "file", manifest(), INPUTS)
    assert "\n" not in str(caught.value)


class _Full:
    """A file on a disk with room for some more bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, content: Any) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(content[: self._room])
        self._room -= written
        return written

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def test_a_full_disk_leaves_no_half_line_and_the_run_goes_on_later(tmp_path: Path):
    with open_run(tmp_path, manifest(), INPUTS) as run:
        run.append([record("a")])
        run._file = _Full(run._file, 100)
        with pytest.raises(RunError, match="no space left"):
            run.append([record("b"), record("c")])
        assert list(run.records) == ["a"]
        run._file = run._file._file
        run.append([record("d")])
    assert list(read_records(tmp_path)[0]) == ["a", "d"]
