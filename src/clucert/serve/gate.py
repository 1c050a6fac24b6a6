"""The gate as an endpoint: what may pass goes to the upstream as it came, what may not gets a refusal."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from clucert.errors import ModelError
from clucert.guard import guardrail
from clucert.guard.client_text import Api, ClientText, client_text
from clucert.guard.gate import Verdict
from clucert.guard.guardrail import inputs_text
from clucert.guard.model import NoiseKey
from clucert.guard.text_gate import load_gate
from clucert.methods.exact import ExactConfig
from clucert.models.http_stream import Stream
from clucert.models.load import ModelOptions, load_model
from clucert.runtime.computation import Computation
from clucert.runtime.executor import Executor
from clucert.serve.app import Routes, _json, _while_connected
from clucert.serve.engine import Reachable
from clucert.serve.fields import AllowedFields
from clucert.serve.http_errors import Fault, fault_of, invalid, no_such_model
from clucert.serve.metrics import Metrics
from clucert.serve.options import GateOptions, ServeOptions
from clucert.serve.passthrough import PATHS, Upstream, passed_on, streams
from clucert.serve.refusals import Refusal, SequenceNumbers, error_event
from clucert.serve.schemas import encode

log = logging.getLogger("clucert.serve")

GUARDRAIL = "/beta/litellm_basic_guardrail_api"
"""Where LiteLLM asks a guardrail."""
SHORT = 1_000
"""Characters of a request whose votes are prepared on the event loop."""
_OPERATIONS: Mapping[Api, str] = {
    "chat": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""What OpenTelemetry calls them."""
_CAPPED: Mapping[Api, Sequence[str]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "responses": ("max_output_tokens",),
    "completions": ("max_tokens",),
}
"""The fields that say how long an answer may be."""


@dataclass(frozen=True, slots=True)
class GatedRequest:
    """A request that was understood; its body goes on as it came."""

    api: Api
    path: str
    body: bytes
    found: ClientText
    stream: bool
    include_usage: bool
    choices: int


def read_gated(
    body: bytes, fields: Any, path: str, *, options: ServeOptions, gate: GateOptions, allowed: AllowedFields
) -> GatedRequest:
    """The request in ``body``, whose ``fields`` were read.

    Raises :class:`Fault` for one that may not go on as it is, saying what and why, and
    :class:`clucert.errors.InputError` for one whose text cannot be read.
    """
    api = PATHS[path]
    if not isinstance(fields, dict):
        raise invalid("the body is not a JSON object", "invalid_json")
    if fields.get("model") != options.model:
        raise no_such_model(options.model, fields.get("model"))
    allowed.check(fields, api)
    stream, usage = fields.get("stream"), fields.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise invalid("stream must be true or false", param="stream")
    if "max_tokens" in options.model_fields_set and api != "embeddings":
        _check_cap(fields, options.max_tokens, _CAPPED[api])
    found = client_text(fields, api, gate.read, unread_identifiers=gate.unread == "pass")
    if found.unread and gate.unread == "refuse":
        named = ", ".join(found.unread)
        raise invalid(f"the gate cannot read {named}: send text", "unsupported_content")
    n, prompts = fields.get("n"), fields.get("prompt")
    choices = (n if isinstance(n, int) else 1) * (len(prompts) if isinstance(prompts, list) else 1)
    wants_usage = isinstance(usage, dict) and usage.get("include_usage") is True
    return GatedRequest(api, path, body, found, bool(stream), wants_usage, choices)


