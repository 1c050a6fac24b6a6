"""Tuning a guard: one run on validation rows, a threshold with a guaranteed rate, a method file to deploy."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from study_world import World

from clucert.errors import InputError, UsageError
from clucert.evaluate.roc import CONSTANT, curve_rows, is_flagged, threat_rows
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.tune_flag import certificate_of, tune_flag
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
