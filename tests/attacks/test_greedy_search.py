from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from attack_world import LetterEncoder
from hypothesis import given, settings
from tests.strategies import ordinary_texts

from clucert.attacks.base import AttackResult, Scored
from clucert.attacks.constraints import SentenceSimilarity
from clucert.attacks.recipes import deepwordbug
from clucert.attacks.search import GreedyWordSwap, without_word
from clucert.attacks.steps import attack_text
from clucert.attacks.victims import Steps
from clucert.core.noise.retention import rng_for
from clucert.core.words import WordedText, split


@dataclass(frozen=True)
class Table:
    """Words and what they become."""

    options: Mapping[str, tuple[str, ...]]

    def __call__(self, word: str, rng: np.random.Generator) -> tuple[str, ...]:
        return self.options.get(word, ())


@dataclass
class Listed:
    """A victim with given shares for given texts."""

    scores: Mapping[str, Mapping[str, float]]
    default: Mapping[str, float]
    name: str = "listed"
    labels: tuple[str, ...] = ("a", "b", "c")

    def __post_init__(self) -> None:
        self.asked: list[str] = []

    def steps(self, texts: Sequence[str]) -> Steps:
        yield from ()
        self.asked.extend(texts)
        found = [self.scores.get(text, self.default) for text in texts]
        return [Scored(max(shares, key=shares.__getitem__), shares) for shares in found]


def attack(victim: Listed, text: str, options: Mapping[str, tuple[str, ...]], **changes: object) -> AttackResult:
    search = GreedyWordSwap("test", "unk", (Table(options),), **changes)
    return attack_text(search, victim, text, "a", rng_for(0, 0, "x"), encoder=LetterEncoder())


SURE = {"a": 0.9, "b": 0.1}


def test_words_are_tried_in_the_order_in_which_they_matter() -> None:
    victim = Listed({"red [UNK] fish": {"a": 0.6, "b": 0.4}, "red blue [UNK]": {"a": 0.7, "b": 0.3}}, SURE)
    attack(victim, "red blue fish", {w: (w + "1",) for w in ("red", "blue", "fish")})
    assert victim.asked == [
        *("red blue fish", "[UNK] blue fish", "red [UNK] fish", "red blue [UNK]"),
        *("red blue1 fish", "red blue fish1", "red1 blue fish"),
    ]


def test_only_changes_that_help_are_kept() -> None:
    victim = Listed({"red1 blue fish": {"a": 0.95, "b": 0.05}, "red blue1 fish": {"a": 0.8, "b": 0.2}}, SURE)
    result = attack(victim, "red blue fish", {w: (w + "1",) for w in ("red", "blue", "fish")})
    assert victim.asked[-1] == "red blue1 fish1"
    assert (result.status, result.perturbed) == ("failure", "red blue1 fish")


def test_any_flip_ends_the_attack_even_if_another_candidate_leaves_the_gold_label_less() -> None:
    # TextAttack looks at the first candidate only, which still says "a".
    victim = Listed({"red1": {"a": 0.34, "b": 0.33, "c": 0.33}, "red2": {"a": 0.4, "b": 0.6}}, {"a": 0.9, "b": 0.1})
    result = attack(victim, "red", {"red": ("red1", "red2")})
    assert (result.status, result.perturbed, result.after) == ("success", "red2", "b")


def test_of_several_flips_the_most_similar_one_is_returned() -> None:
    victim = Listed({"redd blue": {"a": 0.4, "b": 0.6}, "xqzw blue": {"a": 0.1, "b": 0.9}}, SURE)
    options = {"red": ("redd", "xqzw")}
    assert attack(victim, "red blue", options).perturbed == "xqzw blue"
    similar = SentenceSimilarity(0.0)
    assert attack(victim, "red blue", options, constraints=(similar,)).perturbed == "redd blue"


def test_a_space_in_a_word_does_not_move_the_words_behind_it() -> None:
    victim = Listed({"[UNK] blue fish": {"a": 0.5, "b": 0.4}, "r ed blue fish": {"a": 0.6, "b": 0.4}}, SURE)
    result = attack(victim, "red blue fish", {"red": ("r ed",), "blue": ("blu",), "fish": ("fis",)})
    assert victim.asked[-2:] == ["r ed blu fish", "r ed blue fis"]
    assert result.changes == ((0, "red", "r ed"),)


def test_restriction_frees_stop_words_and_freezes_the_rest() -> None:
    search = deepwordbug().restricted([0])
    assert search.frozen(split("the film")) == (False, True)
    assert deepwordbug().frozen(split("the film")) == (True, False)


@pytest.mark.parametrize(
    ("text", "i", "expected"),
    [
        ("red blue fish", 0, "blue fish"),
        ("red blue fish", 1, "red fish"),
        ("red blue fish", 2, "red blue"),
        ("red , blue", 1, "red ,"),
        ("red", 0, ""),
    ],
)
def test_a_word_goes_with_one_space(text: str, i: int, expected: str) -> None:
    assert without_word(split(text), i) == expected


@given(ordinary_texts())
@settings(deadline=None)
def test_leaving_a_word_out_leaves_the_others(text: WordedText) -> None:
    for i in range(len(text)):
        rest = without_word(text, i)
        assert len(text.text) - len(text.words[i]) - len(rest) in (0, 1)
        gaps = list(text.gaps)
        gaps[i : i + 2] = [gaps[i] + gaps[i + 1]]
        others = replace(text, words=(*text.words[:i], *text.words[i + 1 :]), gaps=tuple(gaps))
        assert "".join(rest.split()) == "".join(others.text.split())
