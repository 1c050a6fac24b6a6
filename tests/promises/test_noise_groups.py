"""Exact families: every text in the ball, against the worst of all classifiers that vote as seen on the text itself."""

from __future__ import annotations

import random
import time
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations

import pytest

from clucert.core.bounds import UNPARSED
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups, keyed_hash
from clucert.core.noise.tokens import Units, tokenize
from clucert.core.noise.votes import answer, hard, leads, merged, rivals, soft, total
from clucert.core.radius import Radius
from clucert.errors import InputError
from tests.promises.noise_worlds import ball

ball = cache(ball)


def sub_texts(noise, x):
    return [[Units(x).keep(places) for places in part] for part in noise.members(x)]


def worst_lead(noise, seen, y, unseen):
    """The lead on y where sub-texts of x keep what they have and every other one is as bad as can be."""
    return sum((seen.get((h, z), unseen) for h, part in enumerate(sub_texts(noise, y)) for z in part), Fraction(0))


def key(name):
    return name.encode()


ANY = ("insert", "delete", "move", "replace", "edit")
CASES = {  # The noise, its threats, those whose constant one operation attains in the small world, the words.
    "blocks": (Blocks(3), ("replace",), ("replace",), "abc"),
    "blocks of 4": (Blocks(4), ("replace",), ("replace",), "abc"),
    "interleaved": (Blocks(3, interleaved=True), ("replace",), ("replace",), "abc"),
    "blocks, 2 of 5 kept": (Blocks(5, kept=2), ("replace",), ("replace",), "abc"),
    "groups": (Groups(3, key("a")), ANY, ANY, "abcd"),
    "many groups": (Groups(7, key("b")), ANY, ANY, "abcd"),
    "two hashes": (Groups(4, key("c"), hashes=2), ANY, ANY, "abcd"),
    "groups, 2 of 5 kept": (Groups(5, key("d"), kept=2), ANY, ANY, "abcd"),
    "chunks": (Chunks(ends=frozenset("|")), ("edit", "move"), ("edit",), "ab|"),
    "chunks by hash": (Chunks(every=2, key=key("e")), ("edit", "move"), ("edit",), "abcd"),
    "chunks, two hashes": (Chunks(every=2, key=key("k65"), hashes=2), ("edit", "move"), (), "abcd"),
    "each": (Each(), ("insert", "delete", "replace", "edit"), ("insert", "delete", "replace", "edit"), "abc"),
}


def reached(noise, x, threat, r, vocabulary):
    if isinstance(noise, Chunks) and threat == "edit":
        # A move is two edits for chunks: the ball of one edit has none.
        inner, edge = {x}, {x}
        for _ in range(r):
            edge = {y for z in edge for t in ("insert", "delete", "replace") for y in ball(z, t, 1, vocabulary)} - inner
            inner |= edge
        return inner
    return ball(x, threat, r, vocabulary)


@pytest.mark.parametrize("name", CASES)
def test_the_loss_in_scores_covers_the_worst_classifier(name):
    """Random scores on the sub-texts of x, anything at all elsewhere: no text of the ball takes more than the loss."""
    noise, threats, attained, vocabulary = CASES[name]
    rng = random.Random(name)
    tight = Counter()
    for _ in range(60):
        x = tuple(rng.choice(vocabulary) for _ in range(rng.randint(0, 5)))
        parts = sub_texts(noise, x)
        values = [Fraction(v) for v in (rng.choice([(-1, 0, 1), (1,), (Fraction(1, 3), Fraction(-1, 2), 1)]))]
        one_vote = {z: rng.choice(values) for part in parts for z in part}
        seen = {(h, z): one_vote[z] for h, part in enumerate(parts) for z in part}
        lead = [[one_vote[z] for z in part] for part in parts]
        whole = sum(map(sum, lead), Fraction(0))
        for threat in threats:
            for r in (0, 1, 2) if len(x) < 4 else (0, 1):
                loss = noise.loss(lead, threat, r)
                lowest = min(worst_lead(noise, seen, y, Fraction(-1)) for y in reached(noise, x, threat, r, vocabulary))
                assert whole - lowest <= loss, (x, threat, r, lead)
                tight[threat, r] += whole - lowest == loss
    assert all(tight[threat, 1] for threat in attained)
    assert any(tight[threat, 2] for threat in threats)


