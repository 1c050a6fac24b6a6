"""What the property-based tests draw: shared by the tests of several modules."""

from __future__ import annotations

import string
from fractions import Fraction

from hypothesis import strategies as st

from clucert.core.words import WordedText, split

TRICKY = (
    *" \t\n\r\0\x1b\u200b\u200d\u200f\u202e\u2060\ufeff\u00ad\ufe0f\u20e3\u0301\u3099",
    *"'’\"`-–—_.,:;!?/\\@#&$%^*+~|()[]{}<>=",
    *(
        "don't",
        "n't",
        "'s",
        "-lrb-",
        "U.S.",
        "3.5",
        "1,000",
        "http://a.b/c?d=e",
        "x.y@z.com",
        "&lt;b&gt;",
        "#39;s",
        "<br />",
        "<br",
        "</b>",
    ),
    *("foo_bar", "src/a.py", "C++", "[MASK]", "ham-fisted", "naïve", "e\u0301", "שלום", "مرحبا", "한국어", "ไทย"),
    *("私は東京", "コンピューター", "😀", "👍🏽", "👨\u200d👩\u200d👧", "❤\ufe0f", "🇩🇪🇫🇷", "1\ufe0f\u20e3", "™", "x²"),
)
"""Pieces of text that tokenizers trip over."""

texts = st.text() | st.lists(st.sampled_from(TRICKY) | st.text(max_size=4), max_size=30).map("".join)
"""Any string without surrogates, and compositions of tricky pieces."""

ordinary_words = st.from_regex(r"[a-z]{1,8}(?:['’-][a-z]{1,5})?", fullmatch=True).filter(
    lambda word: split(word).words == (word,)
)
"""Lower-case words with at most one inner apostrophe or hyphen."""

_gaps = st.sampled_from([" ", "  ", " , ", ", ", " -- ", " (", ") ", ' "', '" ', "\n", " ... ", "! "])


@st.composite
def ordinary_texts(draw: st.DrawFn, min_words: int = 1, max_words: int = 12) -> WordedText:
    """Texts of ordinary words with white space and punctuation between them."""
    words = draw(st.lists(ordinary_words, min_size=min_words, max_size=max_words))
    inner = draw(st.lists(_gaps, min_size=max(len(words) - 1, 0), max_size=max(len(words) - 1, 0)))
    ends = draw(st.sampled_from([("", ""), ("", "."), ('"', '"'), (" ", "\n")]))
    gaps = (ends[0], *inner, ends[1]) if words else ("".join(ends),)
    return WordedText(tuple(words), tuple(gaps))


pools = st.sets(st.sampled_from(string.ascii_lowercase[:8]), min_size=1).map(lambda pool: tuple(sorted(pool)))
"""Synonym pools over a small vocabulary, so that two of them often overlap."""

mask_rates = st.fractions(Fraction(1, 100), Fraction(99, 100), max_denominator=100)
"""Mask rates in (0, 1)."""
