"""Which filter raises the share of right votes, and the margin that a proof may use? On validation rows.

Each row is noised once for each lexicon and mask rate, and every noised text is asked about; every filter then looks
at the same votes. Three kinds of filters:

* of the batch, as in the paper: a threshold τ on the cosine to the original, and the largest cluster;
* of one noised text alone: the model's own confidence, and the cosine to what the noise left of the text. What such a
  filter drops is a class of its own that never wins, so what is proved holds with it (docs/guarantees.md);
* none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.denoise import Denoiser, load_clusterer
from clucert.core.noise.retention import (
    MaskRecovery,
    SynonymRecovery,
    parse_mask_rate,
    retained_count,
    rng_for,
    sample_retention,
)
from clucert.core.threats import word_pools
from clucert.core.words import WordedText, split
from clucert.evaluate.metrics import bootstrap_mean
from clucert.lexicon import load_lexicon
from clucert.models.encoders import load_encoder
from clucert.protocols import Encoder
from clucert.types import Classify, Request, Scored
from paper_claims import STRICT
from paper_models import Asked, Fields, digest, shown
from proofs import Row, balanced, rows_of

TAUS = (0.5, 0.6, 0.7, 0.8, 0.9)
DIAMETERS = (0.2, 0.4, 0.6, 0.8)
CONFIDENCES = (0.6, 0.7, 0.8, 0.9)
LEFT = (0.5, 0.6, 0.7, 0.8)
LEXICONS = ("default", "wide", "mask")
"""``mask``: no lexicon, the mask token stays."""
Kept = NDArray[np.bool_]
Rows = NDArray[np.float32]


def batch_filters() -> dict[str, Denoiser]:
    """Of the batch, by what they are called."""
    found = {f"τ = {tau}": Denoiser(load_clusterer("threshold"), tau) for tau in TAUS}
    found |= {f"largest cluster, diameter {d}": Denoiser(load_clusterer(f"agglomerative:{d}")) for d in DIAMETERS}
    found |= {
        "largest of 2 means": Denoiser(load_clusterer("kmeans:2")),
        "hdbscan": Denoiser(load_clusterer("hdbscan")),
    }
    found |= {
        f"both: τ = {tau}, then diameter 0.8": Denoiser(load_clusterer("agglomerative"), tau) for tau in (0.5, 0.7)
    }
    return found | {f"both: {STRICT}": Denoiser(load_clusterer("agglomerative:0.4"), 0.7)}


@dataclass(frozen=True)
class Noised:
    """One row under one noise: ``texts`` of shape (S,), and what the noise left of the text in each."""

    original: str
    texts: Sequence[str]
    left: Sequence[str]


def noised(text: WordedText, lexicon: str, rate: str, samples: int) -> Noised:
    """The samples of one row; the same retention sets whatever the lexicon."""
    rng = rng_for(0, text.text, f"grid-{rate}")
    retained = sample_retention(rng, len(text), retained_count(len(text), parse_mask_rate(rate)), samples)
    pools = None if lexicon == "mask" else word_pools(text.words, load_lexicon(lexicon), ())
    recovery = MaskRecovery() if pools is None else SynonymRecovery(pools)
    left = [" ".join(w for w, kept in zip(text.words, row, strict=True) if kept) for row in retained.tolist()]
    return Noised(text.text, _returned(recovery.recover(text, retained, rng, "predict")), left)


def _returned(steps: Generator[Request, Any, Any]) -> Sequence[str]:
    try:
        next(steps)
    except StopIteration as stop:
        texts: Sequence[str] = stop.value.texts
        return texts
    raise RuntimeError("such a recovery asks nothing")


def _asked(texts: Sequence[str]) -> Generator[Request, Any, Sequence[Scored]]:
    answers: Sequence[Scored] = yield Classify(texts, "predict", scored=True)
    return answers


def measure(row: Row, noise: Noised, answers: Sequence[Scored], encoders: Sequence[Encoder]) -> Fields:
    """Of one row under one noise: for every filter the votes that it keeps, of the gold label and of the best other."""
    votes = [answer.answer for answer in answers]
    found: dict[str, list[int]] = {"none": _counts(votes, row.label, np.ones(len(votes), np.bool_))}
    confidence = np.array([max(answer.shares.values(), default=0.0) for answer in answers])
    if (confidence < 1).any():
        found |= {f"confidence ≥ {c}": _counts(votes, row.label, confidence >= c) for c in CONFIDENCES}
    right = np.array([vote == row.label for vote in votes])
    correlation = {}
    for encoder in encoders:
        rows = encoder.encode([noise.original, *noise.texts, *noise.left])
        original, embedded, left = rows[0], rows[1 : 1 + len(votes)], rows[1 + len(votes) :]
        by = "" if len(encoders) == 1 else f", {shown(encoder.name)}"
        for name, denoiser in batch_filters().items():
            found[name + by] = _counts(votes, row.label, denoiser.select(embedded, original))
        near = np.einsum("nd,nd->n", embedded, left)
        found |= {f"cosine to what is left ≥ {t}{by}": _counts(votes, row.label, near >= t) for t in LEFT}
        similarity = embedded @ original
        if 0 < right.mean() < 1 and similarity.std() > 0:
            correlation[shown(encoder.name)] = float(np.corrcoef(similarity, right)[0, 1])
    return {"counts": found, "samples": len(votes), "distinct": len(set(noise.texts)), "correlation": correlation}


def _counts(votes: Sequence[str | None], gold: str, kept: Kept) -> list[int]:
    """Votes that are kept, for gold, and for the best other label."""
    names = [vote for vote, stays in zip(votes, kept.tolist(), strict=True) if stays]
    others = [names.count(other) for other in {*names} - {gold, None}]
    return [len(names), names.count(gold), max(others, default=0)]


def run(asked: Asked, task: str, options: Any, say: Callable[[str], None]) -> Fields:
    """The grid of one task: every noise on the first validation rows of each label; goes on where it was stopped."""
    rows = balanced(rows_of(asked.data / f"{task}_validation.jsonl"), options.validation_rows)
    store = (
        asked.out / f"grid-{task}-{digest(options.grid_samples, options.encoders, [row.text for row in rows])}.jsonl"
    )
    done = {(r["row"], r["lexicon"], r["mask_rate"]): r for r in _lines(store)}
    wanted = [(i, x, m) for m in options.mask_rates for x in LEXICONS for i in range(len(rows))]
    missing = [w for w in wanted if w not in done]
    if missing:
        encoders = [load_encoder(name) for name in options.encoders]
        with asked.executor(task, {}) as executor, store.open("a", encoding="utf-8") as file:
            for i, lexicon, rate in missing:
                text = split(rows[i].text)
                noise = noised(text, lexicon, rate, options.grid_samples)
                answers, _ = executor.run(lambda noise=noise: _asked(noise.texts))
                record = {"row": i, "lexicon": lexicon, "mask_rate": rate, "gold": rows[i].label}
                record |= measure(rows[i], noise, answers, encoders)
                file.write(json.dumps(record) + "\n")
                file.flush()
                done[i, lexicon, rate] = record
                say(f"grid {task}: row {i + 1} of {len(rows)}, {lexicon}, mask rate {rate}")
    return summarise([done[w] for w in wanted], len(rows))


def _lines(path: Path) -> list[Fields]:
    """The records of an earlier run; a line that a kill tore is taken out, and done again."""
    if not path.exists():
        return []
    whole, torn, _ = path.read_text(encoding="utf-8").rpartition("\n")
    path.write_text(whole + torn, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def summarise(records: Sequence[Fields], rows: int) -> Fields:
    """By lexicon and mask rate, and by filter: means over the rows, differences to no filter with 95 % intervals."""
    noises: list[Fields] = []
    for lexicon, rate in dict.fromkeys((r["lexicon"], r["mask_rate"]) for r in records):
        mine = [r for r in records if (r["lexicon"], r["mask_rate"]) == (lexicon, rate)]
        encoders = dict.fromkeys(name for r in mine for name in r["correlation"])
        noises.append(
            {
                "lexicon": lexicon,
                "mask_rate": rate,
                "samples": mine[0]["samples"],
                "distinct": float(np.mean([r["distinct"] for r in mine])),
                "correlation": {
                    name: interval(np.array([r["correlation"][name] for r in mine if name in r["correlation"]]))
                    for name in encoders
                },
                "filters": [
                    _filter(name, mine) for name in mine[0]["counts"] if all(name in r["counts"] for r in mine)
                ],
            }
        )
    return {"rows": rows, "noises": noises}


def _filter(name: str, records: Sequence[Fields]) -> Fields:
    """One line: p(gold) among the kept (0 where none is kept: the method abstains), and the margin of all drawn."""
    table = np.array([[*r["counts"][name], *r["counts"]["none"]] for r in records], float)
    kept, gold, other, drawn, all_gold, all_other = table.T
    share = np.divide(gold, kept, out=np.zeros_like(gold), where=kept > 0)
    gain = share - all_gold / drawn
    margin = (gold - other) / drawn - (all_gold - all_other) / drawn
    return {
        "filter": name,
        "kept": float((kept / drawn).mean()),
        "p_gold": float(share.mean()),
        "gain": interval(gain),
        "majority_right": float(((gold > other) & (2 * gold > kept)).mean()),
        "margin_gain": interval(margin),
        "raised": float((gain > 1e-9).mean()),
        "lowered": float((gain < -1e-9).mean()),
    }


def interval(values: NDArray[np.float64]) -> list[float | None]:
    """The mean over the rows with its bootstrap interval; none where all rows are equal."""
    found = bootstrap_mean(values, np.random.default_rng(0), 0.95)
    return [found.value, found.low, found.high]
