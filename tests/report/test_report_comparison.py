"""Run directories compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_runs import METHODS, rows, write_run

from clucert.errors import InputError, UsageError
from clucert.report import compare_runs
from clucert.report.summary import read_summaries
from clucert.report.tables import to_markdown


def test_differences_are_those_of_the_summaries(runs: list[Path]) -> None:
    compared = compare_runs(runs, (1, 2))
    first, *others = read_summaries(runs)
    assert compared.baseline == "ranmask"
    for against, summary in zip(compared.others, others, strict=True):
        found = against.result
        assert found.pairs == 24
        assert found.r_avg.value == pytest.approx(summary.r_avg - first.r_avg)
        for test in found.certified:
            difference = summary.at("published", test.delta).value - first.at("published", test.delta).value
            assert test.difference == pytest.approx(difference)


def test_a_run_does_not_differ_from_itself(runs: list[Path]) -> None:
    (against,) = compare_runs([runs[0], runs[0]]).others
    assert against.result.p_value == 1
    assert all(test.p_value == 1 for test in against.result.certified)


def test_the_proved_radius_can_be_compared(runs: list[Path]) -> None:
    (against,) = compare_runs([runs[0], runs[2]], kind="word").others
    assert against.result.second_r_avg == 0 < against.result.first_r_avg


def test_runs_on_different_data_are_refused_unless_asked(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", METHODS[0], rows(20))
    two = write_run(tmp_path / "two", METHODS[1], rows(24)[4:])
    with pytest.raises(InputError, match=r"share 16 inputs of 20 and 20.*--common-only"):
        compare_runs([one, two])
    (against,) = compare_runs([one, two], common_only=True).others
    assert (against.result.pairs, against.result.missing) == (16, 8)


def test_the_same_id_with_another_text_is_another_input(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", METHODS[0], rows(8))
    changed = [(i, text if i != "3" else text + " indeed", gold) for i, text, gold in rows(8)]
    two = write_run(tmp_path / "two", METHODS[1], changed)
    with pytest.raises(InputError, match="share 7 inputs of 8 and 8"):
        compare_runs([one, two])
    (against,) = compare_runs([one, two], common_only=True).others
    assert (against.result.pairs, against.different) == (7, 1)


def test_failed_inputs_are_counted_as_not_certified_or_left_out_when_asked(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", METHODS[0], rows(8))
    two = write_run(tmp_path / "two", METHODS[1], [(i, text if i != "3" else "", gold) for i, text, gold in rows(8)])
    (against,) = compare_runs([one, two]).others
    assert (against.result.pairs, against.result.failed) == (8, 1)
    (left,) = compare_runs([one, two], leave_out_failed=True).others
    assert (left.result.pairs, left.result.failed) == (7, 1)
    assert against.result.second_r_avg == left.result.second_r_avg * 7 / 8


def test_nothing_to_compare_is_an_error(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", METHODS[0], rows(8)[:4])
    two = write_run(tmp_path / "two", METHODS[0], rows(8)[4:])
    with pytest.raises(UsageError, match="two run directories"):
        compare_runs([one])
    with pytest.raises(InputError, match="share no input"):
        compare_runs([one, two], common_only=True)


def test_the_comparison_is_a_document_and_a_table(runs: list[Path]) -> None:
    compared = compare_runs(runs, (1,))
    document = json.loads(json.dumps(compared.document(), allow_nan=False))
    assert [other["run"] for other in document["others"]] == ["selfdenoise", "clucert"]
    assert document["others"][0]["certified"][0]["p_value"] == compared.others[0].result.certified[0].p_value
    assert [row["figure"] for row in compared.rows()] == [
        *("r_avg", "r_avg, proved, any word", "r_avg, proved, synonyms", "certacc@1")
    ] * 2
    assert to_markdown(compared.rows()).count("\n") == 10
