"""What a user is promised about votes: only a finished answer that states one label is one."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import random
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clucert
from clucert import certificate_json as document
from clucert.errors import BadAnswerError, CluCertError, InputError, UnreadableError
from clucert.models.load import ModelOptions
from clucert.models.openai import OpenAIModel
from clucert.models.server_address import Endpoint
from clucert.render import print_certified
from clucert.runtime.callable_classifiers import ThreadedClassifier
from clucert.runtime.computation import Backends
from clucert.tasks import custom_task, load_task
from clucert.tasks.classification import ClosedTask
from clucert.tasks.parse import parse_label
from clucert.tasks.spelling import fold
from clucert.types import Answer, Predictions
from tests.models.fake_server import Reply, Request, completion, serving
from tests.voting import Asked

LABEL_SETS = (
    ("positive", "negative"),
    ("-1", "1"),
    ("-1", "0", "1"),
    ("A", "B", "C", "D"),
    ("0", "1"),
    ("1", "2", "3", "4", "5"),
    ("toxic", "non toxic"),
    ("spam", "not spam"),
    ("yes", "no"),
    ("C", "C#", "C++"),
    ("<50K", ">50K", "50K"),
    ("*", "**", "***"),
    ("👍", "👎"),
    ("world", "sports", "business", "sci/tech"),
    ("it", "is", "no"),
    ("answer", "question"),
    ("إيجابي", "سلبي"),
    ("U.S. politics", "other"),
    ("very positive", "positive", "not positive"),
    ("+", "-"),
    ("1%", "1", "$1", "1.0"),
)
SETS = st.sampled_from(LABEL_SETS)
WORDS = (
    *("the", "a", "an", "this", "review", "is", "was", "not", "film", "it", "text", "answer", "of", "to", "very", "in"),
    *("good", "bad", "plot", "quite", "tough", "because", "out", "sure", "I", "think", "would", "say", "sentiment"),
    *("label", ":", "=", ",", ".", ";", "(", ")", "-", "**", '"', "'", "?", "!", "\n", "10", "%", "$", "7.5", "nobody"),
    *("notably", "half", "isn't", "can't", "or", "and", "if", "maybe", "nor", "either", "opposite", "wrong", "#", "`"),
    *("{", "}", "[", "]", "|", "/", "\\", "<b>", "–", "…", "\t", "3rd"),
)


def read(text: str, labels: Sequence[str]) -> str | None:
    return parse_label(text, {label: label for label in labels})


def names(text: str, label: str) -> bool:
    """Whether the letters, digits and signs of ``label`` stand in ``text``; hyphens and spaces count alike."""
    plain, wanted = (fold(each).replace("-", " ").replace("_", " ") for each in (text, label))
    return fold(label) in fold(text) or " ".join(wanted.split()) in " ".join(plain.split())


# Labels


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_every_label_is_read_as_itself_in_every_dress(labels: tuple[str, ...]) -> None:
    for label in labels:
        dresses = [label, f" {label}\n", f"Label: {label}", f"The answer is {label}", json.dumps({"label": label})]
        # Where a word of the heading or its dash is itself a label, two are named.
        ambiguous = not {"it", "is", "answer", "-"}.isdisjoint(labels)
        assert read(label, labels) == label
        assert {read(text, labels) for text in dresses} - ({None} if ambiguous else set()) == {label}


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_two_labels_are_no_vote(labels: tuple[str, ...]) -> None:
    joints = [" or ", ", ", "\n", " and ", ". ", " / ", " vs. ", "; ", "? ", " because it is ", "\n\nAnswer: "]
    for one, other in itertools.permutations(labels, 2):
        if any(fold(f"{one}{joint}{other}") == fold(label) for label in labels for joint in joints):
            continue
        for joint in joints:
            assert read(f"{one}{joint}{other}", labels) is None, (one, joint, other)
            assert read(f"Label: {one}\nLabel: {other}", labels) is None


@settings(deadline=None, max_examples=400)
@given(labels=SETS, words=st.lists(st.sampled_from(WORDS), max_size=14), ends=st.sampled_from([" ", ""]))
def test_a_vote_is_for_the_one_label_that_the_text_names(labels: tuple[str, ...], words: list[str], ends: str) -> None:
    text = ends.join(words)
    vote = read(text, labels)
    assert vote is None or (vote in labels and names(text, vote))


@settings(deadline=None, max_examples=400)
@given(
    before=st.lists(st.sampled_from(WORDS), max_size=5),
    between=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
    after=st.lists(st.sampled_from(WORDS), max_size=5),
    pair=st.sampled_from([("positive", "negative"), ("spam", "ham"), ("Paris", "Rome"), ("World", "Sci/Tech")]),
)
def test_a_sentence_that_names_two_labels_never_votes(
    before: list[str], between: list[str], after: list[str], pair: tuple[str, str]
) -> None:
    one, other = pair
    assert read(" ".join([*before, one, *between, other, *after]), pair) is None


@settings(deadline=None, max_examples=300)
@given(
    subject=st.sampled_from(
        ["The film", "What I mean", "Nothing here", "The opposite", "A reader", "My guess, if any,"]
    ),
    verb=st.sampled_from(
        ["isn't", "is hardly", "may be", "could be", "is not", "was called by some", "looks", "is less"]
    ),
    label=st.sampled_from(["positive", "negative"]),
    end=st.sampled_from(["", ".", "?", " at all", " in parts.", "..."]),
)
def test_a_sentence_that_merely_contains_a_label_is_no_answer(subject: str, verb: str, label: str, end: str) -> None:
    assert read(f"{subject} {verb} {label}{end}", ("positive", "negative")) is None


NUMBERS = st.one_of(st.integers(-12, 12).map(str), st.decimals(-9, 9, places=1).map(str), st.just("1,000"))


@settings(deadline=None, max_examples=400)
@given(
    number=NUMBERS,
    sign=st.sampled_from(["", "-", "−", "+", "$", "€", "~", "<", ">", "#", "£-"]),
    unit=st.sampled_from(
        ["", "%", " %", "st", " out of 5", "/5", " / 5", "-2", " stars", " kg", "°", "e3", ":00", "…"]
    ),
    lead=st.sampled_from(["", "Label: ", "The answer is ", "I give it "]),
)
def test_of_a_number_nothing_is_left_aside(number: str, sign: str, unit: str, lead: str) -> None:
    vote = read(f"{lead}{sign}{number}{unit}", ("1", "2", "3", "4", "5", "-1"))
    exact = fold(f"{sign}{number}{unit}")
    assert vote == (exact if exact in ("1", "2", "3", "4", "5", "-1") and lead != "I give it " else None)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Is it classified as positive",
            "To be positive",
            "Review: positive",
            "Choose positive",
            "Should it be positive",
        ),
        *(
            'negative, I mean {"label": "positive"}',
            '{"label": "positive"} {"label": "negative"}',
            '{"not": "positive"}',
        ),
        *("The answer is: not positive", "positive (not sure)", "Label: positive (or not)", "positive, negative"),
    ],
)
def test_a_question_an_echo_and_a_correction_are_no_answers(text: str) -> None:
    assert read(text, ("positive", "negative")) is None


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for labels in LABEL_SETS:
        assert read(text, labels) in {None, *labels}


def test_the_time_of_reading_grows_with_the_length_alone() -> None:
    def seconds(part: str, length: int) -> float:
        text = part * (length // len(part))
        began = time.process_time()
        read(text, ("positive", "negative", "not positive"))
        return time.process_time() - began

    for part in (
        "[",
        "{",
        '"',
        "positive ",
        "- ",
        "!",
        "(",
        "the ",
        "* ",
        "positive. ",
        '{"a":',
        "<b>",
        "\\boxed{",
        ": ",
    ):
        short = min(seconds(part, 4_000) for _ in range(3))
        # Quadratic time would take 16 times as long; the constant is for the clock.
        assert min(seconds(part, 16_000) for _ in range(3)) < 9 * short + 0.05, part


@pytest.mark.parametrize(
    "labels",
    [
        ["C", "c"],
        ["a b", "a  b"],
        ["１", "1"],
        ["Straße", "STRASSE"],
        ["a", "a\u200b"],
        ["\u200b", "x"],
        ["½", "1/2"],
        ["yes", "yes."],
    ],
)
def test_labels_that_nobody_can_tell_apart_are_refused(labels: list[str]) -> None:
    with pytest.raises(InputError):
        ClosedTask("t", tuple(labels), "?")


def test_a_spelling_of_one_label_is_not_anothers() -> None:
    with pytest.raises(InputError, match="another label's"):
        ClosedTask("t", ("spam", "ham"), "?", synonyms={"SPAM": "ham"})
    with pytest.raises(InputError, match="another label's"):
        ClosedTask("t", ("spam", "ham"), "?", synonyms={"x": "ham", "X": "spam"})


# A label is never called like a class of ours

RESERVED = ["UNPARSED", "unparsed", "Un Parsed", "un-parsed", "(unparsed)", "ＵＮＰＡＲＳＥＤ", "dropped", "Abstained"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_refused_wherever_labels_are_made(name: str, tmp_path: Path) -> None:
    labels = ["spam", "ham", name]
    (tmp_path / "p.txt").write_text("{text}")
    (tmp_path / "t.yaml").write_text(json.dumps({"prompt": "{text}", "labels": labels}))
    makers = (
        lambda: ClosedTask("t", tuple(labels), "?"),
        lambda: custom_task(labels=labels, prompt=tmp_path / "p.txt"),
        lambda: load_task(str(tmp_path / "t.yaml")),
        lambda: clucert.smooth(lambda texts: ["spam"] * len(texts), labels, method="ranmask"),
        lambda: clucert.smooth(Fixed("spam", tuple(labels)), labels, method="ranmask"),
    )
    for make in makers:
        with pytest.raises(InputError, match="what is no label"):
            make()


class Fixed:
    """A classifier of somebody's own that always votes the same."""

    name, deterministic = "fixed", True

    def __init__(self, vote: str | None, labels: tuple[str, ...] | None) -> None:
        self._vote, self.labels = vote, labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        return Predictions((self._vote,) * len(texts))


