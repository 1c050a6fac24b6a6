"""The part of the page that says what an adversary achieved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clucert.gap import THREATS
from clucert.report.audited import Attempt, Audited
from clucert.report.charts import swatch
from clucert.report.figures import percent
from clucert.report.markup import Html, element

SHOWN = 5
"""Broken certificates shown for each run at most; audit.json has all of them."""


def verdict(audit: Audited) -> str:
    """One sentence for each radius that was attacked."""
    sentences = []
    for kind in ("published", "proved"):
        rows = [row for row in audit.rows if row.radius == kind]
        tried, broken = sum(row.tried for row in rows), sum(row.broken for row in rows)
        if tried:
            outcome = (
                "none was broken" if not broken else f"{broken:,} of them {'was' if broken == 1 else 'were'} broken"
            )
            claims = "1 claim" if tried == 1 else f"{tried:,} claims"
            sentences.append(f"{claims} of the {kind} radius attacked, {outcome}.")
    return " ".join(sentences) or "No certificate claims a radius of 1 or more, so there was nothing to break."


def table(audit: Audited, caption: str) -> Html:
    """Broken and tried, for each radius and threat model."""
    names = ("Radius", "Words may become", "Claims tried", "Broken", "Share", "95% interval", "Texts tried")
    head = element("tr", *(element("th", name, scope="col") for name in names))
    rows = [
        element(
            "tr",
            element("th", row.radius, scope="row"),
            element("td", THREATS[row.threat]),
            element("td", f"{row.tried:,}"),
            element("td", f"{row.broken:,}", class_="broken" if row.broken else None),
            element("td", percent(row.share)),
            element("td", "–" if row.low is None or row.high is None else f"{percent(row.low)} – {percent(row.high)}"),
            element("td", f"{row.texts:,}"),
        )
        for row in audit.rows
    ]
    return element(
        "table", element("caption", caption, class_="hidden"), element("thead", head), element("tbody", *rows)
    )


def breaks(audit: Audited) -> Html | None:
    """Some of the texts that broke a certificate: word by word what was changed, and what the answer became."""
    found = [attempt for attempt in audit.attempts if attempt.broken]
    if not found:
        return None
    # A broken proved radius, should there be one, is what a reader must see first.
    found.sort(key=lambda attempt: attempt.claim.kind != "proved")
    more = f" The first {SHOWN} of {len(found):,}; audit.json has them all." if len(found) > SHOWN else ""
    return element(
        "div",
        element("h4", f"Texts that broke a certificate.{more}"),
        element("ul", *(_break(attempt) for attempt in found[:SHOWN]), class_="breaks"),
    )


def _break(attempt: Attempt) -> Html:
    claim = attempt.claim
    words = "1 word" if claim.radius == 1 else f"{claim.radius} words"
    words += " of the refined text" if claim.domain == "refined" else ""
    changes = ", ".join(f"{old} → {new}" for old, new in attempt.changed)
    return element(
        "li",
        element("p", f"Input {attempt.id}, {claim.kind} radius of {words}: {claim.answer} became {attempt.answer}."),
        element("blockquote", attempt.text),
        element("p", f"{changes} ({attempt.idea}; p = {attempt.p_value:.1g})", class_="quiet"),
    )


def _failed(audit: Audited) -> Html | None:
    if not audit.failed:
        return None
    return element("p", f"{len(audit.failed):,} could not be attacked, because a call failed.", class_="quiet")


def parts(runs: Sequence[tuple[int, str, Audited | None]]) -> Iterable[Html]:
    """One block for each (index, name, audit); runs that were not audited are named."""
    missing = [name for _, name, audit in runs if audit is None]
    for index, name, audit in runs:
        if audit is None:
            continue
        caption = f"Audit of {name}"
        yield element(
            "div",
            element("h3", swatch(index), name),
            element("p", verdict(audit)),
            element("div", table(audit, caption), class_="scroll", tabindex=0, role="region", aria_label=caption),
            breaks(audit),
            _failed(audit),
            class_="audited",
        )
    if missing:
        yield element("p", f"Not audited: {', '.join(missing)}. clucert audit RUN does it.", class_="quiet")
