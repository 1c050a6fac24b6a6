"""Algorithm 1 as a generator: what it asks, in which order, and what it returns."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.radius import Radius
from clucert.core.refine import EmbeddingRefiner, NoRefiner
from clucert.core.settings import Base, Look, Settings
from clucert.core.smoothing import Certified, Smoother
from clucert.core.threats import canonical_text
from clucert.core.words import WordedText, split
from clucert.errors import InputError
from clucert.lexicon import load_lexicon
from clucert.types import Classify, Encode, Phase, Request

POOLS = {"good": ("good", "fine", "nice"), "plot": ("plot", "story"), "cast": ("cast", "crew")}
TEXT = "A good plot, and a cast of 12 that is not bad."


@dataclass(frozen=True)
class SmallLexicon:
    name: str = "small"

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (w,) if p else (w, *(c for c in POOLS.get(w, ()) if c != w))
            for w, p in zip(text.words, protected, strict=True)
        )


def smoother(**changes: Any) -> Smoother:
    made = Settings(
        base=Base(("table",), "test"),
        method="test",
        mask_rate=Fraction(7, 10),
        recovery="mask",
        clustering="none",
        threshold=None,
        refine="off",
        refine_length=None,
        alpha=0.05,
        gamma=1.0,
        predict_samples=40,
        looks=(Look(200),),
        seed=3,
    )
    fields = {name: changes.pop(name) for name in list(changes) if name in Settings.__slots__ and name != "lexicon"}
    base = Smoother(replace(made, **fields), ("positive", "negative"), SmallLexicon(), NoRefiner(), none())
    return replace(base, **changes)


def none() -> Denoiser:
    return Denoiser(load_clusterer("none"))


def play(steps: Generator[Request, Any, Certified], vote, encode=None):
    """Drive by hand, writing down every request."""
    asked: list[Request] = []
    reply = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            return stop.value, asked
        match request:
            case Phase():
                reply = None
            case Classify():
                asked.append(request)
                reply = [vote(text) for text in request.texts]
            case Encode():
                asked.append(request)
                reply = encode(request.texts)
            case _:
                raise AssertionError(request)


def always(_text: str) -> str:
    return "positive"


def test_selection_and_certification_use_fresh_samples_of_the_stated_numbers():
    result, asked = play(smoother().steps(TEXT), always)
    first, second = asked
    assert (first.stage, len(first.texts)) == ("predict", 40)
    assert (second.stage, len(second.texts)) == ("certify", 200)
    assert list(first.texts) != list(second.texts)[:40]
    certificate = result.certificate
    assert certificate.selection.counts == {"positive": 40, "negative": 0}
    assert certificate.estimation.counts == {"positive": 200, "negative": 0}
    assert (certificate.n, certificate.s) == (12, 3)
    assert certificate.prediction == "positive"


def test_an_undecided_selection_abstains_without_drawing_more():
    flip = iter(range(10**6))
    result, asked = play(smoother().steps(TEXT), lambda _t: ("positive", "negative")[next(flip) % 2])
    assert [request.stage for request in asked] == ["predict"]
    assert result.certificate.prediction is None
    assert result.certificate.estimation.drawn == 0


def test_unparsed_answers_are_counted_and_never_win():
    result, _ = play(smoother().steps(TEXT), lambda _t: None)
    assert result.certificate.prediction is None
    assert result.certificate.selection.unparsed == 40


def test_masking_keeps_exactly_s_words_and_all_that_is_no_word():
    _, asked = play(smoother().steps(TEXT), always)
    for text in asked[0].texts:
        assert text.count("[MASK]") == 9
        assert text.endswith(".")
        assert "," in text


def test_synonym_recovery_leaves_protected_words_alone_and_they_are_not_attackable():
    result, asked = play(smoother(recovery="synonym").steps(TEXT), always)
    for text in asked[1].texts:
        words = split(text).words
        assert "12" in words
        assert "not" in words
        assert "[MASK]" not in text
    subject = result.certificate.subject
    attackable = {w for w, a in zip(subject.words, subject.attackable, strict=True) if a}
    assert attackable == {"good", "plot", "cast"}
    assert dict(zip(subject.words, subject.protected, strict=True))["12"] == "number"
    assert result.certificate.radius == Radius(2)
    assert result.certificate.proved["word"] == Radius(0)


def test_closed_pools_overlap_fully_and_open_ones_do_not():
    closed = {"good": ("good", "fine"), "fine": ("fine", "good")}

    @dataclass(frozen=True)
    class Closed(SmallLexicon):
        def pools(self, text, protected):
            return tuple(closed.get(w, (w,)) for w in text.words)

    result, _ = play(smoother(recovery="synonym", lexicon=Closed()).steps("good plot of a film"), always)
    assert result.certificate.overlaps["synonym"].masked == (Fraction(1),)
    result, _ = play(smoother(recovery="synonym").steps("good plot of a film"), always)
    # "fine" has no pool of its own here, so the pools {good, fine, nice} and {fine} share one of three words.
    assert result.certificate.overlaps["synonym"].masked == (Fraction(1, 3), Fraction(1, 2))


def test_the_filter_drops_samples_before_anyone_is_asked():
    def encode(texts):
        return np.array([[1.0, 0.0] if "good" in t else [0.0, 1.0] for t in texts], dtype=np.float32)

    filtered = smoother(
        clustering="threshold", threshold=0.5, denoiser=Denoiser(load_clusterer("threshold"), 0.5), show_samples=3
    )
    result, asked = play(filtered.steps(TEXT), always, encode)
    assert all("good" in text for request in asked if isinstance(request, Classify) for text in request.texts)
    votes = result.certificate.estimation
    assert votes.dropped > 0
    assert votes.drawn == 200
    assert {(s.kept, s.vote) for s in result.samples} == {(True, "positive"), (False, None)}
    # The original is embedded by itself, so that nothing else can change its embedding.
    assert list(asked[0].texts) == [TEXT]


def test_refine_moves_the_certificate_to_the_refined_text():
    def encode(texts):
        # A word matters as much as it is long.
        return np.array([[np.cos(len(t) / 100), np.sin(len(t) / 100)] for t in texts], dtype=np.float32)

    refined = smoother(refine="embedding", refine_length=4, refiner=EmbeddingRefiner())
    result, _ = play(refined.steps(TEXT), always, encode)
    subject = result.certificate.subject
    assert subject.domain == "refined"
    assert len(subject.words) == 4
    assert [split(TEXT).words[i] for i in subject.positions] == list(subject.words)
    assert "A4" in result.certificate.assumptions
    short, _ = play(refined.steps("A good plot."), always, encode)
    assert short.certificate.subject.domain == "original"


def test_same_seed_same_certificate_and_examples_get_noise_of_their_own():
    def vote(text):
        return "positive" if "good" in text or "cast" in text else "negative"

    once, first = play(smoother(recovery="synonym").steps(TEXT, "7"), vote)
    again, second = play(smoother(recovery="synonym").steps(TEXT, "7"), vote)
    other, third = play(smoother(recovery="synonym").steps(TEXT, "8"), vote)
    assert once == again
    assert [r.texts for r in first] == [r.texts for r in second]
    assert [r.texts for r in first] != [r.texts for r in third]
    assert other != once


@pytest.mark.parametrize("text", ["", "   ", "...", "\x00", "!?;"])
def test_a_text_without_words_is_an_input_error(text):
    with pytest.raises(InputError, match="no words"):
        play(smoother().steps(text), always)


def test_a_text_of_many_words_is_refused_in_one_line():
    with pytest.raises(InputError, match="20,000 words"):
        play(smoother().steps("word " * 20_000), always)


@pytest.mark.parametrize("text", ["word", "👍", "שלום", "<script>alert(1)</script>", "a\x00b", "don't"])
def test_short_and_strange_texts_get_a_certificate(text):
    result, asked = play(smoother().steps(text), always)
    assert result.certificate.prediction == "positive"
    assert result.certificate.s >= 1
    if result.certificate.n == 1:
        # One word is always retained, so changing it is never hidden.
        assert result.certificate.radius == Radius(0)
        assert set(asked[0].texts) == {text}


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_text_is_certified_or_refused_cleanly(text):
    steps = smoother(recovery="synonym", predict_samples=5, looks=(Look(10),)).steps(text)
    if split(text).words:
        result, _ = play(steps, always)
        assert result.certificate.subject.text == text
    else:
        with pytest.raises(InputError):
            play(steps, always)


@pytest.mark.parametrize("text", ["good \ud800 plot", "good\udcff plot"])
def test_half_characters_are_refused_before_anything_is_asked(text):
    with pytest.raises(InputError, match="Unicode"):
        play(smoother().steps(text), always)


CLASSES = {"good": ("fine", "good"), "fine": ("fine", "good"), "plot": ("plot", "story"), "story": ("plot", "story")}


@dataclass(frozen=True)
class ClosedLexicon(SmallLexicon):
    def pools(self, text, protected):
        return tuple(
            (w,) if p or w not in CLASSES else (w, *(c for c in CLASSES[w] if c != w))
            for w, p in zip(text.words, protected, strict=True)
        )


@pytest.mark.parametrize("recovery", ["mask", "synonym"])
def test_canonical_words_make_in_class_swaps_invisible(recovery):
    canonical = smoother(recovery=recovery, retained_kernel="canonical", lexicon=ClosedLexicon())
    here, first = play(canonical.steps("a good plot of a film"), always)
    there, second = play(canonical.steps("a fine story of a film"), always)
    assert [r.texts for r in first] == [r.texts for r in second]
    assert here.certificate.proved["synonym"] == Radius(2, everything=True)
    # Arbitrary words on top: what masking proves.
    assert here.certificate.proved["word"].words == (2 if recovery == "mask" else 0)
    assert there.certificate.subject.text == "a fine story of a film"


@pytest.mark.parametrize("other", ["Film", "Huge", "HUGE", "iPhone", "no", "7"])
def test_one_arbitrary_word_changes_one_canonical_word(other):
    # "Huge" as a name later on would protect the first word, were its neighbours asked.
    lexicon = load_lexicon("classes")
    text = split("Huge cars . A large film . We met Anna")
    swapped = WordedText((*text.words[:-1], other), text.gaps)
    here, there = (canonical_text(t, lexicon, ()) for t in (text, swapped))
    assert here.words[:-1] == there.words[:-1]
    assert here.words[0] == "Big"


PIECES = ["Huge", "large", "Movie", "film", "12", "not", "Anna", "A", "it", "IT", "<b", "`x`", "n't", "@", ".", "!"]


@given(st.lists(st.sampled_from(PIECES), min_size=1))
@settings(deadline=None)
def test_a_canonical_word_depends_on_its_own_word_alone(pieces):
    lexicon = load_lexicon("classes")
    text = split(" ".join(pieces))
    alone = [canonical_text(WordedText((word,), ("", "")), lexicon, {"film"}).words[0] for word in text.words]
    assert list(canonical_text(text, lexicon, {"film"}).words) == alone


def test_redrawn_retained_words_close_the_synonym_threat_too():
    redrawn = smoother(recovery="synonym", retained_kernel="redraw", lexicon=ClosedLexicon())
    result, asked = play(redrawn.steps("a good plot of a film"), always)
    assert result.certificate.proved["synonym"] == Radius(2, everything=True)
    assert {split(text).words[1] for text in asked[0].texts} == {"good", "fine"}
    # Open pools are not closed under swaps, so redrawing proves nothing there.
    result, _ = play(smoother(recovery="synonym", retained_kernel="redraw").steps("a good plot of a film"), always)
    assert not result.certificate.proved["synonym"].everything


def test_few_retention_sets_are_evaluated_one_by_one():
    def vote(text):
        return "positive" if "good" in text else "negative"

    result, asked = play(smoother(enumerate_up_to=1000, mask_rate=Fraction(1, 3)).steps("a good plot of film"), vote)
    (request,) = asked
    assert len(request.texts) == len(set(request.texts)) == 10
    certificate = result.certificate
    # "good" is one of the 3 words kept out of 5 in C(4, 2) of the C(5, 3) retention sets.
    assert certificate.bounds.low == Fraction(6, 10)
    assert certificate.exhaustive
    assert certificate.radius == Radius(0)


def test_per_sample_clustering_asks_once_per_masked_text_and_keeps_the_proof():
    def encode(texts):
        return np.array([[1.0, 0.0] if "fine" in t else [0.8, 0.6] for t in texts], dtype=np.float32)

    per_sample = smoother(recovery="synonym", recoveries=5)
    result, asked = play(per_sample.steps(TEXT), always, encode)
    encoded = [text for r in asked if isinstance(r, Encode) for text in r.texts]
    classified = [len(r.texts) for r in asked if isinstance(r, Classify)]
    # Of 200 and 1,000 recoveries each text is embedded once.
    assert 10 < len(encoded) == len(set(encoded)) < 1200
    assert classified == [40, 200]
    assert result.certificate.estimation.dropped == 0
    assert "A3" not in result.certificate.assumptions
