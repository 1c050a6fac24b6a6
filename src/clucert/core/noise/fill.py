"""Recovery by a language model (SelfDenoise): it fills the blanks from the masked text alone."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.noise.retention import MASK
from clucert.core.words import WordedText, is_word, split
from clucert.types import Blanks, Generate, Message, Query, Recovered, Request, Stage


class LlmRecovery:
    """Has a language model fill the blanks from the masked text alone: ``κ^M = 1`` against any word.

    A model that can be held to the kept words (``fills``) writes the text and chooses the blanks alone. To others
    the blanks are shown as numbers and the answer is a numbered list of words, which small models manage where they
    fail to copy a text and which costs a few tokens a blank. The model is never shown a masked-out word. Its answer is
    read strictly: the whole text with every kept word in its place, or ``1: word, 2: word, …`` in order, each exactly
    one word; from the first item that is not, blanks stay mask tokens. So the noised text is a function of the masked
    text (and of the model's randomness), which is all that the proof asks. ``Recovered.failed`` counts the texts that
    still hold a mask.

    Every query is a draw of its own, which a model that repeats itself need not be asked anew: a fill is a part of the
    vote, and equal masked texts may share it only where the model's answer is a function of them.
    """

    name = "llm"

    def __init__(self, temperature: float = 0.0, token: str = MASK) -> None:
        self.temperature = temperature
        self.token = token
        self.deterministic = temperature == 0

    def recover(
        self, text: WordedText, retained: NDArray[np.bool_], rng: np.random.Generator, stage: Stage
    ) -> Generator[Request, Any, Recovered]:
        """Fill the blanks; ``rng`` seeds the model's own sampling where it samples."""
        rows: list[list[str | None]] = [
            [word if kept else None for word, kept in zip(text.words, row, strict=True)] for row in retained.tolist()
        ]
        asked = [i for i, row in enumerate(rows) if None in row]
        if asked:
            draws: list[int] = rng.integers(2**31, size=len(asked)).tolist()
            queries = [self._query(text, rows[i], draw) for i, draw in zip(asked, draws, strict=True)]
            answers: list[str] = yield Generate(queries, stage)
            for i, answer in zip(asked, answers, strict=True):
                rows[i] = _filled(answer, rows[i])
        texts = [text.join([self.token if word is None else word for word in row]) for row in rows]
        return Recovered(texts, sum(None in row for row in rows))

    def _query(self, text: WordedText, row: Sequence[str | None], draw: int) -> Query:
        numbers = iter(range(1, len(row) + 1))
        blanks = sum(word is None for word in row)
        shown = " ".join(text.join([f"({next(numbers)})" if word is None else word for word in row]).split())
        turns = [
            turn for blank, words in _SHOTS for turn in (Message("user", f"Text: {blank}"), Message("assistant", words))
        ]
        return Query(
            messages=(Message("system", _INSTRUCTION), *turns, Message("user", f"Text: {shown}")),
            prefix=f"{_INSTRUCTION}\n\n" + "".join(f"Text: {blank}\nWords: {words}\n\n" for blank, words in _SHOTS),
            suffix=f"Text: {shown}\nWords:",
            max_tokens=8 + 8 * blanks,
            temperature=self.temperature,
            # Small models do not stop at the last blank: the number after it ends the list, and so does a blank.
            stop=("\n", f" {blanks + 1}:", "("),
            seed=draw if self.temperature > 0 else None,
            draw=draw,
            blanks=_blanks(text, row),
        )


def _blanks(text: WordedText, row: Sequence[str | None]) -> Blanks:
    """The text on one line, in pieces."""
    pieces = [text.gaps[0]]
    for word, gap in zip(row, text.gaps[1:], strict=True):
        if word is None:
            pieces.append(gap)
        else:
            pieces[-1] += word + gap
    pieces = [re.sub(r"\s+", " ", piece) for piece in pieces]
    pieces[0], pieces[-1] = pieces[0].lstrip(), pieces[-1].rstrip()
    return Blanks(_FILL, f"Text: {'_'.join(pieces)}\nFilled:", tuple(pieces))


def _filled(answer: str, row: Sequence[str | None]) -> list[str | None]:
    """``row`` with its blanks filled: all of them where ``answer`` is the text, else up to the first item of it that is
    not its number and one word.
    """
    line = next(filter(None, map(str.strip, answer.splitlines())), "").removeprefix("Words:")
    words = split(line).words
    if len(words) == len(row) and all(kept in (None, word) for kept, word in zip(row, words, strict=True)):
        return list(words)
    items = iter(line.split(","))
    filled = list(row)
    number = 0
    for i, word in enumerate(row):
        if word is not None:
            continue
        number += 1
        item = _ITEM.fullmatch(next(items, "").strip())
        if item is None or int(item[1]) != number or not is_word(item[2]):
            break
        filled[i] = item[2]
    return filled


_ITEM = re.compile(r"\(?(\d{1,4})\)?\s*[:.)]\s*[\"']?(.+?)[\"'.]?")
_INSTRUCTION = (
    "Guess the missing words. Each number in parentheses stands for one missing word; write one word for each number."
)
_SHOTS = (
    (
        "(1) (2) of the (3) (4) a (5) (6) which (7) (8) (9) back (10) (11) (12) (13) years .",
        "1: the, 2: heart, 3: story, 4: is, 5: lonely, 6: farmer, 7: never, 8: truly, 9: came, 10: from, 11: war, "
        "12: after, 13: ten",
    ),
    ("(1) plot (2) slow , (3) its two leads (4) you laugh .", "1: the, 2: is, 3: but, 4: make"),
    (
        "(1) of the airline (2) on (3) after it cut (4) (5) for the coming year.",
        "1: Shares, 2: fell, 3: Monday, 4: its, 5: forecast",
    ),
    (
        "(1) (2) (3) funny (4) (5) (6) film (7) (8) .",
        "1: it, 2: is, 3: a, 4: and, 5: very, 6: warm, 7: for, 8: families",
    ),
)


def _shot(blank: str, words: str) -> str:
    """An example as a text with blanks and the whole text."""
    pieces = re.split(r"\(\d+\)", blank)
    filled = "".join(piece + word for piece, word in zip(pieces, [*re.findall(r"\d: (\w+)", words), ""], strict=True))
    return f"Text: {'_'.join(pieces)}\nFilled: {filled}\n\n"


_FILL = "Guess the missing words: each _ stands for one word.\n\n" + "".join(_shot(*each) for each in _SHOTS)
