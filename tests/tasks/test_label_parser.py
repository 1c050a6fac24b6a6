from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clucert.tasks.parse import parse_label

NAMES = {"positive": "positive", "negative": "negative", "pos": "positive", "neg": "negative"}
TOPICS = {t: t for t in ("world", "sports", "business", "sci/tech")} | {"technology": "sci/tech", "tech": "sci/tech"}
SAFETY = {"harmful": "harmful", "safe": "safe", "unsafe": "harmful", "not harmful": "safe"}


@pytest.mark.parametrize(
    "text",
    [
        "positive",
        "Positive.",
        " POSITIVE ",
        "**positive**",
        "`positive`",
        '"positive"',
        "“Positive”",
        "Label: positive",
        "Sentiment: **Positive**.",
        "The sentiment is positive.",
        "The final answer is: positive",
        "## Answer\npositive",
        "positive\n\nThe review praises the film, though not its length.",
        "positive\npositive",
        '{"label": "positive"}',
        '```json\n{"sentiment": "Positive"}\n```',
        '["positive"]',
        "I would call this review positive, because of its warmth.",
        "pos",
        "ｐｏｓｉｔｉｖｅ",
        "(positive)",
        "positive!",
        "- positive",
    ],
)
def test_what_names_one_label_is_read(text: str) -> None:
    assert parse_label(text, NAMES) == "positive"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "neutral",
        "positive or negative",
        "positive\nnegative",
        "positive/negative",
        "both positive and negative",
        "not positive",
        "This isn't positive at all.",
        "This isn’t positive at all.",
        "I cannot say that it is positive",
        "neither positive nor anything else",
        "non-positive",
        "positively",
        "unpositive",
        "very-positive",
        '{"label": "positive", "answer": "negative"}',
        '{"positive": 0.9, "negative": 0.1}',
        '{"label": null}',
        "I can't help with that.",
    ],
)
def test_what_is_ambiguous_is_not_guessed(text: str) -> None:
    assert parse_label(text, NAMES) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Sci/Tech", "sci/tech"),
        ("Topic: sci/tech.", "sci/tech"),
        ("Technology", "sci/tech"),
        ("It belongs to sci/tech (technology).", "sci/tech"),
        ("World business news", None),
        ("worldwide", None),
    ],
)
def test_labels_with_punctuation_and_synonyms(text: str, label: str | None) -> None:
    assert parse_label(text, TOPICS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("unsafe", "harmful"),
        ("safe", "safe"),
        ("not harmful", "safe"),
        ("This request is not harmful.", "safe"),
        ("This request is not safe.", None),
        ("safe, not harmful", "safe"),
    ],
)
def test_longer_spellings_are_read_first(text: str, label: str | None) -> None:
    assert parse_label(text, SAFETY) == label


LABEL = st.sampled_from(["positive", "negative"])
DRESS = st.sampled_from(
    ["{}", "{}.", "**{}**", " {} ", "Label: {}", "“{}”", "`{}`", "{}\n", "Answer = {}", "_{}_", "The label is {}!"]
)


@settings(deadline=None)
@given(label=LABEL, dress=DRESS, case=st.sampled_from([str.lower, str.upper, str.title]))
def test_dress_never_changes_a_label(label: str, dress: str, case: object) -> None:
    assert parse_label(dress.format(case(label)), NAMES) == label  # type: ignore[operator]


@settings(deadline=None)
@given(label=LABEL, key=st.sampled_from(["label", "answer", "Sentiment", "anything"]))
def test_json_of_one_answer_is_read(label: str, key: str) -> None:
    assert parse_label(json.dumps({key: label}), NAMES) == label


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_label_or_none_and_only_when_it_holds_one(text: str) -> None:
    label = parse_label(text, NAMES)
    assert label in {None, "positive", "negative"}


ONE_LINE = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40)


@settings(deadline=None)
@given(ONE_LINE, ONE_LINE)
def test_naming_both_is_never_a_vote(before: str, between: str) -> None:
    assert parse_label(f"{before} positive {between} negative", NAMES) is None


@settings(deadline=None)
@given(st.text(alphabet="bcdfghjklm .,!\n", max_size=100))
def test_a_text_without_the_letters_of_a_label_names_none(text: str) -> None:
    assert parse_label(text, NAMES) is None


