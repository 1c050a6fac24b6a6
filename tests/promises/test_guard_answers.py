"""What a guard hands out stands on the side that won, though both sides answered, and is a random one of it."""

from __future__ import annotations

import pytest

from clucert.core.certificate import Certificate
from clucert.guard.classifier import SideAnswers
from clucert.guard.conversation import Turn
from clucert.guard.model import Defence, NoiseKey
from clucert.guard.result import Policy, chosen
from clucert.types import Answer, Answers, Message, Query, Votes
from tests.core.test_certificate import make
from tests.core.test_smoothing import smoother

REFUSED, COMPLIED = Answer("I can't help with that."), Answer("Sure, here it is.")


def certificate(refused: int, complied: int) -> Certificate:
    selection = Votes({"refused": refused, "complied": complied})
    return make(selection, selection + selection, labels=("refused", "complied"))


@pytest.mark.parametrize("first", ["refused", "complied"])
@pytest.mark.parametrize(("refused", "complied", "wanted"), [(90, 10, REFUSED), (10, 90, COMPLIED)])
def test_the_answer_is_one_of_the_winning_side(refused: int, complied: int, wanted: Answer, first: str) -> None:
    side_answers = SideAnswers()
    answers = {"refused": REFUSED, "complied": COMPLIED}
    order = [first, *(side for side in answers if side != first)]
    side_answers.keep([answers[side] for side in order], order)
    assert chosen(certificate(refused, complied), side_answers, Policy()) == (wanted, "majority")


def test_an_abstention_hands_out_what_the_policy_says_and_never_a_side() -> None:
    side_answers = SideAnswers({"refused": REFUSED, "complied": COMPLIED})
    close = certificate(50, 50)
    assert close.prediction is None
    answer, source = chosen(close, side_answers, Policy(refusal="No."))
    assert answer is not None
    assert (answer.text, source) == ("No.", "policy")
    assert chosen(close, side_answers, Policy("pass")) == (None, "undefended")


def test_the_first_answer_of_a_side_is_the_one_that_is_kept() -> None:
    side_answers = SideAnswers()
    side_answers.keep([Answer("1"), Answer("2"), Answer("3")], ["refused", "complied", None])
    side_answers.keep([Answer("4"), Answer("5")], ["refused", "complied"])
    assert {side: answer.text for side, answer in side_answers.first.items()} == {"refused": "1", "complied": "2"}


@pytest.mark.parametrize(
    ("temperature", "kind", "exact"), [(0.0, "probed", 50), (0.01, "sampled", 0), (1.0, "sampled", 0)]
)
def test_a_model_that_samples_at_all_shares_no_vote_and_nothing_is_called_exact(
    temperature: float, kind: str, exact: int
) -> None:
    defence = Defence(smoother(answers=Answers("probed"), enumerate_up_to=50))
    _, made = defence.prepare(Query((Message("user", "a film"),), temperature=temperature), NoiseKey())
    assert made.answers is not None
    assert (made.answers.kind, made.enumerate_up_to) == (kind, exact)
    assert made.settings.base.temperature == temperature


def test_the_turn_is_the_users_last_and_not_what_others_said_after_it() -> None:
    talk = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"), ("system", "five")]
    turn = Turn.of(Query(tuple(Message(role, said) for role, said in talk)))  # type: ignore[arg-type]
    assert (turn.position, turn.text) == (2, "three")