def _check_cap(fields: Mapping[str, Any], most: int, names: Sequence[str]) -> None:
    """The answer's length is the client's to say, in one of ``names``, as the request goes on as it came."""
    given = {name: fields[name] for name in names if fields.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise invalid(f"{name} must be a number from 1 to {most}", param=name)
    if not given:
        raise invalid(f"say how long the answer may be: {names[0]} up to {most}", param=names[0])


class GateService(Reachable):
    """The gate with its classifier, and the upstream. ``start`` and ``stop`` it on its event loop."""

    def __init__(
        self, config: ExactConfig, options: GateOptions, served: ServeOptions, metrics: Metrics, stack: ExitStack
    ) -> None:
        self.options, self._metrics = options, metrics
        self._upstream, watched = None, dict[str, Any]()
        if options.upstream is not None:
            self._upstream = Upstream(
                options.upstream,
                served.model,
                timeout=served.request_timeout,
                connections=served.max_in_flight,
                ca_file=config.ca_file,
            )
            reached = ModelOptions(options.upstream, served.request_timeout, max_retries=0, ca_file=config.ca_file)
            watched["upstream"] = load_model(f"openai/{served.model}", reached)
            stack.callback(watched["upstream"].close)
        self._gate, self._backends = load_gate(config, stack, NoiseKey(options.seed).raw, options.max_gate_calls)
        self.blocks = self._gate.flag.in_short
        """From what on a text is flagged."""
        watched["gate"] = self._backends.queues[0].model if self._backends.queues else None
        super().__init__(min(5.0, served.request_timeout), **watched)

    async def start(self) -> None:
        """Open the queue to the classifier."""
        self._executor = Executor(self._backends)
        await self._executor.start()

    async def stop(self) -> None:
        """Close it; calls in flight, which nobody waits for any more, are given up."""
        if self._upstream is not None:
            await self._upstream.close()
        await self._executor.stop(now=True)

    async def check(self, found: ClientText) -> Verdict:
        """The verdict. Raises :class:`Fault` (502) when the classifier does not answer: nothing passes then."""
        began = time.perf_counter()
        try:
            short = sum(len(each.text) for each in found.said) + sum(map(len, found.identifiers)) <= SHORT
            work = Computation(lambda: self._gate.steps(found))
            verdict: Verdict = await self._executor.compute(work, short=short)
        except ModelError as error:
            log.warning("gate: %s", fault_of(error).code)
            message = "the gate's classifier does not answer, and nothing passes without it"
            raise Fault(502, "server_error", "gate_unavailable", message) from None
        self._metrics.gated(verdict, time.perf_counter() - began)
        return verdict

    async def open(self, asked: GatedRequest) -> Stream:
        """The upstream's response. Raises like :meth:`Upstream.open`, and :meth:`upstream`."""
        upstream = self.upstream()
        with self._metrics.call():
            return await upstream.open(asked.path, asked.body)

    def upstream(self) -> Upstream:
        """Whom requests are passed on to. Raises :class:`Fault` (404) where there is nobody."""
        if self._upstream is None:
            message = f"this gate has no upstream (--upstream URL --model NAME): it answers POST {GUARDRAIL} alone"
            raise invalid(message, "no_upstream", status=404)
        return self._upstream

    async def answer(self, stream: Stream) -> bytes:
        """The whole of it. Raises like :meth:`Upstream.answer`."""
        return await self.upstream().answer(stream)


class GateRoutes(Routes):
    """The handlers of the routes of a gate."""

    _engine: GateService
    paths = (*PATHS, GUARDRAIL)

    async def _respond(self, request: Request, identifier: str) -> Response:
        if request.scope["path"] == GUARDRAIL:
            _, fields = await self._received(request)
            return await _while_connected(request, self._judged(fields, identifier))
        self._engine.upstream()
        seconds = self._engine.options.stream_timeout or self._options.request_timeout
        until = asyncio.get_running_loop().time() + seconds
        asked = read_gated(
            *await self._received(request),
            request.scope["path"],
            options=self._options,
            gate=self._engine.options,
            allowed=self._allowed,
        )
        async with AsyncExitStack() as held:
            response = await _while_connected(request, self._decided(asked, identifier, held, until))
            if isinstance(response, Passed):
                response.held = held.pop_all()
        return response

    def _model(self) -> dict[str, Any]:
        self._engine.upstream()
        return super()._model()

    async def _decided(self, asked: GatedRequest, identifier: str, held: AsyncExitStack, until: float) -> Response:
        """The upstream's answer, or a refusal. What must last as long as the answer does is ``held``.

        A stream ends at the event loop's time ``until``.
        """
        await held.enter_async_context(self._admission.slot())
        verdict = await self._check(asked.found, identifier)
        headers = verdict_headers(verdict)
        if verdict.blocked:
            return self._refused(asked, verdict, headers, identifier)
        held.enter_context(self._metrics.calling.track_inprogress())
        with self._tracer.step(f"{asked.api} {self._options.model}", "CLIENT") as span:
            span.note(operation=_OPERATIONS[asked.api], model=self._options.model, provider=self._options.provider)
            stream = await self._engine.open(asked)
            span.note(status=stream.status)
        held.push_async_callback(stream.close)
        # No header of the upstream goes on: they may tell of its account and its network, or speak in our name.
        if asked.stream and streams(stream):
            events = _events(passed_on(stream, until), asked.api, identifier, self._metrics)
            return Passed(events, stream.status, headers | {"cache-control": "no-cache"}, "text/event-stream")
        return Response(await self._engine.answer(stream), stream.status, headers, "application/json")

    async def _judged(self, fields: Any, identifier: str) -> Response:
        """What LiteLLM, which asks the model itself, is told of a call."""
        if not isinstance(fields, dict):
            raise invalid("the body is not a JSON object", "invalid_json")
        kind, options = fields.get("input_type"), self._engine.options
        found = inputs_text(fields, str(kind), options.read, unread_identifiers=options.unread == "pass")
        if found.unread and options.unread == "refuse":
            return _json(guardrail.refused(f"the gate cannot read {', '.join(found.unread)}: send text"))
        if kind == "response" and not found.said:
            return _json({"action": guardrail.PASSED})
        async with self._admission.slot():
            verdict = await self._check(found, identifier)
        return _json(guardrail.answer_of(verdict), headers=verdict_headers(verdict))

    async def _check(self, found: ClientText, identifier: str) -> Verdict:
        """The verdict, as a span; the texts go to the log where prompts may."""
        with self._tracer.step("apply_guardrail clucert") as span:
            span.note(operation="apply_guardrail", guardrail="clucert", target="llm_input")
            verdict = await self._engine.check(found)
            span.note(verdict="deny" if verdict.blocked else "allow", action="block" if verdict.blocked else "allow")
            span.note(state=verdict.state, certifier=verdict.method, alpha=verdict.alpha)
            span.radii(verdict.about.proved if verdict.about else {})
        if self._options.log_prompts:
            log.info("%s %s", identifier, json.dumps([each.text for each in found.said]))
        return verdict

    def _refused(self, asked: GatedRequest, verdict: Verdict, headers: dict[str, str], identifier: str) -> Response:
        refusal = Refusal(
            text=self._engine.options.refusal,
            identifier=identifier,
            created=int(time.time()),
            model=self._options.model,
            choices=asked.choices,
            certificate={**verdict.document(), "says": verdict.in_words()},
        )
        if not asked.stream or asked.api == "embeddings":
            return Response(encode(refusal.body(asked.api)), refusal.status(asked.api), headers, "application/json")
        events = b"".join(refusal.events(asked.api, include_usage=asked.include_usage))
        return Response(events, 200, headers | {"cache-control": "no-cache"}, "text/event-stream")


class Passed(StreamingResponse):
    """The upstream's events, as they come. ``held`` is closed when they have ended, or the client has hung up."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with self.held:
            await super().__call__(scope, receive, send)


async def _events(chunks: AsyncIterator[bytes], api: Api, identifier: str, metrics: Metrics) -> AsyncIterator[bytes]:
    """``chunks``; an error event where they break off, so that nobody takes half an answer for a whole."""
    numbers = SequenceNumbers()
    try:
        async for chunk in chunks:
            yield chunk
            if api == "responses":
                numbers.saw(chunk)
    except (OSError, ModelError) as failure:
        fault = Fault(502, "server_error", "upstream_broke_off", "the upstream broke off in the middle of its answer")
        if isinstance(failure, TimeoutError):
            fault = Fault(504, "server_error", "upstream_timeout", "the upstream's answer did not end in time")
        log.warning("%s %s", identifier, fault.code)
        metrics.faults.labels(fault.code).inc()
        yield error_event(api, fault, numbers.next)


def verdict_headers(verdict: Verdict) -> dict[str, str]:
    """What is decided and certified, as response headers."""
    found = {
        "x-clucert-decision": verdict.decision,
        "x-clucert-source": "gate" if verdict.blocked else "upstream",
        "x-clucert-state": verdict.state,
        "x-clucert-certificate": json.dumps(verdict.summary(), separators=(",", ":")),
    }
    if verdict.unread:
        found["x-clucert-unread"] = ", ".join(f"{kind}={count}" for kind, count in verdict.unread.items())
    return found
