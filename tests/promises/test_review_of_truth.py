"""Held-back variants of what once made a printed number false."""

from __future__ import annotations

import dataclasses
import json

import pytest

import clucert
from clucert.attacks.base import AttackResult
from clucert.attacks.certificates import Doubtful
from clucert.attacks.table import Attacked, attack_rows, render_rows
from clucert.audit.claims import Claim
from clucert.audit.render import claims_by_answer
from clucert.audit.run import Audit, Tag
from clucert.audit.steps import Attempt, Effort
from clucert.core.explanation import proved_in_words
from clucert.errors import InputError
from clucert.render import print_certified
from clucert.tasks.numbers import final_number
from clucert.tasks.parse import parse_label
from clucert.types import Answers, Cost, Usage, Votes

TEXT = "one two three four five six seven eight"


def certified(**options: object) -> clucert.Certification:
    smoothed = clucert.smooth(
        lambda texts: ["a"] * len(texts),
        ["a", "b"],
        method="ranmask",
        mask_rate="0.5",
        samples=20,
        certify_samples=40,
        **options,
    )
    return smoothed.certify(TEXT)


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        ('{"not_label": "toxic"}', ("toxic", "safe")),
        ("Answer: toxic. Actually, no.", ("toxic", "safe")),
        ("Not\ntoxic", ("toxic", "safe")),
        ("No. 1", ("yes", "no")),
    ],
)
def test_what_takes_a_label_back_is_no_vote(answer: str, labels: tuple[str, ...]) -> None:
    assert parse_label(answer, {label: label for label in labels}) is None


def test_a_label_with_a_sentence_behind_it_is_still_one() -> None:
    names = {"toxic": "toxic", "safe": "safe", "no": "no"}
    assert parse_label("Toxic. The text insults somebody.", names) == "toxic"
    assert parse_label("No. The text insults nobody at all.", {"yes": "yes", "no": "no"}) == "no"


@pytest.mark.parametrize(
    "answer",
    [
        "answer is 5 or 6",
        "The answer is between 5 and 6",
        "answer is not 5",
        "Answer: 2x",
        r"\boxed{5!}",
        r"\boxed{2x}",
    ],
)
def test_what_is_not_one_number_is_none(answer: str) -> None:
    assert final_number(answer) is None


@pytest.mark.parametrize(
    ("answers", "end"),
    [
        (Answers("probed", 6), "no assumption but that the server repeats itself (probed 6 times)"),
        (Answers("declared"), "no assumption but that equal texts get equal answers (declared)"),
        (Answers("sampled"), "no assumption"),
        (Answers("deterministic"), "no assumption"),
        (None, "no assumption"),
    ],
)
def test_no_assumption_says_what_is_taken_for_granted(answers: Answers | None, end: str) -> None:
    from rich.console import Console

    certificate = dataclasses.replace(certified().certificate, answers=answers)
    for threat, radius in certificate.proved.items():
        assert radius is not None
        if not radius.nothing_to_attack:
            assert proved_in_words(certificate, threat, radius)[1].endswith(f", {end}")
    console = Console(width=300, color_system=None)
    with console.capture() as captured:
        print_certified(console, certificate, Cost())
    assert f"{end}, words of the original text" in captured.get()


def test_estimated_tokens_are_called_so() -> None:
    from rich.console import Console

    for usage, said in ((Usage(9, 90, 9, 0, 9), True), (Usage(9, 90, 9), False)):
        console = Console(width=300, color_system=None)
        with console.capture() as captured:
            print_certified(console, certified().certificate, Cost(classify=usage))
        assert ("an estimate for 9 calls" in captured.get()) is said


@pytest.mark.parametrize("samples", [1e308, float("inf"), 10**30, -1, None, "3", True])
def test_single_votes_of_no_possible_number_are_refused(samples: object, tmp_path) -> None:
    document = json.loads(json.dumps(certified(deterministic=True).document()))
    document["ballots"]["parts"][0]["samples"] = samples
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        clucert.load(path)
    assert "\n" not in str(caught.value)


def test_the_table_of_attacks_shows_each_label_and_the_constant_answer() -> None:
    def one(i: int, gold: str, status: str) -> Attacked:
        return Attacked("r", "d", str(i), AttackResult(status, "t", "o", gold, gold, "x", 3, 5, 1))  # type: ignore[arg-type]

    rows = attack_rows([one(0, "a", "failure"), one(1, "a", "failure"), one(2, "a", "success"), one(3, "b", "skipped")])
    assert rows[0].by_label == {"a": pytest.approx(2 / 3), "b": 0}
    assert rows[0].balanced == pytest.approx(1 / 3)
    assert rows[0].constant_answer == pytest.approx(3 / 4)
    table = render_rows(rows)
    assert "a 67%, b 0%" in table
    assert "constant answer" in table
    many = attack_rows([one(i, str(i), "failure") for i in range(30)])
    assert many[0].by_label is None


def test_an_audit_says_whose_claims_broke() -> None:
    tags = [("a", True), ("a", False), ("b", False)]
    attempts = [
        (Tag(str(i), Claim("proved", "word", 1, (0,), answer, "original")), broken)
        for i, (answer, broken) in enumerate(tags)
    ]
    found = Audit("run", 0.05, Effort(), [(tag, Attempt(tag.claim, 1, broken=broken)) for tag, broken in attempts])
    assert claims_by_answer(found) == "a 1 of 2, b 0 of 1"


def test_a_flip_is_judged_against_every_rival() -> None:
    class Three:
        labels = ("a", "b", "c")

    class Two:
        labels = ("a", "b")

    votes = Votes({"a": 0, "b": 10})
    for victim, flipped in ((Two(), True), (Three(), False)):
        judged = Doubtful(victim, "a", 0.001)  # type: ignore[arg-type]
        assert (judged._scored(votes).answer == "b") is flipped