@pytest.mark.parametrize("name", CASES)
def test_the_slack_in_votes_and_the_lost_flags_cover_the_worst_classifier(name):
    noise, threats, attained, vocabulary = CASES[name]
    rng = random.Random(name)
    tight, flags_tight = Counter(), Counter()
    for _ in range(60):
        x = tuple(rng.choice(vocabulary) for _ in range(rng.randint(0, 5)))
        parts = sub_texts(noise, x)
        one_vote = {z: Fraction(rng.choice((1, 1, 1, 0, -1))) for part in parts for z in part}
        seen = {(h, z): one_vote[z] for h, part in enumerate(parts) for z in part}
        flags = {place: Fraction(vote == 1) for place, vote in seen.items()}
        weights = [[flags[h, z] for z in part] for h, part in enumerate(parts)]
        whole = sum((one_vote[z] for part in parts for z in part), Fraction(0))
        harmful = sum((Fraction(one_vote[z] == 1) for part in parts for z in part), Fraction(0))
        for threat in threats:
            for r in (1, 2) if len(x) < 4 else (1,):
                changed = reached(noise, x, threat, r, vocabulary)
                lost = whole - min(worst_lead(noise, seen, y, Fraction(-1)) for y in changed)
                gone = harmful - min(worst_lead(noise, flags, y, Fraction(0)) for y in changed)
                assert lost <= noise.slack(threat, r), (x, threat, r)
                fall = noise.loss(weights, threat, r, Fraction(0))
                most = noise.loss([[Fraction(1)] * 99] * len(parts), threat, r, Fraction(0))
                assert gone <= fall <= most, (x, threat, r)
                tight[threat] += lost == noise.slack(threat, r)
                flags_tight[threat] += gone == most
    assert all(tight[threat] for threat in attained)
    assert all(flags_tight[threat] for threat in attained)


@pytest.mark.parametrize("name", CASES)
def test_radii_hold_against_every_text_of_the_ball(name):
    """A random classifier with three labels, hard or soft, deployed as `answer`; the radius from its own votes."""
    noise, threats, _, vocabulary = CASES[name]
    rng = random.Random(name)
    certified = Counter()
    for trial in range(40):
        table = {}

        def scores(z, table=table, trial=trial):
            if z not in table:
                if trial % 2:
                    table[z] = hard("c" if rng.random() < 0.9 else rng.choice(("c", "j", "k", None)))
                else:
                    table[z] = soft({"c": rng.random() + 4, "j": rng.random(), "k": rng.choice((0.0, 0.0, 2.0))})
            return table[z]

        def family(y, scores=scores):
            return [[scores(z) for z in part] for part in sub_texts(noise, y)]

        x = tuple(rng.choice(vocabulary) for _ in range(rng.randint(1, 5) if threats == ANY else rng.randint(4, 9)))
        winner = answer(family(x))
        if winner is None:
            continue
        for threat in threats:
            radius = noise.radius(family(x), winner, threat, len(x), labels=("c", "j", "k"))
            if radius is None:
                continue
            certified[threat] += radius.words > 0
            for y in reached(noise, x, threat, min(radius.words, 1 if len(x) > 3 else 2), vocabulary):
                assert answer(family(y)) == winner, (x, y, threat)
    assert certified[threats[0]] > 3, certified


def test_insertions_deletions_and_moves_mix():
    """The radius of one of the three is that of any mix of them: two operations of any kinds touch two groups."""
    noise, rng = CASES["groups"][0], random.Random(4)
    for _ in range(30):
        x = tuple(rng.choice("abcd") for _ in range(rng.randint(1, 3)))
        parts = sub_texts(noise, x)
        seen = {(h, z): Fraction(1) for h, part in enumerate(parts) for z in part}
        lead = [[Fraction(1) for _ in part] for part in parts]
        kinds = [rng.choice(("insert", "delete", "move")) for _ in range(2)]
        reached = {z for y in ball(x, kinds[0], 1, "abcd") for z in ball(y, kinds[1], 1, "abcd")}
        lost = 3 - min(worst_lead(noise, seen, y, Fraction(-1)) for y in reached)
        assert lost <= noise.slack("move", 2) == noise.loss(lead, "insert", 2) == 4


