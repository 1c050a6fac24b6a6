"""A number in a label column is never taken for a position: it is declared, told by the file, or asked about."""

from __future__ import annotations

import json

import pytest

from clucert.cli.options import pairs_of
from clucert.errors import InputError, UsageError
from clucert.evaluate.plan import make_plan
from clucert.evaluate.runconfig import load_config
from clucert.evaluate.study import data_notes
from clucert.tasks import load_task

SECTIONS = ["world", "sports", "business", "sci/tech"]


@pytest.fixture
def plan(tmp_path):
    def plan(labels, *, column="label", suffix="csv", more=None, **config):
        """The plan of a study of a file with these labels, and the file's path."""
        path = tmp_path / f"data.{suffix}"
        rows = [(f"text number {i}", label) for i, label in enumerate(labels)]
        if suffix == "csv":
            path.write_text(f"text,{column}\n" + "".join(f"{t},{label}\n" for t, label in rows))
        else:
            path.write_text("".join(json.dumps({"text": t, column: label}) + "\n" for t, label in rows))
        flags = {"data": str(path), "run_dir": tmp_path / "run", "label_column": column, **config}
        return make_plan(load_config(more, flags))

    return plan


def gold(plan):
    return [example.label for example in plan.dataset.examples]


def spam(tmp_path, **fields):
    path = tmp_path / "spam.yaml"
    path.write_text(json.dumps({"prompt": "{text}", "labels": ["spam", "ham"], **fields}))
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("number", [int, float, str])
def test_sst2_saved_as_numbers_is_glues(plan, suffix, number):
    made = plan([number(n) for n in (0, 1, 1, 0)], task="sst2", suffix=suffix)
    assert gold(made) == ["negative", "positive", "positive", "negative"]
    assert made.manifest.data.label_map == {"0": "negative", "1": "positive"}
    assert any("0=negative,1=positive" in note for note in data_notes(made))


def test_agnews_counts_from_0_on_the_hub_and_from_1_in_the_authors_csv(plan):
    assert gold(plan([0, 3, 1], task="agnews")) == ["world", "sci/tech", "sports"]
    assert gold(plan([1, 4, 2], task="agnews")) == ["world", "sci/tech", "sports"]


def test_what_the_numbers_do_not_decide_is_refused_with_both_mappings(plan):
    with pytest.raises(InputError) as said:
        plan([1, 2, 3, 3], task="agnews")
    assert "\n" not in str(said.value)
    for start in (0, 1):
        offer = ",".join(f"{i}={name}" for i, name in enumerate(SECTIONS, start))
        assert f"--label-map {offer}" in str(said.value)
        settled = plan([1, 2, 3, 3], task="agnews", label_map=pairs_of("--label-map", [offer]))
        assert gold(settled)[0] == SECTIONS[1 - start]


def test_rows_past_the_limit_decide_what_those_before_it_leave_open(plan):
    assert gold(plan([1, 2, 3, 4], task="agnews", limit=2)) == ["world", "sports"]
    assert gold(plan([1, 2, 3, 0], task="agnews", limit=2)) == ["sports", "business"]
    numbers = [2, 1, 0, 3]
    for seed in range(8):
        (drawn,) = plan(numbers, task="agnews", sample=1, seed=seed).dataset.examples
        assert drawn.label == SECTIONS[numbers[int(drawn.text.split()[-1])]]
    with pytest.raises(InputError, match="--label-map"):
        plan([1, 2, 3, 2], task="agnews", limit=2)


@pytest.mark.parametrize("labels", [[1, 2, 1], [0, 1, 2], [-1, 1], [-1, -1], [0, 4, 1, 3], [7, 7]])
@pytest.mark.parametrize("task", ["sst2", "jailbreak"])
@pytest.mark.parametrize("skip", [False, True])
def test_unknown_numbers_are_refused_even_where_malformed_rows_may_be_skipped(plan, labels, task, skip):
    with pytest.raises(InputError, match=r"data\.csv:2: labels are written as .*--label-map \S+ or --label-map \S+"):
        plan(labels, task=task, skip_malformed=skip)


def test_mixed_numberings_are_refused(plan):
    with pytest.raises(InputError, match="labels are written as 0, 1, 4"):
        plan([0, 1, 4], task="agnews", skip_malformed=True)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0, 0], [1, 2], [0, 0], [1], [10, 20], [1, 2, 3, 4, 5]])
def test_a_task_of_ones_own_asks_and_either_answer_settles_it(plan, tmp_path, labels):
    task = spam(tmp_path)
    with pytest.raises(InputError) as said:
        plan(labels, task=task)
    offers = [part.split()[0] for part in str(said.value).split("--label-map ")[1:]]
    assert len(set(offers)) == 2
    read = [gold(plan(labels, task=task, label_map=pairs_of("--label-map", [offer]))) for offer in offers]
    assert read[0] != read[1]
    assert {*read[0], *read[1]} <= {"spam", "ham"}


