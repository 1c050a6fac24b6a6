"""Certificates of texts in canonical form: what they call free is free, alone and with what is proved on top."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

import clucert
from clucert import certificate_json, exact_json
from clucert.core.exact import ExactSmoother
from clucert.core.noise.canonical import Canonical, Characters, Spelling
from clucert.core.noise.groups import Blocks, Chunks, Groups
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.settings import Base, ExactSettings
from clucert.core.threats import overlaps
from clucert.core.thresholds import Flag
from clucert.core.words import split
from clucert.errors import CluCertError, InputError, MissingExtraError, UsageError
from clucert.lexicon import canonical, lookalikes
from clucert.lexicon.canonical import load_form
from clucert.types import Scored
from tests.guard.test_smoothed_model import Chat, guard
from tests.oracle import drive
from tests.promises.noise_worlds import ball, pooled_law

LABELS = ("no", "yes")
SPELLING = Spelling({"good": 9, "lab": 5, "sa": 4, "html": 3, "movie": 9, "film": 8}, alphabet="abdfghilmorstv")
CLASSES = {"film": ("film", "movie", "e-film", "'s"), "dull": ("dull", "drab"), "lt": ("lt", "less")}
CLASS_OF = {word: members for members in CLASSES.values() for word in members}
FORM = Canonical(
    Characters({"о": "o"}),
    (SPELLING, lambda word: CLASS_OF.get(word, (word,))[0]),
    SPELLING,
    lambda word: CLASS_OF.get(word, (word,)),
    ("characters 1", "spelling 1", "synonyms 1"),
)
AROUND = ["", "", "", ",", ".", "...", "(", ")", '"', "'", "’", "-", "&", ";", "/", "_", "@", ":", "#", "++", "www."]
WORDS = ["good", "lab", "film", "movie", "dull", "lt", "sa", "html", "xyz", "7", "it", "Good", "LAB", "é", "😀", "日本"]


def some_text(rng: random.Random, pieces: int = 5) -> str:
    """Words with punctuation around them of which some makes other words with what is beside it."""
    glued = ["".join((rng.choice(AROUND), rng.choice(WORDS), rng.choice(AROUND))) for _ in range(pieces)]
    return "".join(piece + rng.choice((" ", " ", " ", "\n", "", "-")) for piece in glued)


def misspellings(word: str) -> set[str]:
    """One edit of it that makes no dictionary word, in small, capital and mixed letters."""
    made = {other for other in SPELLING.edits(word.lower()) if other not in SPELLING}
    return made | {other.upper() for other in made} | {other.title() for other in made}


def test_every_single_free_change_has_the_same_form_and_any_mixture_too() -> None:
    rng, changes, mixtures = random.Random(0), 0, 0
    for _ in range(150):
        text = some_text(rng)
        free = FORM.free(text)
        given = split(free.text)
        assert free.words == len(given)
        assert free.wrong(FORM.names) is None
        options = {i: sorted(misspellings(given.words[i])) for i in free.sealed}
        for i in free.synonyms:
            options[i] = [*options.get(i, ()), *CLASS_OF[given.words[i]]]
        for i, others in options.items():
            for other in others:
                changed = given.join([*given.words[:i], other, *given.words[i + 1 :]])
                assert FORM.worded(changed) == FORM.worded(text), (text, changed)
                assert FORM(changed) == FORM(text)
                changes += 1
        for _ in range(5):
            words = [rng.choice([word, *options.get(i, ())]) for i, word in enumerate(given.words)]
            mixed = given.join(words).replace("o", rng.choice(("o", "о", "ｏ", "&#111;", "o\u0301", "\u200bo")))
            assert FORM.worded(mixed) == FORM.worded(text)
            mixtures += mixed != text
    assert changes > 5_000
    assert mixtures > 400


def test_a_word_alone_between_spaces_is_free_exactly_where_every_change_of_it_is() -> None:
    seen = Counter[tuple[bool, bool]]()
    for word in ("good", "lab", "film", "movie", "dull", "drab", "lt", "sa", "html", "xyz", "it", "gold"):
        free, form = FORM.free(f"a {word}, b"), FORM.worded(f"a {word}, b")
        every = all(FORM.worded(f"a {other}, b") == form for other in misspellings(word))
        assert (1 in free.sealed) == every, word
        pool = CLASS_OF.get(word, ())
        one = len(pool) > 1 and all(FORM.worded(f"a {other}, b") == form for other in pool)
        assert (1 in free.synonyms) == one, word
        seen[every, one] += 1
    assert len(seen) > 2


# ---- free changes and what is proved, together -----------------------------------------------------------------------


def disguised(words: tuple[str, ...], rng: random.Random, spaces: tuple[str, ...] = (" ", "  ", "\n")) -> str:
    """The words with sealed ones misspelt, the others' characters disguised, and other white space."""
    out = []
    for word in words:
        options = [word]
        if SPELLING.sealed(word):
            options += sorted(misspellings(word))
        out.append(rng.choice(options).replace("o", rng.choice(("o", "о", "&#111;"))))
    return rng.choice(spaces).join(out)


