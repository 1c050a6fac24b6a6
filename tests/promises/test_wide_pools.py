"""The paper's wide pools prove what open pools prove, against brute force, and nothing that needs closed classes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

import clucert
from clucert.build import smoother_of, task_of
from clucert.config import Config
from clucert.core.threats import overlaps, pool_of
from clucert.errors import InputError
from clucert.lexicon import WideLexicon, load_lexicon
from clucert.lexicon.canonical import load_form
from tests.promises.noise_worlds import lowest, pooled_law

WIDE = WideLexicon()
POOL = pool_of(WIDE, ())
SETTINGS = smoother_of(
    config := Config.of(task="sst2", method="clucert-no-clustering", refine="off", lexicon=["wide"], mask_rate="0.5"),
    task_of(config),
).settings
TEXTS = ("a quiet story", "boring music", "the market rallied", "shares of software")
LOWS = (Fraction(9, 10), Fraction(999, 1000), Fraction(1))


def swaps(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Every text with one word swapped for one of its pool."""
    return [
        (*words[:i], other, *words[i + 1 :]) for i, word in enumerate(words) for other in POOL(word) if other != word
    ]


@pytest.mark.parametrize("forms", [(), ("synonyms",)])
def test_no_classifier_falls_below_what_is_claimed_of_a_swap(forms: tuple[str, ...]) -> None:
    """The worst of all classifiers (an exact linear program), also where canonical synonyms come before the noise."""
    form, checked, informative = load_form(forms), 0, 0
    for words in map(tuple, map(str.split, TEXTS)):
        n, s = len(words), 1
        written = tuple(map(form.word, words)) if form else words
        overlap = overlaps(SETTINGS, words, WIDE, (), form)["synonym"]
        assert len(overlap.masked) == sum(len(POOL(word)) > 1 for word in words) > 0
        before = pooled_law(written, s, POOL)
        for other in swaps(words):
            if form and not all(map(form.is_word, other)):
                continue
            after = pooled_law(tuple(map(form.word, other)) if form else other, s, POOL)
            for low in LOWS:
                checked += 1
                floor = overlap.floor(n, s, 1, low)
                informative += floor > 0
                assert lowest(before, after, low, 0) >= floor, (words, other, low)
    assert checked > 100
    assert informative > 40


def test_nothing_is_proved_of_any_words_and_the_certificate_names_the_pools() -> None:
    smoothed = clucert.smooth(
        lambda texts: ["positive"] * len(texts), ["positive", "negative"], method="clucert-no-clustering", refine="off",
        lexicon=["wide"], mask_rate="0.9", deterministic=True,
    )  # fmt: skip
    found = smoothed.certify("a quiet story about two friends who never meet again in the old town").certificate
    assert found.settings.lexicon == "wide"
    assert found.proved["word"].words == 0
    strict = load_lexicon()
    assert sum(found.subject.attackable) > sum(len(strict.pool(word)) > 1 for word in found.subject.words)


@pytest.mark.parametrize("kernel", ["canonical", "redraw"])
@pytest.mark.parametrize("method", ["clucert-proved", "clucert-no-clustering"])
def test_what_needs_closed_classes_refuses_open_pools(method: str, kernel: str) -> None:
    with pytest.raises(InputError, match="closed classes: set  lexicon: classes"):
        clucert.smooth(lambda texts: ["a"] * len(texts), ["a", "b"], method=method, lexicon=["wide"],
                       retained_kernel=kernel)  # fmt: skip


def test_the_default_of_proofs_is_the_strict_one() -> None:
    for method in ("clucert", "ranmask", "clucert-no-clustering", "clucert-no-refine"):
        made = clucert.smooth(lambda texts: ["a"] * len(texts), ["a", "b"], method=method)
        assert made.smoother.lexicon.name == "wordnet+embeddings"
    for method in ("clucert-proved", "clucert-per-sample"):
        made = clucert.smooth(lambda texts: ["a"] * len(texts), ["a", "b"], method=method)
        assert made.smoother.lexicon.name == "classes"
