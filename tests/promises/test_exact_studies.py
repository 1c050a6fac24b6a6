"""A study of an exact method: its shares are those of certificates made one by one, and no record may be altered."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import clucert
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.errors import InputError, UsageError
from clucert.evaluate.radii import kind_of
from clucert.evaluate.read_certificates import read_any_run, read_run
from clucert.evaluate.run_directory import read_records
from clucert.report import check_gates, write_report
from clucert.report.comparison import compare
from clucert.report.runs import load_run, load_runs
from clucert.report.summary import read_summaries
from clucert.report.tables import radius_rows, summary_rows
from tests.commands import Command, refused

LABELS = ("good", "bad", "odd")
WORDS = ["fine", "warm", "dull", "slow", "plot", "cast", "one", "two", "story", "end", ",", "."]
METHODS: dict[str, dict[str, Any]] = {
    "groups": {},
    "blocks": {"count": 3},
    "chunks": {"every": 3},
    "windows": {"size": 3, "flag": ("bad",)},
    "erase-and-check": {"suffix": 3, "flag": ("bad", "odd")},
}


def classify(texts: list[str]) -> list[list[float]]:
    """Mostly by its words; a text's own hash decides the rest."""
    rows = []
    for text in texts:
        rng = random.Random(text)
        good = 0.2 + 0.4 * ("fine" in text or "warm" in text) + 0.2 * ("story" in text) + 0.2 * rng.random()
        rows.append([good, (1 - good) * 0.8, (1 - good) * 0.2])
    return rows


def data(folder: Path, rows: int = 40) -> Path:
    rng = random.Random(5)
    path = folder / "rows.jsonl"
    with path.open("w") as out:
        for i in range(rows):
            words = rng.choices(WORDS, k=rng.randint(1, 14)) + ["fine", "warm"] * rng.choice([0, 0, 3])
            label = "good" if "fine" in words else "bad"
            out.write(json.dumps({"id": f"r{i}", "text": " ".join(words), "label": label}) + "\n")
    return path


def study(folder: Path, method: str, name: str | None = None, function: Any = classify, **options: Any) -> Path:
    run = folder / (name or method)
    options = {"deterministic": True, **METHODS.get(method, {}), **options}
    done = clucert.evaluate_callable(
        function, options.pop("labels", LABELS), data(folder), run, method=method, **options
    )
    assert (done.done, done.failed, done.exit_code) == (done.total, 0, 0)
    return run


def is_right(gold: str, proof: Any, flag: Any) -> bool:
    return bool(proof.prediction == gold if flag is None else proof.certificate.is_flagged == (gold in flag))


@pytest.mark.parametrize("method", METHODS)
def test_the_certified_shares_are_those_of_certificates_made_one_by_one(method: str, tmp_path: Path) -> None:
    run = study(tmp_path, method)
    rows = [json.loads(line) for line in data(tmp_path).read_text().splitlines()]
    with clucert.smooth(classify, LABELS, method="ranmask", deterministic=True) as smoothed:
        proofs = [smoothed.prove(row["text"], [method], **METHODS[method])[0] for row in rows]
    stored = read_any_run(run, None, None)[1]
    for row, proof in zip(rows, proofs, strict=True):
        held = stored[row["id"]]
        assert isinstance(held, ExactCertificate)
        assert (held.proved, held.counts) == (proof.proved, proof.certificate.counts)
    (summary,) = read_summaries([run])
    right = [
        is_right(row["label"], proof, METHODS[method].get("flag")) for row, proof in zip(rows, proofs, strict=True)
    ]
    assert summary.clean.value == fmean(right)
    assert summary.usage.calls == sum(proof.certificate.questions for proof in proofs)
    claims = 0
    for threat in proofs[0].proved:
        radii = [proof.proved[threat] for proof in proofs]
        for delta in (1, 2, 3):
            certified = [ok and r is not None and r.reaches(delta) for ok, r in zip(right, radii, strict=True)]
            claims += sum(certified)
            assert summary.at(kind_of(threat), delta).value == fmean(certified)
        (row,) = [row for row in radius_rows(summary) if row["threat"] == kind_of(threat)]
        assert row["@1"] == summary.at(kind_of(threat), 1).value
        held = [ok and r is not None and r.reaches(1) for ok, r in zip(right, radii, strict=True)]
        golds = [row["label"] for row in rows]
        by_label = [fmean(h for h, g in zip(held, golds, strict=True) if g == label) for label in LABELS[:2]]
        assert row["balanced@1"] == pytest.approx(fmean(by_label))
        if not any(r is not None and r.endless for r in radii):
            counted = [r.words if ok and r is not None else 0 for ok, r in zip(right, radii, strict=True)]
            assert (row["mean"], row["median"]) == (pytest.approx(fmean(counted)), median(counted))
    assert claims > 3


