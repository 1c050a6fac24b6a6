"""TextAttack's own recipes beside ours, on the same victim. Needs its environment: python bench/attacks.py --setup."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from adapter import (
    CACHE,
    PYTHON_VARIABLE,
    TextAttackRecipe,
    find_python,
    lost_words,
    model_wrapper,
    probability_row,
)
from attack_world import ROWS, LetterEncoder, soft
from hypothesis import given
from hypothesis import strategies as st
from test_attack_contract import here

from clucert.attacks.base import Scored
from clucert.attacks.recipes import load_attack
from clucert.attacks.steps import attack_text
from clucert.core.noise.retention import rng_for
from clucert.errors import MissingExtraError, ModelUnavailableError, UsageError

ROOT = Path(__file__).parents[2]
needs_textattack = pytest.mark.skipif(not here(), reason="TextAttack is not installed: python bench/attacks.py --setup")
shares = st.dictionaries(st.sampled_from("abc"), st.integers(0, 20), min_size=1)


@given(shares, st.integers(0, 20))
def test_rows_sum_to_one_so_that_textattack_leaves_them_alone(counts: dict[str, int], unparsed: int) -> None:
    total = sum(counts.values()) + unparsed
    if total:
        row = probability_row(Scored("a", {name: count / total for name, count in counts.items()}), ("a", "b"))
        assert sum(row) == pytest.approx(1)
        assert row[0] == pytest.approx(counts.get("a", 0) / total)


@pytest.mark.parametrize(
    ("after", "lost"),
    [("a dull film", 0), ("a du ll film", 1), ("a film", 1), ("the dul film", 2), ("a very dull film", 0)],
)
def test_changed_words_are_those_that_are_gone(after: str, lost: int) -> None:
    assert lost_words(["a", "dull", "film"], after.split()) == lost


def test_a_missing_environment_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("adapter.CACHE", tmp_path)
    with pytest.raises(MissingExtraError, match=r"bench/attacks\.py --setup"):
        find_python()
    monkeypatch.setenv(PYTHON_VARIABLE, "/nowhere/python")
    with pytest.raises(UsageError, match=PYTHON_VARIABLE):
        next_answer(TextAttackRecipe("deepwordbug"))


def test_a_process_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'no module named textattack' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(ModelUnavailableError, match="no module named textattack"):
        next_answer(TextAttackRecipe("deepwordbug", python=python))


def next_answer(attack: TextAttackRecipe) -> None:
    text, gold = ROWS[0]
    attack_text(attack, soft(), text, gold, rng_for(0, 0, "x"), encoder=LetterEncoder())


def test_a_wrapper_without_textattack_says_what_is_missing() -> None:
    with pytest.raises(MissingExtraError, match="textattack"):
        model_wrapper(soft())


@needs_textattack
@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["deepwordbug", "textbugger"])
def test_ours_skips_the_same_texts_and_succeeds_as_often(recipe: str) -> None:
    """Over 7 texts and 6 seeds: the same skipped set; success rates within 15 points, queries within 20 %."""
    found = {}
    for attack in (load_attack(recipe), TextAttackRecipe(recipe)):
        found[attack.name] = [
            attack_text(attack, soft(), text, gold, rng_for(seed, i, "side by side"), encoder=LetterEncoder())
            for seed in range(6)
            for i, (text, gold) in enumerate(ROWS)
            if text and gold and any(c.isalpha() for c in text)
        ]
        if isinstance(attack, TextAttackRecipe):
            attack.close()
    ours, theirs = found.values()
    assert [r.status == "skipped" for r in ours] == [r.status == "skipped" for r in theirs]
    rates = [sum(r.status == "success" for r in side) / len(side) for side in (ours, theirs)]
    queries = [sum(r.queries for r in side) for side in (ours, theirs)]
    assert abs(rates[0] - rates[1]) <= 0.15
    assert 0.8 <= queries[0] / queries[1] <= 1.25


WRAPPED = """
from adapter import model_wrapper
from clucert.attacks.steps import run_blocking
from clucert.attacks.victims import BareVictim
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends
from textattack.attack_recipes import DeepWordBugGao2018
from textattack.models.wrappers import ModelWrapper

scores = lambda texts: [[0.2, 0.8] if "dull" in t else [0.7, 0.3] for t in texts]
victim = BareVictim(Backends(CallableClassifier(scores, ["pos", "neg"])))
model = model_wrapper(victim)
assert isinstance(model, ModelWrapper)
result = DeepWordBugGao2018.build(model).attack("a dull film", 1)
assert run_blocking(victim, lambda: victim.steps([result.perturbed_text()]))[0].answer == "pos", result
print(type(result).__name__)
"""


@needs_textattack
@pytest.mark.slow
def test_textattack_attacks_a_wrapped_model_in_its_own_process() -> None:
    folders = (str(ROOT / "src"), str(ROOT / "bench/textattack"))
    environment = {"PYTHONPATH": os.pathsep.join(folders), "HF_HUB_OFFLINE": "1"}
    data = CACHE.expanduser() / "nltk_data"
    done = subprocess.run(
        [str(find_python()), "-c", WRAPPED],
        env={"NLTK_DATA": str(data), **os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("SuccessfulAttackResult")
