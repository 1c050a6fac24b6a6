"""The parts of bench/paper.py: each is what it finds of one model and one task."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clucert.attacks.stopwords import is_stopword
from clucert.core.protect import protected
from clucert.core.refine import keep_words, load_refiner
from clucert.core.words import split
from clucert.evaluate.compare import compare_runs
from clucert.evaluate.metrics import proportion
from clucert.lexicon import NAMES, load_lexicon
from clucert.report.plots import write as write_plots
from clucert.report.summary import Summary
from clucert.tasks import load_task
from clucert.types import Classify, Usage
from paper_claims import OWN, STRICT
from paper_models import Fields, estimate, figures, shown
from paper_study import LENGTHS, METHODS, ROOT, WIDE, Study, slug
from proofs import rows_of

PICTURES = ROOT / "docs/paper"
RECIPES = ("deepwordbug", "textbugger")


def pools(study: Study, task: str) -> Fields:
    """How much of the words has a pool, in each lexicon. Asks no model."""
    lines = (study.asked.data / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()[:1000]
    rows = [split(json.loads(line)["text"]) for line in lines]
    total: Counter[str] = Counter()
    sizes: dict[str, list[int]] = {name: [] for name in NAMES}
    for text in rows:
        kept = protected(text)
        pooled = {name: load_lexicon(name).pools(text, kept) for name in NAMES}
        for i, word in enumerate(text.words):
            content = not kept[i] and word.isalpha() and len(word) > 1 and not is_stopword(word.lower())
            total["words"] += 1
            total["content"] += content
            for name in NAMES:
                size = len(pooled[name][i])
                total[f"{name} words"] += size > 1
                total[f"{name} content"] += content and size > 1
                sizes[name] += [size] if size > 1 else []
    found = {
        name: {
            "words": total[f"{name} words"] / total["words"],
            "content": total[f"{name} content"] / total["content"],
            "size": float(np.mean(sizes[name])),
        }
        for name in NAMES
    }
    return {"rows": len(rows), "content": total["content"] / total["words"], "lexicons": found}


def table1(study: Study, task: str) -> Fields:
    """Every method, tuned alike; each against the first, paired by row. Figure 3 is drawn from the same runs."""
    runs: dict[str, Summary] = {}
    lines: dict[str, Fields] = {}
    for method in study.methods():
        summary, how = study.certified(task, method)
        runs[method], lines[method] = summary, figures(summary) | how
    first = next(iter(runs))
    pairs = {name: _pair(runs[first], run) for name, run in runs.items() if name != first}
    # Not the seconds by stage: an answer that an earlier method paid for takes none.
    pictures = _picture(runs, f"{study.name}-{task}", "certified-accuracy")
    left = [name for name in METHODS if name not in lines]
    return {"methods": lines, "first": first, "pairs": pairs, "left": left, "pictures": pictures}


def _picture(runs: Mapping[str, Summary], folder: str, name: str) -> dict[str, str]:
    """Draw one of the pictures of a report, runs by their names here; where it lies, seen from the page."""
    named = [replace(s, run=replace(s.run, name=told), index=i) for i, (told, s) in enumerate(runs.items())]
    with tempfile.TemporaryDirectory() as drawn:
        write_plots(named, Path(drawn), ("svg",))
        (PICTURES / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(drawn) / f"{name}.svg", PICTURES / folder)
    return {name: f"paper/{folder}/{name}.svg"}


def _pair(first: Summary, other: Summary) -> Fields:
    kind = "published"
    found = compare_runs(first.outcomes[kind], other.outcomes[kind], np.random.default_rng(0), deltas=(0, 1))
    return {"r_avg": estimate(found.r_avg), "p": found.p_value, "right_p": found.certified[0].p_value}


def filters(study: Study, task: str) -> Fields:
    """The same votes of whole texts through no filter, the method's, and the strict one that the grid found: Figure 3's
    ablation with nothing else in it. Asks the model nothing that *no refine* has not asked it."""
    given = (
        WIDE | study.sampling | {"mask_rate": study.tuned(task, "clucert")["mask_rate"], "limit": study.options.rows}
    )
    ways: dict[str, Fields] = {
        "no filter": {"method": "clucert-no-clustering", "refine": "off"},
        OWN: {"method": "clucert-no-refine", "threshold": 0.5},
    }
    strict = {"method": "clucert-no-refine", "threshold": 0.7, "clustering": "agglomerative:0.4"}
    named = {f"{STRICT}, {shown(name)}": strict | {"encoder": name} for name in study.options.encoders}
    runs: dict[str, Summary] = {}

    def evaluate(way: str, fields: Fields) -> None:
        study.say(f"{task}: {way} on {study.options.rows} rows")
        runs[way] = study.asked.evaluate(task, "", f"filter-{task}-{slug(way)}-{study.options.rows}", given | fields)

    for way, fields in (ways | named).items():
        evaluate(way, fields)
    for way, fields in named.items():
        # What is dropped is not asked about, so that more can be drawn.
        drawn = {name: math.ceil(given[name] / (runs[way].kept or 1.0)) for name in ("samples", "certify_samples")}
        evaluate(f"{way}, more samples", fields | drawn)
    plain = runs["no filter"]
    lines = {way: figures(run) | {"pair": None if run is plain else _pair(plain, run)} for way, run in runs.items()}
    return {"ways": lines}


def refine(study: Study, task: str) -> Fields:
    """Off, by embedding, by the language model: the bare model on the refined text, and the method's certificate."""
    ways = ("off", "embedding") if study.asked.is_trained else ("off", "embedding", "llm")
    rows = rows_of(study.asked.data / f"{task}.jsonl", study.options.rows)
    lines: dict[str, Fields] = {}
    hits: dict[str, list[bool]] = {}
    # An encoder and a helper are loaded for a method that refines by the language model.
    with study.asked.executor(task, {"method": "clucert", "refine": ways[-1], "refine_length": LENGTHS[task]}) as run:
        for way in ways:
            refiner = load_refiner(way, load_task(task))

            def steps(text: str, refiner: Any = refiner) -> Any:
                worded = split(text)
                kept = yield from refiner.refine(worded, LENGTHS[task])
                votes = yield Classify([keep_words(worded, kept.positions).text], "predict")
                return votes[0], kept

            # All at once: a local model writes many lists in the time of one.
            with ThreadPoolExecutor(len(rows)) as pool:
                done = list(pool.map(lambda row: run.run(lambda: steps(row.text))[0], rows))
            hits[way] = [vote == row.label for (vote, _), row in zip(done, rows, strict=True)]
            short = [k for (_, k), row in zip(done, rows, strict=True) if len(k.positions) < len(split(row.text))]
            words = sum(len(k.positions) for k in short)
            lines[way] = {
                "bare_right": estimate(proportion(sum(hits[way]), len(rows))),
                "shortened": len(short) / len(rows),
                # Of the words that shortened texts keep, those that this way chose.
                "own": 1 - sum(k.others for k in short) / words if words else None,
            }
    for way in ways:
        lost = sum(a and not b for a, b in zip(hits["off"], hits[way], strict=True))
        won = sum(b and not a for a, b in zip(hits["off"], hits[way], strict=True))
        length = None if way == "off" else LENGTHS[task]
        summary, _ = study.certified(task, "clucert", f"refine-{way}", refine=way, refine_length=length)
        lines[way] |= {"lost": lost, "won": won, "smoothed": figures(summary)}
    return {"rows": len(rows), "length": LENGTHS[task], "ways": lines}


