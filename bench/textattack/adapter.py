"""TextAttack's own DeepWordBug and TextBugger, and CluCERT's models as models of TextAttack's.

TextAttack 0.3.11 does not run with current releases of transformers and datasets, so it lives in an environment of its
own, in a process of its own, and asks for scores over a pipe; the victim runs here. See docs/attacks.md for how to make
that environment.

A fault of TextAttack 0.3.11 that shows in its figures: after a space was put into a word, later changes hit the word
before the one that was meant.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from clucert.attacks.base import Ask, AttackResult, AttackSteps
from clucert.attacks.steps import run_blocking
from clucert.attacks.victims import Victim
from clucert.core.words import WordedText, split
from clucert.errors import MissingExtraError, ModelUnavailableError, UsageError
from clucert.lexicon import load_lexicon
from clucert.protocols import Lexicon
from clucert.types import Encode, Scored

PYTHON_VARIABLE = "CLUCERT_TEXTATTACK_PYTHON"
CACHE = Path("~/.cache/clucert-bench")
_WORKER = Path(__file__).with_name("worker.py")


def find_python() -> Path:
    """The Python that TextAttack is installed in: the variable's, this one, or the one that ``bench/attacks.py`` made.

    Raises :class:`MissingExtraError`, which says how to get one.
    """
    if chosen := os.environ.get(PYTHON_VARIABLE):
        return Path(chosen).expanduser()
    # A script beside this folder finds the folder itself: a namespace, which has no origin.
    if (found := importlib.util.find_spec("textattack")) and found.origin:
        return Path(sys.executable)
    made = CACHE.expanduser() / "textattack/bin/python"
    if not made.exists():
        raise MissingExtraError("TextAttack (it needs an environment of its own)", "python bench/attacks.py --setup")
    return made


class TextAttackRecipe:
    """TextAttack's ``deepwordbug`` or ``textbugger`` in its process, which starts at the first attack and ends with
    :meth:`close`. The nearest words of ``textbugger`` are those of ``lexicon`` (the packaged one).

    ``steps`` talks to that process while it runs, so an attack that was begun must be finished or closed before the
    next.
    """

    def __init__(self, recipe: str, lexicon: Lexicon | None = None, python: Path | None = None) -> None:
        self.name = f"textattack/{recipe}"
        self._recipe, self._python, self._lexicon = recipe, python, lexicon
        self._worker: _Worker | None = None

    def close(self) -> None:
        """End the process; calling it twice is harmless."""
        if self._worker:
            self._worker.close()
            self._worker = None

    def steps(self, text: str, gold: str, rng: np.random.Generator, *, max_queries: int | None = None) -> AttackSteps:
        """Attack ``text`` as TextAttack does.

        The outcome is the victim's own answer to the text that TextAttack returns; ``words_changed`` counts the words
        of ``text`` that are not in it any more.
        """
        if max_queries is not None and max_queries < 1:
            raise UsageError(f"--max-queries {max_queries}: an attack asks at least once, about the text itself")
        (first,) = yield Ask([text])
        seen = {text: first}
        if first.answer != gold:
            return self._result(text, text, gold, seen, 1, max_queries, skipped=True)
        worker = self._started()
        worker.send({"text": text, "seed": int(rng.integers(2**32)), "max_queries": max_queries})
        labels = (gold, *(label for label in first.shares if label != gold))
        finished = False
        try:
            while True:
                message = worker.receive()
                if "result" in message:
                    finished = True
                    found = message["result"]
                    return self._result(text, found["perturbed"], gold, seen, found["queries"], max_queries)
                if "neighbours" in message:
                    worker.send(self._neighbours(message["neighbours"], message["count"]))
                elif "encode" in message:
                    embeddings = yield Encode(message["encode"], "predict")
                    worker.send(embeddings.tolist())
                else:
                    new = [t for t in dict.fromkeys(message["ask"]) if t not in seen]
                    if new:
                        seen.update(zip(new, (yield Ask(new)), strict=True))
                    worker.send([probability_row(seen[t], labels) for t in message["ask"]])
        finally:
            # Whoever gave up in the middle leaves a process that waits for an answer to something else.
            if not finished:
                self.close()

    def _result(
        self,
        text: str,
        perturbed: str,
        gold: str,
        seen: dict[str, Scored],
        queries: int,
        max_queries: int | None,
        *,
        skipped: bool = False,
    ) -> AttackResult:
        after = seen[perturbed].answer
        words = split(text).words
        return AttackResult(
            status="skipped" if skipped else "failure" if after == gold else "success",
            text=text,
            perturbed=perturbed,
            gold=gold,
            before=seen[text].answer,
            after=after,
            queries=queries,
            words=len(words),
            words_changed=lost_words(words, split(perturbed).words),
            exhausted=max_queries is not None and queries >= max_queries and after == gold,
        )

    def _started(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self._python or find_python(), self._recipe)
        return self._worker

    def _neighbours(self, word: str, count: int) -> list[str]:
        self._lexicon = self._lexicon or load_lexicon()
        (pool,) = self._lexicon.pools(WordedText((word,), ("", "")), (False,))
        return list(pool[1 : 1 + count])


class _Worker:
    """The process at the other end of the pipe."""

    def __init__(self, python: Path, recipe: str) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        data = CACHE.expanduser() / "nltk_data"
        environment = {"NLTK_DATA": str(data)} if data.exists() else {}
        try:
            self._process = subprocess.Popen(
                [str(python), str(_WORKER), recipe],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**environment, **os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            self._errors.close()
            raise UsageError(f"{PYTHON_VARIABLE}: {python} cannot be started ({error.strerror})") from None
        self.receive()

    def send(self, message: Any) -> None:
        """Write one line."""
        stdin = self._process.stdin
        try:
            if stdin:
                stdin.write(json.dumps(message) + "\n")
                stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def receive(self) -> Any:
        """Read one line."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise self._died()
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream:
                # What was not sent yet cannot be any more.
                with suppress(BrokenPipeError):
                    stream.close()

    def _died(self) -> ModelUnavailableError:
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        self.close()
        return ModelUnavailableError(f"TextAttack's process ended: {last or 'it said nothing'}")


