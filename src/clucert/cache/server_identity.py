"""Which model gave the answers in a cache: the address and the name of a server do not tell.

A server identifies its model by the entry in its model list, and in every reply by a model name and a fingerprint. An
answer is stored with this identity, and reused only while the server still reports the same one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clucert.cache.base import AnswerCache
from clucert.errors import ModelChangedError
from clucert.types import Answer, Message, Query
from clucert.visible import visible

ACCEPT_FLAG = "--accept-model-change"
NEVER_STORED = frozenset({"error", "content_filter", "abort", "cancelled"})
"""Finish reasons of replies that are no answers: the same query may be answered another time."""
_IDENTIFYING_FIELDS = ("id", "owned_by", "root", "parent", "meta", "max_model_len", "digest", "quantization")
_JUST_NOW = 600.0
"""Seconds. Some servers give the time of the request, not of the model, as ``created``."""
_LOG = logging.getLogger("clucert")
IDENTIFYING_TEXT = "Hi"


def identifying_query(query: Query) -> Query:
    """A shortest possible query to the model that is to answer ``query``: its reply identifies the model."""
    return replace(
        query,
        messages=(Message("user", IDENTIFYING_TEXT),),
        prefix="",
        suffix=IDENTIFYING_TEXT,
        labels=None,
        stop=(),
        seed=None,
        max_tokens=min(16, query.max_tokens),
    )


class ServerIdentity:
    """The model behind the server at ``where``, as its first reply reports it; later replies must report the same.

    May be used from several threads. With ``accept``, a change of the model is not an error.
    """

    def __init__(self, where: str, *, accept: bool = False) -> None:
        self.where, self.accept = where, accept
        self.identified = False
        """Whether the server has replied yet."""
        self._said: str | None = None
        self._listed: str | None = None
        self._expected: str | None = None

    @property
    def answered_by(self) -> str | None:
        """The identity that the server reports, as it is stored with answers; None when it reports none."""
        return _joined(self._said, self._listed)

    def expect(self, answered_by: str | None) -> None:
        """Require the model that answered in an earlier session of the run, where it is known."""
        self._expected = answered_by

    def attribute(self, answer: Answer) -> Answer:
        """``answer`` with the identity of its model. Raises :class:`ModelChangedError` when the model has changed."""
        said, before = answer.answered_by, self._said
        if self.identified and said != before:
            self._said = said
            self._changed(_shown(before), _shown(said))
        self.identified, self._said = True, said
        if self._expected is not None and self.answered_by != self._expected:
            earlier, self._expected = self._expected, None
            self._changed(f"{_shown(earlier)} when the run was begun", _shown(self.answered_by))
        return replace(answer, answered_by=self.answered_by)

    def note_listing(self, entry: str | None) -> None:
        """Note the digest of the model list's entry. Raises :class:`ModelChangedError` when it has changed."""
        before = self._listed
        self._listed = entry or before
        if before is not None and entry is not None and entry != before:
            self._changed(f"entry {before} of its model list", f"entry {entry}")

    def _changed(self, before: str, now: str) -> None:
        if not self.accept:
            raise ModelChangedError(
                f"{self.where} answered as {before} and now as {now}: another model answers there; begin anew, "
                f"or take both for one with {ACCEPT_FLAG}"
            )


class OneModelCache:
    """The part of a cache that one model may use: its own answers, and none of ``NEVER_STORED``."""

    def __init__(self, cache: AnswerCache, identity: ServerIdentity | None) -> None:
        self.cache, self.identity = cache, identity
        self._foreign_keys: set[str] = set()
        self._had_to_identify = self._reported = False

    @property
    def must_identify(self) -> bool:
        """Whether the model has to answer a query before answers of an earlier process may be used."""
        self._had_to_identify |= self.identity is not None and not self.identity.identified
        return self.identity is not None and not self.identity.identified and not self.identity.accept

    def own(self, found: Mapping[str, Answer]) -> dict[str, Answer]:
        """The answers among ``found`` that this model gave."""
        kept = {key: answer for key, answer in found.items() if answer.finish_reason not in NEVER_STORED}
        if self.identity is None or self.identity.accept:
            return kept
        model = self.identity.answered_by
        mine = {key: answer for key, answer in kept.items() if answer.answered_by == model}
        others = [key for key in kept if key not in mine]
        if others:
            self._foreign_keys.update(others)
            own = self.cache.get_many([self._own_key(key) for key in others])
            mine |= {key: own[self._own_key(key)] for key in others if self._own_key(key) in own}
        if kept:
            self._report(len(kept) - len(mine))
        return mine

    def put_many(self, answers: Mapping[str, Answer], *, model: str) -> None:
        """Store ``answers``; under a key of this model's own where another model answered the same query first."""
        real = {key: answer for key, answer in answers.items() if answer.finish_reason not in NEVER_STORED}
        placed = {self._own_key(key) if key in self._foreign_keys else key: answer for key, answer in real.items()}
        if placed:
            self.cache.put_many(placed, model=model)

    def _own_key(self, key: str) -> str:
        model = self.identity.answered_by if self.identity else None
        return hashlib.sha256(f"{key} {model}".encode()).hexdigest()

    def _report(self, others: int) -> None:
        if self._reported or self.identity is None:
            return
        if others:
            why = "are of another model, or do not say of which, and are asked for anew; to take them all the same"
            _LOG.warning("clucert: note: %d answers in the cache %s: %s", others, why, ACCEPT_FLAG)
        elif self.identity.answered_by is None and self._had_to_identify:
            why = "says nothing of the model behind it: answers in the cache may be of another one"
            _LOG.warning("clucert: note: %s %s", visible(self.identity.where), why)
        else:
            return
        self._reported = True


def entry_of(listing: Any, model: str, now: float) -> str | None:
    """A digest of the constant fields of the model list's entry for ``model``; None where it has none.

    Other entries are left out: models come and go. The only entry of a list counts as the model's, whatever its name.
    """
    data = listing.get("data") if isinstance(listing, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    names = (model, f"{model}:latest")
    mine = next((entry for entry in entries if entry.get("id") in names), entries[0] if len(entries) == 1 else None)
    if mine is None:
        return None
    fields = {name: mine[name] for name in _IDENTIFYING_FIELDS if name in mine}
    created = mine.get("created")
    if isinstance(created, int | float) and created < now - _JUST_NOW:
        fields["created"] = created
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


def _shown(said: str | None) -> str:
    return "a model without a name" if said is None else repr(said[:100])


def _joined(said: str | None, listed: str | None) -> str | None:
    return None if said is None and listed is None else f"{said or ''} | {listed or ''}"
