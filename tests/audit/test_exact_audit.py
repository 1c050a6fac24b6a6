"""An audit of exact certificates as a document, read back, and what the report says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import clucert
from clucert.audit import FILE
from clucert.audit.render import print_audit
from clucert.audit.result import read_audit
from clucert.audit.run import Audit, audit_exact, save
from clucert.audit.steps import Effort
from clucert.report import audit_section

LABELS = ["ham", "spam"]
TEXT = "free prize call now winner urgent cash claim offer text win mobile"


HARMLESS = {"meeting", "tonight", "home", "lunch", "dinner", "train"}


def classify(texts: list[str]) -> list[str]:
    return ["ham" if HARMLESS & {*text.split()} else "spam" for text in texts]


def found(forged: bool = False) -> Audit:
    """An audit of a text on which all groups agree; ``forged``, of votes that were never cast."""
    with clucert.smooth(classify, LABELS, method="ranmask", deterministic=True) as model:
        text, method = (f"meeting {TEXT} tonight", "blocks") if forged else (TEXT, "groups")
        certificate = model.prove(text, [method], count=3)[0].certificate
        if forged:
            votes = tuple(replace(shown, vote="spam", shares=None) for shown in certificate.answers)
            certificate = replace(certificate, answers=votes)
        texts = [(f"see you {word}", "ham") for word in sorted(HARMLESS)] + [("free prize", "spam")] * 6
        return audit_exact(model, {"1": certificate}, effort=Effort(texts=90), texts=texts)


def test_the_document_reads_back_and_the_report_tells_what_was_not_broken(tmp_path: Path) -> None:
    result = found()
    assert {row["threat"]: row["broken"] for row in result.rows()} == dict.fromkeys(
        ("insert", "delete", "move", "shift"), 0
    )
    assert {row["threat"]: row["past"] for row in result.rows()}["insert"] == 1
    save(result, tmp_path)
    audited = read_audit(tmp_path)
    assert audited is not None
    assert [(row.threat, row.past, row.past_tried) for row in audited.rows] == [
        (row["threat"], row["past"], row["past_tried"]) for row in result.rows()
    ]
    assert "4 claims of the exact radius attacked, none was broken." in audit_section.verdict(audited)
    assert ["exact", "inserted anywhere"] in [row[:2] for row in audit_section.rows(audited)]
    assert all(len(row) == len(audit_section.COLUMNS) for row in audit_section.rows(audited))


def test_a_break_is_told_with_its_text_and_what_changed(tmp_path: Path) -> None:
    from rich.console import Console

    result = found(forged=True)
    save(result, tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["rows"][0]["broken"] == 1
    audited = read_audit(tmp_path)
    assert audited is not None
    (attempt,) = audit_section.broken(audited)
    assert audit_section.told(attempt) == "Input 1, exact radius of 1 (replace): spam became ham."
    assert "→" in audit_section.changes(attempt)
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        print_audit(console, result)
    told = captured.get()
    assert "exact radius 1 (replaced) of input 1 broken" in told
    assert "p = " not in told
    assert attempt.text in told
