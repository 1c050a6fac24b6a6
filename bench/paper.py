"""Every table and figure of *CluCERT* (AAAI 2026) on a model at hand, and which of its claims hold there.

    python bench/paper.py --data ../shared/data --model smollm2 [--rows 60] [--tasks sst2 agnews] [--only table1]

``--model`` is a language model as `clucert` takes it (``smollm2``, ``hf/smollm2``, ``hf/FILE.gguf``, ``vllm/NAME``), or
``tfidf`` or ``minilm``: a classifier trained here on ``<task>_train.jsonl``. The same command goes on where it was
stopped, row by row (``--out``). Results are kept in ``bench/results/paper-MODEL.json``, and ``docs/paper.md`` is
written anew from all files of this kind after every part, so it says what was run and nothing else.

Methods are tuned alike: the same mask rates, the same validation rows (as many of each label), and the largest mean
published radius of the settings that get at most one row less right than the best one; ablations of clucert keep its
setting. Refine is the same for
all, as in the paper, but where a line says otherwise. Parts: pools, grid, table1 (with figure3), refine, table2,
figure4, speed; the claims come last.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import paper_grid
import paper_page
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
from paper_models import TRAINED, Asked, Fields, digest, estimate, figures, shown
from paper_speed import speed
from proofs import rows_of
from run import processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE, PICTURES = ROOT / "bench/results", ROOT / "docs/paper.md", ROOT / "docs/paper"
LENGTHS = {"sst2": 10, "agnews": 20, "gsm8k": 30}
"""L, half of a usual text: a longer one leaves most texts whole."""
WIDE = {"lexicon": ["wide"]}
METHODS: dict[str, Fields] = {
    "clucert": {"method": "clucert", **WIDE},
    "clucert, no clustering": {"method": "clucert", "clustering": "threshold", **WIDE},
    "clucert, no filter": {"method": "clucert-no-clustering", **WIDE},
    "clucert, no refine": {"method": "clucert-no-refine", **WIDE},
    "clucert, strict lexicon": {"method": "clucert"},
    "ranmask": {"method": "ranmask"},
    "selfdenoise": {"method": "selfdenoise"},
    "clucert-proved": {"method": "clucert-proved"},
}
OWN_REFINE = ("clucert, no refine", "clucert-proved")
"""No refine: one is there to show it, the other's radii would not be of the original text."""
ABLATIONS = ("clucert, no clustering", "clucert, no filter", "clucert, no refine", "clucert, strict lexicon")
"""At the setting of clucert: tuned by itself, each would differ from it in more than what it is there to show."""
TAUS = (0.5, 0.7)
RECIPES = ("deepwordbug", "textbugger")
Say = Callable[[str], None]


