"""An address and a name do not say who answers: another model's answers are never taken for this one's."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

import clucert
from clucert.cache import open_cache
from clucert.cache.server_identity import IDENTIFYING_TEXT, entry_of
from clucert.errors import ModelChangedError
from clucert.evaluate.run_directory import read_manifest, read_records
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.study import evaluate
from clucert.models.load import ModelOptions, load_model
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queued_models import QueueOptions
from clucert.types import Message, Query
from tests.processes import QuietHandler, answering, free_port

TEXT = "A short but good story about two friends"


@dataclass
class Serving:
    """A chat server that says ``answer`` to everything, and what it says of itself."""

    answer: str = "positive"
    model: str | None = "m"
    fingerprint: str | None = None
    entries: list[dict[str, Any]] | None = None
    """Its model list; None for a server without one."""
    finish: str = "stop"
    status: int = 200
    changes_after: int = 10**9
    """Answers after which it says that it is another one."""
    asked: list[str] = field(default_factory=list)
    lists: int = 0


def body_of(serving: Serving, number: int) -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": serving.answer}, "finish_reason": serving.finish}
    said = {"model": serving.model, "system_fingerprint": serving.fingerprint}
    if number >= serving.changes_after:
        said["system_fingerprint"] = "fp_other"
    return {"choices": [choice], **{name: value for name, value in said.items() if value is not None}}


@contextmanager
def serve(port: int, serving: Serving) -> Iterator[Serving]:
    lock = threading.Lock()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            serving.lists += 1
            self.say({"object": "list", "data": serving.entries}, 404 if serving.entries is None else 200)

        def do_POST(self) -> None:
            asked = json.loads(self.posted())
            with lock:
                number = len(serving.asked)
                serving.asked.append(asked["messages"][-1]["content"])
            self.say(body_of(serving, number), serving.status)

        def say(self, body: dict[str, Any], status: int) -> None:
            self.reply(body, status, {"Connection": "close"})

    with answering(Handler, port):
        yield serving


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret0123456789")
    return free_port()


def certify(port: int, cache: Any, **options: Any):
    settings = {"task": "sst2", "method": "ranmask", "mask_rate": "0.5", "samples": 20, "certify_samples": 40}
    url = f"http://127.0.0.1:{port}/v1"
    return clucert.certify(
        options.pop("text", TEXT), model="openai/m", base_url=url, cache=cache, max_retries=0, **settings | options
    )


ENTRY = {"id": "m", "object": "model", "owned_by": "vllm", "root": "org/one", "created": 1_700_000_000}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"model": "m-2024"}, {"model": "m-2025"}),
        ({"fingerprint": "fp_a"}, {"fingerprint": "fp_b"}),
        ({"fingerprint": "fp_a"}, {"fingerprint": None}),
        ({"entries": [ENTRY]}, {"entries": [ENTRY | {"root": "org/two"}]}),
        ({"entries": [ENTRY]}, {"entries": [ENTRY | {"created": 1_700_000_001}]}),
        ({"entries": [ENTRY]}, {"entries": [ENTRY | {"meta": {"n_params": 7}}]}),
        ({"model": None, "entries": [ENTRY]}, {"model": None, "entries": [ENTRY | {"owned_by": "you"}]}),
    ],
)
def test_another_model_at_the_same_address_and_name_answers_for_itself(port, tmp_path, first, second, caplog):
    """Two servers, one after the other, same cache: all answers came from the first one's."""
    cache = tmp_path / "answers.sqlite"
    with serve(port, Serving("positive", **first)) as one:
        assert certify(port, cache).prediction == "positive"
        assert one.asked
    with serve(port, Serving("negative", **second)) as two:
        assert certify(port, cache).prediction == "negative"
        # Its own answers are kept beside the first one's, and not asked for again but for the greeting.
        before = len(two.asked)
        assert before == len(one.asked) + 1
        assert certify(port, cache).prediction == "negative"
        assert two.asked[before:] == [IDENTIFYING_TEXT]
    assert "--accept-model-change" in caplog.text
    with serve(port, Serving("positive", **first)) as back:
        assert certify(port, cache).prediction == "positive"
        assert back.asked == [IDENTIFYING_TEXT]
    with serve(port, Serving("negative", **second)) as accepted:
        assert certify(port, cache, accept_model_change=True).prediction == "positive"
        assert accepted.asked == []