class Worst:
    """A function of the sub-text: at random of those it is asked about first; the label ``turned`` of any other."""

    def __init__(self, rng: random.Random, sure: float) -> None:
        self.rng, self.sure, self.known, self.new = rng, sure, {}, 0
        self.turned: str | None = None

    def __call__(self, texts, _draw):
        for text in texts:
            if text not in self.known:
                self.new += self.turned is not None
                self.known[text] = self.turned or ("yes" if self.rng.random() < self.sure else "no")
        return [Scored(self.known[text], {}) for text in texts]


@pytest.mark.parametrize(
    "noise",
    [Blocks(5), Blocks(5, interleaved=True), Groups(5, b"k"), Chunks(2, b"k")],
    ids=lambda noise: type(noise).__name__,
)
def test_an_exact_proof_holds_on_top_of_any_number_of_free_changes(noise) -> None:
    """Every text of the ball, each in several disguises: the deployed classifier answers as was certified."""
    rng, checked, turned = random.Random(1), 0, 0
    smoother = ExactSmoother(ExactSettings(Base(("m",), "t"), "x", noise, canonical=FORM.names), LABELS, FORM)
    for _ in range(50):
        x = tuple(rng.choice(("good", "lab", "film", *"56789")) for _ in range(rng.randint(4, 7)))
        worst = Worst(rng, 0.97)
        certificate = drive(smoother.steps(disguised(x, rng)), worst)
        assert certificate.pieces == x
        worst.turned = "no" if certificate.prediction == "yes" else "yes"
        for threat, radius in certificate.proved.items():
            if radius is None or not radius.words:
                continue
            # Two edits make a move, of chunks.
            steps = ("insert", "delete", "replace") if threat == "edit" else (threat,)
            for y in sorted(set().union(*(ball(x, step, 1, ("good", "new")) for step in steps))):
                checked += 1
                answered = drive(smoother.predict_steps(disguised(y, rng)), worst)
                assert answered == certificate.prediction, (x, y, threat)
        turned += worst.new
    assert checked > 150
    assert turned > 40


@pytest.mark.parametrize(
    ("noise", "unit"),
    [
        (Windows(2), "word"),
        (EraseAndCheck(3), "word"),
        (Groups(3, b"k"), "sentence"),
        (Groups(3, b"k"), "passage"),
        (Blocks(3), "turn"),
    ],
)
def test_free_changes_ask_the_same_questions_whatever_the_unit(noise, unit) -> None:
    rng, different = random.Random(2), 0
    flags = ExactSmoother(ExactSettings(Base(("m",), "t"), "x", noise, unit, canonical=FORM.names), LABELS, FORM)
    for _ in range(20):
        x = tuple(rng.choice(("good", "lab", "film", "7", ".")) for _ in range(8))
        # White space is free between words alone: a line's end is a sentence's, and passages are shown as they stand.
        texts = [disguised(x, rng, (" ", "  ", "\n") if unit == "word" else (" ",)) for _ in range(2)]
        if unit in ("passage", "turn"):
            texts = [json.dumps([text, {"role": "user", "content": "7"}], ensure_ascii=False) for text in texts]
        first, second = (flags.cut(text) for text in texts)
        assert first == second
        different += texts[0] != texts[1]
    assert different > 10


