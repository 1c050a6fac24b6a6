"""One table over all attacks and all kinds of victims: what every attack owes whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from adapter import TextAttackRecipe, find_python
from attack_world import LABELS, ROWS, LetterEncoder, defended, hard, label, soft
from tests.voting import score

from clucert.attacks.base import Ask, Attack, AttackResult, Probe, Try, WordAttack
from clucert.attacks.recipes import ATTACKS, load_attack
from clucert.attacks.steps import attack_text
from clucert.attacks.stopwords import is_stopword
from clucert.attacks.victims import BareVictim, Steps, Victim
from clucert.core.noise.retention import rng_for
from clucert.core.words import split
from clucert.errors import BadAnswerError, MissingExtraError, UnknownNameError, UsageError
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends

VICTIMS = {"probabilities": soft, "labels": hard, "smoothed": defended}
BUDGETS = (None, 1, 2, 7, 25)
# Attacks that are data search for nothing and go on where the victim is wrong: test_suffix_attack.py.
SEARCHING = [name for name in ATTACKS.names() if name != "suffix"]
THEIRS = ["textattack/deepwordbug", "textattack/textbugger"]


def here() -> bool:
    try:
        return find_python().exists()
    except MissingExtraError:
        return False


def marks(name: str) -> Sequence[pytest.MarkDecorator]:
    missing = pytest.mark.skipif(not here(), reason="TextAttack is not installed: python bench/attacks.py --setup")
    return (missing, pytest.mark.slow) if name.startswith("textattack/") else ()


@pytest.fixture(scope="module", params=[pytest.param(name, marks=marks(name)) for name in SEARCHING + THEIRS])
def attack(request: pytest.FixtureRequest) -> Iterator[Attack]:
    name = request.param
    attack: Attack = TextAttackRecipe(name.partition("/")[2]) if name in THEIRS else load_attack(name)
    yield attack
    if close := getattr(attack, "close", None):
        close()


class Counting:
    """A victim that counts what it is asked."""

    def __init__(self, victim: Victim) -> None:
        self.victim, self.name, self.labels = victim, victim.name, victim.labels
        self.asked: list[str] = []

    def steps(self, texts: Sequence[str]) -> Steps:
        self.asked.extend(texts)
        return (yield from self.victim.steps(texts))


def run(attack: Attack, victim: Victim, row: int, max_queries: int | None = None) -> AttackResult:
    text, gold = ROWS[row]
    return attack_text(
        attack, victim, text, gold, rng_for(3, row, "test"), max_queries=max_queries, encoder=LetterEncoder()
    )


@pytest.mark.parametrize("kind", VICTIMS)
@pytest.mark.parametrize("row", range(len(ROWS)))
def test_every_attack_keeps_the_contract(attack: Attack, kind: str, row: int) -> None:
    text, gold = ROWS[row]
    for budget in BUDGETS:
        victim = Counting(VICTIMS[kind]())
        result = run(attack, victim, row, budget)
        own = attack.name.startswith("textattack/")
        # TextAttack answers repeated texts from its cache, and counts them.
        assert result.queries >= len(victim.asked) if own else result.queries == len(victim.asked)
        assert budget is None or result.queries <= budget
        assert not (result.exhausted and budget is None)
        first, last = score(victim.victim, [text, result.perturbed])
        assert (result.before, result.after) == (first.answer, last.answer)
        if first.answer != gold:
            assert (result.status, result.queries, result.perturbed) == ("skipped", 1, text)
        elif result.status == "success":
            assert last.answer != gold
            assert result.perturbed != text
            assert result.words_changed >= 1
        else:
            assert result.status == "failure"
            assert last.answer == gold
        if not own:
            words = list(split(text).words)
            assert len(result.changes) == result.words_changed
            for i, old, new in result.changes:
                assert words[i] == old != new
                assert not is_stopword(old)
                words[i] = new
            assert split(text).join(words) == result.perturbed
        assert run(attack, victim.victim, row, budget) == result


@pytest.mark.parametrize("kind", VICTIMS)
def test_some_attack_succeeds_on_each_kind_of_victim(kind: str) -> None:
    results = [
        run(load_attack(name), VICTIMS[kind](), row) for name in ("deepwordbug", "textbugger") for row in (0, 3, 4)
    ]
    assert "success" in {result.status for result in results}


def test_a_larger_budget_never_loses_a_success() -> None:
    for row in range(len(ROWS)):
        statuses = [run(load_attack("deepwordbug"), soft(), row, budget).status for budget in (3, 10, 30, None)]
        assert statuses == sorted(statuses, key=["skipped", "failure", "success"].index)


def test_bare_labels_show_nothing_but_flips() -> None:
    # Two words have to go before the answer flips, and one that is gone looks like none.
    assert run(load_attack("deepwordbug"), soft(), 0).words_changed > 1
    assert run(load_attack("deepwordbug"), hard(), 0).status == "failure"


def test_an_unknown_attack_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="deepwordbug"):
        load_attack("deepwordbugs")


class Rogue(WordAttack):
    name = "rogue"

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour

    def frozen(self, text):
        return tuple(map(is_stopword, text.words))

    def run(self, start, rng):
        words = start.text.words
        changed = tuple("x" + w if not f else w for w, f in zip(words, start.frozen, strict=True))
        match self.behaviour:
            case "changes a stop word":
                yield Try([tuple("x" + w for w in words)])
            case "drops a word":
                yield Try([words[1:]])
            case "tries the text":
                yield Try([words])
            case "returns what it did not try":
                return changed
            case "never stops":
                for i in range(10**6):
                    yield Probe([f"{i}"])
                    yield Try([(*changed[:-1], f"{changed[-1]}{i}")])
        return None


@pytest.mark.parametrize(
    "behaviour", ["changes a stop word", "drops a word", "tries the text", "returns what it did not try"]
)
def test_a_run_that_breaks_the_rules_is_told_so(behaviour: str) -> None:
    with pytest.raises(UsageError, match="rogue"):
        run(Rogue(behaviour), soft(), 0)


def test_a_run_that_never_stops_is_stopped_with_its_best_attempt() -> None:
    result = run(Rogue("never stops"), soft(), 1, 100)
    assert (result.queries, result.exhausted, result.status) == (100, True, "success")


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--max-queries 0"):
        run(load_attack("deepwordbug"), soft(), 0, 0)


def test_a_lost_answer_is_an_error_and_no_result() -> None:
    forgetful = BareVictim(Backends(CallableClassifier(lambda texts: label(texts)[1:], LABELS)))
    with pytest.raises(BadAnswerError, match="one answer for each text, got"):
        run(load_attack("deepwordbug"), forgetful, 0)


def test_the_first_question_is_about_the_text_itself() -> None:
    steps = load_attack("deepwordbug").steps("a dull film", "negative", rng_for(0, 0, "x"))
    assert next(steps) == Ask(["a dull film"])
