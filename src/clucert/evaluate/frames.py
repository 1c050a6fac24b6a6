"""The inputs and the votes of a run as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clucert.core.certificate import Certificate
from clucert.evaluate.read_certificates import certificate_of
from clucert.evaluate.record import Record
from clucert.evaluate.run_directory import by_id, read_records
from clucert.vote_rows import rows_of

Row = dict[str, Any]


def input_rows(run_dir: Path) -> Iterator[Row]:
    """One row an input, in the order of ids; a failed one has its error and no answer."""
    for record in _records(run_dir):
        certificate = certificate_of(record.document)
        row: Row = {"id": record.id, "gold": record.gold, "status": record.status, "error": record.error}
        if certificate is None:
            yield row
            continue
        row |= {
            "text": certificate.subject.text if isinstance(certificate, Certificate) else certificate.text,
            "answer": certificate.prediction,
            "right": None if record.gold is None else certificate.prediction == record.gold,
        }
        if isinstance(certificate, Certificate):
            row["published"] = None if certificate.radius is None else certificate.radius.words
        for threat, radius in certificate.proved.items():
            row[f"proved_{threat}"] = None if radius is None else float("inf") if radius.endless else radius.words
        yield row


def standing(run_dir: Path, total: int) -> list[Row]:
    """By threat, the share of ``total`` rows that are right and proved at 0, 1, 2 and 3 operations.

    Rows without a certificate, and those without a gold label where others have one, are not proved.
    """
    rows = list(input_rows(run_dir))
    judged = any(row["gold"] is not None for row in rows)
    threats = dict.fromkeys(name for row in rows for name in row if name.startswith("proved_"))
    found = []
    for name in threats:
        radii = [row.get(name) for row in rows if row.get("right") or not judged]
        shares = {f"≥ {r}": sum(each is not None and each >= r for each in radii) / max(total, 1) for r in range(4)}
        said = "right and proved" if judged else "proved"
        found.append({"threat": f"{name.removeprefix('proved_')}, {said}", **shares})
    return found


def run_votes(run_dir: Path) -> Iterator[Row]:
    """One row a vote of each input."""
    for record in _records(run_dir):
        certificate = certificate_of(record.document)
        for row in rows_of(certificate) if certificate is not None else ():
            yield {"id": record.id, **row}


def _records(run_dir: Path) -> list[Record]:
    return list(by_id(read_records(run_dir)[0]))
