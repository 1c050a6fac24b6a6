"""What became of one input, in one word."""

from __future__ import annotations

from typing import Literal

from clucert.core.exact import ExactCertificate
from clucert.report.runs import Input

State = Literal[
    "proved", "conditional", "fragile", "untested", "wrong", "abstained", "unreadable", "failed", "unlabelled"
]

MEANING: dict[State, str] = {
    "proved": "right, and proved to stay so under at least one change",
    "conditional": "right, and stays so under at least one change if the assumptions hold; nothing is proved",
    "fragile": "right, but not robust: certified against no change (radius 0)",
    "untested": "right, but no word has a synonym, so that nothing could be attacked",
    "wrong": "another answer than the gold label",
    "abstained": "the votes were too close to answer",
    "unreadable": "most answers to noised texts state no label: nothing is known about this text",
    "failed": "the model did not answer: no vote was made up",
    "unlabelled": "answered, and there is no gold label to compare with",
}


def state_of(row: Input) -> State:
    """By gold label, answer and radius (:attr:`Input.radius`). Gold labels are compared with nothing but the answer.

    An exact certificate without an answer is one of sub-texts of which none got a label.
    """
    if row.certificate is None:
        return "failed"
    if row.answer is None:
        return (
            "unreadable" if isinstance(row.certificate, ExactCertificate) or row.certificate.unreadable else "abstained"
        )
    if row.gold is None:
        return "unlabelled"
    return _robustness(row) if row.answer == row.gold else "wrong"


def _robustness(row: Input) -> State:
    """Of a right answer."""
    radius = row.radius
    if any(found is not None and found.reaches(1) for kind, found in row.radii.items() if kind != "published"):
        return "proved"
    if radius is not None and radius.nothing_to_attack:
        return "untested"
    return "conditional" if radius is not None and radius.reaches(1) else "fragile"