SMALL: dict[str, Any] = {"method": "ranmask", "samples": 50, "certify_samples": 100}
TEXT = "a warm and funny film that never loses its way and stays with you"


def test_a_stored_certificate_with_a_reserved_label_is_refused() -> None:
    stored = clucert.smooth(Fixed("a", ("a", "b")), ["a", "b"], **SMALL).certify(TEXT).document()
    for change in ({"labels": ["a", "unparsed"]}, {"selection": {**stored["selection"], "counts": {"Un parsed": 50}}}):
        with pytest.raises(InputError, match="is the name of what is no label"):
            document.read({**stored, **change})


def test_a_vote_for_no_label_of_a_closed_set_is_an_error_and_never_lost() -> None:
    with pytest.raises(BadAnswerError, match="voted 'c'"):
        clucert.smooth(Fixed("c", ("a", "b")), ["a", "b"], **SMALL).certify(TEXT)


def test_an_open_classifier_that_says_unparsed_casts_no_vote() -> None:
    closed = clucert.smooth(Fixed("a", ("a", "b")), ["a", "b"], **SMALL)
    smoother = dataclasses.replace(closed.smoother, labels=None)
    made = clucert.SmoothedClassifier(smoother, Backends(ThreadedClassifier(Fixed("Un-parsed", None), None))).certify(
        TEXT
    )
    assert made.certificate.selection.unparsed == 50
    assert made.prediction is None


