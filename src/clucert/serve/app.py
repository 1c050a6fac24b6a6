"""The routes."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from clucert.errors import CluCertError, ModelError, ModelStatusError
from clucert.guard.result import Guarded
from clucert.serve import schemas as wire
from clucert.serve.admission import AdmissionControl
from clucert.serve.fields import AllowedFields, check_size, strict_json
from clucert.serve.http_errors import Fault, fault_of, invalid, late, no_such_model
from clucert.serve.keys import KeyRing
from clucert.serve.metrics import Metrics
from clucert.serve.options import ServeOptions, local_only
from clucert.serve.origins import LocalOnly
from clucert.serve.traces import Tracer

log = logging.getLogger("clucert.serve")

CLIENT_GONE = 499
"""The client hung up before the response: the status that proxies log for it."""
DRAIN = 8 << 20
"""Bytes of a body too large that are read and thrown away, so that the client can still read the response."""

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def make_app(
    engine: Engine, options: ServeOptions, metrics: Metrics, routes_of: type[Routes], tracer: Tracer
) -> Starlette:
    """The ASGI application, with the routes of one mode."""
    routes = routes_of(engine, options, metrics, tracer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await engine.start()
        # What is loaded now stays: no search for garbage goes through it again, which took a tenth of a second. And the
        # oldest generation, with what hundreds of waiting requests hold, is searched once in thousands of requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 10)
        try:
            for name in _unready(await engine.states()):
                log.warning("the %s does not answer yet: requests get 502 until it does", name)
            yield
        finally:
            await engine.stop()

    app = Starlette(
        middleware=[Middleware(LocalOnly, options.allow_host, routes.told)] if local_only(options) else [],
        routes=[
            *(Route(path, routes.chat, methods=["POST"]) for path in routes.paths),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/health", routes.health),
            Route("/health/live", routes.live),
            Route("/metrics", routes.metrics),
        ],
        exception_handlers={HTTPException: _http_error, Fault: routes.refused},
        lifespan=lifespan,
    )
    # A redirect would name the host that the client said it had called.
    app.router.redirect_slashes = False
    return app


class Engine(Protocol):
    """What answers requests, on one event loop."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""

    async def states(self) -> Mapping[str, bool]:
        """Whether the upstream answers, and whatever else is asked."""
        ...