def test_any_number_of_votes_that_agree():
    """Nine questions, all agreeing: any 4 tokens inserted, deleted or moved, or any 2 replaced; 4 by place."""
    agree = [[hard("c")] * 9]
    groups, blocks = Groups(9, b"k"), Blocks(9)
    for threat, words in (("insert", 4), ("delete", 4), ("move", 4), ("replace", 2), ("edit", 2)):
        assert groups.radius(agree, "c", threat, 20) == Radius(words)
        assert groups.slack(threat, words) < 9 <= groups.slack(threat, words + 1)
    assert blocks.radius(agree, "c", "replace", 20) == Radius(4)
    assert Chunks(every=3).radius([[hard("c")] * 7], "c", "edit", 20) == Radius(2)
    assert Chunks(every=3).radius([[hard("c")] * 7], "c", "move", 20) == Radius(1)
    assert Each().radius([[hard("c")] * 7], "c", "replace", 7) == Radius(3)
    assert Each().radius([[hard("c")] * 7], "c", "insert", 7) == Radius(6)


def test_ties_are_lost():
    """8 votes of which 5 and 3: a lead of exactly the slack of one replaced token certifies none."""
    votes = [[hard("c")] * 5 + [hard("j")] * 3]
    assert Blocks(8).radius(votes, "c", "replace", 9) == Radius(0)
    assert Blocks(8).radius([[hard("c")] * 4 + [hard("j")] * 4], "c", "replace", 9) is None
    assert Blocks(9).radius([[hard("c")] * 6 + [hard("j")] * 3], "c", "replace", 9) == Radius(1)
    # UNPARSED is a rival like any other, and a label that nobody named is one too.
    assert Blocks(8).radius([[hard("c")] * 5 + [hard(None)] * 3], "c", "replace", 9) == Radius(0)
    assert Blocks(3).radius([[hard("c")] * 2 + [hard("j")]], "c", "replace", 9) == Radius(0)
    assert set(rivals(votes, "c", ("c", "x"))) == {"j", "x", UNPARSED}


def test_scores_of_one_partition_do_not_pay_for_another():
    """With two hashes each loses its own largest: never more than 2·q·d, here less than the slack in votes."""
    noise = Groups(5, b"k", hashes=2)
    votes = [[hard("c")] * 5, [hard("c"), *[hard(None)] * 4]]
    assert noise.loss(leads(votes, "c", "j"), "insert", 2) == 4 + 3 < noise.slack("insert", 2) == 8


def test_nothing_is_proved_for_a_text_without_chunks():
    assert Chunks(every=2).members(()) == [[]]
    assert Chunks(every=2).radius([[]], "c", "edit", 0) is None
    assert Each().radius([[]], "c", "insert", 0) is None


def test_members_cover_every_token_once_in_order():
    rng = random.Random(0)
    for _ in range(200):
        x = tuple(rng.choice("abcdefgh") for _ in range(rng.randint(0, 12)))
        for noise in (Blocks(5), Blocks(5, interleaved=True), Groups(5, b"k", 2), Chunks(every=3, hashes=2), Each()):
            for part in noise.members(x):
                assert sorted(i for places in part for i in places) == list(range(len(x)))
                assert all(list(places) == sorted(places) for places in part)
        for noise in (Blocks(5, kept=3), Groups(5, b"k", kept=3)):
            (part,), (single,) = noise.members(x), type(noise)(**{**_fields(noise), "kept": 1}).members(x)
            assert [set(places) for places in part] == [
                {i for k in shown for i in single[k]} for shown in combinations(range(5), 3)
            ]
    assert Blocks(3, interleaved=True).members("a" * 5) == [[(0, 3), (1, 4), (2,)]]
    assert [len(places) for places in Blocks(5).members("a" * 12)[0]] == [2, 2, 3, 2, 3]


def _fields(noise):
    return {name: getattr(noise, name) for name in noise.__slots__}