def test_an_open_answer_called_unparsed_is_unparsed(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(json.dumps({"prompt": "{text}", "pattern": "is (\\w+)"}))
    task = load_task(str(tmp_path / "t.yaml"))
    assert task.read(Answer("it is UNPARSED")) is None
    assert task.read(Answer("it is blue")) == "blue"


# Unfinished answers

SAYS = {
    "sst2": "positive",
    "agnews": "sports",
    "jailbreak": "safe",
    "gsm8k": "#### 18",
    "refusal": "I'm sorry, I can't do that.",
}
VOTES = {"sst2": "positive", "agnews": "sports", "jailbreak": "safe", "gsm8k": "18", "refusal": "refused"}


@pytest.mark.parametrize("task", SAYS)
@pytest.mark.parametrize(
    "reason", ["content_filter", "tool_calls", "function_call", "error", "SAFETY", "abort", "weird"]
)
def test_an_answer_that_did_not_end_by_itself_is_no_vote(task: str, reason: str) -> None:
    assert load_task(task).read(Answer(SAYS[task], finish_reason=reason)) is None


@pytest.mark.parametrize("task", SAYS)
@pytest.mark.parametrize("reason", [None, "stop", "STOP", "eos", "end_turn"])
def test_an_answer_that_ended_by_itself_is_read(task: str, reason: str | None) -> None:
    assert load_task(task).read(Answer(SAYS[task], finish_reason=reason)) == VOTES[task]


def test_what_was_cut_is_no_vote_but_for_a_scored_label_and_the_head_of_a_refusal() -> None:
    sst2, refusal = load_task("sst2"), load_task("refusal")
    assert sst2.read(Answer("positive", finish_reason="length")) is None
    assert sst2.read(Answer("positive", (-0.1, -3.0), finish_reason="length")) == "positive"
    assert sst2.read(Answer("positive in the first half but", (-0.1, -3.0), finish_reason="length")) is None
    assert sst2.read(Answer("positive\nThough the second half", (-0.1, -3.0), finish_reason="length")) is None
    assert sst2.read(Answer("<think> positive", (-0.1, -3.0), finish_reason="length")) is None
    assert load_task("gsm8k").read(Answer("so 3 + 4 = 7", finish_reason="length")) is None
    assert refusal.read(Answer("I'm sorry, but I can't", finish_reason="length")) == "refused"
    assert refusal.read(Answer("Sure, here is how you do it, step by", finish_reason="length")) is None
    assert refusal.read(Answer("Sure! " + "First you take a bowl. " * 5, finish_reason="length")) == "complied"


@pytest.mark.parametrize("task", SAYS)
@pytest.mark.parametrize("text", ["", "  \n", "<think></think>", "<think>", "</s>"])
def test_nothing_said_is_no_vote(task: str, text: str) -> None:
    assert load_task(task).read(Answer(text, finish_reason="stop")) is None


REASONING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THOUGHT>", "</THOUGHT>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<unused94>", "<unused95>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)
OTHER = {
    "sst2": "negative",
    "agnews": "world",
    "jailbreak": "harmful",
    "gsm8k": "#### 99",
    "refusal": "I'm happy to help.",
}


