"""Refine: keep the L words that matter most, in order (the first step of CluCERT).

With refine on, the radius is counted in words of the *refined* text (assumption A4 of the certificate). A refiner is a
sans-I/O generator: it yields requests to a language model or a sentence encoder and returns a :class:`Refinement`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clucert.core.words import WordedText
from clucert.errors import InputError, UnknownNameError
from clucert.protocols import Refiner, Task
from clucert.types import Encode, Generate, Message, Query, Refinement, Request


@dataclass(frozen=True, slots=True)
class NoRefiner:
    """Keeps every word: the radius is about the original text."""

    name: str = field(default="off", init=False)

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """Every position; ``length`` is ignored and no request is made."""
        return Refinement(tuple(range(len(text))), self.name)
        yield  # a generator like its siblings


@dataclass(frozen=True, slots=True)
class EmbeddingRefiner:
    """Ranks each word by how far the text's embedding moves when the word is left out.

    ``importance(i) = 1 − cos(e(w), e(w without w_i))``. No language model is asked; ``n + 1`` texts are embedded.
    """

    name: str = field(default="embedding", init=False)

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """The ``length`` words of the largest drop; the earlier word wins a tie."""
        if _short_enough(text, length):
            return _whole(text, self.name)
        ranked = yield from _by_drop(text)
        return Refinement(tuple(sorted(ranked[:length])), self.name)


def _by_drop(text: WordedText) -> Generator[Request, Any, list[int]]:
    """All positions, the word whose absence moves the embedding most first."""
    everywhere = range(len(text))
    without = [keep_words(text, [p for p in everywhere if p != left_out]).text for left_out in everywhere]
    vectors = np.asarray((yield Encode([text.text, *without], "refine")))
    # Rounded to what float32 embeddings can tell apart, so that ties are ties on every machine.
    drop = np.round(1.0 - vectors[1:] @ vectors[0], 6)
    return [int(p) for p in np.argsort(-drop, kind="stable")]


@dataclass(frozen=True, slots=True)
class LlmRefiner:
    """Asks a language model for the L most important words, as the paper does.

    The paper prints no prompt; this one numbers the words and asks for ``number:word``. In an answer the word decides,
    and the number only tells a word that occurs twice from itself: small models name the right words with wrong
    numbers. What is no word of the text, or is listed before, is left out; of more than L the first count. A
    list that is short is sent back once, and the words of both answers count. If they still are too few,
    ``EmbeddingRefiner`` chooses the others (all of them, if no word is usable) and ``Refinement.fallback`` says so.
    """

    goal: str = "understanding what the text says"
    """What the words matter for, to be read after "most important for": the task's own words."""
    name: str = field(default="llm", init=False)

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """The ``length`` words that the language model names; at most two requests to it."""
        if _short_enough(text, length):
            return _whole(text, self.name)
        query = _ask(text, length, self.goal)
        (answer,) = yield Generate([query], "refine")
        listed = _read(answer, text)
        if len(listed) < length:
            (answer,) = yield Generate([_ask_again(query, answer, len(listed), length)], "refine")
            listed = list(dict.fromkeys([*listed, *_read(answer, text)]))
        if len(listed) >= length:
            return Refinement(tuple(sorted(listed[:length])), self.name)
        ranked = yield from _by_drop(text)
        chosen = list(dict.fromkeys([*listed, *ranked]))[:length]
        method = self.name if listed else EmbeddingRefiner().name
        return Refinement(tuple(sorted(chosen)), method, _short(len(listed), length))


def _short(listed: int, length: int) -> str:
    if not listed:
        return "refine fell back from llm to embedding: the language model listed no word of the text"
    return f"refine: the language model listed {listed} of {length} words, embedding chose the others"


_REFINERS = ("off", "llm", "embedding")


def load_refiner(name: str, task: Task | None = None) -> Refiner:
    """The refiner called ``name`` (``off``, ``llm``, ``embedding``); ``llm`` is told what ``task`` decides.

    Raises UnknownNameError for another name.
    """
    if name == "off":
        return NoRefiner()
    if name == "llm":
        return LlmRefiner(_goal(task))
    if name == "embedding":
        return EmbeddingRefiner()
    raise UnknownNameError("refiner", name, _REFINERS)


def _goal(task: Task | None) -> str:
    """What the words are to matter for, read off the label set: ``deciding whether it is positive or negative``."""
    if task is None or not task.labels:
        return LlmRefiner().goal
    *others, last = task.labels
    return f"deciding whether it is {', '.join(others)} or {last}" if others else f"deciding whether it is {last}"


