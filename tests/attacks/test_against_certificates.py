"""Attacks on what a run has proved, through the command, against a real server."""

from __future__ import annotations

import json

import pytest
from test_attack_study import World, world  # noqa: F401
from tests.commands import Command, refused

from clucert.attacks.against import FILE, attack_run
from clucert.attacks.certificates import Match
from clucert.errors import InputError, UsageError
from clucert.evaluate.read_certificates import read_run
from clucert.evaluate.study import evaluate


@pytest.fixture
def run(world: World) -> World:  # noqa: F811
    """A run that has proved something."""
    evaluate(world.config(method="ranmask", mask_rate="0.6", samples=40, certify_samples=300))
    return world


def there(place: World) -> dict[str, str]:
    """What only the user may say of a run: its server and the cache."""
    return {"base_url": f"http://127.0.0.1:{place.port}", "cache": str(place.folder / "cache.sqlite")}


def test_what_is_proved_withstands_and_the_same_attack_asks_nothing_more(run: World) -> None:
    match = Match(samples=30, confirm=100, max_queries=30)
    found = attack_run(run.folder / "run", ["deepwordbug", "synonyms"], match, overrides=there(run))
    assert [(recipe, one.threat) for recipe, one in found.comparisons] == [
        ("deepwordbug", "word"),
        ("deepwordbug", "synonym"),
        ("synonyms", "word"),
        ("synonyms", "synonym"),
    ]
    for _, one in found.comparisons:
        assert one.duels
        assert one.holds
        assert len(one.duels) + one.uncertified == 5
    assert "never flipped" in str(found).splitlines()[0]
    saved = json.loads((run.folder / "run" / FILE).read_text())
    assert saved == json.loads(json.dumps(found.document()))
    calls = run.calls()
    assert attack_run(run.folder / "run", ["deepwordbug"], match, limit=2, overrides=there(run)).comparisons[0][1].duels
    assert run.calls() == calls


def test_the_first_rows_are_those_of_the_data_whatever_was_done_first(run: World) -> None:
    records = run.folder / "run" / "records.jsonl"
    lines = sorted(records.read_bytes().splitlines(keepends=True), key=lambda line: json.loads(line)["id"])
    records.write_bytes(b"".join(reversed(lines)))
    _, certificates = read_run(run.folder / "run", 2, there(run))
    assert list(certificates) == [json.loads(line)["id"] for line in lines[:2]]


def test_the_command_prints_a_table_and_refuses_what_the_run_says_already(run: World, run_cli: Command) -> None:
    base = ["attack", "--certificates", str(run.folder / "run"), "--recipe", "deepwordbug", "--limit", "1"]
    base += ["--base-url", there(run)["base_url"]]
    ended = run_cli(*base, "--samples", "20", "--max-queries", "9", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["comparisons"][0]["recipe"] == "deepwordbug"
    refused(run_cli(*base, "--method", "clucert"), 2, "--method does not go with --certificates")


def test_what_cannot_be_attacked_is_said(world: World) -> None:  # noqa: F811
    with pytest.raises(InputError, match="no run directory"):
        attack_run(world.folder / "nowhere", ["deepwordbug"])
    evaluate(world.config(method="smoothllm", mask_rate=None, limit=1, certify_samples=10))
    with pytest.raises(InputError, match="nothing to attack"):
        attack_run(world.folder / "run", ["deepwordbug"], overrides=there(world))
    with pytest.raises(UsageError, match="words in their places"):
        attack_run(world.folder / "run", ["suffix"])
