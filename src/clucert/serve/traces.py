"""OpenTelemetry spans of requests, of what decided about them, and of calls of the upstream (extra ``clucert[otel]``).

Nothing that a client or a model said is in a span: names come from the table below, values are states and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from clucert.errors import MissingExtraError
from clucert.serve.http_errors import Fault

Exporter = Literal["off", "otlp", "console"]
Value = str | bool | int | float
NAMES: Mapping[str, str] = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "error": "error.type",
    "request": "clucert.request.id",
    # The semantic conventions of GenAI, which are in development.
    "operation": "gen_ai.operation.name",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    # Proposed for them (semantic-conventions-genai 427).
    "guardrail": "gen_ai.security.guardrail.name",
    "target": "gen_ai.security.target.type",
    "verdict": "gen_ai.security.verdict.type",
    "action": "gen_ai.security.action.type",
    # Our own: what is certified.
    "decision": "clucert.decision",
    "source": "clucert.source",
    "state": "clucert.state",
    "certifier": "clucert.method",
    "alpha": "clucert.alpha",
    "radius": "clucert.radius",
    "calls": "clucert.calls",
}
"""What each attribute is called; the one place to change when a convention does."""
_EVERYTHING = -1
"""A radius of any number of words."""


class Span:
    """A span that is written, or none."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **values: Value | None) -> None:
        """Set attributes, by their names here; None sets none."""
        if self._span is not None:
            self._span.set_attributes({NAMES[name]: value for name, value in values.items() if value is not None})

    def radii(self, proved: Mapping[str, Any]) -> None:
        """What is proved, by threat: a number of words, -1 for any number."""
        if self._span is not None:
            for threat, radius in proved.items():
                words = _EVERYTHING if radius.everything else radius.words
                self._span.set_attribute(f"{NAMES['radius']}.{threat}", words)

    def failed(self, kind: str) -> None:
        """Mark it as failed: by a code, never by a message, which may hold what a client wrote."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR)
            self.note(error=kind)


class Tracer:
    """Opens spans; none is written unless it has a ``provider``."""

    def __init__(self, provider: Any = None) -> None:
        self._tracer = provider and provider.get_tracer("clucert.serve")

    @contextmanager
    def request(self, route: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A request, as a child of what its ``traceparent`` names."""
        if self._tracer is None:
            yield Span()
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(headers)
        with self._open(f"POST {route}", "SERVER", parent) as span:
            span.note(method="POST", route=route)
            yield span

    @contextmanager
    def step(self, name: str, kind: Literal["INTERNAL", "CLIENT"] = "INTERNAL") -> Iterator[Span]:
        """A part of the request that is being answered. Whatever is raised marks it, by its code or kind."""
        if self._tracer is None:
            yield Span()
            return
        with self._open(name, kind, None) as span:
            try:
                yield span
            except BaseException as error:
                span.failed(error.code if isinstance(error, Fault) else type(error).__name__)
                raise

    @contextmanager
    def _open(self, name: str, kind: str, parent: Any) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind

        # Exceptions are not recorded: their messages may hold prompts.
        quiet = {"record_exception": False, "set_status_on_exception": False}
        with self._tracer.start_as_current_span(name, parent, SpanKind[kind], **quiet) as span:
            yield Span(span)


def open_tracer(exporter: Exporter, stack: ExitStack) -> Tracer:
    """A tracer that sends to ``OTEL_EXPORTER_OTLP_ENDPOINT``, or to standard error; ``stack`` flushes it.

    Raises :class:`MissingExtraError` where OpenTelemetry is not installed.
    """
    if exporter == "off":
        return Tracer()
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ImportError:
        raise MissingExtraError("OpenTelemetry", "pip install 'clucert[otel]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "clucert"}), shutdown_on_exit=False)
    stack.callback(provider.shutdown)
    if exporter == "console":
        provider.add_span_processor(SimpleSpanProcessor(_to_stderr()))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)


def _to_stderr() -> Any:
    import sys

    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter(out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n")
