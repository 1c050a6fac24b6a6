"""A study through a batch API: gathered, killed, re-attached, failing, expiring; against a server that speaks it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_world import ROWS, SECRET, World, write_data

from clucert.errors import InputError, UsageError
from clucert.evaluate.dry_run import dry_run
from clucert.models import batch as batch_module
from clucert.models.batchfile import BatchLimits, read_lines, request_line, split_lines
from clucert.models.batchledger import BatchLedger
from clucert.runtime.prices import find_price
from clucert.types import Usage

ROOT = Path(__file__).parents[2]


class BatchWorld(World):
    """A world whose server has a batch API."""

    def behave(self, **behaviour: Any) -> None:
        beside = self.folder / "behaviour.tmp"
        beside.write_text(json.dumps(behaviour))
        beside.replace(self.folder / "behaviour.json")

    def config(self, **changes: Any) -> dict[str, Any]:
        return super().config(**{"batch": True, "in_flight": None, **changes})

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        # The server may be in the middle of a line.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def batches(self) -> list[list[str]]:
        return [entry["requests"] for entry in self.log() if "batch" in entry]

    @property
    def chats(self) -> list[str]:
        return [entry["chat"] for entry in self.log() if "chat" in entry]

    def asked(self) -> list[str]:
        return [*self.chats, *(text for batch in self.batches for text in batch)]

    def wait_for_batches(self, count: int, process: subprocess.Popen[str]) -> None:
        while process.poll() is None and len(self.batches) < count:
            time.sleep(0.01)


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchWorld]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    write_data(tmp_path / "data.jsonl")
    command = [sys.executable, "-m", "tests.models.batch_server", str(tmp_path)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    yield BatchWorld(tmp_path, int(server.stdout.readline()))
    server.kill()
    server.communicate()


def test_each_stage_of_all_inputs_is_one_batch_and_the_certificates_are_the_same(batches: BatchWorld):
    summary = batches.run()
    assert (summary.done, summary.failed) == (ROWS, 0)
    # One request in the ordinary way, to see that it is accepted; then a batch to choose, and one to certify.
    assert len(batches.chats) == 1
    assert len(batches.batches) == 2
    assert max(Counter(batches.asked()).values()) == 1
    assert summary.spent.calls == len(batches.asked())
    plain = batches.run(batch=False, run_dir=str(batches.folder / "plain"), cache=str(batches.folder / "other.sqlite"))
    assert plain.spent.calls == summary.spent.calls
    assert batches.records("run") == batches.records("plain")
    # The answers are the same whoever is asked: a run may be continued without --batch, and the other way round.
    assert batches.run(batch=False).new == 0


@pytest.mark.slow
@pytest.mark.parametrize("cache", [True, False])
def test_killed_while_it_waits_it_finds_its_batches_again(batches: BatchWorld, cache: bool):
    kept = {} if cache else {"cache": False}
    batches.behave(hold=True)
    for _ in range(2 if cache else 1):
        process = batches.start(**kept)
        batches.wait_for_batches(1, process)
        time.sleep(0.3)
        process.kill()
        process.communicate()
    assert len(batches.batches) == 1
    batches.behave()
    summary = batches.finish(batches.start(**kept))
    assert summary["done"] == ROWS
    assert len(batches.batches) == 2
    # Without a cache, the one request that went the ordinary way is asked again.
    assert sum(n - 1 for n in Counter(batches.asked()).values()) <= (0 if cache else 1)
    written = "".join(path.read_text() for path in (batches.folder / "run").iterdir())
    assert SECRET not in written
    assert "Review:" not in (batches.folder / "run" / "batches.jsonl").read_text()


def test_a_batch_whose_id_was_lost_is_found_by_its_mark(batches: BatchWorld):
    batches.behave(lost=1)
    assert batches.run().done == ROWS
    assert len(batches.batches) == 2
    assert max(Counter(batches.asked()).values()) == 1
    # As if it had been killed between the creation and the note of it.
    ledger = batches.folder / "run" / "batches.jsonl"
    lines = [line for line in ledger.read_text().splitlines() if '"event":"intended"' in line]
    (batches.folder / "run" / "records.jsonl").unlink()
    (batches.folder / "cache.sqlite").unlink()
    ledger.write_text("\n".join(lines) + '\n{"event":"crea')
    assert batches.run().done == ROWS
    assert len(batches.batches) == 2


def test_a_failed_line_is_asked_again_and_one_that_fails_for_good_fails_its_input_alone(batches: BatchWorld):
    write_data(batches.folder / "data.jsonl", poison=2)
    batches.behave(fail={"unanswerable": [400] * 9, "dull": [500], "cast": [429]})
    summary = batches.run(max_retries=2)
    assert (summary.done, summary.failed) == (ROWS - 1, 1)
    assert list(summary.errors) == ["r2"]
    assert "answered 400: no: 400" in summary.errors["r2"]
    counts = Counter(batches.asked())
    assert {n for text, n in counts.items() if "unanswerable" in text} <= {1}
    assert {n for text, n in counts.items() if "dull" in text.split() and "cast" not in text} <= {1, 2}
    assert max(counts.values()) <= 3
    # The same command tries the failed one again, in a batch of its own; the others are not asked.
    before = len(batches.batches)
    batches.behave()
    again = batches.run(max_retries=2)
    assert (again.done, again.failed, again.new) == (ROWS, 0, 1)
    assert all("unanswerable" in text for batch in batches.batches[before:] for text in batch)


def test_a_line_that_keeps_failing_is_given_up(batches: BatchWorld):
    batches.behave(fail={"dull": [500] * 9})
    summary = batches.run(max_retries=1)
    assert summary.failed
    assert "no: 500" in next(iter(summary.errors.values()))
    assert max(Counter(batches.asked()).values()) == 2


def test_an_expired_batch_keeps_its_answers_and_the_rest_is_asked_again(batches: BatchWorld):
    batches.behave(end=["expired", "completed"], answered=0.6)
    summary = batches.run(max_retries=1)
    assert (summary.done, summary.failed) == (ROWS, 0)
    first, second, _ = batches.batches
    assert set(second) < set(first)
    assert len(second) == len(first) - int(0.6 * len(first))


def test_a_cancelled_batch_fails_what_it_did_not_answer_and_the_next_call_asks_that(batches: BatchWorld):
    batches.behave(end=["cancelled", "completed"], answered=0.5)
    summary = batches.run()
    assert summary.failed
    assert "was cancelled" in next(iter(summary.errors.values()))
    assert batches.run().done == ROWS
    counts = Counter(batches.asked())
    first = batches.batches[0]
    assert {text for text, n in counts.items() if n > 1} <= set(first[len(first) // 2 :])


def test_a_refused_batch_says_why_without_the_key(batches: BatchWorld):
    batches.behave(end=["failed"], code="invalid_json_line")
    summary = batches.run()
    assert (summary.done, summary.failed) == (0, ROWS)
    assert "refused: too much ***" in next(iter(summary.errors.values()))
    assert SECRET not in (batches.folder / "run" / "records.jsonl").read_text()


def test_a_full_queue_is_waited_for(batches: BatchWorld):
    batches.behave(end=["failed", "completed"], code="token_limit_exceeded")
    assert batches.run(max_retries=1).done == ROWS


def test_batches_are_split_by_number_and_size(batches: BatchWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch_module, "BatchLimits", lambda: BatchLimits(requests=20, size=200_000))
    assert batches.run().done == ROWS
    assert len(batches.batches) > 2
    assert max(map(len, batches.batches)) <= 20
    assert max(Counter(batches.asked()).values()) == 1


def test_splitting_keeps_the_order_and_the_limits():
    lines = [(str(i), request_line(str(i), {"x": "y" * (i * 37 % 100)})) for i in range(100)]
    for limits in (BatchLimits(7, 10**9), BatchLimits(10**9, 500), BatchLimits(3, 300), BatchLimits(10, 1)):
        parts = list(split_lines(lines, limits))
        assert [line for part in parts for line in part] == lines
        for part in parts:
            assert len(part) <= limits.requests
            assert sum(len(line) for _, line in part) <= limits.size or len(part) == 1
    assert list(split_lines([], BatchLimits())) == []
    assert (BatchLimits().requests, BatchLimits().size) == (50_000, 200_000_000)


def test_a_server_without_a_batch_api_says_so(world: World):
    # It reads chat completions whatever the path, and takes no files.
    summary = world.run(batch=True, max_retries=0)
    assert summary.done == 0
    assert summary.failed == ROWS


def test_it_goes_with_servers_and_fixed_samples_only(world: World):
    with pytest.raises(UsageError, match="--batch needs --sampling fixed"):
        world.run(batch=True, sampling="staged")
    with pytest.raises(UsageError, match="--batch: smollm2 has no batch API"):
        world.run(batch=True, model="smollm2")


def test_the_price_is_that_of_a_batch_or_unknown(world: World):
    plain = find_price("openai/gpt-4o-mini")
    half = find_price("openai/gpt-4o-mini", batch=True)
    usage = Usage(10, 1000, 10)
    assert half.cost(usage) == pytest.approx(plain.cost(usage) / 2)
    assert half.source.endswith("batch")
    assert find_price("openai/gpt-3.5-turbo-instruct", batch=True) is None
    assert find_price("openai/none", batch=True, price_input="1", price_output="2").cost(usage) > 0
    estimate = dry_run(world.study(batch=True))
    assert estimate.calls
    assert not world.asked()


def test_a_damaged_ledger_names_the_line(tmp_path: Path):
    path = tmp_path / "batches.jsonl"
    ledger = BatchLedger.open(path)
    record = ledger.intend("t", ["a", "b", "c"])
    ledger.created(record, "batch_1")
    ledger.settled(record, ["b"])
    again = BatchLedger.open(path)
    assert (again.records["t"].batch, again.records["t"].ids) == ("batch_1", {"a", "c"})
    path.write_bytes(path.read_bytes() + b'{"event":"inten')
    torn = BatchLedger.open(path)
    assert torn.records.keys() == {"t"}
    torn.intend("u", ["d"])
    assert BatchLedger.open(path).records.keys() == {"t", "u"}
    path.write_text('{"event": "stolen"}\n')
    with pytest.raises(InputError, match=r"batches\.jsonl:1 is damaged"):
        BatchLedger.open(path)


@pytest.mark.parametrize(
    ("line", "said", "transient"),
    [
        ({"response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}, "slow down", True),
        (
            {"response": {"status_code": 429, "body": {"error": {"code": "insufficient_quota", "message": "pay"}}}},
            "pay",
            False,
        ),
        (
            {"response": {"status_code": 422, "body": {"detail": [{"loc": ["body", "n"], "msg": "odd"}]}}},
            "n: odd",
            False,
        ),
        ({"response": {"status_code": 200, "body": {"error": {"message": "overloaded", "code": 503}}}}, "over", True),
        ({"response": {"status_code": 500, "body": None}}, "no reason given", True),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "late", True),
        ({"response": None, "error": {"code": 7, "message": ["odd"]}}, "odd", False),
        ({"response": None, "error": None}, "no answer and no error", False),
    ],
)
def test_errors_of_a_batch_are_read_as_those_of_a_server(line: dict[str, object], said: str, transient: bool):
    (found,) = read_lines(json.dumps({"custom_id": "a", **line}).encode())
    assert said in (found.message or "")
    assert found.transient is transient


def test_a_line_that_cannot_be_read_fails_its_request_for_good(tmp_path: Path):
    whole = b'{"custom_id": "ab-1", "response": {"status_code": 200, "body": %s}}'
    for odd in (b'{"n": ' + b"9" * 5000 + b"}", b'"\\ud800"', b"[" * 300):
        (found,) = read_lines(whole % odd)
        assert (found.id, found.transient) == ("ab-1", False)
        assert "cannot be read" in str(found.message)
    assert read_lines(b'{"custom_id": "ab-1", "response": {"status_code": 4e9}}')[0].status is None
    assert read_lines(b'no line\n{"a": "\\"custom_id\\": \\"b\\""}') == []
