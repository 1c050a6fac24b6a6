"""Certificates against gold labels: metrics of one run, with intervals that mean what they say.

Gold labels are compared here and nowhere else. Throughout, an outcome is *certified at δ* when its prediction is the
gold label and its radius is at least δ or covers every word that could change; an abstention or a wrong prediction is
certified at no δ, and counts in the means with radius 0. Where no word could change, nothing was tested: such an
outcome is certified at δ = 0 alone, and the share of them is counted. An input whose model call failed is certified at
no δ either: a failure is not a vote, and a server that fails on the hard inputs must not look robust; only who asks for
it gets the metrics without them. Inputs without a gold label are left out of every metric. All are counted in
:class:`RunMetrics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clucert.core.bounds import lower_bound, upper_bound
from clucert.errors import InputError, UsageError

Band = Literal["dkw", "bonferroni"]
RESAMPLES = 9999
_BATCH = 500  # resamples at a time: 2,000 inputs then take 8 MB


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one input. ``kept`` of the ``drawn`` samples, the selecting ones included, were voted on;
    ``unparsed`` of the kept.
    """

    id: str
    gold: str | None
    prediction: str | None
    """None for an abstention."""
    radius: int | None
    """Certified radius in words, inclusive; None when nothing is certified, not even radius 0."""
    words: int
    unparsed: int
    kept: int
    drawn: int
    failed: bool = False
    """A call failed for good: nothing is known about this input."""
    everything: bool = False
    """The radius is every word that could change: it certifies at every δ. In means it counts as ``radius`` words."""
    nothing_to_attack: bool = False
    """No word could change, so that nothing was tested: certified at δ = 0 alone."""

    @property
    def scored(self) -> bool:
        """Whether this input enters the metrics."""
        return self.gold is not None

    @property
    def correct(self) -> bool:
        """The prediction is the gold label; an abstention is not, and a failed input has none."""
        return self.scored and not self.failed and self.prediction == self.gold

    @property
    def abstained(self) -> bool:
        """There was an answer, and it is that the votes are too close."""
        return self.prediction is None and not self.failed

    @property
    def certified_radius(self) -> int | None:
        """The radius if the prediction is right, None otherwise: what the means count, with 0 for None."""
        return self.radius if self.correct else None

    def certified_at(self, delta: int) -> bool:
        """Whether the prediction is right and no ``delta`` words can change it."""
        return self.correct and self.radius is not None and (self.everything or self.radius >= delta)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the interval that covers it at ``level``; None for an interval that the data cannot give."""

    value: float
    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True, slots=True)
class Curve:
    """CertAcc(δ) for each of ``deltas``; all the intervals together cover at their level."""

    deltas: tuple[int, ...]
    points: tuple[Estimate, ...]
    band: Band


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """The metrics of one run; None where there is nothing to compute them from."""

    inputs: int
    failed: int
    """A call failed for good. Those with a gold label count as not certified, unless they were to be left out."""
    unlabelled: int
    """Left out of every metric: no gold label."""
    scored: int
    """The denominator of every share: inputs with a gold label, failed ones among them unless left out."""
    judged: int
    """Of the scored, those that did not fail."""
    r_avg: Estimate | None
    """Mean certified radius in words, 0 for the uncertified; BCa bootstrap interval. None where a radius has no end."""
    coe: float | None
    """Coefficient of variation of the same radii: population standard deviation / mean; None when the mean is 0, or
    there is none.
    """
    clean_accuracy: Estimate | None
    """Share of right predictions, abstentions counting as wrong."""
    abstained: Estimate | None
    """Share of inputs without a prediction."""
    uncertified: Estimate | None
    """Share of inputs that enter ``r_avg`` as 0 because they are wrong, abstained, or have no radius."""
    nothing_to_attack: Estimate | None
    """Share of inputs with a radius in which no word could change: they are certified at δ = 0 alone."""
    certified: Curve | None
    unparsed: float | None
    """Share of the kept samples whose answer named no label, over all inputs that did not fail."""
    kept: float | None
    """Share of the drawn samples that the denoiser kept, over all inputs that did not fail."""


def check_outcomes(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, once it is certain that no id is there twice; raises :class:`InputError` otherwise."""
    kept = tuple(outcomes)
    seen: set[str] = set()
    for outcome in kept:
        if outcome.id in seen:
            raise InputError(f"input {outcome.id!r} has two outcomes: each input counts once")
        seen.add(outcome.id)
    return kept


def radii(outcomes: Iterable[Outcome]) -> NDArray[np.int64]:
    """Certified radius of each scored input, 0 for the uncertified."""
    return np.array([o.certified_radius or 0 for o in outcomes if o.scored], dtype=np.int64)


def endless(outcomes: Iterable[Outcome]) -> bool:
    """Whether a right answer holds under any number of changes: such radii have no mean."""
    return any(o.correct and o.everything and not o.radius for o in outcomes)


def r_avg(outcomes: Iterable[Outcome]) -> float | None:
    """Mean certified radius over the scored inputs; None without any."""
    values = radii(outcomes)
    return float(values.mean()) if values.size else None


def coe(outcomes: Iterable[Outcome]) -> float | None:
    """Population standard deviation / mean of the certified radii; None when the mean is 0 or nothing is scored."""
    values = radii(outcomes)
    mean = values.mean() if values.size else 0.0
    return float(values.std() / mean) if mean > 0 else None