class Routes:
    """The handlers of the routes."""

    paths: ClassVar[tuple[str, ...]] = ("/v1/chat/completions",)
    """Where requests are answered."""

    def __init__(self, engine: Any, options: ServeOptions, metrics: Metrics, tracer: Tracer) -> None:
        self._engine, self._options, self._metrics, self._tracer = engine, options, metrics, tracer
        self._keys = KeyRing(options.keys, options.key_file)
        self._allowed = AllowedFields.of(options.provider, options.allow_field)
        self._admission = AdmissionControl(options.max_in_flight, options.max_queue)
        self._started = int(time.time())
        metrics.watch(self._admission)

    async def chat(self, request: Request) -> Response:
        """``POST`` to one of ``paths``, counted and logged whatever becomes of it."""
        identifier, began = uuid.uuid4().hex, time.perf_counter()
        outcome: dict[str, Any] = {
            "id": identifier,
            "path": request.scope["path"],
            "status": CLIENT_GONE,
            "outcome": "gone",
        }
        with self._tracer.request(request.scope["path"], request.headers) as span:
            try:
                response = await self._answer(request, identifier)
                outcome |= {"status": response.status_code, **_told(response)}
                span.note(decision=outcome["outcome"])
            except Fault as fault:
                response = _fault_response(request, fault)
                outcome |= {"status": fault.status, "outcome": fault.code}
                span.failed(fault.code)
                self._metrics.faults.labels(fault.code).inc()
            except ClientDisconnect:
                response = Response(status_code=CLIENT_GONE)
            finally:
                self._ended(outcome, time.perf_counter() - began)
                span.note(request=identifier, status=outcome["status"])
        response.headers["x-request-id"] = identifier
        return response

    def _ended(self, outcome: dict[str, Any], seconds: float) -> None:
        """Count and log a request that is over, or whose answer has begun."""
        self._metrics.requests.labels(str(outcome["status"])).inc()
        self._metrics.seconds.observe(seconds)
        fields = {**outcome, "seconds": round(seconds, 4)}
        decided = " ".join(filter(None, (outcome["outcome"], outcome.get("state"))))
        line = "%s %s %d %s %.3f s", outcome["id"], outcome["path"], outcome["status"], decided, seconds
        log.info(*line, extra={"fields": fields})

    def told(self, fault: Fault) -> None:
        """Count and log a request that was refused before, or beside, what is answered: a wrong key or host."""
        self._metrics.faults.labels(fault.code).inc()
        fields = {"status": fault.status, "outcome": fault.code}
        log.info("refused: %d %s", fault.status, fault.code, extra={"fields": fields})

    def refused(self, request: Request, fault: Exception) -> Response:
        """The response to a request for one of the other routes that ends in a fault."""
        if isinstance(fault, Fault):
            self.told(fault)
        return _fault_response(request, fault)

    async def _answer(self, request: Request, identifier: str) -> Response:
        """The response. Raises :class:`Fault` for whatever goes wrong, and ClientDisconnect."""
        self._authorize(request)
        self._admission.check()
        try:
            async with asyncio.timeout(self._options.request_timeout):
                return await self._respond(request, identifier)
        except TimeoutError:
            raise late(self._options.request_timeout) from None
        except CluCertError as error:
            raise _logged_fault(error, identifier) from None
        except (Fault, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets its answer
            _log_unexpected(error, identifier, said=self._options.log_prompts)
            raise fault_of(CluCertError()) from None

    async def _respond(self, request: Request, identifier: str) -> Response:
        options = self._options
        _, fields = await self._received(request)
        parsed = wire.read_request(
            fields,
            model=options.model,
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            allowed=self._allowed,
        )
        found = await _while_connected(request, self._guarded(parsed))
        envelope = wire.Envelope(f"chatcmpl-{identifier}", int(time.time()), options.model)
        response = _response(found, parsed, envelope)
        self._metrics.answered(found)
        if options.log_prompts:
            said = {"prompt": found.certificate.subject.text, "answer": found.text}
            log.info("%s %s", identifier, json.dumps(said))
        return response

    async def _received(self, request: Request) -> tuple[bytes, Any]:
        """The body, and the JSON that it is. Raises :class:`Fault` for what is not to be worked on."""
        options = self._options
        with self._admission.reading(options.max_body) as held:
            body = await _body(request, options, held)
        fields = strict_json(body)
        check_size(fields, options.max_characters, options.max_parts)
        return body, fields

    async def _guarded(self, parsed: wire.ParsedRequest) -> Guarded:
        async with self._admission.slot():
            with self._tracer.step("apply_guardrail clucert") as span:
                found: Guarded = await self._engine.respond(parsed.query)
                total = found.cost.total
                span.note(operation="apply_guardrail", guardrail="clucert", target="llm_input")
                span.note(decision=found.prediction or "abstained", source=found.source, model=self._options.model)
                span.note(calls=total.calls, input_tokens=total.input, output_tokens=total.output)
                span.radii({name: radius for name, radius in found.certificate.proved.items() if radius})
            return found

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: the one that is defended."""
        self._authorize(request)
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/NAME``."""
        self._authorize(request)
        found = self._model()
        if request.path_params["name"] != self._options.model:
            raise no_such_model(self._options.model)
        return _json(found)

    def _model(self) -> dict[str, Any]:
        return {"id": self._options.model, "object": "model", "created": self._started, "owned_by": "clucert"}

    async def health(self, request: Request) -> Response:
        """Whether requests can be answered: 200, or 503 while the upstream, or who decides, cannot be reached."""
        states = await self._engine.states()
        told = {name: "ready" if ready else "unreachable" for name, ready in states.items()}
        waiting = bool(_unready(states))
        return _json({"status": "waiting" if waiting else "ok", **told}, 503 if waiting else 200)

    async def live(self, request: Request) -> Response:
        """Whether this process serves, whatever the upstream does."""
        return _json({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _authorize(self, request: Request) -> None:
        if not self._keys:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        # LiteLLM sends the key of a guardrail in a header of its own.
        given = key.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not self._keys.opens(given):
            message = "this endpoint wants its own API key: Authorization: Bearer KEY"
            raise invalid(message, "invalid_api_key", status=401)


def _unready(states: Mapping[str, bool]) -> list[str]:
    return [name for name, ready in states.items() if not ready]


def _told(response: Response) -> dict[str, str]:
    """What a response says of how it was decided: for the log."""
    found = {name: response.headers.get(f"x-clucert-{name}") for name in ("state", "source")}
    outcome = response.headers.get("x-clucert-decision", "")
    return {"outcome": outcome, **{name: value for name, value in found.items() if value}}


async def _body(request: Request, options: ServeOptions, held: Callable[[int], None]) -> bytes:
    """The whole body. Raises :class:`Fault` (413, 408) for one that is too large or does not come in time.

    ``held`` is told of each part that is kept.
    """
    parts, size, limit = [], 0, options.max_body
    declared = request.headers.get("content-length", "")
    too_large = declared.isdigit() and int(declared[:20]) > limit
    try:
        async with asyncio.timeout(options.body_timeout):
            async for part in request.stream():
                size += len(part)
                too_large = too_large or size > limit
                if too_large and (size > limit + DRAIN):
                    break
                if not too_large:
                    held(len(part))
                    parts.append(part)
    except TimeoutError:
        message = f"the request did not come within {options.body_timeout:g} s"
        raise invalid(message, "request_timeout", status=408) from None
    if too_large:
        raise invalid(f"the request is larger than {limit:,} bytes", "request_too_large", status=413)
    return b"".join(parts)


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client hangs up. Raises ClientDisconnect then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        # What it holds (its slot, calls to the upstream) is given back before anything else happens.
        await asyncio.wait((working, leaving))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _logged_fault(error: CluCertError, identifier: str) -> Fault:
    """The fault of ``error``, which is logged for the operator: not in a server's words, which may repeat a prompt."""
    fault = fault_of(error)
    if fault.status >= 429:
        said = fault.message if isinstance(error, ModelError) else str(error)
        said = f"answered {error.status}" if isinstance(error, ModelStatusError) else said
        log.warning("%s %s: %s", identifier, fault.code, said)
    return fault


def _log_unexpected(error: Exception, identifier: str, *, said: bool) -> None:
    """Where it happened; its message, which may hold a prompt, only when prompts may be logged."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s unexpected %s%s\n%s", identifier, type(error).__name__, f": {error}" if said else "", frames)


def _response(found: Guarded, parsed: wire.ParsedRequest, envelope: wire.Envelope) -> Response:
    summary = found.summary()
    headers = wire.certificate_headers(found, summary)
    if not parsed.stream:
        return _json(wire.completion(found, summary, envelope), headers=headers)
    events = wire.events(found, summary, envelope, include_usage=parsed.include_usage)
    return StreamingResponse(events, headers=headers | {"cache-control": "no-cache"}, media_type="text/event-stream")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(wire.encode(value), status, headers, "application/json")


def _fault_response(_: Request, fault: Exception) -> Response:
    if not isinstance(fault, Fault):
        raise fault
    headers = fault.headers() | ({"connection": "close"} if fault.status in (408, 413) else {})
    return _json(fault.body(), fault.status, headers)


def _http_error(request: Request, error: Exception) -> Response:
    """A route that is not there, or not with this method, in OpenAI's shape."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = f"{request.method} {request.scope['path']} is not served here: see POST /v1/chat/completions"
    response = _fault_response(request, invalid(message, "not_found", status=status))
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response
