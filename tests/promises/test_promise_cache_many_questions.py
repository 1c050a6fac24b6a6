"""More questions than one batch of the cache, on a file and on a server: each is asked once and answered."""

from __future__ import annotations

from collections import Counter

import pytest

from clucert.cache import open_cache
from clucert.types import Answer, Message, Query, Usage
from tests.processes import free_port
from tests.promises.test_promise_whose_answers import Serving, certify, serve
from tests.voting import answers_to


class Streaming:
    """Counts what it is asked."""

    name, deterministic = "test/streaming", True

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def answer(self, queries):
        self.asked.update(query.messages[0].content for query in queries)
        return [Answer(f"to {query.messages[0].content}", usage=Usage(1)) for query in queries]

    def close(self):
        pass


@pytest.fixture(params=["sqlite", "postgres"])
def where(request, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if request.param == "sqlite":
        return str(tmp_path / "answers.sqlite")
    server = request.getfixturevalue("postgres")
    return server.url(server.new_database())


@pytest.mark.parametrize("count", [128, 129, 306, 1000])
def test_each_of_many_questions_is_asked_once_and_answered(where, count):
    queries = [Query((Message("user", str(i)),)) for i in range(count)]
    model = Streaming()
    with open_cache(where) as cache:
        assert [a.text for a in answers_to(model, cache, queries)] == [f"to {i}" for i in range(count)]
        again = Streaming()
        assert [a.text for a in answers_to(again, cache, queries)] == [f"to {i}" for i in range(count)]
        assert again.asked.total() == 0
    assert set(model.asked.values()) == {1}
    assert model.asked.total() == count


def test_a_certificate_of_more_questions_than_a_batch_costs_each_once(where, monkeypatch):
    """It failed from the 129th open question on, after they were paid for."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret0123456789")
    text = "A short but good story about two friends who meet again by chance in a town far from home and stay"
    port = free_port()
    with serve(port, Serving()) as serving:
        first = certify(port, where, text=text, samples=200, certify_samples=400, deterministic=True)
        assert len(serving.asked) > 300
        assert len(serving.asked) == len(set(serving.asked)) == first.cost.paid.calls
        again = certify(port, where, text=text, samples=200, certify_samples=400, deterministic=True)
        assert again.certificate == first.certificate
        assert again.cost.paid.calls <= 1
