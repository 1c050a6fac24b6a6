"""The sentences that say what holds are true of the figures below them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from report_runs import METHODS, rows, write_run
from tests.commands import Command

import clucert
from clucert.attacks.base import AttackResult
from clucert.attacks.table import Attacked, attack_rows, verdict_of
from clucert.cli.evaluate import _print
from clucert.core.radius import ENDLESS
from clucert.report import compare_runs
from clucert.report.comparison import comparison_verdict
from clucert.report.format import titled
from clucert.report.header import by_threat, certified
from clucert.report.summary import read_summaries
from clucert.report.tables import summary_rows
from clucert.report.verdict import run_verdict

PAGE = "as a page: clucert report"
LABELS = ["negative", "positive"]


def study(folder: Path, labels: list[str | None], words: str = "good", **options: object) -> Path:
    """A study of rows about as many words, of a function that finds "good" in a text."""
    data = folder / "rows.jsonl"
    lines = [{"id": str(i), "text": " ".join([words] * 8), "label": label} for i, label in enumerate(labels)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = folder / "run"
    clucert.evaluate_callable(
        lambda texts: ["positive" if "good" in text else "negative" for text in texts],
        LABELS, data, run, method="blocks", deterministic=True, **options,
    )  # fmt: skip
    return run


def test_counts_are_those_of_the_table(runs: list[Path]) -> None:
    for summary in read_summaries(runs):
        (row,) = summary_rows([summary])
        said = run_verdict(summary)
        right = re.match(r"(\d+) of (\d+) rows are answered right", said)
        assert right
        assert int(right[1]) / int(right[2]) == pytest.approx(row["clean_accuracy"])
        proved = re.search(r"right and proved: (\d+) against 1 (\w+) word", said)
        held = [row["proved_word@1"], row["proved_synonym@1"]]
        assert bool(proved) == any(held)
        if proved:
            assert int(proved[1]) / int(right[2]) == pytest.approx(max(held))
        assert f"{summary.usage.calls - summary.reused.calls:,} calls" in said


def test_rows_without_a_label_are_certified_and_not_judged(tmp_path: Path) -> None:
    (summary,) = read_summaries([study(tmp_path, ["positive", None, None])])
    said = run_verdict(summary)
    assert said.startswith("1 of 1 rows are answered right")
    assert "2 rows have no gold label and are certified, not judged; proved: 2 against 1 replaced word (100%)" in said
    (tmp_path / "none").mkdir()
    (bare,) = read_summaries([study(tmp_path / "none", [None, None])])
    assert run_verdict(bare).startswith("2 rows have no gold label and are certified, not judged; proved: 2")
    (tmp_path / "one").mkdir()
    (one,) = read_summaries([study(tmp_path / "one", [None])])
    assert run_verdict(one).startswith("1 row has no gold label and is certified, not judged; proved: 1")


def test_what_passes_a_guard_is_not_said_to_stay_whatever_is_put_around_it(tmp_path: Path) -> None:
    """A blocked text stays blocked under any text before and behind; one that passes stays so for a few words only."""
    data, run = tmp_path / "rows.jsonl", tmp_path / "run"
    texts = [{"text": "bad " * 9, "label": "harmful"}, {"text": "ok " * 9, "label": "safe"}] * 20
    data.write_text("".join(json.dumps(row) + "\n" for row in texts))
    clucert.evaluate_callable(
        lambda texts: ["harmful" if "bad" in text else "safe" for text in texts], ["harmful", "safe"], data, run,
        method="windows", size=4, flag=["harmful"], at_least=3, deterministic=True,
    )  # fmt: skip
    (summary,) = read_summaries([run])
    assert (summary.at("ends", 1).value, summary.at("ends", 2).value, summary.at("ends", 3).value) == (1, 1, 0.5)
    said = run_verdict(summary)
    assert "any number of words before and behind" in said
    assert re.findall(r"(\d+) against", said) == ["20"]
    ends = {kept.changes: kept for kept in summary.population if kept.threat == "ends"}
    assert {changes: kept.certified for changes, kept in ends.items()} == {1: 40, ENDLESS: 20}
    assert ends[ENDLESS].document()["changes"] is None
    assert str(ends[ENDLESS]).endswith("any number of words are put before or behind")
    assert ends[ENDLESS].share <= 0.5
    assert certified(summary) == "50%"
    assert f"{titled('ends')}: any number of words before and behind" in by_threat([summary])[0]
    # A radius without an end has no mean, and is none of 0.
    assert summary.r_avg is None
    assert [(label.label, label.r_avg) for label in summary.standing.labels] == [("harmful", None), ("safe", 2)]
    compared = compare_runs([run, run])
    (ends,) = (row for row in compared.rows() if str(row["figure"]).endswith("text around"))
    assert [ends[name] for name in ("first", "second", "difference", "low", "p_value")] == [None] * 5
    assert compared.document()["others"][0]["r_avg_by_radius"]["ends"] == dict.fromkeys(("first", "second", "p_value"))
    assert [row["first"] for row in compared.rows() if row["figure"] == "r_avg"] != [None]


def test_what_rests_on_assumptions_is_not_called_proved(runs: list[Path]) -> None:
    summary = next(s for s in read_summaries(runs) if s.assumptions and not s.at("word", 1).value)
    assert summary.at("published", 1).value
    said = run_verdict(summary)
    assert f"published radii rest on {', '.join(summary.assumptions)}" in said or "proved: " in said
    assert "against 1 changed word" not in said


def test_a_difference_is_one_only_where_a_test_says_so(tmp_path: Path, runs: list[Path]) -> None:
    same = comparison_verdict(compare_runs([runs[0], runs[0]]))
    assert "is not shown to differ from" in same
    assert "p = 1" in same
    low, high = (write_run(tmp_path / name, METHODS[0], rows(24)) for name in ("low", "high"))
    lines = [json.loads(line) for line in (low / "records.jsonl").read_text().splitlines()]
    wrong = [{**line, "status": "failed", "error": "no", "document": None} for line in lines[:20]] + lines[20:]
    (low / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in wrong))
    better = compare_runs([low, high], (0, 1))
    (against,) = better.others
    said = comparison_verdict(better)
    test = next(t for t in against.result.certified if t.delta == 1)
    assert f"{test.both + test.second_only} against {test.both + test.first_only} of 24 shared rows" in said
    assert (" is better than " in said) == (test.p_holm < 0.05)
    assert (" is worse than " in comparison_verdict(compare_runs([high, low], (0, 1)))) == (test.p_holm < 0.05)


def test_compare_shows_the_figures_of_its_document(runs: list[Path], run_cli: Command) -> None:
    command = ("compare", *runs[:2], "--radius", "word")
    shown = run_cli(*command).out
    document = json.loads(run_cli(*command, "--json").out)
    assert shown.startswith(document["verdict"])
    (other,) = document["others"]
    head, *lines = shown[shown.index("figure ") :].splitlines()
    columns = ["figure", "first", "second", "gain", "95 %", "1st only", "2nd only", "p"]
    assert re.split(r"  +", head) == columns
    for test, line in zip(other["certified"], [line for line in lines if line.startswith("certacc@")], strict=True):
        *_, first, second, p = line.split()
        assert (int(first), int(second)) == (test["first_only"], test["second_only"])
        assert p == "<0.0001" if test["p_holm"] < 0.0001 else float(p) == pytest.approx(test["p_holm"], abs=5.1e-5)
    assert "mask_rate" in shown
    assert "failed" not in shown, "no column for what is nowhere"


def test_the_attack_sentence_counts_as_the_table() -> None:
    def one(number: int, status: str, defence: str) -> Attacked:
        after = "b" if status == "success" else "a"
        result = AttackResult(status, "t", "o", "a", "a", after, queries=4, words=9, words_changed=1)  # type: ignore[arg-type]
        return Attacked("synonyms", defence, str(number), result)

    attacked = [one(0, "success", "none"), one(1, "failure", "none"), one(2, "skipped", "ranmask")]
    assert verdict_of(attack_rows(attacked)) == (
        "synonyms turns 1 of 2 right answers of the bare model (4 queries each), "
        "nothing of ranmask: it had no right answer to turn"
    )
    assert verdict_of([]) == "nothing was attacked"


def test_a_run_of_failures_says_so_and_prints_no_zeros(
    tmp_path: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, METHODS[0], rows(3))
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    failed = [{**line, "status": "failed", "error": "no", "document": None, "checksum": None} for line in lines]
    (run / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in failed))
    (summary,) = read_summaries([run])
    assert run_verdict(summary) == "nothing is certified: all 3 rows failed"
    _print(summary, [], verbose=False)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "",
        f"kept in  {run}  (-v for all; {PAGE} {run} -o report.html)",
    ]


def test_evaluate_prints_each_threat_beside_a_constant_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (summary,) = read_summaries([study(tmp_path, ["positive", "positive", "negative"])])
    _print(summary, [], verbose=False)
    short = capsys.readouterr().out
    always = next(line for line in short.splitlines() if line.startswith("always positive"))
    at = next(line.split() for line in short.splitlines() if line.startswith("radius "))
    assert always.split()[2 : 2 + len([name for name in at if name.startswith("@")])] == ["0.6667"] * 2
    assert always.split()[-3:] == ["0.5", "–", "–"]
    assert "@3" not in at, "columns that no radius reaches are left out"
    assert "right    0.667  [" in short
    _print(summary, [], verbose=True)
    (row,) = summary_rows([summary])
    told = capsys.readouterr().out
    assert len(short.splitlines()) + 15 < len(told.splitlines())
    assert all(re.search(rf"^{re.escape(name)} ", told, re.MULTILINE) for name in ("judged", "samples", "r_avg")), row