def test_a_fitted_pipeline_is_evaluated_whatever_the_order_of_its_classes(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in data(tmp_path).read_text().splitlines()]
    texts = [row["text"] for row in rows]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for gold in ([row["label"] for row in rows], [LABELS.index(row["label"]) for row in rows]):
        pipeline.fit([*texts, "odd"], [*gold, "odd" if isinstance(gold[0], str) else 2])
        answers = pipeline.predict(texts)
        whole = study(tmp_path, "blocks", f"run-{gold[0]}", pipeline, count=1)
        found = [load.answer for load in sorted(load_run(whole).inputs, key=lambda row: int(row.id[1:]))]
        names = [str(a) if isinstance(a, str) else LABELS[int(a)] for a in answers]
        # One block is the whole text, tokens apart.
        assert sum(a == b for a, b in zip(found, names, strict=True)) >= 0.9 * len(names)
    with pytest.raises(InputError, match="its classes are"):
        study(tmp_path, "blocks", "no", pipeline, labels=("x", "y"))


def test_the_same_call_goes_on_and_another_method_is_another_run(tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(texts: list[str]) -> list[list[float]]:
        asked.extend(texts)
        return classify(texts)

    run = study(tmp_path, "groups", function=counted, limit=15)
    before = read_records(run)[0]
    asked.clear()
    study(tmp_path, "groups", function=counted, limit=15)
    assert not asked
    study(tmp_path, "groups", function=counted, limit=30)
    after = read_records(run)[0]
    assert asked
    assert {name: after[name] for name in before} == before
    for other in ({"count": 7}, {"hashes": 2}, {"scores": "hard"}):
        with pytest.raises(UsageError, match=next(iter(other))):
            study(tmp_path, "groups", function=counted, **other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deterministic": None}, "deterministic"),
        ({"mask_rate": "0.5"}, "--mask-rate"),
        ({"method": "ranmask", "count": 5}, "--count"),
        ({"method": "windows"}, "--flag"),
        ({"method": "windows", "flag": ("nothing",)}, "none of the labels"),
        ({"max_requests": 5}, "max_requests"),
        ({"task": "sst2"}, "labels of sst2"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"method": "groups", "deterministic": True} | options
    with pytest.raises((UsageError, InputError), match=said) as caught:
        clucert.evaluate_callable(classify, LABELS, data(tmp_path), tmp_path / "run", **given)
    assert "\n" not in str(caught.value)


def altered(document: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    copy = json.loads(json.dumps(document))
    change(copy)
    return dict(copy)


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "answers": lambda d: d["answers"].pop(),
    "vote": lambda d: d["answers"][0].update(vote="maybe"),
    "shares": lambda d: d["answers"][0].update(shares=[1.0, 1.0, 2.0]),
    "method.sharpness": lambda d: d["method"].update(sharpness=16),
    "example": lambda d: d.update(example="r2"),
    "labels": lambda d: d.update(labels=["good", "odd", "bad"]),
    "input": lambda d: d.update(text=d["text"] + " ", answers=d["answers"]),
    "those to the sub-texts": lambda d: d.update(text="other words"),
    "must be different": lambda d: d.update(labels=["good", "good", "odd"]),
    "cost": lambda d: d["cost"].update(samples=-5),
    "subject": lambda d: d.update(kind="sampled"),
}


@pytest.mark.parametrize("said", CHANGES)
@pytest.mark.parametrize("reader", [load_run, lambda run: read_any_run(run, None, None)])
def test_an_altered_record_is_refused_with_its_file_and_input(said: str, reader: Any, tmp_path: Path) -> None:
    run = study(tmp_path, "groups", limit=3)
    lines = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    lines[1]["document"] = altered(lines[1]["document"], CHANGES[said])
    # As records of earlier versions, or of an author who leaves the checksum out: the fields speak for themselves.
    lines[1]["checksum"] = None
    (run / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=rf"records\.jsonl, input 'r\d+': .*{said}") as caught:
        reader(run)
    assert "\n" not in str(caught.value)


def test_exact_and_sampled_runs_are_paired_row_by_row_and_by_threat(tmp_path: Path) -> None:
    names = ("blocks", "groups", "ranmask", "deletion")
    sampled = {"samples": 30, "certify_samples": 60}
    runs = [study(tmp_path, name, **(sampled if name in names[2:] else {})) for name in names]
    blocks, groups, ranmask, deletion = load_runs(runs)
    assert (blocks.kinds, ranmask.kinds) == (("word",), ("published", "word", "synonym"))
    assert groups.kinds == ("word", "insert", "delete", "move", "edit")
    assert deletion.kinds == ("word", "insert", "delete", "edit")
    for threat in ("replace", "word"):
        found = compare([blocks, ranmask], kind=threat)
        assert found.kind == "word"
        (test,) = [t for t in found.others[0].result.certified if t.delta == 1]
        held = [
            tuple(o.answer == o.gold and (r := o.radii["word"]) is not None and r.reaches(1) for o in pair)
            for pair in zip(blocks.inputs, ranmask.inputs, strict=True)
        ]
        assert (test.first_only, test.second_only) == (held.count((True, False)), held.count((False, True)))
        assert found.others[0].units == ("tokens", "words")
    assert compare([blocks, ranmask]).kind == "word"
    assert compare([groups, deletion], kind="insert").others[0].result.pairs == 40
    beside = compare([groups, deletion], kind="insert").others[0].beside
    assert set(beside) == {"word", "delete", "edit"}
    # What a method does not speak of is certified nowhere, and that is said.
    none = compare([groups, ranmask], kind="insert")
    assert all(test.second_only == test.both == 0 for test in none.others[0].result.certified)
    assert any("ranmask has no such radius" in note for note in none.notes)
    with pytest.raises(InputError, match="different radii"):
        compare(load_runs([runs[0], study(tmp_path, "chunks")]))


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"group": [["bad", "odd"]]}, ("good", "bad+odd")),
        ({"flag": ["bad", "odd"], "flag_threshold": "0.4"}, ("good", "bad+odd")),
        ({"flag": ["bad"], "at_least": 2}, ("not bad", "bad")),
    ],
)
def test_flags_and_groups_are_judged_by_the_class_of_the_gold_label(
    options: dict[str, Any], labels: tuple[str, ...], tmp_path: Path
) -> None:
    run = load_run(study(tmp_path, "groups", **options))
    assert run.labels == labels
    golds = {json.loads(line)["id"]: json.loads(line)["label"] for line in data(tmp_path).read_text().splitlines()}
    (summary,) = read_summaries([tmp_path / "groups"])
    # Of a label that is merged, right is whoever names the class: all bad rows are in the class that holds "bad".
    bad = labels[1]
    wanted = [(bad if golds[row.id] == "bad" else labels[0]) == row.answer for row in run.inputs]
    assert summary.clean.value == fmean(wanted)
    assert {row.gold for row in run.inputs} <= set(labels)


