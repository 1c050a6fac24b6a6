"""What `clucert tune` fits to the sub-texts of its rows, and that no row scores what was fitted to it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.commands import Command
from tests.models.fake_server import Reply, Request, Server, completion, serving
from tests.promises.test_exact_certificates import scattered

import clucert
from clucert.core.exact import Shown
from clucert.evaluate.calibrated import FOLDS, Row, calibrations
from clucert.evaluate.run_directory import read_records
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.study import evaluate
from clucert.methods import load_exact

LABELS = ["yes", "no"]


def rows(count: int, seed: int = 0) -> list[Row]:
    rng, found = random.Random(seed), []
    with clucert.smooth(scattered(seed, 0.5), LABELS, method="ranmask", deterministic=True) as model:
        for i in range(count):
            text = " ".join(rng.choices("abcdefgh", k=rng.randrange(4, 14)))
            (proof,) = model.prove(text, ["groups"], count=4)
            found.append(Row(f"r{i:03}", rng.choice(LABELS), proof.certificate))
    return found


def test_what_a_row_is_read_with_was_fitted_without_its_fold() -> None:
    given = rows(120)
    plain, both = calibrations(given)[0]
    assert (plain.name, both.name) == ("bias", "bias, temperature")
    assert set(both.fold_of.values()) == set(range(FOLDS))
    for fold in range(FOLDS):
        # Other answers to the rows of a fold, and of the opposite label: what they are read with stays as it was.
        changed = [
            row
            if both.fold_of[row.id] != fold
            else dataclasses.replace(
                row,
                certificate=dataclasses.replace(
                    row.certificate, answers=tuple(Shown(a.text, "no", (0.05, 0.95)) for a in row.certificate.answers)
                ),
            )
            for row in given
        ]
        for was, now in zip((plain, both), calibrations(changed)[0], strict=True):
            assert now.fold_of == was.fold_of
            assert [now.without[i] == was.without[i] for i in range(FOLDS)] == [i == fold for i in range(FOLDS)]
            assert now.whole != was.whole
    for row in given:
        read = both.read(row.id, row.certificate)
        assert read.settings.bias == both.without[both.fold_of[row.id]]
        assert read.answers == row.certificate.answers
    assert any(each.scale != 1 for bias in both.without for each in bias)
    assert all(each.scale == 1 for bias in plain.without for each in bias)
    assert [each.of for each in plain.whole] == [each.of for each in both.whole]


def test_labels_are_divided_alike_and_equal_texts_are_in_one_fold() -> None:
    given = rows(100)
    given += [dataclasses.replace(row, id=f"again {row.id}") for row in given[:30]]
    (_, both), why = calibrations(given)
    assert why is None
    assert all(both.fold_of[row.id] == both.fold_of[f"again {row.id}"] for row in given[:30])
    for label in LABELS:
        own = [both.fold_of[row.id] for row in given[:100] if row.gold == label]
        assert max(map(own.count, range(FOLDS))) - min(map(own.count, range(FOLDS))) <= 1


def test_without_probabilities_nothing_is_fitted_and_too_few_rows_are_named() -> None:
    given = rows(12)
    found, why = calibrations(given)
    assert not found
    assert why is not None
    assert "more validation rows" in why
    silent = [
        dataclasses.replace(
            row,
            certificate=dataclasses.replace(
                row.certificate, answers=tuple(Shown(a.text, a.vote) for a in row.certificate.answers)
            ),
        )
        for row in rows(60)
    ]
    assert calibrations(silent) == ([], None)


GOOD = ["good", "fine", "warm", "fun", "rich", "nice", "bright", "fresh"]
BAD = ["bad", "dull", "flat", "poor", "weak", "cold", "bleak", "stale"]
NEITHER = ["a", "film", "about", "two", "friends", "in", "one", "town"]


def biased_by_length(request: Request, _: int) -> Reply:
    """A model that sees what is good and bad, and leans to *positive* where it reads little and to *negative* else."""
    words = str(request.body["messages"][-1]["content"]).removeprefix("Review: ").split()
    z = sum((word in GOOD) - (word in BAD) for word in words) + (2.5 if len(words) <= 4 else -2.5)
    shares = {"positive": 1 / (1 + math.exp(-z)), "negative": 1 / (1 + math.exp(z))}
    said = max(shares, key=shares.__getitem__)
    top = [{"token": label, "logprob": math.log(p)} for label, p in shares.items()]
    return completion(said, logprobs=[{"token": said, "logprob": math.log(shares[said]), "top_logprobs": top}])


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Path]]:
    """A server of that model, and a configuration with rows to tune on."""
    rng = random.Random(1)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with (tmp_path / "rows.jsonl").open("w") as out:
        for i in range(60):
            label, own = (("positive", GOOD), ("negative", BAD))[i % 2]
            words = rng.sample([*own, *NEITHER], k=12)
            out.write(json.dumps({"id": f"r{i}", "text": " ".join(words), "label": label}) + "\n")
    with serving(biased_by_length) as server:
        config = {
            **{"task": "sst2", "data": str(tmp_path / "rows.jsonl"), "model": "openai/m", "base_url": server.url},
            **{"method": "groups", "deterministic": True, "cache": str(tmp_path / "cache.sqlite")},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(config))
        yield server, path


def test_tune_fits_the_bias_of_each_length_and_its_file_is_used(
    study: tuple[Server, Path], tmp_path: Path, run_cli: Command
) -> None:
    server, path = study
    mine = tmp_path / "mine.yaml"
    command = ["tune", "--config", str(path), "--run-dir", str(tmp_path / "tune"), "--radius", "insert@1"]
    done = run_cli(*command, "--try", "count=3,5", "-o", mine, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    given = {row["calibration"]: [] for row in document["rows"]}
    for row in document["rows"]:
        given[row["calibration"]].append(row["proved"])
    assert {name: len(shares) for name, shares in given.items()} == {None: 2, "bias": 2, "bias, temperature": 2}
    assert document["best"]["calibration"] is not None
    assert document["best"]["proved"] > max(given[None]) + 0.2
    method = load_exact(str(mine))
    assert method is not None
    assert method.tuned is not None
    assert method.tuned["calibration"] == document["best"]["calibration"]
    assert method.bias[0].of["positive"] > 0.3
    assert method.bias[-1].of["positive"] < -0.3
    # The file is what the sub-texts are read with, and nothing is asked again.
    asked = len(server.requests)
    again = load_config(path, {"method": str(mine), "run_dir": tmp_path / "run"})
    assert evaluate(again, command=["clucert", "evaluate"]).done == 60
    assert len(server.requests) <= asked + 1  # which asks whose the cached answers are
    found = [record.document for record in read_records(tmp_path / "run")[0].values()]
    assert all(each["method"]["bias"] == found[0]["method"]["bias"] != [] for each in found)
    proved = [(each["derived"]["proved"]["insert"] or {"count": 0})["count"] >= 1 for each in found]
    assert sum(proved) / 60 >= document["best"]["proved"] - 0.1
