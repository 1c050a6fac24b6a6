"""Thresholds that fail a build: ``certacc@1=0.6``, ``clean=0.8``, ``ravg=1.5``, ``abstained<=0.1``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clucert.core.radius import KINDS, Kind
from clucert.errors import UnknownNameError, UsageError, shortened
from clucert.evaluate.radii import kind_of
from clucert.evaluate.roc import MISSPELL
from clucert.report.guard import guard_point
from clucert.report.summary import Summary


@dataclass(frozen=True, slots=True)
class Gate:
    """A floor (``>=``) or a ceiling (``<=``) for one metric of a run."""

    metric: str
    delta: int | None
    bound: float
    floor: bool

    def __str__(self) -> str:
        at = "" if self.delta is None else f"@{self.delta}"
        return f"{self.metric}{at}{'>=' if self.floor else '<='}{self.bound:g}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a gate said of a run. ``value`` is None when no input was judged, which never passes."""

    gate: Gate
    run: str
    value: float | None
    instead: str = ""
    """Gates that the run could pass, where its certificates do not speak of this one's radius."""

    @property
    def passed(self) -> bool:
        """Whether the metric is on the right side; meeting the bound exactly passes."""
        if self.value is None:
            return False
        return self.value >= self.gate.bound if self.gate.floor else self.value <= self.gate.bound

    def __str__(self) -> str:
        found = "nothing was judged" if self.value is None else f"{self.value:.4g}"
        instead = f"; the run has no such radius, but {self.instead}" if self.instead else ""
        return f"{'passed' if self.passed else 'FAILED'}  {self.gate}: {found}{instead}  ({self.run})"


_RADII: dict[str, Kind] = {"certacc": "published", "proved": "word"} | {
    f"{said}-{threat}": kind_of(threat) for threat in ("replace", *KINDS[1:]) for said in ("proved", "certified")
}
_METRICS = {kind: metric for metric, kind in reversed(_RADII.items())}
"""The first name of each radius."""
_RECALL = {f"recall-{threat}": threat for threat in ("replace", *KINDS[1:], MISSPELL)}
"""Recall of a guard that survives changes."""
_FLOORS: dict[str, Callable[[Summary], float | None]] = {
    "clean": lambda s: s.clean.value if s.judged else None,
    "ravg": lambda s: s.r_avg,
    "kept": lambda s: s.kept,
    "recall": lambda s: None if (point := guard_point(s)) is None else point.recall(),
}
_CEILINGS: dict[str, Callable[[Summary], float | None]] = {
    "abstained": lambda s: s.abstained,
    "unparsed": lambda s: s.unparsed,
    "uncertified": lambda s: s.uncertified,
    "failed": lambda s: s.failed / len(s.run.inputs) if s.run.inputs else None,
    "coe": lambda s: s.coe,
    "fpr": lambda s: None if (point := guard_point(s)) is None else point.fpr,
}
_WRITTEN = re.compile(r"\s*([a-zA-Z_-]+)\s*(?:@\s*(\d{1,9}))?\s*(>=|<=|=)\s*([0-9.eE+-]+)\s*(%?)\s*")


def parse_gate(written: str) -> Gate:
    """Read ``METRIC[@δ]=VALUE``.

    Floors (``=`` or ``>=``): ``certacc@δ`` (published radius), ``proved@δ`` (any word), ``proved-THREAT@δ``, also
    written ``certified-THREAT@δ``, for ``replace``, ``synonym``, ``insert``, ``delete``, ``move``, ``edit``, … (a run
    that proves nothing about a threat has certified nothing), ``clean``, ``kept``, ``ravg``; of a guard (``--flag``)
    ``recall`` and ``recall-THREAT@δ``, ``recall-misspell@δ`` among them. Ceilings (``<=``): ``abstained``,
    ``unparsed``, ``uncertified``, ``failed``, ``coe``, ``fpr``. Shares are written ``0.6`` or ``60%``. Raises
    :class:`UsageError` for anything else.
    """
    match = _WRITTEN.fullmatch(written)
    if match is None:
        raise UsageError(
            f"the gate {shortened(written, 80)!r} is not METRIC[@δ]=VALUE: "
            "write it like certacc@1=0.6 or abstained<=0.1"
        )
    metric, at, sign, digits, unit = match.groups()
    metric = metric.lower().replace("_", "-").replace("r-avg", "ravg")
    counted = {*_RADII, *_RECALL}
    known = {*counted, *_FLOORS, *_CEILINGS}
    if metric not in known:
        raise UnknownNameError("gate metric", metric, known)
    if (metric in counted) != (at is not None):
        need = f"needs a number of words, like {metric}@1" if metric in counted else f"takes no @{at}"
        raise UsageError(f"the gate {written!r}: {metric} {need}")
    floor = metric not in _CEILINGS
    if sign not in (("=", ">=") if floor else ("<=",)):
        wanted = f"to be kept high: write {metric}>=…" if floor else f"to be kept low: write {metric}<=…"
        raise UsageError(f"the gate {written!r}: {metric} is {wanted}")
    return Gate(metric, None if at is None else int(at), _bound(written, metric, digits, unit), floor)


def _bound(written: str, metric: str, digits: str, unit: str) -> float:
    try:
        value = float(digits) / (100 if unit else 1)
    except ValueError:
        raise UsageError(f"the gate {written!r}: {digits!r} is no number") from None
    if metric not in ("ravg", "coe") and not 0 <= value <= 1:
        raise UsageError(f"the gate {written!r}: {metric} is a share: write it from 0 to 1, or with a % sign")
    return value


def check(summaries: Sequence[Summary], gates: Sequence[Gate]) -> list[GateResult]:
    """Every gate for every run. Point estimates are compared, not interval ends."""
    return [
        GateResult(gate, summary.run.name, _measure(summary, gate), _instead(summary, gate))
        for summary in summaries
        for gate in gates
    ]


def _instead(summary: Summary, gate: Gate) -> str:
    kind = _RADII.get(gate.metric)
    if kind is None or kind in summary.run.kinds or not summary.judged:
        return ""
    return ", ".join(f"{_METRICS[each]}@{gate.delta}" for each in summary.run.kinds)


def _measure(summary: Summary, gate: Gate) -> float | None:
    if gate.metric in _RECALL and gate.delta is not None:
        return _recall(summary, kind_of(_RECALL[gate.metric]), gate.delta)
    if gate.delta is not None:
        return summary.at(_RADII[gate.metric], gate.delta).value if summary.judged else None
    measure = _FLOORS.get(gate.metric) or _CEILINGS[gate.metric]
    return measure(summary)


def _recall(summary: Summary, kind: Kind, delta: int) -> float | None:
    """Recall under ``delta`` changes; none survives those that the method does not speak of."""
    point = guard_point(summary, delta)
    if point is None:
        return None
    threat = next((threat for threat in point.surviving if kind_of(threat) == kind), None)
    return 0.0 if threat is None else point.recall(threat, delta)
