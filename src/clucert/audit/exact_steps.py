"""The claims of one exact certificate under attack. Sans-I/O.

There is nothing to sample and no chance: one text inside a ball on which the deployed classifier answers otherwise
breaks the claim. Such a text is written out, cut anew and asked about anew before it counts.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clucert.audit.antonyms import antonyms
from clucert.audit.balls import Pieces, changes
from clucert.audit.candidates import Arsenal, build_arsenal, label_words
from clucert.audit.claims import Claim, exact_claims
from clucert.audit.guided import Found, Search
from clucert.audit.proposals import Material, material
from clucert.audit.steps import Attempt, Effort
from clucert.core.bounds import UNPARSED
from clucert.core.exact import Cut, ExactCertificate, ExactSmoother
from clucert.core.noise.retention import rng_for
from clucert.core.thresholds import decided_vote
from clucert.errors import InputError
from clucert.types import Classify, Request, Scored, Votes

HINT = 0.2
"""What probabilities may add to a margin in votes, so that progress shows before a vote turns."""
TIE = 1e-9
"""Totals of floating point that are as near as this are taken for equal; what counts is counted exactly."""


def exact_steps(
    certificate: ExactCertificate, arsenal: Arsenal, example: str, effort: Effort, claims: Sequence[Claim] | None = None
) -> Generator[Request, Any, list[Attempt]]:
    """Attack each claim of ``certificate`` (``claims`` instead, where given). ``example`` seeds the search.

    Answers to sub-texts are kept from claim to claim: the balls of one text have most of them in common.
    """
    smoother = ExactSmoother(certificate.settings, certificate.labels, certificate.form)
    counted = Margins(smoother, certificate)
    by_words = certificate.settings.unit == "word"
    given = material(arsenal, certificate.prediction or "", functools.partial(_pieces, smoother), words=by_words)
    found = []
    for claim in exact_claims(certificate) if claims is None else claims:
        before = counted.asked
        attempt = yield from _attack(certificate, counted, claim, given, example, effort)
        found.append(replace(attempt, asked=counted.asked - before))
    return found


def _pieces(smoother: ExactSmoother, text: str) -> Pieces:
    """The pieces of a text that arms the search; () of one that lists none."""
    try:
        return smoother.cut(text).pieces
    except InputError:
        return ()


def armed(certificates: Sequence[ExactCertificate], texts: Iterable[tuple[str, str | None]] = ()) -> Arsenal:
    """What the texts of ``certificates`` and other ``texts`` (text, label) give an attacker, by answer.

    An answer may stand for several labels: those that flag a text, those that do not, or those of a group. The
    certificates are of one method.
    """
    if not certificates:
        return Arsenal({}, {})
    answers = {label: answer_of(certificates[0], label) for label in certificates[0].labels}
    told = [*((c.text, c.prediction) for c in certificates), *((t, answers.get(label or "")) for t, label in texts)]
    arsenal = build_arsenal(tuple(dict.fromkeys(answers.values())), told, antonyms)
    named = {
        answer: tuple(word for label in answers if answers[label] == answer for word in label_words(label))
        for answer in arsenal.label_words
    }
    return replace(arsenal, label_words=named)


def answer_of(certificate: ExactCertificate, label: str) -> str:
    """What the classifier of ``certificate`` would answer if all sub-texts got ``label``."""
    settings = certificate.settings
    return decided_vote(label, certificate.labels, settings.flag, settings.groups) or label


def _attack(
    certificate: ExactCertificate, counted: Margins, claim: Claim, given: Material, example: str, effort: Effort
) -> Generator[Request, Any, Attempt]:
    if claim.ball is None:
        raise ValueError(f"the claim {claim} is about words in their places")
    search = Search(
        text=certificate.pieces,
        ball=claim.ball,
        radius=None if claim.unlimited else claim.radius,
        material=given,
        margins=counted.margins,
        rng=rng_for(0, f"{example}/{claim.threat}", "exact audit"),
        budget=effort.texts,
    )
    yield from search.run(lambda best: best.margin < 0)
    past = yield from _past(certificate, counted, claim, search)
    closest = Attempt(claim, search.tried, broken=False, past=past)
    best = search.best
    if best is None:
        return closest
    there = yield from _confirmed(certificate, counted.smoother, claim, best, claim.radius)
    broken = there is not None and there.prediction != certificate.prediction
    return replace(
        closest,
        broken=broken,
        text=counted.smoother.written(best.pieces, certificate.text),
        idea=best.idea,
        changed=changes(certificate.pieces, best.pieces),
        votes=Votes({}) if there is None else Votes(there.counts, there.unparsed),
        answer=None if there is None else there.prediction,
        p_value=0.0 if broken else 1.0,
    )


def _past(
    certificate: ExactCertificate, counted: Margins, claim: Claim, search: Search
) -> Generator[Request, Any, bool | None]:
    """Whether a text one operation past the radius was found to break the answer; None where there is no past."""
    if claim.unlimited or search.past is None:
        return None
    if search.past.margin >= 0:
        return False
    there = yield from _confirmed(certificate, counted.smoother, claim, search.past, claim.radius + 1)
    return there is not None and there.prediction != certificate.prediction


def _confirmed(
    certificate: ExactCertificate, smoother: ExactSmoother, claim: Claim, found: Found, most: int
) -> Generator[Request, Any, ExactCertificate | None]:
    """What is certified of the text itself, cut and asked anew; None where it is not in the ball."""
    there: ExactCertificate = yield from smoother.steps(smoother.written(found.pieces, certificate.text))
    limit = len(there.pieces) + len(certificate.pieces) if claim.unlimited else most
    inside = claim.ball is not None and claim.ball.distance(certificate.pieces, there.pieces, limit) is not None
    return there if inside else None


@dataclass(frozen=True, slots=True)
class _Known:
    """The answer to one sub-text, as it is counted."""

    scores: Mapping[str, float]
    weight: float
    """What it adds to a flag."""
    hint: float
    """From −1 to 1, how far its probabilities are for the certified answer."""


@dataclass(slots=True)
class Margins:
    """How far the answer of ``certificate`` leads on a text; each different sub-text is asked about once."""

    smoother: ExactSmoother
    certificate: ExactCertificate
    asked: int = 0
    _known: dict[str, _Known] = field(default_factory=dict)

    def margins(self, texts: Sequence[Pieces]) -> Generator[Request, Any, Sequence[float]]:
        """Below 0 where the classifier answers otherwise."""
        cuts = [self._cut(pieces) for pieces in texts]
        new = list(dict.fromkeys(text for cut in cuts for text in cut.asked if text not in self._known))
        if new:
            answers: Sequence[Scored] = yield Classify(tuple(new), "certify", scored=True)
            self._learn(new, answers)
            self.asked += len(new)
        lead = self._lead if self.smoother.settings.flag is None else self._flag_lead
        return [lead([text for part in cut.shown for text in part]) for cut in cuts]

    def _cut(self, pieces: Pieces) -> Cut:
        """The sub-texts of ``pieces``; what an attacker puts in is put into canonical form as well."""
        if self.smoother.form is None:
            return self.smoother.cut_units(self.smoother.units_of(pieces, self.certificate.text))
        return self.smoother.cut(self.smoother.written(pieces, self.certificate.text))

    def _learn(self, texts: Sequence[str], answers: Sequence[Scored]) -> None:
        """Count ``answers`` as a certificate does."""
        shown = tuple(self.smoother.shown(text, answer) for text, answer in zip(texts, answers, strict=True))
        each = (tuple(range(len(shown))),)
        counted = replace(self.certificate, text="", pieces=(), answers=shown, partitions=each)
        labels = self.certificate.labels
        ours = [label for label in labels if answer_of(self.certificate, label) == self.certificate.prediction]
        counts = zip(texts, answers, counted.family[0], counted.weights[0], strict=True)
        for text, answer, scores, weight in counts:
            plain = {label: float(score) for label, score in scores.items() if label != UNPARSED}
            self._known[text] = _Known(plain, float(weight), 2 * sum(map(answer.share, ours)) - 1)

    def _hint(self, known: Sequence[_Known]) -> float:
        return HINT * sum(each.hint for each in known) / max(1, len(known))

    def _flag_lead(self, texts: Sequence[str]) -> float:
        """How far the flag is from being as it is not; at the threshold itself it is up."""
        flag = self.smoother.settings.flag
        known = [self._known[text] for text in texts if text]
        up = sum(each.weight for each in known)
        sign = 1 if self.certificate.is_flagged else -1
        if flag is None or flag.share is None:
            return sign * (up - (flag.at_least if flag else 0) + 0.5) + self._hint(known)
        ahead = up - float(flag.share) * len(texts)
        return sign * (ahead if abs(ahead) > TIE else TIE)

    def _lead(self, texts: Sequence[str]) -> float:
        """How far the answer is ahead of the next; ties go to the first by name."""
        known = [self._known[text] for text in texts if text]
        answer = self.certificate.prediction or ""
        totals = dict.fromkeys(self.certificate.classes, 0.0)
        for each in known:
            for label, score in each.scores.items():
                totals[label] += score
        mine = totals.pop(answer, 0.0)
        rival = min(totals, key=lambda label: (-totals[label], label))
        lead = mine - totals[rival]
        if abs(lead) < TIE:
            return -0.5 if rival < answer or not mine else TIE
        return lead if self.smoother.settings.soft else lead + self._hint(known)
