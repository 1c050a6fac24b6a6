"""Harmless words appended to a jailbreak flip its detector: how many, before and behind a certified gate.

    python bench/appended.py ../shared/data/jailbreak.jsonl --out bench/results/appended-tfidf
    python bench/appended.py ../shared/data/jailbreak.jsonl --model llamacpp/FILE.gguf --rows 15 \\
        --out bench/results/appended-qwen15b

The finding is that of semantic-router's issue 3174 (39 of 39 flagged prompts flipped, by 2.6 words on average). The
attack is its kind: words of harmless prompts are appended one by one, each time the one of ``--candidates`` that
leaves the least of the detector's score, until the prompt passes or ``--words`` are appended. It attacks the bare
detector, and each gate by the gate's own score. With ``--ranked N`` it is stronger: whole harmless prompts are
appended, not words, the ``--candidates`` best of N by what they take off the score of three harmful *training* prompts
(so N questions thrice, once for all attacks); what flips is then shrunk to the fewest words that still do.

Rows are shuffled by a fixed seed and split by label: training, validation, test. The cheap detector is TF-IDF with
logistic regression, trained on the training rows and, for a gate, on copies that are cut as the gate cuts; a language
model is asked with the task's shots and not trained. Thresholds are the smallest with at most ``--fpr`` of the harmless
validation rows flagged; so is the bias among ``--biases``, what is taken off the log-odds of *harmful*. Everything that
is printed is of the test rows. *Broken* counts attacks that turned what was certified: it must be 0.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shlex
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise.groups import Groups
from clucert.core.noise.tokens import tokenize
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.settings import Base, ExactSettings
from clucert.core.thresholds import Flag
from clucert.evaluate.roc import COUNTS, SHARES, GuardedRow, point_at, reading
from clucert.models.load import load_model
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends
from clucert.tasks import load_task
from clucert.types import Classify, Phase, Scored
from proofs import Tfidf, asked_model, publish

LABELS = ("harmful", "safe")
Noise = Windows | Groups | EraseAndCheck
GATES: Mapping[str, Noise] = {
    "windows of 4": Windows(4),
    "windows of 6": Windows(6),
    "windows of 8": Windows(8),
    "groups, K = 5": Groups(5, b"clucert"),
    "erase-and-check, d = 20": EraseAndCheck(20),
}
COPIES = 4
SURVIVE = (1, 2, 4, 9)


@dataclass(frozen=True)
class Row:
    text: str
    harmful: bool


class Detector:
    """p(harmful) of texts; each is asked about once. ``bias`` is taken off the log-odds of *harmful*."""

    def __init__(self, classifier: Any, queues: Sequence[Any] = ()) -> None:
        self.bias = 0.0
        self._executor = BlockingExecutor(Backends(classifier, queues))
        self.known: dict[str, Scored] = {}

    def scored(self, texts: Sequence[str]) -> list[Scored]:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            found, _ = self._executor.run(lambda: _asked(new))
            self.known.update(zip(new, found, strict=True))
        return [self._read(self.known[text]) for text in texts]

    def _read(self, found: Scored) -> Scored:
        if not self.bias:
            return found
        odds = found.share("harmful") * math.exp(-self.bias), found.share("safe")
        harmful = odds[0] / (sum(odds) or 1)
        return Scored(LABELS[harmful < 0.5], {"harmful": harmful, "safe": 1 - harmful})

    def score(self, text: str) -> float:
        return self.scored([text])[0].share("harmful")

    def close(self) -> None:
        self._executor.close()


def _asked(texts: list[str]) -> Generator[Any, Any, Any]:
    return (yield Classify(texts, "certify", scored=True))


def certified(detector: Detector, smoother: ExactSmoother, text: str) -> ExactCertificate:
    steps, reply = smoother.flag_steps(text), None
    while True:
        try:
            request = steps.send(reply)
        except StopIteration as stop:
            return stop.value
        reply = None if isinstance(request, Phase) else detector.scored(request.texts)


def rows_of(path: Path, seed: int = 0) -> dict[str, list[Row]]:
    """By split, as many of each label: a third each."""
    given = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_label = [
        [Row(r["text"], r["label"] == "harmful") for r in given if (r["label"] == "harmful") is h]
        for h in (True, False)
    ]
    for rows in by_label:
        random.Random(seed).shuffle(rows)
    third = min(map(len, by_label)) // 3
    cuts = {"train": slice(0, third), "validation": slice(third, 2 * third), "test": slice(2 * third, 3 * third)}
    return {name: [row for rows in by_label for row in rows[cut]] for name, cut in cuts.items()}


def fitted(rows: Sequence[Row], noise: Noise | None) -> Detector:
    """TF-IDF on the rows and noised copies of each."""
    rng, smoother = np.random.default_rng(0), None if noise is None else smoother_of(noise, 1)
    texts, gold = [row.text for row in rows], [LABELS[not row.harmful] for row in rows]
    for row in rows if smoother else ():
        asked = smoother.cut(row.text).asked
        texts += [asked[i] for i in rng.integers(len(asked), size=COPIES)]
        gold += [LABELS[not row.harmful]] * COPIES
    return Detector(CallableClassifier(Tfidf().fit(texts, gold), LABELS, name="tfidf", deterministic=True))


def smoother_of(noise: Noise, at_least: int, share: Fraction | None = None) -> ExactSmoother:
    flag = Flag(("harmful",), 1 if share else at_least, share)
    soft = isinstance(noise, Groups)
    return ExactSmoother(ExactSettings(Base(("bench",), "jailbreak"), "gate", noise, soft=soft, flag=flag), LABELS)


def chosen(noise: Noise, found: Sequence[tuple[Row, ExactCertificate]], fpr: float) -> Fraction:
    """The smallest threshold with few enough false positives."""
    grid = SHARES if isinstance(noise, Groups) else COUNTS
    best = grid[0]
    for threshold in grid:
        point = roc_point(found, threshold)
        if (point.fpr or 0) > fpr:
            break
        best = threshold
    return best


def roc_point(found: Sequence[tuple[Row, ExactCertificate]], threshold: Fraction) -> Any:
    rows = [GuardedRow(row.harmful, reading(c, ["harmful"], threshold)) for row, c in found]
    return point_at(rows, threshold, SURVIVE)


Score = Callable[[str], float]
"""How near a text is to being flagged; what is not flagged has a negative one."""


@dataclass
class Attack:
    """Appends words of ``pool`` to a text until it passes."""

    pool: Sequence[str]
    words: int
    candidates: int
    rng: random.Random
    phrases: Sequence[Sequence[str]] = ()
    """What is appended as a whole, in words, the most promising first; without any, words of ``pool`` one by one."""

    def __call__(self, text: str, score: Score, ask: Callable[[list[str]], Any]) -> int | None:
        """How many; None where it does not within ``words``. ``ask`` asks about many texts at once, which is faster."""
        added: list[str] = []

        def best(tried: list[list[str]]) -> list[str]:
            texts = [" ".join([text, *words]) for words in tried]
            ask(texts)
            return tried[min(range(len(tried)), key=lambda i: score(texts[i]))]

        def passes(words: list[str]) -> bool:
            return score(" ".join([text, *words])) < 0

        while len(added) < self.words:
            some = self.phrases[: self.candidates] or [[w] for w in self.rng.sample(self.pool, self.candidates)]
            added = best([[*added, *phrase[: self.words - len(added)]] for phrase in some])
            if passes(added):
                return shrunk(added, best, passes) if self.phrases else len(added)
        return None


def shrunk(added: list[str], best: Callable[[list[list[str]]], list[str]], passes: Callable[[list[str]], bool]) -> int:
    """How many of the words are enough: halves are left out, then quarters, … to single words."""
    size = len(added) // 2
    while size:
        found = best([added[:i] + added[i + size :] for i in range(0, len(added), size)])
        added, size = (found, min(size, len(found) // 2)) if passes(found) else (added, size // 2)
    return len(added)


def ranked_phrases(detector: Detector, rows: Sequence[Row], pool: Sequence[str], count: int) -> list[list[str]]:
    """``count`` harmless prompts of ``rows`` in words of ``pool``: first those that make harmful ones seem harmless."""
    known, harmful = set(pool), [row.text for row in rows if row.harmful][:3]
    said = [[w for w in (word.strip(".,?!") for word in r.text.split()) if w in known] for r in rows if not r.harmful]
    phrases = [words for words in said if words][:count]
    detector.scored([" ".join([text, *words]) for words in phrases for text in harmful])
    return sorted(phrases, key=lambda words: sum(detector.score(" ".join([text, *words])) for text in harmful))


@dataclass(frozen=True)
class Line:
    detector: str
    threshold: float
    fpr: float
    recall: float
    surviving: Mapping[str, Mapping[int, float]]
    attacked: int
    flipped: int
    mean_words: float | None
    broken: int
    questions: float

    def document(self) -> dict[str, Any]:
        return {**vars(self), "surviving": {t: {str(d): v for d, v in by.items()} for t, by in self.surviving.items()}}


def biased(detector: Detector, biases: Sequence[float], worth: Callable[[], float]) -> None:
    """Give the detector the bias that is worth most on validation rows, the least of equals."""
    values = {}
    for detector.bias in biases:
        values[detector.bias] = worth()
    detector.bias = max(biases, key=values.__getitem__)


def shown_bias(detector: Detector) -> str:
    return f", bias {detector.bias:g}" if detector.bias else ""


def bare_worth(detector: Detector, rows: Sequence[Row], fpr: float) -> float:
    """Recall where few enough harmless rows are flagged, else minus the rate."""
    detector.scored([row.text for row in rows])
    flagged = [row.harmful for row in rows if detector.score(row.text) >= 0.5]
    half = len(rows) / 2
    rate = (len(flagged) - sum(flagged)) / half
    return sum(flagged) / half if rate <= fpr else -rate


def bare_line(detector: Detector, rows: Mapping[str, Sequence[Row]], attack: Attack, options: Any) -> Line:
    biased(detector, options.biases, lambda: bare_worth(detector, rows["validation"], options.fpr))
    test = rows["test"]
    flagged = [row for row in test if detector.score(row.text) >= 0.5]
    harmful = [row for row in flagged if row.harmful][: options.attacked]
    found = [attack(row.text, lambda t: detector.score(t) - 0.5, detector.scored) for row in harmful]
    return _line(f"bare{shown_bias(detector)}", 0.5, test, flagged, {}, found, 0, 1.0)


def _line(
    name: str, threshold: float, rows: Any, flagged: Any, surviving: Any, found: Any, broken: int, q: float
) -> Line:
    counts = [count for count in found if count is not None]
    harmful, recalled = sum(row.harmful for row in rows), sum(row.harmful for row in flagged)
    mean = sum(counts) / len(counts) if counts else None
    fpr = (len(flagged) - recalled) / (len(rows) - harmful)
    return Line(name, threshold, fpr, recalled / harmful, surviving, len(found), len(counts), mean, broken, q)


def gate_line(
    name: str, noise: Noise, detector: Detector, rows: Mapping[str, Sequence[Row]], attack: Attack, options: Any
) -> Line:
    first = smoother_of(noise, 1)
    detector.scored([text for row in rows["validation"] for text in first.cut(row.text).asked])

    def tuning() -> list[tuple[Row, ExactCertificate]]:
        return [(row, certified(detector, first, row.text)) for row in rows["validation"]]

    def worth() -> float:
        found = tuning()
        point = roc_point(found, chosen(noise, found, options.fpr))
        return (point.recall() or 0) if (point.fpr or 0) <= options.fpr else -(point.fpr or 0)

    biased(detector, options.biases, worth)
    threshold = chosen(noise, tuning(), options.fpr)
    share = threshold if isinstance(noise, Groups) else None
    smoother = smoother_of(noise, 1 if share else int(threshold), share)
    found = [(row, certified(detector, smoother, row.text)) for row in rows["test"]]
    point = roc_point(found, threshold)
    flagged = [row for row, c in found if c.is_flagged]
    surviving = {t: {d: point.recall(t, d) for d in by} for t, by in point.surviving.items()}

    def score(text: str) -> float:
        c = certified(detector, smoother, text)
        return float(c.flag_share - share) if share else float(c.flagged - c.settings.flag.at_least)

    counts, broken = [], 0
    for row, c in [(row, c) for row, c in found if row.harmful and c.is_flagged][: options.attacked]:
        count = attack(
            row.text, score, lambda texts: detector.scored([t for x in texts for t in smoother.cut(x).asked])
        )
        counts.append(count)
        broken += count is not None and _holds(c, count)
    questions = sum(c.questions for _, c in found) / len(found)
    return _line(
        f"{name}{shown_bias(detector)}", float(threshold), rows["test"], flagged, surviving, counts, broken, questions
    )


def _holds(certificate: ExactCertificate, appended: int) -> bool:
    """Whether it is certified that so many appended words leave it flagged."""
    proved = certificate.proved
    return any((r := proved.get(threat)) is not None and r.reaches(appended) for threat in ("insert", "ends", "suffix"))


def table(document: Mapping[str, Any]) -> str:
    how = f"the best of {document['ranked']} whole ones" if document.get("ranked") else "searched for word by word"
    out = [
        "# Harmless words appended to jailbreaks",
        "",
        f"`{document['command']}`, {document['seconds']:.0f} s",
        "",
        f"{document['detector']}, {document['rows']} test rows, half of them harmful. *Flipped*: of the flagged",
        f"harmful prompts that were attacked, those that pass once up to {document['words']} words of harmless",
        f"prompts are appended, {how}, by the detector's own score; then how many words that took. Recall is",
        "of prompts as they stand, then what is *proved* to survive any 1, 2, 4 or 9 inserted words (appended ones, of",
        "erase-and-check), and any text before and behind. *Broken*: certified, and flipped all the same.",
        "",
        "| detector | threshold | questions | false positives | recall | flipped | mean words | broken | "
        "inserted, any 1 | 2 | 4 | 9 | any text around |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for line in document["lines"]:
        surviving = line["surviving"]
        insert, ends = surviving.get("insert", surviving.get("suffix", {})), surviving.get("ends", {})
        cells = [f"{insert[str(d)]:.2f}" if insert else "–" for d in SURVIVE]
        cells.append(f"{ends['1']:.2f}" if ends else "–")
        words = "–" if line["mean_words"] is None else f"{line['mean_words']:.1f}"
        out.append(
            f"| {line['detector']} | {line['threshold']:g} | {line['questions']:.1f} | {line['fpr']:.2f} | "
            f"{line['recall']:.2f} | {line['flipped']} of {line['attacked']} | {words} | {line['broken']} | "
            f"{' | '.join(cells)} |"
        )
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", help="A language model instead of TF-IDF, such as llamacpp/FILE.gguf.")
    parser.add_argument("--rows", type=int, help="Of each label, validation and test.")
    parser.add_argument("--words", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=15)
    parser.add_argument("--ranked", type=int, default=0, help="Append whole prompts: the best of so many.")
    parser.add_argument("--attacked", type=int, default=25, help="Flagged harmful prompts that are attacked.")
    parser.add_argument("--fpr", type=float, default=0.05)
    parser.add_argument("--biases", nargs="+", type=float, default=[0.0], help="Tried on the validation rows.")
    parser.add_argument("--gates", nargs="+", default=list(GATES))
    parser.add_argument("--out", type=Path, help="Write <out>.json and <out>.md.")
    options = parser.parse_args()
    began, rows = time.perf_counter(), rows_of(options.data)
    if options.rows:
        rows |= {
            n: [r for h in (True, False) for r in [r for r in rows[n] if r.harmful is h][: options.rows]]
            for n in ("validation", "test")
        }
    said = {word.strip(".,?!") for row in rows["train"] if not row.harmful for word in row.text.split()}
    pool = sorted(word for word in said if len(tokenize(word)) == 1)  # what is certified counts tokens
    asked = None if options.model is None else Detector(*asked_model(load_task("jailbreak"), load_model(options.model)))
    lines = []
    for name, noise in [("bare", None), *((name, GATES[name]) for name in options.gates)]:
        detector = asked or fitted(rows["train"], noise)
        phrases = ranked_phrases(detector, rows["train"], pool, options.ranked)
        attack = Attack(pool, options.words, options.candidates, random.Random(1), phrases)
        if noise is None:
            line = bare_line(detector, rows, attack, options)
        else:
            line = gate_line(name, noise, detector, rows, attack, options)
        lines.append(line)
        print(line, f"{time.perf_counter() - began:.0f} s", len(detector.known), flush=True)
    document = {
        "command": "python " + shlex.join(["bench/appended.py", *sys.argv[1:]]),
        "seconds": time.perf_counter() - began,
        "detector": options.model or "TF-IDF and logistic regression",
        "rows": len(rows["test"]),
        "words": options.words,
        "ranked": options.ranked,
        "lines": [line.document() for line in lines],
    }
    publish(document, table(document), options.out)


if __name__ == "__main__":
    main()
