"""Any OpenAI-compatible server, through the official client: OpenAI, vLLM, Ollama, llama.cpp and others."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from clucert.cache.server_identity import ServerIdentity, entry_of
from clucert.errors import (
    AuthenticationError,
    InputError,
    ModelChangedError,
    ModelError,
    ModelStatusError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from clucert.models.chat_api import AcceptedFields, answer_in, answer_of, body_bytes, request_of, without_refused
from clucert.models.http_pool import FunctionTransport, Handler, KeepAlive, Transport, behind_proxy
from clucert.models.official_client import NotThereError, error_types, message_of, official_client, official_error
from clucert.models.retries import RetryPolicy, out_of_quota, retry_after, was_refused
from clucert.models.server_address import Endpoint, local_endpoint, openai_endpoint
from clucert.types import Answer, Query

if TYPE_CHECKING:
    from clucert.models.load import ModelOptions

_LIST_SECONDS = 5.0
"""How long an answer waits for the server's model list at most."""
MAX_WAIT = 30.0
"""Longest wait between two tries, in seconds, whatever ``Retry-After`` says."""
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
        self._accepted = AcceptedFields()
        self.server_identity = ServerIdentity(endpoint.base_url, accept=options.accept_model_change)
        self._model_list: Future[None] | None = None
        self._retries = RetryPolicy(options.max_retries, max_wait)
        self._loop = asyncio.new_event_loop()
        self._client = official_client(endpoint, options, server)
        self._refusals, self._failures = error_types()
        self._connections: dict[asyncio.AbstractEventLoop, _Connections] = {}
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
        connections = self._connections_here()
        if connections.transport is not None:
            return await self._ask(query, connections)
        # The official client belongs to one loop.
        return await asyncio.wrap_future(self._submit(self._ask(query)))

    async def identify(self, query: Query) -> Answer:
        """Answer one query: the reply says which model answers."""
        return await self.answer_async(query)

    async def reach(self, timeout: float) -> None:
        """Ask the server for its models, once, from any event loop.

        Raises :class:`ModelError` when it does not answer within ``timeout`` seconds, fails, or refuses the key. A
        server that lists no models (404) is there.
        """
        await asyncio.wrap_future(self._submit(self._reach(timeout)))

    async def _reach(self, timeout: float) -> None:
        from openai import APIError, APIStatusError

        try:
            await self._client.with_options(timeout=timeout).models.with_raw_response.list()
        except APIError as error:
            if not (isinstance(error, APIStatusError) and error.status_code in (404, 405)):
                raise self._error(error) from None

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
        return request_of(self._model, query, self._accepted)

    def read(self, body: object, query: Query) -> Answer:
        """Read a completion. Raises :class:`BadAnswerError` when it is none, and :class:`ModelChangedError`."""
        return self.server_identity.attribute(answer_of(body, query))

    def drop_refused(self, refusal: str, query: Query) -> bool:
        """Leave out the field that the message ``refusal`` complains about from now on; whether ``query`` had it."""
        accepted = without_refused(self._accepted, refusal.casefold(), self.request(query))
        self._accepted = accepted or self._accepted
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
        from openai import APIError, NotFoundError

        try:
            return await self._retries.call(lambda: work(self._client))
        except NotFoundError as error:
            where, said = self.base_url, self.scrub(message_of(error))
            raise NotThereError(f"{where} does not know this (404: {said}): has it a batch API?") from None
        except APIError as error:
            raise self._error(error) from None

    def release(self) -> None:
        """Close the connections that the running event loop has opened."""
        connections = self._connections.pop(asyncio.get_running_loop(), None)
        if connections is not None and connections.transport is not None:
            connections.transport.close()

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
        await self._client.close()

    def _connections_here(self) -> _Connections:
        loop = asyncio.get_running_loop()
        connections = self._connections.get(loop)
        if connections is None:
            # Drop those of loops that ended without a release.
            self._connections = {other: kept for other, kept in self._connections.items() if not other.is_closed()}
            connections = self._connections[loop] = _Connections(
                asyncio.Semaphore(self._options.max_connections),
                _open_transport(self._endpoint, self._options, self._server),
            )
        return connections

    def _submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        if self._loop.is_closed():
            work.close()
            raise InputError(f"{self.name} is closed: load it again")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    async def _ask(
        self, query: Query, connections: _Connections | None = None, stop: asyncio.Event | None = None
    ) -> Answer:
        connections = connections or self._connections_here()
        if self._model_list is None:
            self._model_list = self._submit(self._read_model_list())
        tries = 0

        async def once() -> Answer:
            nonlocal tries
            tries += 1
            return await self._try(query, connections.transport)

        async with connections.slots:
            if stop is not None and stop.is_set():
                raise asyncio.CancelledError
            try:
                answer = await self._retries.call(once, stop)
            except self._failures as failure:
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
        from openai import APIError

        # A list missed by chance would make this server look like another one: it is asked for twice.
        client = self._client.with_options(timeout=min(self._options.timeout, _LIST_SECONDS), max_retries=1)
        try:
            reply = await client.models.with_raw_response.list()
            entry = entry_of(from_json(reply.http_response.content), self._model, time.time())
        except (APIError, ValueError):
            return
        self.server_identity.note_listing(entry)

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

    async def _try(self, query: Query, transport: Transport | None) -> Answer:
        """One request, repeated at once without a field that the server refuses."""
        while True:
            body = request_of(self._model, query, self._accepted)
            try:
                content = await self._post(transport, body)
                return answer_in(content, query)
            except self._refusals as error:
                accepted = without_refused(self._accepted, str(error).casefold(), body)
                if accepted is None:
                    raise
                self._accepted = accepted

    async def _post(self, transport: Transport | None, body: dict[str, Any]) -> bytes:
        """The body of the reply; raises what the official client raises, whoever sends it."""
        if transport is None:
            return await self._post_official(body)
        try:
            reply = await transport.post(body_bytes(body))
        except OSError as error:
            raise official_error(self._client, error) from error
        if reply.status == 200:
            return reply.body
        if 300 <= reply.status < 400:
            # Only the official client follows redirects.
            return await asyncio.wrap_future(self._submit(self._post_official(body)))
        raise official_error(self._client, reply)

    async def _post_official(self, body: dict[str, Any]) -> bytes:
        raw = await self._client.chat.completions.with_raw_response.create(**body)
        return bytes(raw.http_response.content)

    def _error(self, failure: Exception) -> ModelError:
        from openai import APIStatusError, APITimeoutError

        if isinstance(failure, ModelError):
            return type(failure)(self._endpoint.scrub(str(failure)))
        if isinstance(failure, APIStatusError):
            return self._status_error(failure)
        where = self.base_url
        if isinstance(failure, APITimeoutError):
            return ModelTimeoutError(f"{where} did not answer within {self._options.timeout:g} s: raise --timeout")
        why = "refused the connection" if was_refused(failure) else "closed the connection"
        return ModelUnavailableError(f"{where} {why}: is the server running, and --base-url right?")

    def _status_error(self, failure: Any) -> ModelError:
        status, where = failure.status_code, self.base_url
        said = self._endpoint.scrub(message_of(failure))
        if out_of_quota(failure):
            return ModelStatusError(f"{where}: the account's quota is used up ({status}): top it up", status, said=said)
        if status in (401, 403):
            return AuthenticationError(f"{where} refused the key ({status}): check {_key_variable(self.name)}")
        if status == 404:
            return ModelStatusError(f"{where} has no model {self._model!r} (404): {said}", status, said=said)
        message = f"{where} answered {status}: {said}"
        return ModelStatusError(message, status, said=said, retry_after=retry_after(failure))