@pytest.mark.parametrize("task", SAYS)
@pytest.mark.parametrize(("opening", "closing"), REASONING)
def test_reasoning_never_votes(task: str, opening: str, closing: str) -> None:
    asked, says, other = load_task(task), SAYS[task], OTHER[task]
    for reason in ("stop", "length", None):
        assert asked.read(Answer(f"{opening}\n{says}\n", finish_reason=reason)) is None
    assert asked.read(Answer(f"{opening}{other}{closing}\n\n{says}", finish_reason="stop")) == VOTES[task]
    assert asked.read(Answer(f"{opening}{other}{closing}", finish_reason="stop")) is None
    if not opening.startswith("<|channel"):
        # The template may have written the opening mark.
        assert asked.read(Answer(f"{other}{closing}{says}", finish_reason="stop")) == VOTES[task]
        assert asked.read(Answer(f"{says}{closing}{opening}", finish_reason="stop")) is None


def test_reasoning_is_all_that_stands_before_its_last_end() -> None:
    sst2 = load_task("sst2")
    assert sst2.read(Answer("negative<think>x</think>hm</think>positive")) == "positive"
    assert sst2.read(Answer("negative<think>x</think>positive")) is None
    assert sst2.read(Answer("<|channel|>final<|message|>positive<|channel|>analysis")) is None
    assert sst2.read(Answer("<|channel|>commentary<|message|>positive")) is None
    # A turn that goes on behind what it said is not over.
    assert load_task("gsm8k").read(Answer("<|channel|>final<|message|>#### 18<|channel|>analysis")) is None


# Servers


@contextmanager
def asked_of(respond: Any, **options: Any) -> Iterator[tuple[OpenAIModel, Any]]:
    with serving(respond) as server:
        model = OpenAIModel("openai/m", "m", Endpoint.of(server.url, None), ModelOptions(timeout=5.0), max_wait=0.05)
        try:
            yield model, server
        finally:
            model.close()