def defences(study: Study, task: str) -> dict[str, tuple[str, Fields]]:
    """What Table 2 puts to the attacks: what it is called, the method, and its fields."""
    plain = study.asked.out / "canonical.yaml"
    plain.write_text(
        "description: The bare model, asked about the whole text.\nfamily: blocks\ncount: 1\n", encoding="utf-8"
    )
    forms = {"canonical": ["characters", "spelling"]}
    found: dict[str, tuple[str, Fields]] = {"none": ("none", {})}
    for method in ("ranmask", "clucert", "clucert, no refine", "selfdenoise"):
        if method in study.methods():
            fields = study.tuned(task, method)
            fields.pop("tuned")
            found[method] = (fields.pop("method"), fields)
    return found | {
        "deletion": ("deletion", {}),
        "groups": ("groups", {}),
        "canonical characters and spelling": (str(plain), forms),
        "groups, canonical": ("groups", forms),
    }


def table2(study: Study, task: str) -> Fields:
    """DeepWordBug and TextBugger against each defence, N votes a query."""
    options = study.options
    lines = []
    for name, (method, fields) in defences(study, task).items():
        votes = options.slow_votes if name == "selfdenoise" else options.votes
        most = options.slow_queries if name == "selfdenoise" else options.max_queries
        given = fields | {"limit": options.attacked, "samples": votes}
        study.say(f"{task}: attacks on {name}")
        folder = f"table2-{task}-{slug(name)}-{options.attacked}" + (f"-{most}" if most else "")
        rows = study.asked.attack(task, folder, RECIPES, method, given, most)
        sampled = name in ("ranmask", "clucert", "clucert, no refine", "selfdenoise", "deletion")
        lines += [{**r, "defence": name, "votes": votes if sampled else None, "most": most} for r in rows]
    return {"rows": options.attacked, "lines": lines}


def figure4(study: Study, task: str) -> Fields:
    """Seconds and tokens by stage of each method, from an empty cache, a row at a time, for each 1,000 samples.

    Only of rows of which all samples were drawn: one that abstains at its N votes needs no more.
    """
    lines: dict[str, Fields] = {}
    runs: dict[str, Summary] = {}
    for method in ("clucert", "ranmask", "selfdenoise"):
        if method not in study.methods():
            continue
        certify = study.options.figure4_samples - study.options.samples
        alone = {"limit": study.options.figure4_rows, "in_flight": 1}
        summary, how = study.certified(task, method, "figure4", certify_samples=certify, cache=False, **alone)
        rows = {row.id: row.cost for row in summary.run.inputs if row.cost and _drawn(row) >= certify}
        scale = 1 / max(len(rows), 1) * 1000 / study.options.figure4_samples
        usage = Usage.total([cost.total for cost in rows.values()])
        lines[method] = {
            "setting": how["setting"],
            "samples": study.options.figure4_samples,
            "rows": {name: sum(cost.seconds.values()) for name, cost in rows.items()},
            "seconds": {
                stage: scale * sum(cost.seconds.get(stage, 0.0) for cost in rows.values()) for stage in summary.seconds
            },
            "calls": usage.calls * scale,
            "tokens_in": usage.input * scale,
            "tokens_cached": usage.cached * scale,
            "tokens_out": usage.output * scale,
        }
        runs[method] = replace(summary, seconds=lines[method]["seconds"])
    return {"methods": lines, "pictures": _picture(runs, f"{study.name}-{task}", "stages")}


def _drawn(row: Any) -> int:
    """Certifying samples that were drawn of a row."""
    readings = row.certificate.readings if row.certificate else ()
    return readings[-1].drawn if readings else 0
