"""Every ball that a certificate speaks of under attack, with a cheap classifier: how many claims break.

    python bench/audit_balls.py ../shared/data --out bench/results/audit-balls

TF-IDF with logistic regression, trained on ``<task>_train.jsonl`` and copies of it with words deleted at random; rows
of ``<task>.jsonl``, labels in turn. Of each kind of claim (a method and a threat) ``--claims`` are attacked, from as
many tasks as have them. *Broken* must be 0 where the claim is exact, and at most α where it is by samples. *One past*:
how many a text one operation past the radius was found to break; a search that is blind would break none there.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from clucert.api import SmoothedClassifier
from clucert.audit.antonyms import antonyms
from clucert.audit.candidates import Arsenal, build_arsenal
from clucert.audit.claims import Claim, exact_claims, token_claims
from clucert.audit.exact_steps import armed, exact_steps
from clucert.audit.steps import Attempt, Effort, token_steps
from clucert.build import make_smoother
from clucert.config import Config
from clucert.core.noise.tokens import words
from clucert.core.settings import Base
from clucert.evaluate.metrics import proportion
from clucert.methods import load_method
from clucert.runtime.computation import Backends
from proofs import Row, Tfidf, parser_of, publish, rows_of, trained

KEEP = 0.3
"""Of the words, in the copies that the classifier is trained on."""
ARMED = 300
"""Training rows whose words arm the search."""
FLAGS = {"sst2": ("negative",), "sms": ("spam",), "agnews": ("world", "business")}
EXACT: Mapping[str, Mapping[str, Any]] = {
    "blocks": {"count": 5},
    "groups": {"count": 5},
    "chunks": {"every": 4},
    "windows": {"size": 5, "at_least": 2},
    "erase-and-check": {"suffix": 10},
}


def thinned(text: str, rng: np.random.Generator) -> str:
    units = words(text)
    return units.keep(np.flatnonzero(rng.random(len(units)) < KEEP).tolist()) or text


@dataclass(frozen=True)
class Task:
    """A classifier, how it may be smoothed, and what arms an attack on it."""

    name: str
    rows: Sequence[tuple[str, Row]]
    told: Sequence[tuple[str, str]]
    """Texts with their labels."""
    arsenal: Arsenal
    smoothed: SmoothedClassifier

    @classmethod
    def of(cls, name: str, options: argparse.Namespace) -> Task:
        train = rows_of(options.data / f"{name}_train.jsonl", options.train_rows)
        labels = tuple(sorted({row.label for row in train}))
        config = Config.of(method="deletion", mask_rate="0.8", samples=50, certify_samples=options.samples, seed=1)
        smoother = make_smoother(config, load_method("deletion").for_task(""), labels, Base(("bench",), ""))
        told = [(row.text, row.label) for row in train[:ARMED]]
        arsenal = build_arsenal(labels, told, antonyms)
        classifier = trained(Tfidf(), train, thinned, labels)
        smoothed = SmoothedClassifier(smoother, Backends(classifier))
        return cls(name, in_turn(name, options.data), told, arsenal, smoothed)


def in_turn(name: str, data: Path) -> list[tuple[str, Row]]:
    """The rows of a task with their ids, one of each label in turn."""
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows_of(data / f"{name}.jsonl"):
        by_label[row.label].append(row)
    rows = [row for row in chain.from_iterable(zip_longest(*by_label.values())) if row is not None]
    return [(f"{name}-{i}", row) for i, row in enumerate(rows) if words(row.text).pieces]


@dataclass
class Kind:
    """Claims of one method and threat."""

    method: str
    change: str
    exact: bool
    attempts: list[Attempt] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)

    def document(self) -> dict[str, Any]:
        broken = proportion(sum(a.broken for a in self.attempts), len(self.attempts))
        past = [a.past for a in self.attempts if a.past is not None]
        return {
            "method": self.method,
            "change": self.change,
            "exact": self.exact,
            "tasks": sorted(self.tasks),
            "claims": len(self.attempts),
            "radius, median": statistics.median(a.claim.radius for a in self.attempts),
            "unlimited": sum(a.claim.unlimited for a in self.attempts),
            "broken": sum(a.broken for a in self.attempts),
            "broken, 95 % upper": broken.high,
            "one past tried": len(past),
            "one past broken": sum(past),
            "texts": sum(a.tried for a in self.attempts),
            "questions": sum(a.asked for a in self.attempts),
        }


Kinds = dict[tuple[str, str], Kind]


def wanted(kinds: Kinds, method: str, claims: Sequence[Claim], enough: int) -> list[Claim]:
    """Those of ``claims`` whose kind has not been tried often enough."""
    return [c for c in claims if (method, c.threat) not in kinds or len(kinds[method, c.threat].attempts) < enough]


def note(kinds: Kinds, task: str, method: str, attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        claim = attempt.claim
        kind = kinds.setdefault((method, claim.threat), Kind(method, claim.said, claim.kind == "exact"))
        kind.attempts.append(attempt)
        kind.tasks.add(task)


def exact_attempts(task: Task, method: str, kinds: Kinds, enough: int, effort: Effort) -> None:
    parameters = dict(EXACT[method])
    if method in ("windows", "erase-and-check"):
        parameters["flag"] = FLAGS[task.name]
    arsenal = None
    for identity, row in task.rows:
        (proof,) = task.smoothed.prove(row.text, [method], example=identity, **parameters)
        arsenal = arsenal or armed([proof.certificate], task.told)
        claims = wanted(kinds, method, exact_claims(proof.certificate), enough)
        if not claims and full(kinds, method, enough):
            return
        steps = partial(exact_steps, proof.certificate, arsenal, identity, effort, claims)
        note(kinds, task.name, method, task.smoothed.run(steps)[0] if claims else [])


def sampled_attempts(task: Task, kinds: Kinds, enough: int, effort: Effort) -> None:
    for identity, row in task.rows:
        certificate = task.smoothed.certify(row.text, example=identity).certificate
        claims = wanted(kinds, "deletion", token_claims(certificate), enough)
        if not claims and full(kinds, "deletion", enough):
            return
        for claim in claims:
            steps = partial(token_steps, task.smoothed.smoother, certificate, claim, task.arsenal, identity, effort)
            attempt, cost = task.smoothed.run(steps)
            note(kinds, task.name, "deletion", [replace(attempt, asked=cost.total.calls)])


def full(kinds: Kinds, method: str, enough: int) -> bool:
    found = [kind for kind in kinds.values() if kind.method == method]
    return bool(found) and all(len(kind.attempts) >= enough for kind in found)


def markdown(document: Mapping[str, Any]) -> str:
    rows = document["rows"]
    return "\n".join(
        [
            "# Every ball under attack",
            "",
            f"`{document['command']}`, {document['seconds']:.0f} s ({document['processor seconds']:.0f} s of one core)",
            "",
            f"TF-IDF on {', '.join(document['tasks'])}; certificates by samples at α = {document['alpha']:g}. "
            f"{sum(r['claims'] for r in rows):,} claims, {sum(r['texts'] for r in rows):,} texts tried, "
            f"{sum(r['questions'] for r in rows):,} questions. One past: claims that a text one operation past the "
            "radius was found to break, of those that have a past.",
            "",
            "| method | tokens may be | claims | radius, median | broken | at most (95 %) | one past | texts | asked |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|",
            *_lines(rows),
            "",
        ]
    )


def _lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        past = f"{row['one past broken']:,} of {row['one past tried']:,}" if row["one past tried"] else "–"
        radius = "any" if row["unlimited"] else f"{row['radius, median']:g}"
        yield (
            f"| {row['method']} | {row['change']} | {row['claims']:,} | {radius} | {row['broken']:,} | "
            f"{row['broken, 95 % upper']:.3f} | {past} | {row['texts']:,} | {row['questions']:,} |"
        )


def main() -> None:
    parser = parser_of(__doc__, ["sst2", "sms", "agnews"])
    parser.add_argument("--claims", type=int, default=510, help="Of each kind.")
    parser.add_argument("--texts", type=int, default=80, help="Tried for each exact claim.")
    parser.add_argument("--token-texts", type=int, default=16, help="Tried for each claim by samples.")
    parser.add_argument("--samples", type=int, default=300, help="That certify a row, by samples.")
    parser.add_argument("--methods", nargs="+", default=[*EXACT, "deletion"])
    options = parser.parse_args()
    began = time.perf_counter()
    effort = Effort(screen=20, confirm=200, texts=options.texts, token_texts=options.token_texts)
    kinds: Kinds = {}
    for done, name in enumerate(options.tasks, 1):
        task = Task.of(name, options)
        enough = options.claims * done // len(options.tasks)
        for method in options.methods:
            if method == "deletion":
                sampled_attempts(task, kinds, enough, effort)
            else:
                exact_attempts(task, method, kinds, enough, effort)
            print(f"{name}, {method}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        task.smoothed.close()
    document = {
        "command": "python " + shlex.join(["bench/audit_balls.py", *sys.argv[1:]]),
        "seconds": time.perf_counter() - began,
        "processor seconds": time.process_time(),
        "tasks": options.tasks,
        "alpha": 0.05,
        "rows": [kind.document() for kind in kinds.values()],
    }
    publish(document, markdown(document), options.out)


if __name__ == "__main__":
    main()
