"""A Python assertion for promptfoo: is the provider's answer to this prompt proved to stay?

.. code-block:: yaml

    tests:
      - vars: {text: WIN a prize now}
        assert:
          - type: python
            value: file://certified.py        # from clucert.promptfoo import get_assert
            config:
              model: openai/gpt-4o-mini       # or python:FILE.py:FUNCTION, FILE.clucert
              task: spam.yaml
              method: blocks
              deterministic: true
              radius: 1

``config`` holds the options of :func:`clucert.certify`, and ``variable`` (of the text; ``text``), ``expected`` (the
label; unset: whichever is answered), ``radius`` (1) and ``threat`` (unset: the method's first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clucert.api import certify
from clucert.errors import CluCertError

OWN = {"variable": "text", "expected": None, "radius": 1, "threat": None}


def get_assert(output: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """``pass``, ``score`` and ``reason``, as promptfoo reads them. The score is 1 where the radius is proved, less in
    proportion, and 0 for another answer than the one that is expected. ``output`` is what promptfoo's own provider
    said, which need not be the classifier that is certified.
    """
    config = dict(context.get("config") or {})
    own = {name: config.pop(name, default) for name, default in OWN.items()}
    try:
        return _judged(_text(context, str(own["variable"])), config, own)
    except CluCertError as error:
        return _result(False, 0.0, str(error))


def _text(context: Mapping[str, Any], variable: str) -> str:
    variables = context.get("vars") or {}
    if not isinstance(variables.get(variable), str):
        known = ", ".join(map(str, variables)) or "none"
        raise CluCertError(f"there is no text in the variable {variable!r} (there is {known}): say  config.variable")
    return str(variables[variable])


def _judged(text: str, config: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    found: Any = certify(text, **config)
    proved = found.certificate.proved
    threat = own["threat"] or next(iter(proved), None)
    if threat not in proved:
        raise CluCertError(f"nothing is said of {threat!r}: the threats are {', '.join(proved)}")
    wanted, radius = int(own["radius"]), proved[threat]
    if found.prediction is None:
        return _result(False, 0.0, "abstained: the votes do not tell the answer from the next")
    if own["expected"] is not None and found.prediction != own["expected"]:
        return _result(False, 0.0, f"answered {found.prediction!r}, not {own['expected']!r}")
    reached = radius is not None and radius.reaches(wanted)
    words = radius.words if radius is not None else 0
    score = 1.0 if reached else min(words / wanted, 1.0) if wanted else 0.0
    return _result(reached, score, f"{found.prediction!r}, proved under any {words} of {threat!r} ({wanted} wanted)")


def _result(passed: bool, score: float, reason: str) -> dict[str, Any]:
    return {"pass": passed, "score": score, "reason": " ".join(reason.split())}
