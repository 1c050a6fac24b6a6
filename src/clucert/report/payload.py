"""The inputs of the runs as one JSON value, for the page's own script: what a reader may open, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.explanation import radius_words
from clucert.core.radius import Radius
from clucert.core.words import split
from clucert.report.outcome import state_of
from clucert.report.runs import Input, Kind, Run

Json = dict[str, Any]

PROVED: tuple[Kind, ...] = ("word", "synonym")

SAMPLES = 5
"""Noised texts shown of each kind (kept, dropped) per input at most."""
SAMPLE_BUDGET = 16_000_000
"""Characters of noised texts in one page at most: a page of 2,000 long inputs still opens on a phone."""


def payload(runs: Sequence[Run]) -> Json:
    """What the table of inputs is drawn from."""
    budget = SAMPLE_BUDGET // len(runs)
    return {"runs": [{"name": run.name, "inputs": list(_inputs(run, budget))} for run in runs]}


def embed(value: Json) -> str:
    """``value`` as JSON in ASCII that is inert in HTML: no ``<``, ``>``, ``&`` and no line separator is left in it."""
    encoded = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _inputs(run: Run, budget: int) -> Iterable[Json]:
    for row in run.inputs:
        fields = _input(row)
        samples = [] if row.certified is None else list(_samples(row.certified.samples))
        budget -= sum(len(sample[0]) for sample in samples)
        if budget > 0:
            fields["samples"] = samples
        elif samples:
            fields["cut"] = True
        yield fields


def _input(row: Input) -> Json:
    fields: Json = {"id": row.id, "gold": row.gold, "state": state_of(row)}
    certificate = row.certificate
    if certificate is None:
        return fields | {"error": row.error}
    fields |= {
        "answer": row.answer,
        "why": certificate.abstained if row.answer is None else None,
        "n": certificate.n,
        "s": certificate.s,
        "domain": certificate.subject.domain,
        "refined": certificate.subject.noised_text if certificate.subject.domain == "refined" else None,
        "confidence": 1.0 if certificate.exhaustive else 1 - certificate.settings.alpha,
        "assumes": list(certificate.assumptions),
        "notes": list(certificate.notes),
        **marked(certificate),
        **_radii(row, certificate),
        **_votes(certificate),
    }
    if row.cost is not None:
        total = row.cost.total
        fields["cost"] = {
            "calls": total.calls,
            "input": total.input,
            "cached": total.cached,
            "output": total.output,
            "seconds": round(sum(row.cost.seconds.values()), 3),
        }
    return fields


def marked(certificate: Certificate) -> Json:
    """The original text as ``[gap, word, gap, …, gap]`` and one letter for each word: ``r`` refined away, ``a``
    attackable, ``p`` protected (its reason in ``reasons``), ``-`` a word that nothing was put in place of.
    """
    subject = certificate.subject
    original = split(subject.text)
    parts = [part for pair in zip(original.gaps, original.words, strict=False) for part in pair] + [original.gaps[-1]]
    marks = ["r"] * len(original)
    reasons: dict[int, str] = {}
    for i, position in enumerate(subject.positions):
        if position >= len(marks):  # split by another version of the word rules
            return {"parts": [subject.text], "marks": "", "reasons": {}}
        reason = subject.protected[i]
        if reason is not None:
            reasons[position] = reason
        marks[position] = "a" if subject.attackable[i] else "-" if reason is None else "p"
    return {"parts": parts, "marks": "".join(marks), "reasons": reasons}


def _radii(row: Input, certificate: Certificate) -> Json:
    attackable = sum(certificate.subject.attackable)
    return {
        "radius": _radius(row.radii["published"], attackable, certificate),
        "proved": {
            threat: _radius(row.radii[threat], len(certificate.overlaps[threat].masked), certificate)
            for threat in PROVED
            if threat in certificate.overlaps
        },
    }


def _radius(radius: Radius | None, attackable: int, certificate: Certificate) -> Json | None:
    if radius is None:
        return None
    said = radius_words(radius, attackable, certificate.n, certificate.subject.domain)
    # Without a number the table shows that there is nothing to sort by.
    return {"words": None if radius.nothing_to_attack else radius.words, "text": said}


def _votes(certificate: Certificate) -> Json:
    selection, estimation, bounds = certificate.selection, certificate.estimation, certificate.bounds
    rows: list[list[Any]] = []
    for label in dict.fromkeys([*selection.counts, *estimation.counts]):
        count = estimation.counts.get(label, 0)
        share = round(count / estimation.kept, 6) if estimation.kept else None
        side, bound = "", None
        if bounds is not None and estimation.kept:
            side = "low" if label == bounds.winner else "high"
            bound = round(float(bounds.low if side == "low" else bounds.high.get(label, 1)), 6)
        rows.append([label, selection.counts.get(label, 0), count, share, side, bound])
    return {
        "votes": rows,
        "unparsed": [selection.unparsed, estimation.unparsed],
        "dropped": [selection.dropped, estimation.dropped],
        "drawn": [selection.drawn, estimation.drawn],
    }


def _samples(samples: Sequence[Sample]) -> Iterable[list[Any]]:
    for kept in (True, False):
        # The votes that the radius rests on come first.
        rows = [
            sample
            for stage in ("certify", "predict")
            for sample in samples
            if (sample.kept, sample.stage) == (kept, stage)
        ]
        for sample in rows[:SAMPLES]:
            yield [sample.text, sample.vote, int(kept)]