class Study:
    """One model: its options, what was found, and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        # The backend is part of it: hf/smollm2 is not smollm2.
        self.name = options.name or re.sub(r"[^\w.]+", "-", shown(options.model).removesuffix(".gguf")).strip("-")
        self.asked = Asked(options.model, options.data, options.out / self.name, options.deterministic)
        self.asked.out.mkdir(parents=True, exist_ok=True)
        self.file = RESULTS / f"paper-{self.name}.json"

    def keep(self, part: str, task: str, value: Any, seconds: float) -> None:
        """Write what was found, and the page."""
        options = {k: v if isinstance(v, int | float | list | None) else str(v) for k, v in vars(self.options).items()}
        given = {k: v for k, v in options.items() if k not in ("data", "out", "only", "name", "model")}
        given["encoders"] = [shown(name) for name in given["encoders"]]
        stamp = {"options": given, "seconds": round(seconds), "date": datetime.now(UTC).strftime("%Y-%m-%d")}
        stamp |= {"machine": processor(), "python": platform.python_version()}
        # Another command may have written a part of the same model meanwhile.
        found: Fields = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        found["model"] = shown(self.options.model)
        found.setdefault("parts", {}).setdefault(part, {})[task] = {**stamp, "found": value}
        RESULTS.mkdir(exist_ok=True)
        written = self.file.with_suffix(".tmp")
        written.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        written.replace(self.file)
        paper_page.write(RESULTS, PAGE)

    def say(self, what: str) -> None:
        """Progress."""
        print(what, file=sys.stderr, flush=True)

    # What every method gets

    @property
    def sampling(self) -> Fields:
        """N and N′."""
        return {"samples": self.options.samples, "certify_samples": self.options.certify}

    def fields(self, task: str, method: str) -> Fields:
        """The method with the refine that all share."""
        refine: Fields = {"refine": self.options.refine, "refine_length": LENGTHS[task]}
        return METHODS[method] | ({} if method in OWN_REFINE else refine)

    def methods(self) -> list[str]:
        """Those that were asked for and that this model can do."""
        chosen = [name for name in METHODS if self.options.methods is None or name in self.options.methods]
        return [name for name in chosen if name != "selfdenoise" or not self.asked.is_trained]

    def tuned(self, task: str, method: str) -> Fields:
        """The method's fields with the setting that validation rows chose; tuned once."""
        fields = self.fields(task, method)
        if method in ABLATIONS:
            best = self.tuned(task, "clucert")
            kept = ("mask_rate",) if method == "clucert, no filter" else ("mask_rate", "threshold")
            return fields | {name: best[name] for name in kept} | {"tuned": []}
        uses_tau = METHODS[method]["method"] in ("clucert", "clucert-no-refine")
        grid = [
            {"mask_rate": rate} | ({"threshold": tau} if tau else {})
            for rate in self.options.mask_rates
            for tau in (TAUS if uses_tau else (None,))
        ]
        rows = self.asked.path(task, "_validation", self.options.validation_rows)
        known = digest(grid, fields, rows.read_text(encoding="utf-8"), self.sampling)
        file = self.asked.out / f"tuned-{task}-{slug(method)}-{known}.json"
        if file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            return fields | kept["best"] | {"tuned": kept["tried"]}
        self.say(f"{task}: tuning {method} on {self.options.validation_rows} validation rows")
        given = fields | self.sampling | {"limit": self.options.validation_rows}
        folder = f"tune-{task}-{slug(method)}-{rows.stem}"
        best, tried = self.asked.tune(task, folder, given, grid)
        file.write_text(json.dumps({"best": best, "tried": tried}), encoding="utf-8")
        return fields | best | {"tuned": tried}

    def certified(self, task: str, method: str, folder: str = "table1", **changes: Any) -> tuple[Summary, Fields]:
        """The tuned method on the test rows."""
        fields = self.tuned(task, method)
        tried = fields.pop("tuned")
        name = f"{folder}-{task}-{slug(method)}-{self.options.rows}"
        given = fields | self.sampling | {"limit": self.options.rows} | changes
        self.say(f"{task}: {method} on {given['limit']} rows")
        return self.asked.evaluate(task, "", name, given), {"setting": fields | changes, "tried": tried}


def slug(name: str) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^\w]+", "-", name).strip("-")


# The parts


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
    pictures = _picture(list(runs.values()), f"{study.name}-{task}", "certified-accuracy")
    left = [name for name in METHODS if name not in lines]
    return {"methods": lines, "first": first, "pairs": pairs, "left": left, "pictures": pictures}


def _picture(runs: Sequence[Summary], folder: str, name: str) -> dict[str, str]:
    """Draw one of the pictures of a report; where it lies, seen from the page."""
    with tempfile.TemporaryDirectory() as drawn:
        write_plots(list(runs), Path(drawn), ("svg",))
        (PICTURES / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(drawn) / f"{name}.svg", PICTURES / folder)
    return {name: f"paper/{folder}/{name}.svg"}


