"""Gates and JUnit XML."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import HOSTILE, Spec, write_run

import clucert
from clucert.errors import UnknownNameError, UsageError
from clucert.report import check_gates, parse_gate, write_junit
from clucert.report.gates import Gate
from clucert.report.summary import read_summaries


@pytest.mark.parametrize(
    ("written", "gate"),
    [
        ("certacc@1=0.6", Gate("certacc", 1, 0.6, True)),
        ("CertAcc@2>=60%", Gate("certacc", 2, 0.6, True)),
        ("clean=0.8", Gate("clean", None, 0.8, True)),
        ("ravg = 1.5", Gate("ravg", None, 1.5, True)),
        ("r_avg=1.5", Gate("ravg", None, 1.5, True)),
        ("abstained<=0.1", Gate("abstained", None, 0.1, False)),
        ("proved-synonym@3=1", Gate("proved-synonym", 3, 1.0, True)),
    ],
)
def test_gates_are_read(written: str, gate: Gate) -> None:
    assert parse_gate(written) == gate


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("certacc=0.6", "needs a number of words"),
        ("clean@1=0.6", "takes no @1"),
        ("clean=60", "from 0 to 1"),
        ("clean<=0.6", "clean>="),
        ("abstained=0.1", "abstained<="),
        ("certacc@1", "METRIC"),
        ("", "METRIC"),
        ("clean=1e-e", "no number"),
    ],
)
def test_what_is_no_gate_is_refused_with_advice(written: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_gate(written)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'certacc'"):
        parse_gate("certac@1=0.6")


@given(st.text())
def test_any_text_is_a_gate_or_a_usage_error(written: str) -> None:
    try:
        gate = parse_gate(written)
    except UsageError:
        return
    assert parse_gate(str(gate)) == gate or gate.bound != float(f"{gate.bound:g}")


def test_meeting_the_bound_passes_and_missing_it_by_little_fails(runs: list[Path]) -> None:
    value = read_summaries(runs[2:])[0].at("published", 1).value
    assert 0 < value < 1
    exact, above = Gate("certacc", 1, value, True), Gate("certacc", 1, value + 1e-9, True)
    assert [result.passed for result in check_gates(runs[2:], [exact, above])] == [True, False]


def test_every_gate_is_checked_for_every_run(runs: list[Path]) -> None:
    results = check_gates(runs, ["proved@1=0.01", "abstained<=1"])
    assert len(results) == 6
    # The synonym pools of the third run prove nothing against arbitrary words.
    assert [result.passed for result in results] == [True, True, True, True, False, True]


def test_a_gate_of_a_radius_that_a_run_lacks_names_gates_of_those_it_has(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("text,label\n" + "a good and a great and a fine film,yes\n" * 2)
    options: dict[str, Any] = {"method": "groups", "deterministic": True}
    clucert.evaluate_callable(lambda texts: ["yes"] * len(texts), ["yes", "no"], data, tmp_path / "run", **options)
    (missed,) = check_gates([tmp_path / "run"], ["certacc@1=0.5"])
    assert not missed.passed
    named = missed.instead.split(", ")
    assert "proved-insert@1" in named
    assert f"but {missed.instead}" in str(missed)
    results = check_gates([tmp_path / "run"], [f"{name}>=0" for name in named])
    assert [(result.passed, result.instead) for result in results] == [(True, "")] * len(named)


def test_a_run_in_which_nothing_was_judged_passes_no_gate(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Spec(), [("1", "", "positive")])
    assert [r.passed for r in check_gates([run], ["certacc@0=0", "clean=0", "abstained<=1"])] == [False] * 3


def cases(path: Path, tag: str) -> list[ET.Element]:
    return list(ET.parse(path).getroot().iter(tag))


def test_junit_counts_inputs_that_are_below_the_mark(runs: list[Path], tmp_path: Path) -> None:
    (summary,) = read_summaries(runs[2:])
    write_junit(runs[2:], tmp_path / "j.xml")
    assert len(cases(tmp_path / "j.xml", "testcase")) == 24
    assert len(cases(tmp_path / "j.xml", "failure")) == 24 - round(24 * summary.clean.value)
    write_junit(runs[2:], tmp_path / "k.xml", min_radius=1)
    assert len(cases(tmp_path / "k.xml", "failure")) == 24 - round(24 * summary.at("published", 1).value)
    root = ET.parse(tmp_path / "k.xml").getroot()
    assert root.get("tests") == "24"
    assert root.get("failures") == str(len(cases(tmp_path / "k.xml", "failure")))


def test_with_gates_the_gates_decide(runs: list[Path], tmp_path: Path) -> None:
    results = write_junit(runs, tmp_path / "j.xml", ["certacc@1=0.99", "clean=0.1"], min_radius=1)
    failed = [result for result in results if not result.passed]
    assert failed
    assert len(cases(tmp_path / "j.xml", "failure")) == len(failed)
    assert cases(tmp_path / "j.xml", "skipped")


def test_failed_and_unlabelled_inputs_are_told_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Spec(), [("1", "", "positive"), ("2", "a fine film", None)])
    write_junit([run], tmp_path / "j.xml")
    (error,) = cases(tmp_path / "j.xml", "error")
    assert "closed the connection" in (error.get("message") or "")
    (skipped,) = cases(tmp_path / "j.xml", "skipped")
    assert skipped.get("message") == "no gold label"


def test_hostile_text_makes_well_formed_xml(hostile: Path, tmp_path: Path) -> None:
    write_junit([hostile], tmp_path / "j.xml", ["clean=1"], min_radius=99, strict=True)
    raw = (tmp_path / "j.xml").read_text(encoding="utf-8")
    assert "\0" not in raw
    assert "\u202e" not in raw
    shown = [failure.text or "" for failure in cases(tmp_path / "j.xml", "failure")]
    assert any("<script>alert(1)</script>" in text for text in shown)
    assert any("\\x00" in text for text in shown)
    assert len(cases(tmp_path / "j.xml", "testcase")) == len(HOSTILE) + 2