def probability_row(scored: Scored, labels: Sequence[str]) -> list[float]:
    """Shares of ``labels``, then what is left of 1: votes that name none of them.

    TextAttack puts rows that do not sum to 1 through a softmax, which would bend every score; the last column keeps it
    from doing so.
    """
    row = [scored.share(label) for label in labels]
    return [*row, max(0.0, 1.0 - sum(row))]


def lost_words(before: Sequence[str], after: Sequence[str]) -> int:
    """Words of ``before`` that an alignment with ``after`` does not keep."""
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    return len(before) - sum(block.size for block in matcher.get_matching_blocks())


def model_wrapper(victim: Victim) -> Any:
    """``victim`` as a ``textattack.models.wrappers.ModelWrapper``, where TextAttack is installed beside CluCERT.

    Its columns are the victim's labels, in their order, and one more for answers that name none. Raises
    :class:`MissingExtraError` without TextAttack and :class:`UsageError` for a victim with open answers.
    """
    if victim.labels is None:
        raise UsageError("TextAttack's classification attacks need a closed label set")
    labels = victim.labels
    try:
        base: Any = importlib.import_module("textattack.models.wrappers").ModelWrapper
    except ImportError as error:
        raise MissingExtraError(
            "TextAttack", "pip install textattack==0.3.11 -c bench/textattack/constraints.txt"
        ) from error

    class CluCertModel(base):  # type: ignore[misc]
        """Rows of probabilities, or of shares of votes."""

        def __init__(self) -> None:
            self.model = victim

        def __call__(self, texts: Sequence[str]) -> list[list[float]]:
            return [
                probability_row(scored, labels) for scored in run_blocking(victim, lambda: victim.steps(list(texts)))
            ]

    return CluCertModel()
