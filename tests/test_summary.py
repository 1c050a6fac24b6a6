"""The one screen that a certificate is read on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

import clucert
from clucert.api import SmoothedClassifier
from clucert.core.exact_words import better_counting
from clucert.core.explanation import confident
from clucert.summary import print_summary, summary_of
from clucert.types import Cost, Predictions

LABELS = ("yes", "no")
TEXT = "a good and great and fine film with a charming story"


def says(word: str):
    return lambda texts: ["yes" if word in text else "no" for text in texts]


def smoothed(classify: object = lambda texts: ["yes"] * len(texts), **options: object) -> SmoothedClassifier:
    return clucert.smooth(classify, LABELS, deterministic=True, **options)


def screen(model: SmoothedClassifier, text: str = TEXT, methods: Sequence[str] = ("blocks", "groups")) -> str:
    exact = [proof.certificate for proof in model.prove(text, methods)]
    return summary_of(model.certify(text).certificate, exact, Cost())


def names(shown: str) -> list[str]:
    return [line[:12].strip() for line in shown.splitlines()]


def test_the_proof_comes_first_and_each_line_has_its_price() -> None:
    with smoothed(method="ranmask", mask_rate="0.5", samples=20, certify_samples=60) as model:
        shown = screen(model)
    assert shown.startswith(
        "yes is proved to stay with any 2 words replaced, or any 2 words inserted, deleted or moved"
    )
    assert [name for name in names(shown) if name][1:5] == ["text", "answer", "proved", "published"]
    assert "answer      yes\n" in shown
    assert "any 2 words replaced" in shown
    assert "blocks, 5 questions, exact" in shown
    assert "any 2 words inserted, deleted or moved" in shown
    assert "ranmask, 80 samples, 95 %" in shown
    assert "-v" not in shown  # Python has no such flag


def test_where_the_classifiers_differ_each_answer_names_its_own() -> None:
    with smoothed(says("good"), method="ranmask", mask_rate="0.1", samples=20, certify_samples=60) as model:
        shown = screen(model)
    assert [line.split()[-1] for line in shown.splitlines()[2:4]] == ["ranmask", "groups"]
    assert "each line below is about the classifier that it names" in shown


@pytest.mark.parametrize("flag", [{}, {"flag": ["yes"], "flag_threshold": "0.3"}], ids=["majority", "flag"])
def test_the_first_sentence_says_that_a_refined_text_is_not_the_original(flag: dict[str, object]) -> None:
    with smoothed(method="ranmask", mask_rate="0.9", samples=20, certify_samples=100, **flag) as model:
        certificate = model.certify(TEXT).certificate
    refined = replace(certificate, subject=replace(certificate.subject, domain="refined"))
    first, *lines = summary_of(refined, [], Cost()).splitlines()
    assert "words of the refined text swapped for any words; nothing is proved about the original text" in first
    assert ": still" not in first
    assert any(": still p(yes) ≥ 0.3; nothing is proved" in line for line in lines) == bool(flag)


def test_what_proves_nothing_says_which_lead_was_missing() -> None:
    with smoothed(says("g"), method="ranmask", samples=20, certify_samples=60) as model:
        (proof,) = model.prove("a g b g c d", ["blocks"], count=3)
        shown = str(proof)
    assert proof.certificate.proved["replace"].words == 0
    assert "proved      nothing" in shown
    assert "blocks proves nothing: yes leads no by 1.00, and one word replaced can take 2.00" in shown


def test_an_answer_that_fewer_sub_texts_name_than_name_none_leads_nothing() -> None:
    class Terse:
        name, labels, deterministic = "terse", LABELS, True

        def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
            return Predictions(tuple("yes" if "good" in text else None for text in texts))

    with clucert.smooth(Terse(), LABELS) as model:
        (proof,) = model.prove(TEXT, ["blocks"])
    assert proof.prediction == "yes"
    assert "blocks proves nothing: what names no label leads yes by 3.00\n" in str(proof)


def test_following_the_advice_proves_what_it_promised() -> None:
    """Of 300 classifiers that give probabilities, those whose votes prove more than their probabilities, or less."""
    followed = 0
    for seed in range(300):

        def classify(texts: list[str], seed: int = seed) -> list[list[float]]:
            drawn = [random.Random(f"{seed}/{text}").random() ** 0.5 for text in texts]
            return [[yes, 1 - yes] for yes in drawn]

        with smoothed(classify, method="ranmask") as model:
            (proof,) = model.prove("a b c d e", ["blocks"], sharpness=1.0)
            advice = better_counting(proof.certificate)
            if advice is None:
                continue
            scores = advice.split("--scores ")[1].split(":")[0]
            sharpness = {} if scores == "hard" else {"sharpness": 1.0}
            (better,) = model.prove("a b c d e", ["blocks"], scores=scores, **sharpness)
        assert f"try         {advice}" in str(proof)
        assert better.prediction == proof.prediction
        promised = advice.rsplit("prove ", 1)[1]
        assert promised in str(better)
        followed += 1
    assert followed > 5


@pytest.mark.parametrize("width", [40, 80, 120])
def test_prices_move_behind_what_they_are_the_price_of_where_the_screen_is_narrow(width: int) -> None:
    with smoothed(method="ranmask", mask_rate="0.5", samples=20, certify_samples=60) as model:
        exact = [proof.certificate for proof in model.prove(TEXT)]
        certificate = model.certify(TEXT).certificate
    console = Console(width=width, color_system=None, force_terminal=True)
    with console.capture() as captured:
        print_summary(console, certificate, exact, Cost())
    lines = captured.get().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    below = lines[next(i for i, line in enumerate(lines) if line.startswith("text ")) :]
    assert any("(blocks, 5 questions" in line for line in below) == (width < 120)


def test_hostile_texts_and_labels_are_inert() -> None:
    labels = ("[red]yes[/red]", "\x1b[31mno")
    with clucert.smooth(lambda texts: [labels[1]] * len(texts), labels, deterministic=True, method="ranmask") as model:
        text = "a \x1b[31mred\x01 [bold]word[/bold] \u202e here"
        shown = screen(model, text)
    assert "\x1b" not in shown
    assert "\x01" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31mno" in shown
    assert "[bold]word[/bold]" in shown


def test_confidence_is_never_rounded_to_certainty() -> None:
    assert [confident(alpha) for alpha in (0.05, 0.001, 0.9, 1e-9)] == ["95", "99.9", "10", "99.9999999"]
    with smoothed(method="ranmask", samples=60, certify_samples=400, alpha=1e-7) as model:
        assert "99.99999 %" in screen(model)


def test_a_text_too_short_for_its_sub_texts_says_so_and_the_advice_proves_something() -> None:
    with smoothed() as model:
        shown = str(model.prove("a good film", ["groups"], count=7, scores="hard")[0])
        assert "sub-texts are empty, which name no label" in shown
        assert "leads what names no label by -" not in shown
        short = str(model.prove("a good and great film", ["windows"], flag=["yes"])[0])
        assert "the text has 5 words, less than a window: try --size 2" in short
        advised = str(model.prove("a good and great film", ["windows"], flag=["yes"], size=2)[0])
    assert "any number of words before and behind the text: still flagged" in advised
    assert "any 3 blocks of any length inserted anywhere" in advised


def test_words_on_either_side_are_counted_together() -> None:
    with smoothed(lambda texts: ["no"] * len(texts)) as model:
        shown = str(model.prove("a b c", ["windows"], flag=["yes"], size=2, at_least=3)[0])
    assert "any 2 words before and behind the text, together: still passed" in shown