def test_the_mapping_may_stand_in_the_task_the_run_configuration_or_a_flag(plan, tmp_path):
    wanted = ["ham", "spam", "ham"]
    assert gold(plan([0, 1, 0], task=spam(tmp_path, label_map={"0": "ham", "1": "spam"}))) == wanted
    written = tmp_path / "t.yaml"
    written.write_text("prompt: '{text}'\nlabels: [spam, ham]\nlabel_map: {0: ham, 1: spam}\n")
    assert gold(plan([0, 1, 0], task=str(written))) == wanted
    config = tmp_path / "run.yaml"
    config.write_text("label_map: {0: ham, 1: spam}\n")
    made = plan([0, 1, 0], task=spam(tmp_path), more=config)
    assert gold(made) == wanted
    assert made.manifest.data.label_map == {"0": "ham", "1": "spam"}
    assert (
        gold(plan(["00", "1.0", "+0"], task=spam(tmp_path), label_map=pairs_of("--label-map", ["0=ham", "1=spam"])))
        == wanted
    )


def test_the_users_numbers_are_not_mixed_with_the_tasks(plan):
    turned = pairs_of("--label-map", ["0=positive,1=negative"])
    assert gold(plan([0, 1], task="sst2", label_map=turned)) == ["positive", "negative"]
    with pytest.raises(InputError, match="which the label map leaves out"):
        plan([0, 1, 2], task="sst2", label_map=pairs_of("--label-map", ["2=positive"]))


def test_labels_that_are_numbers_are_names(plan, tmp_path):
    task = tmp_path / "stars.yaml"
    task.write_text("prompt: '{text}'\nlabels: ['1', '2', '3']\n")
    made = plan([1, 3, 2], task=str(task))
    assert (gold(made), made.manifest.data.label_map) == (["1", "3", "2"], {})
    assert gold(plan([1.0, 3.0], task=str(task), suffix="jsonl")) == gold(plan(["1.0", "3."], task=str(task)))
    with pytest.raises(InputError, match="labels are written as 0"):
        plan([1, 0, 2], task=str(task))


def test_labels_that_a_flag_cannot_hold_are_asked_for_in_a_file(plan, tmp_path):
    task = tmp_path / "odd.yaml"
    task.write_text(json.dumps({"prompt": "{text}", "labels": ["yes, sure", "a=b"]}))
    with pytest.raises(InputError) as said:
        plan([0, 1], task=str(task))
    offers = [part.split("}")[0] + "}" for part in str(said.value).split("label_map: ")[1:]]
    for offer in offers:
        config = tmp_path / "c.yaml"
        config.write_text(f"label_map: {offer}\n")
        assert gold(plan([0, 1], task=str(task), more=config)) == list(json.loads(offer).values())


def test_the_tasks_own_synonyms_are_read(plan):
    assert gold(plan(["neg", "POS", "Negative"], task="sst2")) == ["negative", "positive", "negative"]
    assert gold(plan(["Science", "Sci/Tech", "sport"], task="agnews")) == ["sci/tech", "sci/tech", "sports"]
    assert gold(plan(["harmful", "benign"], task="refusal")) == ["refused", "complied"]
    with pytest.raises(InputError, match="labels are written as 0, 1, and nothing says"):
        plan([1, 0], task="refusal")


@pytest.mark.parametrize("wrong", ["0", "0=", "=ham", "0=ham,", "0=ham,0=spam"])
def test_a_flag_that_is_no_mapping_is_refused(wrong):
    with pytest.raises(UsageError, match="--label-map"):
        pairs_of("--label-map", [wrong])


def test_a_mapping_to_what_is_no_label_is_refused(plan):
    with pytest.raises(UsageError, match="'good' is none of the labels positive, negative"):
        plan([0, 1], task="sst2", label_map={"0": "good"})


def test_every_declared_numbering_speaks_of_the_tasks_labels():
    declared = {name: load_task(name).numberings for name in ("sst2", "agnews", "jailbreak")}
    for name, numberings in declared.items():
        for numbering in numberings:
            assert set(numbering.values()) == set(load_task(name).labels)
            assert sorted(map(int, numbering)) in (
                list(range(len(numbering))),
                list(range(1, 1 + len(numbering))),
            )


def test_limit_on_rows_sorted_by_label_warns_and_says_how_to_draw(plan):
    def notes(labels, **config):
        return [note for note in data_notes(plan(labels, task="sst2", **config)) if "--sample" in note]

    one, two = ["positive"] * 20, ["negative"] * 20
    assert notes(one + two, limit=10) == [
        "the first 10 rows all have the label 'positive': they may not be like the rest of the file; "
        "--sample 10 instead of --limit 10 draws rows at random"
    ]
    assert "stand sorted by label" in notes(one + two, limit=30)[0]
    assert notes(one + two) == notes(one + two, sample=10) == []
    assert notes(["positive", "negative"] * 20, limit=10) == []
