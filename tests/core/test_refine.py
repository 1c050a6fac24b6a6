import re
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import ordinary_texts, texts

from clucert.core.refine import EmbeddingRefiner, LlmRefiner, NoRefiner, keep_words, load_refiner
from clucert.core.words import WordedText, split
from clucert.errors import InputError, UnknownNameError
from clucert.models.encoders import MiniLmEncoder
from clucert.types import Encode, Generate, Query, Refinement

REVIEW = split('"A long, slow film," she said; but a truly wonderful one.')
#               1 2     3    4      5   6      7   8 9     10        11

Encoding = Callable[[Any], NDArray[np.float32]]


def run(
    steps: Generator[Any, Any, Refinement], answers: Iterable[str] = (), encode: Encoding | None = None
) -> tuple[Refinement, list[Query]]:
    """Drive a refiner with scripted answers; the queries it made come back too."""
    script = iter(answers)
    queries: list[Query] = []

    def from_script(asked: Sequence[Query]) -> list[str]:
        queries.extend(asked)
        return [next(script) for _ in asked]

    refinement = drive(steps, from_script, encode)
    assert next(script, None) is None, "an answer was not asked for"
    return refinement, queries


def drive(
    steps: Generator[Any, Any, Refinement],
    answer: Callable[[Sequence[Query]], list[str]],
    encode: Encoding | None,
) -> Refinement:
    reply: Any = None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as done:
            refinement: Refinement = done.value
            return refinement
        if isinstance(request, Generate):
            assert request.stage == "refine"
            reply = answer(request.queries)
        else:
            assert isinstance(request, Encode)
            assert encode is not None, "no embedding was expected"
            reply = encode(request.texts)


