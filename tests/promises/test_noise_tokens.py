"""Tokens and units: white space separates, nothing is lost, one mark is one token."""

from __future__ import annotations

import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.core.noise.tokens import JOINERS, Units, sentences, tokenize, words
from tests.strategies import texts


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.sampled_from([" ", "\n", "\t ", "\u00a0", "\u3000", "\u2028"]))
def test_no_rule_looks_across_white_space(a, b, space):
    """So a token typed between white space is inserted, and takes and changes no other one."""
    assert tokenize(a + space + b) == tokenize(a) + tokenize(b)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_only_white_space_is_lost(text):
    tokens = tokenize(text)
    assert "".join(tokens) == "".join(char for char in text if tokenize(char))
    assert not any(regex.search(r"\s|^$", token) for token in tokens)


def test_tokens():
    assert tokenize("It's good, isn't it?!  (No...) -lrb- &amp; #39;") == (
        *("It's", "good", ",", "isn't", "it", "?", "!", "(", "No", "...", ")", "-lrb-", "&amp;", "#39;"),
    )
    assert tokenize("U.S. 3.5 a--b !!!") == ("U.S.", "3.5", "a", "--", "b", "!!!")
    assert tokenize(" \n ") == tokenize("") == ()


def test_sentences():
    assert sentences('He left. "Why?" she said... Mr. Roe did not know!\nNo.').pieces == (
        *("He left.", '"Why?"', "she said...", "Mr. Roe did not know!", "No."),
    )
    assert sentences("no end").pieces == ("no end",)
    assert sentences("好。不好！ v1.2 is out").pieces == ("好。", "不好！", "v1.2 is out")
    assert sentences(" \n\n ").pieces == ()


@settings(max_examples=200, deadline=None)
@given(texts)
def test_sentences_lose_white_space_only(text):
    assert "".join("".join(sentences(text).pieces).split()) == "".join(text.split())


def test_what_is_kept_is_joined():
    assert words("a, b c").keep((0, 1, 3)) == "a , c"
    assert Units(("one", "two", "three"), JOINERS["passage"]).keep((0, 2)) == "one\n\nthree"
    assert Units(("user: hi", "assistant: hello"), JOINERS["turn"]).keep((1,)) == "assistant: hello"
    assert Units(("a",)).keep(()) == ""
    assert len(words("a b.")) == 3
