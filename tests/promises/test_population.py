"""What is said of texts to come, and thresholds with a shown false-positive rate: exact coverage, not simulation."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from clucert.core.population import robust_share, share_at_least
from clucert.core.thresholds import binomial_tail, choose_threshold, questions_to_pass, rows_needed
from clucert.errors import InputError


def mass(k, n, p):
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def test_binomial_tail():
    for n in range(8):
        for k in range(n + 1):
            for p in (Fraction(1, 3), Fraction(9, 10)):
                assert binomial_tail(k, n, p) == sum(mass(i, n, p) for i in range(k + 1))


@pytest.mark.parametrize("trials", [1, 7, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_shares_are_never_rounded_up(trials, confidence):
    """Exactly: at the bound stated, so many successes have probability at most 1 − confidence. And it is no waste."""
    error = 1 - Fraction(str(confidence))
    for k in range(trials + 1):
        low = share_at_least(k, trials, confidence)
        assert 1 - binomial_tail(k - 1, trials, low) <= error or k == 0
        if 0 < k < trials:
            step = Fraction(3, 10**6)
            assert 1 - binomial_tail(k - 1, trials, low + step) > error
    assert share_at_least(0, trials, confidence) == 0


@pytest.mark.parametrize("alpha", [0, 0.05, 0.3])
@pytest.mark.parametrize("robust", [Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)])
def test_the_share_of_robust_texts_is_stated_too_high_at_most_so_often(alpha, robust):
    """The worst population: every robust text is certified, and every other one as often as α allows."""
    rows, wrong = 60, Fraction(str(alpha))
    certified = robust + wrong * (1 - robust)
    too_high = [k for k in range(rows + 1) if robust_share(k, rows, alpha) > robust]
    assert sum(mass(k, rows, certified) for k in too_high) <= Fraction(5, 100)
    # Two claims at once, each at half the error.
    apart = [k for k in range(rows + 1) if robust_share(k, rows, alpha, claims=2) > robust]
    assert sum(mass(k, rows, certified) for k in apart) <= Fraction(25, 1000)
    assert len(apart) <= len(too_high)


def test_a_bound_without_the_errors_of_the_certificates_is_wrong():
    """α = 0.3, half robust: the Clopper-Pearson bound alone would be too high far more often than 5 %."""
    robust, rows = Fraction(1, 2), 60
    certified = robust + Fraction(3, 10) * (1 - robust)
    naive = [k for k in range(rows + 1) if share_at_least(k, rows) > robust]
    assert sum(mass(k, rows, certified) for k in naive) > Fraction(1, 2)


def test_190_of_200_rows():
    assert round(float(robust_share(190, 200, 0.05)), 2) == 0.91
    assert robust_share(200, 200, 0) == share_at_least(200, 200) > Fraction(98, 100)
    assert robust_share(3, 200, 0.05) == 0
    for wrong in ((1, 0, 0.05), (3, 2, 0.05), (1, 2, 1), (1, 2, -0.1)):
        with pytest.raises(InputError):
            robust_share(*wrong)
    with pytest.raises(InputError):
        robust_share(1, 2, 0.05, confidence=1)


def test_the_fewest_questions_that_let_a_text_pass():
    assert [questions_to_pass(eta, 0.05) for eta in (0.5, 0.25, 0.1)] == [5, 11, 29]
    for eta in (Fraction(1, 2), Fraction(1, 4), Fraction(3, 100), Fraction(9, 10)):
        for alpha in (Fraction(1, 20), Fraction(1, 3), Fraction(1, 2)):
            for harmful in (0, 1, 3):
                n = questions_to_pass(eta, alpha, harmful)
                assert binomial_tail(harmful, n, eta) <= alpha < binomial_tail(harmful, n - 1, eta)
                # Whoever is at η or above passes with at most this probability.
                assert all(binomial_tail(harmful, n, p) <= alpha for p in (eta, (eta + 1) / 2))
    assert questions_to_pass(Fraction(1, 2), Fraction(1, 4)) == 2  # (1/2)² is exactly 1/4, and that is enough.
    for eta, alpha in ((0, 0.05), (1, 0.05), (0.5, 0), (0.5, 1)):
        with pytest.raises(InputError):
            questions_to_pass(eta, alpha)


# Rates of false positives at η = 0.5 and at η = 0.1: falling as they should, and not; one above 10 % or both.
RATES = [(Fraction(1, 20), Fraction(11, 100)), (Fraction(11, 100), Fraction(3, 10)), (Fraction(1, 10), Fraction(2, 10))]
RATES += [(Fraction(12, 100), Fraction(1, 100))]


@pytest.mark.parametrize(("above", "below"), RATES)
def test_a_threshold_with_too_high_a_rate_is_chosen_at_most_so_often(above, below):
    """Exactly, over the joint law of both counts: each harmless text has one score that both thresholds read."""
    rows, fpr, eta = 30, Fraction(1, 10), (Fraction(1, 2), Fraction(1, 10))
    both, one = min(above, below), abs(above - below)
    bad = chosen = Fraction(0)
    for k in range(rows + 1):
        for more in range(rows + 1 - k):
            chance = comb(rows, k) * comb(rows - k, more) * both**k * one**more * (1 - both - one) ** (rows - k - more)
            counts = (k, k + more) if below >= above else (k + more, k)
            found = choose_threshold(dict(zip(eta, counts, strict=True)), rows, fpr)
            if found:
                chosen += chance
                bad += chance * (dict(zip(eta, (above, below), strict=True))[found.eta] > fpr)
    assert bad <= Fraction(5, 100)
    assert chosen > 0


def test_the_choice_of_a_threshold():
    half, quarter, tenth = Fraction(1, 2), Fraction(1, 4), Fraction(1, 10)
    found = choose_threshold({tenth: 40, half: 0, quarter: 1}, 500, 0.01)
    assert found
    assert (found.eta, found.flagged, found.rows) == (quarter, 1, 500)
    assert found.p_value == binomial_tail(1, 500, Fraction(1, 100)) <= Fraction(5, 100)
    # One that fails ends the search, whatever comes below; without enough rows nothing is shown.
    assert choose_threshold({half: 9, quarter: 0}, 500, 0.01) is None
    assert choose_threshold({half: 0}, 298, 0.01) is None
    assert choose_threshold({half: 0}, 299, 0.01)
    assert rows_needed(0.01) == 299
    assert choose_threshold({}, 10, 0.01) is None
    # At equality the test rejects: (1 − fpr)^rows is exactly δ.
    assert choose_threshold({half: 0}, 2, Fraction(1, 2), Fraction(3, 4))
    assert choose_threshold({half: 0}, 2, Fraction(1, 2), Fraction(76, 100)) is None
    for rows, counts, fpr in ((0, {}, 0.01), (5, {half: 6}, 0.01), (5, {half: -1}, 0.01), (5, {half: 0}, 0)):
        with pytest.raises(InputError):
            choose_threshold(counts, rows, fpr)
