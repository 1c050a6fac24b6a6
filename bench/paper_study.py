"""One model of bench/paper.py: its methods and their settings, and where its results are kept."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paper_page
from clucert.report.summary import Summary
from paper_models import Asked, Fields, digest, shown
from run import processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "bench/results", ROOT / "docs/paper.md"
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
        grid = [
            {"mask_rate": rate} | ({"threshold": tau} if tau else {})
            for rate in self.options.mask_rates
            for tau in (TAUS if method == "clucert" else (None,))
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
