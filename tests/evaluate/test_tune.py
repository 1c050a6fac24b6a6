"""Tuning: every setting on the same validation rows, one stated criterion, a method file that can be used."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from study_world import ROWS, World, write_data

from clucert.build import exact_smoother
from clucert.core.settings import Base
from clucert.errors import InputError, UsageError
from clucert.evaluate.metrics import Outcome, r_avg
from clucert.evaluate.trials import Trial, by_length, choose, choose_exact
from clucert.evaluate.tune import grid_of, tune
from clucert.methods import load_exact, load_method
from clucert.methods.exact import ExactMethod
from clucert.report.summary import read_summaries


def row(name: str, radius: float, accuracy: float, inputs: int = 50) -> Trial:
    return Trial({"mask_rate": name}, radius, accuracy, 0.0, inputs, 0)


def test_the_largest_radius_wins_among_those_that_are_about_as_accurate():
    rows = [row("a", 1.0, 0.90), row("b", 2.0, 0.88), row("c", 3.0, 0.87), row("d", 9.0, 0.99, inputs=0)]
    assert choose(rows).point == {"mask_rate": "b"}
    assert choose(rows, max_drop=0.5).point == {"mask_rate": "c"}
    assert choose(rows, max_drop=0.0).point == {"mask_rate": "a"}
    tied = [row("a", 1.0, 0.8), row("b", 1.0, 0.9), row("c", 1.0, 0.9)]
    assert choose(tied, max_drop=1).point == {"mask_rate": "b"}


def test_the_grid_is_every_combination():
    grid = grid_of(("0.3", "0.5"), (0.1,), (None, 20))
    assert grid == [
        {"mask_rate": "0.3", "threshold": 0.1, "refine": "off"},
        {"mask_rate": "0.3", "threshold": 0.1, "refine_length": 20},
        {"mask_rate": "0.5", "threshold": 0.1, "refine": "off"},
        {"mask_rate": "0.5", "threshold": 0.1, "refine_length": 20},
    ]
    assert len(grid_of()) == 24


def test_tuning_goes_on_where_it_stopped_and_writes_a_method_that_can_be_used(world: World):
    grid = [{"mask_rate": rate} for rate in ("0.3", "0.5", "0.8")]
    part = tune(world.study(max_requests=250), grid)
    assert part.stopped
    assert 1 <= len(part.rows) < 3
    seen: list[int] = []
    tuned = tune(world.study(), grid, lambda number, _snapshot: seen.append(number))
    assert (tuned.stopped, [r.point for r in tuned.rows]) == (None, grid)
    assert tuned.rows[: len(part.rows)] == part.rows
    assert all(r.inputs == ROWS for r in tuned.rows)
    assert max(Counter(world.asked()).values()) == 1
    assert set(seen) == set(range(len(part.rows), 3))
    assert tuned.best == choose(tuned.rows)
    path = world.folder / "tuned.yaml"
    path.write_text(tuned.method)
    for task in ("sst2", "prompt", "any other"):
        method = load_method(str(path)).for_task(task)
        assert (method.name, method.mask_rate) == ("ranmask-tuned", tuned.best.point["mask_rate"])
        assert method.recovery == "mask"
    assert method.tuned is not None
    assert {name: method.tuned[name] for name in ("task", "model", "radius", "data", "inputs", "mask_rates")} == {
        **{"task": "sst2", "model": "openai/test", "radius": "published", "data": "data.jsonl"},
        **{"inputs": ROWS, "mask_rates": ["0.3", "0.5", "0.8"]},
    }
    assert str(world.folder) not in tuned.method
    assert load_method(str(path)).for_task("sst2", mask_rate="0.6").tuned is None


def test_each_radius_has_its_own_winner_and_unused_fields_make_no_setting(world: World):
    grid = grid_of(("0.5", "0.8"), (0.3, 0.5), (None, 20))
    for radius, kind in (("published", "published"), ("word", "word"), ("synonym", "synonym")):
        tuned = tune(world.study(), grid, radius=radius)
        assert [r.point for r in tuned.rows] == [{"mask_rate": "0.5"}, {"mask_rate": "0.8"}]
        for row in tuned.rows:
            (figures,) = read_summaries([world.folder / "run" / f"mask_rate={row.point['mask_rate']}"])
            assert row.r_avg == pytest.approx(r_avg(figures.outcomes[kind]))
        assert f"radius: {radius}" in tuned.method


def test_a_failed_row_is_in_the_denominator(world: World):
    write_data(world.folder / "data.jsonl", poison=3)
    (row,) = tune(world.study(), [{"mask_rate": "0.5"}]).rows
    (figures,) = read_summaries([world.folder / "run" / "mask_rate=0.5"])
    assert (row.inputs, row.failed) == (ROWS, 1)
    assert row.clean_accuracy == figures.clean.value == sum(o.correct for o in figures.outcomes["word"]) / ROWS


EXACT = {"method": "groups", "mask_rate": None}


def test_an_exact_method_is_tuned_by_what_is_proved_at_so_many_changes_balanced(world: World):
    tuned = tune(world.study(**EXACT), {"count": ["3", "5"], "sharpness": ["8"]}, radius="insert@1")
    assert [row.point for row in tuned.rows] == [{"count": 3, "sharpness": 8.0}, {"count": 5, "sharpness": 8.0}]
    for row in tuned.rows:
        (figures,) = read_summaries([world.folder / "run" / f"count={row.point['count']}-sharpness=8.0"])
        # All rows have one gold label, so that the balanced share is the plain one.
        assert row.proved == figures.at("insert", 1).value
        assert row.balanced_accuracy == figures.clean.value
        assert row.questions == figures.usage.calls / ROWS
    assert tuned.best == choose_exact(tuned.rows)
    assert max(Counter(world.asked()).values()) == 1
    path = world.folder / "mine.yaml"
    path.write_text(tuned.method)
    method = load_exact(str(path))
    assert method is not None
    assert (method.name, method.count) == ("groups-tuned", tuned.best.point["count"])
    assert method.tuned is not None
    assert method.tuned["radius"] == "insert@1"
    assert method.tuned["tried"] == {"count": [3, 5], "sharpness": [8.0]}
    assert str(world.folder) not in tuned.method
    asked = len(world.asked())
    assert world.run(**EXACT | {"method": str(path)}, run_dir=str(world.folder / "again")).done == ROWS
    assert len(world.asked()) == asked


def test_the_most_proved_wins_then_the_most_accurate_then_the_fewest_questions():
    def exact(name: str, proved: float, accuracy: float, questions: float, inputs: int = 50) -> Trial:
        return Trial({"count": name}, 0.0, 0.0, 0.0, inputs, 0, accuracy, proved=proved, questions=questions)

    rows = [exact("a", 0.5, 0.9, 5), exact("b", 0.6, 0.7, 9), exact("c", 0.6, 0.8, 9), exact("d", 0.6, 0.8, 7)]
    assert choose_exact(rows).point == {"count": "d"}
    assert choose_exact(rows[:2]).point == {"count": "b"}
    assert choose_exact([*rows, exact("e", 1.0, 1.0, 1, inputs=0), exact("f", 0.6, 0.8, 7)]).point == {"count": "d"}


def test_blocks_have_a_number_for_each_length_where_that_proves_more():
    def outcomes(short: int, long: int):
        """30 rows of 8 units and 30 of 100, with these radii."""
        made = [(f"s{i}", 8, short) for i in range(30)] + [(f"l{i}", 100, long) for i in range(30)]
        return [Outcome(i, "ab"[n % 2], "ab"[n % 2], r, words, 0, 1, 1) for n, (i, words, r) in enumerate(made)]

    def exact(count: int, short: int, long: int):
        found = outcomes(short, long)
        share = sum(o.certified_at(1) for o in found) / len(found)
        return Trial(
            {"count": count, "sharpness": 8.0}, 0.0, 1.0, 0.0, 60, 0, 1.0, proved=share, questions=count
        ), found

    three, five, even = exact(3, 1, 0), exact(5, 0, 1), exact(7, 0, 0)
    found = by_length([three, five, even], five[0], 1)
    assert found is not None
    assert found.proved == 1.0
    assert found.point == {"count": 5, "sharpness": 8.0, "counts": [(10, 3)]}
    method = ExactMethod(name="m", family="blocks", count=found.point["count"], counts=found.point["counts"])
    settings = exact_smoother(method, Base(("m",), "t"), ("a", "b")).settings
    assert [settings.of_length(n).count for n in (8, 100)] == [3, 5]
    # Where one number is best for all there is no table, and other settings are not mixed in.
    assert by_length([five, even], five[0], 1) is None
    other = (dataclasses.replace(three[0], point={"count": 3, "sharpness": 2.0}), three[1])
    assert by_length([other, five], five[0], 1) is None


@pytest.mark.parametrize(
    ("options", "grid", "radius", "said"),
    [
        (EXACT, {"coun": ["3"]}, "insert", "--try coun"),
        (EXACT, {"count": ["0"]}, "insert", "--try: count"),
        (EXACT, {}, "suffix", "--radius word, insert"),
        (EXACT, {}, "insert@0", "insert@2"),
        (EXACT, [{"mask_rate": "0.5"}], "insert", "--try"),
        ({}, {"count": ["3"]}, "word", "exact methods"),
        ({}, [{"mask_rate": "0.5"}], "word@1", "exact methods"),
        ({}, [{"mask_rate": "0.5"}], "insert", "--radius published, word, synonym"),
    ],
)
def test_what_goes_with_no_method_is_refused_in_one_line(options, grid, radius, said, world: World):
    with pytest.raises((UsageError, InputError), match=said) as caught:
        tune(world.study(**options), grid, radius=radius)
    assert "\n" not in str(caught.value)
    assert not world.asked()


def test_nothing_to_choose_from_is_said(world: World):
    with pytest.raises(UsageError, match="grid is empty"):
        tune(world.study(), [])
    with pytest.raises(InputError, match="no setting was finished: --max-requests 3"):
        tune(world.study(max_requests=3), [{"mask_rate": "0.5"}])