# (labels, {answer: label or None})
TABLE: tuple[tuple[tuple[str, ...], dict[str, str | None]], ...] = (
    (
        ("-1", "1"),
        {
            "-1": "-1",
            "−1": "-1",
            "1": "1",
            "Label: -1": "-1",
            "Label: - 1": None,
            "- 1": None,
            "**-1**": "-1",
            "(-1)": "-1",
            "-1.": "-1",
            "–1": "-1",
            "１": "1",
            "Label: －１": "-1",
            "+1": None,
            "1.": "1",
        },
    ),
    (
        ("0", "1"),
        {
            "0.9": None,
            "$1,000": None,
            "1%": None,
            "1/2": None,
            "1-2": None,
            "1st": None,
            "-1": None,
            "1.": "1",
            "#1": None,
            "Label: 1": "1",
            '{"label": 1}': "1",
            '{"confidence": 1}': None,
            "1. First, we": None,
            "€1": None,
            "1 kg": None,
            "1,": "1",
            "<1": None,
            ">1": None,
            "> 1": None,
            "1e3": None,
            "½": None,
            "[1]": "1",
            "0 or 1": None,
            "1…": None,
            "1)": None,
            "The answer is 1.": "1",
            "The answer is 1.5": None,
            "The answer is -1": None,
            "Label: 1/2": None,
            "1:00": None,
            "label: 1%": None,
            "1\xa0%": None,
        },
    ),
    (
        ("1", "2", "3", "4", "5"),
        {
            "4 out of 10": None,
            "4/5": None,
            "Rating: 4": "4",
            "Rating: 4 out of 5": None,
            "4 stars": None,
            "4.5": None,
            '{"rating": 4}': "4",
            "4-5": None,
            "1. Good\n2. Bad": None,
            "1, 2, 3, 4, 5": None,
        },
    ),
    (
        ("A", "B", "C", "D"),
        {
            "This is a tough question": None,
            "A": "A",
            "(B)": "B",
            "Answer: C": "C",
            "The answer is option B.": "B",
            "a good one": None,
            "A.": "A",
            "I think B": None,
            "\\boxed{\\text{A}}": "A",
            "$\\boxed{B}$": "B",
            "The answer is a tough one": None,
            "B\nC": None,
            "A or B": None,
            "D)": None,
        },
    ),
    (
        ("toxic", "non toxic"),
        {
            "not toxic": None,
            "non-toxic": "non toxic",
            "isn't toxic": None,
            "toxic": "toxic",
            "Non_Toxic": "non toxic",
            "It isn't toxic.": None,
            "This comment is toxic.": "toxic",
            "This comment is not toxic.": None,
            "nontoxic": None,
            "non-toxic or toxic": None,
            "The comment is non toxic": "non toxic",
        },
    ),
    (
        ("C", "C#"),
        {
            "C": "C",
            "C#": "C#",
            "c#": "C#",
            "The answer is C#.": "C#",
            "**C**": "C",
            "C++": None,
            "C# and C": None,
            "## C": None,
        },
    ),
    (
        ("<50K", ">50K"),
        {
            "<50K": "<50K",
            ">50K": ">50K",
            "50K": None,
            "Label: >50K": ">50K",
            "<50K>": None,
            "`>50K`": ">50K",
            "> 50K": None,
            ">50K.": ">50K",
            "<=50K": None,
        },
    ),
    (
        ("*", "**", "***"),
        {
            "*": "*",
            "***": "***",
            "**": "**",
            "Rating: ***": "***",
            "****": None,
            "* **": None,
        },
    ),
    (
        ("spam", "not spam"),
        {
            "spam": "spam",
            "not spam": "not spam",
            "This is not spam.": "not spam",
            "Not Spam!": "not spam",
            "It is spam": "spam",
            "not  a spam": None,
            "spam, not ham": None,
            "isn't spam": None,
        },
    ),
    (
        ("yes", "no"),
        {
            "Not sure": None,
            "Notably, I say yes": None,
            "Yes.": "yes",
            "no": "no",
            "Yes, but no": None,
            "Nobody": None,
            "Is it? Yes": "yes",
            "yes/no": None,
            "Yes?": None,
        },
    ),
    (
        ("positive", "negative"),
        {
            "**Label: positive**": "positive",
            "{'label': 'positive'}": "positive",
            "Label:positive": "positive",
            "<label>positive</label>": "positive",
            "label=positive": "positive",
            "The opposite is positive": None,
            "positive...": None,
            "positive, negative": None,
            "Options: positive, negative\nAnswer: positive": None,
            "it's positive": "positive",
            "I classify this review as positive.": "positive",
            "Is it positive": None,
            "Positive: the film": None,
            "\u202bpositive\u202c": "positive",
            "~~positive~~": None,
            '{"label":"positive","label":"negative"}': None,
            'Here is my answer:\n```json\n{"label": "positive"}\n```': "positive",
            "Sentiment: positive": "positive",
            "The answer is positive": "positive",
            "Label - positive": "positive",
            "Sentiment → positive": "positive",
            "Review: positive": None,
            '{"not": "positive"}': None,
            "positive because it is warm": "positive",
            "Choose positive": None,
            "I choose positive": "positive",
            "if it is positive": None,
            "The review is positive.": "positive",
            "A positive review": None,
            "This is a positive review.": None,
            "Positive. Not positive at all": None,
            "less positive": None,
            "Sure! Here's the answer: positive": "positive",
            "Sure, the sentiment is positive.": "positive",
            "I am sure it is positive": None,
            '"sentiment": "positive"': "positive",
            "« positive »": "positive",
            "- Sentiment: Positive": "positive",
            "POSITIVE": "positive",
        },
    ),
    (
        ("👍", "👎"),
        {
            "👍": "👍",
            "\U0001f44d\ufe0f": "👍",
            "👍👎": None,
            "👍🏽": None,
            "Label: 👎": "👎",
            "👍 👍": None,
        },
    ),
    (
        ("إيجابي", "سلبي"),
        {
            "إيجابي": "إيجابي",
            "\u200f\u0625\u064a\u062c\u0627\u0628\u064a\u200f.": "إيجابي",
            "إيجابي أو سلبي": None,
        },
    ),
    (
        ("it", "is", "no"),
        {
            "it": "it",
            "is": "is",
            "It is it": None,
        },
    ),
    (
        ("answer", "question"),
        {
            "The answer is question": None,
            "question": "question",
        },
    ),
    (
        ("U.S. politics", "other"),
        {
            "U.S. politics": "U.S. politics",
            "Topic: U.S. politics.": "U.S. politics",
        },
    ),
)


@pytest.mark.parametrize(
    ("labels", "text", "label"), [(labels, text, label) for labels, cases in TABLE for text, label in cases.items()]
)
def test_the_table_of_answers(labels: tuple[str, ...], text: str, label: str | None) -> None:
    assert parse_label(text, {each: each for each in labels}) == label
