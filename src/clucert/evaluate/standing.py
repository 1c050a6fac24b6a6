"""What keeps a good-looking figure honest: each label by itself, the constant answer, and what the radii are capped by.

A constant classifier is perfectly robust, and a radius that equals the number of attackable words measures the lexicon.
So no table shows a certified accuracy without these beside it, and what makes one worthless is said in words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.evaluate.gold import written_map
from clucert.evaluate.metrics import Outcome, endless

DELTA = 1
"""The radius, in words, that shares by label are given for."""
ONE_SIDED = 0.8
"""A label with more than this share of the votes is worth a warning."""
BELOW_CHANCE = 0.01
"""p-value below which clean accuracy is said to be below chance."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """The inputs of one gold label; shares count failed inputs as not right, unless they were left out."""

    label: str
    inputs: int
    clean_accuracy: float
    certified: float
    """Share that is right with a radius of at least :data:`DELTA` words."""
    r_avg: float | None
    """None where a radius has no end."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the figures of a run have to be seen beside; None where there is nothing to compute it from."""

    labels: tuple[LabelFigures, ...]
    """In the order of the task, labels without inputs left out; none for open answers."""
    balanced_accuracy: float | None
    """Mean over the labels of their clean accuracy."""
    balanced_certified: float | None
    """Mean over the labels of their certified accuracy at :data:`DELTA`: a constant answer gets 1 / labels."""
    constant_label: str | None
    constant_share: float | None
    """What answering the commonest gold label to everything gets right, at every radius."""
    leading_label: str | None
    leading_share: float | None
    """The label with the most votes, and its share of all votes for a label."""
    mask_rate: float | None
    at_cap: float | None
    """Of the published radii of inputs with attackable words, the share that equals their number."""
    attackable: float | None
    """Median number of attackable words."""
    warnings: tuple[str, ...] = ()

    def per_label(self) -> str | None:
        """The labels in one cell: ``negative 0.41 right, 0.32 certified (22 inputs); …``."""
        shown = (
            f"{f.label} {f.clean_accuracy:.2f} right, {f.certified:.2f} certified ({f.inputs} inputs)"
            for f in self.labels
        )
        return "; ".join(shown) or None


def standing_of(
    outcomes: Sequence[Outcome],
    certificates: Iterable[Certificate | ExactCertificate],
    labels: Sequence[str] | None,
    label_map: Mapping[str, str] | None = None,
) -> Standing:
    """The standing of a run: ``outcomes`` decide who is in the denominators, ``certificates`` are those it has.

    ``labels`` is None where answers are open; ``label_map`` is what gold labels were read by.
    """
    everything = list(certificates)
    held = [c for c in everything if isinstance(c, Certificate)]
    scored = [o for o in outcomes if o.scored]
    figures = tuple(_figures(label, scored) for label in labels or () if any(o.gold == label for o in scored))
    gold = Counter(o.gold for o in scored)
    votes: Counter[str] = Counter()
    for certificate in everything:
        votes.update(_votes_of(certificate))
    constant, leading = gold.most_common(1), votes.most_common(1)
    caps = [(c.radius, sum(c.subject.attackable)) for c in held]
    capped = [radius.words >= cap for radius, cap in caps if radius is not None and cap]
    total = sum(votes.values())
    found = Standing(
        labels=figures,
        balanced_accuracy=fmean(f.clean_accuracy for f in figures) if figures else None,
        balanced_certified=fmean(f.certified for f in figures) if figures else None,
        constant_label=constant[0][0] if constant else None,
        constant_share=constant[0][1] / len(scored) if constant else None,
        leading_label=leading[0][0] if total else None,
        leading_share=leading[0][1] / total if total else None,
        mask_rate=float(held[0].settings.mask_rate) if held else None,
        at_cap=fmean(capped) if capped else None,
        attackable=median(cap for _, cap in caps) if caps else None,
    )
    unpublished = [c.settings.method for c in held if not c.settings.published]
    return _with_warnings(found, scored, labels, label_map or {}, unpublished)


