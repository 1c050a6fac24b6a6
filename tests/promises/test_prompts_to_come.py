"""What `evaluate` and `report` say of prompts to come: never more than the proofs of the rows allow."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest

from clucert.core.exact import ExactSmoother
from clucert.core.noise.groups import Blocks, Groups
from clucert.core.radius import Radius
from clucert.core.settings import Base, ExactSettings
from clucert.report.population import CHANGES, CONFIDENCE, DRAWN, kept_by, sentences
from clucert.report.runs import Input, load_run
from clucert.report.summary import read_summaries
from clucert.types import Classify, Scored
from tests.report.report_runs import SENTENCES, Spec, rows, write_run


def proved_run(tmp_path: Path, inputs=60, **spec):
    return write_run(tmp_path / "run", Spec(recovery="mask", clustering="none", strength=1.0, **spec), inputs)


def with_radii(row: Input, word: int | None) -> Input:
    radius = None if word is None else Radius(word)
    return replace(row, radii={"published": Radius(9), "word": radius, "synonym": radius})


def tail(k, n, p):
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize("held", [0, 1, 30, 57, 60])
def test_the_share_is_the_clopper_pearson_bound_less_alpha_and_shared_among_all_claims(tmp_path, held):
    run = load_run(proved_run(tmp_path))
    inputs = [with_radii(row, 1 if i < held else None) for i, row in enumerate(run.inputs)]
    found = kept_by(inputs, len(inputs))
    assert [(k.threat, k.changes) for k in found] == [("word", 1), ("word", 2), ("synonym", 1), ("synonym", 2)]
    level = (1 - Fraction(str(CONFIDENCE))) / 4
    alpha = Fraction(1, 20)
    for kept in found:
        certified = held if kept.changes == 1 else 0
        assert (kept.certified, kept.rows, kept.alpha) == (certified, 60, 0.05)
        # If the robust share were smaller, so many certificates would have at most the probability ``level``.
        if kept.share:
            assert tail(certified, 60, kept.share * (1 - alpha) + alpha) <= level
            wasted = kept.share * (1 - alpha) + alpha + Fraction(3, 10**6)
            assert tail(certified, 60, min(Fraction(1), wasted)) > level
        else:
            assert tail(certified, 60, alpha) > level or not certified


def test_wrong_answers_count_and_failures_unfinished_and_refined_rows_do_not(tmp_path):
    run = load_run(proved_run(tmp_path))
    good = [with_radii(row, 2) for row in run.inputs]
    base = kept_by(good, 60)
    wrong = [replace(row, gold="negative" if row.gold == "positive" else "positive") for row in good]
    assert kept_by(wrong, 60) == base
    assert kept_by([replace(row, gold=None) for row in good], 60) == base
    failed = [*good[:50], *(Input(row.id, row.gold, error="gone") for row in good[50:])]
    assert [k.certified for k in kept_by(failed, 60)] == [50] * 4
    assert kept_by(good[:50], 60) == kept_by(failed, 60)
    short = load_run(write_run(tmp_path / "short", Spec(recovery="mask", clustering="none", refine_length=4), 60))
    assert {row.certificate.subject.domain for row in short.inputs} == {"refined"}
    assert not any(k.share for k in kept_by([with_radii(row, 2) for row in short.inputs], 60))


def test_where_nothing_can_be_attacked_nothing_is_said(tmp_path):
    run = load_run(proved_run(tmp_path))
    empty = Radius(0, nothing_to_attack=True)
    found = kept_by([replace(row, radii={"word": empty, "synonym": empty}) for row in run.inputs], 60)
    assert not any(kept.certified for kept in found)
    assert sentences(found) == []
    assert kept_by([], 60) == ()


def test_an_exhaustive_certificate_has_no_alpha(tmp_path):
    run = load_run(proved_run(tmp_path))
    inputs = [with_radii(row, 1) for row in run.inputs]
    certain = [
        replace(row, certified=replace(row.certified, certificate=replace_exhaustive(row.certificate)))
        for row in inputs
    ]
    assert {kept.alpha for kept in kept_by(certain, 60)} == {0.0}
    assert kept_by(certain, 60)[0].share > kept_by(inputs, 60)[0].share
    # One that was sampled is enough.
    assert {kept.alpha for kept in kept_by([*certain[:-1], inputs[-1]], 60)} == {0.05}


def replace_exhaustive(certificate):
    fields = {name: getattr(certificate, name) for name in type(certificate).__slots__}
    return type(certificate)(**{**fields, "exhaustive": True})


def exact_input(i: int, text: str, noise) -> Input:
    labels = ("negative", "positive")
    smoother = ExactSmoother(ExactSettings(Base(("m",), "t"), type(noise).__name__.lower(), noise), labels)
    steps, reply = smoother.steps(text), None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            certificate = stop.value
            break
        asked = isinstance(request, Classify)
        reply = [Scored("positive", {"positive": 1.0}) for _ in request.texts] if asked else None
    row = Input(str(i), "positive")
    # The union of certificates that a run may hold is read by duck: whoever reads runs decides how it is wrapped.
    object.__setattr__(row, "certified", type("Wrapped", (), {"certificate": certificate})())
    return row


@pytest.mark.parametrize("noise", [Blocks(5), Groups(5, b"k")])
def test_exact_certificates_have_alpha_0_and_every_threat_of_their_noise(noise):
    texts = [f"{SENTENCES[i % 8][0]} {i}" for i in range(40)]
    inputs = [exact_input(i, text, noise) for i, text in enumerate(texts)]
    found = kept_by(inputs, 40)
    assert {kept.threat for kept in found} == set(noise.threats)
    assert {kept.alpha for kept in found} == {0.0}
    level = (1 - Fraction(str(CONFIDENCE))) / (len(noise.threats) * len(CHANGES))
    for kept in found:
        held = [row.certificate.proved[kept.threat] for row in inputs]
        assert kept.certified == sum(r is not None and r.reaches(kept.changes) for r in held)
        assert tail(kept.certified, 40, kept.share) <= level or not kept.share
    # All votes agree, so five blocks hold against two replaced words; a group may be empty and have no vote.
    assert any(kept.certified for kept in found)
    assert not isinstance(noise, Blocks) or all(kept.certified == 40 for kept in found)


def test_evaluate_and_report_open_with_it(tmp_path, run_cli):
    path = proved_run(tmp_path, rows(60), mask_rate=Fraction(19, 20))
    (summary,) = read_summaries([path])
    said = sentences(summary.population)
    assert said[-1] == DRAWN
    word, synonym = ([k for k in summary.population if k.threat == t and k.percent][-1] for t in ("word", "synonym"))
    assert word.percent == synonym.percent, "threats of one share are in one sentence"
    assert said[:-1] == [f"with 95 % confidence {word}, as many when {synonym.when}"]
    assert f"at least {int(100 * word.share)} % of such prompts keep their answer when any 2 words" in said[0]
    page = tmp_path / "r.html"
    assert run_cli("report", path, "-o", page).code == 0
    html = page.read_text()
    assert said[0] in html
    assert DRAWN in html
    assert html.index(said[0]) < html.index("Robustness")


def test_evaluate_says_it_first_and_as_json(tmp_path, capsys):
    from clucert.cli.evaluate import _report
    from clucert.evaluate.runconfig import StudyConfig

    path = proved_run(tmp_path, rows(60), mask_rate=Fraction(19, 20))
    (summary,) = read_summaries([path])
    config = StudyConfig.of(task="sst2", data=str(tmp_path / "none.jsonl"), run_dir=path)
    done = type("Done", (), {"run_dir": path, "notes": (), "failed": 0, "reason": None, "errors": {}})()
    _report(config, [], done, as_json=False, verbose=False)
    said = sentences(summary.population)
    assert capsys.readouterr().out.splitlines()[1 : 1 + len(said)] == said, "behind the verdict, before every table"
    _report(config, [], done, as_json=True, verbose=False)
    document = json.loads(capsys.readouterr().out)
    assert document["population"] == [kept.document() for kept in summary.population]
    assert all(kept["share_at_least"] <= kept["certified"] / kept["rows"] for kept in document["population"])
