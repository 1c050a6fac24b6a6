from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.tasks.numbers import canonical, final_number, numbers_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", "42"),
        ("42.", "42"),
        ("#### 42", "42"),
        ("She has 3 * 4 = 12 apples.\n#### 12", "12"),
        ("#### $1,234.50", "1234.5"),
        ("#### \\$18", "18"),
        ("$1,234,567.", "1234567"),
        ("1.5e3", "1500"),
        ("5 × 10^3", "5000"),
        ("½", "0.5"),
        ("1½ cups", "1.5"),
        ("1 1/2", "1.5"),
        ("3/4", "0.75"),
        ("1/3", "1/3"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("(-4)", "-4"),
        ("-0", "0"),
        ("0.0", "0"),
        ("12.30", "12.3"),
        (".5", "0.5"),
        ("50%", "50"),
        ("10-5", "5"),
        ("3–5", "5"),
        ("- 5 apples", "5"),
        ("9 - 3", "3"),
        ("\\boxed{1,000}", "1000"),
        ("The answer is 7 apples.", "7"),
        ("The answer is 3 + 4 = 7.", "7"),
        ("First 10. Answer: 20. That leaves nothing of 30\nFinal answer: 40", "40"),
        ("1\u202f000", "1000"),
        ("٣٤", "34"),
        ("10⁵", "10"),
        ("1,2,3", "3"),
        ("#### none, so 5 and then #### nothing", "5"),
    ],
)
def test_numbers_as_people_write_them(text: str, number: str) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize("text", ["", "no number", "1/0", "v2", "x1y", "9" * 100, "1e999999999", "####", "\\boxed{}"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert final_number(text) is None


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_integers_in_every_dress_are_one_vote(n: int) -> None:
    sign, size = ("-" if n < 0 else ""), abs(n)
    dresses = [
        f"{n}",
        f"{n:,}",
        f"{sign}${size:,}",
        f"{n}.",
        f"{n}.00",
        f"#### {n}",
        f"the answer is {n:,}",
        f"{n} cups",
    ]
    assert {final_number(text) for text in dresses} == {str(n)}


@settings(deadline=None)
@given(st.decimals(min_value=-(10**9), max_value=10**9, places=4))
def test_decimals_keep_their_value(d: Decimal) -> None:
    text = f"{d:f}"
    found = final_number(text)
    assert found is not None
    assert Fraction(found) == Fraction(d)
    assert final_number(f"{d:,f}") == found


@settings(deadline=None)
@given(st.fractions(max_denominator=10**6))
def test_canonical_is_exact_and_unique(number: Fraction) -> None:
    text = canonical(number)
    assert Fraction(text) == number
    assert final_number(text) == text


@settings(deadline=None)
@given(st.fractions(), st.fractions())
def test_equal_numbers_are_equal_votes_and_others_are_not(a: Fraction, b: Fraction) -> None:
    assert (canonical(a) == canonical(b)) == (a == b)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = final_number(text)
    assert found is None or Fraction(found) in numbers_in(text)


@settings(deadline=None)
@given(st.text(alphabet="0123456789.,/-+$ eE½^×", max_size=60))
def test_number_soup_is_read_without_an_error(text: str) -> None:
    assert all(canonical(number) for number in numbers_in(text))


MARKED = {
    r"\boxed{\frac{1}{2}}": "0.5",
    r"\boxed{\dfrac{3}{4}}": "0.75",
    r"\boxed{\tfrac12}": "0.5",
    r"\boxed{3\frac{1}{2}}": "3.5",
    r"\boxed{-\frac{1}{2}}": "-0.5",
    r"\boxed{\frac{-1}{2}}": "-0.5",
    r"\boxed{18\text{ dollars}}": "18",
    r"\boxed{\$18}": "18",
    r"\boxed{50\%}": "50",
    r"\boxed{1{,}000}": "1000",
    r"\boxed{1\,000}": "1000",
    r"\boxed{1.5 \times 10^{3}}": "1500",
    r"\boxed{2\sqrt{3}}": None,
    r"\boxed{3\pi}": None,
    r"\boxed{x = 5}": "5",
    r"\boxed{\text{Total: }18}": "18",
    r"\boxed{5 \text{ or } 6}": None,
    r"\boxed{\text{\$}18}": "18",
    r"$\boxed{18}$": "18",
    r"\boxed{10^2}": None,
    r"\boxed{\frac{1.5}{2}}": "0.75",
    r"\boxed{\text{eighteen}} so 4": "4",
    r"\(\boxed{7}\)": "7",
    r"\boxed{}": None,
    "#### 18 … see page 3": "18",
    "#### 18. See page 3": "18",
    "#### 18 (see page 3)": "18",
    "The answer is 18. (Checked in 2 ways)": "18",
    "The answer is 3 + 4 = 7.": "7",
    "The answer is 18 because 3*6 = 18 and 2": "18",
    "#### 18\n\nI checked 2 times": "18",
    "The answer is obtained by adding 3 and 4: 7": "7",
    "The answer is not 5 but 7": "7",
    "The answer is 18. The answer is right in 2 ways": "18",
    "#### Step 2: total\n12*3=36\nThe answer is 36.": "36",
    "#### 1. Understand\n\\boxed{18}": "18",
    "**Answer:** 18 apples, page 3": "18",
    "Answer:\n18\n(2 ways)": "18",
    "#### 1/2": "0.5",
    "#### 1 1/2 cups": "1.5",
    "#### 3 - 4": None,
    "#### 2:30": None,
    "#### -3": "-3",
    "#### -$5": "-5",
    "#### 1,234,567 items": "1234567",
    r"the answer is $\frac{3}{4}$": "0.75",
    "3/4/2021": None,
    "#### 1e3": "1000",
    "#### 3,5": None,
    "Answer: $1{,}234.50$": "1234.5",
    r"\boxed{-5}": "-5",
    r"\boxed{.5}": "0.5",
    r"\boxed{\frac{\pi}{2}}": None,
    "#### 18 dollars and 50 cents": "18",
    r"\boxed{5} and then \boxed{6}": "6",
    r"\boxed{½}": "0.5",
    r"The final answer is \boxed{\frac{1}{2}}. 3 steps": "0.5",
    r"\boxed{3-4}": None,
    r"\boxed{45^\circ}": "45",
    r"\boxed{3,\!000}": "3000",
    r"\boxed{12 \text{ cm}^2}": None,
}


@pytest.mark.parametrize(("text", "number"), MARKED.items())
def test_the_marked_number_is_the_answer_and_nothing_behind_it(text: str, number: str | None) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    "part", ["1", "1,111", "1 ", "\\frac{1}", "\\text{", "#### ", "\\boxed{", "answer is ", "1/", "=1+", " "]
)
def test_time_grows_with_the_length_alone(part: str) -> None:
    def seconds(length: int) -> float:
        text = part * (length // len(part))
        began = time.process_time()
        final_number(text)
        return time.process_time() - began

    short = min(seconds(20_000) for _ in range(3))
    # Quadratic time would take 16 times as long; the constant is for the clock.
    assert min(seconds(80_000) for _ in range(3)) < 9 * short + 0.05


@given(
    over=st.integers(-99, 99),
    under=st.integers(1, 99),
    whole=st.integers(1, 50),
    word=st.sampled_from(["frac", "dfrac", "tfrac"]),
)
@settings(deadline=None)
def test_fractions_in_latex_are_exact(over: int, under: int, whole: int, word: str) -> None:
    fraction = rf"\{word}{{{over}}}{{{under}}}"
    assert final_number(rf"\boxed{{{fraction}}}") == canonical(Fraction(over, under))
    assert final_number(f"The answer is ${fraction}$. I took 3 steps.") == canonical(Fraction(over, under))
    mixed = rf"{whole}\{word}{{{abs(over)}}}{{{under}}}"
    assert final_number(rf"#### {mixed}") == canonical(whole + Fraction(abs(over), under))