def balanced_at(outcomes: Iterable[Outcome], delta: int) -> float | None:
    """Mean over the gold labels of the share that is right and certified at ``delta``; None without a label."""
    held: defaultdict[str, list[bool]] = defaultdict(list)
    for o in outcomes:
        if o.gold is not None:
            held[o.gold].append(o.certified_at(delta))
    return fmean(map(fmean, held.values())) if held else None


def _votes_of(certificate: Certificate | ExactCertificate) -> Counter[str]:
    if isinstance(certificate, ExactCertificate):
        return Counter(certificate.counts)
    return Counter(certificate.selection.counts) + Counter(certificate.estimation.counts)


def _figures(label: str, scored: Sequence[Outcome]) -> LabelFigures:
    mine = [o for o in scored if o.gold == label]
    return LabelFigures(
        label=label,
        inputs=len(mine),
        clean_accuracy=fmean(o.correct for o in mine),
        certified=fmean(o.certified_at(DELTA) for o in mine),
        r_avg=None if endless(mine) else fmean(o.certified_radius or 0 for o in mine),
    )


def _with_warnings(
    found: Standing,
    scored: Sequence[Outcome],
    labels: Sequence[str] | None,
    label_map: Mapping[str, str],
    unpublished: Sequence[str],
) -> Standing:
    said: list[str] = []
    if unpublished:
        said.append(f"{unpublished[0]} has no published radius: figures without a threat are about replaced words")
    if labels is not None and any(not o.failed for o in scored):
        said += [*_one_sided(found, scored), *_below_constant(found, scored), *_below_chance(scored, labels, label_map)]
    values = {name: getattr(found, name) for name in Standing.__slots__ if name != "warnings"}
    return Standing(**values, warnings=tuple(said))


def _one_sided(found: Standing, scored: Sequence[Outcome]) -> Iterator[str]:
    label, share = found.leading_label, found.leading_share
    if len(scored) > 1 and share is not None and share > ONE_SIDED:
        own = sum(o.gold == label for o in scored) / len(scored)
        yield (
            f"{label!r} has {share:.0%} of the votes ({own:.0%} of the gold labels): "
            "an answer that hardly ever changes is robust whatever the text; see the figures by label"
        )


def _below_constant(found: Standing, scored: Sequence[Outcome]) -> Iterator[str]:
    right = sum(o.correct for o in scored) / len(scored)
    if len(scored) > 1 and found.constant_share is not None and right < found.constant_share:
        yield (
            f"{right:.0%} right is less than always answering {found.constant_label!r} gets "
            f"({found.constant_share:.0%} right, certified at every radius)"
        )


def _below_chance(scored: Sequence[Outcome], labels: Sequence[str], label_map: Mapping[str, str]) -> Iterator[str]:
    """One-sided binomial test of the answers that were given against guessing; abstentions are no wrong answers."""
    from scipy.stats import binomtest

    answered = [o for o in scored if not o.failed and o.prediction is not None]
    right = sum(o.correct for o in answered)
    if not answered or binomtest(right, len(answered), 1 / len(labels), alternative="less").pvalue >= BELOW_CHANCE:
        return
    yield (
        f"{right} of {len(answered)} answers are right, significantly fewer than guessing would get: "
        f"{_likely_cause(answered, labels, label_map)}"
    )


def _likely_cause(answered: Sequence[Outcome], labels: Sequence[str], label_map: Mapping[str, str]) -> str:
    from scipy.optimize import linear_sum_assignment

    label, count = Counter(o.prediction for o in answered).most_common(1)[0]
    if count > ONE_SIDED * len(answered):
        return f"nearly every answer is {label!r}; look at the prompt and at the label column"
    place = {name: i for i, name in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), dtype=int)
    for o in answered:
        if o.gold in place and o.prediction in place:
            table[place[o.gold], place[o.prediction]] += 1
    rows, columns = linear_sum_assignment(table, maximize=True)
    other = {labels[i]: labels[j] for i, j in zip(rows, columns, strict=True) if i != j}
    best = int(table[rows, columns].sum())
    read = f"they were read as {written_map(label_map)}; " if label_map else ""
    return (
        f"the gold labels are probably turned round: with {written_map(other)} instead, {best} of {len(answered)} "
        f"would be right; {read}--label-map settles it"
    )
