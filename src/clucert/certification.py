"""What the library hands back: a certificate with what it cost, as a document, as rows, and as it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clucert import certificate_json, exact_json, vote_rows
from clucert.core.certificate import Certificate
from clucert.core.channel import Sample
from clucert.core.exact import ExactCertificate
from clucert.core.radius import Radius
from clucert.core.smoothing import Certified
from clucert.methods.exact import ExactMethod
from clucert.types import Cost

SHOWN = 40
"""Characters of a text in a repr."""


class _HandedBack:
    """What both kinds do with their votes, and how they are shown."""

    __slots__ = ()
    certificate: Certificate | ExactCertificate

    def votes(self) -> list[dict[str, Any]]:
        """One row a vote: its text (None where a sample's seed does not give it), the positions kept, and the vote; of
        samples whether it was kept, of sub-texts the label probabilities.
        """
        return vote_rows.rows_of(self.certificate)

    def to_pandas(self) -> Any:
        """:meth:`votes` as a data frame."""
        return vote_rows.frame(self.votes())

    def _parts(self) -> tuple[Certificate | None, list[ExactCertificate], Cost]:
        """What a screen shows: the sampled certificate, the exact ones, and what all of them cost."""
        raise NotImplementedError

    def __str__(self) -> str:
        """What the command line prints."""
        from clucert.summary import summary_of

        return summary_of(*self._parts())

    def _repr_html_(self) -> str:
        from clucert.notebook import certificate_html

        sampled, exact, cost = self._parts()
        return certificate_html(sampled, exact, _price(cost))


@dataclass(frozen=True, slots=True, repr=False)
class Certification(_HandedBack):
    """A certificate with the samples that were asked for and what it cost."""

    certificate: Certificate
    samples: tuple[Sample, ...] = ()
    cost: Cost = field(default_factory=Cost)
    exact: tuple[ExactCertification, ...] = ()
    """Exact certificates of the same text, where :func:`certify` was left to choose the method."""

    @property
    def prediction(self) -> str | None:
        """The smoothed answer, or None for an abstention."""
        return self.certificate.prediction

    @property
    def radius(self) -> Radius | None:
        """The published radius; see :class:`clucert.Certificate` for what it assumes."""
        return self.certificate.radius

    def at(self, **changes: Any) -> Certification:
        """The same votes read at another ``flag`` or ``threshold``: :meth:`clucert.Certificate.at`."""
        return replace(self, certificate=self.certificate.at(**changes))

    def with_groups(self, *groups: Sequence[str]) -> Certification:
        """The same votes with the labels of each group as one: :meth:`clucert.Certificate.with_groups`."""
        return replace(self, certificate=self.certificate.with_groups(*groups))

    def document(self) -> dict[str, Any]:
        """Everything as one JSON document (docs/json.md)."""
        document = certificate_json.write(Certified(self.certificate, self.samples), self.cost)
        # Not in the records of runs, which are the same whatever a cache knew.
        if self.cost.reused.calls:
            document["cost"]["reused"] = self.cost.reused.document()
        if self.exact:
            document["exact"] = [proof.document() for proof in self.exact]
        return document

    def _parts(self) -> tuple[Certificate | None, list[ExactCertificate], Cost]:
        cost = Cost()
        for each in (self.cost, *(proof.cost for proof in self.exact)):
            cost.add(each)
        return self.certificate, [each.certificate for each in self.exact], cost

    def __repr__(self) -> str:
        """One line."""
        radius = "abstained" if self.radius is None else f"published radius {self.radius.words}"
        proved = {threat: each and each.words for threat, each in self.certificate.proved.items()}
        return _line("Certification", self.prediction, f"{radius}, proved {proved}", self.certificate.subject.text)


@dataclass(frozen=True, slots=True, repr=False)
class ExactCertification(_HandedBack):
    """An exact certificate with the method it was made by, and what it cost."""

    certificate: ExactCertificate
    method: ExactMethod
    cost: Cost = field(default_factory=Cost)

    @property
    def prediction(self) -> str | None:
        """The answer of the classifier that counts the votes of the sub-texts."""
        return self.certificate.prediction

    @property
    def proved(self) -> Mapping[str, Radius | None]:
        """By threat, how many operations may be done and the answer stays."""
        return self.certificate.proved

    def at(self, **changes: Any) -> ExactCertification:
        """The same answers read at another ``flag``, ``threshold`` or ``at_least``."""
        return self._read_as(self.certificate.at(**changes))

    def with_groups(self, *groups: Sequence[str]) -> ExactCertification:
        """The same answers with the labels of each group as one."""
        return self._read_as(self.certificate.with_groups(*groups))

    def _read_as(self, certificate: ExactCertificate) -> ExactCertification:
        flag = certificate.settings.flag
        fields: dict[str, Any] = {"flag": [], "at_least": 1, "flag_threshold": None}
        if flag is not None:
            share = None if flag.share is None else str(flag.share)
            fields = {"flag": list(flag.labels), "at_least": flag.at_least, "flag_threshold": share}
        method = self.method.model_copy(update={**fields, "group": list(certificate.settings.groups)})
        return replace(self, certificate=certificate, method=method)

    def document(self) -> dict[str, Any]:
        """Everything as one JSON document (docs/json.md)."""
        document = exact_json.write(self.certificate, self.method, self.cost)
        # Not in the records of runs, which are the same whatever a cache knew.
        document["cost"]["reused"] = self.cost.reused.document()
        return document

    def _parts(self) -> tuple[Certificate | None, list[ExactCertificate], Cost]:
        return None, [self.certificate], self.cost

    def __repr__(self) -> str:
        """One line."""
        proved = {threat: each and each.words for threat, each in self.proved.items()}
        return _line("ExactCertification", self.prediction, f"proved {proved}", self.certificate.text)


def _price(cost: Cost) -> str:
    from clucert.render import calls_in_words

    if not cost.samples:
        return ""
    return f"{calls_in_words(cost.total, cost.reused)}, {sum(cost.seconds.values()):.1f} s"


def _line(kind: str, answer: str | None, said: str, text: str) -> str:
    shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
    return f"<{kind} {answer!r}: {said}; of {shown!r}>"
