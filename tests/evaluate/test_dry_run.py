"""What a study would cost is counted from what it would really ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_world import ROWS, World

from clucert.core.repeats import probes_needed
from clucert.evaluate.dry_run import dry_run
from clucert.evaluate.study import evaluate
from clucert.report.summary import read_summaries
from clucert.report.verdict import run_verdict
from clucert.runtime.budget import estimate_input
from clucert.tasks import load_task
from clucert.types import Usage


def test_a_dry_run_sends_nothing_and_counts_what_the_study_then_asks(world: World):
    config = world.study(price_input="1", price_output="2")
    estimate = dry_run(config, rows=None)
    assert not world.asked()
    assert not (world.folder / "run").exists()
    summary = world.run()
    assert (estimate.inputs, estimate.looked_at) == (ROWS, ROWS)
    asked = set(world.asked())
    model = estimate.models["openai/test"]
    # Inputs that abstain early ask less; nothing is asked that was not foreseen.
    abstained = [r for r in world.records().values() if r["document"]["derived"]["abstained"]]
    assert summary.spent.calls == len(asked) <= estimate.calls == model.calls
    assert (model.calls == len(asked)) == (not abstained)
    # What a run says of itself counts the same way.
    (figures,) = read_summaries([world.folder / "run"])
    assert f"It took {summary.spent.calls:,} calls, " in run_verdict(figures)
    task = load_task("sst2")
    one = estimate_input(task.query(json.loads((world.folder / "data.jsonl").read_text().splitlines()[0])["text"]))
    assert model.input / model.calls == pytest.approx(one, rel=0.1)
    assert estimate.cost == pytest.approx((model.input + 2 * model.output) / 1e6)
    assert not model.tokenizer


def test_the_probes_of_a_server_that_nobody_vouches_for_are_foreseen(world: World):
    vouched = dry_run(world.study(), rows=None)
    estimate = dry_run(world.study(deterministic=None), rows=None)
    assert vouched.calls < estimate.calls <= vouched.calls + ROWS * probes_needed(0.05) + ROWS
    summary = world.run(deterministic=None)
    assert summary.spent.calls <= estimate.calls
    sampled = dry_run(world.study(deterministic=False, run_dir=str(world.folder / "sampled")), rows=None)
    # And the short question that identifies the model.
    assert sampled.calls - 1 + sampled.models["openai/test"].cached == ROWS * 40


def test_what_is_cached_and_done_is_not_counted_again(world: World):
    fresh = dry_run(world.study(), rows=None)
    world.run(limit=4)
    left = dry_run(world.study(), rows=None)
    assert left.inputs == ROWS - 4
    assert left.calls < fresh.calls
    again = dry_run(world.study(run_dir=str(world.folder / "other")), rows=None)
    assert again.inputs == ROWS
    # But for the short question that identifies the model.
    assert again.models["openai/test"].cached == len(world.asked()) == fresh.calls - (again.calls - 1)


def test_the_first_rows_stand_for_all(world: World):
    whole = dry_run(world.study(), rows=None)
    part = dry_run(world.study(), rows=5)
    assert (part.inputs, part.looked_at) == (ROWS, 5)
    assert part.calls == pytest.approx(whole.calls, rel=0.2)
    assert part.calls % 2 == 0


@pytest.mark.parametrize("method", ["clucert", "selfdenoise"])
def test_helpers_and_filters_are_foreseen(world: World, method: str):
    refine = {"refine": "llm", "refine_length": 5} if method == "clucert" else {}
    config = world.study(method=method, limit=2, samples=5, certify_samples=8, helper_model="openai/helper", **refine)
    estimate = dry_run(config, rows=None)
    helper, base = estimate.models["openai/helper"], estimate.models["openai/test"]
    assert helper.calls == (2 if refine else helper.calls)
    assert 0 < base.calls <= 2 * 13
    assert 0 < helper.calls <= 2 * 13
    assert estimate.tokens == helper.input + helper.output + base.input + base.output
    assert estimate.cost is None


def test_every_model_of_an_ensemble_is_counted(world: World):
    one = dry_run(world.study(limit=2), rows=None)
    two = dry_run(world.study(limit=2, model=["openai/test", "openai/two"]), rows=None)
    assert two.calls == 2 * one.calls
    assert set(two.models) == {"openai/test", "openai/two"}


def test_a_function_costs_calls_and_no_tokens_before_the_run_as_after_it(world: World, tmp_path: Path):
    (tmp_path / "mine.py").write_text("def classify(text): return 'positive' if 'good' in text else 'negative'\n")
    model = f"python:{tmp_path / 'mine.py'}:classify"
    config = world.study(limit=2, model=[model], deterministic=True)
    estimate = dry_run(config, rows=None)
    assert (estimate.tokens, estimate.models[model].tokenizer) == (0, True)
    spent = evaluate(config).spent
    assert 0 < spent.calls <= estimate.calls
    assert spent == Usage(calls=spent.calls)
