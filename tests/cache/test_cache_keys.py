"""Two requests share an answer exactly when they are the same request to the same model."""

from __future__ import annotations

import dataclasses

import pytest

from clucert.cache import answer_key, clean_base_url
from clucert.cache.keys import ModelIdentity
from clucert.types import Blanks, Message, Query

QUERY = Query(
    messages=(Message("user", "Good film?"),),
    prefix="p",
    suffix="s",
    labels=("a", "b"),
    max_tokens=4,
    temperature=0.0,
    stop=("\n",),
)
FIXED = ModelIdentity("openai/m", "http://host", deterministic=True)
SAMPLING = dataclasses.replace(FIXED, deterministic=False)

OTHERS = {
    "messages": [(Message("user", "Bad film?"),), (Message("system", "Good film?"),), (*QUERY.messages,) * 2, ()],
    "prefix": ["", "ps"],
    "suffix": ["", "ps"],
    "labels": [None, ("b", "a"), ("a",), ()],
    "max_tokens": [5],
    "stop": [(), ("\n", "x")],
    "extra": [(("top_p", "0.5"),), (("top_p", "0.6"),)],
    "blanks": [Blanks("a", "b", ("c", "d")), Blanks("a", "b", ("c", "e")), Blanks("a", "b", ("c", "d", ""))],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in OTHERS.items() for v in values])
def test_every_field_of_the_request_changes_the_key(name, value):
    assert answer_key(FIXED, dataclasses.replace(QUERY, **{name: value})) != answer_key(FIXED, QUERY)


def test_no_field_of_a_query_is_forgotten():
    """A field added to Query must be added to OTHERS, and thereby to the key."""
    assert {f.name for f in dataclasses.fields(Query)} == {*OTHERS, "temperature", "seed", "draw"}


def test_a_request_without_further_fields_has_the_key_of_earlier_versions():
    assert answer_key(FIXED, QUERY) == "702ab908fb8fb1f2b732fed555ece3fb2c1e141170df304fea6d9078c495a078"


def test_text_cannot_move_between_fields():
    a = dataclasses.replace(QUERY, prefix="ab", suffix="c")
    b = dataclasses.replace(QUERY, prefix="a", suffix="bc")
    assert answer_key(FIXED, a) != answer_key(FIXED, b)


@pytest.mark.parametrize(
    "who",
    [
        dataclasses.replace(FIXED, name="openai/other"),
        dataclasses.replace(FIXED, base_url="http://elsewhere"),
        dataclasses.replace(FIXED, identity="sha256:1"),
    ],
)
def test_who_answers_changes_the_key(who):
    assert answer_key(who, QUERY) != answer_key(FIXED, QUERY)


def test_the_draw_counts_only_for_a_model_that_samples():
    first, second = (dataclasses.replace(QUERY, seed=i) for i in (0, 1))
    assert answer_key(FIXED, first) == answer_key(FIXED, second) == answer_key(FIXED, QUERY)
    assert answer_key(SAMPLING, first) != answer_key(SAMPLING, second)
    hot = [dataclasses.replace(q, temperature=0.7) for q in (first, second)]
    assert answer_key(FIXED, hot[0]) != answer_key(FIXED, hot[1])


def test_draws_that_cannot_be_told_apart_are_not_cached():
    for who in (FIXED, SAMPLING):
        assert answer_key(who, dataclasses.replace(QUERY, temperature=1.0)) is None
    assert answer_key(SAMPLING, QUERY) not in (None, answer_key(SAMPLING, dataclasses.replace(QUERY, seed=0)))


def test_a_key_is_stable():
    """The key of a stored answer must not change with a release, unless KEY_SCHEMA is raised on purpose."""
    assert answer_key(FIXED, QUERY) == "702ab908fb8fb1f2b732fed555ece3fb2c1e141170df304fea6d9078c495a078"
    assert answer_key(FIXED, dataclasses.replace(QUERY, temperature=0)) == answer_key(FIXED, QUERY)


def test_text_that_is_no_unicode_still_has_a_key():
    odd = dataclasses.replace(QUERY, suffix="\ud800 \x00")
    assert len(answer_key(FIXED, odd)) == 64


@pytest.mark.parametrize(
    ("written", "clean"),
    [
        ("", ""),
        ("https://API.example.com/v1/", "https://api.example.com"),
        ("https://api.example.com:443", "https://api.example.com"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
        ("http://user:sk-secret@host:8000/v1", "http://host:8000"),
        ("http://host/openai?api-key=sk-secret&api-version=2024", "http://host/openai?api-version=2024"),
        ("http://[::1]:80/v1", "http://[::1]"),
    ],
)
def test_base_urls(written, clean):
    assert clean_base_url(written) == clean
    assert "secret" not in clean_base_url(written)
