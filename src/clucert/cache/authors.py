"""Which model gave the answers in a cache: an address and a name do not tell.

What a server says of itself is its model list's entry, and in every reply the model's name and a fingerprint. An answer
is stored with it, and taken only for the model that says the same today.
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

ACCEPT = "--accept-model-change"
NEVER_KEPT = frozenset({"error", "content_filter", "abort", "cancelled"})
"""Why a model stopped, where it did not answer: the next try may be answered."""
_TELLING = ("id", "owned_by", "root", "parent", "meta", "max_model_len", "digest", "quantization")
_JUST_NOW = 600.0
"""Seconds. Some servers write the time of the request, and not of the model, as ``created``."""
_LOG = logging.getLogger("clucert")


GREETING = "Hi"


def introduction(query: Query) -> Query:
    """The shortest question to whoever is asked ``query``: the reply says who it is."""
    return replace(
        query,
        messages=(Message("user", GREETING),),
        prefix="",
        suffix=GREETING,
        labels=None,
        stop=(),
        seed=None,
        max_tokens=min(16, query.max_tokens),
    )


class Whose:
    """Who answers at ``where``: the first reply says it, and every later one must say the same.

    Asked from several threads; the first word counts. With ``accept``, whoever answers is taken for the same.
    """

    def __init__(self, where: str, *, accept: bool = False) -> None:
        self.where, self.accept = where, accept
        self.heard_of = False
        """Whether anything was answered yet."""
        self._said: str | None = None
        self._listed: str | None = None
        self._expected: str | None = None

    @property
    def author(self) -> str | None:
        """What the server says of itself; None when it says nothing."""
        return _author(self._said, self._listed)

    def expect(self, author: str | None) -> None:
        """Who answered in an earlier session of the run, where that is known, has to answer in this one."""
        self._expected = author

    def heard(self, answer: Answer) -> Answer:
        """``answer`` with its author. Raises :class:`ModelChangedError` when it is another one than before."""
        said, before = answer.answered_by, self._said
        if self.heard_of and said != before:
            self._said = said
            self._changed(_shown(before), _shown(said))
        self.heard_of, self._said = True, said
        if self._expected is not None and self.author != self._expected:
            earlier, self._expected = self._expected, None
            self._changed(f"{_shown(earlier)} when the run was begun", _shown(self.author))
        return replace(answer, answered_by=self.author)

    def listed(self, entry: str | None) -> None:
        """What the model list says, by its digest. Raises :class:`ModelChangedError` when it said something else."""
        before = self._listed
        self._listed = entry or before
        if before is not None and entry is not None and entry != before:
            self._changed(f"entry {before} of its model list", f"entry {entry}")

    def _changed(self, before: str, now: str) -> None:
        if not self.accept:
            raise ModelChangedError(
                f"{self.where} answered as {before} and now as {now}: another model answers there; begin anew, "
                f"or take both for one with {ACCEPT}"
            )


class AuthoredCache:
    """A cache as one model may use it: answers of other models are left out, and so is what was no answer."""

    def __init__(self, cache: AnswerCache, whose: Whose | None) -> None:
        self.cache, self.whose = cache, whose
        self._others: set[str] = set()
        self._earlier = self._told = False

    @property
    def must_ask(self) -> bool:
        """Whether the model has to answer a question before answers of an earlier process may be used."""
        self._earlier |= self.whose is not None and not self.whose.heard_of
        return self.whose is not None and not self.whose.heard_of and not self.whose.accept

    def own(self, found: Mapping[str, Answer]) -> dict[str, Answer]:
        """The answers among ``found`` that this model gave."""
        kept = {key: answer for key, answer in found.items() if answer.finish_reason not in NEVER_KEPT}
        if self.whose is None or self.whose.accept:
            return kept
        who = self.whose.author
        mine = {key: answer for key, answer in kept.items() if answer.answered_by == who}
        others = [key for key in kept if key not in mine]
        if others:
            self._others.update(others)
            beside = self.cache.get_many([self._beside(key) for key in others])
            mine |= {key: beside[self._beside(key)] for key in others if self._beside(key) in beside}
        if kept:
            self._tell(len(kept) - len(mine))
        return mine

    def put_many(self, answers: Mapping[str, Answer], *, model: str) -> None:
        """Store ``answers``: beside those of another model where it answered the same question first."""
        real = {key: answer for key, answer in answers.items() if answer.finish_reason not in NEVER_KEPT}
        placed = {self._beside(key) if key in self._others else key: answer for key, answer in real.items()}
        if placed:
            self.cache.put_many(placed, model=model)

    def _beside(self, key: str) -> str:
        who = self.whose.author if self.whose else None
        return hashlib.sha256(f"{key} {who}".encode()).hexdigest()

    def _tell(self, others: int) -> None:
        if self._told or self.whose is None:
            return
        if others:
            why = "are of another model, or do not say of which, and are asked for anew; to take them all the same"
            _LOG.warning("clucert: note: %d answers in the cache %s: %s", others, why, ACCEPT)
        elif self.whose.author is None and self._earlier:
            why = "says nothing of the model behind it: answers in the cache may be of another one"
            _LOG.warning("clucert: note: %s %s", self.whose.where, why)
        else:
            return
        self._told = True


def entry_of(listing: Any, model: str, now: float) -> str | None:
    """A digest of what a model list says of ``model`` and what stays the same; None when it says nothing.

    Only the model's own entry counts (lists may be long, and other models come and go); where there is one entry
    alone, it is the model's, whatever it is called.
    """
    data = listing.get("data") if isinstance(listing, dict) else None
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    names = (model, f"{model}:latest")
    mine = next((entry for entry in entries if entry.get("id") in names), entries[0] if len(entries) == 1 else None)
    if mine is None:
        return None
    told = {name: mine[name] for name in _TELLING if name in mine}
    created = mine.get("created")
    if isinstance(created, int | float) and created < now - _JUST_NOW:
        told["created"] = created
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def _shown(said: str | None) -> str:
    return "a model without a name" if said is None else repr(said[:100])


def _author(said: str | None, listed: str | None) -> str | None:
    return None if said is None and listed is None else f"{said or ''} | {listed or ''}"
