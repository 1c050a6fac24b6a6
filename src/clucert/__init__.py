"""Certified robustness for language-model classifiers and guardrails.

>>> import clucert
>>> result = clucert.certify("A thoughtful and quick response.", task="sst2")  # doctest: +SKIP
>>> result.prediction, result.radius.words  # doctest: +SKIP
('positive', 1)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clucert.api import (
        Session,
        SmoothedClassifier,
        certify,
        load,
        load_exact,
        open_session,
        smooth,
    )
    from clucert.api import certify_callable as certify_callable  # older names of certify and evaluate
    from clucert.api import evaluate_callable as evaluate_callable
    from clucert.certification import Certification, ExactCertification
    from clucert.config import Config
    from clucert.core.certificate import Certificate
    from clucert.core.radius import Radius
    from clucert.errors import CluCertError
    from clucert.guard import Guarded, SmoothedModel, TextGate, Verdict, open_gate, open_guard
    from clucert.studies import attack, audit, compare, evaluate, load_run

_HOMES = {
    "load_exact": "clucert.api",
    "ExactCertification": "clucert.certification",
    "evaluate": "clucert.studies",
    "audit": "clucert.studies",
    "attack": "clucert.studies",
    "compare": "clucert.studies",
    "load_run": "clucert.studies",
    "Certificate": "clucert.core.certificate",
    "Certification": "clucert.certification",
    "CluCertError": "clucert.errors",
    "Config": "clucert.config",
    "Guarded": "clucert.guard",
    "Radius": "clucert.core.radius",
    "Session": "clucert.api",
    "SmoothedClassifier": "clucert.api",
    "SmoothedModel": "clucert.guard",
    "TextGate": "clucert.guard",
    "Verdict": "clucert.guard",
    "certify": "clucert.api",
    "certify_callable": "clucert.api",
    "evaluate_callable": "clucert.api",
    "load": "clucert.api",
    "open_gate": "clucert.guard",
    "open_guard": "clucert.guard",
    "open_session": "clucert.api",
    "smooth": "clucert.api",
}

__all__ = [
    "Certificate",
    "Certification",
    "CluCertError",
    "Config",
    "ExactCertification",
    "Guarded",
    "Radius",
    "Session",
    "SmoothedClassifier",
    "SmoothedModel",
    "TextGate",
    "Verdict",
    "attack",
    "audit",
    "certify",
    "compare",
    "evaluate",
    "load",
    "load_exact",
    "load_run",
    "open_gate",
    "open_guard",
    "open_session",
    "smooth",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("clucert")
    if name not in _HOMES:
        raise AttributeError(f"module 'clucert' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
