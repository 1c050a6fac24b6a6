"""What a run says in figures: :mod:`clucert.evaluate.metrics` over its certificates, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from clucert.core.certificate import ASSUMPTIONS
from clucert.core.radius import KINDS, Kind, Radius
from clucert.core.settings import ExactSettings, Settings
from clucert.errors import UsageError
from clucert.evaluate.metrics import (
    Estimate,
    Outcome,
    RunMetrics,
    certified_accuracy,
    certified_curve,
    endless,
    radii,
    summarise,
)
from clucert.evaluate.radii import outcome_of
from clucert.evaluate.standing import Standing, standing_of
from clucert.methods.exact import own_fields
from clucert.models.function_files import is_function
from clucert.report.population import KeptShare, kept_by
from clucert.report.runs import Input, Run, load_runs
from clucert.runtime.prices import find_price
from clucert.types import Answers, Usage, Work

STAGES: tuple[Work, ...] = get_args(Work)
SHOWN_DELTAS = 5
"""CertAcc is listed for δ = 1 to this."""
BINS = 20
"""Columns of a radius histogram at most, besides "none"."""


@dataclass(frozen=True, slots=True)
class Point:
    """A share with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reached:
    """How far radii go, in what they count; None where there is no input, or no end to a radius."""

    mean: float | None = None
    median: float | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Inputs whose radius is ``label``: those whose answer is right (or has no gold label), and the others.

    Before the radii in words come "none" (nothing is certified) and, where there are such, "no target", the inputs in
    which no word could be attacked, and "no end": any number of words.
    """

    label: str
    right: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run; None where there is nothing to compute them from. ``index`` picks its colour."""

    run: Run
    index: int
    metrics: RunMetrics
    """With the radius of the run's first kind; intervals are those of :mod:`clucert.evaluate.metrics` at 95 %."""
    outcomes: Mapping[Kind, Sequence[Outcome]]
    curves: Mapping[Kind, Sequence[Point]]
    """CertAcc(δ) for δ = 0, 1, …, with a band that holds for all δ at once."""
    histograms: Mapping[Kind, Sequence[Bin]]
    samples: int
    """Noised texts that were voted on."""
    usage: Usage
    reused: Usage
    """The part of ``usage`` that came from the cache: paid for once, not again."""
    seconds: Mapping[Work, float]
    """By stage, summed over the inputs: with many in flight, more than the clock on the wall."""
    money: float | None
    """US dollars with an empty cache; None when the price is not known."""
    assumptions: tuple[str, ...]
    taken: str
    """What no assumption is named for and is taken for granted of the backend, as the end of "no assumption"."""
    alpha: float | None
    """0 where every sub-text was asked."""
    settings: str
    standing: Standing
    """What the figures have to be seen beside."""
    population: Sequence[KeptShare] = ()
    """What the proofs say of the prompts to come."""
    leave_out_failed: bool = False
    """Whether failed inputs were left out of the denominators."""

    @property
    def unfinished(self) -> int:
        """Rows of the data that the run has not come to: they are in no figure."""
        return max(0, self.run.manifest.data.rows - len(self.run.inputs))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the figures worth less than they look, in words."""
        said = list(self.standing.warnings)
        if self.failed:
            how = "count as not certified (--leave-out-failed leaves them out)"
            how = "are left out" if self.leave_out_failed else how
            said.append(f"{self.failed} of {len(self.run.inputs)} inputs failed and {how}")
        if self.unfinished:
            said.append(f"{self.unfinished} of {self.run.manifest.data.rows} rows are not done: they are in no figure")
        return tuple(said)

    @property
    def judged(self) -> int:
        """Inputs with a certificate and a gold label."""
        return self.metrics.judged

    @property
    def denominator(self) -> int:
        """Inputs that the shares are of: the judged and, unless they were left out, the failed with a gold label."""
        return self.metrics.scored

    @property
    def failed(self) -> int:
        """Inputs without a certificate."""
        return self.metrics.failed

    @property
    def clean(self) -> Point:
        """Share of right answers; abstentions are not right."""
        return _point(self.metrics.clean_accuracy)

    @property
    def abstained(self) -> float | None:
        """Share of abstentions."""
        return _value(self.metrics.abstained) if self.judged else None

    @property
    def uncertified(self) -> float | None:
        """Share of inputs that enter r_avg as 0 for want of a right answer."""
        return _value(self.metrics.uncertified) if self.judged else None

    @property
    def r_avg(self) -> float | None:
        """Mean certified radius; None where one has no end."""
        return _value(self.metrics.r_avg) if self.judged else None

    @property
    def coe(self) -> float | None:
        """Standard deviation / mean of the certified radii; None where one has no end."""
        return self.metrics.coe

    @property
    def unparsed(self) -> float | None:
        """Share of the votes that named no label."""
        return self.metrics.unparsed

    @property
    def kept(self) -> float | None:
        """Share of the samples that the clustering kept."""
        return self.metrics.kept

    @property
    def counts_words_of(self) -> str:
        """Whose words every radius counts, published and proved: refine moves them to the text that it shortened."""
        return words_counted(self.run)

    def nothing_to_attack(self, kind: Kind) -> float | None:
        """Share of the judged inputs in which no word could change: certified at δ = 0 alone."""
        judged = [outcome for outcome in self.outcomes.get(kind, ()) if outcome.scored]
        return sum(outcome.nothing_to_attack for outcome in judged) / len(judged) if judged else None

    def at(self, kind: Kind, delta: int) -> Point:
        """CertAcc(δ) with its own interval (Clopper-Pearson, 95 %); 0 in [0, 1] when nothing was judged.

        Of a radius that the run does not speak of nothing is certified.
        """
        return _point(certified_accuracy(self.outcomes_by(kind), delta))

    def outcomes_by(self, kind: Kind) -> Sequence[Outcome]:
        """``outcomes``, with no radius where the run does not speak of ``kind``."""
        if kind in self.outcomes:
            return self.outcomes[kind]
        return [replace(o, radius=None, everything=False) for o in self.outcomes[self.run.first_kind]]

    def reached(self, kind: Kind) -> Reached:
        """Mean and median of the radius, 0 where the answer is wrong or nothing is proved."""
        scored = [outcome for outcome in self.outcomes.get(kind, ()) if outcome.scored]
        if not self.judged or not scored or endless(scored):
            return Reached()
        counted = radii(scored)
        return Reached(float(counted.mean()), float(np.median(counted)))


def read_summaries(paths: Sequence[Path | Run], *, leave_out_failed: bool = False) -> list[Summary]:
    """Read run directories and compute their figures; failed inputs count as not certified unless left out."""
    runs = load_runs(paths)
    return [summarise_run(run, index, leave_out_failed=leave_out_failed) for index, run in enumerate(runs)]


def summarise_run(run: Run, index: int = 0, *, leave_out_failed: bool = False) -> Summary:
    """The figures of ``run``. The bootstrap has a seed of its own, so the same run gives the same figures."""
    first = run.first_kind
    everything = {kind: [row_outcome(row, kind) for row in run.inputs] for kind in run.kinds}
    by_kind = {kind: [o for o in all_ if not (leave_out_failed and o.failed)] for kind, all_ in everything.items()}
    costs = [row.cost for row in run.inputs if row.cost is not None]
    usage = Usage.total([cost.total for cost in costs])
    seconds: Counter[Work] = Counter()
    for cost in costs:
        seconds.update(cost.seconds)
    held = {name for row in run.done if row.sampled for name in row.sampled.assumptions}
    settings = next((row.certificate.settings for row in run.done if row.certificate), None)
    return Summary(
        run=run,
        index=index,
        metrics=summarise(everything[first], np.random.default_rng(0), leave_out_failed=leave_out_failed),
        outcomes=by_kind,
        curves={kind: _curve(by_kind[kind]) for kind in run.kinds},
        histograms={kind: _bins(run.done, kind) for kind in run.kinds},
        samples=sum(cost.samples for cost in costs),
        usage=usage,
        reused=Usage.total([row.reused for row in run.inputs]),
        seconds=dict(seconds),
        money=_money(run, usage),
        assumptions=tuple(name for name in ASSUMPTIONS if name in held),
        taken=_taken(run),
        alpha=None if settings is None else 0.0 if isinstance(settings, ExactSettings) else settings.alpha,
        settings="" if settings is None else _settings(run, settings),
        standing=standing_of(
            by_kind[first],
            [row.certificate for row in run.done if row.certificate],
            run.labels,
            run.manifest.data.label_map,
        ),
        population=kept_by(run.inputs, run.manifest.data.rows),
        leave_out_failed=leave_out_failed,
    )


def _taken(run: Run) -> str:
    """What the certificates take for granted of the backend, by the one that was probed least."""
    if any(row.certificate and not row.sampled for row in run.done):
        # Of a function it is always somebody's word.
        declared = run.manifest.config.get("deterministic") or any(map(is_function, run.manifest.model))
        return Answers("declared").taken if declared else ""
    answers = [row.sampled.answers for row in run.done if row.sampled and row.sampled.answers]
    taking = [each for each in answers if each.taken]
    return min(taking, key=lambda each: each.probes).taken if taking else ""


def kinds_of(summaries: Iterable[Summary]) -> tuple[Kind, ...]:
    """The radii that any of the runs speaks of."""
    held = {kind for s in summaries for kind in s.run.kinds}
    return tuple(kind for kind in KINDS if kind in held)


def words_counted(run: Run) -> str:
    """Whose words the radii of ``run`` count: "the original text", "the refined text", or how many count which."""
    domains = Counter(row.sampled.subject.domain for row in run.done if row.sampled)
    if len(domains) < 2:
        return f"the {next(iter(domains), 'original')} text"
    return " or ".join(
        f"the {domain} text (in {count} of {domains.total()})" for domain, count in sorted(domains.items())
    )


def refined_note(summaries: Sequence[Summary]) -> str:
    """For the end of a title: whose words the radii count, where it is not the original text."""
    counted = sorted({s.counts_words_of for s in summaries if "refined" in s.counts_words_of})
    return f" (words of {', '.join(counted)})" if counted else ""


def row_outcome(row: Input, kind: Kind) -> Outcome:
    """One input as the metrics see it."""
    return outcome_of(row.id, row.gold, row.certificate, row.radii.get(kind))


def _curve(outcomes: Sequence[Outcome]) -> list[Point]:
    # To δ = 5 at least, so that the curves of weak runs can be laid over those of strong ones.
    deltas = range(max([SHOWN_DELTAS, *(radii(outcomes) + 1)]) + 1)
    curve = certified_curve(outcomes, deltas=deltas)
    return [] if curve is None else [_point(point) for point in curve.points]


def _point(estimate: Estimate | None) -> Point:
    if estimate is None:
        return Point(0.0, 0.0, 1.0)
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return Point(estimate.value, low, high)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _bins(rows: Sequence[Input], kind: Kind) -> list[Bin]:
    counts: Counter[tuple[int | str, bool]] = Counter()
    for row in rows:
        radius = row.radii.get(kind)
        right = row.answer is not None and row.gold in (None, row.answer)
        counts[_place(radius), right] += 1
    largest = max((words for words, _ in counts if isinstance(words, int)), default=0)
    width = -(-(largest + 1) // BINS)
    apart = [Bin(name, counts[name, True], counts[name, False]) for name in ("none", "no target", "no end")]
    apart = [column for column in apart if column.label == "none" or column.right + column.wrong]
    return [*apart, *(_bin(counts, start, width) for start in range(0, largest + 1, width))]


def _place(radius: Radius | None) -> int | str:
    if radius is None:
        return "none"
    if radius.nothing_to_attack:
        return "no target"
    return "no end" if radius.endless else radius.words


def _bin(counts: Counter[tuple[int | str, bool]], start: int, width: int) -> Bin:
    held = range(start, start + width)
    label = str(start) if width == 1 else f"{start}–{held[-1]}"
    return Bin(label, sum(counts[r, True] for r in held), sum(counts[r, False] for r in held))


def _money(run: Run, usage: Usage) -> float | None:
    """The list price, or the user's own, of one model that did all the calls; an ensemble's shares are not known."""
    config = run.manifest.config
    helper = config.get("helper_model")
    if len(run.manifest.model) != 1 or helper not in (None, run.manifest.model[0]):
        return None
    own = {name: None if config.get(name) is None else str(config[name]) for name in _PRICES}
    try:
        base_url, batch = config.get("base_url") or "", bool(config.get("batch"))
        price = find_price(run.manifest.model[0], base_url=base_url, batch=batch, **own)
    except UsageError:
        return None
    return None if price is None else float(price.cost(usage))


_PRICES = ("price_input", "price_output", "price_cached")


def _settings(run: Run, settings: Settings | ExactSettings) -> str:
    if isinstance(settings, ExactSettings):
        own = own_fields(run.manifest.parameters)
        shown = {name: value for name, value in own.items() if name != "tuned" and value not in (None, [], {})}
        return "every sub-text asked; " + ", ".join(f"{name} {value}" for name, value in shown.items())
    last, reads = settings.looks[-1].samples, len(settings.looks)
    looks = f"{last}" if reads == 1 else f"up to {last} (read up to {reads} times)"
    samples = f"{settings.predict_samples} samples to choose and {looks} to certify"
    refine = f"refine {settings.refine} to {settings.refine_length} words" if settings.refine_length else "no refine"
    recoveries = f", medoid of {settings.recoveries} recoveries" if settings.recoveries > 1 else ""
    kernel = f", retained words {settings.retained_kernel}" if settings.retained_kernel != "keep" else ""
    threshold = "" if settings.threshold is None else f" (threshold {settings.threshold:g})"
    noise = settings.perturbation
    masked = f"mask rate {float(settings.mask_rate):g}"
    parts = [
        masked if noise is None else f"{noise.kind} of {float(noise.q):g} % of the characters",
        f"recovery {settings.recovery}{recoveries}{kernel}",
        f"clustering {settings.clustering}{threshold}",
        refine,
        f"{looks} samples to choose and certify" if settings.direct else samples,
        f"alpha {settings.alpha:g}, gamma {settings.gamma:g}",
    ]
    return ", ".join(parts)
