"""The Python functions: their typed options, objects as models, and what notebooks and data frames are given."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scripts import write_options
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import clucert
from clucert import notebook
from clucert.config import Config
from clucert.core.explanation import proved_in_words
from clucert.errors import CluCertError, InputError, UnknownNameError, UsageError
from clucert.evaluate.runconfig import StudyConfig
from clucert.methods.exact import ExactConfig
from clucert.report.comparison import comparison_verdict
from clucert.report.summary import read_summaries
from clucert.runtime import blocking

LABELS = ["spam", "ham"]
ROWS = [("win a win or win a win", "spam"), ("see you at noon dear friend", "ham"), ("win or see you there", "ham")]


def spam(text: str) -> str:
    return "spam" if "win" in text else "ham"


async def awaited(texts: list[str]) -> list[str]:
    return list(map(spam, texts))


# Options


def test_the_typed_options_are_those_of_the_sections() -> None:
    """So that no option is missing, misspelled or of another type for a type checker."""
    made = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(write_options.FILE), "-"],
        input=write_options.made(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made == write_options.FILE.read_text(encoding="utf-8"), "write it again: python scripts/write_options.py"


@pytest.mark.parametrize(
    ("function", "config", "own"),
    [
        (clucert.certify, ExactConfig, {"text"}),
        (clucert.open_session, Config, set()),
        (clucert.open_gate, ExactConfig, {"classify", "max_calls"}),
        (clucert.smooth, Config, {"classify", "labels"}),
        (clucert.evaluate, StudyConfig, {"data", "progress"}),
        (
            clucert.attack,
            StudyConfig,
            {"data", "progress", "recipe", "defence", "certificates", "max_queries", "suffix_file", "attack_form"},
        ),
    ],
)
def test_a_console_completes_every_option_by_the_name_of_its_flag(function: Any, config: Any, own: set[str]) -> None:
    names = set(inspect.signature(function).parameters)
    left_out = {"model", "labels"} if function is clucert.smooth else set()
    assert names == (set(config.model_fields) - left_out) | own


def test_an_option_that_is_misspelled_is_met_with_the_nearest(tmp_path: Path) -> None:
    calls: list[Any] = [
        lambda **o: clucert.certify("a", model=spam, labels=LABELS, **o),
        lambda **o: clucert.smooth(spam, LABELS, **o),
        lambda **o: clucert.evaluate(data=ROWS, model=spam, labels=LABELS, run_dir=tmp_path / "r", **o),
        lambda **o: clucert.attack(data=ROWS, model=spam, labels=LABELS, run_dir=tmp_path / "r", **o),
        clucert.open_guard,
    ]
    for call in calls:
        with pytest.raises(UsageError, match="did you mean alpha"):
            call(alpa=0.1)
    with pytest.raises(UsageError, match="did you mean defence"):
        clucert.attack(data=ROWS, model=spam, labels=LABELS, run_dir=tmp_path / "r", defense="none")  # type: ignore[call-arg]
    with pytest.raises(UnknownNameError, match="did you mean 'suffix'"):
        clucert.attack(data=ROWS, model=spam, labels=LABELS, run_dir=tmp_path / "r", attack_form="sufix")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean confirm"):
        clucert.audit(tmp_path, confrm=3)
    with pytest.raises(TypeError):
        clucert.evaluate("data.csv")


@pytest.mark.parametrize("wrong", [{"samples": 10}, {"alpha": 0.01}, {"mask_rate": 0.5}, {"seed": 1}])
def test_an_exact_method_refuses_what_is_of_samples_as_the_command_line_does(wrong: Any, tmp_path: Path) -> None:
    """What is not read would seem to have been: `alpha=0.01` beside a method that has no α."""
    asked: dict[str, Any] = {"labels": LABELS, "method": "blocks", "deterministic": True, **wrong}
    calls: list[Any] = [
        lambda: clucert.certify("a", model=spam, **asked),
        lambda: clucert.evaluate(data=ROWS, model=spam, run_dir=tmp_path / "r", **asked),
        lambda: clucert.evaluate_callable(spam, data="rows.csv", run_dir=tmp_path / "r", **asked),
        lambda: clucert.open_gate(spam, flag="spam", canonical=[], **asked),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="goes with methods that sample, which blocks does not: leave it out"):
            call()


def test_a_seed_chooses_rows_for_an_exact_method_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": spam, "labels": LABELS, "deterministic": True, "method": "blocks"}
    assert clucert.evaluate(data=ROWS, sample=2, seed=1, run_dir=tmp_path / "run", **options).done == 2


def test_a_text_too_long_to_sample_has_a_method_that_reads_it() -> None:
    options: dict[str, Any] = {"model": spam, "labels": LABELS, "deterministic": True}
    with pytest.raises(InputError, match="5,000 of a method that samples: take --method blocks"):
        clucert.certify("win " * 5_001, method="ranmask", **options)
    assert clucert.certify("win " * 5_001, method="blocks", **options).proved["replace"]


def test_names_of_functions_are_callable_whatever_was_imported_first() -> None:
    code = (
        "import clucert.evaluate.study, clucert.audit.run; print(callable(clucert.evaluate), callable(clucert.audit))"
    )
    for first in ("", "import clucert; clucert.evaluate, clucert.audit; "):
        done = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["True", "True"]
    assert clucert.__version__.count(".") == 2


# Objects as models


def certify(**options: Any) -> Any:
    return clucert.certify(ROWS[0][0], **{"model": spam, "labels": LABELS, "deterministic": True, **options})


def test_certify_gives_what_the_command_line_gives() -> None:
    found = certify()
    assert found.prediction == "spam"
    assert [each.method.name for each in found.exact] == ["blocks", "groups"]
    assert "blocks" in str(found)
    assert [each["kind"] for each in found.document()["exact"]] == ["exact", "exact"]
    assert certify(method="blocks").proved["replace"] is not None
    assert certify(deterministic=None).exact == ()
    with pytest.raises(UsageError, match="deterministic=True"):
        certify(method="blocks", deterministic=None)
    assert certify(model=[spam, awaited], method="blocks").prediction == "spam"


def test_a_function_that_says_it_is_deterministic_is_believed_however_it_is_passed(tmp_path: Path) -> None:
    def vouched(text: str) -> str:
        return spam(text)

    vouched.deterministic = True  # type: ignore[attr-defined]
    asked: dict[str, Any] = {"labels": LABELS, "method": "blocks"}
    assert clucert.certify("win win win", model=vouched, **asked).prediction == "spam"
    runs = [tmp_path / "a", tmp_path / "b"]
    assert clucert.evaluate(model=vouched, data=ROWS, run_dir=runs[0], **asked).done == 3
    data = tmp_path / "rows.csv"
    pd.DataFrame(ROWS, columns=["text", "label"]).to_csv(data, index=False)
    assert clucert.evaluate_callable(vouched, data=data, run_dir=runs[1], **asked).done == 3
    for run in runs:  # It is somebody's word, and no certificate calls it knowledge.
        (summary,) = read_summaries([run])
        assert summary.taken == " but that equal texts get equal answers (declared)"
    smoothed = clucert.smooth(vouched, LABELS, method="deletion", samples=20, certify_samples=200)
    assert smoothed.prove("win win win", ["groups"])[0].prediction == "spam"
    certified = smoothed.certify("win " * 12)
    assert certified.cost.total.calls < 220
    proved = [each for each in certified.certificate.proved.items() if each[1] is not None]
    said = [proved_in_words(certified.certificate, *each)[1] for each in proved]
    assert said
    assert all("no assumption but that equal texts get equal answers (declared)" in each for each in said)
    for call in (
        clucert.certify,
        lambda text, model, **o: clucert.smooth(model, LABELS, deterministic=False).prove(text),
    ):
        with pytest.raises(UsageError, match="equal answers"):
            call("win win win", model=vouched, **asked, deterministic=False)


def test_a_threshold_beside_a_flag_is_that_of_the_flag_as_on_the_command_line() -> None:
    found = certify(method="deletion", flag=["spam"], threshold=0.1)
    assert float(found.certificate.settings.flag.share) == 0.1


def test_a_study_of_an_object_goes_on_is_audited_and_attacked(tmp_path: Path) -> None:
    seen: list[str] = []

    def classify(text: str) -> str:
        seen.append(text)
        return spam(text)

    options: dict[str, Any] = {"model": classify, "labels": LABELS, "deterministic": True, "method": "blocks"}
    run = clucert.evaluate(data=ROWS, run_dir=tmp_path / "run", **options)
    assert (run.done, run.failed) == (3, 0)
    seen.clear()
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    assert clucert.evaluate(data=frame, run_dir=tmp_path / "run", **options).new == 0
    assert not seen
    with pytest.raises(UsageError, match="only Python"):
        clucert.audit(tmp_path / "run")
    (row,) = clucert.audit(tmp_path / "run", model=classify, texts=20).rows()
    assert row["broken"] == 0
    assert row["tried"] > 0
    with pytest.raises(UsageError, match="and not that"):
        clucert.audit(tmp_path / "run", model=spam)
    report = clucert.attack(
        data=ROWS, run_dir=tmp_path / "attack", recipe="deepwordbug", defence=["none", "blocks"], **options
    )
    assert {row.defence for row in report.rows} == {"none", "blocks"}
    with pytest.raises(UsageError, match="its alpha"):
        clucert.attack(certificates=tmp_path / "run", model=classify, alpha=0.1)
    for unread in ({"junit": "x.xml"}, {"fail_under": "clean=1"}, {"batch": True}, {"show_samples": 1}):
        with pytest.raises(UsageError, match=f"do not read {next(iter(unread))}: leave it out"):
            clucert.attack(data=ROWS, run_dir=tmp_path / "no", **options, **unread)


def test_a_refused_call_leaves_a_run_its_rows_and_its_advice_can_be_followed_in_place(tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": spam, "labels": LABELS, "method": "blocks", "run_dir": tmp_path / "run"}
    with pytest.raises(UsageError, match="deterministic=True"):
        clucert.evaluate(data=ROWS, **options)
    assert clucert.evaluate(data=ROWS, deterministic=True, **options).done == 3
    rows = (tmp_path / "run" / "data.jsonl").read_bytes()
    for other in ([("another text here", "ham")], ROWS[::-1]):
        with pytest.raises(UsageError, match="holds another run"):
            clucert.evaluate(data=other, deterministic=True, count=3, **options)
        assert (tmp_path / "run" / "data.jsonl").read_bytes() == rows
    assert clucert.evaluate(data=ROWS, deterministic=True, **options).new == 0


def test_suffixes_of_a_file_attack_from_python_too(tmp_path: Path) -> None:
    (tmp_path / "suffixes.txt").write_text("or win\n")
    report = clucert.attack(
        data=[("see you at noon", "ham")],
        model=spam,
        labels=LABELS,
        deterministic=True,
        recipe="suffix",
        defence="none",
        suffix_file=tmp_path / "suffixes.txt",
        attack_form="suffix",
        run_dir=tmp_path / "attack",
    )
    assert report.rows[0].document()["successes"] == 1


def test_a_study_runs_where_a_loop_runs_already_as_in_a_notebook(tmp_path: Path) -> None:
    async def cell() -> Any:
        return clucert.evaluate(
            data=ROWS, model=spam, labels=LABELS, deterministic=True, method="blocks", run_dir=tmp_path / "run"
        )

    assert asyncio.run(cell()).done == 3


def test_an_object_does_not_travel_to_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="python:FILE"):
        clucert.evaluate(data=ROWS, model=spam, labels=LABELS, run_dir=tmp_path / "run", engine="ray")


@pytest.mark.parametrize("data", [[1], [("a", "b", "c")], [None]])
def test_rows_that_are_none_are_told(data: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 0"):
        clucert.evaluate(data=data, model=spam, labels=LABELS, run_dir=tmp_path / "run")


def test_a_guard_around_a_function_that_answers() -> None:
    def answer(prompt: str) -> str:
        return "Sorry, I cannot help with that." if "bomb" in prompt else "Sure, here you are."

    with clucert.open_guard(model=answer, deterministic=True, method="ranmask") as guard:
        assert guard.respond("bake bread with me please").answer.text == "Sure, here you are."
    names = set(inspect.signature(clucert.open_guard).parameters)
    assert names == set(Config.model_fields) | {"detector", "policy"}


def test_labels_of_an_object_are_its_own() -> None:
    class Model:
        labels = ("ham", "spam")

        def __call__(self, text: str) -> int:
            return int("win" in text)

    assert certify(model=Model(), labels=None).prediction == "spam"
    with pytest.raises(UsageError, match="labels="):
        certify(labels=None)


# Votes


@pytest.mark.parametrize("method", ["ranmask", "clucert-no-refine", "deletion", "smoothllm", "clucert"])
def test_the_votes_hold_the_texts_that_were_asked_about(method: str) -> None:
    seen: list[str] = []

    def said(text: str) -> str:
        return "ham" if "old" in text and "big" in text and "now" not in text else "spam"

    def classify(texts: list[str]) -> list[str]:
        seen.extend(texts)
        return list(map(said, texts))

    text = "win a big prize now , my good old friend"
    found = clucert.certify(
        text, model=classify, labels=LABELS, method=method, samples=15, certify_samples=25, sampling="fixed"
    )
    rows = found.votes()
    kept = [row for row in rows if row["kept"]]
    assert len(rows) == 40
    assert sorted(row["text"] for row in kept if row["text"]) == sorted(seen)
    assert all(row["vote"] == said(row["text"]) for row in kept if row["text"])
    assert found.to_pandas()["vote"].fillna("").tolist() == [row["vote"] or "" for row in rows]


def test_votes_of_secret_noise_hold_no_texts() -> None:
    from dataclasses import replace

    found = certify(method="ranmask", samples=5, certify_samples=5)
    secret = replace(found.certificate, settings=replace(found.certificate.settings, seed=None))
    assert {row["text"] for row in replace(found, certificate=secret).votes()} == {None}
    other = replace(found.certificate, settings=replace(found.certificate.settings, seed=1))
    assert {row["text"] for row in replace(found, certificate=other).votes()} == {None}


@pytest.mark.parametrize("method", ["blocks", "groups", "chunks"])
def test_the_votes_of_an_exact_certificate_say_what_each_sub_text_kept(method: str) -> None:
    found = certify(method=method)
    words = ROWS[0][0].split()
    for row in found.votes():
        assert row["text"].split() == [words[i] for i in row["retained"]]
        assert row["vote"] == (spam(row["text"]) if row["text"] else None)
    assert len(found.to_pandas()) == sum(len(part) for part in found.certificate.partitions)


def test_a_run_is_a_frame_of_inputs_and_of_votes(tmp_path: Path) -> None:
    run = clucert.evaluate(
        data=ROWS, model=spam, labels=LABELS, deterministic=True, method="blocks", run_dir=tmp_path / "run"
    )
    frame, votes = run.to_pandas(), run.votes()
    assert frame["gold"].tolist() == [label for _, label in ROWS]
    assert frame["right"].tolist() == (frame["answer"] == frame["gold"]).tolist()
    assert set(votes["id"]) == set(frame["id"])
    html = run._repr_html_()
    share = f"{(frame['right'] & (frame['proved_replace'] >= 1)).mean():.3f}"
    old = clucert.load_run(run.run_dir)
    for said in (html, str(run), old._repr_html_(), str(old)):
        assert "3 of 3 rows certified" in said
        assert share in said
    assert [line.split()[0] for line in str(old).splitlines()] == ["3", "threat", "replace,"]
    assert (old.done, old.new, old.spent.calls, len(old.to_pandas())) == (3, 0, 0, 3)
    assert repr(old) == f"<RunSummary: 3 of 3 rows certified in {run.run_dir}>"
    with pytest.raises(InputError, match="no run directory"):
        clucert.load_run(tmp_path)
    with pytest.raises(InputError, match="load_run reads a run"):
        clucert.load(run.run_dir)


def test_runs_are_compared_and_audited_as_they_were_returned(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": ROWS, "model": spam, "labels": LABELS, "deterministic": True}
    first, second = (
        clucert.evaluate(method=method, run_dir=tmp_path / method, **options) for method in ("blocks", "groups")
    )
    found = clucert.compare(first, second)
    assert comparison_verdict(found) in repr(found)
    assert comparison_verdict(found) in str(found)
    assert len(found.to_pandas()) == len(found.rows())
    assert clucert.compare(first.run_dir, str(second.run_dir), radius="replace").document() == found.document()
    with pytest.raises(UnknownNameError, match="did you mean 'replace'"):
        clucert.compare(first, second, radius="replce")
    with pytest.raises(UsageError, match="two run directories"):
        clucert.compare(first)
    audit = clucert.audit(first, model=spam, texts=20)
    attacked = clucert.attack(certificates=first, model=spam, recipe="deepwordbug", max_queries=5)
    report = clucert.attack(recipe="deepwordbug", defence="none", run_dir=tmp_path / "attack", **options)
    with pytest.raises(InputError, match="holds no certificates"):
        clucert.load_run(tmp_path / "attack")
    for shown in (audit, attacked, report):
        said, rows, _ = shown.shown()
        assert repr(shown) == f"<{type(shown).__name__}: {said}>"
        assert all(str(name) in shown._repr_html_() for name in rows[0])


def test_gates_are_read_before_anything_is_asked_and_what_they_say_is_shown(tmp_path: Path) -> None:
    asked: list[str] = []

    def classify(text: str) -> str:
        asked.append(text)
        return spam(text)

    options: dict[str, Any] = {"data": ROWS, "model": classify, "labels": LABELS, "deterministic": True}
    options |= {"method": "blocks", "run_dir": tmp_path / "run"}
    with pytest.raises(UsageError, match="provd"):
        clucert.evaluate(fail_under="provd@1=0.5", **options)
    assert not asked
    run = clucert.evaluate(fail_under=["clean=0.1", "proved-replace@3=1"], **options)
    said = str(run)
    assert "passed  clean>=0.1" in said or "passed  clean=0.1" in said
    assert "FAILED  proved-replace@3" in run._repr_html_()
    files = tmp_path / "junit.xml", tmp_path / "clucert.sarif"
    clucert.evaluate(fail_under="proved-replace@3=1", junit=files[0], sarif=files[1], **options)
    assert "proved-replace@3" in files[0].read_text()
    assert json.loads(files[1].read_text())["version"] == "2.1.0"


def test_what_is_missing_in_a_data_frame_is_missing_and_no_number(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["text", "label"], dtype=object)
    frame["when"], frame["odd"] = pd.Timestamp("2024-01-01"), [pd.NA, pd.NaT, float("nan")]
    options: dict[str, Any] = {"model": spam, "labels": LABELS, "deterministic": True, "method": "blocks"}
    assert clucert.evaluate(data=frame, run_dir=tmp_path / "whole", **options).done == 3
    assert clucert.evaluate(data=frame[["text", "label"]].to_numpy(), run_dir=tmp_path / "array", **options).done == 3
    frame.loc[1, "label"] = float("nan")
    run = clucert.evaluate(data=frame, run_dir=tmp_path / "unlabelled", **options)
    assert run.done == 3
    assert "1 of 3 rows have no label" in run.notes[0]
    frame.loc[0, "text"] = float("nan")
    with pytest.raises(InputError, match=r"data.jsonl:1: 'text' is missing"):
        clucert.evaluate(data=frame, run_dir=tmp_path / "textless", **options)
    with pytest.raises(InputError, match="no rows"):
        clucert.evaluate(data=frame.iloc[:0], run_dir=tmp_path / "empty", **options)


# Notebooks


NASTY = "win <script>alert(1)</script> & \u202e\x1b[31m win"


def test_a_notebook_shows_the_users_own_lines_and_one_of_ours() -> None:
    def classify(text: str) -> str:
        raise LookupError("my own mistake")

    with pytest.raises(CluCertError) as caught:
        certify(model=classify, method="blocks")
    shown = caught.value._render_traceback_()
    files = {line.split('"')[1] for line in shown if line.startswith("  File ")}
    assert files == {__file__}
    assert 'raise LookupError("my own mistake")' in "\n".join(shown)
    assert shown[-1].endswith(str(caught.value))
    with pytest.raises(UsageError) as wrong:
        certify(methd="blocks")
    assert len(wrong.value._render_traceback_()) < 12
    assert wrong.value._render_traceback_()[-1].endswith("did you mean method or timeout?")


def test_what_is_opened_says_in_one_line_what_it_is() -> None:
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression())
    with pytest.raises(UsageError, match="is not fitted"):
        clucert.smooth(pipeline)
    with pytest.raises(UsageError, match="is not fitted"):
        clucert.certify("win", model=pipeline, method="blocks")
    pipeline.fit([text for text, _ in ROWS], [label for _, label in ROWS])
    with clucert.smooth(pipeline, method="ranmask", deterministic=True) as smoothed:
        assert repr(smoothed) == "<SmoothedClassifier ranmask(Pipeline): ham, spam>"
        assert [each.method.name for each in smoothed.prove(ROWS[0][0], "blocks")] == ["blocks"]
        with pytest.raises(UsageError, match="did you mean count"):
            smoothed.prove(ROWS[0][0], cuont=3)
        for text in (None, float("nan"), b"win", "half \ud800"):
            for call in (smoothed.certify, smoothed.prove, lambda t: certify_of(t, pipeline)):
                with pytest.raises(InputError, match=r"a text to certify is a str|not valid Unicode"):
                    call(text)
    gates = [{"classify": pipeline}, {"model": pipeline}, {"classify": spam, "labels": LABELS}]
    for gate in gates:
        with clucert.open_gate(**gate, flag="spam", method="groups", canonical=[], deterministic=True) as opened:
            name = "spam" if gate.get("classify") is spam else "Pipeline"
            assert repr(opened) == f"<TextGate groups({name}), flags spam>"
            verdict = opened.check(ROWS[0][0])
            assert repr(verdict) == f"<Verdict: {verdict.in_words()}>"
            with pytest.raises(InputError, match="NoneType"):
                opened.check(None)
    with clucert.open_guard(model=spam, method="ranmask", samples=5, certify_samples=5, deterministic=True) as guard:
        assert repr(guard) == "<SmoothedModel ranmask(spam)>"
        assert len(repr(guard.respond("win <b> win"))) < 250


@pytest.mark.parametrize("how", ["dropped", "at the end of the process"])
def test_what_was_never_closed_ends_without_a_word(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """As `clucert.open_guard(…).respond(…)` in a cell of a notebook, or in a script."""
    guard = clucert.open_guard(model=spam, method="ranmask", samples=5, certify_samples=5, deterministic=True)
    guard.respond("win or lose")
    workers = list(guard._asks[0]._workers)
    assert workers
    assert not any(worker.done() for worker in workers)
    if how == "dropped":
        del guard
        gc.collect()
    else:
        blocking.end()
    for _ in range(500):
        if all(worker.done() for worker in workers):
            break
        time.sleep(0.01)
    assert all(worker.done() for worker in workers)
    assert not caplog.records


def certify_of(text: Any, model: Any) -> Any:
    return clucert.certify(text, model=model, method="blocks", deterministic=True)


def test_a_signature_shows_the_defaults_and_types_as_they_are_written() -> None:
    parameters = inspect.signature(clucert.certify).parameters
    assert (parameters["samples"].default, parameters["alpha"].annotation) == (100, "float")
    assert inspect.signature(clucert.open_gate).parameters["method"].default == "windows"
    for function in (clucert.certify, clucert.smooth, clucert.evaluate, clucert.open_gate, clucert.open_guard):
        assert "ForwardRef" not in str(inspect.signature(function))


def test_what_notebooks_show_is_short_and_escaped() -> None:
    for method in (None, "ranmask", "blocks"):
        found = clucert.certify(
            NASTY, model=spam, labels=LABELS, deterministic=True, **({"method": method} if method else {})
        )
        html = found._repr_html_()
        assert "<script" not in html
        assert not set("\u202e\x1b") & set(html)
        assert "&lt;" in html
        assert len(repr(found)) < 400
        assert "\x1b" not in repr(found)
    assert "replace" in html


def test_what_a_notebook_says_it_cost_is_what_the_command_line_says(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def classify(text): return 'spam' if 'win' in text else 'ham'\n")
    options: dict[str, Any] = {"model": f"python:{tmp_path / 'mine.py'}:classify", "cache": tmp_path / "cache.db"}
    first, again = (certify(method="blocks", **options)._repr_html_() for _ in range(2))
    assert "answers were reused" not in first
    assert "4 calls, " in first
    assert "tokens in" not in first + again  # a function has none
    assert "no call, all 4 answers were reused" in again


def test_nothing_proved_is_not_a_zero() -> None:
    html = clucert.certify("win", model=spam, labels=LABELS, deterministic=True, method="groups")._repr_html_()
    assert "<b>nothing</b>" in html
    assert "<b>0</b>" not in html


def test_progress_is_a_bar_where_it_is_wanted_and_only_there(tmp_path: Path, capsys: Any) -> None:
    options: dict[str, Any] = {"data": ROWS, "model": spam, "labels": LABELS, "deterministic": True, "method": "blocks"}
    clucert.evaluate(run_dir=tmp_path / "a", **options)
    assert capsys.readouterr().err == ""
    clucert.evaluate(run_dir=tmp_path / "b", progress=True, **options)
    shown = capsys.readouterr()
    assert "certified" in shown.err
    assert shown.out == ""
    seen: list[Any] = []
    clucert.evaluate(run_dir=tmp_path / "c", progress=seen.append, **options)
    assert seen[-1].done == 3
    assert not notebook.in_notebook()