@pytest.mark.parametrize("noise", [Windows(2), EraseAndCheck(2)], ids=repr)
def test_a_flag_stays_behind_any_text_whose_words_are_disguised(noise) -> None:
    """Text before and behind (windows), or a suffix (erase-and-check): the deployed flag is still up."""
    rng, flagged, turned = random.Random(3), 0, 0
    settings = ExactSettings(Base(("m",), "t"), "x", noise, flag=Flag(("yes",), at_least=1), canonical=FORM.names)
    smoother = ExactSmoother(settings, LABELS, FORM)
    for _ in range(40):
        answer = Worst(rng, 0.4)
        x = tuple(rng.choice(("good", "lab", "film", "7")) for _ in range(rng.randint(2, 5)))
        certificate = drive(smoother.steps(disguised(x, rng)), answer)
        threat = "suffix" if isinstance(noise, EraseAndCheck) else "ends"
        radius = certificate.proved[threat]
        if not certificate.is_flagged or not radius or not (radius.words or radius.everything):
            continue
        answer.turned = "no"
        for size in range(1, 3):
            flagged += 1
            more = tuple(rng.choice(("good", "new", "7")) for _ in range(size))
            parts = (disguised(x, rng), disguised(more, rng))
            if threat == "ends":
                parts = (disguised(more, rng), *parts)
            elif size > radius.words:
                continue
            assert drive(smoother.predict_steps(" ".join(parts)), answer) == certificate.prediction
        turned += answer.new
    assert flagged > 20
    assert turned > 20


POOLS = {"abba": ("abba", "bbba"), "bbba": ("abba", "bbba", "aaaa"), "aaaa": ("aaaa", "abba"), "abbb": ("abbb", "bbbb")}


class Pooled:
    name = "pools"

    def pools(self, text, _protected):
        return tuple(POOLS.get(word, (word,)) for word in text.words)


@pytest.mark.parametrize("recovery", ["synonym", "mask"])
def test_the_synonym_threat_is_of_the_words_that_are_written_not_of_their_codes(recovery) -> None:
    """1 − TV between the laws of two noised texts is at least ω(d), for every swap of written words."""
    spelling = Spelling({"abba": 9, "abbb": 1}, alphabet="ab")
    form, noised = Canonical(None, (spelling,), spelling, None, ("spelling 1",)), 0
    assert spelling("bbba") == "abba" != "bbba"
    settings = SimpleNamespace(recovery=recovery, retained_kernel="keep", votes_only=False)

    def law(words, s):
        coded = [form.word(word) for word in words]
        return pooled_law(coded, s, lambda word: POOLS.get(word, (word,)) if recovery == "synonym" else ("[MASK]",))

    for n in (1, 2, 3):
        for words in itertools.product(("abba", "bbba", "aaaa", "abbb", "bbbb"), repeat=n):
            overlap = overlaps(settings, words, Pooled(), (), form)["synonym"]
            others = list(itertools.product(*(POOLS.get(word, (word,)) for word in words)))
            for s in range(1, n + 1):
                before = law(words, s)
                for other in others:
                    d = sum(a != b for a, b in zip(words, other, strict=True))
                    after = law(other, s)
                    hidden = sum((min(p, after[text]) for text, p in before.items()), Fraction(0))
                    assert hidden >= overlap.omega(n, s, d), (words, other, s)
                    noised += d > 0
    assert noised > 300


