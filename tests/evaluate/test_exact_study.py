"""Exact methods in studies of a server: shards, dry run, caps, resume, the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from study_world import ROWS, SECRET, World
from tests.commands import Command, refused

from clucert.errors import UsageError
from clucert.evaluate.dry_run import dry_run
from clucert.evaluate.run_directory import read_records

EXACT = {"method": "groups", "mask_rate": None, "count": 3}


def test_shards_are_merged_to_the_records_of_a_run_that_was_never_divided(world: World) -> None:
    for shard in ("1/3", "2/3", "3/3"):
        world.run(**EXACT, shard=shard)
    asked = len(world.asked())
    assert world.run(**EXACT).done == ROWS
    assert len(world.asked()) == asked
    world.run(**EXACT, run_dir=str(world.folder / "whole"))
    assert world.records() == world.records("whole")


def test_a_dry_run_counts_what_the_study_asks_and_a_cap_stops_it_cleanly(world: World) -> None:
    estimate = dry_run(world.study(**EXACT), rows=None)
    part = world.run(**EXACT, max_requests=7)
    assert (part.stopped, part.exit_code) == ("budget", 4)
    assert part.done < ROWS
    before = read_records(world.folder / "run")[0]
    whole = world.run(**EXACT)
    assert whole.done == ROWS
    after = read_records(world.folder / "run")[0]
    assert {name: after[name] for name in before} == before
    # Every sub-text is asked once; one that hears whose the answers are is no question.
    assert Counter(world.asked()).most_common(1)[0][1] == 1
    assert estimate.calls == len(world.asked())


def test_another_method_or_parameter_is_another_run(world: World) -> None:
    world.run(**EXACT, limit=2)
    for change, said in (({"count": 5}, "count"), ({"scores": "hard"}, "scores"), ({"method": "blocks"}, "method")):
        with pytest.raises(UsageError, match=said):
            world.run(**EXACT | change, limit=2)
    with pytest.raises(UsageError, match="deterministic"):
        world.run(**EXACT, deterministic=None, run_dir=str(world.folder / "other"))


def test_the_command_prints_by_threat_and_the_same_as_json(
    world: World, monkeypatch: pytest.MonkeyPatch, run_cli: Command
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    path = world.folder / "study.json"
    path.write_text(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in world.config(**EXACT).items()}))
    gates = ["--fail-under", "certified-insert@0>=0.0", "--fail-under", "proved-move@1>=1.0"]
    said = run_cli("evaluate", "--config", path, *gates)
    assert said.code in (0, 3), said.err
    document = json.loads(run_cli("evaluate", "--config", path, *gates, "--json").out)
    radii = {row["threat"]: row for row in document["radii"]}
    assert list(radii) == ["word", "insert", "delete", "move", "edit"]
    for threat, row in radii.items():
        for delta in (1, 2, 3):
            assert row[f"@{delta}"] == document["summary"][f"proved_{threat}@{delta}"]
        assert (row["mean"], row["median"]) == tuple(
            document["summary"][f"proved_{threat}_{m}"] for m in ("mean", "median")
        )
        assert row["radius"] in said.out
    assert document["summary"]["questions_a_row"] <= 3
    assert {kept["threat"] for kept in document["population"]} == {"insert", "delete", "move", "replace", "edit"}
    assert [gate["gate"] for gate in document["gates"]] == ["certified-insert@0>=0", "proved-move@1>=1"]
    assert (said.code == 3) == (radii["move"]["@1"] < 1)


PLAIN = "A wonderful movie, with terrible people and (wonderful) stories & more."
DISGUISED = "A wonderfull  m\u043evie, with terible ｐｅｏｐｌｅ and (w\u200bonderful) stories &amp; more."
FORMS = ["characters", "spelling", "synonyms"]


@pytest.mark.parametrize("method", [EXACT, {"method": "ranmask"}], ids=["groups", "ranmask"])
def test_a_study_in_canonical_form_asks_and_certifies_the_form(
    world: World, method: dict[str, object], monkeypatch: pytest.MonkeyPatch, run_cli: Command
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    rows = [{"id": f"r{i}", "text": text, "label": "positive"} for i, text in enumerate((PLAIN, DISGUISED))]
    (world.folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = world.folder / "study.yaml"
    path.write_text(yaml.safe_dump(world.config(**method)))
    command = ("evaluate", "--config", path, "--json", "--canonical")
    done = run_cli(*command, ",".join(FORMS))
    assert done.code == 0, done.err
    assert json.loads(done.out)["summary"]["inputs"] == 2
    asked = " ".join(world.asked())
    assert not any(word in asked for word in ("movie", "wonderfull", "terible", "ｐ", "\u200b", "\u043e", "&amp;"))
    plain, disguised = (world.records()[row["id"]]["document"] for row in rows)
    said = json.dumps([plain, disguised])
    assert all(f"{name} " in said for name in FORMS)
    for document in (plain, disguised):
        assert document["derived"]["free"][0].startswith("any number of characters")
    if method is EXACT:
        # The disguise was asked nothing that the plain text was not.
        assert len(world.asked()) == len(set(world.asked())) == plain["derived"]["questions"]
        assert plain["derived"]["proved"] == disguised["derived"]["proved"]
        assert plain["answers"] == disguised["answers"]
    manifest = json.loads((world.folder / "run" / "manifest.json").read_text())
    assert {name for name in manifest["files"] if name.startswith("canonical")} == {f"canonical {f}" for f in FORMS}
    # With another form it is another classifier.
    refused(run_cli(*command, "characters"), 2, "canonical")