def bag_of_letters(texts_: Any) -> NDArray[np.float32]:
    """A crude encoder that is a real function of the text: counts of characters."""
    rows = np.array([np.bincount([ord(c) % 64 for c in text] or [0], minlength=64) for text in texts_], np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Keeping words


@settings(deadline=None)
@given(text=texts.map(split))
def test_keeping_all_words_keeps_the_text(text: WordedText) -> None:
    assert keep_words(text, range(len(text))) == text


@settings(deadline=None)
@given(text=texts.map(split), data=st.data())
def test_the_kept_words_stay_in_order_with_a_gap_on_either_side(text: WordedText, data: st.DataObject) -> None:
    assume(len(text) > 0)
    positions = data.draw(st.sets(st.integers(0, len(text) - 1), min_size=1))
    kept = keep_words(text, positions)
    assert kept.words == tuple(text.words[p] for p in sorted(positions))
    assert len(kept.gaps) == len(kept.words) + 1
    neighbours = zip(sorted(positions), sorted(positions)[1:], strict=False)
    for gap, (a, b) in zip(kept.gaps[1:-1], neighbours, strict=True):
        assert gap == (text.gaps[b] if b == a + 1 else " ")


@settings(deadline=None)
@given(text=ordinary_texts(), data=st.data())
def test_a_refined_text_splits_into_the_kept_words(text: WordedText, data: st.DataObject) -> None:
    """So the certificate counts the same words that the noise masks."""
    positions = data.draw(st.sets(st.integers(0, len(text) - 1), min_size=1))
    kept = keep_words(text, positions)
    assert split(kept.text).words == kept.words


@settings(deadline=None)
@given(text=texts.map(split), data=st.data())
def test_keeping_some_of_the_kept_is_keeping_them_at_once(text: WordedText, data: st.DataObject) -> None:
    assume(len(text) > 0)
    first = sorted(data.draw(st.sets(st.integers(0, len(text) - 1), min_size=1)))
    second = data.draw(st.sets(st.integers(0, len(first) - 1), min_size=1))
    assert keep_words(keep_words(text, first), second) == keep_words(text, [first[p] for p in second])


@pytest.mark.parametrize(
    ("text", "positions", "expected"),
    [
        ("A long, slow film.", [1, 2], "long, slow."),
        ("A long, slow film.", [0, 3], "A film."),
        ("A long, slow film .", [1], "long ."),
        ("Was it good?! (No)", [2], "good"),
        ("Was it good?!", [0], "Was?!"),
        ('"Good," he said."', [0], '"Good.'),
        ("so good, really", [0, 1], "so good"),
        ("これは映画です。", [0], "これは。"),
    ],
)
def test_gaps_of_dropped_words_close_sensibly(text: str, positions: list[int], expected: str) -> None:
    assert keep_words(split(text), positions).text == expected


def test_no_positions_leave_no_text() -> None:
    assert keep_words(split("some words."), []) == WordedText((), ("",))
    assert keep_words(split(" ... "), []).text == " ... "


@pytest.mark.parametrize("positions", [[-1], [11], [0, 99]])
def test_a_position_out_of_range_is_refused(positions: list[int]) -> None:
    with pytest.raises(InputError, match=r"positions must be in 0\.\.10"):
        keep_words(REVIEW, positions)


# Refiners


def test_off_keeps_every_word() -> None:
    assert run(NoRefiner().refine(REVIEW, 2))[0] == Refinement(tuple(range(11)), "off")


@pytest.mark.parametrize("refiner", [LlmRefiner(), EmbeddingRefiner()], ids=lambda r: r.name)
@pytest.mark.parametrize("length", [11, 12, 1000])
def test_a_short_text_is_kept_without_a_request(refiner: Any, length: int) -> None:
    refinement, queries = run(refiner.refine(REVIEW, length))
    assert refinement == Refinement(tuple(range(11)), refiner.name)
    assert queries == []


@pytest.mark.parametrize("refiner", [LlmRefiner(), EmbeddingRefiner()], ids=lambda r: r.name)
def test_at_least_one_word_is_kept(refiner: Any) -> None:
    with pytest.raises(InputError, match="at least 1 word"):
        run(refiner.refine(REVIEW, 0))


@pytest.mark.parametrize(
    "answer",
    [
        "wonderful, slow, but",
        " Wonderful,  slow; but\n",
        "[wonderful, slow, but]",
        '["wonderful","slow","but"]',
        "wonderful,boring,slow,said so,but,film",
        "Wonderful!, (slow), but?",
        "wonderful | slow | but",
        "1. wonderful\n2. slow\n3. but",
        "1 wonderful\n2 slow\n3 but",
        "10:wonderful, 3:slow, 7:but",
        "•wonderful\n- 'slow'\n* \"but\".",
        "1. **wonderful**: a long film\n2. **slow:** said of the film\n3. but - a\n4. one (film)",
        "wonderful: film\nslow: film\nbut: film",
        "Here are the 3 most important words:\n\n1. **wonderful**\n2. **slow**\n3. **but**",
        "The 3 most important words are: wonderful, slow, and but.",
        "wonderful, slow, but, said, film",
        "wonderful, slow, slow, wonderful, but",
        "wonderful, boring, slow, a boring film of hers, but",
        "but a truly wonderful one, wonderful, slow, but",
        "film slow, boring film, wonderful, slow, but",
        "wonderful、slow，but",
        "wonderful، slow؛ but",
    ],
)
def test_a_list_of_words_is_read(answer: str) -> None:
    refinement, queries = run(LlmRefiner().refine(REVIEW, 3), [answer])
    assert refinement == Refinement((2, 6, 9), "llm")
    assert len(queries) == 1


@pytest.mark.parametrize(
    ("text", "answer", "kept"),
    [
        ("they paid $1,000, or 50%, and don’t say why", "$1,000, 50%, don't", "1,000 50 don’t"),
        ("the thin plot of the camera work is a bore", "camera work, bore", "camera work bore"),
        ("in 10 films of 20 films", "20 films, 10", "10 20 films"),
        ("这部电影很精彩但是慢", "精彩、电影、慢", "电 影 精 彩 慢"),
        ("فيلم رائع لكن القصة بطيئة", "رائع، بطيئة", "رائع بطيئة"),
        ("رائع " * 3 + "فيلم", "فيلم", "فيلم"),
    ],
)
def test_listed_words_are_those_of_texts(text: str, answer: str, kept: str) -> None:
    worded = split(text)
    refinement, _ = run(LlmRefiner().refine(worded, len(kept.split())), [answer])
    assert " ".join(worded.words[p] for p in refinement.positions) == kept
    assert refinement.fallback is None


def test_a_word_that_occurs_twice_is_kept_twice_where_there_is_room() -> None:
    text = split("good or bad , good or not")
    assert run(LlmRefiner().refine(text, 4), ["good, not, bad"])[0] == Refinement((0, 2, 3, 5), "llm")
    assert run(LlmRefiner().refine(text, 3), ["good, not, bad"])[0] == Refinement((0, 2, 5), "llm")
    crowd = split("the " * 100 + "wonderful film of the year")
    assert run(LlmRefiner().refine(crowd, 5), ["the, wonderful, film, year"])[0].positions == (0, 1, 100, 101, 104)


def test_what_a_short_list_leaves_open_is_chosen_by_embedding_and_said() -> None:
    refinement, queries = run(LlmRefiner().refine(REVIEW, 4), ["said, terrible, a"], bag_of_letters)
    all_by_embedding = [run(EmbeddingRefiner().refine(REVIEW, k), encode=bag_of_letters)[0] for k in range(1, 11)]
    best = next(p for r in all_by_embedding for p in r.positions if p not in (0, 5, 7))
    assert len(queries) == 1
    assert refinement.positions == tuple(sorted({0, 5, 7, best}))
    assert refinement.method == "llm"
    assert refinement.fallback == "refine: the language model's list gave 3 of 4 words, embedding chose the others"
    assert refinement.others == 1


@pytest.mark.parametrize("answer", ["", "no", "terrible, long-winded", "10, 3, 1", "It is a long, slow-film."])
def test_a_list_of_no_word_falls_back_loudly_to_the_embeddings(answer: str) -> None:
    refinement, queries = run(LlmRefiner().refine(REVIEW, 3), [answer], bag_of_letters)
    by_embedding, _ = run(EmbeddingRefiner().refine(REVIEW, 3), encode=bag_of_letters)
    assert len(queries) == 1
    assert refinement.positions == by_embedding.positions
    assert refinement.method == "embedding"
    assert refinement.fallback == (
        "refine fell back from llm to embedding: the language model's list holds no word of the text"
    )
    assert refinement.others == 3
    assert (by_embedding.fallback, by_embedding.others) == (None, 0)


@settings(deadline=None)
@given(text=ordinary_texts(min_words=2), data=st.data())
def test_any_answer_gives_length_words_in_order(text: WordedText, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(text)))
    lists = st.lists(st.sampled_from([*text.words, "unheard-of"]), max_size=len(text) + 2).map(", ".join)
    answer = data.draw(lists | texts)
    steps = LlmRefiner().refine(text, length)
    positions = drive(steps, lambda queries: [answer for _ in queries], bag_of_letters).positions
    assert len(positions) == length
    assert list(positions) == sorted(set(positions))
    assert 0 <= positions[0] <= positions[-1] < len(text)