@pytest.mark.parametrize(
    "entries",
    [
        None,
        [ENTRY | {"created": "now", "permission": [{"id": "modelperm-1"}]}],
        [ENTRY, *({"id": f"other/{i}", "created": i} for i in range(5000))],
    ],
)
def test_the_same_model_answers_from_the_cache(port, tmp_path, entries):
    """What a server says anew at each request, and other models of its list, tell nothing about this one."""
    cache = tmp_path / "answers.sqlite"
    if entries and entries[0]["created"] == "now":
        entries = [entries[0] | {"created": int(time.time())}]
    with serve(port, Serving(entries=entries)) as serving:
        first = certify(port, cache)
        before = len(serving.asked)
        if entries:
            serving.entries = [entries[0] | {"permission": [{"id": "modelperm-2"}]}, {"id": "new", "created": 3}]
            if entries[0]["created"] > 1_700_000_000:
                serving.entries[0]["created"] += 5
        second = certify(port, cache)
        assert serving.asked[before:] == [IDENTIFYING_TEXT]
        assert second.certificate == first.certificate
        assert second.cost.paid.calls == 0


@pytest.mark.parametrize("where", ["cache", False])
def test_a_change_inside_a_run_stops_it_with_one_line(port, tmp_path, where):
    cache = where and tmp_path / "answers.sqlite"
    with serve(port, Serving(fingerprint="fp_one", changes_after=10)):
        with pytest.raises(ModelChangedError) as caught:
            certify(port, cache, max_connections=1)
        said = str(caught.value)
        assert "\n" not in said
        assert "fp_one" in said
        assert "fp_other" in said
        assert "--accept-model-change" in said
    with serve(port, Serving(fingerprint="fp_one", changes_after=10)):
        assert certify(port, cache, max_connections=1, accept_model_change=True).prediction == "positive"


def test_a_server_that_comes_back_with_another_model_list_stops_the_run(port):
    query = Query((Message("user", "q"),))
    options = ModelOptions(base_url=f"http://127.0.0.1:{port}", max_retries=8)
    model = load_model("openai/m", options)
    try:
        with serve(port, Serving(entries=[ENTRY])):
            assert model.answer([query])[0].text == "positive"
        later = threading.Timer(1.0, lambda: None)
        answered: list[Any] = []

        def ask() -> None:
            try:
                answered.append(model.answer([query]))
            except ModelChangedError as error:
                answered.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        later.start()
        later.join()
        with serve(port, Serving("negative", entries=[ENTRY | {"root": "org/two"}])):
            asking.join()
        assert isinstance(answered[0], ModelChangedError)
        assert "model list" in str(answered[0])
    finally:
        model.close()


@pytest.mark.parametrize("finish", ["error", "content_filter", "abort"])
def test_what_was_no_answer_is_not_kept(port, tmp_path, finish):
    queries = [Query((Message("user", f"q{i}"),)) for i in range(5)]
    with (
        serve(port, Serving(finish=finish)) as serving,
        open_cache(tmp_path / "answers.sqlite") as cache,
    ):
        model = load_model("openai/m", ModelOptions(base_url=f"http://127.0.0.1:{port}"))
        try:

            async def on_a_lane() -> None:
                queue = ModelQueue(model, cache=cache, options=QueueOptions(base_url=model.base_url))
                queue.start()
                await queue.ask([queue.key(query) for query in queries])
                await queue.stop()

            asyncio.run(on_a_lane())
        finally:
            model.close()
        assert cache.stats().entries == 0
        assert len(serving.asked) == 5


def test_a_lane_does_not_take_another_models_answers_either(port, tmp_path):
    queries = [Query((Message("user", f"q{i}"),)) for i in range(9)]

    async def texts(model: Any) -> list[str]:
        with open_cache(tmp_path / "answers.sqlite") as cache:
            queue = ModelQueue(model, cache=cache, options=QueueOptions(base_url=model.base_url))
            queue.start()
            try:
                asked = await asyncio.gather(*(queue.ask([queue.key(query)]) for query in queries))
            finally:
                await queue.stop()
        return [one.answers[0].text for one in asked]

    for answer, calls in (("one", 9), ("two", 10), ("one", 1), ("two", 1)):
        with serve(port, Serving(answer, fingerprint=answer)) as serving:
            model = load_model("openai/m", ModelOptions(base_url=f"http://127.0.0.1:{port}"))
            try:
                assert asyncio.run(texts(model)) == [answer] * 9
            finally:
                model.close()
            assert len(serving.asked) == calls


