"""Tuning a guard: one run on validation rows, a threshold with a guaranteed rate, a method file to deploy."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import yaml
from study_world import World
from tests.commands import Command, Ended

from clucert.cli.serve import tuned_otherwise
from clucert.errors import InputError, UsageError
from clucert.evaluate.read_certificates import certificate_of
from clucert.evaluate.roc import CONSTANT, curve_rows, is_flagged, threat_rows
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.tune_flag import tune_flag
from clucert.guard.text_gate import gate_config
from clucert.methods import load_method

HARMLESS, HARMFUL = 12, 6
RATE = Fraction(3, 10)


@pytest.fixture
def guarded(world: World) -> World:
    with (world.folder / "data.jsonl").open("w") as out:
        for i in range(HARMLESS + HARMFUL):
            good = i < HARMLESS
            words = "good warm funny nice good warm fine moving" if good else "dull slow end two dull slow one about"
            row = {"id": f"r{i}", "text": f"{words} {i}", "label": "positive" if good else "negative"}
            out.write(json.dumps(row) + "\n")
    return world


OPTIONS = {"method": "deletion", "mask_rate": "0.5", "flag": ["negative"], "samples": 60, "certify_samples": 100}


def test_a_threshold_is_chosen_from_one_run_and_written_into_a_method(guarded: World) -> None:
    tuned = tune_flag(guarded.study(**OPTIONS), RATE)
    point = tuned.chosen.point
    assert (point.harmless, point.harmful) == (HARMLESS, HARMFUL)
    assert point.recalled == HARMFUL
    assert tuned.chosen.upper <= RATE
    assert not tuned.counts
    assert "--samples 60 --alpha 0.05" in " ".join(tuned.notes)
    asked = len(guarded.asked())
    assert tune_flag(guarded.study(**OPTIONS), RATE).method == tuned.method
    assert len(guarded.asked()) == asked
    path = guarded.folder / "guard.yaml"
    path.write_text(tuned.method)
    method = load_method(str(path))
    assert (method.name, method.flag, method.mask_rate) == ("deletion-tuned", ["negative"], "0.5")
    assert method.tuned is not None
    assert (method.tuned["fpr"], method.tuned["harmless"], method.tuned["false_positives"]) == (
        0.3, HARMLESS, point.false_positives,
    )  # fmt: skip
    assert str(guarded.folder) not in tuned.method
    # Chosen for texts as they are written; a gate reads them in canonical form, and says so when it starts.
    (note,) = tuned_otherwise(gate_config(task="sst2", model="openai/test", method=str(path)))
    assert "was tuned with --canonical none, and here it is characters" in note
    assert tuned_otherwise(gate_config(task="sst2", model="openai/test", method=str(path), canonical=[])) == []
    assert tuned_otherwise(gate_config(task="sst2", model="openai/test", method="deletion")) == []
    # Deployed on the same rows it flags the same ones.
    plain = {name: OPTIONS[name] for name in ("samples", "certify_samples")}
    guarded.run(**plain, method=str(path), mask_rate=None, run_dir=str(guarded.folder / "deployed"))
    records = read_records(guarded.folder / "deployed")[0].values()
    flagged = [record.gold for record in records if is_flagged(certificate_of(record.document))]
    assert (flagged.count("positive"), flagged.count("negative")) == (point.false_positives, point.recalled)


def test_the_curve_is_a_table_with_each_threat_by_itself(guarded: World) -> None:
    tuned = tune_flag(guarded.study(**OPTIONS), RATE)
    rows = curve_rows(tuned.points, counts=tuned.counts)
    assert list(rows[0]) == ["threshold", "fpr", "recall", "insert@1", "insert@2", "insert@4", "insert@9"]
    assert len(rows) == len(tuned.points) > 5
    assert [row["threat"] for row in threat_rows(tuned.chosen.point)] == ["insert", "delete", "edit", "word"]
    assert "recall = fpr" in CONSTANT


def test_too_few_rows_are_told_before_anything_is_asked(guarded: World) -> None:
    with pytest.raises(InputError, match=f"{HARMLESS} harmless rows cannot show .*: it takes 299"):
        tune_flag(guarded.study(**OPTIONS), Fraction(1, 100))
    assert guarded.asked() == []
    with pytest.raises(UsageError, match="--flag"):
        tune_flag(guarded.study(**OPTIONS | {"flag": None}), RATE)
    with pytest.raises(InputError, match="goes on"):
        tune_flag(guarded.study(**OPTIONS | {"max_requests": 20}), RATE)


@pytest.fixture
def commanded(guarded: World, run_cli: Command) -> Command:
    """A command with the study's configuration, changed by what is named."""

    def run(name: str, *arguments: str, **changes: object) -> Ended:
        path = guarded.folder / "config.yaml"
        path.write_text(yaml.safe_dump(guarded.config(**changes)))
        return run_cli(name, "--config", path, *arguments)

    return run


