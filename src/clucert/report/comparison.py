"""Run directories compared, input by input: each later run against the first one.

The tests are those of :mod:`clucert.evaluate.compare`; here it is decided which inputs are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clucert.core.radius import KINDS, Kind
from clucert.errors import InputError, UsageError
from clucert.evaluate.compare import Comparison, compare_runs
from clucert.evaluate.radii import kind_of
from clucert.evaluate.standing import standing_of
from clucert.methods.exact import own_fields
from clucert.notebook import Shown
from clucert.report.format import SHORT
from clucert.report.runs import Run
from clucert.report.summary import Summary, row_outcome, summarise_run, words_counted
from clucert.report.tables import summary_rows
from clucert.vote_rows import frame

SCHEMA_VERSION = 1

LEVEL = 0.05
"""p-value below which a difference is said to be one."""
LEAST_P = 0.0001
"""p-values below it are said to be less than it."""

Row = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Against:
    """One run against the first. Differences are this run minus the first."""

    run: str
    different: int
    """Inputs of the same id whose texts differ: not paired."""
    result: Comparison
    beside: Mapping[Kind, Comparison]
    """The same for the other kinds of radius, r_avg alone: a published gain is no proved one."""
    words_of: tuple[str, str]
    """Whose words the radii of the first run and of this one count: refine moves them to the shortened text."""
    units: tuple[str, str] = ("words", "words")
    """What they count."""


@dataclass(frozen=True, slots=True, repr=False)
class RunComparison(Shown):
    """The first run, and what the others are against it, by one kind of radius."""

    baseline: str
    kind: Kind
    others: tuple[Against, ...]
    runs: tuple[Row, ...] = ()
    """Each run by itself, the first one first: what its figures have to be seen beside."""
    notes: tuple[str, ...] = ()
    """What makes the comparison worth less than it looks, in words."""

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """What differs in a sentence, each figure of each run beside the first's, and what makes it worth less."""
        return comparison_verdict(self), [{"run": row["run"], **told(row)} for row in self.rows()], self.notes

    def to_pandas(self) -> Any:
        """:meth:`rows` as a data frame."""
        return frame(self.rows())

    def document(self) -> dict[str, Any]:
        """The comparison as JSON values, with a schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline,
            "radius": self.kind,
            "runs": list(self.runs),
            "notes": list(self.notes),
            "others": [
                {
                    **{"run": other.run, "different": other.different, **dataclasses.asdict(other.result)},
                    "radii_count_words_of": dict(zip(("first", "second"), other.words_of, strict=True)),
                    "radii_count": dict(zip(("first", "second"), other.units, strict=True)),
                    "r_avg_by_radius": {
                        kind: {"first": found.first_r_avg, "second": found.second_r_avg, "p_value": found.p_value}
                        for kind, found in {self.kind: other.result, **other.beside}.items()
                    },
                }
                for other in self.others
            ],
        }

    def rows(self) -> list[Row]:
        """One row for each other run and each figure, for :func:`clucert.report.tables.write_table`.

        ``p_value`` of a certified accuracy is McNemar's, ``p_holm`` the same adjusted for all δ of that run.
        """
        return [row for other in self.others for row in _rows(self.baseline, self.kind, other)]


def compare(
    runs: Sequence[Run],
    deltas: Sequence[int] = (0, 1, 2, 3),
    *,
    kind: Kind | None = None,
    common_only: bool = False,
    leave_out_failed: bool = False,
) -> RunComparison:
    """Pair the inputs of each later run with those of the first, by id and text, and test the differences.

    The runs must hold the same inputs; with ``common_only`` the others are left out instead (and counted). A failed
    input has no text: it is paired by its id, and counts as not certified unless ``leave_out_failed``. The same runs
    give the same figures.

    Raises :class:`UsageError` for fewer than two runs and :class:`InputError` for runs on different data.
    """
    if len(runs) < 2:
        raise UsageError("compare needs two run directories or more, such as: clucert compare runs/a runs/b")
    first = runs[0]
    kind = _common_kind(runs) if kind is None else kind_of(kind)
    summaries = [summarise_run(run, leave_out_failed=leave_out_failed) for run in runs]
    said = [f"{s.run.name}: {warning}" for s in summaries for warning in s.warnings]
    others = (_against(first, run, deltas, kind, common_only, leave_out_failed) for run in runs[1:])
    return RunComparison(
        first.name,
        kind,
        tuple(others),
        tuple(_alone(s, kind) for s in summaries),
        (*said, *_apart(runs, kind), *_tuned_apart(runs, kind)),
    )


def told(row: Mapping[str, object]) -> dict[str, object]:
    """A row without what is the same in all; its p-value is the adjusted one where there are several."""
    low, high = row["low"], row["high"]
    return {
        **{name: row[name] for name in ("figure", "first", "second")},
        "gain": row["difference"],
        "95 %": None if low is None else f"{low:.3f} to {high:.3f}",
        "1st only": row["first_only"],
        "2nd only": row["second_only"],
        "p": _p_value(row["p_value"] if row["p_holm"] is None else row["p_holm"]),
    }


def _p_value(p: object) -> str | None:
    if not isinstance(p, int | float):
        return None
    return f"<{LEAST_P}" if p < LEAST_P else f"{p:.4f}"


def comparison_verdict(comparison: RunComparison) -> str:
    """For each later run, whether it is certified on more rows than the first, or whether that may be chance."""
    questions = {str(row["run"]): row.get("questions_a_row") for row in comparison.runs}
    prices = ", ".join(f"{name} {asked:.4g}" for name, asked in questions.items() if isinstance(asked, int | float))
    said = ". ".join(_verdict_on(comparison, other) for other in comparison.others)
    return f"{said}. Questions a row: {prices}" if prices else said


def _verdict_on(comparison: RunComparison, other: Against) -> str:
    found, first = other.result, comparison.baseline
    tests = sorted(found.certified, key=lambda test: (test.delta < 1, test.delta))
    what = f"of {found.pairs} shared rows"
    if not tests and found.r_avg is None:
        return f"{other.run}: radii without an end, which have no mean to set against that of {first}, {what}"
    if not tests:
        return f"{other.run}: mean radius {found.second_r_avg:.3g} against {found.first_r_avg:.3g} of {first}, {what}"
    test = tests[0]
    mine, theirs = test.both + test.second_only, test.both + test.first_only
    of_kind = f"right and certified for {test.delta} ({SHORT[comparison.kind]})" if test.delta else "right"
    counts = f"{mine} against {theirs} {what} are {of_kind}"
    p = f"< {LEAST_P}" if test.p_holm < LEAST_P else f"= {test.p_holm:.2g}"
    differs = f"{'better' if mine > theirs else 'worse'} than" if test.p_holm < LEVEL else "not shown to differ from"
    return f"{other.run} is {differs} {first}: {counts}, p {p}"


def _alone(s: Summary, kind: Kind) -> Row:
    """The figures of a run by itself, by the radius that is compared, whatever the run is judged by."""
    row = summary_rows([s])[0]
    standing = standing_of(s.outcomes_by(kind), (), s.run.labels)
    by_kind: Row = {
        "certacc@1" if kind == "published" else f"proved_{kind}@1": s.at(kind, 1).value if s.judged else None,
        "balanced_certacc@1": standing.balanced_certified,
        "per_label": standing.per_label(),
    }
    return {name: row[name] for name in _ALONE} | by_kind


def _common_kind(runs: Sequence[Run]) -> Kind:
    """The published radius; the first that all runs speak of where one has none."""
    shared = [kind for kind in KINDS if all(kind in run.kinds for run in runs)]
    if not shared:
        held = "; ".join(f"{run.name}: {', '.join(run.kinds)}" for run in runs)
        raise InputError(f"the runs speak of different radii ({held}): name one with --radius")
    return shared[0]


def _apart(runs: Sequence[Run], kind: Kind) -> Iterator[str]:
    """What makes the radii of the runs no two of a kind."""
    for run in runs:
        if kind not in run.kinds:
            yield f"{run.name} has no such radius ({SHORT[kind]}): it counts as certified nowhere"
    if len({run.unit for run in runs}) > 1:
        counted = "; ".join(f"{run.name} {run.unit}" for run in runs)
        yield f"radii count different things ({counted}): a token is a word or a punctuation mark"


_ALONE = (
    *("run", "mask_rate", "judged", "failed", "clean_accuracy", "constant_answer", "radii_count", "radii_at_cap"),
    *("attackable_words", "questions_a_row"),
)


def _tuned_apart(runs: Sequence[Run], kind: Kind) -> Iterator[str]:
    """Whether the methods' parameters were chosen in the same way, where the runs differ in them."""
    parameters = [{k: v for k, v in run.manifest.parameters.items() if k != "tuned"} for run in runs]
    if all(each == parameters[0] for each in parameters):
        return
    records = [run.manifest.parameters.get("tuned") or {} for run in runs]
    alike = ("task", "model", "radius", "data_sha256", "inputs", "samples", "certify_samples", "max_drop", "mask_rates")
    how = [[record.get(name) for name in alike] for record in records]
    if not all(records) or any(each != how[0] for each in how):
        shown = "; ".join(
            f"{run.name} {_setting(run)}, {_tuned(record)}" for run, record in zip(runs, records, strict=True)
        )
        yield f"parameters were not tuned alike: {shown}: clucert tune each on the same validation rows"
    elif how[0][2] != kind:
        yield f"parameters were tuned for the {how[0][2]} radius, and this compares the {kind} one"
    if any(r.get("data_sha256") == run.manifest.data.sha256 for r, run in zip(records, runs, strict=True)):
        yield "parameters were tuned on the very rows that are compared: take others to tune on"


