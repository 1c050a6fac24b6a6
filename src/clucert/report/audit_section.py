"""The words of the part of the page that says what an adversary achieved."""

from __future__ import annotations

from clucert.audit.result import Audited, AuditedAttempt
from clucert.report.format import Cell, percent

SHOWN = 5
"""Broken certificates shown for each run at most; audit.json has all of them."""


def verdict(audit: Audited) -> str:
    """One sentence for each radius that was attacked."""
    sentences = []
    for kind in ("published", "proved", "exact"):
        found = [row for row in audit.rows if row.radius == kind]
        tried, broke = sum(row.tried for row in found), sum(row.broken for row in found)
        if tried:
            outcome = "none was broken" if not broke else f"{broke:,} of them {'was' if broke == 1 else 'were'} broken"
            claims = "1 claim" if tried == 1 else f"{tried:,} claims"
            sentences.append(f"{claims} of the {kind} radius attacked, {outcome}.")
    return " ".join(sentences) or "No certificate claims a radius of 1 or more, so there was nothing to break."


COLUMNS = ("Radius", "Change", "Claims tried", "Broken", "Share", "95% interval", "One past", "Texts tried")


def rows(audit: Audited) -> list[list[str | Cell]]:
    """Broken and tried, for each radius and threat model."""
    return [
        [
            row.radius,
            row.said,
            f"{row.tried:,}",
            Cell(f"{row.broken:,}", kind="broken" if row.broken else ""),
            percent(row.share),
            "–" if row.low is None or row.high is None else f"{percent(row.low)} – {percent(row.high)}",
            f"{row.past:,} of {row.past_tried:,}" if row.past_tried else "–",
            f"{row.texts:,}",
        ]
        for row in audit.rows
    ]


def broken(audit: Audited) -> list[AuditedAttempt]:
    """The attempts that broke a certificate; a proved one, should there be one, is what a reader must see first."""
    return sorted((a for a in audit.attempts if a.broken), key=lambda attempt: attempt.claim.kind == "published")


def told(attempt: AuditedAttempt) -> str:
    """Which certificate was broken, and what the answer became."""
    claim = attempt.claim
    if claim.ball is not None:
        counted = f"{claim.radius} ({claim.threat})"
        return f"Input {attempt.id}, {claim.kind} radius of {counted}: {claim.answer} became {attempt.answer}."
    words = "1 word" if claim.radius == 1 else f"{claim.radius} words"
    words += " of the refined text" if claim.domain == "refined" else ""
    return f"Input {attempt.id}, {claim.kind} radius of {words}: {claim.answer} became {attempt.answer}."


def changes(attempt: AuditedAttempt) -> str:
    """Word by word what was changed."""
    changed = ", ".join(f"{old or '–'} → {new or '–'}" for old, new in attempt.changed)
    sure = "" if attempt.claim.kind == "exact" else f"; p = {attempt.p_value:.1g}"
    return f"{changed} ({attempt.idea}{sure})"