def proportion(hits: int, total: int, level: float = 0.95) -> Estimate:
    """A share with its two-sided Clopper-Pearson interval, which has a width at 0 % and at 100 % too."""
    _check_level(level)
    if not 0 <= hits <= total or total == 0:
        raise UsageError(f"{hits} of {total} is no share")
    tail = (1 - level) / 2
    return Estimate(hits / total, lower_bound(hits, total, tail), upper_bound(hits, total, tail), level)


def certified_accuracy(outcomes: Iterable[Outcome], delta: int, level: float = 0.95) -> Estimate | None:
    """CertAcc(δ) = mean(certified at δ) over the scored inputs, with its Clopper-Pearson interval."""
    scored = [o for o in outcomes if o.scored]
    return proportion(_certified_at(scored, delta), len(scored), level) if scored else None


def certified_curve(
    outcomes: Iterable[Outcome],
    *,
    deltas: Sequence[int] | None = None,
    level: float = 0.95,
    band: Band = "dkw",
) -> Curve | None:
    """CertAcc over ``deltas`` (default: 0 to one past the largest radius) with a simultaneous band.

    ``dkw``: CertAcc is a survival function, so ±√(ln(2 / (1 − level)) / 2n) covers all δ at once, chosen or not
    (Dvoretzky-Kiefer-Wolfowitz, with Massart's constant). ``bonferroni``: Clopper-Pearson at 1 − (1 − level) / K for
    the K given δ; narrower near 0 % and 100 % when K is small. Neither ever has width 0. None without scored inputs.
    """
    _check_level(level)
    scored = [o for o in outcomes if o.scored]
    if not scored:
        return None
    chosen = tuple(deltas) if deltas is not None else tuple(range(int(radii(scored).max()) + 2))
    hits = [_certified_at(scored, delta) for delta in chosen]
    total = len(scored)
    if band == "bonferroni":
        joint = 1 - (1 - level) / max(len(chosen), 1)
        each = [proportion(h, total, joint) for h in hits]
        points = tuple(Estimate(e.value, e.low, e.high, level) for e in each)
    else:
        margin = math.sqrt(math.log(2 / (1 - level)) / (2 * total))
        points = tuple(
            Estimate(h / total, max(0.0, h / total - margin), min(1.0, h / total + margin), level) for h in hits
        )
    return Curve(chosen, points, band)


def r_avg_interval(outcomes: Iterable[Outcome], rng: np.random.Generator, level: float = 0.95) -> Estimate | None:
    """r_avg with its bias-corrected and accelerated bootstrap interval (9,999 resamples of the inputs).

    The interval is None when all radii are the same: resampling cannot tell how sure that is.
    """
    values = radii(outcomes).astype(float)
    return bootstrap_mean(values, rng, level) if values.size else None


def bootstrap_mean(values: NDArray[np.float64], rng: np.random.Generator, level: float) -> Estimate:
    """The mean of ``values`` (shape (n,), n ≥ 1) with its BCa bootstrap interval, None when they are all the same."""
    _check_level(level)
    mean = float(values.mean())
    if np.all(values == values[0]):
        return Estimate(mean, None, None, level)
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=_BATCH,
        confidence_level=level,
        method="BCa",
        rng=rng,
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), level)


def summarise(
    outcomes: Iterable[Outcome],
    rng: np.random.Generator,
    *,
    deltas: Sequence[int] | None = None,
    level: float = 0.95,
    band: Band = "dkw",
    leave_out_failed: bool = False,
) -> RunMetrics:
    """Every metric of one run. ``rng`` is for the bootstrap: the same state gives the same interval.

    With ``leave_out_failed`` the shares and means are over the inputs that did not fail.

    Raises :class:`InputError` when an input has two outcomes.
    """
    everything = check_outcomes(outcomes)
    answered = [o for o in everything if not o.failed]
    scored = [o for o in (answered if leave_out_failed else everything) if o.scored]
    total, unbounded = len(scored), endless(scored)

    def share(hits: int) -> Estimate | None:
        return proportion(hits, total, level) if total else None

    return RunMetrics(
        inputs=len(everything),
        failed=len(everything) - len(answered),
        unlabelled=sum(not o.scored for o in answered),
        scored=total,
        judged=sum(not o.failed for o in scored),
        r_avg=None if unbounded else r_avg_interval(scored, rng, level),
        coe=None if unbounded else coe(scored),
        clean_accuracy=share(sum(o.correct for o in scored)),
        abstained=share(sum(o.abstained for o in scored)),
        uncertified=share(sum(o.certified_radius is None for o in scored)),
        nothing_to_attack=share(sum(o.nothing_to_attack for o in scored)),
        certified=certified_curve(scored, deltas=deltas, level=level, band=band),
        unparsed=_ratio(sum(o.unparsed for o in answered), sum(o.kept for o in answered)),
        kept=_ratio(sum(o.kept for o in answered), sum(o.drawn for o in answered)),
    )


def _certified_at(scored: Iterable[Outcome], delta: int) -> int:
    return sum(o.certified_at(delta) for o in scored)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"a confidence level must be between 0 and 1, not {level}")
