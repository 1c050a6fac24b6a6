"""Canonical forms: idempotent, word by word, and sealed words against every misspelling there is; compositions."""

from __future__ import annotations

import json
import random
import sys
import time
import unicodedata
from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.noise.canonical import Canonical, Characters, Spelling
from clucert.core.noise.deletion import Deletion
from clucert.core.noise.groups import Groups
from clucert.core.noise.tokens import Units, tokenize
from clucert.core.noise.votes import answer, hard
from clucert.core.radius import known
from clucert.errors import InputError, MissingExtraError
from clucert.lexicon import lookalikes
from tests.promises.noise_worlds import ball
from tests.strategies import texts

LOOKALIKES = {"а": "a", "е": "e", "о": "o", "І": "I", "’": "'", "\u2013": "-", "´": "'", "ѵ": "v", "＆": "&"}
FORMS = [Characters(), Characters(LOOKALIKES), Characters(LOOKALIKES, fold_case=True)]
pieces = st.lists(
    st.sampled_from([*LOOKALIKES, *"&#;xlt13<amp ", "&amp;", "&lt;", "&#38;", "&#x26;", "&nbsp;", "&#0;", "\u200b"])
    | st.sampled_from(["e\u0301", "が", "か\u3099", "ﷺ", "½", "ﬁ", "각", "ᄀ\u1161", "\u0315\u0300", "İßſ𝟏"])
    | st.characters(),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("form", FORMS, ids=("plain", "look-alikes", "folded"))
def test_every_character_becomes_what_stays(form):
    """Unicode but for most ideographs and Hangul: what a character becomes, each part of it becomes itself."""
    ranges = (
        (0, 0x3500),
        (0x9F00, 0xAD00),
        (0xD700, 0x18000),
        (0x1AF00, 0x20100),
        (0x2F700, 0x2FB00),
        (0xE0000, 0xE0200),
    )
    for char in (chr(code) for start, stop in ranges for code in range(start, stop)):
        became = form._form(char)
        if became != char:
            assert all(form._form(part) == part for part in became), char


@settings(max_examples=300, deadline=None)
@given(pieces | texts)
def test_the_form_of_a_form_is_itself(text):
    for form in FORMS:
        once = form(text)
        assert form(once) == once


@settings(max_examples=200, deadline=None)
@given(pieces, pieces)
def test_white_space_separates(a, b):
    """What stands on one side of a space has no say in the form of the other: insertions stay insertions."""
    for form in FORMS:
        assert form(f"{a} {b}") == f"{form(a)} {form(b)}"
        assert tokenize(form(f"{a} {b}")) == tokenize(form(a)) + tokenize(form(b))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abcIno-' .", max_size=12), st.randoms())
def test_any_number_of_disguises_is_free(text, rng):
    """Look-alikes, invisible characters, entities, full width, diacritics, in any number and mixture."""
    disguises = {}
    for fake, true in LOOKALIKES.items():
        disguises.setdefault(true, []).append(fake)
    for char in "abcIno":
        disguises.setdefault(char, []).extend([chr(ord(char) + 0xFEE0), f"&#{ord(char)};", f"&amp;#x{ord(char):x};"])
        disguises[char] += [char + "\u0301", char + "\u200d", "\u00ad" + char, "\U000e0041" + char, f"{char}\ufe0f"]
    disguised = "".join(rng.choice([char, *disguises.get(char, [])]) for char in text)
    assert FORMS[1](disguised) == FORMS[1](text) == text


def test_forms():
    form, folded = FORMS[1], FORMS[2]
    assert form("fr\u200bee Ｆｕｌｌ ﬁne") == "free Full fine"
    assert form("&amp;amp;lt;b&gt;") == "<b>"
    assert form("＆ｌｔ；") == "<"
    assert form("&am\u200bp;lt;") == "<"
    assert form("&unknown; & AT&T; &#; a&b") == "&unknown; & AT&T; &#; a&b"
    assert form("Іt’s") == "It's"
    assert form("\ud800x\x00y\tz\u3000w\nv") == "xy z w\nv"
    assert folded("STRASSE Straße") == "strasse strasse"
    assert form("1l|O0") == "1l|O0"
    assert form("각 が") == "각 が" == unicodedata.normalize("NFC", "각 が")
    composed = Characters({"が": "x", "か": "y"})  # A form that is composed last is not looked up.
    assert composed(composed("か\u3099")) == composed("か\u3099") == composed("が")
    for wrong in ({"ab": "c"}, {"a": "b"}, {"б": "в"}, {"б": ""}, {"б": " "}, {"б": "\n"}):
        with pytest.raises(InputError):
            Characters(wrong)


def test_hostile_entities_take_linear_time():
    start = time.process_time()
    assert FORMS[1]("&amp;" + "amp;" * 50_000 + "lt;") == "<"
    assert FORMS[1]("&" * 100_000 + "lt;") == "&" * 99_999 + "<"
    assert time.process_time() - start < 3


# ---- spelling --------------------------------------------------------------------------------------------------------

WORDS = {"abba": 9, "abb": 5, "aab": 7, "bbbb": 7, "b": 1, "aaaaa": 2, "babab": 3}


def one_edit(word, alphabet):
    """By the definition, over all strings of a length that one edit can reach."""
    for size in (len(word) - 1, len(word), len(word) + 1):
        for letters in product(alphabet, repeat=max(size, 0)):
            other = "".join(letters)
            if size < len(word):
                near = any(other == word[:i] + word[i + 1 :] for i in range(len(word)))
            elif size > len(word):
                near = any(word == other[:i] + other[i + 1 :] for i in range(size))
            else:
                differ = [i for i in range(size) if word[i] != other[i]]
                crossed = len(differ) == 2 and differ[1] == differ[0] + 1
                near = len(differ) <= 1 or (crossed and [word[i] for i in differ] == [other[i] for i in differ][::-1])
            if near:
                yield other


@pytest.mark.parametrize("shortest", [1, 3])
def test_the_code_and_the_seals_against_every_string(shortest):
    spelling = Spelling(WORDS, alphabet="ab", shortest=shortest)
    sealed = Counter()
    for word in ("".join(letters) for n in range(1, 7) for letters in product("ab", repeat=n)):
        near = set(one_edit(word, "ab"))
        assert set(spelling.edits(word)) == near
        known_words = sorted((w for w in near if w in WORDS), key=lambda w: (-WORDS[w], w))
        expected = word if word in WORDS or len(word) < shortest or not known_words else known_words[0]
        assert spelling(word) == expected
        assert spelling(spelling(word)) == spelling(word)
        misspelt = [other for other in near if other not in WORDS]
        free = all(other and spelling(other) == spelling(word) for other in misspelt)
        assert spelling.sealed(word) == free
        sealed[free, word in WORDS] += 1
    assert min(sealed.values()) > 0
    assert len(sealed) > 2


def test_case_and_other_tokens():
    spelling = Spelling({"film": 5, "don't": 9, "the": 99, "filming": 1})
    assert [spelling(t) for t in ("FILM", "Flim", "fil", "xx", "don't", "Don't", "7", "...", "café", "zzzz")] == [
        *("film", "film", "film", "xx", "don't", "Don't", "7", "...", "café", "zzzz")
    ]
    assert spelling.sealed("Filming")
    assert not spelling.sealed("don't")
    assert not spelling.sealed("...")
    assert not spelling.sealed("")
    assert "FILM" in spelling
    assert "don't" not in spelling
    # The most frequent word near a misspelling wins, so a rare word beside a frequent one is not sealed.
    rare = Spelling({"cast": 9, "cost": 1})
    assert rare("cxst") == "cast"
    assert rare.sealed("cast") != rare.sealed("cost")
    equal = Spelling({f"c{letter}st": 7 for letter in "zyxwvutsrqponmlkjihgfedcba"})
    assert equal("c-st") == "c-st"
    assert [Spelling({f"c{letter}st": 7 for letter in "zyxwba"})(word) for word in ("cst", "clst")] == ["cast", "cast"]
    assert equal.sealed("cast")
    assert not equal.sealed("cbst")
    assert not Spelling({"a": 9}).sealed("a")  # One deletion, and there is no token.
    for alphabet in ("aB", "", "a b", "a1", "日本"):
        with pytest.raises(InputError):
            Spelling({}, alphabet=alphabet)


def test_letters_of_the_alphabet_always_make_one_token():
    spelling = Spelling({})
    rng = random.Random(0)
    for _ in range(2000):
        word = "".join(rng.choice(spelling.alphabet) for _ in range(rng.randint(1, 8)))
        assert tokenize(rng.choice((word, word.title(), word.upper()))) != ()
        assert len(tokenize(word)) == 1


# ---- compositions ----------------------------------------------------------------------------------------------------

SPELLING = Spelling({"good": 9, "awful": 9, "movie": 9}, alphabet="adefgilmoruvw", shortest=3)
CANONICAL = Canonical(Characters({"о": "o"}), (SPELLING, lambda token: "film" if token == "movie" else token))


def disguises(text, rng):
    """Texts that differ in misspellings of sealed words, look-alikes and synonyms only: any number at once."""
    out = []
    for word in text:
        options = [word]
        if SPELLING.sealed(word):
            options += [w for w in SPELLING.edits(word) if w not in SPELLING]
        if word == "film":
            options += ["movie", "mvie"]
        out.append(rng.choice(options).replace("o", rng.choice(("o", "о", "&#111;"))))
    return " ".join(out)


def test_canonical_and_groups():
    """Any number of free changes and r operations: the answer stays, for a random classifier of the sub-texts."""
    rng, groups = random.Random(0), Groups(5, b"canonical")
    assert SPELLING.sealed("good")
    assert SPELLING.sealed("awful")
    assert CANONICAL("gооd movie.") == ("good", "film", ".")
    certified = changed = 0
    for _ in range(60):
        table = {}

        def family(tokens, table=table):
            asked = [[Units(tokens).keep(places) for places in part] for part in groups.members(tokens)]
            return [[table.setdefault(z, hard("c" if rng.random() < 0.93 else "j")) for z in part] for part in asked]

        x = tuple(rng.choice(("good", "awful", "film", "7")) for _ in range(rng.randint(1, 4)))
        assert CANONICAL(" ".join(x)) == x
        for threat in groups.threats:
            radius = groups.radius(family(x), "c", threat, len(x))
            if not radius or not radius.words:
                continue
            certified += 1
            for y in ball(x, threat, 1, ("good", "awful", "7", "new")):
                text = disguises(y, rng)
                changed += text != " ".join(y)
                assert answer(family(CANONICAL(text))) == "c"
    assert certified > 20
    assert changed > 500


def test_canonical_and_deletion():
    rng, noise = random.Random(1), Deletion(Fraction(9, 10))
    certified = 0
    for _ in range(25):
        table = {}

        def share(tokens, table=table):
            n, p = len(tokens), noise.p
            out = Fraction(0)
            for kept in (kept for k in range(n + 1) for kept in combinations(range(n), k)):
                vote = table.setdefault(Units(tokens).keep(kept), rng.random() < 0.9)
                out += vote * p ** (n - len(kept)) * (1 - p) ** len(kept)
            return out

        x = tuple(rng.choice(("good", "awful", "film")) for _ in range(3))
        margin = 2 * share(x) - 1
        for threat in ("insert", "delete", "edit"):
            radius = noise.radius(known(margin), threat, len(x))
            if radius and radius.words:
                certified += 1
                for y in ball(x, threat, 1, ("good", "new")):
                    assert share(CANONICAL(disguises(y, rng))) > Fraction(1, 2)
    assert certified > 10


def test_a_misspelling_of_a_word_that_is_not_sealed_is_one_replacement():
    """Word by word: a change in one token changes at most that token of the form."""
    rng = random.Random(2)
    for _ in range(300):
        x = [rng.choice(("good", "awful", "gold", "xyz", "film", "7", ".")) for _ in range(4)]
        i = rng.randrange(4)
        y = [*x[:i], rng.choice([*SPELLING.edits("good"), "new"]), *x[i + 1 :]]
        before, after = CANONICAL(" ".join(x)), CANONICAL(" ".join(y))
        assert len(before) == len(after)
        assert [k for k in range(4) if before[k] != after[k]] in ([], [i])
        assert CANONICAL(" ".join(before)) == before


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_tables_are_read_out_of_their_packages(tmp_path, monkeypatch):
    with pytest.raises(MissingExtraError, match="canonical"):
        lookalikes._file("no_such_package", "x.json")
    for package in ("confusable_homoglyphs", "symspellpy"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('data only')")
    table = {
        "а": [{"c": "a", "n": ""}],
        "І": [{"c": "l", "n": ""}],
        "“": [{"c": "''", "n": ""}],
        "ａ": [{"c": "a", "n": ""}],
        "ノ": [{"c": "/", "n": ""}],
        "l": [{"c": "1", "n": ""}],
        "ж": [{"c": "ӂ", "n": ""}],
    }
    (tmp_path / "confusable_homoglyphs" / "confusables.json").write_text(json.dumps(table), encoding="utf-8")
    words = tmp_path / "symspellpy" / "frequency_dictionary_en_82_765.txt"
    words.write_text("\ufeffthe 23135851162\nof 13151942776\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(lookalikes, "find_spec", lambda name: _spec(tmp_path / name / "__init__.py"))
    assert lookalikes.confusables() == {"а": "a", "І": "I", "“": '"'}
    assert lookalikes.english_frequencies() == {"the": 23135851162, "of": 13151942776}
    Characters(lookalikes.confusables())
    words.unlink()
    with pytest.raises(MissingExtraError):
        lookalikes.english_frequencies()


def _spec(path):
    from importlib.util import spec_from_file_location

    return spec_from_file_location(path.parent.name, path)
