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
from clucert.audit.candidates import Arsenal, build_arsenal
from clucert.audit.claims import Claim, exact_claims
from clucert.audit.guided import Found, Search
from clucert.audit.proposals import Material, material
from clucert.audit.steps import Attempt, Effort
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise.retention import rng_for
from clucert.core.thresholds import Flag
from clucert.errors import InputError
from clucert.types import Classify, Request, Scored, Votes

HINT = 0.2
"""What probabilities may add to a margin in votes, so that progress shows before a vote turns."""


def exact_steps(
    certificate: ExactCertificate, arsenal: Arsenal, example: str, effort: Effort, claims: Sequence[Claim] | None = None
) -> Generator[Request, Any, list[Attempt]]:
    """Attack each claim of ``certificate`` (``claims`` instead, where given). ``example`` seeds the search.

    Answers to sub-texts are kept from claim to claim: the balls of one text have most of them in common.
    """
    smoother = ExactSmoother(certificate.settings, certificate.labels)
    counted = Counted(smoother, certificate.prediction or "", certificate.text)
    by_words = certificate.settings.unit == "word"
    given = material(arsenal, counted.answer, functools.partial(_pieces, smoother), words=by_words)
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


def armed(certificates: Iterable[ExactCertificate], texts: Iterable[tuple[str, str | None]] = ()) -> Arsenal:
    """What the texts of ``certificates`` and other ``texts`` (text, answer) give an attacker."""
    given = list(certificates)
    labels = tuple(dict.fromkeys(label for certificate in given for label in certificate.labels))
    return build_arsenal(labels, [*((c.text, c.prediction) for c in given), *texts], antonyms)


def stays(flag: Flag | None, before: str | None, after: ExactCertificate) -> bool:
    """Whether the certified answer is still given: the same label, or a flag that is still up."""
    return after.prediction == before if flag is None else after.flagged >= flag.at_least


def _attack(
    certificate: ExactCertificate, counted: Counted, claim: Claim, given: Material, example: str, effort: Effort
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
    broken = there is not None and not stays(certificate.settings.flag, certificate.prediction, there)
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
    certificate: ExactCertificate, counted: Counted, claim: Claim, search: Search
) -> Generator[Request, Any, bool | None]:
    """Whether a text one operation past the radius was found to break the answer; None where there is no past."""
    if claim.unlimited or search.past is None:
        return None
    if search.past.margin >= 0:
        return False
    there = yield from _confirmed(certificate, counted.smoother, claim, search.past, claim.radius + 1)
    return there is not None and not stays(certificate.settings.flag, certificate.prediction, there)


def _confirmed(
    certificate: ExactCertificate, smoother: ExactSmoother, claim: Claim, found: Found, most: int
) -> Generator[Request, Any, ExactCertificate | None]:
    """What is certified of the text itself, cut and asked anew; None where it is not in the ball."""
    there: ExactCertificate = yield from smoother.steps(smoother.written(found.pieces, certificate.text))
    limit = len(there.pieces) + len(certificate.pieces) if claim.unlimited else most
    inside = claim.ball is not None and claim.ball.distance(certificate.pieces, there.pieces, limit) is not None
    return there if inside else None


@dataclass(slots=True)
class Counted:
    """How far ``answer`` leads on a text, from the answers to its sub-texts; each different one is asked once."""

    smoother: ExactSmoother
    answer: str
    like: str
    """The certified text, whose fixed part all texts have."""
    asked: int = 0
    _known: dict[str, tuple[Mapping[str, float], bool, float]] = field(default_factory=dict)
    """By sub-text: its scores, whether it is flagged, and how far its probabilities are for the answer."""

    def margins(self, texts: Sequence[Pieces]) -> Generator[Request, Any, Sequence[float]]:
        """Below 0 where the classifier answers otherwise, or does not flag any more."""
        cuts = [self.smoother.cut_units(self.smoother.units_of(pieces, self.like)) for pieces in texts]
        new = list(dict.fromkeys(text for cut in cuts for text in cut.asked if text not in self._known))
        if new:
            answers: Sequence[Scored] = yield Classify(tuple(new), "certify", scored=True)
            self._learn(new, answers)
            self.asked += len(new)
        return [self._margin([text for part in cut.shown for text in part]) for cut in cuts]

    def _learn(self, texts: Sequence[str], answers: Sequence[Scored]) -> None:
        """Count ``answers`` as a certificate does."""
        shown = tuple(self.smoother.shown(text, answer) for text, answer in zip(texts, answers, strict=True))
        counted = ExactCertificate(
            "", (), self.smoother.settings, self.smoother.labels, shown, (tuple(range(len(shown))),)
        )
        flag = self.smoother.settings.flag
        ours = flag.labels if flag else (self.answer,)
        for text, answer, scores, vote in zip(texts, answers, counted.family[0], counted.votes, strict=True):
            mine = sum(answer.share(label) for label in ours)
            plain = {label: float(score) for label, score in scores.items() if label in self.smoother.labels}
            self._known[text] = (plain, vote in ours, 2 * mine - 1)

    def _margin(self, texts: Sequence[str]) -> float:
        known = [self._known[text] for text in texts if text]
        hint = HINT * sum(each[2] for each in known) / max(1, len(known))
        flag = self.smoother.settings.flag
        if flag is not None:
            return sum(each[1] for each in known) - flag.at_least + 0.5 + hint
        totals = dict.fromkeys(self.smoother.labels, 0.0)
        for scores, _, _ in known:
            for label, score in scores.items():
                totals[label] += score
        mine = totals.pop(self.answer, 0.0)
        rival = max(totals, key=lambda label: (totals[label], _before(label, self.answer)))
        lead = mine - totals[rival]
        if abs(lead) < 1e-9:
            # Ties go to the first label by name.
            return -0.5 if _before(rival, self.answer) or not mine else 1e-9
        return lead if self.smoother.settings.soft else lead + hint


def _before(label: str, other: str) -> bool:
    return label < other
