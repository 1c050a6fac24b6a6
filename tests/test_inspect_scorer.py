"""The scorer of inspect_ai in its own evaluations, and the reader of its logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="inspect_ai is not installed: clucert[inspect]")

from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.solver import generate, prompt_template, system_message

import clucert
from clucert.core.exact import ExactCertificate
from clucert.errors import InputError
from clucert.inspect_scorer import certified, read_certificates, read_rows

pytestmark = pytest.mark.filterwarnings("ignore")  # of its own

LABELS = ["spam", "ham"]
SAMPLES = [
    Sample("win a win or win a win win", target="spam", id="one"),
    Sample("see you at noon dear friend", target="spam", id="two"),
    Sample("win or see you there", target="ham", id="three"),
]


def said(prompt: str) -> str:
    return "spam" if "win" in prompt.rpartition("Message:")[2] else "ham"


async def _counted(text: str) -> int:
    return len(text)


def run(tmp_path: Path, asked: list[Any] | None = None, **options: Any) -> EvalLog:
    def answer(messages: Any, *_: Any) -> ModelOutput:
        if asked is not None:
            asked.append([(message.role, message.text) for message in messages])
        return ModelOutput.from_content("mockllm", f"{said(messages[-1].text).capitalize()}.")

    task = Task(
        dataset=SAMPLES,
        solver=[system_message("Judge."), prompt_template("Spam or ham? Message: {prompt}"), generate()],
        scorer=certified(LABELS, **{"method": "blocks", "deterministic": True, **options}),
    )
    model = get_model("mockllm/model", custom_outputs=answer, memoize=False)
    model.api.count_text_tokens = _counted  # its own downloads a tokenizer
    (log,) = evaluate(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    return log


def test_what_it_says_is_what_the_certificate_proves(tmp_path: Path) -> None:
    asked: list[Any] = []
    log = run(tmp_path, asked)
    found = read_certificates(log)
    assert set(found) == {"one", "two", "three"}
    for sample in log.samples or []:
        score, own = (sample.scores or {})["certified"], found[str(sample.id)]
        assert isinstance(own, ExactCertificate)
        right = own.prediction == sample.target
        radius = own.proved["replace"]
        assert score.answer == own.prediction
        assert score.value == {
            "right": float(right),
            "certified": float(right and radius is not None and radius.reaches(1)),
        }
        direct = clucert.certify(own.text, model=said, labels=LABELS, deterministic=True, method="blocks")
        assert (direct.prediction, direct.proved) == (own.prediction, own.proved)
    metrics = {score.name: score.metrics["mean"].value for score in log.results.scores}  # type: ignore[union-attr]
    assert metrics == {"right": pytest.approx(2 / 3), "certified": pytest.approx(2 / 3)}
    assert all(turns[0] == ("system", "Judge.") and len(turns) == 2 for turns in asked)


def test_a_log_on_disk_gives_rows_and_certificates(tmp_path: Path) -> None:
    log = run(tmp_path)
    assert read_certificates(log.location) == read_certificates(log)
    rows = read_rows(log.location)
    assert {(row["id"], row["text"], row["label"]) for row in rows} == {(s.id, s.input, s.target) for s in SAMPLES}
    study = clucert.evaluate(
        data=rows,
        model=said,
        labels=LABELS,
        deterministic=True,
        method="blocks",
        run_dir=tmp_path / "run",
        id_column="id",
    )
    assert study.done == 3
    (tmp_path / "bad.json").write_text("{}")
    for bad in (tmp_path / "bad.json", tmp_path / "none.eval"):
        with pytest.raises(InputError, match="no log"):
            read_rows(bad)


def test_a_method_that_samples_asks_every_sample_anew(tmp_path: Path) -> None:
    asked: list[Any] = []
    run(tmp_path, asked, method="ranmask", samples=10, certify_samples=20, deterministic=None)
    assert len(asked) > 3 * 10
