"""A stored certificate that nobody could have written is refused, by every reader, in one line that names the field."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clucert
from clucert import certificate_json as document
from clucert.audit.result import read_audit
from clucert.errors import InputError
from clucert.evaluate.read_certificates import read_run
from clucert.report.runs import load_run

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "certificate.json").read_text())
READ = ("subject", "settings", "labels", "selection", "readings", "exhaustive", "overlaps", "notes", "samples", "cost")
NULLABLE = {
    "settings.seed",
    *("settings.threshold", "settings.refine_length", "settings.lexicon", "settings.encoder", "settings.perturbation"),
    *("settings.base.base_url", "settings.base.reader", "samples.1.vote", "samples.0.vote", "ballots"),
    *(f"subject.protected.{i}" for i in range(4)),
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    else:
        yield path


PATHS = [path for name in READ for path in leaves(GOLDEN[name], (name,))]


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    fields = copy.deepcopy(GOLDEN)
    place = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return fields


def at(path: tuple[Any, ...]) -> Any:
    value = GOLDEN
    for key in path:
        value = value[key]
    return value


def refused(fields: Any, tmp_path: Path) -> str:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(fields))
    with pytest.raises(InputError) as caught:
        clucert.load(file)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(map(str, path)))
def test_no_field_may_be_a_number_that_is_none_or_of_another_kind(path, tmp_path):
    name = ".".join(map(str, path))
    wrong: list[Any] = [math.nan, math.inf, -math.inf, {"x": 1}, [[1]]]
    was = at(path)
    if name not in NULLABLE:
        wrong.append(None)
    if isinstance(was, int | float) and not isinstance(was, bool):
        wrong += ["1", True] + [-1] * (name != "settings.threshold")
    if isinstance(was, str):
        wrong += [1, 0.5]
    if isinstance(was, bool):
        wrong += [0, 1, "true"]
    for value in wrong:
        said = refused(changed(path, value), tmp_path)
        # Two fields that contradict each other are named by either.
        assert path[0] in said, (value, said)


@pytest.mark.parametrize("name", READ[:-1])
def test_no_part_may_be_missing(name, tmp_path):
    fields = {key: value for key, value in GOLDEN.items() if key != name}
    assert name in refused(fields, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("settings", "gamma"), None, "settings.gamma"),
        (("settings", "gamma"), 1.5, "settings.gamma: must be 0 to 1"),
        (("settings", "gamma"), -0.1, "settings.gamma"),
        (("settings", "alpha"), 0, "settings.alpha"),
        (("settings", "alpha"), 1, "settings.alpha"),
        (("settings", "mask_rate"), "1", "settings.mask_rate"),
        (("settings", "mask_rate"), "1e999999999", "settings.mask_rate"),
        (("settings", "mask_rate"), "1/0", "settings.mask_rate"),
        (("settings", "mask_rate"), 0.9, "settings.mask_rate"),
        (("settings", "gama"), 1.0, "settings.gama"),
        (("settings", "recoveries"), 0, "settings.recoveries"),
        (("settings", "recovery"), 3, "settings.recovery"),
        (("settings", "retained_kernel"), "none", "settings.retained_kernel"),
        (("settings", "looks"), [], "readings"),
        (("settings", "looks"), [{"samples": 1000, "share": "3/2"}], "shares"),
        (("settings", "looks"), [{"samples": 1000, "share": "1/2"}, {"samples": 900, "share": "1/2"}], "grow"),
        (("settings", "looks"), [{"samples": 1000, "share": "2/3"}, {"samples": 2000, "share": "2/3"}], "shares"),
        (("settings", "looks"), [{"samples": 999, "share": "1"}], "readings"),
        (("settings", "predict_samples"), 50, "selection"),
        (("settings", "base", "models"), [], "settings.base.models"),
        (("subject", "retained"), 0, "subject.retained"),
        (("subject", "retained"), 5, "subject.retained"),
        (("subject", "attackable"), [True] * 3, "subject.attackable"),
        (("subject", "protected"), [None] * 5, "subject.protected"),
        (("subject", "positions"), [0, 1, 2], "subject.positions"),
        (("subject", "positions"), [0, 2, 1, 3], "subject.positions"),
        (("subject", "positions"), [0, 1, 2, 4], "subject.positions"),
        (("subject", "domain"), "both", "subject.domain"),
        (("labels",), ["positive"], "labels"),
        (("labels",), ["positive", "positive"], "labels"),
        (("labels",), ["positive", "other"], "'negative' is none of the labels"),
        (("readings", 0, "counts", "maybe"), 0, "'maybe' is none of the labels"),
        (("selection", "drawn"), 99, "selection.drawn"),
        (("overlaps", "word", "masked"), ["1"] * 5, "overlaps.word.masked"),
        (("overlaps", "word", "masked"), ["2"], "overlaps.word"),
        (("overlaps", "word", "retained"), "-1", "overlaps.word.retained"),
        (("exhaustive",), True, "retention sets"),
        (("schema_version",), "1", "schema_version"),
        (("cost", "samples"), -1, "cost"),
    ],
)
def test_what_contradicts_itself_is_refused(path, value, said, tmp_path):
    assert said in refused(changed(path, value), tmp_path)


def test_cumulative_counts_do_not_shrink(tmp_path):
    fields = changed(("settings", "looks"), [{"samples": 1000, "share": "1/2"}, {"samples": 1010, "share": "1/2"}])
    more = {"counts": {"positive": 880, "negative": 60}, "unparsed": 10, "dropped": 60, "drawn": 1010}
    fields["readings"].append(more)
    assert "readings" in refused(fields, tmp_path)
    more["counts"] = {"positive": 905, "negative": 35}
    assert document.read(fields)[0].certificate.estimation.drawn == 1010


def test_votes_that_do_not_add_up_to_the_counts_are_refused(tmp_path):
    smoothed = clucert.smooth(lambda texts: ["a"] * len(texts), ["a", "b"], samples=50, certify_samples=100)
    written = json.loads(json.dumps(smoothed.certify("A short but good story about friends").document()))
    file = tmp_path / "good.json"
    file.write_text(json.dumps(written))
    assert clucert.load(file).certificate.vote_records
    reading = written["readings"][-1]
    reading["counts"] = {"a": reading["counts"]["a"] - 1, "b": 1}
    assert "ballots" in refused(written, tmp_path)


@pytest.mark.parametrize(
    "nonsense", ["[" * 100_000, "null", "[]", "3", '"x"', "{}", "", "NaN", '{"schema_version": NaN}']
)
def test_what_is_no_document_is_refused(nonsense, tmp_path):
    file = tmp_path / "c.json"
    file.write_text(nonsense)
    with pytest.raises(InputError, match="certificate") as caught:
        clucert.load(file)
    assert "\n" not in str(caught.value)


def a_run(folder: Path, record: dict[str, Any], **manifest: Any) -> Path:
    fields = {
        "clucert_version": "0",
        "created": "",
        "command": [],
        "config": {"task": "sst2"},
        "task": "sst2",
        "labels": ["positive", "negative"],
        "method": "ranmask",
        "parameters": {},
        "model": ["smollm2"],
        "data": {"path": "", "sha256": "", "rows": 1},
        "seed": 0,
        "versions": {},
    }
    (folder / "manifest.json").write_text(json.dumps(fields | manifest))
    (folder / "records.jsonl").write_text(json.dumps({"id": "r1", "status": "done", "input": "x"} | record) + "\n")
    return folder


@pytest.mark.parametrize("reader", [load_run, lambda run: read_run(run, None, None)])
def test_readers_of_runs_refuse_it_too_and_name_the_file_and_the_field(reader, tmp_path):
    run = a_run(tmp_path, {"document": changed(("settings", "gamma"), None)})
    with pytest.raises(InputError, match=r"records\.jsonl, input 'r1': .*settings\.gamma") as caught:
        reader(run)
    assert "\n" not in str(caught.value)
    for record, said in (
        ({"document": GOLDEN, "reused": {"calls": -1}}, "reused.calls"),
        ({"document": None}, "no document"),
        ({"document": GOLDEN, "status": "perhaps"}, "status"),
    ):
        with pytest.raises(InputError, match=rf"records\.jsonl:1 is damaged: .*{said}"):
            reader(a_run(tmp_path, record))
    with pytest.raises(InputError, match=r"manifest\.json is damaged: data\.rows"):
        reader(a_run(tmp_path, {"document": GOLDEN}, data={"path": "", "sha256": "", "rows": -1}))


def test_an_audit_that_says_more_broke_than_was_tried_is_refused(tmp_path):
    row = {"radius": "proved", "threat": "word", "tried": 1, "broken": 0, "share": 0.0, "low": 0.0, "high": 0.9}
    stored = {"schema_version": 1, "alpha": 0.05, "certified": 1, "rows": [row | {"texts": 3}], "attempts": []}
    stored["failed"] = {}
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(stored))
    assert read_audit(tmp_path) is not None
    for name, value in (("broken", 2), ("tried", -1), ("share", math.nan), ("share", 2), ("texts", "3")):
        file.write_text(json.dumps(stored | {"rows": [row | {"texts": 3} | {name: value}]}))
        with pytest.raises(InputError, match=r"audit\.json is no audit \(rows\.0"):
            read_audit(tmp_path)
