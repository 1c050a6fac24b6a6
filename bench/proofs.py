"""Exact certificates of few questions beside RanMASK, on the same rows: questions, seconds, accuracy, what is proved.

    python bench/proofs.py ../shared/data --classifiers tfidf --out bench/results/proofs-tfidf
    python bench/proofs.py ../shared/data --classifiers smollm2 --tasks agnews --rows 48 --out bench/results/proofs-llm

Classifiers: ``tfidf`` and ``minilm`` (packaged encoder) with logistic regression, trained on ``<task>_train.jsonl`` and
on copies of it that are noised as the certificate noises; any other name is a language model, ``--model``, asked with
the task's shots; a task may be a YAML file (``bench/sms.yaml``). Settings (K or B, hard or soft votes, sharpness; for a
language model a label bias from noised texts) are chosen on ``<task>_validation.jsonl``, everything that is printed is
of ``<task>.jsonl``. *Right and proved* means: the answer is the gold label and no change of that many words alters it.
Every share is the mean over the labels (balanced); by label stands beside it. A constant answer has 1/labels.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline

from clucert.build import make_smoother
from clucert.config import Config
from clucert.core.calibration import Bias, Fragment, fit
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise.groups import Blocks, Chunks, Groups
from clucert.core.noise.tokens import words
from clucert.core.settings import Base, ExactSettings
from clucert.core.smoothing import Smoother, side_by_side
from clucert.core.words import split
from clucert.methods import load_method
from clucert.models.encoders import MiniLmEncoder
from clucert.models.load import load_model
from clucert.protocols import LanguageModel, Task
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.classifiers import BaseClassifier, PromptedClassifier
from clucert.runtime.computation import Backends
from clucert.runtime.model_queue import ModelQueue
from clucert.tasks import load_task
from clucert.types import Classify

Noise = Blocks | Groups | Chunks
Noiser = Callable[[str, np.random.Generator], str]
KEY = b"clucert"
SHARPNESS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
BIAS_SCALES = (0.0, 0.5, 1.0)
RADII = (1, 2)
COPIES = 2


@dataclass(frozen=True)
class Row:
    text: str
    label: str


@dataclass(frozen=True)
class Measured:
    """One line of the table: shares by label."""

    method: str
    votes: str
    questions: float
    seconds: float
    right: Mapping[str, float]
    proved: Mapping[str, Mapping[str, float]]
    """By "threat@radius", by label."""
    chosen: bool = False

    def document(self) -> dict[str, Any]:
        proved = {name: {"balanced": mean(shares), "by_label": shares} for name, shares in self.proved.items()}
        return {
            "method": self.method,
            "votes": self.votes,
            "questions": round(self.questions, 1),
            "seconds_per_certificate": round(self.seconds, 5),
            "accuracy": {"balanced": mean(self.right), "by_label": self.right},
            "right_and_proved": proved,
            "chosen_on_validation": self.chosen,
        }


def mean(shares: Mapping[str, float]) -> float:
    return round(float(np.mean(list(shares.values()))), 4)


def by_label(rows: Sequence[Row], hits: Sequence[bool], labels: Sequence[str]) -> dict[str, float]:
    found = {label: [hit for row, hit in zip(rows, hits, strict=True) if row.label == label] for label in labels}
    return {label: round(float(np.mean(each)), 4) for label, each in found.items() if each}


def rows_of(path: Path, limit: int | None = None) -> list[Row]:
    documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:limit]]
    return [Row(document["text"], document["label"]) for document in documents]


def balanced(rows: Sequence[Row], total: int) -> list[Row]:
    """The first rows of each label, equally many; fewer where there are not enough."""
    labels = sorted({row.label for row in rows})
    each = min(-(-total // len(labels)), *(sum(row.label == label for row in rows) for label in labels))
    return [row for label in labels for row in [r for r in rows if r.label == label][:each]]


# Noises, and training on them


def noises(wanted: Sequence[str] | None = None) -> dict[str, Noise]:
    found: dict[str, Noise] = {f"blocks K={k}": Blocks(k) for k in (3, 5, 7, 9)}
    found |= {f"groups K={k}": Groups(k, KEY) for k in (3, 5, 7, 9)}
    found |= {f"chunks B={b}": Chunks(b, KEY) for b in (4, 6, 10)}
    return {name: noise for name, noise in found.items() if not wanted or name in wanted}


def sub_text_of(noise: Noise) -> Noiser:
    def noised(text: str, rng: np.random.Generator) -> str:
        units = words(text)
        members = [part for part in noise.members(units.pieces)[0] if part]
        return units.keep(members[rng.integers(len(members))]) if members else text

    return noised


def masked(text: str, rng: np.random.Generator) -> str:
    """As ``ranmask``: 0.7 of the words are ``[MASK]``."""
    given = split(text)
    if not given.words:
        return text
    kept = set(rng.choice(len(given.words), max(1, round(0.3 * len(given.words))), replace=False).tolist())
    return " ".join(word if i in kept else "[MASK]" for i, word in enumerate(given.words))


class Tfidf:
    name = "tfidf"

    def fit(self, texts: list[str], labels: list[str]) -> Callable[[list[str]], Any]:
        # A token that is punctuation is a feature, too; "[MASK]" is read as one that is always there.
        model = make_pipeline(
            TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True, min_df=2),
            # Logistic regression by stochastic gradient: 36,000 features would take L-BFGS a quarter of a minute.
            SGDClassifier(loss="log_loss", alpha=1e-5, class_weight="balanced", random_state=0),
        ).fit(texts, labels)
        return model.predict_proba


class MiniLm:
    """One text a batch when it votes: int8 embeddings depend on the batch, and an exact proof needs a function."""

    name = "minilm"

    def __init__(self) -> None:
        self._many, self._one = MiniLmEncoder(batch_size=32), MiniLmEncoder(batch_size=1)

    def fit(self, texts: list[str], labels: list[str]) -> Callable[[list[str]], Any]:
        model = LogisticRegression(C=10.0, max_iter=500, class_weight="balanced").fit(self._many.encode(texts), labels)
        return lambda texts: model.predict_proba(self._one.encode(texts))


def trained(learner: Tfidf | MiniLm, rows: Sequence[Row], noised: Noiser | None, labels: Sequence[str]) -> Any:
    """The learner on the rows and noised copies of each, as a base classifier."""
    rng = np.random.default_rng(0)
    texts, gold = [row.text for row in rows], [row.label for row in rows]
    if noised is not None:
        texts += [noised(row.text, rng) for _ in range(COPIES) for row in rows]
        gold *= 1 + COPIES
    return CallableClassifier(learner.fit(texts, gold), labels, name=learner.name, deterministic=True)


# Certificates


def timed(classifier: BaseClassifier, queues: Sequence[ModelQueue], steps: Sequence[Callable[[], Any]]) -> Any:
    executor = BlockingExecutor(Backends(classifier, queues))
    began = time.perf_counter()
    try:
        found, cost = executor.run(lambda: side_by_side(steps))
    finally:
        executor.close()
    return found, (time.perf_counter() - began) / len(steps), cost


def exact(noise: Noise, labels: tuple[str, ...]) -> ExactSmoother:
    settings = ExactSettings(Base(("bench",), "bench"), type(noise).__name__.lower(), noise, soft=True)
    return ExactSmoother(settings, labels)


def certify(
    noise: Noise, rows: Sequence[Row], labels: tuple[str, ...], classifier: BaseClassifier, queues: Any = ()
) -> tuple[list[ExactCertificate], float]:
    smoother = exact(noise, labels)
    steps = [lambda text=row.text: smoother.steps(text) for row in rows]
    found, seconds, _ = timed(classifier, queues, steps)
    return found, seconds


@dataclass(frozen=True)
class Counting:
    """How answers are added up."""

    soft: bool
    sharpness: float = 1.0
    bias: tuple[Bias, ...] = ()
    scale: float = 0.0

    def of(self, certificates: Iterable[ExactCertificate]) -> list[ExactCertificate]:
        fields = {"soft": self.soft, "sharpness": self.sharpness, "bias": self.bias}
        return [replace(c, settings=replace(c.settings, **fields)) for c in certificates]

    def __str__(self) -> str:
        scale = f", bias × {self.scale:g}" if self.scale else ""
        return (f"soft, sharpness {self.sharpness:g}" if self.soft else "hard") + scale


def countings(certificates: Sequence[ExactCertificate], rows: Sequence[Row], biased: bool) -> list[Counting]:
    full = fit(fragments(certificates, rows)) if biased else ()
    scaled = [
        (s, tuple(Bias(bias.words, tuple(s * b for b in bias.of)) for bias in full))
        for s in (BIAS_SCALES if biased else (0.0,))
    ]
    hard = [Counting(False, bias=bias if s else (), scale=s) for s, bias in scaled]
    return hard + [
        Counting(True, sharpness, bias if s else (), s) for sharpness, (s, bias) in product(SHARPNESS, scaled)
    ]


def fragments(certificates: Sequence[ExactCertificate], rows: Sequence[Row]) -> list[Fragment]:
    """The sub-texts of ``rows``, with what the model said of each."""
    return [
        Fragment(len(shown.text.split()), shown.shares, certificate.labels.index(row.label))
        for certificate, row in zip(certificates, rows, strict=True)
        for shown in certificate.answers
        if shown.shares
    ]


def shares(certificates: Sequence[Any], rows: Sequence[Row], labels: Sequence[str], threats: Sequence[str]) -> Any:
    right = [c.prediction == row.label for c, row in zip(certificates, rows, strict=True)]
    proved = {}
    for threat, r in product(threats, RADII):
        radii = [c.proved[threat] for c in certificates]
        hits = [ok and radius is not None and radius.reaches(r) for ok, radius in zip(right, radii, strict=True)]
        proved[f"{threat}@{r}"] = by_label(rows, hits, labels)
    return by_label(rows, right, labels), proved


def worth(certificates: Sequence[ExactCertificate], rows: Sequence[Row], labels: Sequence[str]) -> float:
    """What is tuned: accuracy, and right and proved at 1 of the cheapest threat, balanced."""
    threat = certificates[0].settings.threats[0]
    right, proved = shares(certificates, rows, labels, (threat,))
    return mean(right) + mean(proved[f"{threat}@1"])


def exact_lines(
    rows: Mapping[str, Sequence[Row]],
    labels: tuple[str, ...],
    classifier_of: Callable[[Noise], tuple[BaseClassifier, Sequence[ModelQueue]]],
    chosen_noises: Mapping[str, Noise],
    biased: bool,
) -> list[Measured]:
    """Two lines for each noise, hard and soft, tuned on validation; the best of each family and votes is marked."""
    lines: list[tuple[str, float, Measured]] = []
    for name, noise in chosen_noises.items():
        classifier, queues = classifier_of(noise)
        tuning, _ = certify(noise, rows["validation"], labels, classifier, queues)
        found, seconds = certify(noise, rows["test"], labels, classifier, queues)
        ranked = [
            (worth(c.of(tuning), rows["validation"], labels), c) for c in countings(tuning, rows["validation"], biased)
        ]
        for soft in (False, True):
            value, counting = max((r for r in ranked if r[1].soft is soft), key=lambda r: r[0])
            counted = counting.of(found)
            questions = float(np.mean([c.questions for c in counted]))
            right, proved = shares(counted, rows["test"], labels, counted[0].settings.threats)
            line = Measured(name, str(counting), questions, seconds, right, proved)
            lines.append((f"{name.split()[0]} {soft}", value, line))
            print(f"  {name:12} {counting!s:34} validation {value:.3f}", show(line), counting.bias, flush=True)
    best = {family: max(v for f, v, _ in lines if f == family) for family, _, _ in lines}
    return [replace(line, chosen=value == best[family]) for family, value, line in lines]


def ranmask_line(
    samples: int, certify_samples: int, task: str, rows: Sequence[Row], labels: tuple[str, ...], asked: Any
) -> Measured:
    classifier, queues = asked
    config = Config.of(task=task, method="ranmask", samples=samples, certify_samples=certify_samples)
    smoother: Smoother = make_smoother(config, load_method("ranmask"), labels, Base(("bench",), task))
    steps = [lambda i=i, row=row: smoother.steps(row.text, str(i)) for i, row in enumerate(rows)]
    found, seconds, cost = timed(classifier, queues, steps)
    certificates: list[Certificate] = [each.certificate for each in found]
    right, proved = shares(certificates, rows, labels, ("word",))
    renamed = {name.replace("word", "replace"): value for name, value in proved.items()}
    line = Measured(
        f"ranmask {samples}+{certify_samples}", "hard", cost.samples / len(rows), seconds, right, renamed, chosen=True
    )
    print(" ", line.method, show(line), flush=True)
    return line


def _asked(texts: list[str]) -> Any:
    return (yield Classify(texts, "predict"))


def bare_line(rows: Sequence[Row], labels: tuple[str, ...], asked: Any) -> Measured:
    classifier, queues = asked
    found, seconds, _ = timed(classifier, queues, [lambda row=row: _asked([row.text]) for row in rows])
    hits = [votes[0] == row.label for votes, row in zip(found, rows, strict=True)]
    line = Measured("bare, no noise", "", 1, seconds, by_label(rows, hits, labels), {}, chosen=True)
    print(" ", line.method, show(line), flush=True)
    return line


def show(line: Measured) -> str:
    proved = ", ".join(f"{name} {mean(each):.3f}" for name, each in line.proved.items())
    return f"q {line.questions:.1f}, {line.seconds * 1000:.1f} ms, right {mean(line.right):.3f}; {proved}"


# One classifier on one task


def cheap(learner: Tfidf | MiniLm, task: str, options: argparse.Namespace) -> list[Measured]:
    train = rows_of(options.data / f"{task}_train.jsonl", options.train_rows)
    labels = tuple(sorted({row.label for row in train}))
    rows = {
        "validation": balanced(rows_of(options.data / f"{task}_validation.jsonl"), options.rows),
        "test": balanced(rows_of(options.data / f"{task}.jsonl"), options.rows),
    }
    lines = [bare_line(rows["test"], labels, (trained(learner, train, None, labels), ()))]
    lines += exact_lines(
        rows,
        labels,
        lambda noise: (trained(learner, train, sub_text_of(noise), labels), ()),
        noises(options.noises),
        biased=False,
    )
    on_masks = (trained(learner, train, masked, labels), ())
    plans = [(25, 100), (100, 1000)] if learner.name == "tfidf" else [(25, 100)]
    return lines + [ranmask_line(*plan, task, rows["test"], labels, on_masks) for plan in plans]


def prompted(task: str, options: argparse.Namespace) -> list[Measured]:
    question, model = load_task(task), load_model(options.model)
    labels, task = tuple(question.labels or ()), Path(task).stem
    rows = {
        "validation": balanced(rows_of(options.data / f"{task}_validation.jsonl"), options.llm_validation_rows),
        "test": balanced(rows_of(options.data / f"{task}.jsonl"), options.rows),
    }

    lines = [bare_line(rows["test"], labels, asked_model(question, model))]
    lines += exact_lines(rows, labels, lambda noise: asked_model(question, model), noises(options.noises), biased=True)
    if options.llm_ranmask:
        lines.append(ranmask_line(25, 100, task, rows["test"], labels, asked_model(question, model)))
    return lines


def asked_model(question: Task, model: LanguageModel) -> tuple[BaseClassifier, Sequence[ModelQueue]]:
    """``question`` put to ``model``, with the queue that asks."""
    queue = ModelQueue(model)
    return PromptedClassifier(question, queue), [queue]


def speed(options: argparse.Namespace) -> dict[str, float]:
    """Seconds of 1,000 certificates (groups, K = 9) of the TF-IDF classifier, and where they go."""
    train = rows_of(options.data / "sms_train.jsonl")
    rows = rows_of(options.data / "sms.jsonl", 1000)
    labels = tuple(sorted({row.label for row in train}))
    noise = Groups(9, KEY)
    classifier = trained(Tfidf(), train, sub_text_of(noise), labels)
    smoother = exact(noise, labels)
    found, each, cost = timed(classifier, (), [lambda row=row: smoother.steps(row.text) for row in rows])
    asked = each * len(rows)
    reading = {}
    for counting in (Counting(True), Counting(False)):
        began = time.perf_counter()
        for certificate in counting.of(found):
            _ = certificate.proved
        reading["soft" if counting.soft else "hard"] = time.perf_counter() - began
    parts = {f"in steps: {name}": seconds for name, seconds in cost.seconds.items()}
    radii = {f"radii of 5 threats, {votes}": seconds for votes, seconds in reading.items()}
    totals = {f"all, {votes}": asked + seconds for votes, seconds in reading.items()}
    return {"asked and stored": asked, **parts, **radii, **totals}


def markdown(document: Mapping[str, Any]) -> str:
    out = [
        "# Proofs of few questions, beside RanMASK",
        "",
        f"`{document['command']}`, {document['seconds']:.0f} s",
        "",
        "Chosen on validation rows, measured on others; shares balanced over the labels, then by label.",
        "",
    ]
    for result in document["results"]:
        names = ", ".join(result["labels"])
        out += [
            f"## {result['task']}, {result['classifier']}, {result['rows']} rows ({names})",
            "",
            f"A constant answer is right on {1 / len(result['labels']):.2f}.",
            "",
            "| method | votes | questions | ms | right | right and proved, 1 | 2 |",
            "|---|---|---:|---:|---|---|---|",
        ]
        for line in result["lines"]:
            out.append(_line(line))
        out.append("")
    if document["speed"]:
        out += ["## 1,000 certificates of TF-IDF, groups K = 9", "", "| | s |", "|---|---:|"]
        out += [f"| {name} | {value:.2f} |" for name, value in document["speed"].items()]
    return "\n".join(out) + "\n"


def _line(line: Mapping[str, Any]) -> str:
    def cell(share: Mapping[str, Any]) -> str:
        return f"**{share['balanced']:.2f}** ({' '.join(f'{v:.2f}' for v in share['by_label'].values())})"

    proved = line["right_and_proved"]
    ones = [f"{name[:-2]} {cell(v)}" for name, v in proved.items() if name.endswith("@1")]
    twos = [f"{name[:-2]} {v['balanced']:.2f}" for name, v in proved.items() if name.endswith("@2")]
    name = line["method"] + (" ←" if line["chosen_on_validation"] and line["votes"] else "")
    ms = line["seconds_per_certificate"] * 1000
    return (
        f"| {name} | {line['votes']} | {line['questions']:g} | {ms:.1f} | {cell(line['accuracy'])} | "
        f"{'; '.join(ones)} | {'; '.join(twos)} |"
    )


def parser_of(description: str | None, tasks: Sequence[str]) -> argparse.ArgumentParser:
    """What such a benchmark is always told: where the data are, on which tasks, how many rows train, where to write."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", nargs="+", default=tasks)
    parser.add_argument("--train-rows", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="Write <out>.json and <out>.md.")
    return parser


