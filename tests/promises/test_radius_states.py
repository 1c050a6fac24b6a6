"""What a radius says wherever it is printed: whose words it counts, what it is all of, and when nothing was tested."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clucert import certificate_json as document
from clucert.certification import Certification
from clucert.core.certificate import Certificate
from clucert.core.explanation import FIXED
from clucert.core.radius import Overlap, Radius
from clucert.core.settings import Look
from clucert.core.smoothing import Certified
from clucert.core.stopping import decided
from clucert.evaluate.compare import compare_runs as paired
from clucert.evaluate.metrics import Outcome, certified_accuracy, certified_curve, r_avg, summarise
from clucert.report import check_gates, compare_runs, write_junit, write_report
from clucert.report.gates import parse_gate
from clucert.report.outcome import state_of
from clucert.report.summary import read_summaries
from clucert.report.tables import input_rows, summary_rows
from clucert.serve.metrics import Metrics
from clucert.serve.schemas import certificate_headers
from clucert.types import Votes
from tests.core.test_certificate import make
from tests.report.report_runs import write_run
from tests.screens import verbose

SURE = (Votes({"positive": 100, "negative": 0}), Votes({"positive": 1000, "negative": 0}))
DOCS = Path(__file__).parents[2] / "docs"


def with_swaps(kappas: list[Fraction], *, n: int = 8, s: int = 1, votes: tuple[Votes, Votes] = SURE, **more: Any):
    """A certificate that proves the word radius of masking, with ``kappas`` of the words that have synonyms."""
    made = make(*votes, n=n, s=s, **more)
    return dataclasses.replace(made, overlaps={**made.overlaps, "synonym": Overlap(tuple(kappas))})


# ---- a swap of synonyms is a swap of words ---------------------------------------------------------------------------


@given(
    st.lists(st.fractions(0, 1), max_size=8),
    st.integers(8, 12),
    st.integers(1, 3),
    st.integers(500, 1000),
    st.fractions(0, 1),
    st.integers(1, 4),
)
def test_a_proved_synonym_radius_is_never_below_the_word_radius(kappas, n, s, hits, retained, k):
    votes = (SURE[0], Votes({"positive": hits, "negative": 1000 - hits}))
    made = make(*votes, n=n, s=s, recoveries=k)
    synonym = Overlap(tuple(kappas), retained)
    proved = dataclasses.replace(made, overlaps={**made.overlaps, "synonym": synonym}).proved
    if proved["word"] is None:
        assert proved["synonym"] is None
        return
    assert proved["synonym"].words >= min(proved["word"].words, len(kappas))
    assert proved["synonym"].everything == (proved["synonym"].words == len(kappas) > 0)
    assert proved["synonym"].nothing_to_attack == (not kappas)
    assert not proved["word"].nothing_to_attack


def test_pools_that_share_nothing_do_not_hide_what_masking_proves():
    """κ = 0 alone proves 0 swaps; masking proves 2 of any 8 words, synonyms among them."""
    proved = with_swaps([Fraction(0)] * 3).proved
    assert proved["word"].words >= 2
    assert proved["synonym"] == Radius(min(3, proved["word"].words), everything=proved["word"].words >= 3)
    assert with_swaps([Fraction(0)]).proved["synonym"] == Radius(1, everything=True)


# ---- everything counts at every delta; nothing to attack counts at none ---------------------------------------------


def outcome(name: str, radius: int | None, **more: Any) -> Outcome:
    return Outcome(name, "a", "a", radius, words=5, unparsed=0, kept=10, drawn=10, **more)


RUN = (
    outcome("all", 1, everything=True),
    outcome("two", 2),
    outcome("none", 0),
    outcome("untested", 0, nothing_to_attack=True),
    dataclasses.replace(outcome("wrong", 1, everything=True), prediction="b"),
)


@pytest.mark.parametrize(("delta", "held"), [(0, 4), (1, 2), (2, 2), (3, 1), (50, 1)])
def test_everything_is_certified_at_every_delta_and_nothing_at_none(delta, held):
    assert certified_accuracy(RUN, delta).value == held / 5
    assert certified_curve(RUN, deltas=(delta,)).points[0].value == held / 5
    (test,) = paired(
        RUN, [dataclasses.replace(o, radius=0, everything=False) for o in RUN], rng(), deltas=(delta,)
    ).certified
    assert test.both + test.first_only == held


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_means_count_words_and_the_share_without_a_target_is_told():
    assert r_avg(RUN) == (1 + 2) / 5
    assert summarise(RUN, rng()).nothing_to_attack.value == 1 / 5
    assert paired(RUN, RUN[:3], rng()).nothing_to_attack == (0, 0)
    assert paired(RUN, RUN, rng()).nothing_to_attack == (1 / 5, 1 / 5)


@pytest.mark.parametrize(
    ("radius", "reached"),
    [
        (Radius(3), (True, True, False)),
        (Radius(1, everything=True), (True, True, True)),
        (Radius(0, nothing_to_attack=True), (True, False, False)),
    ],
)
def test_what_a_radius_reaches(radius, reached):
    assert tuple(radius.reaches(delta) for delta in (0, 1, 9)) == reached


def test_a_target_beyond_the_text_is_reached_by_all_of_it():
    """Sampling goes on until all words that can change are certified, and ends there."""
    looks = (Look(500, Fraction(1, 2)), Look(1000, Fraction(1, 2)))
    made = make(
        SURE[0], Votes({"positive": 500, "negative": 0}), n=8, s=1, attackable=2, recovery="synonym", looks=looks
    )
    assert made.radius == Radius(2, everything=True)
    assert decided(made, target=5)
    close = dataclasses.replace(made, readings=(Votes({"positive": 380, "negative": 120}),))
    assert close.radius == Radius(1)
    assert not decided(close, target=5)
    bare = make(
        SURE[0], Votes({"positive": 500, "negative": 0}), n=8, s=1, attackable=0, recovery="synonym", looks=looks
    )
    assert bare.radius == Radius(0, nothing_to_attack=True)
    assert decided(bare, target=5)


# ---- where it is printed --------------------------------------------------------------------------------------------


def untested() -> Certificate:
    """No word has a synonym; against any words it is as good as masking."""
    return with_swaps([], attackable=0, recovery="synonym")


def refined() -> Certificate:
    return with_swaps([Fraction(1)] * 2, domain="refined")


def shown(certificate: Certificate) -> str:
    return verbose(Certification(certificate))


def run_of(path: Path, *certificates: Certificate) -> Path:
    """A run directory with these certificates, all answered right."""
    write_run(path, inputs=len(certificates))
    lines = []
    for line, certificate in zip((path / "records.jsonl").read_text().splitlines(), certificates, strict=True):
        record = json.loads(line) | {"gold": "positive", "document": document.write(Certified(certificate))}
        lines.append(json.dumps(record) + "\n")
    (path / "records.jsonl").write_text("".join(lines))
    return path


def test_nothing_to_attack_is_said_in_the_terminal_and_in_json():
    printed = shown(untested())
    assert "nothing to attack (0 of 8 words of the original text)" in printed
    assert "nothing was tested" in printed
    assert "all 0" not in printed
    derived = document.derived(untested())
    state = {"words": 0, "everything": False, "nothing_to_attack": True}
    assert derived["radius"] == derived["proved"]["synonym"]["radius"] == state
    assert "nothing to attack" in derived["proved"]["synonym"]["in_words"]


def test_nothing_to_attack_is_said_by_the_guard():
    summary = document.write(Certified(untested()))
    headers = certificate_headers(SimpleNamespace(prediction="refused", source="majority"), summary)  # type: ignore[arg-type]
    said = json.loads(headers["x-clucert-certificate"])
    assert said["radius"]["nothing_to_attack"]
    assert said["proved"]["synonym"]["nothing_to_attack"]
    assert said["domain"] == "original"


def test_a_guard_counts_nothing_to_attack_apart_from_radii():
    metrics = Metrics()
    metrics.answered(SimpleNamespace(prediction="refused", source="majority", certificate=untested()))  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value
    assert value("clucert_nothing_to_attack_total", {"kind": "published"}) == 1
    assert value("clucert_nothing_to_attack_total", {"kind": "proved_synonym"}) == 1
    assert value("clucert_radius_words_count", {"kind": "proved_word"}) == 1
    assert value("clucert_radius_words_count", {"kind": "published"}) is None


def test_nothing_to_attack_is_not_certified_in_tables_gates_and_junit(tmp_path):
    all_of_one = with_swaps([Fraction(1)])
    run = run_of(tmp_path / "run", untested(), all_of_one)
    (summary,) = read_summaries([run])
    (row,) = summary_rows([summary])
    assert [row[f"proved_synonym@{delta}"] for delta in (1, 2, 5)] == [0.5, 0.5, 0.5]
    assert row["proved_synonym_nothing_to_attack"] == row["certacc_nothing_to_attack"] == 0.5
    first, second = input_rows([summary.run])
    assert (first["proved_synonym"], second["proved_synonym"]) == (None, 1)
    # Against any words masks prove something of both; synonyms as fills do not, and then nothing was tested.
    assert [state_of(i) for i in summary.run.inputs] == ["proved", "proved"]
    filled = dataclasses.replace(untested(), overlaps={"word": Overlap((Fraction(0),) * 8), "synonym": Overlap(())})
    (bare,) = read_summaries([run_of(tmp_path / "bare", filled)])
    assert [state_of(i) for i in bare.run.inputs] == ["untested"]
    assert [(b.label, b.right) for b in summary.histograms["synonym"]] == [
        ("none", 0),
        ("no target", 1),
        ("0", 0),
        ("1", 1),
    ]
    assert [r.value for r in check_gates([run], [parse_gate("proved-synonym@9=0.5")])] == [0.5]
    write_junit([run], tmp_path / "j.xml", min_radius=1)
    assert (tmp_path / "j.xml").read_text().count("nothing to attack") == 1
    page = write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Nothing to attack, synonyms" in page


def test_a_refined_radius_never_goes_without_its_text():
    printed = shown(refined())
    proved = [line for line in printed.splitlines() if "swapped for" in line]
    assert len(proved) == 2
    assert all("words of the refined text" in line for line in proved)
    assert all("nothing is proved about the original text" in line for line in proved)
    assert "no assumption" not in printed
    derived = document.derived(refined())
    assert derived["domain"] == "refined"
    for one in derived["proved"].values():
        assert "words of the refined text" in one["in_words"]
        assert "no assumption" not in one["in_words"]


def test_no_assumption_names_the_original_text():
    printed = shown(with_swaps([Fraction(1)] * 2))
    proved = [line for line in printed.splitlines() if "swapped for" in line]
    assert all("of the original text" in line and line.endswith("no assumption") for line in proved)


def test_refined_words_are_named_in_every_table(tmp_path):
    a, b = run_of(tmp_path / "a", refined(), refined()), run_of(tmp_path / "b", with_swaps([]), refined())
    summaries = read_summaries([a, b])
    first, second = summary_rows(summaries)
    assert first["radii_count_words_of"] == "the refined text"
    assert second["radii_count_words_of"] == "the original text (in 1 of 2) or the refined text (in 1 of 2)"
    assert [row["radii_count_words_of"] for row in input_rows([summaries[0].run])] == ["the refined text"] * 2
    compared = compare_runs([a, b])
    assert all("the refined text" in row["radii_count_words_of"] for row in compared.rows())
    assert compared.document()["others"][0]["radii_count_words_of"]["first"] == "the refined text"
    page = write_report([a], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Proved, any word for any other (words of the refined text)" in page
    assert "words of the refined text" in page
    assert "o assumption: the published" not in page


def test_what_stands_between_the_words_is_said_to_be_fixed(tmp_path):
    certificate = with_swaps([Fraction(1)])
    assert FIXED in shown(certificate)
    assert document.derived(certificate)["fixed"] == FIXED
    for name in ("guarantees.md", "json.md"):
        assert "between them (punctuation, white space) is fixed" in (DOCS / name).read_text(encoding="utf-8")
    page = write_report([run_of(tmp_path / "run", certificate)], tmp_path / "page.html").read_text(encoding="utf-8")
    assert FIXED[1:] in page
