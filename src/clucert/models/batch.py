"""A model behind a provider's batch API: half the price, and answers within a day.

All requests of a stage are uploaded as files of JSON lines; each file becomes a batch that the provider works on in
the background. Each batch is recorded before it is created (:class:`clucert.models.batchledger.BatchLedger`), so that
a process that was killed finds its batches again instead of paying for them twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clucert.errors import BadAnswerError, ModelError, ModelUnavailableError, UsageError
from clucert.models.batchfile import ENDPOINT, BatchLimits, RequestResult, joined, read_lines, request_line, split_lines
from clucert.models.batchledger import BatchLedger, BatchRecord
from clucert.models.official_client import NotThereError
from clucert.models.openai import OpenAIModel
from clucert.protocols import LanguageModel
from clucert.types import Answer, Query

GATHERED = 100_000
"""Most requests that are held in memory at once; the others wait for the next round."""
FIRST_POLL, LONGEST_POLL = 0.2, 30.0
_TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_TOKEN = "clucert"  # noqa: S105 - the name of a field
_LISTED = 500
"""Batches of the account that are looked through for one whose id was not written down."""
_TRANSFER = 600.0
"""Seconds for sending or fetching one file."""

Done = Callable[[int, "Answer | ModelError"], None]


@dataclass(frozen=True, slots=True)
class _BatchQuery:
    """One request: its index among the queries, and the query."""

    index: int
    query: Query


class BatchedModel:
    """``model`` through its provider's batch API; a :class:`clucert.runtime.queued_models.GatheringModel`.

    The first request of a run that begins a batch is asked in the ordinary way: a wrong key, a wrong name or a field
    that the server refuses shows now and not tomorrow. Requests that failed for a passing reason, and those of a batch
    that expired, are put into another batch, at most ``max_retries`` times; those of a batch that somebody cancelled
    have failed.
    """

    def __init__(self, model: OpenAIModel, ledger: BatchLedger, limits: BatchLimits | None = None) -> None:
        self.model, self._ledger, self._limits = model, ledger, limits or BatchLimits()
        self.name, self.deterministic = model.name, model.deterministic
        self.base_url, self.server_identity = model.base_url, model.server_identity
        self.gather_size = GATHERED

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query in the ordinary way, at the ordinary price."""
        return self.model.answer(queries)

    async def identify(self, query: Query) -> Answer:
        """Answer one query in the ordinary way: the reply says which model answers."""
        return await self.model.identify(query)

    def release(self) -> None:
        """Close the connections that the running event loop has opened."""
        self.model.release()

    def close(self) -> None:
        """Close the model; batches that were begun go on."""
        self.model.close()

    async def answer_gathered(self, batch: Sequence[tuple[Query, str | None]], done: Done) -> None:
        """Answer each query; ``done(index, answer or error)`` as batches end. The second item is the cache's key.

        Raises :class:`ModelError` when the provider cannot be reached, and
        :class:`clucert.models.batchledger.LedgerError`. What was begun then, or when this is cancelled, is found again
        by the next call with these queries.
        """
        await self.model.check_model_list()
        left = {_identity(query, key, i): _BatchQuery(i, query) for i, (query, key) in enumerate(batch)}
        records = await self._known(left)
        new = set(left).difference(*(record.ids for record in records))
        retries = self.model.max_retries
        errors: dict[str, str] = {}
        for attempt in range(retries + 1):
            await self._probe(left, new, done)
            records += await self._create([(identity, left[identity].query) for identity in left if identity in new])
            new = set()
            for failed in await _all(self._collect(record, left, done) for record in records):
                errors |= failed
                new |= set(failed)
            if not new or attempt == retries:
                break
            records = []
        for identity in new:
            done(left.pop(identity).index, ModelUnavailableError(f"{self.base_url}: {errors[identity]}"))

    async def _known(self, left: dict[str, _BatchQuery]) -> list[BatchRecord]:
        """Batches that an earlier process began for some of these requests."""
        found = []
        for record in self._ledger.records.values():
            if record.ids.isdisjoint(left):
                continue
            if record.batch is None:
                await self._find(record)
            if record.batch is not None:
                found.append(record)
            else:
                self._ledger.settled(record, record.ids)
        return found

    async def _probe(self, left: dict[str, _BatchQuery], new: set[str], done: Done) -> None:
        first = next((identity for identity in left if identity in new), None)
        if first is None or self.model.has_answered:
            return
        asked = left[first]
        try:
            came: Answer | ModelError = await self.model.answer_async(asked.query)
        except BadAnswerError as error:
            came = error
        new.discard(first)
        del left[first]
        done(asked.index, came)

    async def _create(self, queries: Sequence[tuple[str, Query]]) -> list[BatchRecord]:
        lines = ((identity, request_line(identity, self.model.request(query))) for identity, query in queries)
        return [await self._begin(part) for part in split_lines(lines, self._limits)]

    async def _begin(self, part: Sequence[tuple[str, bytes]]) -> BatchRecord:
        """Upload ``part`` and create its batch, exactly once."""
        token, content = uuid.uuid4().hex, joined(part)
        record = self._ledger.intend(token, [identity for identity, _ in part])
        file = await self._call(
            lambda api: api.files.create(file=(f"{token}.jsonl", content), purpose="batch", timeout=_TRANSFER)
        )
        tries = 0

        async def create(api: Any) -> str:
            nonlocal tries
            tries += 1
            # The reply to an earlier try may have been lost: its batch must not be paid for twice.
            found = await _marked(api, record.token) if tries > 1 else None
            if found is not None:
                return found
            batch = await api.batches.create(
                input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={_TOKEN: token}
            )
            return str(batch.id)

        try:
            self._ledger.created(record, await self._call(create))
        except ModelUnavailableError:
            # So may be the reply to the last try.
            await self._find(record)
            if record.batch is None:
                raise
        return record

    async def _find(self, record: BatchRecord) -> None:
        """Look for the batch of ``record`` at the provider; one that is not there was never created."""
        found = await self._call(lambda api: _marked(api, record.token))
        if found is not None:
            self._ledger.created(record, found)

    async def _collect(self, record: BatchRecord, left: dict[str, _BatchQuery], done: Done) -> dict[str, str]:
        """Wait for ``record`` and deliver its answers; returns why requests failed that may be asked again."""
        mine = [identity for identity in left if identity in record.ids]
        try:
            batch = await self._ended(record)
            results = [
                result for name in (batch.output_file_id, batch.error_file_id) for result in await self._fetch(name)
            ]
        except NotThereError:
            # Providers delete old batches and their files.
            self._ledger.settled(record, mine)
            return dict.fromkeys(mine, "the batch is not there any more")
        came = {result.id: result for result in results}
        why, over = _ending(batch)
        again: dict[str, str] = {}
        lost: set[str] = set()
        answered: list[tuple[int, Answer]] = []
        failed: list[tuple[int, ModelError]] = []
        for identity in mine:
            asked = left[identity]
            result = came.get(identity) or RequestResult(identity, message=why, transient=not over)
            outcome = self._result(result, asked.query)
            if isinstance(outcome, str):
                again[identity] = outcome
                continue
            del left[identity]
            if isinstance(outcome, Answer):
                answered.append((asked.index, outcome))
            else:
                lost.add(identity)
                failed.append((asked.index, outcome))
        self._ledger.settled(record, lost.union(again))
        for index, answer in answered:
            done(index, answer)
        for index, error in failed:
            done(index, error)
        return again

    def _result(self, result: RequestResult, query: Query) -> Answer | ModelError | str:
        """The answer, an error that is final, or (a string) why the request is to be asked again."""
        if result.message is None:
            try:
                return self.model.read(result.body, query)
            except BadAnswerError as error:
                return error
        said = self.model.scrub(result.message)
        if result.transient or (result.status in (400, 422) and self.model.drop_refused(result.message, query)):
            return said
        status = f" answered {result.status}" if result.status else ""
        return ModelUnavailableError(f"{self.base_url}{status}: {said}")

    async def _ended(self, record: BatchRecord) -> Any:
        pause = FIRST_POLL
        while True:
            batch = await self._call(lambda api: api.batches.retrieve(record.batch))
            if batch.status in _TERMINAL:
                return batch
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LONGEST_POLL)

    async def _fetch(self, file: str | None) -> list[RequestResult]:
        if file is None:
            return []

        async def content(api: Any) -> bytes:
            return bytes((await api.files.content(file, timeout=_TRANSFER)).content)

        return read_lines(await self._call(content))

    async def _call(self, work: Callable[[Any], Any]) -> Any:
        return await self.model.with_client(work)


