"""Single votes in a record: what comes back is what was drawn, or nothing."""

from __future__ import annotations

import json
from base64 import b64encode
from fractions import Fraction
from zlib import compress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.test_smoothing import smoother
from tests.oracle import drive

from clucert import certificate_json as document
from clucert.core import vote_records
from clucert.core.smoothing import Certified
from clucert.core.vote_records import Draw, VoteRecord, pack_sets
from clucert.errors import InputError

DRAW = Draw(3, "7", 9, 2)


def drawn(votes: list[str | None], kept: list[bool], draw: Draw = DRAW) -> VoteRecord:
    sets = draw.sets("certify", 1, len(votes))
    return VoteRecord(
        "certify", 1, tuple(v if k else None for v, k in zip(votes, kept, strict=True)), tuple(kept), pack_sets(sets)
    )


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\0", None]), st.booleans()), max_size=60))
def test_ballots_come_back_with_their_retention_sets(rows):
    vote_record = drawn([vote for vote, _ in rows], [kept for _, kept in rows])
    stored = json.loads(json.dumps(vote_records.write([vote_record], "7")))
    assert vote_records.read(stored, DRAW) == (vote_record,)
    assert (vote_record.sets(9) == DRAW.sets("certify", 1, len(rows))).all()


def test_many_classes_need_two_bytes():
    vote_record = drawn([str(i) for i in range(700)], [True] * 700)
    assert vote_records.read(vote_records.write([vote_record], "7"), DRAW) == (vote_record,)


def test_other_retention_sets_than_were_drawn_are_noticed():
    stored = vote_records.write([drawn(["a"] * 20, [True] * 20)], "7")
    assert vote_records.read(stored, Draw(4, "7", 9, 2)) == ()


@pytest.mark.parametrize(
    "votes",
    [b64encode(compress(b"\0" * 10**6)).decode(), b64encode(compress(b"\0")).decode(), "AAAA", "é", 3],
)
def test_what_is_no_ballot_is_refused(votes):
    stored = vote_records.write([drawn(["a"] * 20, [True] * 20)], "7")
    stored["parts"][0]["votes"] = votes
    with pytest.raises((ValueError, TypeError)):
        vote_records.read(stored, DRAW)


def test_a_document_keeps_them_and_does_without():
    texts = smoother(mask_rate=Fraction(3, 10))
    certified = drive(
        texts.steps("a good and quiet film", "17"),
        lambda batch, _: ["positive" if "good" in text else "negative" for text in batch],
    )
    certificate = certified.certificate
    assert sum(len(vote_record.votes) for vote_record in certificate.vote_records) == certificate.selection.drawn + 200
    written = json.loads(json.dumps(document.write(certified)))
    assert document.read(written)[0].certificate == certificate
    older = {name: value for name, value in written.items() if name != "ballots"}
    assert document.read(older)[0].certificate.vote_records == ()
    assert document.read(older)[0].certificate.radius == certificate.radius
    with pytest.raises(InputError, match="not a CluCERT certificate"):
        document.read(written | {"ballots": {"example": "17", "classes": [], "parts": [{}]}})
    assert isinstance(certified, Certified)
