"""A gate before a language model: a small classifier votes on what the client wrote, and lets the request pass or not.

**What is read.** Each message by itself, and all of them together where there are several; of each also what is left
when hidden characters are shown and letters that were pulled apart are joined (:mod:`clucert.guard.spelled`). The words
that identifiers spell are one message more, for all of them; most spell none. A request
is *blocked* when any of these texts is flagged, and passes otherwise. An answer of the classifier that names no label
counts as the flag: whoever confuses it does not pass.

**Blocked.** The certificate of a flagged text says which changes leave it flagged, and then the request is blocked
whatever the other texts are. Of one message: whatever is done to the other messages, added ones among them. Of all
messages together: however their words are divided into messages.

**Passed** is what every text is *shown* to be: below the threshold η at level α′. So a text with p_harm ≥ η lets a
request pass with probability at most α′, whatever the text is (0 where every sub-text is asked). No radius is claimed
for what passed.

**Untouched.** A text of which the noise leaves nothing out (one word, or fewer than a window) is decided by the
classifier itself on the text as it is. Nothing is certified about it, and its state says so. This can only block more
than the votes do: a vote that flags such a text is one on the whole of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from clucert.core.bounds import UNPARSED
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.exact_words import CHANGES, radius_in_words
from clucert.core.noise.retention import retained_count
from clucert.core.noise.tokens import Units
from clucert.core.radius import Radius
from clucert.core.smoothing import Smoother, check_unicode, side_by_side
from clucert.core.thresholds import most_to_pass
from clucert.errors import InputError, TooMuchError, UsageError
from clucert.guard.client_text import ClientText, Said
from clucert.guard.conversation import folded_words
from clucert.guard.kept import Kept
from clucert.guard.spelled import respelled, revealed, words_in
from clucert.notebook import Shown
from clucert.protocols import Steps
from clucert.runtime.classifiers import BaseClassifier, Voted
from clucert.types import Classify, Request, Vote

State = Literal["certified", "uncertified", "untouched", "unread"]
"""``certified``: blocked, and some change is proved to leave it so; or passed, and shown to be safe. ``uncertified``:
blocked as it stands. ``untouched``: the noise left nothing out of it. ``unread``: there was no text, only what the
gate cannot read."""

MOST_TEXTS = 1_000
"""Of one request that are voted on."""
KNOWN = 4_096
"""Texts whose verdict is kept, so that a growing conversation is not read anew with each turn."""
KNOWN_WORDS = 400_000
"""Words in the certificates that are kept of them: a word takes some 250 bytes."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the votes on one text say."""

    where: str
    """Its place in the request, or ``all`` messages together."""
    respelled: bool
    """Whether it is what the text spells: letters joined, words cut, parts of a message put together."""
    flagged: bool
    untouched: bool
    words: int
    score: float
    """The share of the votes that is the flag's, or how many sub-texts are flagged, where these count."""
    proved: Mapping[str, Radius] = field(default_factory=dict)
    """By threat, how many changes leave a flagged text flagged."""

    @property
    def certified(self) -> bool:
        """Whether some change is proved to leave it flagged."""
        return any(radius.words or radius.everything for radius in self.proved.values())

    def document(self) -> dict[str, Any]:
        """For JSON; without a word of the text. A radius is a number of words, ``any`` is any number."""
        shown = {threat: "any" if r.everything else r.words for threat, r in self.proved.items()}
        found = {"where": self.where, "flagged": self.flagged, "words": self.words, "score": round(self.score, 4)}
        return found | {"respelled": self.respelled, "untouched": self.untouched, "proved": shown}