_SENTENCE_END = re.compile(r"(?<!\s)\s*[.!?…。！？]+")


def keep_words(text: WordedText, positions: Collection[int]) -> WordedText:
    """The refined text: the words at ``positions``, in their order.

    What stands between two words that were neighbours stays as it is; a gap left by dropped words becomes one space.
    Text before the first word or after the last stays only with that word, but the mark that ends the sentence always
    does. Keeping all positions gives ``text`` back.

    Raises InputError when a position is out of range.
    """
    kept = sorted(set(positions))
    n = len(text)
    if kept and not 0 <= kept[0] <= kept[-1] < n:
        raise InputError(f"positions must be in 0..{n - 1}")
    if not kept:
        return WordedText((), (text.text if n == 0 else "",))
    between = [text.gaps[b] if b == a + 1 else " " for a, b in itertools.pairwise(kept)]
    first = text.gaps[0] if kept[0] == 0 else ""
    last = text.gaps[n]
    if kept[-1] != n - 1:
        end = _SENTENCE_END.match(last)
        last = end.group() if end else ""
    return WordedText(tuple(text.words[p] for p in kept), (first, *between, last))


def _short_enough(text: WordedText, length: int) -> bool:
    if length < 1:
        raise InputError(f"refine must keep at least 1 word, not {length}")
    return len(text) <= length


def _whole(text: WordedText, method: str) -> Refinement:
    return Refinement(tuple(range(len(text))), method)


_SYSTEM = "You pick out the most important words of a text."
_SHOT_WORDS = "1:the 2:plot 3:is 4:thin 5:but 6:the 7:acting 8:is 9:simply 10:wonderful 11:to 12:watch"
_SHOT = (f"Words: {_SHOT_WORDS}\nThe 4 most important:", "10:wonderful, 7:acting, 4:thin, 2:plot")


def _numbered(text: WordedText) -> str:
    return " ".join(f"{number}:{word}" for number, word in enumerate(text.words, 1))


def _ask(text: WordedText, length: int, goal: str) -> Query:
    """The same request as a chat and as text to be continued."""
    rules = (
        f"Each word of a text has a number. Choose the words that are most important for {goal}. "
        "List them as number:word, separated by commas, the most important first, each once, and write nothing else."
    )
    wanted = f"Words: {_numbered(text)}\nThe {length} most important:"
    shot_question, shot_answer = _SHOT
    return Query(
        messages=(
            Message("system", f"{_SYSTEM} {rules}"),
            Message("user", shot_question),
            Message("assistant", shot_answer),
            Message("user", wanted),
        ),
        prefix=f"{rules}\n\n{shot_question} {shot_answer}\n\n",
        suffix=wanted,
        # "123:wonderful, " is at most a dozen tokens with the usual tokenisers, but for rare long words.
        max_tokens=12 * length + 16,
        stop=("\n\n",),
    )


def _ask_again(query: Query, answer: str, found: int, length: int) -> Query:
    """The first request, its answer, and what is wrong with it."""
    complaint = (
        f"That is not usable: it lists {found} different words of the text and {length} are needed. "
        "List the words again, as number:word, separated by commas."
    )
    return Query(
        messages=(*query.messages, Message("assistant", answer), Message("user", complaint)),
        prefix=query.prefix,
        suffix=f"{query.suffix} {answer.strip()}\n{complaint}\nThe list:",
        max_tokens=query.max_tokens,
        stop=query.stop,
    )


# A comma within a word, as in 1,000 or a URL, separates nothing.
_BETWEEN = re.compile(r"\n|[,;]\s+|[,;](?=\d+:)|[,;]$|\s+(?=\d{1,9}[:.)=])")
_ITEM = re.compile(r"(?:(\d{1,9})\s*[:.)=]\s*)?(\S+)")


def _read(answer: str, text: WordedText) -> list[int]:
    """Positions from a list such as ``3:good, 1:not`` or one line for each (numbers from 1), each once, as listed."""
    listed: list[int] = []
    for item in _BETWEEN.split(answer.strip().strip("[]")):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            continue
        number = int(match[1]) - 1 if match[1] else None
        same = _places(match[2], text)
        position = number if number in same else next((p for p in same if p not in listed), None)
        if position is not None and position not in listed:
            listed.append(position)
    return listed


def _places(word: str, text: WordedText) -> list[int]:
    wanted = {word.casefold(), word.strip("\"'`.").casefold()}
    return [position for position, own in enumerate(text.words) if own.casefold() in wanted]
