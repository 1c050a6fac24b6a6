"""The inputs of the runs as one JSON value, for the page's own script: what a reader may open, and no more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.exact import ExactCertificate
from clucert.core.exact_words import exact_sentences
from clucert.core.explanation import radius_words
from clucert.core.noise.ellipsis import collapse
from clucert.core.radius import KINDS, Radius
from clucert.core.words import split
from clucert.evaluate.radii import AnyCertificate, unit_of
from clucert.report.format import titled
from clucert.report.outcome import state_of
from clucert.report.runs import Input, Run

Json = dict[str, Any]

SAMPLES = 5
"""Noised texts shown of each kind (kept, dropped) per input at most."""
SAMPLE_BUDGET = 16_000_000
"""Characters of noised texts in one page at most: a page of 2,000 long inputs still opens on a phone."""


def payload(runs: Sequence[Run]) -> Json:
    """What the table of inputs is drawn from."""
    budget = SAMPLE_BUDGET // len(runs)
    held = {kind for run in runs for kind in run.kinds}
    kinds = [{"key": kind, "name": titled(kind)} for kind in KINDS if kind in held and kind != "published"]
    rows = [{"name": run.name, "inputs": list(_inputs(run, budget))} for run in runs]
    return {"kinds": kinds, "published": "published" in held, "runs": rows}


def embed(value: Json) -> str:
    """``value`` as JSON in ASCII that is inert in HTML: no ``<``, ``>``, ``&`` and no line separator is left in it."""
    encoded = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _inputs(run: Run, budget: int) -> Iterable[Json]:
    for row in run.inputs:
        fields = _input(row)
        samples = list(_samples(_samples_of(row), row.answer))
        budget -= sum(len(sample[0]) for sample in samples)
        if budget > 0:
            fields["samples"] = samples
            if samples and row.sampled and row.certified and not row.certified.samples:
                fields["retained"] = True
        elif samples:
            fields["cut"] = True
        yield fields


def _input(row: Input) -> Json:
    fields: Json = {"id": row.id, "gold": row.gold, "state": state_of(row)}
    certificate = row.certificate
    if certificate is None:
        return fields | {"error": row.error}
    fields |= _exact(row, certificate) if isinstance(certificate, ExactCertificate) else _sampled(row, certificate)
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


def _sampled(row: Input, certificate: Certificate) -> Json:
    return {
        "answer": row.answer,
        "why": certificate.abstained if row.answer is None else None,
        "n": certificate.n,
        "s": certificate.s,
        "unit": unit_of(certificate),
        "domain": certificate.subject.domain,
        "refined": certificate.subject.noised_text if certificate.subject.domain == "refined" else None,
        "confidence": 1.0 if certificate.exhaustive else 1 - certificate.settings.alpha,
        "assumes": list(certificate.assumptions),
        "notes": list(certificate.notes),
        **marked(certificate),
        **_radii(row, certificate),
        **_votes(certificate),
    }


def _exact(row: Input, certificate: ExactCertificate) -> Json:
    total = sum(certificate.counts.values()) + certificate.unparsed
    votes = [[label, None, count, round(count / total, 6), "", None] for label, count in certificate.counts.items()]
    return {
        "answer": row.answer,
        "why": None if row.answer is not None else "no sub-text got a label",
        "n": certificate.n,
        "s": None,
        "unit": unit_of(certificate),
        "domain": "original",
        "refined": None,
        "confidence": 1.0,
        "assumes": [],
        "notes": exact_sentences(certificate),
        "parts": [certificate.text],
        "marks": "",
        "reasons": {},
        "radius": None,
        "proved": {kind: _count(radius, certificate) for kind, radius in row.radii.items()},
        "votes": votes if total else [],
        "unparsed": [None, certificate.unparsed],
        "dropped": [0, 0],
        "drawn": [0, total],
    }


def _count(radius: Radius | None, certificate: AnyCertificate) -> Json | None:
    if radius is None:
        return None
    unit = unit_of(certificate)
    said = f"any number of {unit}" if radius.endless else f"{radius.words} of {certificate.n} {unit}"
    return {"words": None, "text": said, "short": "any"} if radius.endless else {"words": radius.words, "text": said}


def _samples_of(row: Input) -> Sequence[Sample]:
    """Noised texts that were kept for people; of an exact certificate its sub-texts."""
    certificate = row.certificate
    if isinstance(certificate, ExactCertificate):
        asked = zip(certificate.answers, certificate.votes, strict=True)
        return [Sample(shown.text, vote, True, "certify") for shown, vote in asked]
    stored = row.certified.samples if row.certified else ()
    return stored or (() if certificate is None else _retained(certificate, row.answer))


def _retained(certificate: Certificate, answer: str | None) -> list[Sample]:
    """Of votes without stored texts: the words that were left standing, by the retention sets of the records."""
    words, found = certificate.subject.words, list[Sample]()
    for record in certificate.vote_records:
        held = [i for i, kept in enumerate(record.kept) if kept]
        flipped = [i for i in held if record.votes[i] != answer][:SAMPLES]
        others = [i for i in held if record.votes[i] == answer][:SAMPLES]
        sets = record.sets(certificate.n)
        for i in [*flipped, *others]:
            found.append(Sample(collapse(words, sets[i].tolist()), record.votes[i], True, record.stage))
    return found


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
    if not certificate.settings.published:
        return {"radius": None, "proved": {kind: _count(radius, certificate) for kind, radius in row.radii.items()}}
    attackable = sum(certificate.subject.attackable)
    return {
        "radius": _radius(row.radii["published"], attackable, certificate),
        "proved": {
            threat: _radius(row.radii[threat], len(overlap.masked), certificate)
            for threat, overlap in certificate.overlaps.items()
        },
    }


def _radius(radius: Radius | None, attackable: int, certificate: Certificate) -> Json | None:
    if radius is None:
        return None
    said = radius_words(radius, attackable, certificate.n, certificate.subject.domain)
    # Without a number the table shows that there is nothing to sort by.
    if radius.nothing_to_attack:
        return {"words": None, "text": said, "short": "no target"}
    return {"words": radius.words, "text": said}


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


def _samples(samples: Sequence[Sample], answer: str | None) -> Iterable[list[Any]]:
    """A few of those that flipped, of those that did not, and of those that were dropped unseen."""
    for kept, flipped in ((True, True), (True, False), (False, None)):
        # The votes that the radius rests on come first.
        rows = [
            sample
            for stage in ("certify", "predict")
            for sample in samples
            if (sample.kept, sample.stage) == (kept, stage) and (flipped is None or (sample.vote != answer) == flipped)
        ]
        for sample in rows[:SAMPLES]:
            yield [sample.text, sample.vote, int(kept)]
