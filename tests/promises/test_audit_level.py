"""The audit calls a claim broken that is not with probability ``level`` at most: exact, where all labels tie."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import factorial

import pytest
from scipy.stats import binomtest

from clucert.audit.candidates import Candidate
from clucert.audit.claims import Claim
from clucert.audit.steps import Effort, Screened, _confirm, _rivals, loses
from clucert.core.words import split
from clucert.types import Classify, Phase, Votes
from tests.core.test_smoothing import smoother

LABELS = ("a", "b", "c", "d")
TEXT = split("one two three four")
CLAIM = Claim("proved", "word", 1, (0, 1, 2, 3), "a")


def counts(labels: int, samples: int) -> Iterator[tuple[int, ...]]:
    if labels == 1:
        yield (samples,)
        return
    for first in range(samples + 1):
        for rest in counts(labels - 1, samples - first):
            yield (first, *rest)


def chance(drawn: tuple[int, ...], labels: int) -> float:
    """Probability of these counts where every label is equally likely: nothing is broken."""
    ways = factorial(sum(drawn))
    for count in drawn:
        ways //= factorial(count)
    return ways / labels ** sum(drawn)


@pytest.mark.parametrize("labels", [2, 3, 4])
@pytest.mark.parametrize("level", [0.001, 0.05])
def test_at_a_tie_a_break_is_called_no_more_often_than_the_level_says(labels, level):
    names, finalists, samples = LABELS[:labels], Effort().finalists, 40
    shared = plain = 0.0
    for drawn in counts(labels, samples):
        votes, p = Votes(dict(zip(names, drawn, strict=True))), chance(drawn, labels)
        shared += p * (finalists * loses(votes, "a", names[1:])[1] <= level)
        top = max(drawn[1:])
        plain += p * (binomtest(top, top + drawn[0], 0.5, alternative="greater").pvalue <= level if top else 0)
    assert 0 < 1 - (1 - shared) ** finalists <= level
    if labels > 2:
        # Undivided, the luckiest of several rivals and finalists is called a break more often than that.
        assert 1 - (1 - plain) ** finalists > level


def confirmed(drawn: list[tuple[int, int]], effort: Effort, labels: tuple[str, ...] | None = ("a", "b", "c")):
    """What is made of finalists whose fresh votes are ``drawn``: (for the certified answer, for b)."""
    made = smoother(predict_samples=1)
    finalists = [
        Screened(0.0, Votes({"b": 9, "c": 1}), Candidate((f"w{i}", *TEXT.words[1:]), "test")) for i in range(len(drawn))
    ]
    target = type(made)(made.settings, labels, made.lexicon, made.refiner, made.denoiser)
    steps, left, reply = _confirm(target, TEXT, CLAIM, finalists, "name", effort), iter(drawn), None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            return stop.value
        if isinstance(request, Classify):
            mine, others = next(left)
            assert mine + others == len(request.texts)
            reply = ["a"] * mine + ["b"] * others
        else:
            assert isinstance(request, Phase)
            reply = None


@pytest.mark.parametrize(("finalists", "labels"), list(product((1, 2, 5), (2, 3, 4))))
def test_every_finalist_and_every_rival_takes_its_share_of_the_level(finalists, labels):
    """39 of 60: p = 0.0137, enough at 0.05 for one finalist and up to three rivals, too little for two of more."""
    effort = Effort(confirm=60, level=0.05, finalists=finalists)
    once = binomtest(39, 60, 0.5, alternative="greater").pvalue
    attempt = confirmed([(21, 39)] * finalists, effort, LABELS[:labels])
    assert attempt.p_value == pytest.approx(min(1, once * finalists * (labels - 1)))
    assert attempt.broken == (once * finalists * (labels - 1) <= 0.05)


def test_a_real_break_is_still_called_one():
    assert confirmed([(2, 298)], Effort()).broken
    assert not confirmed([(150, 150), (140, 160)], Effort()).broken


def test_the_rivals_of_open_answers_are_fixed_before_the_votes_that_judge_them():
    assert _rivals(None, Votes({"a": 3, "b": 2, "c": 0}), "a") == ("b",)
    assert _rivals(LABELS, Votes({"a": 3}), "a") == ("b", "c", "d")
    assert loses(Votes({"a": 1, "z": 99}), "a", ("b",)) == (None, 1.0)
