"""Whom bench/paper.py asks: a language model by its name, or a classifier that is trained here. Same studies for both.

Every study has a run directory of its own and goes on where it was stopped, row by row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from clucert.attacks.study import AttackStudy, run_attacks
from clucert.build import certifier_of, task_of
from clucert.evaluate import study
from clucert.evaluate.metrics import Estimate
from clucert.evaluate.runconfig import StudyConfig
from clucert.evaluate.trials import MAX_DROP, Trial, choose
from clucert.report.summary import Summary, read_summaries
from clucert.report.tables import summary_rows
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.resources import function_backends, open_resources
from proofs import MiniLm, Tfidf, masked, rows_of, trained

TRAINED = {"tfidf": Tfidf, "minilm": MiniLm}
"""Classifiers that are trained on ``<task>_train.jsonl`` and on masked copies of it, by name."""
Fields = dict[str, Any]


def _balanced(lines: Sequence[str], rows: int) -> list[str]:
    """The first lines of each label, equally many of each and ``rows`` at most, in the order of the file."""
    labels = [json.loads(line)["label"] for line in lines]
    each = max(1, rows // len({*labels}))
    found = [line for i, line in enumerate(lines) if labels[:i].count(labels[i]) < each]
    return found[:rows]


def shown(model: str) -> str:
    """A model as results name it: a file by its name, not where it lies."""
    provider, _, rest = model.partition("/")
    return f"{provider}/{Path(rest).name}" if rest.startswith("/") or rest.endswith(".gguf") else model


def digest(*said: Any) -> str:
    """Tells what is run from anything else: other settings or other lexicons are another study."""
    folder = resources.files("clucert").joinpath("data")
    lexicons = [folder.joinpath(f"{name}.npz").read_bytes() for name in ("lexicon", "lexicon-wide")]
    found = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for content in lexicons:
        found.update(content)
    return found.hexdigest()[:8]


@dataclass
class Asked:
    """One base classifier, and where its studies are kept."""

    name: str
    data: Path
    out: Path
    deterministic: bool | None = None
    _trained: dict[str, Any] = field(default_factory=dict)

    @property
    def is_trained(self) -> bool:
        """Whether it is a classifier of ours, which neither refines nor fills."""
        return self.name in TRAINED

    def classifier(self, task: str) -> Any:
        """The trained classifier of ``task``; None for a language model."""
        if not self.is_trained:
            return None
        if task not in self._trained:
            rows = rows_of(self.data / f"{task}_train.jsonl")
            labels = tuple(sorted({row.label for row in rows}))
            self._trained[task] = trained(TRAINED[self.name](), rows, masked, labels)
        return self._trained[task]

    def path(self, task: str, split: str, rows: int | None = None) -> Path:
        """The rows of ``<task><split>.jsonl``. Of a task without validation rows (GSM8K) its last third is that.

        With ``rows``, that many of them at most, and equally many of each label where labels are closed.
        """
        whole, validation = self.data / f"{task}.jsonl", self.data / f"{task}_validation.jsonl"
        if validation.exists() and rows is None:
            return self.data / f"{task}{split}.jsonl"
        kept = (validation if split and validation.exists() else whole).read_text(encoding="utf-8").splitlines()
        if not validation.exists():
            cut = len(kept) * 2 // 3
            kept = kept[cut:] if split else kept[:cut]
        if rows is not None:
            kept = _balanced(kept, rows) if validation.exists() else kept[:rows]
        own = self.out / f"{task}{split}{'' if rows is None else f'-{rows}'}.jsonl"
        own.write_text("\n".join(kept) + "\n", encoding="utf-8")
        return own

    def config(self, task: str, split: str, folder: str, fields: Fields) -> StudyConfig:
        """The configuration of a study of ``<task><split>.jsonl`` below ``folder``."""
        given: Fields = {
            "task": task,
            "data": str(self.path(task, split, fields.get("limit") if split else None)),
            "model": [self.name],
            "run_dir": self.out / f"{folder}-{digest(fields)}",
            "cache": self.out / "answers.sqlite",
            "deterministic": True if self.is_trained else self.deterministic,
            "seed": 0,
        }
        return StudyConfig.of(**{k: v for k, v in (given | fields).items() if v is not None})

    def evaluate(self, task: str, split: str, folder: str, fields: Fields) -> Summary:
        """Certify, or go on; what the run says."""
        config = self.config(task, split, folder, fields)
        classifier = self.classifier(task)
        if classifier is None:
            done = study.evaluate(config, command=["bench/paper.py"])
        else:
            done = study.evaluate_callable(classifier, classifier.labels, config)
        if done.stopped:
            raise SystemExit(f"{folder}: {done.reason}")
        return read_summaries([done.run_dir])[0]

    def tune(self, task: str, folder: str, fields: Fields, grid: Sequence[Fields]) -> tuple[Fields, list[Fields]]:
        """The setting of ``grid`` that ``clucert tune`` would choose on validation rows, and what each came to."""
        trials = []
        for point in grid:
            name = "-".join(f"{key}={value}" for key, value in point.items()) or "as-it-is"
            found = self.evaluate(task, "_validation", f"{folder}/{name}", fields | point)
            trials.append(_trial(point, found))
        # One row less right is no reason: among a few rows it is chance.
        best = choose(trials, max(MAX_DROP, 1 / max(trial.inputs for trial in trials)))
        shown = [
            {
                **row.point,
                "r_avg": row.r_avg,
                "right": row.clean_accuracy,
                "balanced": row.balanced_accuracy,
                "inputs": row.inputs,
            }
            for row in trials
        ]
        return dict(best.point), shown

    def attack(
        self, task: str, folder: str, recipes: Sequence[str], defence: str, fields: Fields, most: int | None
    ) -> list[Fields]:
        """Attack one defence with each recipe, or go on: rows of the table, and which inputs it still gets right."""
        config = self.config(task, "", folder, fields)
        done = run_attacks(
            AttackStudy(config, tuple(recipes), (defence,), most),
            command=["bench/paper.py"],
            classifier=self.classifier(task),
        )
        if done.errors:
            raise SystemExit(f"{folder}: {len(done.errors)} attacks failed: {next(iter(done.errors.values()))}")
        held: dict[str, list[str]] = {recipe: [] for recipe in recipes}
        for one in done.attacked:
            if one.result is not None and one.result.status == "failure":
                held[one.recipe].append(one.id)
        return [row.document() | {"held": held[row.recipe]} for row in done.rows]

    @contextmanager
    def executor(self, task: str, fields: Fields) -> Generator[BlockingExecutor]:
        """What asks the bare classifier, and the encoder and helper that ``fields`` need."""
        config = self.config(task, "_validation", "unused", fields)
        classifier = self.classifier(task)
        with ExitStack() as stack:
            asked = task_of(config)
            if classifier is not None:
                _, backends = function_backends(config, asked, classifier, stack)
            else:
                loaded = open_resources(config, stack, asked)
                backends = loaded.backends(config, asked, certifier_of(config, asked))
            yield stack.enter_context(closing(BlockingExecutor(backends)))


def _trial(point: Fields, found: Summary) -> Trial:
    standing = found.standing
    return Trial(
        point=point,
        r_avg=found.r_avg or 0.0,
        clean_accuracy=found.clean.value,
        abstained=found.abstained or 0.0,
        inputs=found.judged,
        failed=found.failed,
        balanced_accuracy=standing.balanced_accuracy,
        constant_answer=standing.constant_share,
    )


COLUMNS = (
    "mask_rate",
    "coe",
    "clean_accuracy",
    "balanced_accuracy",
    "constant_answer",
    "per_label",
    "certacc@1",
    "certacc@1_low",
    "certacc@1_high",
    "certacc@2",
    "certacc@3",
    "balanced_certacc@1",
    "proved_word_mean",
    "proved_word@1",
    "proved_word@1_low",
    "proved_word@1_high",
    "proved_synonym_mean",
    "radii_at_cap",
    "attackable_words",
    "leading_votes",
    "abstained",
    "kept",
    "judged",
    "samples",
    "calls",
    "tokens_in",
    "tokens_out",
    "warnings",
)


def figures(found: Summary) -> Fields:
    """What is kept of a run: its table's row, r_avg with its interval, and CertAcc by radius."""
    (row,) = summary_rows([found])
    kept: Fields = {name: row.get(name) for name in COLUMNS}
    kept["r_avg"] = estimate(found.metrics.r_avg)
    kept["right"] = estimate(found.metrics.clean_accuracy)
    curve = found.metrics.certified
    kept["curve"] = [] if curve is None else [[d, p.value] for d, p in zip(curve.deltas, curve.points, strict=True)]
    kept["seconds"] = {stage: round(seconds, 4) for stage, seconds in found.seconds.items()}
    return kept


def estimate(value: Estimate | None) -> list[float | None] | None:
    """A figure and its 95 % interval."""
    return None if value is None else [value.value, value.low, value.high]
