"""`clucert audit RUN` as a user calls it: from the run directory to the table, the JSON and the file beside the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from study_world import SECRET, World
from tests.commands import Command, refused

import clucert
from clucert.audit.run import audit_exact
from clucert.evaluate.read_certificates import read_any_run


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    world.run(mask_rate="0.8", samples=40, certify_samples=150, limit=4)
    return world


Audit = Callable[..., tuple[str, str]]


@pytest.fixture
def audit(world: World, run_cli: Command) -> Audit:
    """`clucert audit` of the run; what it prints and says."""

    def run(*flags: str) -> tuple[str, str]:
        where = (world.folder / "run", "--base-url", f"http://127.0.0.1:{world.port}")
        ended = run_cli("audit", *where, "--screen", "12", "--confirm", "60", *flags)
        assert ended.code == 0, ended.err
        return ended.out, ended.err

    return run


def test_a_run_is_audited_to_a_table_a_document_and_a_file(run: World, audit: Audit) -> None:
    told, _ = audit()
    written = json.loads((run.folder / "run" / "audit.json").read_text())
    assert "any words" in told
    assert "proved" in told
    assert f"{written['certified']} certificates" in told
    claims = [attempt["claim"] for attempt in written["attempts"]]
    assert {claim["kind"] for claim in claims} == {"published", "proved"}
    assert all(attempt["tried"] > 0 for attempt in written["attempts"])
    assert not written["failed"]
    # Masking proves: nothing that was proved is broken.
    assert not any(a["broken"] for a in written["attempts"] if a["claim"]["kind"] == "proved")
    for row in written["rows"]:
        about = (row["radius"], row["threat"])
        group = [a for a in written["attempts"] if (a["claim"]["kind"], a["claim"]["threat"]) == about]
        assert (row["tried"], row["broken"]) == (len(group), sum(a["broken"] for a in group))


def test_json_prints_what_is_written_and_limit_takes_the_first(run: World, audit: Audit) -> None:
    told, said = audit("--json", "--limit", "2")
    assert json.loads(told) == json.loads((run.folder / "run" / "audit.json").read_text())
    assert {attempt["id"] for attempt in json.loads(told)["attempts"]} <= {"r0", "r1"}
    assert json.loads(told)["certified"] <= 2
    assert str(Path("run", "audit.json")) in said


def test_a_run_of_a_guard_by_masked_words_is_audited_as_the_decisions_it_made(
    world: World, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    guard = {"flag": ["negative"], "flag_threshold": "0.4", "samples": 40, "certify_samples": 150}
    world.run(mask_rate="0.8", limit=4, **guard)
    audit()
    written = json.loads((world.folder / "run" / "audit.json").read_text())
    assert written["attempts"]
    assert not written["failed"]
    assert {attempt["claim"]["kind"] for attempt in written["attempts"]} == {"proved"}
    assert not any(attempt["broken"] for attempt in written["attempts"])


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, run_cli: Command) -> None:
    refused(run_cli("audit", tmp_path), 2, str(tmp_path))


@pytest.fixture
def exact(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A run of a method that asks every sub-text."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with (world.folder / "data.jsonl").open("w") as out:
        for i in range(5):
            # What the server takes for good is in all groups.
            text = " ".join([*(f"good{k}" for k in range(16)), "story", f"one{i}"])
            out.write(json.dumps({"id": f"r{i}", "text": text, "label": "positive"}) + "\n")
    world.run(method="groups", mask_rate=None, count=3)
    return world


def test_an_exact_run_is_audited_threat_by_threat_and_none_breaks(exact: World, audit: Audit) -> None:
    told, _ = audit("--texts", "30")
    written = json.loads((exact.folder / "run" / "audit.json").read_text())
    assert written["alpha"] == 0
    assert not written["failed"]
    assert written["attempts"]
    assert {row["threat"] for row in written["rows"]} >= {"insert", "delete", "move", "shift"}
    for row in written["rows"]:
        assert row["radius"] == "exact"
        assert row["broken"] == 0
        assert row["change"] in told
    assert all(0 < attempt["tried"] <= 30 for attempt in written["attempts"])
    assert "One past:" in told
    asked = exact.asked()
    printed, _ = audit("--texts", "30", "--json")
    assert json.loads(printed)["rows"] == written["rows"]
    # What was asked once is in the cache.
    assert exact.asked() == asked


def test_known_attacks_and_the_guided_one_go_as_far_as_it_takes_in_an_exact_run(exact: World, run_cli: Command) -> None:
    where = ("--base-url", f"http://127.0.0.1:{exact.port}", "--cache", str(exact.folder / "cache.sqlite"))
    command = ["attack", "--certificates", str(exact.folder / "run"), "--recipe", "guided,deepwordbug", *where]
    found = run_cli(*command, "--max-queries", "25", "--json")
    assert found.code == 0, found.err
    comparisons = json.loads(found.out)["comparisons"]
    assert {(one["recipe"], one["threat"]) for one in comparisons} == {
        *(("guided", threat) for threat in ("insert", "delete", "move", "replace", "edit")),
        *(("deepwordbug", threat) for threat in ("replace", "edit")),
    }
    assert all(one["holds"] and not any(duel["broken"] for duel in one["duels"]) for one in comparisons)
    table = run_cli(*command, "--max-queries", "25").out
    assert "inserted anywhere" in table
    assert "operations on the pieces" in table


def test_a_run_of_a_function_is_audited_in_python_and_the_commands_say_so(tmp_path: Path, run_cli: Command) -> None:
    def classify(texts: list[str]) -> list[str]:
        return ["positive" if sum("good" in word for word in text.split()) > 1 else "negative" for text in texts]

    text = " ".join(f"good{k}" for k in range(16))
    (tmp_path / "data.jsonl").write_text(json.dumps({"id": "1", "text": text, "label": "positive"}) + "\n")
    run, labels = tmp_path / "run", ["positive", "negative"]
    clucert.evaluate_callable(classify, labels, tmp_path / "data.jsonl", run, method="groups", deterministic=True)
    for command in (("audit", run), ("attack", "--certificates", run)):
        refused(run_cli(*command), 2, "only Python can ask")
    certificates = read_any_run(run, None, None)[1]
    model = clucert.smooth(classify, labels, method="ranmask", deterministic=True)
    rows = audit_exact(model, certificates).rows()
    assert rows
    assert not any(row["broken"] for row in rows)