def test_a_server_that_says_nothing_of_itself_is_said_to(port, tmp_path, caplog):
    cache = tmp_path / "answers.sqlite"
    with serve(port, Serving(model=None)):
        certify(port, cache)
        assert "says nothing" not in caplog.text
        certify(port, cache)
    assert "says nothing of the model behind it" in caplog.text


def test_a_dead_server_says_how_to_use_the_cache_without_it(port, tmp_path):
    cache = tmp_path / "answers.sqlite"
    with serve(port, Serving()):
        first = certify(port, cache)
    with pytest.raises(clucert.CluCertError, match="accept-model-change"):
        certify(port, cache)
    assert certify(port, cache, accept_model_change=True).certificate == first.certificate


@pytest.mark.parametrize("where", ["cache", False])
def test_a_run_that_is_continued_with_another_model_stops(port, tmp_path, where):
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "".join(f"a good story about friends number {i},positive\n" for i in range(4)))
    config = StudyConfig(
        task="sst2",
        data=str(data),
        model=["openai/m"],
        base_url=f"http://127.0.0.1:{port}",
        method="ranmask",
        mask_rate="0.5",
        samples=10,
        certify_samples=20,
        cache=where and tmp_path / "answers.sqlite",
        run_dir=tmp_path / "run",
        limit=2,
    )
    with serve(port, Serving(fingerprint="fp_one")):
        assert evaluate(config).done == 2
    assert read_manifest(tmp_path / "run").answered_by == {"openai/m": "m fp_one | "}
    more = config.model_copy(update={"limit": 4})
    with serve(port, Serving("negative", fingerprint="fp_two")):
        with pytest.raises(ModelChangedError, match=r"fp_one.* when the run was begun and now as .*fp_two") as caught:
            evaluate(more)
        assert "\n" not in str(caught.value)
    assert len(read_records(tmp_path / "run")[0]) == 2
    with serve(port, Serving(fingerprint="fp_one")):
        assert evaluate(more).done == 4
    with serve(port, Serving("negative", fingerprint="fp_two")):
        accepted = more.model_copy(update={"run_dir": tmp_path / "run", "accept_model_change": True})
        data.write_text(data.read_text() + "a dull story,negative\n")
        assert evaluate(accepted.model_copy(update={"limit": 5})).done == 5


def test_a_run_that_began_with_refusals_goes_on_when_the_model_answers(port, tmp_path):
    """As long as it refuses everything only its model list is known: that is no other model than the one of it."""
    (tmp_path / "data.csv").write_text("text,label\na good story about friends,positive\n")
    config = StudyConfig.of(
        task="sst2",
        data=str(tmp_path / "data.csv"),
        model="openai/m",
        base_url=f"http://127.0.0.1:{port}",
        method="blocks",
        deterministic=True,
        cache=False,
        run_dir=tmp_path / "run",
    )
    with serve(port, Serving(status=400, entries=[ENTRY])):
        assert evaluate(config).failed == 1
    with serve(port, Serving(entries=[ENTRY])):
        assert evaluate(config).done == 1


def test_the_entry_of_a_list():
    now = 1_800_000_000.0
    one = entry_of({"data": [ENTRY]}, "m", now)
    assert one is not None
    assert entry_of({"data": [ENTRY, {"id": "x"}]}, "m", now) == one
    assert entry_of({"data": [{"id": "x"}, {"id": "y"}]}, "m", now) is None
    assert entry_of({"data": [ENTRY | {"id": "m:latest"}, {"id": "y"}]}, "m", now) is not None
    assert entry_of({"data": [ENTRY | {"id": "/models/file.gguf"}]}, "m", now) is not None
    for nonsense in (None, 3, [], {}, {"data": None}, {"data": "x"}, {"data": [3, None]}):
        assert entry_of(nonsense, "m", now) is None