def reply(message: dict[str, Any], finish: str | None = "stop", **usage: int) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return Reply(body={"choices": [choice], "usage": {"prompt_tokens": 500, "completion_tokens": 1, **usage}})


CALL = [{"id": "1", "type": "function", "function": {"name": "positive", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("sent", "vote"),
    [
        (reply({"content": "positive"}), "positive"),
        (reply({"content": "positive"}, None), "positive"),
        (reply({"content": "positive"}, "length"), None),
        (reply({"content": "positive"}, "content_filter"), None),
        (reply({"content": "positive"}, None, completion_tokens=16), None),
        (reply({"content": None}), None),
        (reply({"content": ""}, "length"), None),
        (reply({"content": None, "refusal": "positive"}), None),
        (reply({"content": "positive", "refusal": "no"}), None),
        (reply({"content": "positive", "tool_calls": CALL}), None),
        (reply({"content": None, "tool_calls": CALL}, "tool_calls"), None),
        (reply({"content": "positive", "tool_calls": []}), "positive"),
        (reply({"content": "positive", "function_call": {"name": "x", "arguments": ""}}), None),
        (reply({"content": None, "reasoning_content": "positive"}), None),
        (reply({"content": "", "reasoning": "positive"}, "length"), None),
        (reply({"content": "negative", "reasoning_content": "positive"}), "negative"),
        (reply({"content": [{"type": "text", "text": "positive"}]}), "positive"),
        (
            reply({"content": [{"type": "thinking", "text": "negative"}, {"type": "text", "text": "positive"}]}),
            "positive",
        ),
        (reply({"content": [{"type": "refusal", "refusal": "positive"}]}), None),
        (reply({"content": "<think>\nthe review is positive"}, "length"), None),
        (reply({"content": "<think>\nnegative?\n</think>\n\nPositive."}), "positive"),
    ],
)
def test_a_server_s_reply_votes_only_when_it_is_finished_and_said(sent: Reply, vote: str | None) -> None:
    with asked_of([sent]) as (model, _):
        assert Asked(model, load_task("sst2")).predict(["a film"]).votes == (vote,)


def test_a_refusal_by_the_server_s_word_is_one_where_refusals_are_read() -> None:
    with asked_of([reply({"content": None, "refusal": "I'm sorry, I can't help with that."})]) as (model, _):
        assert Asked(model, load_task("refusal")).predict(["x"]).votes == ("refused",)


def logprobs(said: str, **top: float) -> list[dict[str, Any]]:
    entries = [{"token": token, "logprob": value} for token, value in top.items()]
    return [{"token": said, "logprob": -0.1, "top_logprobs": entries}]


@pytest.mark.parametrize(
    ("text", "tokens", "vote"),
    [
        ("Not sure", logprobs("Not", Not=-0.1, Yes=-3.0), None),
        ("Notably, I would say yes", logprobs("Not", Not=-0.1, yes=-3.0), None),
        ("No idea", logprobs("No", No=-0.1, Yes=-3.0), None),
        ("yes", logprobs("yes", yes=-0.1, no=-3.0), "yes"),
        ("Yes", logprobs("Yes", Yes=-0.9, yes=-1.5, No=-1.0), "yes"),
        ("yes", logprobs("y", y=-0.1, n=-3.0), "yes"),
        ("yes", logprobs("y", y=-0.1, yes=-0.5, no=-3.0), "yes"),
        ("yes", logprobs("yes", yes=math.inf, no=-3.0), "yes"),
    ],
)
def test_only_whole_labels_are_scored(text: str, tokens: Any, vote: str | None) -> None:
    task = ClosedTask("t", ("yes", "no"), "?")
    with asked_of([completion(text, logprobs=tokens)]) as (model, _):
        answer = model.answer([task.query("x")])[0]
    assert task.read(answer) == vote
    scores = answer.label_logprobs
    assert scores is None or (fold(tokens[0]["token"]) in ("yes", "no") and max(scores) <= 0)


def test_what_is_no_vote_stays_none_from_the_cache(tmp_path: Path) -> None:
    from clucert.cache import open_cache

    cut = [reply({"content": "positive"}, "length"), reply({"content": None, "refusal": "positive"})]
    with asked_of(cut) as (model, server), contextlib.closing(open_cache(tmp_path / "c.sqlite")) as cache:
        for _ in range(2):
            asked = Asked(model, load_task("sst2"), cache)
            assert [asked.predict([text]).votes for text in ("a", "b")] == [(None,), (None,)]
        assert len(server.requests) == 2


def test_tasks_that_ask_for_a_label_say_where_it_ends(tmp_path: Path) -> None:
    assert [load_task(name).query("x").stop for name in ("sst2", "agnews", "jailbreak")] == [
        ("\nReview:",),
        ("\nArticle:",),
        ("\nRequest:",),
    ]
    (tmp_path / "t.yaml").write_text(json.dumps({"prompt": "{text}", "labels": ["a", "b"], "stop": ["\n"]}))
    assert load_task(str(tmp_path / "t.yaml")).query("x").stop == ("\n",)
    for wrong in ({"labels": ["a", "b"], "stop": [""]}, {"pattern": "(x)", "stop": ["x"]}):
        (tmp_path / "t.yaml").write_text(json.dumps({"prompt": "{text}", **wrong}))
        with pytest.raises(InputError, match="stop"):
            load_task(str(tmp_path / "t.yaml"))


def test_a_stop_that_a_server_refuses_is_left_out() -> None:
    def respond(request: Request, _: int) -> Reply:
        if "stop" in request.body:
            return Reply(400, {"error": {"message": "Unsupported parameter: 'stop' is not supported with this model."}})
        return completion("positive")

    with asked_of(respond) as (model, server):
        assert Asked(model, load_task("sst2")).predict(["a", "b"]).votes == ("positive",) * 2
    assert sorted("stop" in request.body for request in server.requests)[:2] == [False, False]
    assert "stop" not in server.requests[-1].body


# Runs whose answers cannot be read

THINKING = "<think>\nOkay, \x1b[31m the \u202e user wants me to"


def test_a_certificate_stops_at_twenty_unreadable_answers_and_shows_two() -> None:
    with asked_of(lambda _, i: reply({"content": f"{THINKING} {i}"}, "length")) as (model, server):
        classifier = clucert.smooth(Asked(model, load_task("sst2")), ["positive", "negative"], **SMALL)
        with pytest.raises(UnreadableError) as caught:
            classifier.certify(TEXT)
        said = str(caught.value)
        assert len(server.requests) == 20
    assert "20 of the first 20 answers of openai/m are no votes (20 cut at the token limit)" in said
    assert "--answer-tokens" in said
    assert "reasoning off" in said
    assert said.count("Okay, \\x1b[31m the \\u202e user") == 2
    assert said.isprintable()


def test_one_more_than_half_stops_and_half_does_not() -> None:
    for bad, stops in ((10, False), (11, True)):
        with asked_of(lambda _, i, bad=bad: completion("who knows" if i < bad else "positive")) as (model, server):
            asked = Asked(model, load_task("sst2"))
            texts = [f"text {i}" for i in range(60)]
            if stops:
                with pytest.raises(UnreadableError):
                    asked.predict(texts)
            else:
                found = asked.predict(texts)
                assert sum(vote is None for vote in found.votes) == bad
                assert [each.why for each in found.unread] == ["states no label"]
                assert found.usage.calls == len(server.requests) == 60


def study(tmp_path: Path, url: str, **changes: Any) -> Any:
    from clucert.evaluate.runconfig import load_config

    data = tmp_path / "data.jsonl"
    rows = [{"text": f"{TEXT} number {i}", "label": "positive"} for i in range(6)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "task": "sst2",
        "data": str(data),
        "model": ["vllm/m"],
        "base_url": url,
        "method": "ranmask",
        "samples": 30,
        "certify_samples": 60,
        "run_dir": tmp_path / "run",
        "cache": False,
    }
    return load_config(None, fields | changes)


def test_a_run_stops_at_twenty_unreadable_answers(tmp_path: Path) -> None:
    from clucert.evaluate.study import evaluate

    with serving(lambda _, i: reply({"content": THINKING}, "length")) as server:
        with pytest.raises(UnreadableError, match=r"20 of the first 20 answers of vllm/m are no votes"):
            evaluate(study(tmp_path, server.url))
        assert len(server.requests) == 20


def test_unparsed_answers_of_both_stages_are_counted_and_shown(tmp_path: Path) -> None:
    from clucert.evaluate.run_directory import read_records
    from clucert.evaluate.study import evaluate
    from clucert.report import write_junit
    from clucert.report.outcome import state_of
    from clucert.report.summary import read_summaries

    def respond(request: Request, i: int) -> Reply:
        # Too few to stop the run, too many for an answer.
        return completion(
            "I cannot say."
            if i >= 20 and random.Random(request.body["messages"][-1]["content"]).random() < 0.6
            else "positive"
        )

    with serving(respond) as server:
        summary = evaluate(study(tmp_path, server.url, task="sst2"))
    assert summary.failed == 0
    records = read_records(summary.run_dir)[0]
    (figures,) = read_summaries([summary.run_dir])
    unparsed = kept = 0
    for record in records.values():
        certificate = document.read(record.document or {})[0].certificate
        for votes in (certificate.selection, certificate.estimation):
            unparsed, kept = unparsed + votes.unparsed, kept + votes.kept
        assert record.document is not None
        if certificate.selection.unparsed:
            assert {"text": "I cannot say.", "why": "states no label"} in record.document["unread"]
    assert unparsed
    assert figures.unparsed == pytest.approx(unparsed / kept)
    unreadable = [row.id for row in figures.run.inputs if row.certificate and row.certificate.unreadable]
    assert unreadable
    assert unreadable == [row.id for row in figures.run.inputs if state_of(row) == "unreadable"]
    write_junit([summary.run_dir], tmp_path / "junit.xml")
    errors = [case.find("error") for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")]
    assert sum(error is not None and "unreadable answers" in error.get("message", "") for error in errors) == len(
        unreadable
    )


# Certificates


@pytest.mark.parametrize("share", [0.51, 0.7, 1.0])
def test_an_unreadable_certificate_says_so_and_nothing_about_robustness(share: float) -> None:
    def classify(texts: list[str]) -> list[Any]:
        return [None if random.Random(text).random() < share + 0.05 else "a" for text in texts]

    made = clucert.smooth(classify, ["a", "b"], method="ranmask", samples=200, certify_samples=100).certify(TEXT)
    certificate = made.certificate
    assert certificate.prediction is None
    assert certificate.unreadable is not None
    assert certificate.unreadable == certificate.abstained
    assert "unreadable answers" in str(made)
    assert "abstained" not in str(made)
    assert made.document()["derived"]["unreadable"] == certificate.unreadable
    assert document.read(made.document())[0].certificate.unreadable == certificate.unreadable


def test_a_readable_certificate_is_not_called_unreadable() -> None:
    made = clucert.smooth(Fixed("a", ("a", "b")), ["a", "b"], **SMALL).certify(TEXT)
    assert made.certificate.unreadable is None
    assert made.prediction == "a"


def test_unparsed_answers_are_shown_escaped_one_unless_asked_for_more() -> None:
    from rich.console import Console

    def respond(_: Request, i: int) -> Reply:
        return completion(f"[bold]\x1b[31mwell {i}" if i % 4 == 0 else "positive")

    with asked_of(respond) as (model, _):
        smoothed = clucert.smooth(Asked(model, load_task("sst2")), ["positive", "negative"], **SMALL)
        made = smoothed.certify(TEXT)
    for asked, lines in ((0, 1), (3, 3)):
        console = Console(width=200, color_system=None, soft_wrap=True)
        with console.capture() as captured:
            print_certified(console, made.certificate, made.cost, unread=asked)
        shown = [line for line in captured.get().splitlines() if line.startswith("unparsed")]
        assert len(shown) == lines
        assert all("[bold]\\x1b[31mwell" in line and "states no label" in line for line in shown)
    again = document.read(made.document())[1]
    assert again is not None
    assert again.unread == made.cost.unread


def test_the_error_is_one_of_ours_and_one_line() -> None:
    assert issubclass(UnreadableError, CluCertError)
    assert UnreadableError.exit_code == 1
