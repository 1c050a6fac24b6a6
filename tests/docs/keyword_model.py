"""A language model that counts words, in the place of those that the pages name: their commands are what is tested."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from clucert.models.load import MODELS, ModelOptions
from clucert.types import Answer, Query, Usage

GOOD = {
    "best",
    "warm",
    "funny",
    "joy",
    "loved",
    "lovely",
    "clever",
    "delightful",
    "great",
    "witty",
    "beautiful",
    "free",
}


class KeywordModel:
    """The first label where a word of GOOD stands, the last one where none does; free answers refuse or comply so."""

    deterministic = True
    batch_size = 64

    def __init__(self, name: str, _: ModelOptions) -> None:
        self.name = f"keyword/{name or 'smollm2'}"

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        return [self._answer(query) for query in queries]

    def _answer(self, query: Query) -> Answer:
        text = query.suffix or query.messages[-1].content
        good = len(GOOD & set(re.findall(r"\w+", text.lower())))
        usage = Usage(calls=1, input=len(text.split()), output=1)
        if query.labels is None:
            return Answer(
                "#### 18" if "####" in str(query) else "Sure, here it is. " * 5, usage=usage, finish_reason="stop"
            )
        weights = [1.0 + 3 * good, *(2.0 for _ in query.labels[1:])]
        scores = tuple(math.log(weight / sum(weights)) for weight in weights)
        return Answer(query.labels[scores.index(max(scores))], scores, usage)

    def close(self) -> None:
        pass


def encode(_: object, texts: Sequence[str]) -> NDArray[np.float32]:
    """Which words a text has, hashed: rows of unit length."""
    rows = np.full((len(texts), 384), 1e-3, dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            row[crc32(word.encode()) % 384] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    """The command, with this model behind every provider's name."""
    from clucert.cli import main as command
    from clucert.models.encoders import MiniLmEncoder

    MiniLmEncoder.encode = encode  # type: ignore[method-assign]

    MODELS._found.update(dict.fromkeys(MODELS.names(), "keyword_model:KeywordModel"))
    command()


if __name__ == "__main__":
    sys.modules["keyword_model"] = sys.modules["__main__"]
    main()
