"""Run directories as an evaluation leaves them, built from certificates in code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clucert.certificate_json import write
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.noise.retention import retained_count
from clucert.core.protect import reasons
from clucert.core.radius import Overlap
from clucert.core.settings import Base, Look, Settings, Subject
from clucert.core.smoothing import Certified
from clucert.core.words import split
from clucert.evaluate.run_directory import input_digest
from clucert.types import Cost, Usage, Votes

SENTENCES = (
    ("a thoughtful , honest and quietly funny film that earns its tears", "positive"),
    ("the plot is thin and the jokes are worse", "negative"),
    ("not once in 94 minutes does it bore , which is more than most sequels manage", "positive"),
    ("slow , sentimental and never convincing", "negative"),
    ("the performances are superb and the writing never talks down to its audience", "positive"),
    ("it is a mess from the first frame to the last , and a long mess at that", "negative"),
    ("an absorbing drama , beautifully photographed by a director who trusts silence", "positive"),
    ("there is little to like here unless you collect bad accents", "negative"),
)


@dataclass(frozen=True)
class Spec:
    """What one run's certificates look like."""

    method: str = "clucert"
    recovery: str = "synonym"
    clustering: str = "agglomerative"
    refine_length: int | None = None
    mask_rate: Fraction = Fraction(7, 10)
    strength: float = 0.96
    """About the share of votes that go to the right label."""
    seed: int = 1
    samples: int = 200
    manifest: dict[str, Any] = field(default_factory=dict)


def certified(text: str, gold: str, spec: Spec, rng: np.random.Generator) -> Certified:
    """One certificate with drawn votes."""
    original = split(text)
    positions = tuple(range(len(original)))
    if spec.refine_length is not None and len(original) > spec.refine_length:
        positions = tuple(sorted(rng.choice(len(original), spec.refine_length, replace=False).tolist()))
    why = reasons(original)
    words = tuple(original.words[i] for i in positions)
    swappable = tuple(why[i] is None and len(original.words[i]) > 3 for i in positions)
    masked = spec.recovery in ("mask", "llm")
    subject = Subject(
        text=text,
        noised_text=" ".join(words) if len(words) < len(original) else text,
        domain="refined" if len(words) < len(original) else "original",
        original_words=len(original),
        words=words,
        retained=retained_count(len(words), spec.mask_rate),
        attackable=(True,) * len(words) if masked else swappable,
        protected=tuple(why[i] for i in positions),
        positions=positions,
    )
    share = float(np.clip(spec.strength - rng.exponential(0.08), 0.2, 0.999))
    selection = _votes(rng, share, 50, gold, spec)
    estimation = _votes(rng, share, spec.samples, gold, spec)
    hidden = Fraction(1 if masked else 0)
    overlap = Fraction(1 if masked else rng.integers(0, 4).item(), 1 if masked else 8)
    certificate = Certificate(
        subject=subject,
        settings=Settings(
            base=Base(("smollm2",), "sst2"),
            method=spec.method,
            mask_rate=spec.mask_rate,
            recovery=spec.recovery,
            clustering=spec.clustering,
            threshold=0.5 if spec.clustering != "none" else None,
            refine="llm" if spec.refine_length else "off",
            refine_length=spec.refine_length,
            alpha=0.05,
            gamma=1.0,
            predict_samples=50,
            looks=(Look(spec.samples),),
            seed=spec.seed,
        ),
        labels=labels_of(gold),
        selection=selection,
        readings=(estimation,),
        overlaps={
            "word": Overlap((hidden,) * len(words)),
            "synonym": Overlap((overlap,) * sum(swappable)),
        },
    )
    if certificate.abstained_at_selection:
        certificate = Certificate(
            **{name: getattr(certificate, name) for name in Certificate.__slots__ if name != "readings"}, readings=()
        )
    return Certified(certificate, tuple(_samples(text, gold, spec, rng)))


def _votes(rng: np.random.Generator, share: float, drawn: int, gold: str, spec: Spec) -> Votes:
    dropped = int(rng.binomial(drawn, 0.25)) if spec.clustering != "none" else 0
    kept = drawn - dropped
    unparsed = int(rng.binomial(kept, 0.02))
    right = int(rng.binomial(kept - unparsed, share))
    counts = {label: right if label == gold else kept - unparsed - right for label in labels_of(gold)}
    return Votes(counts, unparsed, dropped)


def labels_of(gold: str) -> tuple[str, str]:
    """Two labels, of which ``gold`` is one."""
    return ("negative", gold if gold != "negative" else "positive")


def _samples(text: str, gold: str, spec: Spec, rng: np.random.Generator) -> Sequence[Sample]:
    words = split(text)
    for i in range(6):
        noised = words.join(["[MASK]" if rng.random() < 0.6 else word for word in words.words])
        kept = i < 4 or spec.clustering == "none"
        yield Sample(noised, gold if kept else None, kept, "certify")


def cost_of(spec: Spec, rng: np.random.Generator) -> Cost:
    """Calls, tokens and seconds of one input."""
    calls = 50 + spec.samples
    seconds = {
        "refine": 0.01,
        "noise": 0.02,
        "recover": 0.05,
        "encode": 0.8,
        "cluster": 0.2,
        "model": 3.0,
        "certificate": 0.001,
    }
    if spec.recovery == "llm":
        seconds["recover"] = 12.0
    if spec.clustering == "none":
        seconds["encode"] = seconds["cluster"] = 0.0
    jitter = rng.uniform(0.8, 1.2)
    return Cost(
        samples=calls,
        classify=Usage(calls, calls * 60, calls, calls * 40),
        generate=Usage(),
        seconds=Counter({work: value * jitter for work, value in seconds.items()}),
    )