# ---- from end to end, with the tables --------------------------------------------------------------------------------

ALL = ["characters", "spelling", "synonyms"]
PLAIN = "A wonderful movie, with terrible people and (wonderful) stories & more."
DISGUISED = "A wonderfull  m\u043evie, with terible ｐｅｏｐｌｅ and (w\u200bonderful) stories &amp; more."


def words_of(texts: list[str]) -> list[str]:
    return [LABELS[len(text) % 7 < 5] for text in texts]


SAMPLED = ["clucert", "ranmask", "selfdenoise", "smoothllm", "deletion", "clucert-proved", "clucert-per-sample"]


@pytest.mark.parametrize("method", SAMPLED)
def test_every_sampled_method_noises_the_canonical_form(method) -> None:
    config = {"task": "sst2", "method": method, "canonical": ALL, "samples": 5, "certify_samples": 5}
    from clucert.build import smoother_of, task_of
    from clucert.config import Config

    smoother = smoother_of(Config.of(**config), task_of(Config.of(**config)))
    plain, other = smoother.read(PLAIN), smoother.read(DISGUISED.replace("  ", " "))
    assert plain == other
    assert smoother.said(PLAIN) == plain.text != PLAIN
    assert "film" in plain.words
    assert [name.partition(" ")[0] for name in smoother.settings.canonical] == ALL
    assert all("sha256:" in name for name in smoother.settings.canonical)


@pytest.mark.parametrize("method", ["ranmask", "deletion"])
def test_what_is_deployed_draws_the_same_noise_for_texts_of_one_form(method) -> None:
    """Twenty questions and a random answer to each: by chance two texts would not agree thirty times."""
    asked: list[str] = []

    def classify(texts):
        asked.extend(texts)
        return [LABELS[sum(map(ord, text)) % 2] for text in texts]

    options = {"method": method, "samples": 20, "certify_samples": 20, "deterministic": True, "canonical": ALL}
    with clucert.smooth(classify, LABELS, **options) as smoothed:
        smoothed.predict([PLAIN])
        first, asked[:] = sorted(asked), []
        smoothed.predict([DISGUISED.replace("  ", " ")])
        assert sorted(asked) == first
        certified = smoothed.certify(DISGUISED)
    assert certified.certificate.subject.text == DISGUISED


def test_a_guard_answers_prompts_of_one_form_alike() -> None:
    model, answers = Chat(0.5), []
    with guard(model, canonical=ALL) as smoothed:
        for prompt in (PLAIN, DISGUISED.replace("  ", " ")):
            model.asked.clear()
            found = smoothed.respond(prompt)
            asked = sorted(query.messages[-1].content for query in model.asked)
            assert not any("movie" in text for text in asked)
            answers.append((found.text, found.certificate.votes, asked))
    assert answers[0] == answers[1]


def test_certificates_name_the_forms_and_what_is_free_and_read_back() -> None:
    options = {"method": "ranmask", "samples": 100, "certify_samples": 200, "deterministic": True, "canonical": ALL}
    with clucert.smooth(lambda texts: ["yes"] * len(texts), LABELS, **options) as smoothed:
        sampled, exact = smoothed.certify(DISGUISED), smoothed.prove(DISGUISED, ["groups"])[0]
    assert sampled.radius.words > 0
    subject = sampled.certificate.subject
    words = split(subject.free.text).words
    assert {words[i] for i in subject.free.sealed} >= {"people"}
    assert {words[i] for i in subject.free.synonyms} >= {"movie", "wonderful"}
    assert "wonderfull" not in {words[i] for i in subject.free.sealed}
    assert subject.free == exact.certificate.free
    for certification, module in ((sampled, certificate_json), (exact, exact_json)):
        document = json.loads(json.dumps(certification.document()))
        read = module.read(document)[0]
        assert (read.certificate if module is certificate_json else read) == certification.certificate
        assert document["derived"]["free"][0].startswith("any number of characters")
        assert "any number of" in str(certification)
        assert "free" in str(certification)
    stored = json.loads(json.dumps(exact.document()))
    assert [form.split()[0] for form in stored["canonical"]["forms"]] == ALL
    assert "canonical" in sampled.document()["settings"]


