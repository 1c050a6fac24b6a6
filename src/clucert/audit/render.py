"""An audit for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from clucert.audit.run import Audit
from clucert.render import safe
from clucert.text_table import text_table

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 5


def claims_by_answer(result: Audit) -> str:
    """``negative 0 of 4, positive 1 of 20``: an answer that hardly ever changes is hard to break whatever the text."""
    tried = Counter(attempt.claim.answer for _, attempt in result.attempts)
    broken = Counter(attempt.claim.answer for _, attempt in result.attempts if attempt.broken)
    return ", ".join(f"{answer} {broken[answer]} of {count}" for answer, count in sorted(tried.items())[:20])


def print_audit(console: Console, result: Audit) -> None:
    """What came of it in a sentence, the table of broken and tried claims, then some of the texts that broke one."""
    from rich.text import Text

    console.print(safe(result.verdict, 600), style="bold")
    lines = [("radius", "change", "claims", "broken", "share", "95 % interval", "one past", "texts tried")]
    for row in result.rows():
        figures = (str(row["tried"]), str(row["broken"]), f"{row['share']:.3f}")
        span = f"{row['low']:.3f} – {row['high']:.3f}"
        past = f"{row['past']} of {row['past_tried']}" if row["past_tried"] else "–"
        lines.append((row["radius"], row["change"], *figures, span, past, str(row["texts"])))
    width = console.width if console.is_terminal else None
    console.print(Text(text_table(lines, range(2, 8), width, 2)), soft_wrap=True)
    console.print(f"{result.certified} certificates; claims of radius 0 cannot be broken. alpha = {result.alpha:g}.")
    if any(row["past_tried"] for row in result.rows()):
        console.print("One past: claims that a text one operation past the radius was found to break.")
    if by_answer := claims_by_answer(result):
        console.print(safe(f"claims broken, by answer: {by_answer}"))
    if any(attempt.claim.domain == "refined" for _, attempt in result.attempts):
        console.print(
            "Radii count words of the refined text where refine shortened it; nothing else was attacked there."
        )
    broken = [(tag, attempt) for tag, attempt in result.attempts if attempt.broken]
    for tag, attempt in broken[:SHOWN]:
        changes = ", ".join(f"{old or '–'} → {new or '–'}" for old, new in attempt.changed)
        claim = tag.claim
        counted = f"words of the {claim.domain} text" if claim.ball is None else claim.said
        sure = "" if claim.kind == "exact" else f", p = {attempt.p_value:.1g}"
        console.print(
            safe(
                f"{claim.kind} radius {claim.radius} ({counted}) of input {tag.id} broken "
                f"({attempt.idea}): {claim.answer} became {attempt.answer}{sure}: {changes}"
            )
        )
        console.print(safe(f"  {attempt.text}"))
    if result.failed:
        console.print(f"{len(result.failed)} claims could not be attacked: {next(iter(result.failed.values()))}")
