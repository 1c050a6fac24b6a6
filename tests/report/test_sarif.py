"""SARIF of runs and audits, read by the tools that read it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from report_runs import Spec, write_run
from tests.commands import Command

import clucert
from clucert.report import write_sarif
from clucert.report.runs import load_run

LEVELS = {"error", "warning", "note", "none"}


def read(runs: list[Path], path: Path, **options: Any) -> list[dict[str, Any]]:
    document = json.loads(write_sarif(runs, path, **options).read_text(encoding="utf-8"))
    assert document["version"] == "2.1.0"
    for run in document["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
            assert "any 1 words" not in rules[result["ruleIndex"]]["shortDescription"]["text"]
            assert result["level"] in LEVELS
            place = result["locations"][0]["physicalLocation"]
            assert not place["artifactLocation"]["uri"].startswith("/")
            assert place["region"]["startLine"] >= 1
        prints = [result["partialFingerprints"]["clucert/v1"] + result["message"]["text"] for result in run["results"]]
        assert len(set(prints)) == len(prints)
    found: list[dict[str, Any]] = document["runs"]
    return found


def test_a_row_is_a_result_for_each_threat_that_is_not_proved(runs: list[Path], tmp_path: Path) -> None:
    for path in runs:
        (found,) = read([path], tmp_path / "s.sarif")
        run = load_run(path)
        right = [row for row in run.done if row.answer is not None and row.answer == row.gold]
        for kind in ("word", "synonym"):
            missing = {row.id for row in right if not (row.radii.get(kind) and row.radii[kind].reaches(1))}
            told = {r["properties"]["id"] for r in found["results"] if r["ruleId"] == f"not-proved-{kind}"}
            assert told == missing
        wrong = {row.id for row in run.done if row.answer is not None and row.answer != row.gold}
        assert {r["properties"]["id"] for r in found["results"] if r["ruleId"] == "wrong"} == wrong


def test_more_is_told_of_a_larger_radius(runs: list[Path], tmp_path: Path) -> None:
    counts = [len(read(runs[:1], tmp_path / "s.sarif", radius=r)[0]["results"]) for r in (1, 5, 50)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_what_an_audit_broke_is_an_error_where_it_was_proved(runs: list[Path], tmp_path: Path) -> None:
    (found,) = read(runs[-1:], tmp_path / "s.sarif")
    audit = load_run(runs[-1]).audit
    assert audit is not None
    broken = [attempt for attempt in audit.attempts if attempt.broken]
    told = [r for r in found["results"] if r["ruleId"].startswith("broken-")]
    assert len(told) == len(broken) > 0
    for result in told:
        assert result["level"] == ("note" if result["ruleId"].startswith("broken-published") else "error")


def test_fingerprints_stay_when_rows_move(tmp_path: Path) -> None:
    rows = [("1", "a fine film", "negative"), ("2", "a dull film of no use", "positive")]
    moved = [("7", rows[1][1], rows[1][2]), ("9", rows[0][1], rows[0][2])]
    prints = []
    for name, written in (("a", rows), ("b", moved)):
        (found,) = read([write_run(tmp_path / name, Spec(), written)], tmp_path / "s.sarif", radius=99)
        prints.append({r["partialFingerprints"]["clucert/v1"] for r in found["results"]})
    assert prints[0] == prints[1] != set()


def test_a_failed_row_is_a_notification_and_no_result(tmp_path: Path) -> None:
    (found,) = read([write_run(tmp_path / "run", Spec(), [("1", "", "positive")])], tmp_path / "s.sarif")
    assert found["results"] == []
    assert found["invocations"][0]["executionSuccessful"] is False
    assert "closed the connection" in found["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_hostile_texts_are_shown_as_they_are_and_do_nothing(hostile: Path, tmp_path: Path) -> None:
    read([hostile], tmp_path / "s.sarif")
    raw = (tmp_path / "s.sarif").read_text(encoding="utf-8")
    messages = [r["message"]["text"] for run in json.loads(raw)["runs"] for r in run["results"]]
    assert not any(set("\0\u202e\n") & set(message) for message in messages)


def test_the_command_line_writes_it(tmp_path: Path, run_cli: Command) -> None:
    def classify(text: str) -> str:
        return "spam" if "win" in text else "ham"

    run = clucert.evaluate(
        data=[("win", "spam"), ("see you at noon dear friend", "spam")],
        model=classify,
        labels=["spam", "ham"],
        deterministic=True,
        method="blocks",
        run_dir=tmp_path / "run",
    )
    out, page = tmp_path / "s.sarif", tmp_path / "r.html"
    done = run_cli("report", run.run_dir, "-o", page, "--sarif", out)
    assert done.code == 0, done.err
    results = json.loads(out.read_text())["runs"][0]["results"]
    assert {result["ruleId"] for result in results} == {"not-proved-word", "wrong"}
    assert {result["locations"][0]["physicalLocation"]["region"]["startLine"] for result in results} == {1, 2}


@pytest.mark.skipif(find_spec("sarif") is None, reason="sarif-tools is not installed")
def test_sarif_tools_read_it(runs: list[Path], tmp_path: Path) -> None:
    from sarif import loader

    write_sarif(runs, tmp_path / "s.sarif")
    read_back = loader.load_sarif_file(str(tmp_path / "s.sarif"))
    wanted = json.loads((tmp_path / "s.sarif").read_text())
    assert read_back.get_result_count() == sum(len(run["results"]) for run in wanted["runs"])
    assert set(read_back.get_distinct_tool_names()) == {"CluCERT"}
