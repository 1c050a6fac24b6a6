"""What a run of attacks would cost is counted from what it would really ask."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attacks.test_attack_study import World, world_of
from tests.commands import Command, refused

from clucert.attacks.dry_run import dry_run_attacks
from clucert.attacks.study import AttackStudy, run_attacks
from clucert.errors import UsageError

ROWS = (("a warm and funny film", "positive"), ("a dull mess of a plot", "negative"), ("a good story", "positive"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_of(ROWS, tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("defences", ["none", "ranmask", "none ranmask", "blocks", "none deletion blocks"])
@pytest.mark.parametrize("budget", [1, 6, None])
def test_nothing_is_asked_and_the_run_then_asks_no_more(world: World, defences: str, budget: int | None) -> None:
    study = world.study("deepwordbug", defences, deterministic=True)
    study = dataclasses.replace(study, max_queries=budget)
    estimate = dry_run_attacks(study, rows=None)
    assert world.calls() == 0
    assert not (world.folder / "run").exists()
    assert (estimate.inputs, estimate.looked_at) == (3 * len(defences.split()),) * 2
    run_attacks(study)
    assert 0 < world.calls() <= estimate.calls
    # What was made is not counted again, and a run with all of it asks nothing.
    assert dry_run_attacks(study, rows=None).calls == dry_run_attacks(study, rows=None).inputs == 0


def test_attacks_that_fail_ask_all_that_was_foreseen(world: World) -> None:
    def study(rows: list[str], name: str) -> AttackStudy:
        (world.folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
        where = {"data": str(world.folder / f"{name}.jsonl"), "cache": world.folder / f"{name}.sqlite"}
        made = world.study("deepwordbug", "none", deterministic=True, run_dir=world.folder / name, **where)
        return dataclasses.replace(made, max_queries=None)

    words = ("odd", "quiet", "late", "early", "long", "short", "cold", "mild")
    rows = [json.dumps({"text": f"{w} evening", "label": label}) for w in words for label in ("positive", "negative")]
    first = run_attacks(study(rows, "all"))
    failed = [
        row
        for row, one in zip(rows, first.attacked, strict=True)
        if one.result is not None and one.result.status == "failure"
    ]
    assert failed, "the server's rule gives in to every one of these attacks: choose other words"
    alone = study(failed, "failed")
    estimate, before = dry_run_attacks(alone, rows=None), world.calls()
    run_attacks(alone)
    assert world.calls() - before == estimate.calls > len(failed)


def test_the_first_rows_stand_for_all(world: World) -> None:
    whole, part = (dry_run_attacks(world.study(deterministic=True), rows=rows) for rows in (None, 1))
    assert (part.inputs, part.looked_at) == (6, 2)
    assert part.calls % 3 == 0
    assert part.calls == pytest.approx(whole.calls, rel=0.3)


def test_what_is_wrong_with_a_study_is_wrong_with_its_dry_run(world: World) -> None:
    with pytest.raises(UsageError, match="at least one recipe"):
        dry_run_attacks(world.study(""))


def test_the_command_prints_a_bill_and_writes_nothing(world: World, run_cli: Command) -> None:
    flags = [
        *("attack", "--task", "sst2", "--data", world.folder / "data.jsonl", "--model", "openai/test"),
        *("--base-url", f"http://127.0.0.1:{world.port}", "--recipe", "deepwordbug", "--defence", "none,ranmask"),
        *("--samples", "7", "--run-dir", world.folder / "run", "--dry-run", "--deterministic"),
    ]
    told = run_cli(*flags, "--price-input", "1", "--price-output", "2")
    assert told.code == 0
    assert told.out.startswith("6 attacks: about ")
    assert "$0.0" in told.out
    assert "nothing was asked" in told.err
    bounded = json.loads(run_cli(*flags, "--max-queries", "3", "--json").out)
    assert bounded["attacks"] == 6
    assert 0 < bounded["calls"] <= 6 * 4 * 7
    assert world.calls() == 0
    assert not (world.folder / "run").exists()
    refused(run_cli("attack", "--certificates", world.folder, "--dry-run"), 2, "--dry-run", "--max-queries")