def test_without_a_form_documents_stay_as_they_are() -> None:
    options = {"method": "ranmask", "samples": 20, "certify_samples": 20, "deterministic": True}
    with clucert.smooth(lambda texts: ["yes"] * len(texts), LABELS, **options) as smoothed:
        sampled, exact = smoothed.certify(PLAIN).document(), smoothed.prove(PLAIN, ["groups"])[0].document()
    assert "canonical" not in sampled["settings"]
    assert "free" not in sampled["subject"]
    assert "free" not in sampled["derived"]
    assert "canonical" not in exact
    assert "free" not in exact["derived"]


def test_an_abstention_calls_nothing_free() -> None:
    options = {"method": "ranmask", "samples": 20, "certify_samples": 20, "deterministic": True, "canonical": ALL}
    with clucert.smooth(lambda texts: [None] * len(texts), LABELS, **options) as smoothed:
        certification = smoothed.certify(PLAIN)
    assert certification.prediction is None
    assert certification.document()["derived"]["free"] == []
    assert "any number" not in str(certification)


@pytest.mark.parametrize("spoil", ["sealed", "synonyms", "words", "forms", "gone", "unasked"])
def test_a_stored_free_part_that_no_form_could_have_found_is_refused(spoil) -> None:
    options = {"method": "ranmask", "samples": 20, "certify_samples": 20, "deterministic": True, "canonical": ALL}
    with clucert.smooth(lambda texts: ["yes"] * len(texts), LABELS, **options) as smoothed:
        sampled = json.loads(json.dumps(smoothed.certify(PLAIN).document()))
        exact = json.loads(json.dumps(smoothed.prove(PLAIN, ["groups"])[0].document()))
    canonical_part = exact["canonical"]
    for free, holder, name in (
        (sampled["subject"]["free"], sampled["settings"], "canonical"),
        (canonical_part["free"], canonical_part, "forms"),
    ):
        if spoil in ("sealed", "synonyms"):
            free[spoil] = [99]
        elif spoil == "words":
            free["words"] += 1
        elif spoil == "forms":
            holder[name] = ["magic sha256:0"]
        elif spoil == "unasked":
            holder[name] = [form for form in holder[name] if not form.startswith("s")]
    if spoil == "gone":
        del sampled["settings"]["canonical"]
        canonical_part["pieces"] = canonical_part["pieces"][1:]
    for document, module in ((sampled, certificate_json), (exact, exact_json)):
        with pytest.raises(InputError) as refused:
            module.read(document)
        assert "\n" not in str(refused.value)


def test_a_missing_extra_is_one_line_that_names_it(monkeypatch) -> None:
    monkeypatch.setattr(lookalikes, "find_spec", lambda _name: None)
    for load in (canonical._characters, canonical._spelling):
        load.cache_clear()
    for form, package in (("characters", "confusable_homoglyphs"), ("spelling", "symspellpy")):
        with pytest.raises(MissingExtraError) as missing:
            clucert.smooth(words_of, LABELS, canonical=form)
        assert package in str(missing.value)
        assert "clucert[canonical]" in str(missing.value)
        assert "\n" not in str(missing.value)
    assert load_form(["synonyms"]) is not None
    with pytest.raises(UsageError, match="canonical"):
        clucert.smooth(words_of, LABELS, canonical="magic")


