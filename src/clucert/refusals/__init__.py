"""Is the answer of an assistant a refusal? A phrase list that ships with CluCERT says, or
:class:`clucert.runtime.judge.JudgeDetector`, which asks a model.
"""

from __future__ import annotations

from clucert.refusals.base import COMPLIED, LABELS, REFUSED, RefusalDetector, RefusalLabel
from clucert.refusals.phrases import PhraseDetector

__all__ = [
    "COMPLIED",
    "LABELS",
    "REFUSED",
    "PhraseDetector",
    "RefusalDetector",
    "RefusalLabel",
]