@dataclass(frozen=True, slots=True, repr=False)
class Verdict(Shown):
    """What a gate decides about a request, and what is certified of that."""

    readings: tuple[Reading, ...]
    unread: Mapping[str, int]
    """What was not read, by kind: parts that no gate reads, and what it was not to read (``system``, ``tools``, …)."""
    flag: str
    """What blocks, and from which share or number of votes on."""
    method: str
    alpha: float
    """The probability that a certificate of this request is wrong, or that what ought to be blocked passes; 0 if exact.
    """

    @property
    def blocked(self) -> bool:
        """Whether some text is flagged."""
        return any(reading.flagged for reading in self.readings)

    @property
    def decision(self) -> Literal["blocked", "passed"]:
        """In a word."""
        return "blocked" if self.blocked else "passed"

    @property
    def about(self) -> Reading | None:
        """The reading that the certificate is of: the flagged one that most is proved of, or what stands for all."""
        if not self.readings:
            return None
        return max(self.readings, key=_worth)

    @property
    def state(self) -> State:
        """What may be said of it."""
        about = self.about
        if about is None:
            return "unread"
        if about.untouched:
            return "untouched"
        return "certified" if about.certified or not self.blocked else "uncertified"

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The decision with what is certified of it, and what was read; without a word of the request."""
        names = ("where", "flagged", "words", "score")
        return self.in_words(), [{name: getattr(each, name) for name in names} for each in self.readings], ()

    def document(self) -> dict[str, Any]:
        """For JSON: everything; without a word of the request."""
        readings = [reading.document() for reading in self.readings]
        return {**self.summary(), "unread": dict(self.unread), "texts": readings}

    def summary(self) -> dict[str, Any]:
        """What is certified, in short."""
        about = self.about
        found: dict[str, Any] = {"decision": self.decision, "state": self.state, "flag": self.flag}
        found |= {"method": self.method, "alpha": self.alpha}
        if about is None:
            return found
        found |= {"text": about.where, "words": about.words, "score": round(about.score, 4)}
        return found | ({"still_blocked": about.document()["proved"]} if self.blocked else {})

    def in_words(self) -> str:
        """What is certified, in one sentence."""
        return _IN_WORDS[self.decision, self.state].format(
            flag=self.flag,
            level=f"at level {self.alpha:g}" if self.alpha else "exactly",
            changes=self._changes(),
            text=self._text(),
        )

    def _text(self) -> str:
        about = self.about
        if about is None:
            return ""
        where = "all messages together" if about.where == "all" else about.where
        return f"{where}{' with its letters joined' if about.respelled else ''}"

    def _changes(self) -> str:
        """What may be done to the text, threat by threat."""
        proved = self.about.proved if self.about else {}
        return "; ".join(_change(threat, r) for threat, r in proved.items() if r.words or r.everything)


def _change(threat: str, radius: Radius) -> str:
    unit = "block" if threat == "block" else "word"
    return f"{radius_in_words(radius, unit)} {_CHANGES[threat]}"


_CHANGES = {**CHANGES, "word": "replaced", "synonym": "swapped for synonyms"}
_IN_WORDS = {
    ("blocked", "certified"): "blocked, and still blocked, {level}, under {changes} (of {text})",
    ("blocked", "uncertified"): "blocked ({flag}); no change is shown to leave it so",
    ("blocked", "untouched"): "blocked by the bare classifier: the noise left nothing out, so nothing is certified",
    ("passed", "certified"): "passed: shown {level} to be below what blocks ({flag})",
    ("passed", "untouched"): "passed by the bare classifier: the noise left nothing out, so nothing is certified",
    ("passed", "unread"): "passed without being read: there was no text",
}


def _worth(reading: Reading) -> tuple[Any, ...]:
    """Flagged before all, then what most is proved of; words of what was written before those of what it spells."""
    most = max((10**9 if r.everything else r.words for r in reading.proved.values()), default=0)
    return reading.flagged, reading.certified, not reading.untouched, not reading.respelled, most


class Wary:
    """``classifier``, whose answers that name no label are votes for ``label``."""

    def __init__(self, classifier: BaseClassifier, label: str) -> None:
        self.name, self.deterministic = classifier.name, classifier.deterministic
        self._classifier, self._label = classifier, label

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Those of the classifier."""
        return self._classifier.labels

    def prepare(self, texts: Sequence[str], first_draw: int) -> Any:
        """What the classifier needs."""
        return self._classifier.prepare(texts, first_draw)

    async def vote(self, prepared: Any) -> Voted:
        """Its votes."""
        found = await self._classifier.vote(prepared)
        shares = found.shares or [{} if vote is None else {vote: 1.0} for vote in found.votes]
        votes: list[Vote] = [self._label if vote is None else vote for vote in found.votes]
        sure = [{self._label: 1.0} if v is None else s for v, s in zip(found.votes, shares, strict=True)]
        return dataclasses.replace(found, votes=votes, shares=sure)


Known = tuple[Reading, Certificate | None]
"""What is kept of a text; with the certificate where sampled votes flag it, to be read at the level of a request."""


