"""Windows and erase-and-check: every text of the ball, blocks of several lengths, texts shorter than a window too."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations, product

import pytest

from clucert.core.flagged import flag_radius
from clucert.core.noise.tokens import Units
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Radius
from clucert.core.thresholds import Flag
from clucert.errors import InputError
from tests.promises.noise_worlds import ball

VOCABULARY = "abz"


def radius_of(noise, harmful, at_least, threat, n):
    """How many operations leave at least τ windows of n pieces harmful; None when not so many are harmful now."""
    flag, asked = Flag(("harmful",), at_least), max(1, n - noise.size + 1)
    if harmful < at_least:
        return None
    weights = [[Fraction(i < harmful) for i in range(asked)]]
    return flag_radius(noise, weights, flag, True, threat, n)


def blocks(x, r, ends=False):
    """x with at most r blocks of up to three tokens inserted; at the ends only with ``ends``, both of them then."""
    found, edge = {x}, {x}
    for _ in range(2 if ends else r):
        step = set()
        for y in edge:
            for i in (0, len(y)) if ends else range(len(y) + 1):
                step |= {(*y[:i], *new, *y[i:]) for size in (1, 2, 3) for new in product("az", repeat=size)}
        edge = step - found
        found |= edge
    return found


def reached(x, threat, r):
    if threat in ("ends", "block"):
        return blocks(x, r, ends=threat == "ends") if r else {x}
    return ball(x, threat, r, VOCABULARY)


def windows(noise, x):
    return [Units(x).keep(places) for places in noise.members(x)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("threat", Windows.threats)
def test_no_more_windows_vanish_than_stated(threat, size):
    """The worst classifier calls every window that x does not have harmless."""
    noise, rng = Windows(size), random.Random(0)
    tight = 0
    for _ in range(40):
        x = tuple(rng.choice("ab" if rng.random() < 0.5 else "abcdef") for _ in range(rng.randint(0, 6)))
        harmful = {z for z in windows(noise, x) if rng.random() < 0.8}
        here = sum(z in harmful for z in windows(noise, x))
        for r in (0, 1, 2) if len(x) < 4 and threat != "block" else (0, 1):
            least = min(sum(z in harmful for z in windows(noise, y)) for y in reached(x, threat, r))
            gone = noise.vanish(threat, r, len(x))
            assert here - least <= gone, (x, r)
            tight += r > 0 and here - least == gone
            for at_least in (1, 2):
                radius = radius_of(noise, here, at_least, threat, len(x))
                if radius and (radius.everything or radius.words >= r):
                    assert least >= at_least, (x, r)
    assert tight


def test_a_text_shorter_than_a_window_loses_it_to_any_insertion():
    """ "Unlimited text before and behind" is false there: the one window, harmful, is gone after one appended token."""
    noise, x = Windows(4), ("kill", "them")
    assert windows(noise, x) == ["kill them"]
    assert "kill them" not in windows(noise, (*x, "please"))
    assert radius_of(noise, 1, 1, "ends", len(x)) == Radius(0)
    assert radius_of(noise, 1, 1, "ends", 4) == Radius(0, everything=True)
    # So is the formula k − 1 for windows of one token and the empty text, whose one window is empty.
    assert radius_of(Windows(1), 1, 1, "insert", 0) == Radius(0)


def test_radii_of_a_long_harmful_text():
    """20 tokens, windows of 5, all 16 harmful, flag at one: 3 blocks of any length, 3 replaced tokens."""
    noise = Windows(5)
    for threat, words in (("block", 3), ("insert", 3), ("delete", 3), ("replace", 3), ("edit", 1)):
        assert radius_of(noise, 16, 1, threat, 20) == Radius(words)
        assert radius_of(noise, 16, 16, threat, 20) == Radius(0)
        assert radius_of(noise, 0, 1, threat, 20) is None
    assert radius_of(noise, 16, 4, "block", 20) == Radius(3)  # 16 − 3·4 = 4: at least τ is enough.
    assert radius_of(noise, 16, 5, "block", 20) == Radius(2)
    assert radius_of(noise, 16, 2, "replace", 20) == Radius(2)
    assert radius_of(noise, 0, 1, "ends", 20) is None


def test_windows_of_one_token_survive_any_insertion():
    assert radius_of(Windows(1), 2, 2, "insert", 3) == Radius(0, everything=True)
    assert radius_of(Windows(1), 2, 2, "block", 3) == Radius(0, everything=True)
    assert radius_of(Windows(1), 2, 2, "delete", 3) == Radius(0)


def test_members():
    assert windows(Windows(2), ("a", "b", "c")) == ["a b", "b c"]
    assert windows(Windows(3), ("a", "b")) == ["a b"]
    assert windows(Windows(3), ()) == [""]


@pytest.mark.parametrize("suffix", [1, 2, 3])
def test_erase_and_check_flags_what_the_filter_flags_under_any_suffix(suffix):
    """All texts of up to three tokens, the empty one too, and all suffixes; the filter flags that text only."""
    noise = EraseAndCheck(suffix)
    for x in (x for n in range(4) for x in product("ab", repeat=n)):
        for new in (new for n in range(suffix + 1) for new in product("ab", repeat=n)):
            asked = [Units((*x, *new)).keep(places) for places in noise.members((*x, *new))]
            assert Units(x).keep(range(len(x))) in asked
            assert len(asked) <= suffix + 1
        longer = (*x, *["z"] * (suffix + 1))
        assert Units(x).keep(range(len(x))) not in [Units(longer).keep(p) for p in noise.members(longer)]


@pytest.mark.parametrize("at_least", [1, 2, 3])
@pytest.mark.parametrize("suffix", [1, 2, 4])
def test_a_flagged_text_stays_flagged_behind_a_suffix_of_its_radius_and_not_of_one_more(suffix, at_least):
    """Every way to flag the prefixes of a text, against suffixes that bring no flag; two flags needed are fewer."""
    noise, x = EraseAndCheck(suffix), ("a", "b", "c", "d")
    lengths = range(1, len(x) + 1)
    for flagged in (set(chosen) for k in range(len(x) + 1) for chosen in combinations(lengths, k)):
        votes = [len(places) in flagged for places in noise.members(x)]
        radius = noise.flag_radius(votes, at_least)
        if sum(votes) < at_least:
            assert radius is None
            continue
        for r in range(suffix + 2):
            longer = noise.members((*x, *["z"] * r))
            assert (sum(len(places) in flagged for places in longer) >= at_least) == (r <= radius.words)


def test_refusals():
    for wrong in (lambda: Windows(0), lambda: EraseAndCheck(0), lambda: radius_of(Windows(2), 1, 0, "ends", 3)):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(InputError, match="'move'"):
        Windows(2).vanish("move", 1, 3)