def test_the_query_shows_the_text_on_one_line_and_says_how_many() -> None:
    text = split("good  good\n\nbad, good")
    _, (query,) = run(LlmRefiner("telling praise from blame").refine(text, 2), ["good"])
    for shown in (query.messages[-1].content, query.suffix):
        assert "Text: good good bad, good\n" in shown
        assert "The 2 most important" in shown
    assert "telling praise from blame" in query.messages[0].content
    assert "telling praise from blame" in query.prefix
    assert query.temperature == 0


def test_the_shared_prefix_does_not_depend_on_the_text() -> None:
    _, (first,) = run(LlmRefiner().refine(split("one two"), 1), ["one"])
    _, (second,) = run(LlmRefiner().refine(split("three four five"), 2), ["three, four"])
    assert first.prefix == second.prefix


def test_leaving_out_scores_the_words_that_carry_the_meaning() -> None:
    text = split("So on the whole I would say that the film was absolutely terrible, you know.")
    refinement, queries = run(EmbeddingRefiner().refine(text, 3), encode=MiniLmEncoder(threads=1).encode)
    kept = {text.words[p] for p in refinement.positions}
    assert {"film", "terrible"} <= kept
    assert queries == []


def test_equal_drops_keep_the_earlier_word() -> None:
    def flat(texts_: Any) -> NDArray[np.float32]:
        return np.tile(np.float32([0.6, 0.8]), (len(texts_), 1))

    assert run(EmbeddingRefiner().refine(REVIEW, 4), encode=flat)[0].positions == (0, 1, 2, 3)


@pytest.mark.parametrize("place", [0, 127, 128, 300, 499])
@pytest.mark.parametrize("words", ["so wonderful", "такой прекрасный", "Filmgesellschaft gut"])
def test_a_word_counts_wherever_it_stands_in_a_long_text(words: str, place: int) -> None:
    """Encoders read a few hundred word pieces, and drop the rest silently."""
    filler, word = words.split()
    text = " ".join([filler] * place + [word] + [filler] * (499 - place))
    asked: list[str] = []

    def short_sighted(texts_: Any) -> NDArray[np.float32]:
        asked.extend(texts_)
        return bag_of_letters([" ".join(pieces(text)[:256]) for text in texts_])

    refinement, _ = run(EmbeddingRefiner().refine(split(text), 1), encode=short_sighted)
    assert refinement.positions == (place,)
    assert max(len(pieces(each)) for each in asked) <= 256
    # Each word is left out once, of one of a few parts.
    assert 0 < len(asked) - 500 < 2 + len(pieces(text)) / 150


def pieces(text: str) -> list[str]:
    """Word pieces of four letters of ASCII, or of one of another script."""
    return re.findall(r"[a-zA-Z]{1,4}|[^\sa-zA-Z]", text)


def test_words_with_commas_are_read() -> None:
    text = split("they paid $1,000 at http://a.b/c,d in the U.S. today")
    refinement, _ = run(LlmRefiner().refine(text, 3), ["1,000, http://a.b/c,d, U.S."])
    assert refinement == Refinement((2, 4, 7), "llm")


# Names


class Sentiment:
    name = "sst2"
    labels = ("negative", "positive")


def test_refiners_by_name() -> None:
    assert load_refiner("off") == NoRefiner()
    assert load_refiner("embedding") == EmbeddingRefiner()
    assert load_refiner("llm") == LlmRefiner()
    told = load_refiner("llm", Sentiment())  # type: ignore[arg-type]
    assert told == LlmRefiner("deciding whether it is negative or positive")
    assert told.name == "llm"


def test_an_unknown_refiner_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'embedding'"):
        load_refiner("embeddings")


@pytest.mark.llm
def test_the_embedded_model_refines_a_review() -> None:
    """Whatever it answers, three words of the text are kept, and what it did not choose is said."""
    from clucert.models.load import load_model

    model = load_model("smollm2")
    try:
        refinement = drive(
            LlmRefiner("telling praise from blame").refine(REVIEW, 3),
            lambda queries: [answer.text for answer in model.answer(queries)],
            MiniLmEncoder(threads=1).encode,
        )
    finally:
        model.close()
    assert len(refinement.positions) == 3
    assert refinement.method == "llm" or "fell back" in (refinement.fallback or "")