class _Text(NamedTuple):
    """A text that is voted on."""

    where: str
    respelled: bool
    text: str
    known: bytes
    """A digest of what the noise sees of it: texts that it reads alike get one verdict."""
    units: Units | None
    """What an exact method cuts it into."""


class Gate:
    """Decides about requests: the noise and the threshold, without the classifier. Not safe for several threads.

    ``key`` is what the noise of a method that samples is drawn from: with it a text gets the same noise whenever it is
    asked about, and nobody else foresees it. ``max_calls`` are the answers of the classifier that one request may cost;
    None is any number. Raises :class:`UsageError` for a method that is no guard's.
    """

    def __init__(self, certifier: Smoother | ExactSmoother, key: bytes, max_calls: int | None = None) -> None:
        flag = certifier.settings.flag
        if flag is None:
            raise UsageError("a gate needs the labels that block: --flag harmful")
        if isinstance(certifier, ExactSmoother):
            if certifier.settings.unit not in ("word", "sentence"):
                raise UsageError(f"a gate reads texts: --unit {certifier.settings.unit} is for lists of them")
        elif not _speaks_of_any_words(certifier):
            raise UsageError(
                f"{certifier.settings.method} proves nothing about any words: "
                "give a gate --method windows, groups, blocks or deletion"
            )
        self.certifier, self.flag, self._key, self._max_calls = certifier, flag, key, max_calls
        # The word list is read now, and not while the first client waits.
        respelled("warming up the word list at once".replace(" ", ""))
        self._known = Kept[Known](KNOWN, KNOWN_WORDS)

    @property
    def alpha(self) -> float:
        """α′; 0 where every sub-text is asked."""
        return 0.0 if isinstance(self.certifier, ExactSmoother) else self.certifier.settings.alpha

    def wary(self, classifier: BaseClassifier) -> Wary:
        """The classifier as the gate asks it."""
        return Wary(classifier, next(label for label in self.flag.labels if label in (classifier.labels or ())))

    def steps(self, found: ClientText) -> Steps:
        """The :class:`Verdict` on what was found in a request.

        Raises :class:`InputError` where there is nothing to read at all, or too much, before anything is asked.
        """
        texts = self._texts(found)
        if not texts and not found.unread:
            raise InputError("there is no text to read: the gate reads what clients write")
        if len(texts) > MOST_TEXTS:
            raise InputError(f"{len(texts):,} texts in one request are more than {MOST_TEXTS:,}")
        self._check_calls(texts)
        level = Fraction(self.alpha) / max(1, len(texts))
        steps = [lambda each=each: self._reading(each, level) for each in texts]
        readings: list[Reading] = yield from side_by_side(steps)
        settings = self.certifier.settings
        unread = {**found.unread, **found.left_out}
        return Verdict(tuple(readings), unread, self.flag.in_short, settings.method, self.alpha)

    def _check_calls(self, texts: Sequence[_Text]) -> None:
        """Raise :class:`TooMuchError` where the texts whose verdict is not known would cost too much."""
        new = {each.known: each.units for each in texts if each.known not in self._known}
        calls = sum(map(self._calls, new.values()))
        if self._max_calls is not None and calls > self._max_calls:
            raise TooMuchError(
                f"reading this request may take {calls:,} calls of the gate's classifier, "
                f"more than {self._max_calls:,}: send less text (the operator can raise --max-gate-calls)"
            )

    def _texts(self, found: ClientText) -> list[_Text]:
        """All messages together first, and each different text once."""
        said = list(found.said)
        if spelled := " ".join(filter(None, map(words_in, found.identifiers))):
            said.append(Said("identifiers", spelled))
        if len(said) > 1:
            said.insert(0, Said("all", "\n".join(each.text for each in said)))
        texts: dict[str, _Text] = {}
        for each in said:
            check_unicode(each.text)
            bare = revealed(each.text)
            shown = self.certifier.form.shown(bare) if self.certifier.form else bare
            for spelling in (each.text, each.glued, respelled(shown) or (None if bare is each.text else bare)):
                if spelling is None or spelling in texts:
                    continue
                read, units = self._read(spelling)
                if read:
                    known = hashlib.sha256(read.encode()).digest()
                    texts[spelling] = _Text(each.where, spelling is not each.text, spelling, known, units)
        return list(texts.values())

    def _read(self, text: str) -> tuple[str, Units | None]:
        """What the noise sees, empty where that is no word; and what an exact method cuts it into."""
        if isinstance(self.certifier, ExactSmoother):
            units = self.certifier.units(text)
            return "\n".join(units.pieces), units
        read = self.certifier.read(text)
        return read.text if read.words else "", None

    def _calls(self, units: Units | None) -> int:
        """Answers of the classifier that a verdict on a text of these takes, at most."""
        if isinstance(self.certifier, ExactSmoother):
            return sum(map(len, self.certifier.settings.members(units.pieces if units else ())))
        settings = self.certifier.settings
        # Where a server is on trial, votes that two answers make worthless are drawn anew.
        tries = 2 if self.certifier.answers and self.certifier.answers.kind == "probed" else 1
        return tries * (settings.predict_samples + settings.looks[-1].samples)

    def _reading(self, each: _Text, level: Fraction) -> Generator[Request, Any, Reading]:
        """What the votes on a text say, at the level that one of several texts has; they are asked once."""
        found = self._known.get(each.known)
        if found is None:
            if isinstance(self.certifier, ExactSmoother):
                found = yield from self._exact(self.certifier, each)
            else:
                found = yield from self._sampled(self.certifier, each.text)
        reading, certificate = found
        self._known.put(each.known, found, reading.words if certificate else 0)
        if certificate is not None:
            # One of several texts is chosen to be certified: each holds at its part of the level.
            reading = dataclasses.replace(reading, proved=_shown(certificate.replace(alpha=float(level)).proved))
        return dataclasses.replace(reading, where=each.where, respelled=each.respelled)

    def _exact(self, smoother: ExactSmoother, each: _Text) -> Generator[Request, Any, Known]:
        certificate: ExactCertificate = yield from smoother.flag_steps(each.text, units=each.units)
        whole = " ".join(certificate.pieces)
        untouched = [shown.text for shown in certificate.answers] == [whole]
        flagged = certificate.is_flagged or (untouched and certificate.flagged > 0)
        score = certificate.flagged if self.flag.share is None else float(certificate.flag_share)
        proved = certificate.proved if flagged and not untouched else {}
        return Reading("", False, flagged, untouched, certificate.n, score, _shown(proved)), None

    def _sampled(self, smoother: Smoother, text: str) -> Generator[Request, Any, Known]:
        read = smoother.read(text)
        n = len(read.words)
        # Nothing is no label, and a vote for the flag where these are: deletion leaves nothing of one word, too.
        emptied = smoother.settings.noise is not None and UNPARSED in self.flag.labels
        if n <= _kept_of(smoother, n) and not emptied:
            return (yield from self._bare(smoother, text, n))
        # Neither letter case nor accents nor punctuation draw other noise.
        keyed = smoother.keyed(self._key, *folded_words(read.text))
        certificate: Certificate = yield from keyed.flag_steps(text)
        votes, flagged = certificate.selection, certificate.flagged
        reading = Reading("", False, flagged, False, n, votes.counts[self.flag.name] / max(1, votes.drawn))
        if not flagged:
            return reading, None
        # Without the single votes, which nothing reads again.
        return reading, dataclasses.replace(certificate.unmerged, vote_records=()).merged(self.flag)

    def _bare(self, smoother: Smoother, text: str, n: int) -> Generator[Request, Any, Known]:
        """The same test on N answers about the whole text: p_harm of its noised texts is not above p_harm of it."""
        drawn, share = smoother.settings.predict_samples, self.flag.share or Fraction(1)
        votes: Sequence[Vote] = yield Classify((smoother.read(text).text,) * drawn, "predict")
        harmful = sum(vote in self.flag.labels for vote in votes)
        flagged = harmful > most_to_pass(drawn, share, smoother.settings.alpha)
        return Reading("", False, flagged, True, n, harmful / drawn), None


def _shown(proved: Mapping[str, Radius | None]) -> dict[str, Radius]:
    return {threat: radius for threat, radius in proved.items() if radius is not None}


def _kept_of(smoother: Smoother, n: int) -> int:
    """Words of n that a sample keeps."""
    keep = smoother.settings.keep
    return keep if isinstance(keep, int) else retained_count(n, smoother.settings.mask_rate)


def _speaks_of_any_words(smoother: Smoother) -> bool:
    settings = smoother.settings
    masks = settings.recovery in ("mask", "ellipsis", "llm") and settings.retained_kernel == "keep"
    return settings.refine == "off" and settings.clustering == "none" and (settings.noise is not None or masks)
