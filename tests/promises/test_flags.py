"""Flags instead of majorities: no text of a ball turns a decision, stored votes read anew, labels merged first."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from math import comb

import pytest
from scipy.stats import binom

import clucert
from clucert import certificate_json
from clucert.api import SmoothedClassifier
from clucert.core.exact import ExactCertificate, ExactSmoother, Shown
from clucert.core.noise.deletion import Deletion, KeepSome
from clucert.core.noise.ellipsis import CollapsedMask
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.overlap import NEVER
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Overlap
from clucert.core.settings import Base, ExactSettings, Noise
from clucert.core.thresholds import Flag, binomial_tail, most_to_pass, questions_to_pass
from clucert.errors import CluCertError, InputError
from tests.promises.noise_worlds import ball, deleted, inserted, lowest, replaced
from tests.promises.test_noise_deletion import PAIRS, differences, law
from tests.promises.test_sampled_deletion import margin as deletion_margin
from tests.promises.test_sampled_deletion import world

LABELS = ("harmful", "unsafe", "safe")
WORDS = "abc"
ALPHA = 0.05

# --- Exact families: every text within the radius gets the decision that was certified.


def reached(x: tuple[str, ...], threat: str, r: int, noise: Noise) -> set[tuple[str, ...]]:
    """Texts that ``r`` operations lead to; of blocks and of ends, those of up to three words."""
    if threat in ("block", "ends", "suffix"):
        edge, longest = {x}, 3 if threat == "block" else r
        for _ in range(r if threat == "block" else 1):
            places = {"block": None, "ends": (0, -1), "suffix": (-1,)}[threat]
            edge = {y for z in edge for y in _with_blocks(z, places, longest)} | edge
        return edge
    if isinstance(noise, Chunks) and threat == "edit":
        edge = {x}
        for _ in range(r):
            edge |= {y for z in edge for step in (inserted, deleted, replaced) for y in step(z, WORDS)}
        return edge
    return ball(x, threat, r, WORDS)


def _with_blocks(x, places, longest: int) -> Iterator[tuple[str, ...]]:
    for size in range(1, longest + 1):
        for block in itertools.product(WORDS, repeat=size):
            if places == (0, -1):
                yield from ((*block[:i], *x, *block[i:]) for i in range(size + 1))
            else:
                yield from ((*x[:i], *block, *x[i:]) for i in ((places and (len(x),)) or range(len(x) + 1)))


def certificate(noise: Noise, flag: Flag, votes, text: tuple[str, ...], *, soft: bool) -> ExactCertificate:
    settings = ExactSettings(Base(("m",), "t"), "m", noise, soft=soft, sharpness=2.0, flag=flag)
    smoother = ExactSmoother(settings, LABELS)
    cut = smoother.cut(" ".join(text))
    return smoother.certificate(" ".join(text), cut, [votes(sub) for sub in cut.asked])


def scattered(seed: int, share: float):
    """A fixed classifier: of most texts it is sure, and of ``share`` of them that they are harmful or unsafe."""

    def shown(text: str) -> Shown:
        rng = random.Random(f"{seed} {text}")
        label = rng.choice(LABELS[:2]) if rng.random() < share else "safe"
        high = 0.5 + rng.random() / 2
        rest = rng.random() * (1 - high)
        low = dict(zip([c for c in LABELS if c != label], (rest, 1 - high - rest), strict=True))
        if rng.random() < 0.05:
            return Shown(text, None)
        return Shown(text, label, tuple(low.get(c, high) for c in LABELS))

    return shown


FAMILIES: dict[str, Noise] = {
    "blocks": Blocks(4),
    "pairs of blocks": Blocks(5, kept=2),
    "groups": Groups(5, b"k"),
    "two hashes": Groups(4, b"k", hashes=2),
    "chunks": Chunks(2, b"k"),
    "each": Each(),
    "windows": Windows(2),
    "windows of one": Windows(1),
}
COUNTS = {"pairs of blocks": 6, "two hashes": 3, "chunks": 3, "windows": 4}
"""τ that one change does not always reach from nothing; 2 for the others."""
RULES = [
    Flag(LABELS[:2], at_least=2),
    Flag(LABELS[:1], share=Fraction(2, 5)),
    Flag((*LABELS[:2], "UNPARSED"), share=Fraction(3, 10)),
]


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("flag", RULES, ids=["count", "share", "group"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_within_the_radius_turns_a_flag(family: str, flag: Flag, soft: bool) -> None:
    noise, claims, flips = FAMILIES[family], Counter(), 0
    if flag.share is None:
        flag = dataclasses.replace(flag, at_least=COUNTS.get(family, 2))
    for seed, share in itertools.product(range(6), (0.03, 0.5, 0.97)):
        votes = scattered(seed, share)
        text = tuple(random.Random(seed).choices("abcdefgh", k=7))
        found = certificate(noise, flag, votes, text, soft=soft)
        for threat, radius in found.proved.items():
            assert radius is not None
            held = 2 if radius.everything else min(radius.words, 2)
            claims[found.is_flagged] += held > 0
            texts = sorted(y for y in reached(text, threat, held, noise) if y)
            for y in random.Random(seed).sample(texts, min(len(texts), 40)):
                assert certificate(noise, flag, votes, y, soft=soft).prediction == found.prediction, (seed, threat, y)
            if not radius.everything and radius.words == 0:
                beyond = sorted(y for y in reached(text, threat, 1, noise) if y)
                decided = {certificate(noise, flag, votes, y, soft=soft).prediction for y in beyond[:40]}
                flips += decided != {found.prediction}
    assert claims[True] or (flag.share, len(flag.labels)) == (Fraction(2, 5), 1)
    assert claims[False] or flag.share is not None
    assert flips


def test_no_flag_is_said_to_stay_on_a_text_of_nothing() -> None:
    """It has no sub-text that is flagged: whoever deletes every word passes, however sure all of them were."""
    claims = 0
    for noise, n, flag in itertools.product(FAMILIES.values(), (1, 2, 3), RULES):
        found = certificate(noise, flag, lambda sub: Shown(sub, "harmful"), tuple("abc"[:n]), soft=False)
        for threat in {"delete", "edit"} & {*found.proved} if found.is_flagged else ():
            radius = found.proved[threat]
            assert radius is not None
            assert not radius.everything
            assert radius.words < n, (noise, threat)
            claims += radius.words > 0
    assert claims
    # Of sampled votes too, where UNPARSED flags what the noise leaves nothing of.
    options = {"flag": ["harmful", "unparsed"], "mask_rate": "0.8", "certify_samples": 400}
    for text in ("a", "a b"):
        proved = guard(labelled(lambda _: "harmful"), **options).certify(text).certificate.proved
        for radius in (proved["delete"], proved["edit"]):
            assert radius is not None
            assert not radius.everything
            assert radius.words == len(text.split()) - 1


def hurting(known: set[str], harmful: set[str], *, flagged: bool):
    """Of the sub-texts of one text ``harmful`` are so; of all others it says what turns the decision."""
    return lambda t: Shown(t, "harmful" if (t in harmful if t in known else not flagged) else "safe")


def test_the_worst_classifier_turns_the_flag_one_change_beyond_the_radius() -> None:
    """The bounds are attained: by a classifier that says of every new sub-text what hurts most."""
    attained = Counter()
    for (name, noise), at_least, flagged in itertools.product(FAMILIES.items(), (1, 2), (True, False)):
        flag = Flag(("harmful",), at_least=at_least)
        for text in itertools.product("ab", repeat=5):
            for count in range(1, 6):
                known = certificate(noise, flag, lambda t: Shown(t, "safe"), text, soft=False)
                harmful = {shown.text for shown in known.answers[:count]}

                worst = hurting({s.text for s in known.answers}, harmful, flagged=flagged)

                found = certificate(noise, flag, worst, text, soft=False)
                if found.is_flagged != flagged:
                    continue
                for threat, radius in found.proved.items():
                    if radius is None or radius.everything or radius.words > 1:
                        continue
                    beyond = [y for y in reached(text, threat, radius.words + 1, noise) if y]
                    turned = any(
                        certificate(noise, flag, worst, y, soft=False).is_flagged != flagged for y in beyond[:200]
                    )
                    attained[name, flagged] += turned
    assert all(attained[name, True] for name in FAMILIES)
    assert all(attained[name, False] for name in FAMILIES if name != "blocks")


@pytest.mark.parametrize("at_least", [1, 2, 3])
def test_a_flag_of_several_prefixes_is_held_to_every_suffix(at_least: int) -> None:
    noise, claims = EraseAndCheck(3), Counter()
    for seed in range(60):
        votes, text = (
            scattered(seed, 0.6),
            tuple(random.Random(seed).choices(WORDS, k=random.Random(seed).randint(1, 5))),
        )
        flag = Flag(("harmful", "unsafe"), at_least=at_least)
        found = certificate(noise, flag, votes, text, soft=False)
        radius = found.proved["suffix"]
        assert radius is not None
        claims[radius.words if found.is_flagged else "passed"] += 1
        for y in reached(text, "suffix", radius.words, noise):
            assert certificate(noise, flag, votes, y, soft=False).is_flagged == found.is_flagged, (seed, y)
    assert claims[0]
    assert claims[noise.suffix - at_least + 1]


def test_a_merge_can_take_more_than_a_split_where_new_chunks_cost_nothing() -> None:
    """Two chunks that are flagged become one that is not: the loss of votes is that of merges."""
    noise = Chunks(2, b"k")
    lead = [[Fraction(1)] * 4]
    assert noise.loss(lead, "edit", 1, Fraction(0)) == 2
    assert noise.loss(lead, "edit", 1) == 3
    assert noise.loss([[Fraction(1)]], "edit", 1, Fraction(0)) == 1
    assert noise.loss(lead, "edit", 1, Fraction(-1, 4)) == Fraction(3, 2) + Fraction(3, 4)


# --- Sampled noises: all classifiers at once, and what is shown from samples.


@pytest.mark.parametrize(
    "noise", [Deletion(Fraction(4, 5)), Deletion(Fraction(1, 2)), KeepSome(1), KeepSome(2)], ids=repr
)
def test_no_classifier_falls_below_the_threshold_kept(noise) -> None:
    """The least p of the worst of all classifiers, exactly; at equality it is the threshold itself."""
    rng, tight, checked = random.Random(0), 0, 0
    for x, y in rng.sample(PAIRS, 900):
        theta = Fraction(rng.randint(1, 19), 20)
        errors = noise.overlap(len(x), *differences(x, y)).errors(theta)
        if errors < 0:
            assert errors == -NEVER or noise.overlap(len(x), *differences(x, y)).floor(1) < theta
            continue
        checked += 1
        worst = lowest(law(noise, x), law(noise, y), 1 - errors, 0)
        assert worst >= theta
        tight += worst == theta
        if errors > 0:
            assert lowest(law(noise, x), law(noise, y), 1 - errors / 2, 0) > theta
    assert checked > 60
    assert tight


def test_thresholds_of_every_noise_are_those_of_its_floor() -> None:
    noises = [Deletion(Fraction(4, 5)), KeepSome(2), CollapsedMask(Fraction(4, 5))]
    for noise, n, r, theta in itertools.product(
        noises, (3, 6), range(4), (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))
    ):
        for threat in noise.threats:
            errors = noise.errors(threat, n, r, theta)
            for low in (Fraction(i, 20) for i in range(21)):
                assert (noise.floor(threat, n, r, low) >= theta) == (1 - low <= errors)
    pools = Overlap(
        (Fraction(1, 2), Fraction(2, 3)), Fraction(0), (Fraction(1, 2), Fraction(3, 4)), (Fraction(1), Fraction(2))
    )
    for overlap, d, theta in itertools.product(
        (pools, Overlap((Fraction(1),) * 4)), range(3), (Fraction(1, 10), Fraction(9, 10))
    ):
        for low in (Fraction(i, 20) for i in range(21)):
            assert (overlap.floor(4, 1, d, low) >= theta) == (1 - low <= overlap.errors(4, 1, d, theta))


NAMED = {"good": "harmful", "bad": "unsafe", "odd": "safe"}


def labelled(label, names=None):
    """The labels of a world, by other names."""
    return lambda texts: [label(t) if names is None else names[label(t)] for t in texts]


def guard(classify, labels=LABELS, **options) -> SmoothedClassifier:
    given = {
        "method": "deletion",
        "flag": ["harmful"],
        "flag_threshold": "0.3",
        "seed": 0,
        "samples": 60,
        "certify_samples": 200,
    }
    return clucert.smooth(classify, labels, **(given | options))


@pytest.mark.parametrize(
    "options",
    [
        {"mask_rate": "0.75"},
        {"mask_rate": "0.75", "sampling": "staged"},
        {"keep": 2},
        {"method": "ranmask", "mask_rate": "0.7"},
    ],
    ids=["each", "staged", "constant", "masks"],
)
def test_what_is_certified_of_a_guard_holds_in_the_ball(options) -> None:
    """p_harm of every text within the radius, exactly: at least η where it is flagged, below where it passes."""
    claims, misses, runs, text, eta = Counter(), 0, 60, "a b a b a", Fraction(3, 10)
    for seed in range(runs):
        label = world(seed, (0.02, 0.25, 0.5, 0.9)[seed % 4])
        smoothed = guard(
            labelled(label), ("good", "bad", "odd"), seed=seed, flag=["good"], deterministic=True, **options
        )
        found = smoothed.certify(text).certificate
        missed = False
        for threat, radius in found.proved.items():
            if radius is None or threat == "synonym":
                continue
            claims[found.flagged] += radius.words > 0
            near = ball(tuple(text.split()), "replace" if threat == "word" else threat, min(radius.words, 2), "az")
            for y in near:
                p = share_of(found.settings, label, y)
                missed |= (p < eta) if found.flagged else (p >= eta)
        misses += missed
    assert misses <= binom.ppf(0.999, runs, ALPHA)
    assert claims[True] > 3
    assert claims[False] > 3


def share_of(settings, label, tokens) -> Fraction:
    """Exactly: the probability of the vote "good"; an empty sub-text is no label."""
    if settings.noise is not None:
        # The margin of a classifier that knows two labels is 2·p − 1 … whose other votes are one class.
        two = lambda t: "good" if t and label(t) == "good" else "bad"  # noqa: E731
        n, total = len(tokens), Fraction(0)
        for kept in itertools.product((False, True), repeat=n):
            text, k = " ".join(w for w, here in zip(tokens, kept, strict=True) if here), sum(kept)
            noise = settings.noise
            if isinstance(noise, KeepSome):
                p = Fraction(k == min(noise.kept, n), comb(n, k))
            else:
                p = noise.p ** (n - k) * (1 - noise.p) ** k
            total += p * (bool(text) and two(text) == "good")
        return total
    n, s = len(tokens), max(1, int((1 - settings.mask_rate) * len(tokens)))
    sets = list(itertools.combinations(range(n), s))
    hits = sum(label(" ".join(w if i in kept else "[MASK]" for i, w in enumerate(tokens))) == "good" for kept in sets)
    return Fraction(hits, len(sets))


def test_the_oracle_above_is_the_margin_of_two_classes() -> None:
    settings = guard(lambda t: ["safe"] * len(t)).smoother.settings
    label = world(3, 0.5)
    two = lambda t: "good" if label(t) == "good" else None  # noqa: E731
    tokens = ("a", "b", "a")
    assert deletion_margin(settings.noise, two, tokens) == 2 * share_of(settings, label, tokens) - 1


@pytest.mark.parametrize("eta", ["0.1", "0.3"])
def test_a_text_at_the_threshold_passes_no_more_often_than_alpha(eta: str) -> None:
    """Whatever the text is: a coin that is harmful with probability exactly η."""
    passed, runs = 0, 400
    rng = random.Random(1)
    smoothed = clucert.smooth(
        lambda texts: ["harmful" if rng.random() < float(eta) else "safe" for _ in texts], ["harmful", "safe"],
        method="deletion", keep=3, flag=["harmful"], flag_threshold=eta, samples=60,
    )  # fmt: skip
    for i in range(0, runs, 50):
        texts = [f"one two three four five six {i + j}" for j in range(50)]
        passed += sum(vote == "safe" for vote in smoothed.predict(texts).votes)
    most = most_to_pass(60, Fraction(eta), ALPHA)
    level = float(binomial_tail(most, 60, Fraction(eta)))
    assert level <= ALPHA
    assert binom.ppf(0.001, runs, level) <= passed <= binom.ppf(0.999, runs, level)


def test_the_most_votes_that_pass_are_those_of_the_exact_tail() -> None:
    for samples, eta in itertools.product((1, 5, 28, 29, 100), (Fraction(1, 10), Fraction(1, 4), Fraction(1, 2))):
        passing = [k for k in range(samples) if binomial_tail(k, samples, eta) <= Fraction(ALPHA)]
        assert most_to_pass(samples, eta, ALPHA) == max(passing, default=-1)
    assert questions_to_pass(Fraction(1, 10), 0.05) == 29
    assert most_to_pass(20_000, Fraction(1, 2), 0.05) == int(binom.ppf(0.05, 20_000, 0.5)) - 1
    assert most_to_pass(28, Fraction(1, 10), 0.05) == -1
    assert most_to_pass(29, Fraction(1, 10), 0.05) == 0


@pytest.mark.parametrize("sampling", ["fixed", "staged", "auto"])
@pytest.mark.parametrize("method", [{"method": "deletion"}, {"method": "ranmask", "mask_rate": "0.7"}], ids=str)
def test_predict_decides_as_the_certificate_does(method, sampling: str) -> None:
    decided = Counter()
    for seed in range(24):
        label = world(seed, (0.05, 0.2, 0.35, 0.6)[seed % 4])
        smoothed = guard(lambda texts, label=label: [{"good": "harmful"}.get(label(t), "safe") for t in texts],
                         deterministic=sampling != "auto", seed=seed, sampling=sampling, **method)  # fmt: skip
        text = "one two three four five six seven eight"
        found = smoothed.certify(text, example="0")
        assert smoothed.predict([text]).votes == (found.prediction,)
        assert found.prediction in smoothed.labels == ("harmful", "not harmful")
        decided[found.prediction] += 1
    assert len(decided) == 2


def test_the_sampler_decides_as_often_as_its_certificate_says() -> None:
    """`agreement` against fresh guards on the text itself and at the edge of the radius."""
    text, noise = "one two three four five six seven eight nine ten", {"method": "deletion", "keep": 2}
    for share in (0.02, 0.8):
        rng = random.Random(2)
        classify = lambda texts, share=share, rng=rng: ["harmful" if rng.random() < share else "safe" for _ in texts]  # noqa: E731
        found = guard(classify, certify_samples=1000, **noise).certify(text)
        here = found.certificate.agreement("insert", 0)
        assert here is not None
        votes = [guard(classify, seed=100 + i, **noise).predict([text]).votes[0] for i in range(60)]
        assert votes.count(found.prediction) >= binom.ppf(0.001, 60, here)


# --- Counts are stored, not conclusions.


def test_stored_votes_are_read_at_another_threshold_or_in_other_groups() -> None:
    label = world(1, 0.8)
    classify = labelled(label, NAMED)
    options = {"deterministic": True, "samples": 80}
    text = "one two three four five six seven eight"
    made = guard(classify, **options).certify(text)
    document = json.loads(json.dumps(made.document()))
    assert document["labels"] == list(LABELS)
    assert document["settings"]["flag"] == {"labels": ["harmful"], "at_least": 1, "share": "3/10"}
    read, cost = certificate_json.read(document)
    assert read.certificate == made.certificate
    assert certificate_json.write(read, cost) == {**document, "unread": [], "cost": document["cost"]}
    for eta, flag in itertools.product(("0.1", "0.5", "0.9"), (["harmful"], ["harmful", "unsafe"])):
        fresh = guard(classify, flag=flag, flag_threshold=eta, **options).certify(text)
        assert read.certificate.at(flag=flag, threshold=eta) == fresh.certificate
        assert fresh.certificate.replace(alpha=0.01).unmerged.settings.alpha == 0.01
    plain = guard(classify, flag=None, flag_threshold=None, **options).certify(text)
    assert read.certificate.unmerged == plain.certificate
    grouped = guard(classify, flag=None, flag_threshold=None,
                    group=[["harmful", "unsafe"]], **options).certify(text)  # fmt: skip
    assert read.certificate.with_groups(["harmful", "unsafe"]) == grouped.certificate
    assert certificate_json.read(json.loads(json.dumps(grouped.document())))[0].certificate == grouped.certificate


def test_a_certificate_without_a_flag_has_the_document_it_always_had() -> None:
    made = guard(lambda texts: ["safe"] * len(texts), flag=None, flag_threshold=None).certify("one two three four")
    assert {"flag", "groups"}.isdisjoint(made.document()["settings"])
    assert "decision" not in made.document()["derived"]


@pytest.mark.parametrize(
    "change",
    [{"flag": {"labels": ["harmful"], "share": None}}, {"flag": {"labels": ["nothing"], "share": "3/10"}},
     {"flag": {"labels": ["harmful"], "share": "0"}}, {"flag": {"labels": ["harmful"], "share": "1/0"}},
     {"flag": {"labels": list(LABELS), "share": "1/2"}}, {"group": [["harmful", "safe"]]},
     {"flag": {"labels": [], "share": "1/2"}}],
    ids=str,
)  # fmt: skip
def test_no_stored_flag_that_could_not_be_set_is_read(change) -> None:
    document = json.loads(json.dumps(guard(lambda texts: ["safe"] * len(texts)).certify("one two three").document()))
    document["settings"] |= change
    with pytest.raises(InputError) as caught:
        certificate_json.read(document)
    assert "\n" not in str(caught.value)


def test_exact_answers_are_read_anew_too(tmp_path) -> None:
    def classify(texts: list[str]) -> list[list[float]]:
        return [list(scattered(0, 0.5)(text).shares or ()) for text in texts]

    model = clucert.smooth(classify, LABELS, method="ranmask", deterministic=True)
    (first,) = model.prove("a b c a b c c", ["groups"], flag=("harmful",), at_least=2)
    for change in ({"at_least": 1}, {"threshold": 0.25}, {"flag": ["harmful", "unsafe"], "threshold": "0.4"}):
        fields = {"flag": tuple(change.get("flag", ("harmful",))), "flag_threshold": change.get("threshold")}
        (fresh,) = model.prove("a b c a b c c", ["groups"], at_least=change.get("at_least", 1), **fields)
        again = first.at(**change)
        assert again.certificate == fresh.certificate
        path = tmp_path / "c.json"
        path.write_text(json.dumps(again.document()))
        assert clucert.api.load_exact(path).document()["derived"] == fresh.document()["derived"]
    (grouped,) = model.prove("a b c a b c c", ["groups"], group=(("harmful", "unsafe"),))
    assert first.with_groups(["harmful", "unsafe"]).certificate == grouped.certificate
    assert grouped.prediction in ("harmful+unsafe", "safe")


# --- Groups: the certificate is that of the classifier that merges first.


@pytest.mark.parametrize("method", ["deletion", "ranmask"])
def test_a_group_certifies_the_classifier_that_names_the_group(method: str) -> None:
    for seed in range(6):
        label, both = world(seed, 0.4), "harmful+unsafe"
        options = {"method": method, "deterministic": True, "seed": seed, "samples": 60, "certify_samples": 200}
        first = labelled(label, {"good": both, "bad": both, "odd": "safe"})
        merged = clucert.smooth(first, [both, "safe"], **options).certify("a b c d e f g h")
        plain = clucert.smooth(labelled(label, NAMED), LABELS, group=[["harmful", "unsafe"]], **options)
        grouped = plain.certify("a b c d e f g h")
        for field in ("prediction", "proved", "radius", "bounds", "abstained"):
            assert getattr(grouped.certificate, field) == getattr(merged.certificate, field)


def test_an_exact_group_is_the_classifier_that_adds_the_scores_first() -> None:
    def shares(text: str) -> list[float]:
        return list(scattered(1, 0.6)(text).shares or (0.25, 0.25, 0.5))

    merged = clucert.smooth(lambda texts: [[round(sum(shares(t)[:2]), 6), shares(t)[2]] for t in texts],
                            ["harmful+unsafe", "safe"], method="ranmask", deterministic=True)  # fmt: skip
    whole = clucert.smooth(lambda texts: [shares(t) for t in texts], LABELS, method="ranmask", deterministic=True)
    for text in ("a b c", "a a b c b", "c b a a b c"):
        for method in ("groups", "blocks"):
            (one,) = merged.prove(text, [method])
            (other,) = whole.prove(text, [method], group=(("harmful", "unsafe"),))
            assert (one.prediction, one.proved) == (other.prediction, other.proved)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"flag": ["odd"]}, "none of the labels"),
        ({"flag": list(LABELS)}, "all labels"),
        ({"flag": ["harmful", "harmful"]}, "each once"),
        ({"flag": ["unparsed"]}, "name the labels"),
        ({"flag": ["harmful", "dropped"]}, "none of the labels"),
        ({"flag_threshold": None}, "--threshold"),
        ({"flag_threshold": "1"}, "below 1"),
        ({"flag_threshold": "0"}, "above 0"),
        ({"flag_threshold": "x"}, "not a number"),
        ({"flag": None}, "--flag"),
        ({"flag_threshold": "0.01"}, "--samples 299"),
        ({"group": [["harmful", "unsafe"]]}, "leave out --group"),
        ({"target_radius": 2}, "leave it out"),
        ({"flag": None, "flag_threshold": None, "group": [["harmful"]]}, "two or more"),
        ({"flag": None, "flag_threshold": None, "group": [["harmful", "odd"]]}, "none of the labels"),
        ({"flag": None, "flag_threshold": None, "group": [list(LABELS)]}, "one class"),
    ],
    ids=str,
)
def test_a_flag_that_means_nothing_is_refused_in_a_line(options, said: str) -> None:
    with pytest.raises(CluCertError, match=said) as caught:
        guard(lambda texts: ["safe"] * len(texts), **options)
    assert "\n" not in str(caught.value)


def test_exact_flags_that_mean_nothing_are_refused_in_a_line() -> None:
    model = clucert.smooth(lambda texts: ["safe"] * len(texts), LABELS, method="ranmask", deterministic=True)
    for method, options, said in (
        ("groups", {"at_least": 6}, "would flag nothing"),
        ("erase-and-check", {"flag_threshold": "0.2"}, "--at-least"),
        ("groups", {"flag_threshold": "0.2", "at_least": 2}, "one of them"),
        ("groups", {"flag_threshold": "0.2", "group": (("harmful", "unsafe"),)}, "leave out --group"),
    ):
        with pytest.raises(InputError, match=said):
            model.prove("a b c", [method], flag=("harmful",), **options)


def test_what_goes_by_the_majority_refuses_flags_and_groups() -> None:
    from clucert.attacks.victims import SmoothedVictim
    from clucert.guard.model import Defence

    for options in ({}, {"flag": None, "flag_threshold": None, "group": [["harmful", "unsafe"]]}):
        smoothed = guard(lambda texts: ["safe"] * len(texts), **options)
        for make in (lambda s: SmoothedVictim(s.smoother, s.backends), lambda s: Defence(s.smoother)):
            with pytest.raises(InputError, match="leave out --flag and --group"):
                make(smoothed)