WORDLESS = ["", " \n", "\x00", "\u200b\u200d\ufeff"]
STRANGE = [
    *WORDLESS,
    "😀 👩‍👩‍👧 🏳️‍🌈 good",
    "שלום עולם \u202egood\u202c مرحبا",
    "bad\x00word \x1b[31m good",
    "&lt;b&gt;good&lt;/b&gt; &amp;amp;lt; &#0; &#x110000; &#55296;",
    "g\u0301\u0302\u0303ood e\u0301\u0301 o\u20dd",
    "日本語 한국어 ไทย ½ ﷺ ﬁne",
    "\ud800 good",
    "I'm -lrb- it's 3,000 C++ R&D -rrb-",
]


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
@pytest.mark.parametrize("method", ["ranmask", "deletion"])
def test_strange_texts_are_certified_or_refused_in_one_line(text, method) -> None:
    options = {"method": method, "samples": 5, "certify_samples": 5, "deterministic": True, "canonical": ALL}
    with clucert.smooth(lambda texts: ["yes"] * len(texts), LABELS, **options) as smoothed:
        try:
            certification = smoothed.certify(text)
            proofs = smoothed.prove(text, ["blocks", "groups"])
        except CluCertError as error:
            refused = str(error)
        else:
            refused = None
    assert (refused is not None) == (text in WORDLESS or "\ud800" in text)
    if refused is not None:
        assert "\n" not in refused
        return
    document = json.loads(json.dumps(certification.document()))
    assert certificate_json.read(document)[0].certificate == certification.certificate
    for proof in proofs:
        assert exact_json.read(json.loads(json.dumps(proof.document())))[0] == proof.certificate
    form = smoothed.smoother.form
    assert form(" ".join(form(text))) == form(text)


# ---- work ------------------------------------------------------------------------------------------------------------


def test_the_work_grows_with_the_text_and_not_faster() -> None:
    """20,000 words, all different: codes, seals and characters looked at, by counting."""

    def work(words: int) -> Counter[str]:
        done: Counter[str] = Counter()
        spelling, characters = Spelling({"good": 9, "film": 3}), Characters({"о": "o"})
        code, seal, form = spelling._code_of, spelling._is_sealed, characters._form

        def counted(name, function):
            def call(value):
                done[name] += 1
                return function(value)

            return call

        spelling._code, spelling._sealed = counted("codes", code), counted("seals", seal)
        characters._form = counted("characters", form)
        spelling._is_sealed = seal
        whole = Canonical(characters, (spelling,), spelling, None, ("characters 1", "spelling 1"))
        text = " ".join(f"w{'abcdefghij'[i % 10]}&amp;о{i}" for i in range(words))
        assert len(whole.worded(text)) >= words
        whole.free(text)
        return done

    once, twice, fourfold = work(5_000), work(10_000), work(20_000)
    for name in ("codes", "characters"):
        assert 1.9 * once[name] < twice[name] < 2.1 * once[name]
        assert 1.9 * twice[name] < fourfold[name] < 2.1 * twice[name]


def test_nested_entities_and_marks_are_looked_at_a_few_times_each() -> None:
    def looks(text: str) -> int:
        characters, done = Characters(), 0
        form = characters._form

        def count(char):
            nonlocal done
            done += 1
            return form(char)

        characters._form = count
        characters(text)
        return done

    for hostile in ("&amp;", "&", "&#38;", "\u0301", "&#x26", "\u200b&amp", "ﷺ", "&amp;amp;lt;"):
        small, large = looks(hostile * 2_000 + "é"), looks(hostile * 8_000 + "é")
        assert large < 4.2 * small


def test_the_options_of_a_form_survive_a_configuration_file(tmp_path: Path) -> None:
    from clucert.evaluate.runconfig import load_config

    path = tmp_path / "study.yaml"
    path.write_text("task: sst2\ncanonical: [spelling, characters]\n", encoding="utf-8")
    assert load_config(path, {}).canonical == ["spelling", "characters"]
    assert [name.split()[0] for name in load_form(load_config(path, {}).canonical).names] == ["characters", "spelling"]
    assert dataclasses.is_dataclass(load_form(["characters"]))
