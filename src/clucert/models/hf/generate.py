"""Generation behind a shared prefix: greedy or sampled, each text with random numbers of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from clucert.models.hf.engine import InferenceEngine
from clucert.models.hf.tokens import WordTokens
from clucert.models.labels import Tokens

WORD_TOKENS = 6
"""Most tokens of a word for a blank; a word that is longer is cut."""


@dataclass(slots=True)
class Frame:
    """What a text must look like: blanks, each a word that the model chooses, and what stands between them."""

    spaced: tuple[bool, ...]
    """Of each blank, whether a space is before its word."""
    between: tuple[Tokens, ...]
    """What stands behind each blank but the last, without the space before the next word."""
    vocabulary: WordTokens
    words: list[Tokens] = field(init=False, default_factory=list)
    """Of the blanks that are filled."""
    _word: list[int] = field(init=False, default_factory=list)
    _given: list[int] = field(init=False, default_factory=list)

    @property
    def most(self) -> int:
        """Tokens that it may take to fill the blanks."""
        return sum(map(len, self.between)) + WORD_TOKENS * len(self.spaced)

    def next(self, pick: Callable[[Tensor | None], int]) -> int | None:
        """The next token, or None once every blank has its word; ``pick`` chooses among some tokens, or all (None)."""
        if self._word and not self._given:
            token = pick(None) if len(self._word) < WORD_TOKENS else -1
            if token in self.vocabulary.further:
                self._word.append(token)
                return token
            self.words.append(tuple(self._word))
            self._word.clear()
            if len(self.words) == len(self.spaced):
                return None
            self._given.extend(self.between[len(self.words) - 1])
        if self._given:
            return self._given.pop(0)
        token = pick(self.vocabulary.spaced if self.spaced[len(self.words)] else self.vocabulary.bare)
        self._word.append(token)
        return token


@dataclass(slots=True)
class Text:
    """One text to be continued."""

    prompt: Tokens
    """Behind the shared prefix."""
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]
    rng: np.random.Generator
    frame: Frame | None = None
    """What it is held to; ``max_tokens`` and ``stop`` are then not looked at."""
    output: list[int] = field(default_factory=list)
    text: str = ""
    ended: bool = False
    """By an end token or a stop string, not by ``max_tokens``."""

    @property
    def most(self) -> int:
        """Tokens that it may grow by."""
        return self.frame.most if self.frame else self.max_tokens


def generator(prefix: Tokens, prompt: Tokens, seed: int) -> np.random.Generator:
    """The random numbers of one draw: a function of the prompt and of the draw's index, so draws are independent."""
    digest = hashlib.sha256(np.asarray([*prefix, -1, *prompt], dtype=np.int64).tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype=np.uint32).tolist()])


def generate(
    engine: InferenceEngine,
    prefix: Tokens,
    texts: Sequence[Text],
    ends: frozenset[int],
    decode: Callable[[Tokens], str],
) -> None:
    """Fill ``output`` and ``text`` of each: up to ``max_tokens``, an end token, or the first of its stop strings.

    Of a text with a frame it fills ``output`` and the words of the frame.
    """
    live = [text for text in texts if text.most > 0]
    if not live:
        return
    growing = engine.grow(prefix, [text.prompt for text in live], max(text.most for text in live))
    rows = list(range(len(live)))
    while True:
        chosen = choose(growing.logits, live, rows)
        rows = [row for row in rows if not _finished(live[row], chosen[row], ends, decode)]
        if not rows:
            return
        if 8 * len(rows) <= 7 * len(live):
            growing.keep(rows)
            live, chosen, rows = [live[r] for r in rows], [chosen[r] for r in rows], list(range(len(rows)))
        growing.step([0 if token is None else token for token in chosen])


def choose(logits: Tensor, texts: Sequence[Text], rows: Sequence[int]) -> list[int | None]:
    """The next token of each text: the likeliest, or one drawn from softmax(logits / temperature) by inversion; for a
    text with a frame, what that asks for.

    None for texts that are not among ``rows``, which are done, and for a frame that is filled.
    """
    chosen: list[int | None] = [None] * len(texts)
    # Of all rows at once: a graphics card would be waited for at each of them.
    likeliest: list[int] = logits.argmax(-1).tolist()
    for row in rows:
        text = texts[row]
        pick = partial(_pick, logits[row], likeliest[row], text)
        chosen[row] = text.frame.next(pick) if text.frame else pick(None)
    return chosen


def _pick(logits: Tensor, likeliest: int, text: Text, among: Tensor | None) -> int:
    """One of the tokens ``among``, ascending; of all, of which one is the ``likeliest``, where that is None."""
    if among is None:
        return _drawn(logits, text) if text.temperature > 0 else likeliest
    held = logits[among]
    return int(among[_drawn(held, text) if text.temperature > 0 else held.argmax()])


def _drawn(logits: Tensor, text: Text) -> int:
    steps = torch.softmax(logits.double() / text.temperature, -1).cumsum(0)
    point = text.rng.random() * float(steps[-1])
    found = int(torch.searchsorted(steps, torch.tensor(point, dtype=steps.dtype, device=steps.device), right=True))
    return min(found, len(steps) - 1)


def _finished(text: Text, token: int | None, ends: frozenset[int], decode: Callable[[Tokens], str]) -> bool:
    if token is None:
        text.ended = True
        return True
    text.output.append(token)
    if text.frame:
        return False
    ended = text.output[-1] in ends
    text.text = decode(tuple(text.output[:-1] if ended else text.output))
    cuts = [at for stop in text.stop if stop and (at := text.text.find(stop)) >= 0]
    if cuts:
        text.text = text.text[: min(cuts)]
    text.ended = ended or bool(cuts)
    return text.ended or len(text.output) >= text.max_tokens
