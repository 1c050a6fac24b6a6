"""Is the answer of an assistant a refusal? A phrase list that ships with CluCERT, or a judge model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clucert.refusals.base import COMPLIED, LABELS, REFUSED, RefusalDetector, RefusalLabel
from clucert.refusals.phrases import PhraseDetector

if TYPE_CHECKING:
    from clucert.runtime.judge import JudgeDetector

__all__ = [
    "COMPLIED",
    "LABELS",
    "REFUSED",
    "JudgeDetector",
    "PhraseDetector",
    "RefusalDetector",
    "RefusalLabel",
]


def __getattr__(name: str) -> Any:
    # A judge asks a model, which takes the runtime; the runtime reads refusals.
    if name == "JudgeDetector":
        from clucert.runtime.judge import JudgeDetector

        return JudgeDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