def batched(model: LanguageModel, ledger: BatchLedger) -> BatchedModel:
    """``model`` through its batch API. Raises :class:`UsageError` for a model that is not behind a server."""
    if not isinstance(model, OpenAIModel):
        raise UsageError(f"--batch: {model.name} has no batch API: ask it without --batch")
    return BatchedModel(model, ledger)


async def _marked(api: Any, token: str) -> str | None:
    """The id of the batch that was created with ``token``, among the newest; None where none is listed."""
    from openai import NotFoundError

    seen = 0
    try:
        async for batch in api.batches.list(limit=100):
            if (batch.metadata or {}).get(_TOKEN) == token:
                return str(batch.id)
            seen += 1
            if seen >= _LISTED:
                break
    except NotFoundError:
        pass
    return None


def _ending(batch: Any) -> tuple[str, bool]:
    """Why a request of an ended ``batch`` may lack a line, and whether that is final."""
    if batch.status == "failed":
        errors = (batch.errors and batch.errors.data) or []
        code, message = (errors[0].code, errors[0].message) if errors else (None, None)
        # Too many tokens waiting: there is room once other batches have ended.
        return f"the batch was refused: {message or code or 'no reason given'}", code != "token_limit_exceeded"
    if batch.status == "cancelled":
        return "the batch was cancelled: run the same command again to ask the rest", True
    return f"the batch {batch.status} without an answer", False


async def _all(work: Iterable[Any]) -> list[Any]:
    """The results of all; an error is raised once all of them have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _identity(query: Query, key: str | None, place: int) -> str:
    """At most 64 characters, the same in the next process."""
    if key is not None:
        return key
    return f"{hashlib.sha256(repr(query).encode()).hexdigest()[:48]}-{place}"
