"""Prometheus metrics. No label is taken from what a client sent."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clucert.errors import ModelError
from clucert.guard.gate import Verdict
from clucert.guard.result import Guarded
from clucert.runtime.queued_models import AsyncModel
from clucert.serve.admission import AdmissionControl
from clucert.serve.http_errors import fault_of
from clucert.types import Answer, Query

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_WORDS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 50)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "clucert_requests",
            "Chat requests by HTTP status; 499 is a client that left.",
            ["status"],
            registry=registry,
        )
        self.faults = Counter("clucert_faults", "Requests that got an error, by its code.", ["code"], registry=registry)
        self.seconds = Histogram(
            "clucert_request_seconds", "Time to an answer, the queue included.", buckets=_SECONDS, registry=registry
        )
        self.decisions = Counter(
            "clucert_decisions", "Votes, and whose answer was handed out.", ["decision", "source"], registry=registry
        )
        self.radius = Histogram("clucert_radius_words", "Certified radii.", ["kind"], buckets=_WORDS, registry=registry)
        self.nothing = Counter(
            "clucert_nothing_to_attack", "Texts without a word that could change.", ["kind"], registry=registry
        )
        self.gate = Counter(
            "clucert_gate_decisions",
            "Requests that were blocked or passed, by state.",
            ["decision", "state"],
            registry=registry,
        )
        self.gate_seconds = Histogram(
            "clucert_gate_seconds", "Time of a gate's decision.", buckets=_SECONDS, registry=registry
        )
        self.unread = Counter(
            "clucert_gate_unread", "Parts of passed requests that no gate reads, by kind.", ["kind"], registry=registry
        )
        self.calls = Counter(
            "clucert_upstream_calls", "Upstream calls by outcome, retries within.", ["outcome"], registry=registry
        )
        self.call_seconds = Histogram(
            "clucert_upstream_call_seconds", "Time of an upstream call.", buckets=_SECONDS, registry=registry
        )
        self.calling = Gauge("clucert_upstream_in_flight", "Upstream calls under way.", registry=registry)
        self.tokens = Counter("clucert_upstream_tokens", "Tokens of answered calls.", ["direction"], registry=registry)
        self.in_flight = Gauge("clucert_in_flight", "Requests worked on.", registry=registry)
        self.waiting = Gauge("clucert_waiting", "Requests in the queue.", registry=registry)

    def watch(self, admission: AdmissionControl) -> None:
        """Export the numbers of requests in ``admission``."""
        self.in_flight.set_function(lambda: admission.in_flight)
        self.waiting.set_function(lambda: admission.waiting)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call of the upstream by what becomes of it, and its time."""
        outcome, began = "failed", time.perf_counter()
        try:
            yield
            outcome = "answered"
        except ModelError as error:
            outcome = fault_of(error).code
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            self.calls.labels(outcome).inc()
            self.call_seconds.observe(time.perf_counter() - began)

    def gated(self, verdict: Verdict, seconds: float) -> None:
        """Count what a gate decided, and what is proved of that."""
        self.gate.labels(verdict.decision, verdict.state).inc()
        self.gate_seconds.observe(seconds)
        for kind, count in verdict.unread.items():
            self.unread.labels(kind).inc(count)
        about = verdict.about
        for threat, radius in about.proved.items() if verdict.blocked and about else ():
            self.radius.labels(f"blocked_{threat}").observe(math.inf if radius.everything else radius.words)

    def answered(self, found: Guarded) -> None:
        """Count a vote and the answer that was returned."""
        certificate = found.certificate
        self.decisions.labels(found.prediction or "abstained", found.source).inc()
        radii = {"published": certificate.radius, **{f"proved_{k}": radius for k, radius in certificate.proved.items()}}
        for kind, radius in radii.items():
            if radius is not None and radius.nothing_to_attack:
                self.nothing.labels(kind).inc()
            elif radius is not None:
                self.radius.labels(kind).observe(radius.words)


class MeteredModel:
    """``model``, whose calls are counted in ``metrics``."""

    def __init__(self, model: AsyncModel, metrics: Metrics) -> None:
        self.name, self.deterministic = model.name, model.deterministic
        self._model, self._metrics = model, metrics

    async def answer_async(self, query: Query) -> Answer:
        """Answer one query."""
        metrics = self._metrics
        with metrics.call(), metrics.calling.track_inprogress():
            answer = await self._model.answer_async(query)
        metrics.tokens.labels("in").inc(answer.usage.input)
        metrics.tokens.labels("out").inc(answer.usage.output)
        return answer

    def release(self) -> None:
        """Close the connections of this event loop."""
        release = getattr(self._model, "release", None)
        if release is not None:
            release()