def test_a_group_is_what_the_token_is():
    """Place, neighbours and length do not matter; the key and the hash do."""
    noise = Groups(4, b"k", hashes=2)
    one = noise.members(("x", "a", "y"))
    for text in (("a",), ("z", "z", "a"), ("a", "x")):
        for h, part in enumerate(noise.members(text)):
            group = next(k for k, places in enumerate(part) if text.index("a") in places)
            assert 1 in one[h][group]
    words = [f"w{i}" for i in range(200)]
    assert [keyed_hash(w, b"k") % 4 for w in words] != [keyed_hash(w, b"l") % 4 for w in words]
    assert [keyed_hash(w, b"k", 0) % 4 for w in words] != [keyed_hash(w, b"k", 1) % 4 for w in words]
    assert keyed_hash("\ud800", b"k") != keyed_hash("\ud801", b"k")
    assert keyed_hash("word", b"k") == 0x56AA0DFF9E8DD541  # What a stored method file means must not change.


def test_without_locality_chunks_are_false():
    """Were chunks at least two tokens long, one edit could move every later cut, and take all votes."""

    def cut(x):  # Every token is a boundary, if the chunk is long enough.
        return {x[i : i + 2] for i in range(0, len(x), 2)}

    x = tuple("abcdefgh")
    assert len(cut(x)) == 4
    assert not cut(x) & cut(x[1:])
    assert len({x[i] for part in Chunks(every=1).members(x) for (i,) in part}) == 8


def test_scores_are_exact():
    third = soft({"a": 1, "b": 2})
    assert third == {"a": Fraction(1, 3), "b": Fraction(2, 3)}
    assert sum(soft({"a": 0.1, "b": 0.2, "c": 0.7}).values()) == 1
    # Ten floats that sum to 1 only after rounding: the exact sum decides.
    family = [[soft({"a": 0.1, "b": 0.3 - 0.2})] * 3]
    assert answer(family) == ("a" if Fraction(0.1) >= Fraction(0.3 - 0.2) else "b")
    for wrong in ({"a": -0.1, "b": 1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": 0.0}):
        with pytest.raises(InputError):
            soft(wrong)


def test_the_answer():
    assert answer([[hard("b"), hard("a")]]) == "a"
    assert answer([[hard("a"), hard("b")]]) == "a"
    assert answer([[hard(None), hard(None), hard("b")]]) == "b"
    assert answer([[hard(None)]]) is None
    assert answer([[]]) is None
    assert total([[hard("a")], [hard("a"), hard(None)]]) == {"a": 2, UNPARSED: 1}


def test_groups_of_labels():
    """Counting S as one class speaks of the classifier that adds first: the argmax of the labels may leave S."""
    votes = [hard("harmful")] * 3 + [hard("unsafe")] * 3 + [hard("safe")] * 4
    group = [merged(v, ("harmful", "unsafe", UNPARSED), "flagged") for v in votes]
    assert answer([group]) == "flagged"
    assert answer([votes]) == "safe"
    assert merged(hard(None), ("harmful", UNPARSED), "flagged") == {"flagged": 1}
    assert merged({"harmful": Fraction(1, 4), "safe": Fraction(3, 4)}, ("harmful",), "harmful") == {
        "harmful": Fraction(1, 4),
        "safe": Fraction(3, 4),
    }
    with pytest.raises(InputError):
        merged(hard("safe"), ("harmful",), "safe")


def test_refusals():
    for wrong in (
        lambda: Blocks(0),
        lambda: Blocks(3, kept=4),
        lambda: Groups(3, b"k" * 65),
        lambda: Groups(3, b"", 0),
    ):
        with pytest.raises(InputError):
            wrong()
    for wrong in (lambda: Chunks(every=0), lambda: Chunks(hashes=2)):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(InputError, match="blocks prove nothing about 'insert'"):
        Blocks(3).slack("insert", 1)
    with pytest.raises(InputError, match="each"):
        Each().loss([[Fraction(1)]], "move", 1)


def test_a_thousand_certificates_take_seconds():
    noise = Groups(9, b"k")
    x = tokenize("the quick brown fox jumps over the lazy dog " * 6)
    start = time.process_time()
    for i in range(300):
        texts_of = sub_texts(noise, x)
        family = [[soft({"a": 0.9 - 0.001 * len(z), "b": 0.1 + 0.0001 * i}) for z in part] for part in texts_of]
        assert noise.radius(family, "a", "insert", len(x)) is not None
    assert time.process_time() - start < 1.5
