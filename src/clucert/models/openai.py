"""Any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp and others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from clucert.cache.server_identity import ServerIdentity, entry_of
from clucert.errors import (
    BadAnswerError,
    InputError,
    ModelChangedError,
    ModelError,
)
from clucert.models.chat_api import (
    CutPromptError,
    answer_in,
    answer_of,
    body_bytes,
    request_of,
    unlike,
    without_refused,
)
from clucert.models.dialect import Dialect
from clucert.models.http_client import Reach
from clucert.models.http_pool import Handler
from clucert.models.official_client import NotThereError, official_client
from clucert.models.replies import FailedReply, Reply, failure_within
from clucert.models.retries import MAX_WAIT, RetryPolicy
from clucert.models.server_address import Endpoint, local_endpoint, openai_endpoint
from clucert.models.server_errors import Asked, error_of, plain_failure
from clucert.models.server_requests import Requests
from clucert.types import Answer, Query

if TYPE_CHECKING:
    from clucert.models.load import ModelOptions

_LIST_SECONDS = 5.0
"""How long an answer waits for the server's model list at most."""
_T = TypeVar("_T")


class OpenAIModel:
    """A model behind an OpenAI-compatible chat endpoint, as a :class:`clucert.protocols.LanguageModel`.

    ``deterministic`` only where ``options`` say so and the temperature is 0: servers are not bound to repeat themselves
    even then, so votes are shared on trial at most (:mod:`clucert.core.repeats`).

    Requests run on an event loop in a thread of the model's own, ``max_connections`` at a time, so it can be called
    from any thread and from a notebook. Nothing shown or raised holds the key.
    """

    def __init__(
        self,
        name: str,
        model: str,
        endpoint: Endpoint,
        options: ModelOptions,
        *,
        max_wait: float = MAX_WAIT,
        server: Handler | None = None,
    ) -> None:
        """``server`` answers every request in place of the one at ``endpoint``; no connection is opened then."""
        self.name = name
        self.base_url = endpoint.base_url
        self.deterministic = options.deterministic and options.temperature == 0
        self._model, self._endpoint, self._options = model, endpoint, options
        self._server = server
        self._reach = Reach(
            endpoint.headers, options.timeout, options.max_connections, options.max_answer_bytes, options.ca_file
        )
        self._requests = Requests(endpoint, self._reach, self._submit, server)
        self._dialect = Dialect(model, self._answer)
        self._read_whole = 0
        self.server_identity = ServerIdentity(endpoint.base_url, accept=options.accept_model_change)
        self._model_list: Future[None] | None = None
        self._retries = RetryPolicy(options.max_retries, max_wait)
        self._loop = asyncio.new_event_loop()
        self._client: Any = None
        self._closing = Lock()
        self._pending: set[Future[Any]] = set()
        self._thread = Thread(target=self._loop.run_forever, name="clucert-openai", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"OpenAIModel({self.name!r}, base_url={self.base_url!r})"

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer each query, in order. When one fails, the rest is lost: :meth:`answer_each` loses nothing."""
        answers: dict[int, Answer] = {}
        self.answer_each(queries, answers.__setitem__)
        return [answers[i] for i in range(len(queries))]

    def answer_each(self, queries: Sequence[Query], done: Callable[[int, Answer], None]) -> None:
        """Answer each query; call ``done(index, answer)`` in the caller's thread as they arrive, in any order.

        When a query fails, those that wait are dropped, those under way may finish and are still handed to
        ``done``, and then the first :class:`clucert.errors.ModelError` is raised.
        """
        stop = asyncio.Event()
        futures = {self._submit(self._ask(query, stop=stop)): i for i, query in enumerate(queries)}
        failure: ModelError | None = None
        try:
            for future in as_completed(futures):
                try:
                    answer = future.result()
                except CancelledError:
                    continue
                except ModelError as error:
                    failure = failure or error
                    self._loop.call_soon_threadsafe(stop.set)
                else:
                    done(futures[future], answer)
        finally:
            for future in futures:
                future.cancel()
        if failure is not None:
            raise failure

    async def answer_async(self, query: Query) -> Answer:
        """Answer one query, from any event loop; at most ``max_connections`` are under way on it at once.

        The connections stay open for the next query: call :meth:`release` before the loop ends.
        """
        if self._loop.is_closed():
            raise InputError(f"{self.name} is closed: load it again")
        return await self._ask(query)

    async def identify(self, query: Query) -> Answer:
        """Answer one query: the reply says which model answers."""
        return await self.answer_async(query)

    async def reach(self, timeout: float) -> None:
        """Ask the server for its models, once, from any event loop.

        Raises :class:`ModelError` when it does not answer within ``timeout`` seconds, fails, or refuses the key. A
        server that lists no models (404) is there.
        """
        await asyncio.wrap_future(self._submit(self._reach_once(timeout)))

    async def _reach_once(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                reply = await self._requests.list_models()
        except (OSError, ModelError) as failure:
            raise self._error(failure) from None
        if reply is not None and reply.status not in (200, 404, 405):
            raise self._error(FailedReply(reply))

    @property
    def max_retries(self) -> int:
        """Tries after the first before a call counts as failed."""
        return self._retries.max_retries

    @property
    def has_answered(self) -> bool:
        """Whether the server has answered a query: the key, the model and every field were accepted."""
        return self._retries.server_answered

    def request(self, query: Query) -> dict[str, Any]:
        """The body that ``query`` is sent as."""
        return request_of(self._model, query, self._dialect.accepted)

    def read(self, body: object, query: Query) -> Answer:
        """Read a completion. Raises :class:`BadAnswerError` when it is none, and :class:`ModelChangedError`."""
        return self.server_identity.attribute(answer_of(body, query))

    def drop_refused(self, refusal: str, query: Query) -> bool:
        """Leave out the field that the message ``refusal`` complains about from now on; whether ``query`` had it."""
        accepted = without_refused(self._dialect.accepted, refusal, self.request(query))
        self._dialect.accepted = accepted or self._dialect.accepted
        return accepted is not None

    def scrub(self, message: str) -> str:
        """``message`` on one line, without the key."""
        return self._endpoint.scrub(message)

    async def with_client(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """``await work(client)`` with the official client, from any event loop; repeated as a query is.

        Raises :class:`ModelError`; :class:`NotThereError` for what the server does not know.
        """
        return await asyncio.wrap_future(self._submit(self._with_client(work)))

    async def _with_client(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        from openai import APIError

        if self._client is None:
            self._client = official_client(self._endpoint, self._reach, self._server)

        async def once() -> _T:
            try:
                return await work(self._client)
            except APIError as error:
                raise plain_failure(error) from error

        try:
            return await self._retries.call(once)
        except (OSError, FailedReply) as failure:
            if isinstance(failure, FailedReply) and failure.status == 404:
                where, said = self.base_url, self.scrub(failure.said)
                raise NotThereError(f"{where} does not know this (404: {said}): has it a batch API?") from None
            raise self._error(failure) from None

    def release(self) -> None:
        """Close the connections that the running event loop has opened."""
        self._requests.release()

    def close(self) -> None:
        """Close the connections and stop the thread; calling it twice is harmless."""
        with self._closing:
            if self._loop.is_closed():
                return
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _close(self) -> None:
        self.release()
        # Only what was submitted here: the HTTP library ends its own tasks.
        for future in list(self._pending):
            future.cancel()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*left, return_exceptions=True)
        await self._requests.close()
        if self._client is not None:
            await self._client.close()

    def _submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        if self._loop.is_closed():
            work.close()
            raise InputError(f"{self.name} is closed: load it again")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    async def _ask(self, query: Query, stop: asyncio.Event | None = None) -> Answer:
        if self._model_list is None:
            self._model_list = self._submit(self._read_model_list())
        tries = 0

        async def once() -> Answer:
            nonlocal tries
            tries += 1
            return await self._try(query)

        async with self._requests.slots:
            if stop is not None and stop.is_set():
                raise asyncio.CancelledError
            try:
                answer = await self._retries.call(once, stop)
            except (OSError, FailedReply, ModelError) as failure:
                raise self._error(failure) from None
            self._retries.server_answered = True
            return await self._attributed(answer, again=tries > 1)

    async def _attributed(self, answer: Answer, *, again: bool) -> Answer:
        """``answer`` with the model that gave it; after a failure (``again``) another one may have come up."""
        if again:
            self._model_list = self._submit(self._read_model_list())
        await self.check_model_list()
        return self.server_identity.attribute(answer)

    async def _read_model_list(self) -> None:
        """Note what the server's model list says of the model, where it has one. Raises ModelChangedError."""
        reply: Reply | None = None
        # A list missed by chance would make this server look like another one: it is asked for twice.
        for _ in range(2):
            try:
                async with asyncio.timeout(min(self._options.timeout, _LIST_SECONDS)):
                    reply = await self._requests.list_models()
            except (OSError, ModelError):
                continue
            if reply is None or reply.status < 500:
                break
        try:
            listed = from_json(reply.body) if reply is not None and reply.status == 200 else None
        except ValueError:
            return
        self.server_identity.note_listing(entry_of(listed, self._model, time.time()))

    async def check_model_list(self) -> None:
        """Wait until the model list was read, from any event loop. Raises :class:`ModelChangedError`."""
        if self._model_list is None:
            self._model_list = self._submit(self._read_model_list())
        if self._model_list.done() and self._model_list.exception() is None:
            return
        try:
            # Shielded: one caller may be cancelled while others wait for the same list.
            await asyncio.shield(asyncio.wrap_future(self._model_list))
        except ModelChangedError:
            # Raised once: a caller that goes on accepts the new model.
            self._model_list = None
            raise

    async def _try(self, query: Query) -> Answer:
        """One request, repeated at once without a field that the server turns out not to take."""
        accepted = self._dialect.accepted
        body = request_of(self._model, query, accepted)
        try:
            return await self._answer(query, body)
        except FailedReply as failure:
            if not failure.refuses or without_refused(accepted, failure.about, body) is None:
                raise
            # In one place for all event loops, and whoever waits for it may be cancelled.
            learning = asyncio.wrap_future(self._submit(self._dialect.learn(query, accepted)))
            if not await asyncio.shield(learning):
                raise
        return await self._answer(query, request_of(self._model, query, self._dialect.accepted))

    async def _answer(self, query: Query, body: dict[str, Any]) -> Answer:
        reply = await self._post(body)
        try:
            answer = answer_in(reply.body, query, self._read_whole)
        except CutPromptError as cut:
            return await self._unless_cut(query, reply, cut)
        except BadAnswerError:
            if failed := failure_within(reply):
                raise failed from None
            raise
        if answer.finish_reason == "error" and (failed := failure_within(reply)) and failed.passing:
            raise failed
        self._read_whole = max(self._read_whole, 0 if answer.usage.estimated else answer.usage.input)
        return answer

    async def _unless_cut(self, query: Query, reply: Reply, cut: CutPromptError) -> Answer:
        """The answer in ``reply`` where its server counts new tokens only, as another prompt as long as this one shows.

        Raises ``cut`` where it was cut there as well.
        """
        other, enough = unlike(query), cut.words + 1
        body = request_of(self._model, replace(other, max_tokens=1), self._dialect.accepted)
        try:
            usage = answer_in((await self._post(body)).body, other, enough).usage
        except (BadAnswerError, FailedReply) as failure:
            if isinstance(failure, FailedReply) and failure.passing:
                raise
            raise cut from None
        if usage.estimated or usage.input < enough:
            raise cut
        self._read_whole = max(self._read_whole, usage.input)
        answer = answer_in(reply.body, query, enough)
        return replace(answer, usage=answer.usage + usage)

    async def _post(self, body: dict[str, Any]) -> Reply:
        return await self._requests.post(body_bytes(body), settled=self.has_answered)

    def _error(self, failure: Exception) -> ModelError:
        asked = Asked(self.base_url, self._model, _key_variable(self.name), self._options.timeout, self._endpoint.scrub)
        return error_of(failure, asked, answered=self.has_answered)


def load_openai(model: str, options: ModelOptions) -> OpenAIModel:
    """``openai/<model>``: OpenAI, or whatever ``--base-url`` or ``OPENAI_BASE_URL`` names."""
    return OpenAIModel(f"openai/{model}", model, openai_endpoint(options.base_url, os.environ, model), options)


def load_vllm(model: str, options: ModelOptions) -> OpenAIModel:
    """``vllm/<model>``: a vLLM server, by default on this machine; ``VLLM_API_KEY`` if it wants a key."""
    endpoint = local_endpoint("http://localhost:8000/v1", "VLLM_API_KEY", options.base_url, os.environ, model)
    return OpenAIModel(f"vllm/{model}", model, endpoint, options)


def load_ollama(model: str, options: ModelOptions) -> OpenAIModel:
    """``ollama/<model>``: an Ollama server, by default on this machine; ``OLLAMA_API_KEY`` if it wants a key."""
    endpoint = local_endpoint("http://localhost:11434/v1", "OLLAMA_API_KEY", options.base_url, os.environ, model)
    return OpenAIModel(f"ollama/{model}", model, endpoint, options)


def _key_variable(name: str) -> str:
    return f"{name.partition('/')[0].upper()}_API_KEY"
