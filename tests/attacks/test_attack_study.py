"""Whole runs of attacks, against a real server that answers by a rule, and against SmolLM2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.commands import Command
from tests.evaluate.study_world import chatting

import clucert
from clucert.attacks.study import AttackStudy, run_attacks
from clucert.cache.server_identity import IDENTIFYING_TEXT
from clucert.errors import InputError, UnknownNameError, UsageError
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import StudyConfig, load_config
from clucert.report.runs import load_run
from clucert.runtime.callable_classifiers import classifier_of

DATA = (
    ("a warm and funny film", "positive"),
    ("a dull mess of a plot", "negative"),
    ("a good story about two friends", "positive"),
    ("slow and dull to the end", "positive"),
    ("a moving film , warm and good", "positive"),
)


class World:
    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    def config(self, **changes: object) -> StudyConfig:
        fields: dict[str, object] = {
            "task": "sst2",
            "data": str(self.folder / "data.jsonl"),
            "model": ["openai/test"],
            "base_url": f"http://127.0.0.1:{self.port}",
            "samples": 7,
            "mask_rate": "0.3",
            "max_retries": 0,
            "run_dir": self.folder / "run",
            "cache": self.folder / "cache.sqlite",
        }
        return load_config(None, fields | changes)

    def study(self, recipes: str = "deepwordbug", defences: str = "none ranmask", **changes: object) -> AttackStudy:
        return AttackStudy(self.config(**changes), tuple(recipes.split()), tuple(defences.split()), max_queries=12)

    def calls(self) -> int:
        log = self.folder / "log.txt"
        lines = log.read_text().splitlines() if log.exists() else []
        # The greeting by which a run hears who answers, before it uses the cache, is no question.
        return sum(json.loads(line) != IDENTIFYING_TEXT for line in lines)


@contextmanager
def world_of(rows: Sequence[tuple[str, str]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    with chatting(folder, 0.001) as port:
        yield World(folder, port)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_of(DATA, tmp_path, monkeypatch) as made:
        yield made


def test_a_run_writes_its_table_and_the_same_command_asks_nothing_more(world: World) -> None:
    told: list[tuple[int, int]] = []
    report = run_attacks(world.study(), lambda done, total: told.append((done, total)))
    assert told == [(i, 10) for i in range(1, 11)]
    assert [(row.recipe, row.defence, row.inputs) for row in report.rows] == [
        ("deepwordbug", "none", 5),
        ("deepwordbug", "ranmask", 5),
    ]
    assert all(one.result is not None and one.result.queries <= 12 for one in report.attacked)
    calls = world.calls()
    again = run_attacks(world.study())
    assert (again.rows, again.attacked, world.calls()) == (report.rows, report.attacked, calls)
    saved = json.loads((world.folder / "run" / "attacks.json").read_text())
    assert saved["rows"] == json.loads(json.dumps([row.document() for row in report.rows]))
    assert (world.folder / "run" / "attacks.txt").read_text() == f"{report}\n"
    with pytest.raises(InputError, match=r"holds attacks, not certificates: .*attacks\.txt"):
        load_run(world.folder / "run")


def test_a_run_that_was_cut_short_goes_on_and_comes_to_the_same(world: World) -> None:
    whole = run_attacks(world.study(run_dir=world.folder / "whole"))
    calls = world.calls()

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == 4:
            raise KilledError

    with pytest.raises(KilledError):
        run_attacks(world.study(), kill)
    # Those that were done when the fourth was told are kept, and no attack is made twice.
    kept = len(read_records(world.folder / "run")[0])
    assert 4 <= kept < 10
    told: list[int] = []
    assert run_attacks(world.study(), lambda done, total: told.append(total)).attacked == whole.attacked
    assert told == [10 - kept] * (10 - kept)
    # Every answer was in the cache.
    assert world.calls() == calls


def test_an_attack_whose_victim_failed_is_no_failed_attack_and_is_tried_again(world: World) -> None:
    data = world.folder / "data.jsonl"
    data.write_text(data.read_text() + json.dumps({"text": "an unanswerable film", "label": "positive"}) + "\n")
    report = run_attacks(world.study(defences="none"))
    (row,) = report.rows
    assert (row.inputs, row.failed) == (6, 1)
    assert set(report.errors) == {"deepwordbug/none/6"}
    told: list[int] = []
    run_attacks(world.study(defences="none"), lambda done, total: told.append(total))
    assert told == [1]


def test_another_run_in_the_same_folder_is_refused(world: World) -> None:
    run_attacks(world.study(defences="none"))
    with pytest.raises(UsageError, match="holds another run"):
        run_attacks(world.study(defences="ranmask"))


def test_what_cannot_be_attacked_is_said_before_anything_is_asked(world: World) -> None:
    with pytest.raises(UnknownNameError, match="textbugger"):
        run_attacks(world.study(recipes="textbuger"))
    with pytest.raises(UnknownNameError, match="ranmask"):
        run_attacks(world.study(defences="ranmaks"))
    with pytest.raises(UsageError, match="--recipe"):
        run_attacks(world.study(recipes=""))
    (world.folder / "data.jsonl").write_text('{"text": "a film"}\n')
    with pytest.raises(UsageError, match="label"):
        run_attacks(world.study())
    assert world.calls() == 0


def test_exact_methods_are_attacked_beside_those_that_sample(world: World) -> None:
    report = run_attacks(world.study(defences="none groups ranmask", deterministic=True))
    assert report.mask_rates() == {"ranmask": "0.3"}
    found = [one for one in report.attacked if one.defence == "groups"]
    assert [one.result is not None for one in found] == [True] * 5
    # Nothing is random there, so nothing is put to fresh noise.
    assert {one.confirmed for one in found} == {None}
    calls = world.calls()
    again = run_attacks(world.study(defences="none groups ranmask", deterministic=True))
    assert (again.rows, world.calls()) == (report.rows, calls)


def test_an_exact_defence_needs_a_model_that_repeats_itself(world: World) -> None:
    for defences in ("groups", "groups ranmask"):
        with pytest.raises(UsageError, match="equal answers to equal texts"):
            run_attacks(world.study(defences=defences, deterministic=False, run_dir=world.folder / defences))
    assert world.calls() == 0


def test_a_function_is_attacked_and_what_flips_it_does(world: World) -> None:
    def classify(texts: list[str]) -> list[str]:
        return ["positive" if {"warm", "good"} & set(text.split()) else "negative" for text in texts]

    function = classifier_of(classify, ("positive", "negative"), deterministic=True)
    guard = world.folder / "guard.yaml"
    guard.write_text("family: windows\nsize: 2\nflag: [positive]\nat_least: 2\n")
    study = world.study(defences=f"none blocks ranmask {guard}", model=["a-function"], base_url=None)
    report = run_attacks(study, classifier=function)
    assert world.calls() == 0
    won = [one for one in report.attacked if one.result and one.result.status == "success"]
    assert {one.defence for one in won} >= {"none"}
    for one in won:
        if one.defence == "none":
            assert classify([one.result.perturbed]) == [one.result.after] != [one.result.gold]
        if one.defence == "blocks":
            # Five blocks of a text, hard votes of the deployed classifier.
            smoothed = clucert.smooth(classify, ["positive", "negative"], deterministic=True)
            (again,) = smoothed.prove(one.result.perturbed, ["blocks"])
            assert again.prediction == one.result.after != one.result.gold
    guarded = [one.result for one in report.attacked if one.defence == str(guard)]
    assert {result.status for result in guarded} >= {"success"}
    for result in guarded:
        (there,) = clucert.smooth(classify, ["positive", "negative"], deterministic=True).prove(
            result.perturbed, ["windows"], size=2, flag=["positive"], at_least=2
        )
        assert (there.prediction != result.gold) == (result.status in ("success", "skipped"))


def test_a_guard_that_names_no_label_of_the_task_is_audited_instead(world: World) -> None:
    (guard := world.folder / "guard.yaml").write_text("family: windows\nsize: 2\nflag: [positive, unparsed]\n")
    with pytest.raises(InputError, match="clucert audit"):
        run_attacks(world.study(defences=str(guard), deterministic=True))
    assert world.calls() == 0


@pytest.mark.llm
@pytest.mark.slow
def test_smollm2_is_attacked_bare_and_defended(world: World) -> None:
    study = world.study(model=["smollm2"], base_url=None, limit=1, samples=3, defences="none clucert")
    bare, smoothed = run_attacks(study).rows
    assert (bare.failed, smoothed.failed) == (0, 0)
    assert bare.clean_accuracy is not None


@pytest.mark.parametrize("flags", [["--limit", "1"], ["--limit", "1", "--json"]])
def test_the_command_prints_the_table(world: World, flags: list[str], run_cli: Command) -> None:
    paths = ["--data", str(world.folder / "data.jsonl"), "--run-dir", str(world.folder / "run")]
    server = ["--model", "openai/test", "--base-url", f"http://127.0.0.1:{world.port}", "--no-cache"]
    rest = ["--recipe", "deepwordbug", "--defence", "none", "--max-queries", "9", *flags]
    ended = run_cli("attack", "--task", "sst2", *paths, *server, *rest)
    assert ended.code == 0
    if "--json" in flags:
        assert json.loads(ended.out)["rows"][0]["inputs"] == 1
    else:
        assert any(line.startswith("deepwordbug  none") for line in ended.out.splitlines())
