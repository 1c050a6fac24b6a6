"""Runs TextAttack's own recipes, in whatever environment TextAttack is installed in. Imports nothing of CluCERT.

A process that reads one JSON value a line from standard input and writes one a line to standard output. It is sent
``{"text", "seed", "max_queries"}``, the right answer being the first column of every score, and writes any number of

* ``{"ask": [text, …]}``, answered by a row of probabilities for each text,
* ``{"encode": [text, …]}``, answered by a unit vector for each text,
* ``{"neighbours": word, "count": n}``, answered by a list of words,

and then ``{"result": {…}}``. The victim, the sentence encoder and the words' neighbours are those of the process at the
other end: TextAttack's search, transformations and constraints work on the same data as CluCERT's.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, TextIO

RECIPES = {
    "deepwordbug": ("textattack.attack_recipes.deepwordbug_gao_2018", "DeepWordBugGao2018"),
    "textbugger": ("textattack.attack_recipes.textbugger_li_2018", "TextBuggerLi2018"),
}


class Pipe:
    """Asks the process at the other end."""

    def __init__(self, source: TextIO, sink: TextIO) -> None:
        self.source, self.sink = source, sink

    def send(self, message: Any) -> None:
        """Write one line."""
        self.sink.write(json.dumps(message) + "\n")
        self.sink.flush()

    def ask(self, **question: Any) -> Any:
        """Write one line and read the answer; the other end gone is the end of this process."""
        self.send(question)
        line = self.source.readline()
        if not line:
            raise SystemExit(0)
        return json.loads(line)


class Vectors:
    """What TextAttack expects a sentence encoder to return."""

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self.rows = rows

    def numpy(self) -> Any:
        """As a float32 array."""
        return importlib.import_module("numpy").array(self.rows, dtype="float32")


def build(name: str, pipe: Pipe) -> Any:
    """TextAttack's recipe ``name`` against the victim at the other end."""
    module_name, recipe = RECIPES[name]
    module = importlib.import_module(module_name)
    if name == "textbugger":
        _lend(module, pipe)
    wrapper: Any = importlib.import_module("textattack.models.wrappers").ModelWrapper

    class Victim(wrapper):  # type: ignore[misc]
        def __init__(self) -> None:
            self.model = self

        def __call__(self, texts: Sequence[str]) -> Any:
            return pipe.ask(ask=list(texts))

    return getattr(module, recipe).build(Victim())


def _lend(module: Any, pipe: Pipe) -> None:
    """Give the recipe what TextAttack would download, and its homoglyphs, whose file is missing from its wheel."""
    base: Any = importlib.import_module("textattack.shared").AbstractWordEmbedding
    homoglyphs, embedding, encoder = (
        getattr(module, name) for name in ("WordSwapHomoglyphSwap", "WordSwapEmbedding", "UniversalSentenceEncoder")
    )

    class Neighbours(base):  # type: ignore[misc]
        """Words are their own indices."""

        def __getitem__(self, index: str) -> None:
            return None

        def get_mse_dist(self, a: str, b: str) -> float:
            raise NotImplementedError

        def get_cos_sim(self, a: str, b: str) -> float:
            raise NotImplementedError

        def word2index(self, word: str) -> str:
            return word

        def index2word(self, index: str) -> str:
            return index

        def nearest_neighbours(self, index: str, topn: int) -> Any:
            return pipe.ask(neighbours=index, count=topn)

    def swap_homoglyphs() -> Any:
        swap = homoglyphs.__new__(homoglyphs)
        # The constructor ends with reading the file; the recipe uses only what it has set before that.
        try:
            swap.__init__()
        except FileNotFoundError:
            swap.homos_intentional = {}
        return swap

    def similarity(**options: Any) -> Any:
        constraint = encoder(**options)
        constraint.model = lambda texts: Vectors(pipe.ask(encode=list(texts)))
        return constraint

    vars(module).update(
        WordSwapHomoglyphSwap=swap_homoglyphs,
        WordSwapEmbedding=partial(embedding, embedding=Neighbours()),
        UniversalSentenceEncoder=similarity,
    )


def attack_one(attack: Any, text: str, seed: int, max_queries: int | None) -> dict[str, Any]:
    """What became of one text."""
    random.seed(seed)
    importlib.import_module("numpy").random.seed(seed)
    attack.goal_function.query_budget = float("inf") if max_queries is None else max_queries
    result = attack.attack(text, 0)
    return {
        "perturbed": result.perturbed_text(),
        "queries": result.num_queries,
    }


def main() -> None:
    """Serve until the other end closes the pipe."""
    # This file's own folder must not be where TextAttack's imports are looked for.
    del sys.path[0]
    pipe = Pipe(sys.stdin, sys.stdout)
    # TextAttack and what it imports write to standard output, too.
    sys.stdout = sys.stderr
    attack = build(sys.argv[1], pipe)
    pipe.send("ready")
    for line in sys.stdin:
        pipe.send({"result": attack_one(attack, **json.loads(line))})


if __name__ == "__main__":
    main()