def test_gates_go_by_threat(tmp_path: Path) -> None:
    run = study(tmp_path, "groups")
    (summary,) = read_summaries([run])
    share = summary.at("insert", 1).value
    assert 0 < share < 1
    gates = [
        f"certified-insert@1>={share - 0.01}",
        f"proved-insert@1={share + 0.01}",
        "proved-replace@0>=0.1",
        "proved-synonym@1=0",
    ]
    results = check_gates([run], gates)
    assert [r.passed for r in results] == [True, False, True, True]
    assert check_gates([run], ["certified-suffix@1>=0.01"])[0].value == 0
    with pytest.raises(UsageError, match="certified-insert"):
        check_gates([run], ["certified-insrt@1=0.5"])


def test_the_page_has_a_column_for_each_threat_of_any_run(tmp_path: Path) -> None:
    runs = [study(tmp_path, "groups"), study(tmp_path, "ranmask", samples=30, certify_samples=60)]
    page = write_report(runs, tmp_path / "r.html").read_text()
    embedded = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert [kind["key"] for kind in embedded["kinds"]] == ["word", "synonym", "insert", "delete", "move", "edit"]
    assert embedded["published"]
    for title in ("Proved, inserted anywhere", "Proved, deleted", "Proved, moved", "Published radius"):
        assert f"<figcaption>{title}" in page
    exact, sampled = embedded["runs"]
    assert set(exact["inputs"][0]["proved"]) == {"word", "insert", "delete", "move", "edit"}
    assert set(sampled["inputs"][0]["proved"]) == {"word", "synonym"}
    alone = write_report(runs[:1], tmp_path / "r.html").read_text()
    assert "Published radius" not in alone
    assert "every sub-text was asked" in alone
    assert "100% probability" not in alone
    columns = [set(row) for row in summary_rows(read_summaries(runs))]
    assert columns[0] == columns[1] >= {"certacc@1", "proved_insert@1", "proved_insert_mean", "proved_word@1"}
    assert not {"certacc@1", "proved_synonym@1"} & set(summary_rows(read_summaries(runs[:1]))[0])


def test_whoever_needs_samples_says_that_a_run_has_none(tmp_path: Path, run_cli: Command) -> None:
    run = study(tmp_path, "groups", limit=3)
    with pytest.raises(UsageError, match="exact certificates"):
        read_run(run, None, None)
    for command in (["audit"], ["attack", "--certificates"]):
        refused(run_cli(*command, run), 2)
    config, certificates = read_any_run(run, 2, None)
    assert (config.method, list(certificates)) == ("groups", ["r0", "r1"])
    first = certificates["r0"]
    assert isinstance(first, ExactCertificate)
    again = ExactSmoother(first.settings, first.labels)
    assert again.cut(first.text).asked == tuple(shown.text for shown in first.answers)
