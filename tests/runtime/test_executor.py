"""Many inputs at once: the same certificates, nothing asked twice, full batches, failures of their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from small_world import (
    TEXTS,
    BatchModel,
    CompanyEncoder,
    ServerModel,
    SmallTask,
    say,
    small_smoother,
)
from tests.oracle import drive, prompted

from clucert import certificate_json as document
from clucert.cache import open_cache
from clucert.core.smoothing import side_by_side
from clucert.errors import (
    AuthenticationError,
    BadAnswerError,
    CacheError,
    InputError,
    ModelUnavailableError,
    UsageError,
)
from clucert.runtime.budget import Budget, Limits, check_price
from clucert.runtime.callable_classifiers import ThreadedClassifier
from clucert.runtime.classifiers import Ensemble, PromptedClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.executor import Executor, Job, JobOutcome
from clucert.runtime.model_queue import ModelQueue
from clucert.runtime.queue_entries import Asked
from clucert.runtime.queued_models import QueueOptions
from clucert.types import Answer, Classify, Encode, Generate, Predictions, Query, Usage

METHODS = {
    "clucert": {},
    "ranmask": {"recovery": "mask", "clustering": "none", "threshold": None},
    "selfdenoise": {"recovery": "llm", "clustering": "none", "threshold": None},
    "refined": {"refine": "llm", "refine_length": 8},
    "refined by embedding": {"refine": "embedding", "refine_length": 8},
}


def jobs(smoother, texts: Iterable[str] = TEXTS) -> list[Job[str]]:
    return [Job(f"row{i}", lambda t=t, i=i: smoother.steps(t, f"row{i}")) for i, t in enumerate(texts)]


def run(executor: Executor, work: Iterable[Job[str]]) -> dict[str, JobOutcome[str]]:
    outcomes: dict[str, JobOutcome[str]] = {}

    async def done(outcome: JobOutcome[str]) -> None:
        outcomes[outcome.tag] = outcome

    asyncio.run(executor.run(work, done))
    return outcomes


def backends(model, *, helper=True, encoder=None, task=None, **queue) -> Backends:
    line = ModelQueue(model, **queue)
    classifier = PromptedClassifier(task or SmallTask(), line)
    return Backends(classifier, [line], line if helper else None, encoder or CompanyEncoder())


def documents(outcomes: dict[str, JobOutcome[str]]) -> dict[str, dict]:
    return {tag: document.write(outcome.result) for tag, outcome in outcomes.items()}


@pytest.mark.parametrize("method", METHODS)
def test_the_certificates_are_those_of_the_plain_driver_whatever_the_concurrency(method):
    smoother = small_smoother(**METHODS[method])
    model = BatchModel()
    plain = {}
    for job in jobs(smoother):
        plain[job.tag] = document.write(drive(job.steps(), prompted(model, SmallTask()), model, CompanyEncoder()))
    assert len({str(d["selection"]) for d in plain.values()}) > 3, "the texts must not all say the same"
    for in_flight in (1, 4, 64):
        assert documents(run(Executor(backends(BatchModel()), in_flight=in_flight), jobs(smoother))) == plain
        assert documents(run(Executor(backends(ServerModel()), in_flight=in_flight), jobs(smoother))) == plain


def test_an_input_costs_the_same_whatever_the_concurrency_and_whatever_is_cached(tmp_path: Path):
    smoother = small_smoother(refine="llm", refine_length=8)
    alone = run(Executor(backends(BatchModel()), in_flight=1), jobs(smoother))
    with open_cache(tmp_path / "a.sqlite") as cache:
        first = run(Executor(backends(BatchModel(), cache=cache), in_flight=8), jobs(smoother))
        model = BatchModel()
        second = run(Executor(backends(model, cache=cache), in_flight=8), jobs(smoother))
    assert not model.batches
    for tag, outcome in alone.items():
        assert outcome.cost.samples > 0
        for other in (first[tag], second[tag]):
            assert other.cost.total == outcome.cost.total
            assert (other.cost.classify, other.cost.samples) == (outcome.cost.classify, outcome.cost.samples)
        assert second[tag].reused == second[tag].cost.total


def test_what_was_paid_is_what_the_model_was_asked():
    model = ServerModel()
    budget = Budget()
    outcomes = run(Executor(backends(model, budget=budget), in_flight=8), jobs(small_smoother(), [*TEXTS, *TEXTS]))
    paid = sum(o.cost.total.calls - o.reused.calls for o in outcomes.values())
    assert paid == budget.spent.calls == model.asked.total()


@pytest.mark.parametrize("make", [BatchModel, ServerModel])
def test_what_is_in_flight_is_joined_not_asked_again(make):
    model = make()
    line = ModelQueue(model)
    queries = [line.key(SmallTask().query(text)) for text in TEXTS]

    async def main() -> list[Asked]:
        line.start()
        asked = await asyncio.gather(*(line.ask([*queries, *queries]) for _ in range(5)))
        await line.stop()
        return asked

    first, *others = asyncio.run(main())
    assert model.asked == Counter(query for query, _ in queries)
    assert first.answers == [say(query) for query, _ in queries] * 2
    assert (first.usage.calls, first.reused) == (len(TEXTS), Usage())
    for other in others:
        assert (other.answers, other.usage, other.reused, other.seconds) == (first.answers, first.usage, first.usage, 0)


@pytest.mark.parametrize("make", [BatchModel, ServerModel])
def test_no_query_is_asked_twice_in_a_run_with_a_cache(make, tmp_path: Path):
    # One text under one name: all inputs ask the same questions at about the same time.
    smoother = small_smoother()
    twins = [Job(str(i), lambda: smoother.steps(TEXTS[0], "same")) for i in range(6)]
    model = make()
    with open_cache(tmp_path / "a.sqlite") as cache:
        outcomes = run(Executor(backends(model, cache=cache), in_flight=6), twins)
    assert set(model.asked.values()) == {1}
    assert len({str(document.write(o.result)) for o in outcomes.values()}) == 1


def test_draws_of_a_model_that_samples_are_asked_one_by_one(tmp_path: Path):
    task = SmallTask(temperature=1.0)
    model = ServerModel(deterministic=False)
    smoother = small_smoother(recovery="mask", clustering="none", threshold=None)
    with open_cache(tmp_path / "a.sqlite") as cache:
        one = run(Executor(backends(model, task=task, cache=cache), in_flight=4), jobs(smoother, TEXTS[:3]))
        before = model.asked.total()
        two = run(Executor(backends(model, task=task, cache=cache), in_flight=1), jobs(smoother, TEXTS[:3]))
    assert documents(one) == documents(two)
    assert model.asked.total() == before
    assert all(o.cost.samples == o.cost.classify.calls for o in one.values() if o.result.certificate.prediction is None)


def test_batches_of_a_local_model_are_filled_by_many_inputs():
    smoother = small_smoother(recovery="mask", clustering="none", threshold=None)
    alone, together = BatchModel(batch_size=64), BatchModel(batch_size=64, seconds=0.05)
    run(Executor(backends(alone), in_flight=1), jobs(smoother))
    run(Executor(backends(together), in_flight=16), jobs(smoother))
    assert max(map(len, together.batches)) == 64
    assert len(together.batches) < len(alone.batches)
    assert len(together.threads) == 1


def test_a_batch_shares_its_prefix():
    model = BatchModel(batch_size=256)
    run(Executor(backends(model), in_flight=16), jobs(small_smoother(refine="llm", refine_length=8)))
    assert {len({query.prefix for query in batch}) for batch in model.batches} == {1}
    assert len({batch[0].prefix for batch in model.batches}) == 2


@pytest.mark.parametrize("connections", [1, 7, 64])
def test_a_server_is_sent_as_many_calls_as_it_may_be_and_no_more(connections: int):
    model = ServerModel()
    run(Executor(backends(model, options=QueueOptions(connections=connections)), in_flight=8), jobs(small_smoother()))
    assert model.most == connections


def test_the_encoder_gets_each_request_as_it_is():
    seen = CompanyEncoder()
    smoother = small_smoother(refine="embedding", refine_length=8)
    run(Executor(backends(BatchModel(), encoder=seen), in_flight=16), jobs(smoother))
    plain = CompanyEncoder()
    for job in jobs(smoother):
        drive(job.steps(), prompted(BatchModel(), SmallTask()), None, plain)
    assert seen.calls == plain.calls


def test_inputs_are_taken_up_only_when_one_is_done():
    begun, ended, most = 0, 0, 0
    smoother = small_smoother()

    def lazily():
        nonlocal begun
        for job in jobs(smoother, TEXTS * 2):
            begun += 1
            yield job

    async def done(_outcome: JobOutcome[str]) -> None:
        nonlocal ended, most
        most = max(most, begun - ended)
        ended += 1
        await asyncio.sleep(0.001)

    asyncio.run(Executor(backends(BatchModel()), in_flight=3).run(lazily(), done))
    assert ended == 2 * len(TEXTS)
    assert most <= 4


AWAY = ModelUnavailableError("the model is away")


@dataclass
class Poisoned(BatchModel):
    """Refuses whatever batch holds one of the poisoned words."""

    error: Exception = AWAY
    poison: Callable[[str], bool] = lambda text: "nine" in text

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        if any(self.poison(query.messages[-1].content) for query in queries):
            raise self.error
        return super().answer(queries)


@dataclass
class PoisonedServer(ServerModel):
    error: Exception = AWAY

    def reply(self, query: Query) -> Answer:
        if "nine" in query.messages[-1].content:
            raise self.error
        return say(query)


@pytest.mark.parametrize("make", [Poisoned, PoisonedServer])
def test_a_call_that_fails_fails_its_own_input_and_no_other(make):
    smoother = small_smoother(recovery="synonym", clustering="none", threshold=None)
    outcomes = run(Executor(backends(make()), in_flight=8), jobs(smoother))
    well = documents(run(Executor(backends(BatchModel()), in_flight=1), jobs(smoother)))
    failed = {tag for tag, outcome in outcomes.items() if outcome.error}
    assert failed == {f"row{i}" for i, text in enumerate(TEXTS) if "nine" in text}
    for tag, outcome in outcomes.items():
        if tag in failed:
            assert isinstance(outcome.error, ModelUnavailableError)
            assert outcome.result is None
        else:
            assert document.write(outcome.result) == well[tag]


@pytest.mark.parametrize("make", [Poisoned, PoisonedServer])
@pytest.mark.parametrize("error", [AuthenticationError("no key"), RuntimeError("a bug"), UsageError("wrong")])
def test_an_error_that_no_input_can_escape_stops_the_run(make, error: Exception):
    with pytest.raises(type(error), match=str(error)):
        run(Executor(backends(make(error=error)), in_flight=8), jobs(small_smoother()))


def test_a_text_that_cannot_be_certified_is_an_outcome():
    outcomes = run(Executor(backends(BatchModel()), in_flight=2), jobs(small_smoother(), [TEXTS[0], "...", TEXTS[1]]))
    assert isinstance(outcomes["row1"].error, InputError)
    assert outcomes["row0"].result
    assert outcomes["row2"].result


def test_too_few_answers_are_never_taken_for_votes():
    class Short(BatchModel):
        def answer(self, queries: Sequence[Query]) -> list[Answer]:
            return super().answer(queries)[1:]

    outcomes = run(Executor(backends(Short()), in_flight=2), jobs(small_smoother(), TEXTS[:2]))
    assert {type(o.error) for o in outcomes.values()} == {BadAnswerError}


def test_a_missing_helper_or_encoder_is_a_usage_error():
    for smoother, who in (
        (small_smoother(refine="llm", refine_length=8), "helper"),
        (small_smoother(), "encoder"),
    ):
        bare = replace(backends(BatchModel(), helper=False), encoder=None)
        with pytest.raises(UsageError, match=who):
            run(Executor(bare), jobs(smoother))


def test_what_is_recorded_is_stored_first_and_a_cache_that_fails_stops_the_run(tmp_path: Path):
    cache = open_cache(tmp_path / "a.sqlite")
    whole = cache.put_many
    puts = 0

    def put_many(answers, *, model):
        nonlocal puts
        puts += 1
        if puts > 3:
            raise CacheError("no space left")
        whole(answers, model=model)

    cache.put_many = put_many
    recorded: list[JobOutcome[str]] = []

    async def done(outcome: JobOutcome[str]) -> None:
        recorded.append(outcome)

    work = Executor(backends(ServerModel(), cache=cache), in_flight=4)
    with pytest.raises(CacheError, match="no space"):
        asyncio.run(work.run(jobs(small_smoother()), done))
    assert cache.stats().entries >= sum(o.cost.total.calls - o.reused.calls for o in recorded)
    cache.close()


def test_an_error_of_the_record_keeper_stops_the_run():
    async def done(_outcome: JobOutcome[str]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(Executor(backends(ServerModel()), in_flight=4).run(jobs(small_smoother()), done))


@pytest.mark.parametrize("make", [BatchModel, ServerModel])
def test_a_cap_on_calls_is_kept_exactly_and_goes_on_where_it_stopped(make, tmp_path: Path):
    smoother = small_smoother()
    whole = documents(run(Executor(backends(make()), in_flight=1), jobs(smoother)))
    with open_cache(tmp_path / "a.sqlite") as cache:
        done: dict[str, dict] = {}
        total, rounds = 0, 0
        while len(done) < len(whole):
            model = make()
            budget = Budget(Limits(requests=200))
            executor = Executor(backends(model, cache=cache, budget=budget), in_flight=5)
            left = [job for job in jobs(smoother) if job.tag not in done]
            outcomes = run(executor, left)
            done |= documents(outcomes)
            total += model.asked.total()
            rounds += 1
            if len(done) < len(whole):
                assert model.asked.total() == budget.spent.calls == 200
                assert budget.reached == "--max-requests 200"
                assert executor.activity.abandoned
                assert cache.stats().entries == total
        assert rounds > 2
        assert done == whole
        assert total == cache.stats().entries


def test_a_cap_on_tokens_holds():
    budget = Budget(Limits(tokens=4_000))
    run(Executor(backends(ServerModel(), budget=budget), in_flight=8), jobs(small_smoother()))
    assert 2_000 < budget.spent.input + budget.spent.output <= 4_000
    assert budget.reached == "--max-tokens 4,000"


def test_a_cap_on_money_holds_and_needs_a_price():
    def price(usage: Usage) -> float:
        return (usage.input + 4 * usage.output) * 1e-4

    options = QueueOptions(price=price)
    budget = Budget(Limits(cost=0.5))
    run(Executor(backends(ServerModel(), budget=budget, options=options), in_flight=8), jobs(small_smoother()))
    assert 0.3 < budget.cost <= 0.5
    assert budget.reached == "--max-cost 0.5"
    assert budget.cost == pytest.approx(price(budget.spent))
    check_price(Limits(cost=1), price, "m")
    with pytest.raises(UsageError, match="price of m is not known"):
        check_price(Limits(cost=1), None, "m")
    with pytest.raises(UsageError, match="price of m is not known"):
        check_price(Limits(cost=1), lambda _usage: None, "m")


def test_draining_finishes_what_is_in_flight_and_starts_nothing():
    executor = Executor(backends(ServerModel()), in_flight=4)
    ended: list[JobOutcome[str]] = []

    async def done(outcome: JobOutcome[str]) -> None:
        ended.append(outcome)
        executor.drain()

    asyncio.run(executor.run(jobs(small_smoother()), done))
    assert 1 <= len(ended) <= 4
    assert all(outcome.result for outcome in ended)


@pytest.mark.parametrize("make", [BatchModel, ServerModel])
def test_cancelling_gives_up_and_leaves_no_task_behind(make):
    async def main() -> set:
        executor = Executor(backends(make()), in_flight=4)

        async def done(_outcome: JobOutcome[str]) -> None:
            task.cancel()

        task = asyncio.create_task(executor.run(jobs(small_smoother()), done))
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()


def test_the_time_of_the_model_is_divided_among_the_inputs():
    import time

    class Slow(BatchModel):
        busy = 0.0

        def answer(self, queries: Sequence[Query]) -> list[Answer]:
            began = time.perf_counter()
            time.sleep(0.002)
            answers = super().answer(queries)
            self.busy += time.perf_counter() - began
            return answers

    model = Slow()
    line = ModelQueue(model)
    smoother = small_smoother(recovery="mask", clustering="none", threshold=None)
    asked = []
    original = line.ask

    async def ask(batch):
        asked.append(await original(batch))
        return asked[-1]

    line.ask = ask
    run(Executor(Backends(PromptedClassifier(SmallTask(), line), [line]), in_flight=8), jobs(smoother))
    # Shares are taken outside the thread, so they sum to a little more than the time inside it.
    assert sum(a.seconds for a in asked) >= model.busy


def test_an_ensemble_votes_and_any_classifier_serves():
    smoother = small_smoother()
    models = [BatchModel(name=f"test/{i}") for i in range(3)]
    lines = [ModelQueue(model) for model in models]
    classifiers = [PromptedClassifier(SmallTask(), line) for line in lines]
    together = Backends(Ensemble(classifiers), lines, None, CompanyEncoder())
    single = documents(run(Executor(backends(BatchModel())), jobs(smoother)))
    outcomes = run(Executor(together), jobs(smoother))
    # Members that agree say what each says, at three times the cost.
    assert documents(outcomes) == single
    assert all(model.asked == models[0].asked for model in models)
    plain = Backends(ThreadedClassifier(Plain(), SmallTask().labels), [], None, CompanyEncoder())
    assert documents(run(Executor(plain), jobs(smoother))) == single


class Plain:
    """A classifier that blocks."""

    name, deterministic, labels = "plain", True, SmallTask().labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        return Predictions(tuple(prompted(BatchModel(), SmallTask())(texts, first_draw)))


def test_computations_side_by_side_end_as_each_would_alone():
    smoother = small_smoother()
    alone = documents(run(Executor(backends(BatchModel())), jobs(smoother)))
    together = Job("all", lambda: side_by_side([job.steps for job in jobs(smoother)]))
    outcome = run(Executor(backends(BatchModel())), [together])["all"]
    tags = [job.tag for job in jobs(smoother)]
    assert dict(zip(tags, map(document.write, outcome.result), strict=True)) == alone
    model = ServerModel()
    assert run(Executor(backends(model)), [together])["all"].cost.samples == outcome.cost.samples


def test_one_failure_side_by_side_ends_them_all_and_is_raised():
    def fails():
        yield Classify([fail_word], "predict")

    fail_word = TEXTS[0]

    class Broken(BatchModel):
        def answer(self, queries: Sequence[Query]) -> list[Answer]:
            raise BadAnswerError("no")

    outcome = run(Executor(backends(Broken())), [Job("x", lambda: side_by_side([fails, fails]))])["x"]
    assert isinstance(outcome.error, BadAnswerError)


@pytest.mark.parametrize(
    "request_", [Encode(["x"], "predict"), Generate([Query(())], "predict"), Classify(["x"], "predict")]
)
def test_what_nobody_can_answer_is_a_usage_error(request_):
    def steps():
        yield request_

    with pytest.raises(UsageError, match="give"):
        run(Executor(Backends()), [Job("x", steps)])
