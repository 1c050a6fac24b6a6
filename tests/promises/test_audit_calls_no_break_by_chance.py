"""An audit, and an attack on certificates, calls a break only where the votes leave no doubt about it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from clucert.attacks.certificates import Doubtful, Duel
from clucert.attacks.victims import SmoothedVictim
from clucert.audit.candidates import build_arsenal
from clucert.audit.claims import Claim, claims_of
from clucert.audit.run import Audit, Tag
from clucert.audit.steps import Attempt, Effort, attack_steps, classifier_of
from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.settings import Look
from clucert.core.words import split
from clucert.protocols import Steps
from clucert.types import Votes
from tests.core.test_certificate import make
from tests.core.test_smoothing import none, smoother
from tests.oracle import drive

TEXT = "one two three four five six seven eight nine ten"
WORDS = set(TEXT.split())
LABELS = ("positive", "negative")


def attempt(share: float, effort: Effort, *, lost: bool = False) -> Attempt:
    """An attack on a claim about a classifier that turns, on a changed text, in ``share`` of the draws."""
    turn = 0.0

    def classify(texts: list[str]) -> list[str]:
        nonlocal turn
        votes = []
        for text in texts:
            changed = lost or any(word not in WORDS and "MASK" not in word for word in split(text).words)
            turn += share if changed else 0.0
            votes.append("negative" if changed and turn % 1 + share >= 1 else "positive")
        return votes

    target = smoother(mask_rate=Fraction(1, 10), looks=(Look(100),))
    text = split(TEXT)
    claim = Claim("proved", "word", 9, tuple(range(10)), "positive")
    arsenal = build_arsenal(LABELS, [(TEXT, "positive"), ("awful dull bad slow film indeed", "negative")], lambda _: ())
    pools = [(word,) for word in text.words]
    steps = attack_steps(target, text, pools, claim, arsenal, "1", effort)
    return drive(steps, lambda texts, _: classify(list(texts)))


def test_a_narrow_majority_of_the_other_side_is_no_break() -> None:
    found = attempt(0.54, Effort(20, 100))
    assert found.answer == "negative"
    assert 0.05 < found.p_value < 0.5
    assert not found.broken


def test_a_clear_majority_of_the_other_side_is_a_break() -> None:
    found = attempt(0.9, Effort(20, 100))
    assert found.broken
    assert found.p_value < 1e-6


def test_a_majority_of_the_certified_side_is_never_one() -> None:
    found = attempt(0.45, Effort(20, 100))
    assert not found.broken
    assert found.p_value > 0.5


class Votes54:
    """Stands for a smoothed victim: 54 of 100 votes have turned."""

    name, labels = "test", LABELS

    def votes(self, texts: list[str]) -> Steps:
        yield from ()
        return [Votes({"positive": 46, "negative": 54}) for _ in texts]


def test_an_attack_does_not_take_a_lucky_draw_for_a_flip() -> None:
    victim: SmoothedVictim = Votes54()  # type: ignore[assignment]
    for level, answer in ((0.001, "positive"), (0.9, "negative")):
        scored = drive(Doubtful(victim, "positive", level).steps(["x"]), lambda *_: [])
        assert [each.answer for each in scored] == [answer]


@pytest.mark.parametrize(("changed", "broken"), [(None, False), (1, True), (3, True), (4, False)])
def test_a_flip_at_the_radius_breaks_it_and_one_beyond_it_does_not(changed: int | None, broken: bool) -> None:
    claim = Claim("proved", "word", 3, (0, 1, 2, 3, 4), "positive")
    assert Duel("1", claim, None, changed).broken is broken  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["published", "proved"])
def test_a_proved_claim_is_attacked_without_the_filter_and_a_published_one_with_it(kind: str) -> None:
    filtered = smoother(clustering="agglomerative", threshold=0.5)
    filtered = replace(filtered, denoiser=Denoiser(load_clusterer("agglomerative"), 0.5))
    claim = Claim(kind, "word", 1, (0,), "positive")  # type: ignore[arg-type]
    target = classifier_of(claim, filtered)
    assert target.denoiser.needs_embeddings == (kind == "published")
    assert (target.settings.clustering == "none") == (kind == "proved")
    assert not none().needs_embeddings


def test_every_radius_of_one_word_or_more_is_a_claim() -> None:
    sure = Votes({"positive": 1000, "negative": 0})
    radii = []
    for retained in range(1, 20):
        made = make(Votes({"positive": 100, "negative": 0}), sure, n=20, s=retained)
        proved = made.proved["word"]
        assert proved is not None
        radii.append(proved.words)
        claims = [(claim.kind, claim.threat, claim.radius) for claim in claims_of(made, [True] * 20)]
        each = [("published", "word"), ("published", "synonym"), ("proved", "word")]
        assert claims == [(*one, proved.words) for one in each if proved.words >= 1]
    assert {0, 1, 2} <= set(radii)


def test_the_table_counts_what_broke() -> None:
    claim = Claim("proved", "word", 1, (0,), "positive")
    audit = Audit("run", 0.05, Effort())
    audit.attempts += [(Tag(str(i), claim), Attempt(claim, 7, broken=i == 0)) for i in range(4)]
    (row,) = audit.rows()
    assert (row["tried"], row["broken"], row["share"], row["texts"]) == (4, 1, 0.25, 28)


@pytest.mark.parametrize("radius", [1, 2])
def test_no_text_outside_the_ball_is_taken_for_a_break(radius: int) -> None:
    """Here ever more of the certified answer is lost with each changed word: one too many would be a break."""

    def classify(texts: list[str]) -> list[str]:
        changed = [sum(w not in WORDS and "MASK" not in w for w in split(text).words) for text in texts]
        return ["negative" if many > radius else "positive" for many in changed]

    target = smoother(mask_rate=Fraction(1, 20), looks=(Look(100),))
    text = split(TEXT)
    claim = Claim("proved", "word", radius, tuple(range(10)), "positive")
    arsenal = build_arsenal(LABELS, [(TEXT, "positive"), ("awful dull bad slow film indeed", "negative")], lambda _: ())
    pools = [(word,) for word in text.words]
    steps = attack_steps(target, text, pools, claim, arsenal, "1", Effort(20, 100))
    found = drive(steps, lambda texts, _: classify(list(texts)))
    assert not found.broken
    assert len(found.changed) <= radius
