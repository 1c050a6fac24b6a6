"""Deletion and the ellipsis from end to end: the radii that `clucert.smooth` certifies, against every text there is."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from scipy.stats import binom

import clucert
from clucert import certificate_json
from clucert.config import Config
from clucert.core.noise.deletion import Deletion, KeepSome
from clucert.core.noise.ellipsis import CollapsedMask, collapse
from clucert.core.noise.overlap import worst_slack
from clucert.core.radius import known
from clucert.errors import CluCertError, InputError
from tests.promises.noise_worlds import ball
from tests.screens import verbose

LABELS = ["good", "bad", "odd"]
ALPHA = 0.05
TEXTS = {"each": "a b a b b a b a", "constant": "a b a b", "ellipsis": "a b a b"}
DELETION = {"method": "deletion", "mask_rate": "0.75"}
CONSTANT = {"method": "deletion", "keep": 1}
ELLIPSIS = {"method": "ranmask", "recovery": "ellipsis", "keep": "each", "mask_rate": "0.8"}
NOISES = {"each": DELETION, "constant": CONSTANT, "ellipsis": ELLIPSIS}


def world(seed: int, share: float):
    """A fixed classifier of every text there is: ``share`` of them are good, by a hash."""

    def label(text: str) -> str:
        point = int.from_bytes(hashlib.blake2b(f"{seed} {text}".encode(), digest_size=4).digest(), "big") / 2**32
        return "good" if point < share else LABELS[1 + int(point * 1000) % 2]

    return label


def margin(noise, label, tokens) -> Fraction:
    """Exactly: how much likelier the vote "good" is than any other, an empty sub-text being no label."""
    votes: Counter[str | None] = Counter()
    n = len(tokens)
    for kept in itertools.product((False, True), repeat=n):
        k = sum(kept)
        if isinstance(noise, KeepSome):
            p = Fraction(k == min(noise.kept, n), comb(n, k))
        else:
            p = noise.p ** (n - k) * (1 - noise.p) ** k
        if p:
            dropped = " ".join(token for token, here in zip(tokens, kept, strict=True) if here)
            text = collapse(tokens, kept) if isinstance(noise, CollapsedMask) else dropped
            votes[label(text) if text else None] += p
    good = votes.pop("good", Fraction(0))
    return good - max(votes.values(), default=Fraction(0))


EDITS = {"append": "insert", "word": "replace"}


@pytest.mark.parametrize("name", NOISES)
def test_no_certified_radius_is_beyond_the_true_one_in_any_text_of_the_ball(name: str) -> None:
    """Every text within the radius, every sub-text of it, exact probabilities; misses are no more than alpha."""
    rng = random.Random(name)
    claims, misses, runs, text = Counter(), 0, 40, TEXTS[name]
    for seed in range(runs):
        label = world(seed, rng.choice((0.8, 0.95, 0.99)))
        smoothed = clucert.smooth(
            lambda texts, label=label: [label(t) for t in texts], LABELS, deterministic=True, seed=seed,
            samples=40, certify_samples=150, **NOISES[name],
        )  # fmt: skip
        found = smoothed.certify(text).certificate
        if found.prediction != "good":
            continue
        noise, missed = found.settings.noise, False
        for threat, radius in found.proved.items():
            if radius is None:
                continue
            claims[threat] += radius.words > 0
            near = ball(tuple(text.split()), EDITS.get(threat, threat), min(radius.words, 2), "az")
            missed |= any(margin(noise, label, y) <= 0 for y in near)
        misses += missed
    assert misses <= binom.ppf(0.999, runs, ALPHA)
    assert claims["delete"] > 5
    assert claims["edit"] or name != "each"


@pytest.mark.parametrize("sampling", ["fixed", "staged"])
@pytest.mark.parametrize("threat", ["insert", "delete", "edit", "word"])
@pytest.mark.parametrize("kept", [1, 2])
def test_at_the_boundary_one_operation_is_claimed_no_more_often_than_alpha(
    kept: int, threat: str, sampling: str
) -> None:
    text, runs = "one two three four five six seven eight nine", 150
    slack = float(KeepSome(kept).slack(threat, 9, 1))
    claimed = Counter()
    for seed in range(runs):
        # Votes that all agree are the same votes in every run.
        for share in ((1 + slack) / 2, 1.0)[: 1 if seed else 2]:
            draw = random.Random(seed)
            found = clucert.smooth(
                lambda texts, draw=draw, share=share: ["good" if draw.random() < share else "bad" for _ in texts],
                LABELS[:2], method="deletion", keep=kept, seed=seed, samples=40, certify_samples=120,
                sampling=sampling,
            ).certify(text)  # fmt: skip
            radius = found.certificate.proved[threat]
            claimed[share] += found.prediction == "good" and radius is not None and radius.words >= 1
    assert claimed[(1 + slack) / 2] <= binom.ppf(0.999, runs, ALPHA)
    assert claimed[1.0] == 1


def asked_of(**options):
    asked: list[str] = []

    def classify(texts: list[str]) -> list[str]:
        asked.extend(texts)
        return ["good"] * len(texts)

    return clucert.smooth(classify, LABELS, seed=3, **options), asked


def test_a_text_of_which_nothing_is_kept_is_not_asked_and_is_no_label() -> None:
    smoothed, asked = asked_of(method="deletion", mask_rate="0.5", samples=50, certify_samples=400)
    found = smoothed.certify("so , good").certificate
    empty = sum(not row.any() for part in found.vote_records for row in part.sets(3))
    assert empty > 30
    assert found.votes.unparsed == empty
    assert found.votes.dropped == 0
    assert len(asked) == 450 - empty
    assert "" not in asked
    assert set(asked) <= {"so", ",", "good", "so ,", ", good", "so good", "so , good"}
    assert float(found.bounds.low) < 1 - 1 / 8


def test_tokens_are_words_and_marks_and_white_space_is_free() -> None:
    smoothed, _ = asked_of(method="deletion")
    here, there = (smoothed.certify(text) for text in ("Well, well!\n  Good...", "Well ,  well !Good ... "))
    assert here.certificate.subject.words == ("Well", ",", "well", "!", "Good", "...")
    assert here.certificate.vote_records == there.certificate.vote_records
    assert smoothed.certify("?!").certificate.n == 2
    with pytest.raises(InputError, match="no words"):
        smoothed.certify("  \n ")


@pytest.mark.parametrize("options", [*NOISES.values(), {"method": "deletion", "sampling": "staged"}], ids=str)
def test_a_certificate_survives_its_json_with_every_single_vote(options) -> None:
    smoothed, _ = asked_of(**options)
    made = smoothed.certify("one two three four , five six seven eight nine ten eleven twelve")
    document = json.loads(json.dumps(made.document()))
    read, cost = certificate_json.read(document)
    assert certificate_json.write(read, cost) == document
    assert read.certificate == made.certificate
    assert read.certificate.vote_records == made.certificate.vote_records != ()
    assert document["derived"]["radius"] is None
    assert set(document["derived"]["proved"]) == set(made.certificate.proved)
    assert all(proved["radius"]["words"] >= 0 for proved in document["derived"]["proved"].values())


def test_it_says_that_nothing_is_published_and_what_is_proved_of_tokens() -> None:
    smoothed, _ = asked_of(method="deletion", mask_rate="0.9", certify_samples=400)
    made = smoothed.certify("one two three four , five six seven eight nine ten " * 5)
    shown, proved = verbose(made), made.certificate.proved
    assert f"up to {proved['edit'].words} tokens inserted" in str(made)
    assert "\npublished" not in str(made)
    assert made.radius is None
    assert "none published" in shown
    assert "not the paper's" in shown
    assert f"up to {proved['edit'].words} tokens inserted, deleted, replaced or moved" in shown
    assert f"up to {proved['insert'].words} tokens inserted anywhere, no assumption" in shown
    assert "white space between them is free" in shown
    assert "words of the original text" not in shown


def test_a_claim_is_the_radius_of_the_votes() -> None:
    """All of 300 votes agree: the radii are those of guarantees.md, from p_low alone."""
    smoothed, _ = asked_of(method="deletion", mask_rate="0.8", certify_samples=300)
    found = smoothed.certify("word " * 40).certificate
    bounds, noise = found.bounds, Deletion(Fraction(4, 5))
    gap = Fraction(bounds.low) - Fraction(max(bounds.high.values()))
    for threat, radius in found.proved.items():
        if not radius.everything:
            assert gap > noise.slack(threat, 40, radius.words)
            assert gap <= noise.slack(threat, 40, radius.words + 1)
    assert (found.proved["insert"].words, found.proved["edit"].words) == (3, 2)


def test_few_tokens_and_a_high_rate_say_that_nothing_was_kept() -> None:
    smoothed, _ = asked_of(method="deletion", mask_rate="0.9")
    made = smoothed.certify("good film")
    assert made.prediction is None
    assert "kept none" in made.certificate.abstained
    assert "--keep 1" in made.certificate.abstained
    assert asked_of(method="deletion", keep=1)[0].certify("good film").prediction == "good"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "deletion", "clustering": "agglomerative"}, "every sample votes"),
        ({"method": "deletion", "refine": "embedding"}, "every sample votes"),
        ({"method": "deletion", "recoveries": 3}, "every sample votes"),
        ({"method": "deletion", "threshold": 0.5}, "every sample votes"),
        ({"method": "ranmask", "recovery": "deletion"}, "keep: each"),
        ({"method": "ranmask", "keep": "each"}, "does not go with"),
        ({"method": "ranmask", "recovery": "ellipsis", "keep": 3}, "does not go with"),
        ({"method": "deletion", "keep": 0}, "1 or more"),
        ({"method": "deletion", "target_radius": 2}, "leave it out"),
    ],
    ids=str,
)
def test_what_is_not_proved_is_refused_in_a_line(options, said: str) -> None:
    with pytest.raises(CluCertError, match=said) as caught:
        asked_of(**options)
    assert "\n" not in str(caught.value)


def test_a_number_of_the_command_line_is_a_number() -> None:
    assert Config.of(keep="4").keep == 4
    assert Config.of(keep="each").keep == "each"


@pytest.mark.parametrize(
    "change", [{"keep": None}, {"recovery": "mask"}, {"keep": 0}, {"clustering": "agglomerative"}], ids=str
)
def test_no_stored_certificate_of_a_noise_without_a_proof_is_read(change) -> None:
    smoothed, _ = asked_of(method="deletion", certify_samples=60)
    document = json.loads(json.dumps(smoothed.certify("one two three four").document()))
    document["settings"] |= change
    with pytest.raises(InputError, match="not a CluCERT certificate"):
        certificate_json.read(document)


def test_it_is_sampled_even_where_few_sets_exist() -> None:
    smoothed, _ = asked_of(method="deletion", sampling="auto", certify_samples=200)
    found = smoothed.certify("one two").certificate
    assert not found.exhaustive


# The ellipsis in the place of the mask token: a fixed number of words is kept.


def test_the_ellipsis_proves_what_masks_do_against_every_text() -> None:
    """g exactly, by every retention set; every replacement of up to r words."""
    rng, held = random.Random(1), Counter()
    for seed in range(40):
        label = world(seed, rng.choice((0.7, 0.9, 0.97)))
        smoothed = clucert.smooth(
            lambda texts, label=label: [label(t) for t in texts], LABELS, deterministic=True, sampling="auto",
            method="ranmask", recovery="ellipsis", mask_rate="0.6",
        )  # fmt: skip
        found = smoothed.certify("a, b, a, b, b, a.").certificate
        assert found.exhaustive
        if found.prediction is None:
            continue
        radius = found.proved["word"].words
        held[radius] += 1
        assert found.radius == found.proved["word"]
        for y in ball(tuple("ababba"), "replace", min(radius, 2), "ab"):
            votes = Counter(
                label(collapse(y, [i in kept for i in range(6)], ("", *[", "] * 5, ".")))
                for kept in itertools.combinations(range(6), found.s)
            )
            good = votes.pop(found.prediction)
            assert good > max(votes.values(), default=0)
    assert held[0]
    assert held[1]


def test_ellipsis_reads_as_one_mark_a_run() -> None:
    smoothed, asked = asked_of(method="ranmask", recovery="ellipsis", mask_rate="0.5")
    smoothed.certify("the plot (so thin) is thin")
    assert all(text.startswith("…") and text.endswith("…") and "… …" not in text for text in asked)
    assert any("(so" in text for text in asked)
    assert not any("[MASK]" in text for text in asked)


def test_the_slack_of_one_for_one_replacements_is_that_of_what_they_reach() -> None:
    for noise in (Deletion(Fraction(4, 5)), KeepSome(2)):
        for n, r in itertools.product(range(1, 7), range(5)):
            reached = [noise.overlap(n, a, a) for a in range(min(r, n) + 1)]
            assert noise.slack("word", n, r) == worst_slack(reached) <= noise.slack("edit", n, r)


def test_draws_are_exact() -> None:
    rows = Deletion(Fraction(4, 5)).sample(np.random.default_rng(0), 50, 4000)
    assert abs(rows.mean() - 0.2) < 0.005


@pytest.mark.llm
def test_the_embedded_model_certifies_by_deletion_from_the_command_line(run_cli) -> None:
    text = "A warm, funny and wonderful film: I loved every minute of it, and so will you."
    arguments = ["certify", text, "--task", "sst2", "--method", "deletion", "--mask-rate", "0.6", "--json"]
    found = run_cli(*arguments, "--samples", "40", "--certify-samples", "60")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["settings"]["keep"] == "each"
    assert document["derived"]["radius"] is None
    assert document["derived"]["prediction"] == "positive"
    assert document["derived"]["proved"]["delete"]["radius"]["words"] >= 1


def test_reports_go_by_what_is_proved_where_nothing_is_published() -> None:
    from clucert.core.smoothing import Certified
    from clucert.evaluate.standing import standing_of
    from clucert.report.outcome import state_of
    from clucert.report.runs import Input

    smoothed, _ = asked_of(method="deletion", certify_samples=400)
    made = smoothed.certify("word " * 40).certificate
    radii = {"published": made.radius, "word": made.proved["word"], "synonym": None}
    row = Input("1", "good", None, Certified(made), None, made.prediction, radii)
    assert made.proved["word"].words >= 1
    assert row.radius == made.proved["word"]
    assert state_of(row) == "proved"
    assert "no published radius" in " ".join(standing_of([], [made], LABELS).warnings)
    plain = asked_of(method="ranmask")[0].certify("word " * 40).certificate
    assert standing_of([], [plain], LABELS).warnings == ()


def test_tuning_asks_for_a_radius_that_there_is(tmp_path) -> None:
    from clucert.evaluate.runconfig import StudyConfig
    from clucert.evaluate.tune import tune

    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "a good film", "label": "positive"}\n', encoding="utf-8")
    config = StudyConfig(task="sst2", data=str(data), method="deletion", run_dir=tmp_path / "run", cache=False)
    with pytest.raises(CluCertError, match="--radius word"):
        tune(config, [{"mask_rate": "0.5"}])


def test_the_worst_mix_of_edits_is_found_without_trying_all() -> None:
    tried = 0
    for noise in (Deletion(Fraction(1, 2)), Deletion(Fraction(9, 10)), *map(KeepSome, range(1, 6))):
        for n, r in itertools.product(range(14), range(16)):
            inside = [noise.overlap(n, a, r) for a in range(min(r, n) + 1)]
            assert noise.slack("edit", n, r) == max(each.slack for each in inside)
            for low in (Fraction(1, 3), Fraction(19, 20), Fraction(1)):
                assert noise.floor("edit", n, r, low) == min(each.floor(low) for each in inside)
                tried += 1
    assert tried > 4000


def test_a_radius_of_thousands_takes_no_time() -> None:
    clock = time.perf_counter()
    assert KeepSome(1).radius(known(Fraction(99, 100)), "edit", 5000).words > 2000
    assert Deletion(Fraction(999, 1000)).radius(known(Fraction(99, 100)), "edit", 5000).words > 600
    assert time.perf_counter() - clock < 5
