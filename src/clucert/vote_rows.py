"""Every vote as a row: the noised text, which units it kept, what the classifier said, and whether it counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clucert.core.certificate import Certificate
from clucert.core.channel import make_recovery
from clucert.core.exact import ExactCertificate
from clucert.core.noise.retention import every_retention, rng_for
from clucert.core.noise.tokens import tokens_apart
from clucert.core.threats import attackable, word_pools
from clucert.core.vote_records import VoteRecord, draw_sets
from clucert.core.words import split
from clucert.errors import CluCertError, MissingExtraError
from clucert.types import Recovered

Row = dict[str, Any]


def rows_of(certificate: Certificate | ExactCertificate) -> list[Row]:
    """One row a vote, in the order in which they were cast."""
    return list(_exact(certificate) if isinstance(certificate, ExactCertificate) else _sampled(certificate))


def frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """The rows as a data frame of pandas. Raises :class:`MissingExtraError` where that is not installed."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "pip install pandas") from None
    return pd.DataFrame(list(rows))


def _exact(certificate: ExactCertificate) -> Iterator[Row]:
    """``share`` is the probability of the vote's class before sharpness and bias; an empty sub-text was not asked."""
    members = certificate.settings.members(certificate.pieces)
    for part, (asked, places) in enumerate(zip(certificate.partitions, members, strict=True)):
        for i, kept in zip(asked, places, strict=True):
            shown = None if i < 0 else certificate.answers[i]
            yield {
                "partition": part,
                "text": "" if shown is None else shown.text,
                "retained": tuple(kept),
                "vote": None if shown is None else certificate.votes[i],
                "kept": True,
                "shares": None
                if shown is None or shown.shares is None
                else dict(zip(certificate.labels, shown.shares, strict=True)),
            }


def _sampled(certificate: Certificate) -> Iterator[Row]:
    """``text`` is drawn again from the seed, and None where that does not give it (secret noise, fills of a model)."""
    for record in certificate.vote_records:
        sets = record.sets(certificate.n)
        texts = _texts(certificate, record, sets)
        for i, (vote, kept) in enumerate(zip(record.votes, record.kept, strict=True)):
            yield {
                "stage": record.stage,
                "part": record.part,
                "text": None if texts is None else texts[i],
                "retained": tuple(np.flatnonzero(sets[i]).tolist()),
                "vote": vote,
                "kept": kept,
            }


def _texts(certificate: Certificate, record: VoteRecord, sets: Any) -> Sequence[str] | None:
    settings, subject = certificate.settings, certificate.subject
    users_own = "+user" in (settings.lexicon or "")
    if settings.seed is None or settings.recoveries > 1 or users_own:
        return None
    try:
        text = split(subject.noised_text) if settings.noise is None else tokens_apart(subject.noised_text)
        pools = _pools(certificate, text.words)
        if text.words != subject.words or attackable(settings.recovery, pools) != subject.attackable:
            return None
        rng = rng_for(settings.seed, certificate.example, f"{record.stage}-{record.part}")
        if certificate.exhaustive:
            drawn = every_retention(certificate.n, certificate.s)
        else:
            drawn = draw_sets(rng, certificate.n, certificate.s, len(record.votes), settings.noise)
        if not np.array_equal(drawn, sets):
            return None
        steps = make_recovery(settings, pools).recover(text, sets, rng, record.stage)
        next(steps)
    except StopIteration as done:
        recovered: Recovered = done.value
        return recovered.texts
    except CluCertError:
        return None
    return None  # It asks a language model, whose fills are not kept.


def _pools(certificate: Certificate, words: Sequence[str]) -> Any:
    """Those of the packaged lexicon; with entries or protected words of a user's own they would be others."""
    from clucert.lexicon import load_lexicon

    name = certificate.settings.lexicon or "default"
    return word_pools(words, load_lexicon(name), frozenset())