def _setting(run: Run) -> str:
    parameters = run.manifest.parameters
    if "family" in parameters:
        own = own_fields(parameters)
        return " ".join(f"{name} {own[name]}" for name in ("count", "hashes", "every", "size") if own.get(name))
    rate = parameters.get("mask_rate")
    return "with a mask rate that is not recorded" if rate is None else f"at mask rate {rate}"


def _tuned(record: Mapping[str, Any]) -> str:
    if not record:
        return "not tuned"
    return f"tuned on {record.get('inputs')} rows for the {record.get('radius')} radius"


def _against(
    first: Run, run: Run, deltas: Sequence[int], kind: Kind, common_only: bool, leave_out_failed: bool
) -> Against:
    texts, others = _texts(first), _texts(run)
    shared = texts.keys() & others.keys()
    different = {i for i in shared if None not in (texts[i], others[i]) and texts[i] != others[i]}
    if not common_only and (different or len(shared) < max(len(texts), len(others))):
        raise InputError(
            f"{first.path} and {run.path} are runs on different data: they share {len(shared) - len(different)} inputs "
            f"of {len(texts)} and {len(others)}; to compare those alone, use --common-only"
        )
    if len(shared) == len(different):
        raise InputError(f"{first.path} and {run.path} share no input: compare runs on the same data")

    def by(each: Kind, compared: Sequence[int]) -> Comparison:
        before, after = ([row_outcome(i, each) for i in r.inputs if i.id not in different] for r in (first, run))
        return compare_runs(before, after, np.random.default_rng(0), deltas=compared, leave_out_failed=leave_out_failed)

    common = [other for other in KINDS if other in first.kinds and other in run.kinds]
    beside = {other: by(other, ()) for other in common if other != kind}
    words_of = (words_counted(first), words_counted(run))
    return Against(run.name, len(different), by(kind, deltas), beside, words_of, (first.unit, run.unit))