@pytest.mark.parametrize(("method", "threshold"), [("deletion", "0.3"), ("groups", "0.3"), ("windows", None)])
def test_evaluate_shows_the_curve_and_gates_go_by_it(commanded: Command, method: str, threshold: str | None) -> None:
    own = {"samples": 60, "certify_samples": 100} if method == "deletion" else {"samples": 10}
    mask = {"mask_rate": "0.5"} if method == "deletion" else {"mask_rate": None}
    share = ["--threshold", threshold] if threshold else ["--at-least", "1"]
    flags = ["--method", method, "--flag", "negative", *share]
    gates = ["recall>=0.9", "fpr<=0.99", "recall-insert@1>=0", "recall-suffix@1>=0.5"]
    asked = [part for gate in gates for part in ("--fail-under", gate)]
    changes = {**own, **mask, "method": "ranmask"}
    ended = commanded("evaluate", *flags, *asked, "--json", **changes)
    found = json.loads(ended.out)
    verdicts = {gate["gate"]: (gate["value"], gate["passed"]) for gate in found["gates"]}
    at = found["roc"]["at"]
    assert verdicts["recall>=0.9"] == (at["recall"], True)
    assert verdicts["fpr<=0.99"] == (at["fpr"], True)
    assert verdicts["recall-insert@1>=0"][0] == at["survives"]["insert"]["1"]
    # Nothing survives what a method does not speak of.
    assert verdicts["recall-suffix@1>=0.5"] == (0.0, False)
    assert ended.code == 3
    assert found["roc"]["threshold_is"] == ("at_least" if method == "windows" else "threshold")
    assert found["summary"]["clean_accuracy"] > 0.6
    assert {label["label"] for label in found["labels"]} == {"negative", "positive"}
    ended = commanded("evaluate", *flags, **changes)
    assert ended.code == 0
    assert "certified ROC" in ended.out
    assert "a guard that looks at no text" in ended.out


@pytest.mark.parametrize("method", ["groups", "windows", "deletion"])
def test_the_command_tunes_methods_of_either_kind(guarded: World, commanded: Command, method: str) -> None:
    changes = {"mask_rate": "0.5" if method == "deletion" else None, "method": method, "run_dir": None}
    options = {"samples": 60, "certify_samples": 80} if method == "deletion" else {}
    out_file = guarded.folder / "guard.yaml"
    arguments = ["tune", "--fpr", "0.3", "--flag", "negative", "--run-dir", str(guarded.folder / method), "-o"]
    ended = commanded(*arguments, str(out_file), "--json", **changes, **options)
    assert ended.code == 0
    found = json.loads(ended.out)
    chosen = found["chosen"]
    assert chosen["fpr"] <= chosen["fpr_at_most"] == 0.3
    assert (chosen["harmless"], chosen["harmful"], chosen["recall"]) == (HARMLESS, HARMFUL, 1.0)
    written = yaml.safe_load(out_file.read_text())
    assert written["flag"] == ["negative"]
    key = "at_least" if method == "windows" else "flag_threshold"
    assert float(written[key]) == chosen["threshold"]
    # The file is a method that reports the same on the same rows.
    ended = commanded(
        "evaluate", "--method", str(out_file), "--json",
        **changes | options | {"mask_rate": None, "run_dir": str(guarded.folder / "again")},
    )  # fmt: skip
    assert ended.code == 0
    assert json.loads(ended.out)["roc"]["at"]["fpr"] == chosen["fpr"]


def test_groups_of_labels_are_judged_by_the_group(guarded: World, commanded: Command) -> None:
    """Gold labels are merged as the answers are: three classes, of which two are one."""
    prompt = guarded.folder / "prompt.txt"
    prompt.write_text("Which?\n{text}")
    changes = {"task": None, "labels": ["positive", "negative", "odd"], "prompt": str(prompt), "mask_rate": "0.5"}
    ended = commanded("evaluate", "--group", "negative,odd", "--json", **changes)
    assert ended.code == 0
    found = json.loads(ended.out)
    assert {label["label"] for label in found["labels"]} == {"positive", "negative+odd"}
    assert found["summary"]["clean_accuracy"] > 0.6
    assert "roc" not in found
