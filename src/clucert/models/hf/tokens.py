"""Text to token ids; text is never read as a control token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from clucert.errors import InputError
from clucert.models.labels import Tokens
from clucert.types import Message

_SENTINEL = "\x02{}\x02"
_PART_OF_WORD = re.compile(r"['’\-]?[^\W_]+")


@dataclass(frozen=True, slots=True)
class WordTokens:
    """Which tokens a word is written with."""

    spaced: Tensor
    """Those that begin a word with a space before it, ascending."""
    bare: Tensor
    """Those that begin a word without one."""
    further: frozenset[int]
    """Those that a word goes on with."""


class TextTokenizer:
    """A transformers tokenizer that is safe for hostile texts.

    Prefix and suffix of a query are tokenised apart, as the llama.cpp backend does: the tokens of a prefix do not
    depend on what follows it. ``<|im_end|>`` in a text is just characters; only a chat template writes control tokens.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = _control_tokens(tokenizer)
        self._plain = _plain_encoder(tokenizer)
        literals = sorted(filter(None, self._control.values()), key=len, reverse=True)
        self._literals = re.compile("|".join(map(re.escape, literals))) if literals else None
        eos = tokenizer.eos_token_id
        self._start = tuple(token for token in tokenizer("").input_ids if token != eos)

    def text(self, text: str, *, first: bool = False) -> Tokens:
        """Token ids of plain text; ``first`` puts what the model wants at the start of a prompt before them."""
        tokens = self._plain(text)
        if not self._control.keys().isdisjoint(tokens):
            tokens = self._without_literals(text)
        return (*self._start, *tokens) if first else tuple(tokens)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """The chat template read with its control tokens, the messages without."""
        if not self._tokenizer.chat_template:
            raise InputError("the model has no chat template: use a task with a raw prompt, or an instruct model")
        turns = [{"role": m.role, "content": _SENTINEL.format(i)} for i, m in enumerate(messages)]
        rest: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens: list[int] = []
        for i, message in enumerate(messages):
            head, mark, rest = rest.partition(_SENTINEL.format(i))
            if not mark:
                raise InputError(f"the model's chat template drops the {message.role} message: leave it out")
            tokens += self._template(head)
            tokens += self.text(message.content)
        return (*tokens, *self._template(rest))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of generated tokens, control tokens left out."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def words(self, device: torch.device) -> WordTokens:
        """Of the whole vocabulary, which takes a second; a token that is a part of a character begins no word."""
        spaced: list[int] = []
        bare: list[int] = []
        further: list[int] = []
        for index in range(len(self._tokenizer)):
            token = self._tokenizer.convert_ids_to_tokens(index)
            if index in self._control or token is None:
                continue
            text = self._tokenizer.convert_tokens_to_string([token])
            before, core = token[:1] in ("Ġ", "▁") or text[:1] == " ", text.removeprefix(" ")
            if not _PART_OF_WORD.fullmatch(core):
                continue
            if not before:
                further.append(index)
            if core[0].isalnum():
                (spaced if before else bare).append(index)
        first, alone = (torch.tensor(tokens, dtype=torch.int64, device=device) for tokens in (spaced, bare))
        return WordTokens(first, alone, frozenset(further))

    def _template(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids) if text else []

    def _without_literals(self, text: str) -> list[int]:
        """Each control literal cut after its first character, so that no vocabulary entry can be the whole of it."""
        cuts = [0, *(m.start() + 1 for m in self._literals.finditer(text)), len(text)] if self._literals else []
        tokens: list[int] = []
        for start, end in pairwise(cuts):
            tokens += self._plain(text[start:end])
        if not self._control.keys().isdisjoint(tokens):
            raise InputError("a text cannot be written without the model's control tokens: remove them from it")
        return tokens


def _control_tokens(tokenizer: Any) -> dict[int, str]:
    added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
    return {**added, **dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=False))}


def _plain_encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """The tokenizer without its added tokens: their literals in a text are then nothing special."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda text: list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
    from tokenizers import Tokenizer

    settings = json.loads(backend.to_str())
    settings["added_tokens"] = []
    settings["truncation"] = settings["padding"] = None
    plain = Tokenizer.from_str(json.dumps(settings))
    return lambda text: list(plain.encode(text, add_special_tokens=False).ids)
