"""No certified accuracy without each label by itself, the constant answer, and what the radii are capped by."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.evaluate.metrics import Outcome
from clucert.evaluate.standing import standing_of
from clucert.report import check_gates, compare_runs
from clucert.report.summary import read_summaries
from clucert.report.tables import summary_rows
from tests.commands import Command
from tests.report.report_runs import Spec, rows, write_run

LABELS = ("negative", "positive", "mixed")


def outcome(i, gold, prediction, radius=2, failed=False):
    return Outcome(str(i), gold, prediction, radius if prediction else None, 9, 0, 10, 10, failed=failed)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*LABELS, None]), st.sampled_from([*LABELS, None]), st.integers(0, 3), st.booleans()),
        max_size=25,
    )
)
def test_figures_by_label_against_brute_force(drawn):
    run = [outcome(i, gold, said, radius, failed) for i, (gold, said, radius, failed) in enumerate(drawn)]
    found = standing_of(run, [], LABELS)
    counted = [row for row in drawn if row[0] is not None]
    shares = []
    for label in LABELS:
        mine = [row for row in counted if row[0] == label]
        figures = next((f for f in found.labels if f.label == label), None)
        assert (figures is None) == (not mine)
        if figures is None:
            continue
        right = [not failed and said == label for _, said, _, failed in mine]
        held = [r and row[2] >= 1 for r, row in zip(right, mine, strict=True)]
        assert (figures.inputs, figures.clean_accuracy) == (len(mine), sum(right) / len(mine))
        assert figures.certified == sum(held) / len(mine)
        shares.append(sum(held) / len(mine))
    assert found.balanced_certified == (pytest.approx(sum(shares) / len(shares)) if shares else None)
    gold = Counter(row[0] for row in counted)
    assert found.constant_share == (max(gold.values()) / len(counted) if counted else None)


def test_a_constant_answer_is_never_better_balanced_than_one_label_in_k():
    run = [outcome(i, LABELS[i % 10 > 6], "negative") for i in range(100)]
    found = standing_of(run, [], LABELS)
    assert (found.balanced_certified, found.constant_share) == (0.5, 0.7)


def test_turned_round_labels_are_said_with_the_mapping_that_would_be_right():
    run = [outcome(i, "negative" if i % 2 else "positive", "positive" if i % 2 else "negative") for i in range(20)]
    found = standing_of(run, [], ("positive", "negative"), {"0": "positive", "1": "negative"})
    (said,) = [w for w in found.warnings if "guessing" in w]
    assert "0 of 20 answers are right" in said
    assert "probably turned round: with positive=negative,negative=positive instead, 20 of 20" in said
    assert "read as 0=positive,1=negative" in said
    shifted = [outcome(i, LABELS[i % 3], LABELS[(i + 1) % 3]) for i in range(30)]
    assert any("30 of 30 would be right" in w for w in standing_of(shifted, [], LABELS).warnings)


@pytest.mark.parametrize("right", range(21))
def test_below_chance_is_an_exact_test(right):
    """One-sided: at ½ of 20, five right or fewer have probability 0.0207, four or fewer 0.0059."""
    other = {"positive": "negative", "negative": "positive"}
    golds = ["positive", "negative"] * 10
    run = [outcome(i, g, g if i < right else other[g]) for i, g in enumerate(golds)]
    warned = any("guessing" in w for w in standing_of(run, [], ("positive", "negative")).warnings)
    assert warned == (right <= 4)


def test_abstentions_and_failures_are_no_wrong_answers_and_open_answers_have_no_chance():
    silent = [outcome(i, "positive", None) for i in range(30)] + [outcome(99, "negative", "negative")]
    assert not any("guessing" in w for w in standing_of(silent, [], LABELS).warnings)
    failed = [outcome(i, "positive", None, failed=True) for i in range(30)]
    assert not any("guessing" in w for w in standing_of([*failed, silent[-1]], [], LABELS).warnings)
    wrong = [outcome(i, "7", "8") for i in range(30)]
    assert standing_of(wrong, [], None).warnings == ()


def test_tables_show_the_share_of_radii_at_the_cap_and_attackable_words(tmp_path: Path):
    few = [(f"s{i}", f"it is a lovely one of {i} in the end", "positive") for i in range(6)]
    run = write_run(tmp_path / "run", Spec(mask_rate=Fraction(19, 20), strength=1.0), [*rows(8), *few])
    (summary,) = read_summaries([run])
    certificates = [row.certificate for row in summary.run.done]
    caps = [sum(c.subject.attackable) for c in certificates]
    held = [(c.radius.words, cap) for c, cap in zip(certificates, caps, strict=True) if c.radius is not None and cap]
    (row,) = summary_rows([summary])
    assert row["radii_at_cap"] == pytest.approx(sum(w >= cap for w, cap in held) / len(held))
    assert 0 < row["radii_at_cap"] < 1
    assert row["attackable_words"] == median(caps)
    assert row["mask_rate"] == 0.95
    assert row["per_label"].startswith("negative ")


def test_one_label_with_most_votes_is_a_warning_everywhere(tmp_path: Path, run_cli: Command):
    same = [(i, text, "positive") for i, text, _ in rows(8)]
    run = write_run(tmp_path / "run", Spec(strength=1.0), same)
    (summary,) = read_summaries([run])
    assert any("of the votes (100% of the gold labels)" in w for w in summary.warnings)
    page = tmp_path / "r.html"
    assert run_cli("report", run, "-o", page, "--tables", tmp_path).code == 0
    assert "of the votes (100% of the gold labels)" in page.read_text()
    (row,) = json.loads((tmp_path / "summary.json").read_text())
    assert "of the votes" in row["warnings"]


def test_a_method_below_the_majority_class_is_a_warning(tmp_path: Path):
    turned = [(i, text, "negative" if gold == "positive" else "positive") for i, text, gold in rows(8)]
    one = write_run(tmp_path / "one", Spec(), 8)
    two = write_run(tmp_path / "two", Spec(method="ranmask", recovery="mask", strength=0.3), turned)
    assert not any("less than always" in w for w in read_summaries([one])[0].warnings)
    assert any("less than always answering" in w for w in read_summaries([two])[0].warnings)


def test_failed_rows_are_in_the_denominator_unless_asked_and_judged_holds_none(tmp_path: Path):
    data = [(i, text if i not in "12" else "", gold) for i, text, gold in rows(8)]
    run = write_run(tmp_path / "run", Spec(strength=1.0), data)
    (all_,), (left,) = read_summaries([run]), read_summaries([run], leave_out_failed=True)
    assert (all_.judged, all_.denominator, left.judged, left.denominator) == (6, 8, 6, 6)
    assert all_.clean.value == left.clean.value * 6 / 8
    assert all_.at("word", 0).value == left.at("word", 0).value * 6 / 8
    (row,), (short,) = summary_rows([all_]), summary_rows([left])
    assert (row["judged"], row["failed"], row["failed_are"]) == (6, 2, "not certified")
    assert (short["failed_are"], short["certacc@1"]) == ("left out", left.at("published", 1).value)
    assert any("2 of 8 inputs failed and count as not certified" in w for w in all_.warnings)
    (counted,), (without,) = (check_gates([run], ["clean=0.9"], leave_out_failed=leave) for leave in (False, True))
    assert (counted.passed, without.passed) == (False, True)


def tuned(**changes):
    record = {
        **{"task": "sst2", "model": "smollm2", "radius": "published", "data_sha256": "1" * 64, "inputs": 50},
        **{"samples": 25, "certify_samples": 100, "max_drop": 0.02, "mask_rates": ["0.7", "0.9"]},
    }
    return record | changes


@pytest.mark.parametrize(
    ("first", "second", "kind", "said"),
    [
        (None, None, "published", "not tuned alike: a at mask rate 0.95, not tuned; b at mask rate 0.7, not tuned"),
        (tuned(), None, "published", "a at mask rate 0.95, tuned on 50 rows for the published radius; b at"),
        (tuned(), tuned(), "published", None),
        (tuned(), tuned(mask_rates=["0.7"]), "published", "not tuned alike"),
        (tuned(), tuned(inputs=60, data_sha256="2" * 64), "published", "not tuned alike"),
        (tuned(), tuned(), "word", "tuned for the published radius, and this compares the word one"),
        (tuned(data_sha256="0" * 64), tuned(data_sha256="0" * 64), "published", "on the very rows"),
    ],
)
def test_compare_says_when_parameters_were_not_tuned_alike(tmp_path: Path, first, second, kind, said, run_cli):
    def write(name, rate, record):
        parameters = {"mask_rate": rate, "tuned": record}
        return write_run(tmp_path / name, Spec(method=name, manifest={"parameters": parameters}), 8)

    runs = [write("a", "0.95", first), write("b", "0.7", second)]
    notes = [note for note in compare_runs(runs, (1,), kind=kind).notes if "tuned" in note]
    assert (notes == []) if said is None else (said in notes[0])
    printed = run_cli("compare", *runs, "--radius", kind)
    assert printed.code == 0
    assert ("tuned" in printed.err) == (said is not None)
    assert "per_label" in printed.out or "constant_answer" in printed.out


def test_the_same_parameters_need_no_tuning_to_be_compared(tmp_path: Path):
    same = {"parameters": {"mask_rate": "0.7"}}
    runs = [write_run(tmp_path / n, Spec(method="m", mask_rate=Fraction(7, 10), manifest=same), 8) for n in "ab"]
    assert not any("tuned" in note for note in compare_runs(runs, (1,)).notes)
