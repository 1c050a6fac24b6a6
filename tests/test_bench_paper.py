"""bench/paper.py on a classifier that is trained in a moment: it goes on where it stopped, and says what was run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clucert.types import Scored

BENCH = Path(__file__).resolve().parents[1] / "bench"
GOOD, BAD = ("warm", "funny", "charming", "moving"), ("dull", "awful", "tedious", "bland")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of bench by name; none of them stays behind."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"text": f"a {word} film about {who} in the city of {place} , and that is all", "label": label}
        for words, label in ((GOOD, "positive"), (BAD, "negative"))
        for word in words
        for who in ("friends", "thieves", "a doctor")
        for place in ("Rome", "Paris")
    ]
    for split in ("", "_validation", "_train"):
        lines = [json.dumps(row) for row in (rows[::-3] if split != "_train" else rows)]
        (tmp_path / f"sst2{split}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(bench: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *parts: str) -> dict[str, Any]:
    paper = bench("paper")
    for module in (paper, bench("paper_study")):
        monkeypatch.setattr(module, "RESULTS", folder / "results")
        monkeypatch.setattr(module, "PAGE", folder / "paper.md")
    monkeypatch.setattr(bench("paper_parts"), "PICTURES", folder / "paper")
    options = (
        f"--data {folder} --out {folder / 'runs'} --model tfidf --tasks sst2 --rows 4 --samples 8 --certify 16 "
        "--validation-rows 2 --mask-rates 0.7 --methods clucert ranmask --grid-samples 6 --attacked 2 --votes 3 "
        f"--max-queries 6 --figure4-samples 30 --refine off --only {' '.join(parts)}"
    )
    monkeypatch.setattr(sys, "argv", ["bench/paper.py", *options.split()])
    paper.main()
    found: dict[str, Any] = json.loads((folder / "results/paper-tfidf.json").read_text())["parts"]
    return {part: body["sst2"]["found"] for part, body in found.items()}


def test_it_writes_what_was_run_and_goes_on(bench: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(bench, monkeypatch, data, "pools", "grid", "table1", "filters", "refine", "table2")
    assert set(first["table1"]["methods"]) == {"clucert", "ranmask"}
    assert all(f["judged"] == 4 and f["mask_rate"] == 0.7 for f in first["table1"]["methods"].values())
    assert [len(f["tried"]) for f in first["table1"]["methods"].values()] == [2, 1]
    assert {line["defence"] for line in first["table2"]["lines"]} >= {"none", "deletion", "groups", "groups, canonical"}
    assert {n["lexicon"] for n in first["grid"]["noises"]} == {"default", "wide", "mask"}
    page = (data / "paper.md").read_text()
    for heading in ("## What holds", "## Pools", "## Filters", "## Table 1", "## Refine", "## Table 2"):
        assert heading in page
    assert "## Figure 4" not in page
    # One more encoder is two more filters; no filter keeps every sample.
    assert list(first["filters"]["ways"])[:2] == ["no filter", "τ = 0.5, then diameter 0.8"]
    assert first["filters"]["ways"]["no filter"]["kept"] == 1.0
    assert len(first["filters"]["ways"]) == 4
    strict, drawn = list(first["filters"]["ways"].values())[2:]
    assert drawn["samples"] >= strict["samples"]
    assert first["refine"]["ways"]["off"]["lost"] == first["refine"]["ways"]["off"]["won"] == 0
    assert first["refine"]["ways"]["embedding"]["shortened"] == 1.0
    assert (data / first["table1"]["pictures"]["certified-accuracy"]).is_file()
    # A kill tears the last line of the grid: it is done again, and comes to the same.
    (store,) = (data / "runs/tfidf").glob("grid-sst2-*.jsonl")
    whole = store.read_text()
    store.write_text(whole[:-40])
    records = {path: path.stat().st_mtime_ns for path in (data / "runs").rglob("records.jsonl")}
    assert run(bench, monkeypatch, data, "grid", "table1", "table2") == first
    assert store.read_text() == whole
    assert records == {path: path.stat().st_mtime_ns for path in (data / "runs").rglob("records.jsonl")}


def document(**parts: Any) -> dict[str, Any]:
    return {"model": "m", "parts": {part: {"sst2": {"found": found}} for part, found in parts.items()}}


def test_a_verdict_is_that_of_its_interval(bench: Any) -> None:
    lines_of = bench("paper_claims").lines_of

    def method(word: float, right: float = 0.6) -> dict[str, Any]:
        shares = {"proved_word_mean": word, "proved_synonym_mean": 0.0, "balanced_accuracy": 0.5, "radii_at_cap": None}
        shares |= {"kept": 0.9, "mask_rate": 0.7, "judged": 30}
        return shares | {
            "r_avg": [1.0, 0.5, 1.5],
            "right": [right, 0.5, 0.7],
            "certacc@1": right,
            "constant_answer": 0.5,
        }

    def table(pair: list[float | None] | None, p: float | None, right: float = 0.6) -> dict[str, Any]:
        methods = {"clucert": method(0.0, right), "clucert, no clustering": method(0.0), "ranmask": method(0.4)}
        pairs = {name: {"r_avg": pair, "p": p, "right_p": 0.5} for name in methods if name != "clucert"}
        return {"first": "clucert", "methods": methods, "pairs": pairs}

    def verdicts(*found: dict[str, Any]) -> list[str]:
        return [line.verdict for line in lines_of(found)]

    # The pair is other − clucert, so a negative one is in clucert's favour.
    assert verdicts(document(table1=table([-1.0, -2.0, -0.5], 0.01))) == [
        "holds (p = 0.01)",
        "holds (p = 0.01); of what is proved against any words, ranmask has the larger mean",
    ]
    assert verdicts(document(table1=table([1.0, 0.5, 2.0], 0.01)))[0] == "does not hold (p = 0.01)"
    assert verdicts(document(table1=table([0.0, None, None], 1.0)))[0] == "no difference shown (p = 1)"
    assert verdicts(document(table1=table([-1.0, -2.0, -0.5], 0.01, right=0.4)))[1].startswith("a constant answer wins")
    # A radius without an end has no mean, and so no verdict.
    assert verdicts(document(table1=table(None, None))) == []
    # Three lines at p = 0.02 each: by Holm none of them is shown; with one at 0.001, that one.
    low, high = table([-1.0, -2.0, -0.5], 0.02), table([-1.0, -2.0, -0.5], 0.001)
    assert {v.split(" (")[0] for v in verdicts(*[document(table1=low)] * 3)} == {"no difference shown"}
    shown = verdicts(document(table1=low), document(table1=high), document(table1=low))[:3]
    assert [v.split(";")[0] for v in shown] == ["holds (p = 0.04)", "holds (p = 0.003)", "holds (p = 0.04)"]


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([3.0, 3.1, 2.9], "holds by less"),
        ([9.0, 9.1, 8.9], "holds"),
        ([0.5, 0.51, 0.49], "does not hold"),
        ([0.5, 2.0, 9.0], "no difference shown"),
        ([0.8, 1.1, 1.0], "does not hold"),
        ([8.0, 8.0], "too few rows to say (2)"),
    ],
)
def test_how_much_faster_is_by_rows(bench: Any, ratios: list[float], verdict: str) -> None:
    mine = {str(i): 2.0 for i in range(len(ratios))}
    # A row that one method alone has is left out, whatever the order.
    theirs = {str(i): 2.0 * ratio for i, ratio in reversed(list(enumerate(ratios)))} | {"alone": 900.0}
    methods = {"clucert": {"samples": 9, "rows": mine}, "selfdenoise": {"samples": 9, "rows": theirs}}
    found = bench("paper_claims").lines_of([document(figure4={"methods": methods})])
    assert [line.verdict for line in found] == [verdict]


def attacked(
    defence: str, held: range, votes: int = 25, most: int | None = None, constant: float = 0.0
) -> dict[str, Any]:
    share = {"value": len(held) / 30, "low": 0.0, "high": 1.0}
    rates = {"accuracy_under_attack": share, "success_rate": share, "confirmed_rate": None}
    line = {"recipe": "textbugger", "defence": defence, "votes": votes, "most": most, "inputs": 30, **rates}
    return line | {"held": [str(row) for row in held], "balanced": len(held) / 30, "constant_answer": constant}


def test_an_attack_is_compared_with_the_papers_rivals_at_equal_budgets(bench: Any) -> None:
    def verdicts(*others: dict[str, Any]) -> list[str]:
        lines = [attacked("clucert", range(10, 20)), attacked("none", range(0)), *others]
        found = bench("paper_claims").lines_of([document(table2={"lines": lines})])
        return [f"{line.claim}: {line.verdict}" for line in found]

    than = "lower success of textbugger than with"
    assert verdicts(attacked("ranmask", range(10, 12))) == [f"{than} ranmask: holds (p = 0.0078)"]
    # As many rows right are not the same rows right: the test is by row.
    assert verdicts(attacked("ranmask", range(10))) == [f"{than} ranmask: no difference shown (p = 1)"]
    assert verdicts(attacked("ranmask", range(9, 30))) == [f"{than} ranmask: does not hold (p = 0.00098)"]
    # Neither a defence that the paper does not have nor one with fewer votes or queries decides.
    outside = (attacked("groups, canonical", range(30)), attacked("selfdenoise", range(30), 3, 50))
    assert verdicts(attacked("ranmask", range(10, 12)), *outside) == [f"{than} ranmask: holds (p = 0.0078)"]
    # A constant answer is robust: who is right on no more rows is named, and wins nothing.
    (told,) = verdicts(attacked("ranmask", range(9, 30), constant=0.7))
    assert told.endswith(
        "a constant answer wins (p = 0.00098); under attack right on no more rows than a constant answer: ranmask"
    )
    lines = [
        attacked(name, range(*held), constant=0.4) for name, held in (("clucert", (10, 20)), ("ranmask", (10, 12)))
    ]
    (line,) = bench("paper_claims").lines_of([document(table2={"lines": [*lines, attacked("none", range(0))]})])
    assert line.kind == "a constant answer wins"
    assert line.verdict.endswith("constant answer: clucert, ranmask")


def test_accuracy_that_is_lost_under_refine_is_said(bench: Any) -> None:
    refined = {"lost": 9, "won": 0, "bare_right": [0.5, 0.4, 0.6], "own": 0.8}
    ways = {"off": refined, "embedding": refined}
    found = bench("paper_claims").lines_of([document(refine={"ways": ways, "length": 10, "rows": 30})])
    assert [line.verdict for line in found] == ["does not hold (p = 0.0039)"]
    few = bench("paper_claims").lines_of([document(refine={"ways": ways, "length": 10, "rows": 12})])
    assert [line.verdict for line in few] == ["too few rows to say (12)"]


def test_the_papers_own_figure_stands_beside_ours_where_it_is_known(bench: Any) -> None:
    page = bench("paper_page")
    title, rows = page.beside(("method", "r"), [("clucert", "1"), ("ranmask", "2")], {"ranmask": "r_avg 3"})
    assert page.table(title, rows) == [
        "| method | r | the paper's |", "|---|---|---|", "| clucert | 1 | – |", "| ranmask | 2 | r_avg 3 |"
    ]  # fmt: skip
    assert page.beside(("method", "r"), [("clucert", "1")], {}) == (("method", "r"), [("clucert", "1")])


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("smollm2", "smollm2"),
        ("hf/smollm2", "hf/smollm2"),
        ("hf//somewhere/q.gguf", "hf/q.gguf"),
        ("vllm/a/Llama-3.1-8B", "vllm/a/Llama-3.1-8B"),
    ],
)
def test_results_name_no_place_of_a_file(bench: Any, model: str, name: str) -> None:
    assert bench("paper_models").shown(model) == name


def test_a_filter_is_measured_on_its_own_votes(bench: Any) -> None:
    grid = bench("paper_grid")
    record = {"row": 0, "lexicon": "wide", "mask_rate": "0.5", "samples": 10, "distinct": 10, "correlation": {}}
    counts = {"none": [10, 6, 4], "half": [5, 4, 1], "nothing": [0, 0, 0]}
    found = grid.summarise([record | {"counts": counts}] * 3, 3)["noises"][0]["filters"]
    by = {f["filter"]: f for f in found}
    assert by["half"]["p_gold"] == pytest.approx(0.8)
    assert by["half"]["gain"][0] == pytest.approx(0.2)
    # Of ten drawn: a lead of three instead of two.
    assert by["half"]["margin_gain"][0] == pytest.approx(0.1)
    assert (by["half"]["raised"], by["half"]["lowered"]) == (1.0, 0.0)
    # A method that keeps nothing abstains.
    assert (by["nothing"]["p_gold"], by["nothing"]["majority_right"]) == (0.0, 0.0)


def test_of_few_rows_the_verdict_is_that_they_are_few(bench: Any) -> None:
    claims, in_short = bench("paper_claims").claims, bench("paper_claims").in_short

    def lines(inputs: int) -> dict[str, Any]:
        return {"lines": [{**attacked(name, held), "inputs": inputs} for name, held in found.items()]}

    found = {"clucert": range(10), "ranmask": range(2), "none": range(1)}
    few = [line for line in claims([document(table2=lines(4))]) if line.startswith("| m, sst2")]
    many = [line for line in claims([document(table2=lines(30))]) if line.startswith("| m, sst2")]
    assert few[0].endswith("| too few rows to say (4) |")
    assert many[0].endswith("| holds (p = 0.0078) |")
    counted = in_short([document(table2=lines(4)), document(table2=lines(30))])
    assert "| lower success of textbugger than with ranmask | 1 | – | – | – | – | 1 |" in counted


def test_long_tables_are_folded_and_keep_every_line(bench: Any) -> None:
    claims = bench("paper_claims")
    short, long = claims.table(("a",), [("1",)] * 3), claims.table(("a",), [("1",)] * 30)
    assert claims.folded(short, "The table") == short
    found = claims.folded(long, "The table")
    assert "<summary>The table (30 lines)</summary>" in found
    assert [line for line in found if line.startswith("|")] == long


def test_tuning_takes_equally_many_rows_of_each_label(bench: Any, tmp_path: Path) -> None:
    labels = "aaaaabacabc"
    lines = [json.dumps({"text": str(i), "label": label}) for i, label in enumerate(labels)]
    for name in ("t.jsonl", "t_validation.jsonl"):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    asked = bench("paper_models").Asked("tfidf", tmp_path, tmp_path)
    kept = [json.loads(line) for line in asked.path("t", "_validation", 6).read_text().splitlines()]
    assert [(row["text"], row["label"]) for row in kept] == [
        ("0", "a"), ("1", "a"), ("5", "b"), ("7", "c"), ("9", "b"), ("10", "c")
    ]  # fmt: skip
    # What is reported is every row of the file, as it is.
    assert asked.path("t", "") == tmp_path / "t.jsonl"


def test_several_encoders_are_told_apart_and_name_no_place(bench: Any) -> None:
    grid = bench("paper_grid")

    class Encoder:
        def __init__(self, name: str, angle: float) -> None:
            self.name, self.angle = name, angle

        def encode(self, texts: list[str]) -> Any:
            angles = np.array([self.angle * len(text) for text in texts])
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    noise = grid.Noised("a warm film", ["a warm film", "a [MASK] film", "[MASK] [MASK] film"], ["a", "b", "film"])
    answers = [Scored("positive", {"positive": p, "negative": 1 - p}) for p in (0.9, 0.8)]
    answers.append(Scored("negative", {"positive": 0.4, "negative": 0.6}))
    encoders = [Encoder("minilm", 0.0), Encoder("sbert//somewhere/model", 0.1)]
    found = grid.measure(bench("proofs").Row("a warm film", "positive"), noise, answers, encoders)
    assert found["counts"]["none"] == [3, 2, 1]
    assert found["counts"]["confidence ≥ 0.7"] == [2, 2, 0]
    assert found["counts"]["τ = 0.9, minilm"] == [3, 2, 1]
    assert found["counts"]["τ = 0.9, sbert/model"] == [2, 2, 0]
    assert set(found["correlation"]) == {"sbert/model"}, "all are alike to the first"