def publish(document: Mapping[str, Any], text: str, out: Path | None) -> None:
    """Print the text; with ``out`` write it to ``<out>.md`` and the document to ``<out>.json``."""
    print(text)
    if out:
        out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        out.with_suffix(".md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = parser_of(__doc__, ["agnews", "sst2", "sms"])
    parser.add_argument("--classifiers", nargs="+", default=["tfidf", "minilm"])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--llm-validation-rows", type=int, default=48)
    parser.add_argument("--noises", nargs="+", help="Only these, such as 'blocks K=5' 'groups K=7' 'chunks B=4'.")
    parser.add_argument("--llm-ranmask", action="store_true", help="125 questions a row: minutes")
    parser.add_argument("--no-speed", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    results = []
    for name, task in product(options.classifiers, options.tasks):
        print(f"{task}, {name}", flush=True)
        learner = {"tfidf": Tfidf, "minilm": MiniLm}.get(name)
        lines = prompted(task, options) if learner is None else cheap(learner(), task, options)
        stem = Path(task).stem
        rows = len(balanced(rows_of(options.data / f"{stem}.jsonl"), options.rows))
        documents = [line.document() for line in lines]
        who = options.model if learner is None else name
        results.append(
            {"task": stem, "classifier": who, "rows": rows, "labels": list(lines[0].right), "lines": documents}
        )
    document = {
        "command": "python " + shlex.join(["bench/proofs.py", *sys.argv[1:]]),
        "seconds": time.perf_counter() - began,
        "results": results,
        "speed": {} if options.no_speed else speed(options),
    }
    publish(document, markdown(document), options.out)


if __name__ == "__main__":
    main()