def _texts(run: Run) -> Mapping[str, str | None]:
    return {row.id: row.text for row in run.inputs}


def _rows(baseline: str, kind: Kind, other: Against) -> Iterable[Row]:
    found = other.result
    words_of = " against ".join(dict.fromkeys(reversed(other.words_of)))
    common: Row = {"run": other.run, "against": baseline, "radius": SHORT[kind], "pairs": found.pairs}
    common["radii_count_words_of"] = words_of
    empty: Row = dict.fromkeys(("low", "high", "first_only", "second_only", "p_value", "p_holm"))

    def row(
        figure: str, first: float | None, second: float | None, difference: float | None, **tested: float | None
    ) -> Row:
        figures: Row = {"figure": figure, "first": first, "second": second, "difference": difference}
        return {**common, **figures, **empty, **tested}

    for figure, means in [("r_avg", found), *((f"r_avg, {SHORT[each]}", c) for each, c in other.beside.items())]:
        gain = means.r_avg
        value, low, high = (None, None, None) if gain is None else (gain.value, gain.low, gain.high)
        yield row(figure, means.first_r_avg, means.second_r_avg, value, low=low, high=high, p_value=means.p_value)
    for test in found.certified:
        first, second = ((test.both + only) / found.pairs for only in (test.first_only, test.second_only))
        tested = {"p_value": test.p_value, "p_holm": test.p_holm}
        only = {"first_only": test.first_only, "second_only": test.second_only}
        yield row(f"certacc@{test.delta}", first, second, test.difference, **only, **tested)
    first, second = found.nothing_to_attack
    if first or second:
        yield row("nothing to attack", first, second, second - first)
