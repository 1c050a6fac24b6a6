"""The JSON document: a golden file, its round trip, and refusals."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from clucert import certificate_json as document
from clucert.core.channel import Sample
from clucert.core.smoothing import Certified
from clucert.errors import InputError
from clucert.types import Cost, Usage, Votes
from tests.core.test_certificate import make

GOLDEN = Path(__file__).parent / "golden" / "certificate.json"


def example() -> tuple[Certified, Cost]:
    certificate = make(
        Votes({"positive": 95, "negative": 4}, unparsed=1),
        Votes({"positive": 900, "negative": 30}, unparsed=10, dropped=60),
        n=4,
        s=1,
        attackable=3,
        recovery="synonym",
        clustering="agglomerative",
        threshold=0.5,
    )
    cost = Cost(1040, Usage(880, 50_000, 880, 40_000), Usage(), defaultdict(float, {"model": 61.5, "encode": 2.25}))
    samples = (
        Sample("w0 <b>&</b> w2 w3", "positive", True, "predict"),
        Sample("w0 \u202e\x00 w3", None, False, "certify"),
    )
    return Certified(certificate, samples), cost


def test_golden_document():
    """Set CLUCERT_WRITE_GOLDEN=1 to write the file anew, and read the difference before committing it."""
    written = document.write(*example()) | {"clucert_version": "*"}
    if os.environ.get("CLUCERT_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    assert written == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_reading_gives_back_what_was_written_and_derives_anew():
    certified, cost = example()
    written = json.loads(json.dumps(document.write(certified, cost)))
    written["derived"] = {"radius": {"words": 99}}
    back, back_cost = document.read(written)
    assert back.certificate == certified.certificate
    assert back.samples == certified.samples
    assert back_cost == cost
    assert back.certificate.radius == certified.certificate.radius


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"schema_version": 1},
        {"schema_version": "x"},
        [],
        {"schema_version": 1, "subject": 3, "settings": {}, "labels": None},
    ],
)
def test_what_is_no_certificate_is_refused_in_one_line(broken):
    with pytest.raises(InputError, match="not a CluCERT certificate") as caught:
        document.read(broken)
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused_by_name():
    with pytest.raises(InputError, match="newer than 1: upgrade"):
        document.read(document.write(*example()) | {"schema_version": 2})