def _pair(first: Summary, other: Summary) -> Fields:
    kind = "published"
    found = compare_runs(first.outcomes[kind], other.outcomes[kind], np.random.default_rng(0), deltas=(0, 1))
    return {"r_avg": estimate(found.r_avg), "p": found.p_value, "right_p": found.certified[0].p_value}


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
            lines[way] = {
                "bare_right": estimate(proportion(sum(hits[way]), len(rows))),
                "shortened": float(
                    np.mean([len(k.positions) < len(split(r.text)) for (_, k), r in zip(done, rows, strict=True)])
                ),
                "fell_back": float(np.mean([k.fallback is not None for _, k in done])),
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
    runs = []
    for method in ("clucert", "ranmask", "selfdenoise"):
        if method not in study.methods():
            continue
        certify = study.options.figure4_samples - study.options.samples
        alone = {"limit": study.options.figure4_rows, "in_flight": 1}
        summary, how = study.certified(task, method, "figure4", certify_samples=certify, cache=False, **alone)
        runs.append(summary)
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
    return {"methods": lines, "pictures": _picture(runs, f"{study.name}-{task}", "stages")}


def _drawn(row: Any) -> int:
    """Certifying samples that were drawn of a row."""
    readings = row.certificate.readings if row.certificate else ()
    return readings[-1].drawn if readings else 0


PARTS: dict[str, Callable[[Study, str], Fields]] = {
    "pools": pools,
    "grid": lambda study, task: paper_grid.run(study.asked, task, study.options, study.say),
    "table1": table1,
    "refine": refine,
    "table2": table2,
    "figure4": figure4,
    "speed": lambda study, task: speed(
        study.options.model, study.asked.data, task, study.options.speed_queries, study.say
    ),
}
OPEN = ("pools", "table1")
"""Parts of a task with open answers: of GSM8K, the paper has Table 1."""


def main() -> None:
    options = parse()
    study = Study(options)
    study.say("$ " + shlex.join(["python", *sys.argv]))
    wanted = ["table1" if part == "figure3" else part for part in options.only or PARTS]
    for part in dict.fromkeys(wanted):
        for task in options.tasks:
            if task == "gsm8k" and (part not in OPEN or study.asked.is_trained):
                continue
            began = time.perf_counter()
            if found := PARTS[part](study, task):
                study.keep(part, task, found, time.perf_counter() - began)
    paper_page.write(RESULTS, PAGE)
    print(f"{study.file}, {PAGE}")


def parse() -> argparse.Namespace:
    """The options; sizes are those of a night on two cores with SmolLM2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--model", default="smollm2", help=f"as clucert takes it, or one of {', '.join(TRAINED)}")
    parser.add_argument("--rows", type=int, default=60, help="test rows of Table 1, Figure 3 and refine")
    parser.add_argument("--tasks", nargs="+", choices=LENGTHS, default=["sst2", "agnews"])
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "figure3"], help="these parts")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="of Table 1; all")
    parser.add_argument("--samples", type=int, default=25, help="N")
    parser.add_argument("--certify", type=int, default=100, help="N′")
    parser.add_argument("--validation-rows", type=int, default=24)
    parser.add_argument("--mask-rates", nargs="+", default=["0.7", "0.9", "0.95"], help="a half certifies little")
    parser.add_argument("--refine", choices=["off", "embedding", "llm"], default="embedding", help="of all methods")
    parser.add_argument("--grid-samples", type=int, default=40)
    parser.add_argument("--encoders", nargs="+", default=["minilm"], help="of the grid: minilm, sbert/NAME")
    parser.add_argument("--attacked", type=int, default=30, help="rows of Table 2")
    parser.add_argument("--votes", type=int, default=25, help="of a query in Table 2")
    parser.add_argument("--max-queries", type=int, help="of one attack")
    parser.add_argument("--slow-votes", type=int, default=3, help="of selfdenoise")
    parser.add_argument("--slow-queries", type=int, default=50, help="of one attack on selfdenoise")
    parser.add_argument("--figure4-samples", type=int, default=1000, help="of a row")
    parser.add_argument("--figure4-rows", type=int, default=10, help="those that abstain are not timed")
    parser.add_argument("--speed-queries", type=int, default=200)
    parser.add_argument("--deterministic", action="store_const", const=True, help="vouch for a server")
    parser.add_argument("--name", help="of the result file; from the model's")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
