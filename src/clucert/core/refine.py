"""Refine: keep the L words that matter most, in order (the first step of CluCERT).

With refine on, the radius is counted in words of the *refined* text (assumption A4 of the certificate). A refiner is a
sans-I/O generator: it yields requests to a language model or a sentence encoder and returns a :class:`Refinement`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clucert.core.words import WordedText, split
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

    ``importance(i) = 1 − cos(e(w), e(w without w_i))``, where w is the text; of a long one, the part of it that w_i
    is in (:data:`READ`). No language model is asked; ``n`` texts are embedded, and one for each part.
    """

    name: str = field(default="embedding", init=False)

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """The ``length`` words of the largest drop; the earlier word wins a tie."""
        if _short_enough(text, length):
            return _whole(text, self.name)
        ranked = yield from _by_drop(text)
        return Refinement(tuple(sorted(ranked[:length])), self.name)


READ = 750
"""What is embedded at a time, in characters, those outside ASCII counted thrice: 250 word pieces, for a word piece of
the packaged encoder is some three letters of English or German, or one of another script. It reads 256 of them, and
nothing of what comes after."""


def _by_drop(text: WordedText) -> Generator[Request, Any, list[int]]:
    """All positions, the word whose absence moves the embedding most first."""
    drop = np.zeros(len(text))
    for window in _windows(text):
        whole, *without = (keep_words(text, [p for p in window if p != left_out]).text for left_out in (None, *window))
        vectors = np.asarray((yield Encode([whole, *without], "refine")))
        drop[window] = 1.0 - vectors[1:] @ vectors[0]
    # Rounded to what float32 embeddings can tell apart, so that ties are ties on every machine.
    return [int(p) for p in np.argsort(-np.round(drop, 6), kind="stable")]


def _windows(text: WordedText) -> list[list[int]]:
    """All positions, in as few parts of about the same size as :data:`READ` allows: one word of five matters more than
    one of fifty, whatever it says.
    """
    sizes = [_size(word) + _size(gap) for word, gap in zip(text.words, text.gaps[1:], strict=True)]
    parts = -(-sum(sizes) // READ)
    before = np.cumsum([0, *sizes[:-1]])
    of = before * parts // sum(sizes)
    return [part.tolist() for part in np.split(np.arange(len(text)), np.flatnonzero(np.diff(of)) + 1)]


def _size(text: str) -> int:
    return len(text) if text.isascii() else sum(1 if letter.isascii() else 3 for letter in text)


@dataclass(frozen=True, slots=True)
class LlmRefiner:
    """Asks a language model for the L most important words, as the paper does.

    The paper prints no prompt; this one asks for a list of words. What is listed and is no word of the text is left
    out. A word that occurs more than once is kept once, and wherever it occurs while there is room. What the list
    leaves open ``EmbeddingRefiner`` chooses, and ``Refinement.fallback`` says how much.
    """

    goal: str = "understanding what the text says"
    """What the words matter for, to be read after "most important for": the task's own words."""
    name: str = field(default="llm", init=False)

    def refine(self, text: WordedText, length: int) -> Generator[Request, Any, Refinement]:
        """The ``length`` words that the language model names; one request to it, and the encoder where it is short."""
        if _short_enough(text, length):
            return _whole(text, self.name)
        (answer,) = yield Generate([_ask(text, length, self.goal)], "refine")
        listed = _read(answer, text)
        if len(listed) >= length:
            return Refinement(tuple(sorted(listed[:length])), self.name)
        ranked = yield from _by_drop(text)
        chosen = tuple(sorted(list(dict.fromkeys([*listed, *ranked]))[:length]))
        method = self.name if listed else EmbeddingRefiner().name
        return Refinement(chosen, method, _note(len(listed), length), length - len(listed))


def _note(found: int, length: int) -> str:
    if not found:
        return "refine fell back from llm to embedding: the language model's list holds no word of the text"
    return f"refine: the language model's list gave {found} of {length} words, embedding chose the others"


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
_SHOT_TEXT = "the plot is thin, but the acting is simply wonderful to watch"
_SHOT = (f"Text: {_SHOT_TEXT}\nThe 4 most important words:", "wonderful, acting, thin, plot")


def _ask(text: WordedText, length: int, goal: str) -> Query:
    """The same request as a chat and as text to be continued.

    Without numbers, on purpose: a small model that sees them counts on instead of choosing.
    """
    rules = (
        f"Choose the words of a text that are most important for {goal}. List them as they stand in the text, "
        "separated by commas, the most important first, each once, and write nothing else."
    )
    # On one line, so that no line of the text ends the request.
    wanted = f"Text: {' '.join(text.text.split())}\nThe {length} most important words:"
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
        # "10. wonderful, " is at most ten tokens with the usual tokenisers, but for rare long words.
        max_tokens=10 * length + 32,
        # Chat models begin with a sentence and an empty line; what is continued goes on with another text.
        stop=("\nText:",),
    )


_PHRASE = 3
"""A listed item may be a phrase of so many words; a longer one is a sentence that the model wrote."""
_LONGEST = 12
"""Words of a phrase that is written without spaces."""
# A comma within a word, as in 1,000 or a URL, separates nothing at first.
_BETWEEN = re.compile(r"[,;،؛]\s+|[,;،؛]$|[\n|、，；]")
_NUMBER = re.compile(r"(?:\d{1,9}(?:[.)]\s|:(?=\D)|\s)|[-*•]\s?|and\s)\s*")
"""What chat models put before a word: a number or a bullet, the last *and*."""
_EXPLAINED = re.compile(r":\**\s|\s[-–—(]")

Words = tuple[str, ...]


def _read(answer: str, text: WordedText) -> list[int]:
    """The positions of the listed words, each once: one of each as listed, then where else they occur."""
    own = _folded(text.words)
    places: dict[str, list[int]] = {}
    for position, word in enumerate(own):
        places.setdefault(word, []).append(position)

    @functools.cache
    def found(words: Words) -> list[int]:
        """Where the words stand, one after the other."""
        starts = places.get(words[0], ()) if words else ()
        return [start for start in starts if own[start : start + len(words)] == words]

    listed: dict[Words, None] = {}
    # A list of words of the text is not much longer than the text.
    for item in _BETWEEN.split(answer[: 40 * len(text) + 2000]):
        read = next(filter(found, _readings(item)), None)
        listed.update(dict.fromkeys([read] if read else filter(found, map(_phrase, item.split(",")))))
    once = [start + i for words in listed for start in found(words)[:1] for i in range(len(words))]
    again = [start + i for words in listed for start in found(words)[1:] for i in range(len(words))]
    return list(dict.fromkeys([*once, *again]))


def _readings(item: str) -> Iterator[Words]:
    """An item and the same without its number; of one with an explanation, what stands before and behind the colon."""
    item = item.strip()
    bare = item[number.end() if (number := _NUMBER.match(item)) else 0 :]
    explained = _EXPLAINED.split(bare, maxsplit=1)
    return map(_phrase, explained if len(explained) > 1 else (item, bare))


def _phrase(item: str) -> Words:
    """Its words, as those of texts are read; none of a sentence."""
    if len(item.split()) > _PHRASE:
        return ()
    words = _folded(split(item).words)
    return words if len(words) <= _LONGEST else ()


def _folded(words: Sequence[str]) -> Words:
    return tuple(word.casefold().replace("’", "'") for word in words)
