"""What no certification could have written: the fields of a certificate, each by itself and against the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import comb
from typing import Any

from clucert.core.bounds import is_reserved
from clucert.core.certificate import Certificate
from clucert.core.explanation import THREATS
from clucert.core.noise.canonical import ascend_within
from clucert.core.radius import Overlap
from clucert.core.settings import Settings
from clucert.errors import InputError


def problems(certificate: Certificate) -> Iterator[str]:
    """Inconsistencies that no certification could have written, as ``field: problem``; none for a valid certificate."""
    yield from _wrong_settings(certificate.settings)
    yield from _wrong_subject(certificate)
    labels = certificate.labels
    if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels)):
        yield "labels: there must be two or more, all different"
    if labels is not None and (named := next(filter(is_reserved, labels), None)):
        yield f"labels: {named!r} is the name of what is no label"
    if certificate.answers is not None and certificate.answers.probes < 0:
        yield "answers.probes: must be 0 or more"
    for where, votes in (
        ("selection", certificate.selection),
        *((f"readings.{i}", votes) for i, votes in enumerate(certificate.readings)),
    ):
        if min([*votes.counts.values(), votes.unparsed, votes.dropped]) < 0:
            yield f"{where}: a count is below 0"
        if named := next(filter(is_reserved, votes.counts), None):
            yield f"{where}.counts: {named!r} is the name of what is no label"
        if labels is not None and (strange := sorted(set(votes.counts) - set(labels))):
            yield f"{where}.counts: {strange[0]!r} is none of the labels"
    yield from _wrong_totals(certificate)


def _wrong_settings(settings: Settings) -> Iterator[str]:
    bounds: tuple[tuple[str, Any, bool], ...] = (
        ("alpha: must be above 0 and below 1", settings.alpha, 0 < settings.alpha < 1),
        ("gamma: must be 0 to 1", settings.gamma, 0 <= settings.gamma <= 1),
        ("mask_rate: must be 0 or more and below 1", settings.mask_rate, 0 <= settings.mask_rate < 1),
        ("threshold: must be -1 to 1", settings.threshold, -1 <= (settings.threshold or 0) <= 1),
        (
            "min_confidence: must be above 0, 1 at most, and with no clustering or flag",
            settings.min_confidence,
            settings.min_confidence is None
            or (0 < settings.min_confidence <= 1 and settings.clustering == "none" and settings.flag is None),
        ),
        ("predict_samples: must be 1 or more", settings.predict_samples, settings.predict_samples >= 1),
        ("recoveries: must be 1 or more", settings.recoveries, settings.recoveries >= 1),
        ("seed: must be 0 or more", settings.seed, (settings.seed or 0) >= 0),
        ("base.temperature: must be 0 or more", settings.base.temperature, settings.base.temperature >= 0),
    )
    yield from (f"settings.{what}, not {value}" for what, value, right in bounds if not right)
    try:
        noise = settings.noise
    except InputError as error:
        yield f"settings.keep: {error}"
    else:
        if noise is not None and (settings.clustering != "none" or settings.refine != "off" or settings.recoveries > 1):
            yield f"settings.recovery: {settings.recovery} goes with no clustering, refine or recoveries"
    if not settings.base.models:
        yield "settings.base.models: must name a model"
    for name, looks in (("looks", settings.looks), ("selection_looks", settings.selection_looks)):
        samples = [look.samples for look in looks]
        if samples != sorted(set(samples)) or (samples and samples[0] < 1):
            yield f"settings.{name}: samples must grow from look to look, not be {samples}"
        if any(look.share <= 0 for look in looks) or sum(look.share for look in looks) > 1:
            yield f"settings.{name}: shares of alpha must be above 0 and sum to 1 at most"


def _wrong_subject(certificate: Certificate) -> Iterator[str]:
    subject, n = certificate.subject, certificate.n
    if not 1 <= subject.retained <= n:
        yield f"subject.retained: must be 1 to the {n} words, not {subject.retained}"
    for name in ("attackable", "protected", "positions"):
        if len(getattr(subject, name)) != n:
            yield f"subject.{name}: has {len(getattr(subject, name))} entries for {n} words"
    if not ascend_within(subject.positions, subject.original_words):
        yield f"subject.positions: must ascend within the {subject.original_words} original words"
    if bool(certificate.settings.canonical) != (subject.free is not None):
        yield "subject.free: goes with settings.canonical"
    if subject.free is not None and (wrong := subject.free.wrong(certificate.settings.canonical)):
        yield f"subject.{wrong}"
    for threat, overlap in certificate.overlaps.items():
        if threat not in THREATS:
            yield f"overlaps.{threat}: is no threat"
        if len(overlap.masked) > n:
            yield f"overlaps.{threat}.masked: has {len(overlap.masked)} entries for {n} words"
        if not all(0 <= kappa <= 1 for kappa in (*overlap.masked, overlap.retained)):
            yield f"overlaps.{threat}: an overlap is not in 0 to 1"
        if overlap.shared or overlap.growth:
            yield from _wrong_pools(threat, overlap)


def _wrong_pools(threat: str, overlap: Overlap) -> Iterator[str]:
    if not len(overlap.shared) == len(overlap.growth) == len(overlap.masked):
        yield f"overlaps.{threat}: masked, shared and growth must have as many entries"
    if not all(0 <= share <= 1 for share in overlap.shared) or not all(factor >= 1 for factor in overlap.growth):
        yield f"overlaps.{threat}: a share is not in 0 to 1, or a growth is below 1"


def _wrong_totals(certificate: Certificate) -> Iterator[str]:
    """The level of a test depends on when its votes were read: they must be as many as was planned."""
    settings, drawn = certificate.settings, certificate.selection.drawn
    if certificate.exhaustive:
        if settings.keep is not None:
            yield "exhaustive: this noise is sampled"
        sets = comb(certificate.n, certificate.s)
        if drawn != sets:
            yield f"selection: has {drawn} votes, and there are {sets} retention sets"
        if certificate.readings:
            yield "readings: must be empty where every retention set was evaluated"
        return
    planned = [look.samples for look in settings.selection_looks] or [settings.predict_samples]
    if certificate.chosen_by_all:
        planned = [0]
    elif settings.direct:
        # Where labels are merged into two classes, those were counted.
        planned.insert(0, 0)
    if drawn not in planned:
        yield f"selection: has {drawn} votes, and was to be read at {planned}"
    read = [votes.drawn for votes in certificate.readings]
    if read != [look.samples for look in settings.looks][: len(read)]:
        yield f"readings: have {read} votes, and were to be read at {[look.samples for look in settings.looks]}"
    for before, after in pairwise(certificate.readings):
        if any(after.counts.get(label, 0) < count for label, count in before.counts.items()):
            yield "readings: are cumulative, and a count has shrunk"