def load_openai(model: str, options: ModelOptions) -> OpenAIModel:
    """``openai/<model>``: OpenAI, or whatever ``--base-url`` or ``OPENAI_BASE_URL`` names."""
    return OpenAIModel(f"openai/{model}", model, openai_endpoint(options.base_url, os.environ), options)


def load_vllm(model: str, options: ModelOptions) -> OpenAIModel:
    """``vllm/<model>``: a vLLM server, by default on this machine; ``VLLM_API_KEY`` if it wants a key."""
    endpoint = local_endpoint("http://localhost:8000/v1", "VLLM_API_KEY", options.base_url, os.environ)
    return OpenAIModel(f"vllm/{model}", model, endpoint, options)


def load_ollama(model: str, options: ModelOptions) -> OpenAIModel:
    """``ollama/<model>``: an Ollama server, by default on this machine; ``OLLAMA_API_KEY`` if it wants a key."""
    endpoint = local_endpoint("http://localhost:11434/v1", "OLLAMA_API_KEY", options.base_url, os.environ)
    return OpenAIModel(f"ollama/{model}", model, endpoint, options)


@dataclass(frozen=True, slots=True)
class _Connections:
    """What belongs to one event loop."""

    slots: asyncio.Semaphore
    transport: Transport | None
    """None behind a proxy, which only the official client knows how to use."""


def _open_transport(endpoint: Endpoint, options: ModelOptions, server: Handler | None) -> Transport | None:
    url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
    if server is not None:
        return FunctionTransport(server, url)
    if behind_proxy(url):
        return None
    headers = {"Authorization": endpoint.authorization, "User-Agent": "clucert"}
    return KeepAlive(url, headers, timeout=options.timeout, connect_timeout=min(options.timeout, 10.0))


def _key_variable(name: str) -> str:
    return f"{name.partition('/')[0].upper()}_API_KEY"
