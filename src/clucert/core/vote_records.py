"""Every single vote with its retention set, and the compact form in which a record keeps them.

A record stores the votes alone: the seed gives the retention sets again, and a checksum tells when it does not (another
numpy may draw other sets): then a document is read without its vote_records. Radii are derived from the counts alone.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.core.noise.overlap import SampledNoise
from clucert.core.noise.retention import every_retention, rng_for, sample_retention
from clucert.types import Stage, Vote

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """The votes of one stage, or of one part of it, in the order in which they were drawn."""

    stage: Stage
    part: int
    votes: tuple[Vote, ...]
    """None for an answer that names no label, and for a sample that was dropped before it was asked about."""
    kept: tuple[bool, ...]
    retained: bytes
    """The retention sets, one row of bits a sample: :meth:`sets`."""

    def sets(self, n: int) -> NDArray[np.bool_]:
        """The retention sets of a text of ``n`` words: shape (samples, n), True where the word was retained."""
        packed = np.frombuffer(self.retained, np.uint8).reshape(len(self.votes), (n + 7) // 8)
        return np.unpackbits(packed, axis=1, count=n).astype(np.bool_)

    def renamed(self, name: Callable[[Vote], Vote]) -> VoteRecord:
        """The same samples with ``name(vote)`` for each vote; one that was dropped unseen stays none."""
        found = {vote: name(vote) for vote in set(self.votes)}
        return replace(
            self, votes=tuple(found[vote] if kept else None for vote, kept in zip(self.votes, self.kept, strict=True))
        )

    def against(self, winner: str) -> NDArray[np.bool_]:
        """Which samples were not votes for ``winner``: for another, for none, or dropped unseen. Shape (samples,)."""
        return np.array([vote != winner for vote in self.votes], dtype=np.bool_)


def draw_sets(rng: np.random.Generator, n: int, s: int, samples: int, noise: SampledNoise | None) -> NDArray[np.bool_]:
    """Retention sets of s of n words, or of ``noise``: shape (samples, n), True where the word is retained."""
    return sample_retention(rng, n, s, samples) if noise is None else noise.sample(rng, n, samples)


@dataclass(frozen=True, slots=True)
class Draw:
    """What the retention sets of one text are drawn from."""

    seed: int
    example: str
    n: int
    s: int
    exhaustive: bool = False
    noise: SampledNoise | None = None
    """Which draws other sets than those of s words."""

    def sets(self, stage: Stage, part: int, samples: int) -> NDArray[np.bool_]:
        """The retention sets of one part of one stage."""
        if self.exhaustive:
            return every_retention(self.n, self.s)
        return draw_sets(rng_for(self.seed, self.example, f"{stage}-{part}"), self.n, self.s, samples, self.noise)


MOST_SAMPLES = 10_000_000
"""Nobody draws as many in one part; a hostile record must not ask for as much memory."""


def pack_sets(sets: NDArray[np.bool_]) -> bytes:
    """Rows of bits, each row padded to whole bytes."""
    return np.packbits(sets, axis=1).tobytes()


def write(vote_records: Sequence[VoteRecord], example: str) -> Json:
    """The stored form: about 0.2 bytes a vote where nearly all agree."""
    classes: dict[Vote, int] = {}
    for vote_record in vote_records:
        for vote in vote_record.votes:
            classes.setdefault(vote, len(classes))
    return {
        "example": example,
        "classes": list(classes),
        "parts": [_write(vote_record, classes) for vote_record in vote_records],
    }


def _write(vote_record: VoteRecord, classes: Mapping[Vote, int]) -> Json:
    # One class beyond the list: dropped unseen.
    codes = [classes[v] if kept else len(classes) for v, kept in zip(vote_record.votes, vote_record.kept, strict=True)]
    dtype = np.uint8 if len(classes) < 256 else np.uint16
    return {
        "stage": vote_record.stage,
        "part": vote_record.part,
        "samples": len(codes),
        "votes": b64encode(zlib.compress(np.array(codes, dtype).tobytes(), 9)).decode("ascii"),
        "sets": zlib.crc32(vote_record.retained),
    }


def read(fields: Mapping[str, Any], draw: Draw) -> tuple[VoteRecord, ...]:
    """The vote_records that :func:`write` stored; none when their retention sets are not those of ``draw`` any more.

    Raises KeyError, TypeError or ValueError for what is not such a form.
    """
    vote_records = tuple(_read(part, fields["classes"], draw) for part in fields["parts"])
    return () if None in vote_records else tuple(vote_record for vote_record in vote_records if vote_record is not None)


def _read(fields: Mapping[str, Any], classes: Sequence[Vote], draw: Draw) -> VoteRecord | None:
    samples, width = fields["samples"], 1 if len(classes) < 256 else 2
    if type(samples) is not int or not 0 <= samples <= MOST_SAMPLES:
        raise ValueError(f"ballots of {str(samples)[:20]} samples")
    inflater = zlib.decompressobj()
    # Bounded, so that a hostile record cannot ask for gigabytes.
    try:
        raw = inflater.decompress(b64decode(fields["votes"], validate=True), samples * width + 1)
    except zlib.error as error:
        raise ValueError(f"votes cannot be unpacked: {error}") from None
    if len(raw) != samples * width:
        raise ValueError(f"{len(raw)} bytes of votes for {samples} samples")
    codes = np.frombuffer(raw, np.uint8 if width == 1 else np.uint16).tolist()
    names = [*classes, None]
    retained = pack_sets(draw.sets(fields["stage"], fields["part"], samples))
    if zlib.crc32(retained) != fields["sets"]:
        return None
    votes, kept = tuple(names[code] for code in codes), tuple(code < len(classes) for code in codes)
    return VoteRecord(fields["stage"], fields["part"], votes, kept, retained)
