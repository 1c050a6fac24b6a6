"""What an audit takes for inside a ball is inside; it breaks claims that are one too large, and never a true one.

Distances against a breadth-first search over all texts of a small world; planted faults and true claims for every noise
and threat, with classifiers that are known to be fragile.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import comb

import pytest

from clucert.audit.balls import OPERATIONS, SHIFT, Ball, ball_of
from clucert.audit.candidates import Arsenal, build_arsenal
from clucert.audit.claims import Claim, claims_of, exact_claims, token_claims
from clucert.audit.exact_steps import exact_steps
from clucert.audit.proposals import material, proposals
from clucert.audit.steps import Effort, _lost, attack_steps, token_steps
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise.canonical import Canonical
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.tokens import tokenize
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.settings import Base, ExactSettings, Look
from clucert.core.thresholds import Flag
from clucert.core.words import split
from clucert.types import Classify, Scored, Votes
from tests.core.test_smoothing import smoother
from tests.oracle import drive

Text = tuple[str, ...]
V = "abc"


def steps(x: Text, operation: str, vocabulary: str = V, longest_block: int = 2) -> Iterator[Text]:
    """All texts that one operation makes of ``x``."""
    n = len(x)
    match operation:
        case "insert":
            yield from ((*x[:i], w, *x[i:]) for i in range(n + 1) for w in vocabulary)
        case "delete":
            yield from (x[:i] + x[i + 1 :] for i in range(n))
        case "replace":
            yield from ((*x[:i], w, *x[i + 1 :]) for i in range(n) for w in vocabulary)
        case "move":
            rests = ((i, x[:i] + x[i + 1 :]) for i in range(n))
            yield from ((*rest[:j], x[i], *rest[j:]) for i, rest in rests for j in range(n))
        case "block":
            blocks = (b for k in range(1, longest_block + 1) for b in itertools.product(vocabulary, repeat=k))
            yield from ((*x[:i], *block, *x[i:]) for block in blocks for i in range(n + 1))
        case "suffix":
            yield from ((*x, w) for w in vocabulary)
        case "ends":
            yield from (y for w in vocabulary for y in ((*x, w), (w, *x)))


@cache
def reached(x: Text, ball: Ball, most: int, vocabulary: str = V) -> dict[Text, int]:
    """The fewest operations to each text, up to ``most``."""
    found, edge = {x: 0}, [x]
    if ball.name.endswith("any order"):
        found = {tuple(each): 0 for each in itertools.permutations(x)}
        edge = list(found)
    for r in range(1, most + 1):
        fresh = (y for z in edge for operation in ball.operations for y in steps(z, operation, vocabulary))
        edge = [y for y in dict.fromkeys(fresh) if y not in found]
        if ball.name.endswith("any order"):
            edge = list(dict.fromkeys(tuple(p) for y in edge for p in itertools.permutations(y) if p not in found))
        found |= dict.fromkeys(edge, r)
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_distance_is_the_fewest_operations(name: str) -> None:
    ball, far = Ball(name), 0
    # Of a block any length is one operation: texts that are longer than the blocks of this world are left out.
    most, longest = (2, 5) if name == "block" else (3, 6)
    for n in (1, 2, 3, 4):
        for rest in itertools.product(V, repeat=n - 1):
            x = ("a", *rest)
            if name.endswith("any order") and n > 3:
                continue
            there = reached(x, ball, most)
            for y in (y for length in range(longest + 1) for y in itertools.product(V, repeat=length)):
                if name == "block" and len(y) > n + 2:
                    continue
                assert ball.distance(x, y, most) == there.get(y), (name, x, y)
                far += y not in there
    assert far


def test_a_block_of_any_length_is_one_operation_and_two_places_are_two() -> None:
    x = tuple("abcab")
    ball = Ball("block")
    assert ball.distance(x, (*"abc", *"z" * 50, *"ab"), 1) == 1
    assert ball.distance(x, (*"ab", "z", *"c", "z", *"ab"), 2) == 2
    assert ball.distance(x, (*"ab", "z", *"c", "z", *"ab"), 1) is None
    # One block that holds what stands around it: parted in the middle, still one.
    assert ball.distance(tuple("ab"), tuple("abab"), 1) == 1
    assert ball.distance(x, tuple("abca"), 9) is None


def test_random_edits_are_within_their_number_and_long_texts_take_no_time() -> None:
    rng, ball = random.Random(3), Ball("edit or move")
    for _ in range(60):
        x = tuple(rng.choice("abcdefghij") for _ in range(60))
        y, r = x, rng.randint(1, 6)
        for _ in range(r):
            y = rng.choice(list(steps(y, rng.choice(ball.operations), "abcdefghij")))
        distance = ball.distance(x, y, r)
        assert distance is not None
        assert distance <= r
        assert distance == 0 or ball.distance(x, y, distance - 1) is None


# Planted faults

WORDS = "abcd"
LABELS = ("no", "yes")
ARSENAL = Arsenal({}, dict.fromkeys(LABELS, tuple(WORDS)), texts=dict.fromkeys(LABELS, ("a b c d", "d c b")))
EFFORT = Effort(texts=600)


def settings_of(noise: object, flag: Flag | None, soft: bool) -> ExactSettings:
    return ExactSettings(Base(("table",), "test"), "test", noise, soft=soft, sharpness=8, flag=flag)  # type: ignore[arg-type]


def fragile(seed: int, sure: float) -> Callable[[str], Scored]:
    """A label for each text by a hash: whatever an attacker changes, the new sub-text may say anything."""

    @cache
    def scored(text: str) -> Scored:
        rng = random.Random(f"{seed}/{text}")
        yes = 0.5 + rng.random() / 2 if rng.random() < sure else rng.random() / 2
        return Scored("yes" if yes >= 0.5 else "no", {"no": 1 - yes, "yes": yes})

    return scored


def driven(steps_of, scored: Callable[[str], Scored]):
    return drive(steps_of, lambda texts, _: [scored(text) for text in texts])


FLAG, TWICE = Flag(("yes",), 1), Flag(("yes",), 2)
THREE = b"g1"
"""A key that puts the words of this world into all of three groups."""
ENDS = b"k2"
"""One that makes three of the four words ends of chunks."""


@dataclass(frozen=True)
class World:
    noise: object
    flag: Flag | None = None
    soft: bool = False
    sure: float = 0.9
    """How many sub-texts say yes."""
    length: int = 4
    never: tuple[str, ...] = ()
    """Threats that break nothing within two operations."""


NOISES = {
    "blocks": World(Blocks(3)),
    "blocks, soft": World(Blocks(4), soft=True),
    "groups": World(Groups(3, THREE)),
    "groups, soft": World(Groups(3, THREE), soft=True, sure=0.7, length=5),
    "groups, two hashes": World(Groups(3, THREE, hashes=2)),
    "groups, flagged": World(Groups(3, THREE), FLAG, sure=0.6),
    "groups, a share": World(Groups(3, THREE), Flag(("yes",), share=Fraction(1, 2)), soft=True, sure=0.6),
    "chunks": World(Chunks(every=2, key=ENDS), sure=0.85, length=5),
    "each": World(Each(), sure=0.7, length=3),
    "windows": World(Windows(2), FLAG, sure=0.6, never=("ends",)),
    "erase": World(EraseAndCheck(2), FLAG, sure=0.5),
    "erase, two needed": World(EraseAndCheck(3), TWICE, sure=0.6),
}


def smallest_break(
    smoother_: ExactSmoother, certificate: ExactCertificate, claim: Claim, scored: Callable[[str], Scored], most: int
) -> int | None:
    """By brute force over the small world: the fewest operations that break the answer; None beyond ``most``."""
    assert claim.ball is not None
    there = reached(certificate.pieces, claim.ball, most, WORDS)
    for y, r in sorted(there.items(), key=lambda pair: pair[1]):
        if y and driven(smoother_.steps(" ".join(y)), scored).prediction != certificate.prediction:
            return r
    return None


@pytest.mark.parametrize("name", NOISES)
def test_true_claims_stand_and_those_one_too_large_break(name: str) -> None:
    world = NOISES[name]
    smoother_ = ExactSmoother(settings_of(world.noise, world.flag, world.soft), LABELS)
    planted, broken, looked = Counter[str](), Counter[str](), Counter[str]()
    true = 0
    for seed in range(30):
        scored = fragile(seed, world.sure)
        x = tuple(random.Random(str(seed)).choices(WORDS, k=world.length))
        certificate: ExactCertificate = driven(smoother_.steps(" ".join(x)), scored)
        for claim in _centres(certificate):
            if planted[claim.threat] >= 3 or (true >= 12 and claim.radius):
                continue
            if claim.radius or claim.unlimited:
                (attempt,) = driven(exact_steps(certificate, ARSENAL, str(seed), EFFORT, [claim]), scored)
                assert not attempt.broken, (seed, attempt)
                true += 1
            if looked[claim.threat] >= 12:
                continue
            looked[claim.threat] += 1
            fewest = smallest_break(smoother_, certificate, claim, scored, 2 if claim.radius else 1)
            if fewest is None:
                continue
            assert not claim.unlimited
            assert fewest > claim.radius, (seed, claim)
            too_large = replace(claim, radius=fewest)
            (attempt,) = driven(exact_steps(certificate, ARSENAL, str(seed), EFFORT, [too_large]), scored)
            planted[claim.threat] += 1
            broken[claim.threat] += attempt.broken
            if attempt.broken:
                there = driven(smoother_.steps(attempt.text), scored)
                assert claim.ball is not None
                assert claim.ball.distance(certificate.pieces, there.pieces, fewest) is not None
                assert there.prediction != certificate.prediction
    assert true
    assert broken.total() >= 0.9 * planted.total(), (planted, broken)
    assert {*smoother_.settings.threats} - {*world.never, "move"} <= {*broken} <= {*smoother_.settings.threats}, broken


def _centres(certificate: ExactCertificate) -> list[Claim]:
    """What is claimed by threat, radius 0 included: nothing is claimed then, and a fault can be planted."""
    answer, noise = certificate.prediction, certificate.settings.noise
    return [
        Claim("exact", threat, radius.words, (), answer, ball=ball_of(noise, threat), unlimited=radius.everything)
        for threat, radius in certificate.proved.items()
        if radius is not None and answer is not None
    ]


@pytest.mark.parametrize(
    ("noise", "threat", "claimed", "fewest"),
    [
        (Groups(3, b"g17"), "move", 1, 2),
        (Groups(3, b"g17"), SHIFT, 1, 2),
        (Chunks(ends=frozenset("|")), "move", 1, 4),
    ],
)
def test_moves_break_what_says_no_of_words_out_of_order(noise, threat: str, claimed: int, fewest: int) -> None:
    """Three groups, or seven chunks, each in the order of its words: a move spoils one of them."""
    text = "a b c d e f g h i" if isinstance(noise, Groups) else " ".join(f"{i}a {i}b {i}c |" for i in range(7))
    groups = noise.members(tuple(text.split()))[0]
    assert all(len(places) > 1 for places in groups)

    def scored(shown: str) -> Scored:
        said = [word for word in shown.split() if word != "|"]
        vote = "yes" if said == sorted(said) else "no"
        return Scored(vote, {vote: 1.0})

    smoother_ = ExactSmoother(settings_of(noise, None, False), LABELS)
    certificate = driven(smoother_.steps(text), scored)
    (claim,) = [claim for claim in exact_claims(certificate) if claim.threat == threat]
    assert claim.radius == claimed
    for radius in range(claimed, fewest + 1):
        planted = replace(claim, radius=radius)
        (attempt,) = driven(exact_steps(certificate, Arsenal({}, {}), "1", EFFORT, [planted]), scored)
        assert attempt.broken == (radius == fewest), radius
        assert attempt.past == (radius == fewest - 1) or attempt.broken


def test_a_mix_that_is_said_in_one_line_is_a_claim_of_its_own() -> None:
    smoother_ = ExactSmoother(settings_of(Groups(5, b"g15"), None, False), LABELS)
    certificate = driven(smoother_.steps("a b c d e"), lambda _: Scored("yes", {"yes": 1.0}))
    by_threat = {claim.threat: claim for claim in exact_claims(certificate)}
    assert by_threat[SHIFT].radius == by_threat["insert"].radius == 2
    assert by_threat["replace"].radius == by_threat["edit"].radius == 1


def test_the_answer_to_a_break_is_asked_anew_and_a_text_outside_never_counts() -> None:
    """A piece that falls apart when the text is written out is more than one operation: no break of one."""
    smoother_ = ExactSmoother(settings_of(Blocks(3), None, False), LABELS)
    scored = lambda text: Scored("no", {"no": 1.0}) if "x" in text else Scored("yes", {"yes": 1.0})  # noqa: E731
    certificate = driven(smoother_.steps("a b c d e f"), scored)
    falls_apart = Arsenal({}, {"yes": ("x-- ,,x",)})
    claim = Claim("exact", "replace", 2, (), "yes", ball=Ball("replace"))
    (attempt,) = driven(exact_steps(certificate, falls_apart, "1", EFFORT, [claim]), scored)
    assert attempt.tried
    assert not attempt.broken
    (attempt,) = driven(exact_steps(certificate, Arsenal({}, {"yes": ("x",)}), "1", EFFORT, [claim]), scored)
    assert attempt.broken


@pytest.mark.parametrize("name", OPERATIONS)
def test_proposals_cost_what_they_say_at_most(name: str) -> None:
    import numpy as np

    from clucert.audit.proposals import applied

    text, ball = ("the", "plot", "is", "thin", "but", "the", "cast", "is", "fine"), Ball(name)
    given = material(
        Arsenal({"no": ("no",)}, {"yes": ("bad", "dull")}, texts={"yes": ("a dull mess",)}), "yes", tokenize, words=True
    )
    for room in (1, 3):
        for step in itertools.islice(proposals(text, ball.operations, room, given, np.random.default_rng(1)), 60):
            assert step.cost <= max(room, 1)
            assert ball.distance(text, applied(text, [step]), step.cost) is not None, (name, step)


# Certificates by samples


def opinion(text: str) -> str:
    """Positive where a good word is left and no bad one: one inserted word is seen in a fifth of the samples."""
    said = text.split()
    return "positive" if said.count("good") > 2 * said.count("bad") else "negative"


@pytest.mark.parametrize("threat", ["insert", "delete", "edit", "word"])
def test_a_deletion_radius_that_is_too_large_breaks_and_the_true_one_does_not(threat: str) -> None:
    target = smoother(
        recovery="deletion", keep="each", mask_rate=Fraction(7, 10), predict_samples=60, looks=(Look(2000),)
    )
    text = " ".join([*["good"] * 12, "plot", "cast", "film", "scene"])
    certificate = drive(target.steps(text, "1"), lambda texts, _: [opinion(t) for t in texts]).certificate
    assert certificate.prediction == "positive"
    by_threat = {claim.threat: claim for claim in token_claims(certificate)}
    arsenal = Arsenal({"negative": ("bad",)}, {"positive": ("bad", "poor")}, texts={"positive": ("bad bad bad",)})
    effort = Effort(screen=30, confirm=300)

    def attacked(claim: Claim):
        steps_ = token_steps(target, certificate, claim, arsenal, "1", effort)
        return drive(steps_, lambda texts, _: [opinion(t) for t in texts])

    true = by_threat[threat]
    attempt = attacked(true)
    assert attempt.tried
    assert not attempt.broken
    broken = attacked(replace(true, radius=11))
    assert broken.broken
    assert broken.p_value <= effort.level
    assert broken.answer == "negative"


def test_scored_questions_are_asked_of_the_classifier_that_is_attacked() -> None:
    """Every question is about sub-texts, with scores: what a guided search is guided by."""
    smoother_ = ExactSmoother(settings_of(Groups(5, b"g15"), None, False), LABELS)
    scored = fragile(0, 1.0)
    certificate = driven(smoother_.steps("a b c d e f g h i"), scored)
    steps_ = exact_steps(certificate, ARSENAL, "1", Effort(texts=20))
    asked: list[Classify] = []
    reply = None
    while True:
        try:
            request = steps_.send(reply)
        except StopIteration as stop:
            attempts = stop.value
            break
        if isinstance(request, Classify):
            asked.append(request)
            reply = [scored(text) for text in request.texts]
        else:
            reply = None
    assert all(request.scored for request in asked)
    counted = sum(attempt.asked for attempt in attempts)
    assert counted
    assert all(attempt.tried <= 20 for attempt in attempts)


def test_passages_are_attacked_with_passages() -> None:
    """Seven passages, one vote each: three that an attacker controls are survived, four are not."""
    settings = ExactSettings(Base(("table",), "test"), "test", Each(), unit="passage")
    smoother_ = ExactSmoother(settings, LABELS)
    scored = lambda text: Scored("no", {"no": 1.0}) if "poison" in text else Scored("yes", {"yes": 1.0})  # noqa: E731
    certificate = driven(smoother_.steps(json.dumps([f"passage {i}" for i in range(7)])), scored)
    arsenal = build_arsenal(
        LABELS, [(certificate.text, "yes"), ('["poison in a list"]', "no"), ("no list", "no")], tuple
    )
    claims = [claim for claim in exact_claims(certificate) if claim.threat in ("replace", "edit")]
    assert [claim.radius for claim in claims] == [3, 3]
    for attempt in driven(exact_steps(certificate, arsenal, "1", EFFORT, claims), scored):
        assert not attempt.broken
        assert attempt.past


@pytest.mark.parametrize("flagged", [True, False])
def test_a_flag_of_sampled_votes_is_attacked_as_the_decision_it_is(flagged: bool) -> None:
    """Flagged at a fifth of the votes, up or not: a radius of one more than the text has to spare breaks."""
    flag = Flag(("negative",), share=Fraction(1, 5))
    target = smoother(
        recovery="deletion", keep="each", mask_rate=Fraction(7, 10), predict_samples=60, looks=(Look(2000),), flag=flag
    )
    text = " ".join(["bad"] * 6 + ["good"] * 2) if flagged else " ".join(["good"] * 12)
    certificate = drive(target.steps(text, "1"), lambda texts, _: [opinion(t) for t in texts]).certificate
    assert certificate.prediction == ("negative" if flagged else "positive")
    other = "positive" if flagged else "negative"
    words = ("good", "fine") if flagged else ("bad", "poor")
    arsenal = Arsenal({other: words[:1]}, {certificate.prediction: words}, texts={certificate.prediction: words})
    effort = Effort(screen=30, confirm=300)
    claims = [claim for claim in token_claims(certificate) if claim.threat == "insert"]
    assert claims or not flagged

    def attacked(claim: Claim):
        steps_ = token_steps(target, certificate, claim, arsenal, "1", effort)
        return drive(steps_, lambda texts, _: [opinion(t) for t in texts])

    for claim in claims:
        assert not attacked(claim).broken
    radius = certificate.proved["insert"]
    assert radius is not None
    planted = Claim("proved", "insert", 40, (), certificate.prediction, ball=Ball("insert"))
    attempt = attacked(planted)
    assert attempt.broken
    assert attempt.answer == other
    assert attempt.p_value <= effort.level


@pytest.mark.parametrize("flagged", [True, False])
def test_a_flag_of_masked_words_is_attacked_as_the_decision_it_is(flagged: bool) -> None:
    flag = Flag(("negative",), share=Fraction(1, 5))
    target = smoother(mask_rate=Fraction(9, 10), predict_samples=80, looks=(Look(3000),), flag=flag)
    text = split(" ".join(["bad"] * 6 + ["good"] * 2 if flagged else ["good"] * 16))
    vote = lambda texts, _: [opinion(t) for t in texts]  # noqa: E731
    certificate = drive(target.steps(text.text, "1"), vote).certificate
    assert certificate.prediction == ("negative" if flagged else "positive")
    other = "positive" if flagged else "negative"
    arsenal = Arsenal({other: ("good" if flagged else "bad",)}, {certificate.prediction: ()}, texts={})
    (true,) = claims_of(certificate, [False] * len(text))
    assert (true.kind, true.threat) == ("proved", "word")
    # As many as there are words less one: that is more than the votes bear.
    for claim, breaks in ((true, False), (replace(true, radius=len(text) - 1), True)):
        steps_ = attack_steps(target, text, [()] * len(text), claim, arsenal, "1", Effort(screen=40, confirm=400))
        attempt = drive(steps_, vote)
        assert attempt.tried
        assert attempt.broken is breaks
    assert (attempt.answer, attempt.p_value <= 0.001) == (other, True)


def test_a_group_of_labels_is_attacked_as_the_class_it_is() -> None:
    """The two labels of the group share its votes: neither leads alone, and the group is not to be broken by that."""
    labels = ("harmful", "unsafe", "safe")
    target = smoother(mask_rate=Fraction(9, 10))
    target = replace(target, labels=labels, settings=replace(target.settings, groups=(labels[:2],)))
    text = split("kill maim kill maim kill maim nice kind")

    def vote(texts, _):
        found = [next((w for w in t.split() if w != "[MASK]"), "nice") for t in texts]
        return [{"kill": "harmful", "maim": "unsafe"}.get(w, "safe") for w in found]

    certificate = drive(target.steps(text.text, "1"), vote).certificate
    assert certificate.prediction == "harmful+unsafe"
    claims = {c.kind: c for c in claims_of(certificate, [False] * len(text)) if c.threat == "word"}
    assert set(claims) == {"published", "proved"}
    arsenal = Arsenal({"safe": ("nice",)}, {"harmful+unsafe": ()}, texts={})
    for claim in (*claims.values(), replace(claims["proved"], radius=5)):
        steps_ = attack_steps(target, text, [()] * len(text), claim, arsenal, "1", Effort(screen=40, confirm=400))
        attempt = drive(steps_, vote)
        assert attempt.broken is (claim.radius == 5)
    assert attempt.answer == "safe"


@pytest.mark.parametrize("eta", [Fraction(1, 10), Fraction(1, 3), Fraction(1, 2)])
@pytest.mark.parametrize("flagged", [True, False])
def test_at_the_threshold_itself_a_flag_is_called_broken_no_more_often_than_the_level_says(eta, flagged) -> None:
    """Every outcome of the fresh votes with its probability, where p_harm = η: a flag is up there, and one that is down
    there is at the edge of what "passed" may be."""
    target = smoother(flag=Flag(("negative",), share=eta))
    claim = Claim("proved", "word", 1, (0,), "negative" if flagged else "positive")
    samples, effort = 60, Effort(level=0.01)
    chance = called = 0.0
    for harmful in range(samples + 1):
        votes = Votes({"negative": harmful, "positive": samples - harmful})
        p = comb(samples, harmful) * float(eta) ** harmful * float(1 - eta) ** (samples - harmful)
        broken = min(1.0, _lost(target, votes, claim, votes)[1] * effort.finalists) <= effort.level
        chance, called = chance + p, called + p * broken
    assert chance == pytest.approx(1)
    assert 0 < called * effort.finalists <= effort.level


def test_words_that_have_a_canonical_form_are_judged_by_it() -> None:
    """What an attacker writes as "evil" the classifier sees as "bad": the search has to see it, too."""
    form = Canonical(codes=(lambda word: word.replace("evil", "bad"),), names=("test",))
    settings = replace(settings_of(Groups(5, b"g15"), None, False), canonical=("test",))
    smoother_ = ExactSmoother(settings, LABELS, form)
    scored = lambda text: Scored("no", {"no": 1.0}) if "bad" in text else Scored("yes", {"yes": 1.0})  # noqa: E731
    certificate = driven(smoother_.steps("a b c d e"), scored)
    (claim,) = [claim for claim in exact_claims(certificate) if claim.threat == "replace"]
    arsenal = Arsenal({}, {"yes": tuple(f"evil{k}" for k in range(10))})
    for radius, broken in ((1, False), (2, True)):
        (attempt,) = driven(exact_steps(certificate, arsenal, "1", EFFORT, [replace(claim, radius=radius)]), scored)
        assert attempt.broken == broken
        assert attempt.past is not False
