"""The noise at a position is a function of the word there alone: brute force over the whole synonym ball.

Every text of the ball is opened by the smoother anew, as a deployed classifier would, and the exact law of its noised
texts is compared with that of the text that was certified.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clucert
from clucert.core.channel import Channel
from clucert.core.noise.retention import MASK, SynonymRecovery
from clucert.core.smoothing import Smoother
from clucert.core.threats import word_pools
from clucert.core.words import WordedText, is_word, split
from clucert.lexicon import ClosedClasses, PackagedLexicon, UserClasses, UserLexicon
from clucert.lexicon.user import Entry
from clucert.types import Phase
from tests.core.test_smoothing import smoother

CHANNELS = [
    ("mask", "keep"),
    ("mask", "canonical"),
    ("synonym", "keep"),
    ("synonym", "redraw"),
    ("synonym", "canonical"),
]


def opened(made: Smoother, text: str) -> Channel:
    steps = made.open(text, "")
    reply = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            return stop.value
        assert isinstance(request, Phase)


def law(channel: Channel) -> Counter[str]:
    """Exact law of the noised text: what a deterministic base classifier can see."""
    text, s = channel.text, channel.subject.retained
    recovery = channel.recovery
    pools = recovery.pools if isinstance(recovery, SynonymRecovery) else [(MASK,)] * len(text)
    redraws = isinstance(recovery, SynonymRecovery) and recovery.retained == "redraw"
    out: Counter[str] = Counter()
    for kept in combinations(range(len(text)), s):
        options = [(w,) if i in kept and not redraws else pools[i] for i, w in enumerate(text.words)]
        fills = list(product(*options))
        for fill in fills:
            out[text.join(fill)] += Fraction(1, comb(len(text), s) * len(fills))
    return out


def ball(text: WordedText, made: Smoother, most: int) -> Iterator[tuple[int, str]]:
    """Every text of the synonym ball with up to ``most`` swaps: those in which gaps and word borders stay."""
    pools = word_pools(text.words, made.lexicon, made.protect)
    for words in product(*pools):
        changed = sum(a != b for a, b in zip(words, text.words, strict=True))
        if 1 <= changed <= most:
            written = text.join(words)
            if split(written) == WordedText(words, text.gaps):
                yield changed, written


def check_the_promise(made: Smoother, text: str, most: int = 3) -> int:
    """Compare the law of every text of the ball with the slack that the certificate counts; returns their number."""
    channel = opened(made, text)
    here, n, s = law(channel), len(channel.text), channel.subject.retained
    overlap, found = channel.overlaps["synonym"], 0
    for changed, written in ball(split(text), made, min(most, len(overlap.masked))):
        there = law(opened(made, written))
        moved = sum((max(Fraction(0), p - there[z]) for z, p in here.items()), Fraction(0))
        assert moved <= 1 - overlap.omega(n, s, changed), written
        if overlap.sealed:
            assert moved == 0, written
        found += 1
    return found


def with_classes(*lines: str) -> UserClasses:
    groups = [line.split() for line in lines]
    return UserClasses(ClosedClasses(), [Entry(f"test:{i}", g[0], tuple(g[1:]), False) for i, g in enumerate(groups)])


def over(lexicon: object, recovery: str, kernel: str, mask_rate: str = "0.6", **more: object) -> Smoother:
    return smoother(recovery=recovery, retained_kernel=kernel, lexicon=lexicon, mask_rate=Fraction(mask_rate), **more)


SENTENCES = [
    "yesterday I met Rose Woods here",  # "I" counted for nothing in a headline, "We" does
    "I like Woods . We met Woods",
    "We met Woods, I say: Woods",
    "Tiger Woods On I Tour",
    "I ca n't see It",
    "it isn #39;t Woods",
    "`i` woods call() <b>woods</b>",
    "WE SAW THE WOODS",
    "@woods i --woods",
    "I know Mr. Woods",
]


@pytest.mark.parametrize(("recovery", "kernel"), CHANNELS)
@pytest.mark.parametrize("text", SENTENCES)
def test_a_swap_of_one_word_leaves_the_noise_of_the_others(text, recovery, kernel):
    made = over(with_classes("i we", "woods forests timber", "isn wasn", "ca wo", "n't 't", "t s"), recovery, kernel)
    assert check_the_promise(made, text) > 0


def test_we_for_i_does_not_flip_what_is_proved(tmp_path: Path):
    """Two classes of a user's own; the base classifier reads one word, which once was kept or redrawn by its neighbour.

    "yesterday I met Rose Woods here" was proved for all swaps and flipped by I → We.
    """
    file = tmp_path / "classes.tsv"
    file.write_text("i\twe\nwoods\tforests\ttimber\n", encoding="utf-8")
    made = clucert.smooth(
        lambda texts: ["name" if "Woods" in text else "trees" for text in texts],
        ["name", "trees"],
        recovery="synonym",
        lexicon=["classes", str(file)],
        retained_kernel="redraw",
        refine="off",
        clustering="none",
        mask_rate="0.5",
    )
    answers = {}
    for first, second in product(("I", "We"), ("Woods", "Forests", "Timber")):
        found = made.certify(f"yesterday {first} met Rose {second} here")
        assert found.certificate.proved["synonym"].everything
        answers[first, second] = found.prediction
    assert len(set(answers.values())) == 1, answers


PIECES = (
    "i",
    "we",
    "woods",
    "rose",
    "it",
    "us",
    "ca",
    "isn",
    "two",
    "never",
    "n't",
    "t",
    "ibm",
    "isn't",
    "a",
    "e-mail",
    "u.s.",
)
GAPS = (" ", " ", " ", ". ", ", ", "\n", ' "', " `", "` ", " @", " (", ") - ", "-", "'", " <", "> ", "; ")


def cased(word: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word, word.capitalize(), word.upper()])


@st.composite
def lexicons(draw: st.DrawFn, closed: bool) -> object:
    """User entries over a small vocabulary: disjoint lines for classes, any lines for open pools."""
    words = draw(st.permutations([p for p in PIECES if is_word(p)]))
    entries = []
    for number in range(draw(st.integers(1, 4))):
        line = words[3 * number : 3 * number + draw(st.integers(2, 3))]
        if not closed:
            line = [line[0], *draw(st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True))]
        others = tuple(dict.fromkeys(w for w in line[1:] if w != line[0]))
        entries.append(Entry(f"drawn:{number}", line[0], others, draw(st.booleans())))
    return UserClasses(ClosedClasses(), entries) if closed else UserLexicon(PackagedLexicon(), entries)


@st.composite
def short_texts(draw: st.DrawFn) -> str:
    words = draw(st.lists(st.sampled_from(PIECES).flatmap(cased), min_size=1, max_size=5))
    return "".join(word + draw(st.sampled_from(GAPS)) for word in words)


@given(st.data(), st.sampled_from(CHANNELS), st.booleans(), short_texts())
@settings(max_examples=150, deadline=None)
def test_the_law_of_every_text_of_the_ball_is_as_near_as_the_certificate_says(data, channel, closed, text):
    lexicon = data.draw(lexicons(closed))
    protect = data.draw(st.sets(st.sampled_from(["woods", "it", "we"]), max_size=2))
    if 1 <= len(split(text)) <= 5:
        check_the_promise(over(lexicon, *channel, mask_rate="0.7", protect=protect), text, most=2)


class Nosy(PackagedLexicon):
    """A lexicon of somebody else's, which looks at the whole text."""

    def pools(self, text: WordedText, protected: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        open_ = "we" in text.words
        return tuple((w, "film") if open_ and w == "movie" else (w, "i") if w == "we" else (w,) for w in text.words)


def test_a_lexicon_that_looks_around_is_shown_one_word_at_a_time():
    made = over(Nosy(), "synonym", "keep")
    assert opened(made, "we saw a movie").recovery.pools == (("we", "i"), ("saw",), ("a",), ("movie",))
    assert check_the_promise(made, "we saw a movie") == 1


def test_a_word_that_its_class_protects_nowhere_counts_with_the_text_that_was_written():
    """Canonical words hide that "Forests" can change: what counts is the word that the adversary finds."""
    made = over(with_classes("woods forests timber"), "mask", "canonical", protect=("woods",))
    channel = opened(made, "the forests here")
    assert channel.text.words[1] == "woods"
    assert len(channel.overlaps["synonym"].masked) == 1
    assert check_the_promise(made, "the forests here") == 2


OPEN = UserLexicon(
    PackagedLexicon(),
    [
        Entry("test:1", "rose", ("pink",), True),
        Entry("test:2", "pink", ("rose",), True),
        Entry("test:3", "woods", ("forests", "trees"), True),
        Entry("test:4", "forests", ("jungle",), True),
        Entry("test:5", "trees", (), True),
    ],
)
"""rose and pink are closed; of the pool of woods, forests shares one word of three and trees one."""


@pytest.mark.parametrize(("recovery", "kernel"), CHANNELS)
@pytest.mark.parametrize("text", ["rose woods", "a woods rose", "woods in forests here", "Woods, trees: pink"])
def test_the_worst_pool_of_a_text_decides_what_is_claimed(text, recovery, kernel):
    assert check_the_promise(over(OPEN, recovery, kernel), text) > 0


@pytest.mark.parametrize("kernel", ["keep", "redraw"])
def test_what_is_protected_is_never_drawn_over(kernel):
    made = over(with_classes("woods forests", "never seldom", "two both"), "synonym", kernel, protect=("Woods",))
    pools = opened(made, "woods forests never two Seldom").recovery.pools
    assert pools == (("woods",), ("forests", "woods"), ("never",), ("two",), ("Seldom", "Never"))
