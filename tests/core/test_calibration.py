from __future__ import annotations

import math

import numpy as np
import pytest

from clucert.core.calibration import LEAST, Bias, Fragment, bias_of, fit
from clucert.errors import InputError


def fragments(bias_at: dict[int, tuple[float, ...]], each: int = 400) -> list[Fragment]:
    """Fragments whose true log-odds are spread around 0, as a model of that bias would score them."""
    rng = np.random.default_rng(5)
    found = []
    for words, bias in bias_at.items():
        for label in range(len(bias)):
            for _ in range(each):
                evidence = rng.normal(size=len(bias))
                evidence[label] += 1.0
                z = evidence + np.asarray(bias)
                p = np.exp(z) / np.exp(z).sum()
                found.append(Fragment(words, tuple(float(x) for x in p), label))
    return found


def at(biases: tuple[Bias, ...], words: int) -> Bias:
    found = bias_of(biases, "w " * words)
    assert found is not None
    return found


def test_the_bias_of_each_length_is_found() -> None:
    fitted = fit(fragments({2: (-0.5, 0.5), 30: (0.4, -0.4)}))
    assert at(fitted, 2).of == pytest.approx((-0.5, 0.5), abs=0.12)
    assert at(fitted, 30).of == pytest.approx((0.4, -0.4), abs=0.12)
    assert at(fitted, 500) == at(fitted, 30)
    assert {bias.scale for bias in fitted} == {1.0}


def test_the_temperature_of_each_length_is_found_beside_the_bias() -> None:
    """A model that is twice as sure as it may be of short fragments, and half as sure of long ones."""
    true = fragments({2: (-0.5, 0.5), 30: (0.4, -0.4)}, each=2000)
    wanted = {2: 0.5, 30: 2.0}

    def said(each: Fragment) -> Fragment:
        z = np.log(each.shares) / wanted[each.words]
        return Fragment(each.words, tuple(float(p) for p in np.exp(z) / np.exp(z).sum()), each.label)

    plain, fitted = fit(true, scaled=True), fit([said(each) for each in true], scaled=True)
    for words, scale in wanted.items():
        assert at(fitted, words).scale == pytest.approx(scale * at(plain, words).scale, rel=0.05)
        # The bias is that of the scores as they were given.
        assert at(fitted, words).of == pytest.approx([b / scale for b in at(plain, words).of], abs=0.05)


def test_four_labels_and_labels_of_unequal_number() -> None:
    wanted = (0.3, -0.1, -0.5, 0.3)
    found = fragments({5: wanted})
    fewer = [each for i, each in enumerate(found) if each.label or i % 4 == 0]
    (only,) = {bias.of for bias in fit(fewer)}
    assert only == pytest.approx(wanted, abs=0.15)
    assert sum(only) == pytest.approx(0, abs=0.01)


def test_a_length_with_too_few_fragments_is_joined_to_the_next() -> None:
    few = fragments({2: (0.0, 0.0)}, each=LEAST - 1) + fragments({3: (-0.5, 0.5)})
    assert [bias.words for bias in fit(few)] == [None]
    with pytest.raises(InputError, match="more validation rows"):
        fit(fragments({3: (0.0, 0.0)}, each=LEAST - 1))
    with pytest.raises(InputError, match="more validation rows"):
        fit([])


def test_separable_fragments_give_finite_numbers() -> None:
    found = [Fragment(4, (1.0, 0.0) if label == 0 else (0.0, 1.0), label) for label in (0, 1) for _ in range(LEAST)]
    for bias in fit(found, scaled=True):
        assert all(math.isfinite(b) for b in (*bias.of, bias.scale))


def test_the_class_of_a_text_is_that_of_its_words() -> None:
    biases = (Bias(2, (1.0,)), Bias(4, (2.0,)), Bias(None, (3.0,)))
    assert [at(biases, n).of for n in (0, 2, 3, 4, 5)] == [(1.0,), (1.0,), (2.0,), (2.0,), (3.0,)]
    assert bias_of((), "w") is None