def rows(count: int) -> list[tuple[str, str, str]]:
    """(id, text, gold) for ``count`` inputs, all different."""
    return [
        (str(i), SENTENCES[i % 8][0] if i < 8 else f"{SENTENCES[i % 8][0]} , take {i // 8 + 1}", SENTENCES[i % 8][1])
        for i in range(count)
    ]


def write_run(path: Path, spec: Spec | None = None, inputs: Sequence[tuple[str, str, str | None]] | int = 8) -> Path:
    """A run directory; an input whose text is empty is a failed one."""
    spec = spec or Spec()
    rng = np.random.default_rng(spec.seed)
    path.mkdir(parents=True, exist_ok=True)
    lines = []
    for id_, text, gold in rows(inputs) if isinstance(inputs, int) else inputs:
        record: dict[str, Any] = {"id": id_, "gold": gold, "status": "done", "error": None, "document": None}
        record |= {"reused": None, "input": input_digest(id_, text, gold)}
        if text:
            # An input without a gold label still has votes for something.
            made = certified(text, gold or "positive", spec, rng)
            record["document"] = write(made, cost_of(spec, rng))
        else:  # a call that failed for good
            record |= {"status": "failed", "error": "the server closed the connection (5 tries)"}
        lines.append(json.dumps(record))
    manifest = {
        "schema_version": 1,
        "clucert_version": "0.1.0",
        "created": "2026-01-01T00:00:00Z",
        "command": ["clucert", "evaluate", "--task", "sst2", "--data", "reviews.jsonl", "--method", spec.method],
        "config": {"alpha": 0.05},
        "task": "sst2",
        "labels": ["negative", "positive"],
        "method": spec.method,
        "parameters": {},
        "model": ["smollm2"],
        "data": {"path": "reviews.jsonl", "sha256": "0" * 64, "rows": len(lines)},
        "seed": spec.seed,
        "versions": {"numpy": "2.0.0"},
        **spec.manifest,
    }
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (path / "records.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_audit(run: Path, *, text: str = "a dull film", word: str = "dull", label: str = "negative") -> None:
    """An audit of ``run``: the published radius broken once in three, the proved one never in two."""
    claim = {"kind": "published", "threat": "word", "radius": 1, "positions": [1], "answer": "positive"}
    broken = {
        **{"id": "3", "claim": claim, "tried": 9, "broken": True, "idea": "antonyms", "text": text},
        **{"changed": [["fine", word]], "votes": {"positive": 1}, "answer": label, "p_value": 1e-9},
    }
    row = {"threat": "word", "texts": 40}
    published = {**row, "radius": "published", "tried": 3, "broken": 1, "share": 1 / 3, "low": 0.01, "high": 0.9}
    proved = {**row, "radius": "proved", "tried": 2, "broken": 0, "share": 0.0, "low": 0.0, "high": 0.84}
    document = {
        **{"schema_version": 1, "run": str(run), "alpha": 0.05, "effort": {}, "certified": 5, "spent": {}},
        **{"rows": [proved, published], "attempts": [broken], "failed": {"9": "the server closed"}},
    }
    (run / "audit.json").write_text(json.dumps(document), encoding="utf-8")


METHODS = (
    Spec("ranmask", "mask", "none", strength=0.86, seed=1),
    Spec("selfdenoise", "llm", "none", strength=0.93, seed=1),
    Spec("clucert", "synonym", "agglomerative", refine_length=9, strength=0.97, seed=1),
)

HOSTILE = (
    "<script>alert(1)</script> is what the review says",
    "</script><script>alert(2)</script><!-- a fine film --><img src=x onerror=alert(3)>",
    "safe \u202egnp.exe\u202c and \u0000 nothing\u2028else \U0001f600",
    "{{ 7 * 7 }} ${alert(4)} `back` 'single' \"double\" \\u003cb\\u003e &lt;b&gt;",
    "=cmd|' /C calc'!A0",
    "[click](javascript:alert(5)) | <b>bold</b> ![x](http://evil.example/x.png)",
    "]]> stop here &#x0; \x0b\ufffe ]]>",
)
"""Texts that would like to be markup."""

NASTY = "<img src=x onerror=alert(6)>\u202e&amp;"
"""A label, method, model and path that would like to be markup."""


def write_hostile(path: Path) -> Path:
    """A run in which everything that comes from outside is hostile."""
    inputs = [(f"{i}{NASTY}", text, NASTY) for i, text in enumerate(HOSTILE)]
    inputs.append((f"failed{NASTY}", "", NASTY))
    manifest = {"method": NASTY, "model": [NASTY], "command": ["clucert", NASTY], "task": NASTY}
    manifest["versions"] = {NASTY: NASTY}  # type: ignore[assignment]
    manifest["data"] = {"path": NASTY, "sha256": NASTY, "rows": 1}  # type: ignore[assignment]
    return write_run(path, Spec(method=NASTY, manifest=manifest, strength=1.0), inputs)
