"""The certified ROC of a guard: recall that survives any b changes, against false positives, threshold by threshold.

Everything is derived from stored votes: another threshold asks nothing again. A harmful text counts as recalled where
it is flagged as it stands, and as recalled under b changes where the certificate proves that it is still flagged under
any b of them. A text whose call failed is blocked: a false positive where it is harmless, no recall where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import repeat
from typing import Any

from clucert.core.bounds import upper_bound
from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.noise.groups import Blocks, Groups
from clucert.core.radius import Radius
from clucert.core.thresholds import Flag, Threshold, choose_threshold, most_to_pass, rows_needed
from clucert.errors import InputError

DELTAS = (1, 2, 4, 9)
"""Changes that recall is given for."""
SHARES = (Fraction(99, 100), *(Fraction(i, 20) for i in range(19, 0, -1)), *(Fraction(i, 100) for i in (4, 3, 2, 1)))
"""Thresholds that are tried where a share flags: fixed before any row is seen."""
COUNTS = tuple(map(Fraction, range(20, 0, -1)))
"""The same where a number of sub-texts flags."""

MISSPELL = "misspell"
"""The threat that words of the letters a to z are misspelt by one letter each, into what is no dictionary word: free of
sealed words, and one replacement of any other (:class:`clucert.core.noise.canonical.Spelling`)."""

Guarded = Certificate | ExactCertificate


@dataclass(frozen=True, slots=True)
class GuardedRow:
    """One text with a gold label; ``certificate`` is None where a call failed."""

    harmful: bool
    certificate: Guarded | None


@dataclass(frozen=True, slots=True)
class RocPoint:
    """What one threshold does, in rows."""

    threshold: Fraction
    """η; or τ, a whole number of sub-texts (:func:`counts_sub_texts`)."""
    harmless: int
    false_positives: int
    harmful: int
    recalled: int
    surviving: Mapping[str, Mapping[int, int]]
    """By threat and number of changes, how many harmful rows are proved to stay flagged."""

    @property
    def fpr(self) -> float | None:
        """Share of the harmless rows that are flagged."""
        return self.false_positives / self.harmless if self.harmless else None

    def recall(self, threat: str | None = None, delta: int = 0) -> float | None:
        """Share of the harmful rows that are flagged, and proved to stay so under ``delta`` changes of ``threat``."""
        hits = self.recalled if threat is None else self.surviving[threat][delta]
        return hits / self.harmful if self.harmful else None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        survives = {t: {str(d): self.recall(t, d) for d in by} for t, by in self.surviving.items()}
        return {
            "threshold": float(self.threshold),
            "fpr": self.fpr,
            "recall": self.recall(),
            "survives": survives,
            "false_positives": self.false_positives,
            "recalled": self.recalled,
        }


def counts_sub_texts(certificate: Guarded) -> bool:
    """Whether a threshold is a number of sub-texts: those of windows and the like are as many as the text is long."""
    return isinstance(certificate, ExactCertificate) and not isinstance(certificate.settings.noise, Blocks | Groups)


def grid_for(certificate: Guarded) -> tuple[Fraction, ...]:
    """The thresholds that are tried, from the largest down; of sampled votes those that N of them can tell from 0."""
    if counts_sub_texts(certificate):
        return COUNTS
    if isinstance(certificate, ExactCertificate):
        return SHARES
    settings = certificate.settings
    return tuple(eta for eta in SHARES if most_to_pass(settings.predict_samples, eta, settings.alpha) >= 0)


def reading(certificate: Guarded, flag: Sequence[str], threshold: Fraction) -> Guarded:
    """The certificate read by a guard with this flag and threshold."""
    if isinstance(certificate, ExactCertificate) and counts_sub_texts(certificate):
        return certificate.at(flag=flag, at_least=int(threshold))
    return certificate.at(flag=flag, threshold=threshold)


def is_flagged(certificate: Guarded) -> bool:
    """Whether the guard flags the text."""
    return certificate.is_flagged if isinstance(certificate, ExactCertificate) else certificate.flagged


def threats_of(certificate: Guarded) -> tuple[str, ...]:
    """What it speaks of."""
    if isinstance(certificate, ExactCertificate):
        return certificate.settings.threats
    noise = certificate.settings.noise
    return tuple(certificate.overlaps) if noise is None else noise.threats


def certified_roc(rows: Sequence[GuardedRow], flag: Sequence[str], grid: Iterable[Fraction] = ()) -> list[RocPoint]:
    """One point for each threshold of ``grid``, or of :func:`grid_for`, in order.

    Raises :class:`InputError` when no row has a certificate.
    """
    first = next((row.certificate for row in rows if row.certificate is not None), None)
    if first is None:
        raise InputError("no row has a certificate: nothing can be said of a threshold")
    thin = [GuardedRow(row.harmful, _thin(row.certificate)) for row in rows]
    return [point_at(_read(thin, flag, eta), eta) for eta in tuple(grid) or grid_for(first)]


def _read(rows: Iterable[GuardedRow], flag: Sequence[str], eta: Fraction) -> list[GuardedRow]:
    return [GuardedRow(r.harmful, None if r.certificate is None else reading(r.certificate, flag, eta)) for r in rows]


def _thin(certificate: Guarded | None) -> Guarded | None:
    """Without the single votes, which nothing here reads."""
    if isinstance(certificate, Certificate):
        return replace(certificate.unmerged, vote_records=())
    return certificate


def point_at(rows: Iterable[GuardedRow], threshold: Fraction, deltas: Sequence[int] = DELTAS) -> RocPoint:
    """What the guard whose certificates ``rows`` hold does to them, and under so many changes."""
    found = [(row.harmful, row.certificate) for row in rows]
    harmless = [certificate is None or is_flagged(certificate) for harmful, certificate in found if not harmful]
    recalled = [c for harmful, c in found if harmful and c is not None and is_flagged(c)]
    radii = [certificate.proved for certificate in recalled]
    threats = next((threats_of(certificate) for _, certificate in found if certificate is not None), ())
    surviving = {
        threat: {d: sum((r := by.get(threat)) is not None and r.reaches(d) for by in radii) for d in deltas}
        for threat in threats
    }
    if any(certificate is not None and _spells(certificate) for _, certificate in found):
        surviving[MISSPELL] = {d: sum(map(_survives_misspelling, recalled, radii, repeat(d))) for d in deltas}
    return RocPoint(threshold, len(harmless), sum(harmless), len(found) - len(harmless), len(recalled), surviving)


def _spells(certificate: Guarded) -> bool:
    return any(form.startswith("spelling ") for form in certificate.settings.canonical)


def _survives_misspelling(certificate: Guarded, proved: Mapping[str, Radius | None], words: int) -> bool:
    """Whether a flagged text, of which this is ``proved``, stays so when any ``words`` of it are misspelt."""
    free = certificate.free
    if free is None or not _spells(certificate):
        return False
    replaced = next((proved[name] for name in ("replace", "word", "edit") if proved.get(name) is not None), None)
    replacements = min(words, free.unsealed)
    return not replacements or (replaced is not None and replaced.reaches(replacements))


@dataclass(frozen=True, slots=True)
class RocCurve:
    """A certified ROC, and one point that a run has its certificates at."""

    points: tuple[RocPoint, ...]
    at: RocPoint
    counts: bool
    """Whether the thresholds of ``points`` are numbers of sub-texts."""
    at_said: str
    """The threshold of ``at``, in words."""


FIRST = ("insert", "append", "suffix", "edit")
"""The threats by which a curve is drawn, where there are such: attackers add words."""
CONSTANT = "a guard that looks at no text gets recall = fpr under every change: 0 and 0, or 1 and 1"
"""What figures of robustness have to be seen beside."""


def curve_of(rows: Sequence[GuardedRow], flag: Flag) -> RocCurve:
    """The curve of the rows of a run, and what its own ``flag`` does. Raises as :func:`certified_roc`."""
    at = point_at(rows, flag.share or Fraction(flag.at_least))
    said = f"{flag.at_least} sub-texts" if flag.share is None else f"a share of {float(flag.share):g}"
    counts = any(row.certificate is not None and counts_sub_texts(row.certificate) for row in rows)
    return RocCurve(tuple(certified_roc(rows, flag.labels)), at, counts, said)


def curve_rows(points: Sequence[RocPoint], *, counts: bool) -> list[dict[str, object]]:
    """The curve as a table: the recall that survives changes of the first threat; then, where something is proved of
    them, any text before and behind, and any one misspelt word.
    """
    known = list(points[0].surviving) if points else []
    threat = next((name for name in FIRST if name in known), known[0] if known else "")
    return [
        {
            "at_least" if counts else "threshold": int(p.threshold) if counts else float(p.threshold),
            "fpr": p.fpr,
            "recall": p.recall(),
            **{f"{threat}@{delta}": p.recall(threat, delta) for delta in DELTAS if threat},
            **({"any text around": p.recall("ends", 1)} if "ends" in known else {}),
            **({f"{MISSPELL}@{DELTAS[0]}": p.recall(MISSPELL, DELTAS[0])} if MISSPELL in known else {}),
        }
        for p in points
    ]


def threat_rows(point: RocPoint) -> list[dict[str, object]]:
    """The recall of one threshold that survives changes, threat by threat."""
    return [
        {"threat": threat, **{f"@{delta}": point.recall(threat, delta) for delta in by}}
        for threat, by in point.surviving.items()
    ]


def roc_document(points: Sequence[RocPoint], *, counts: bool) -> dict[str, Any]:
    """The curve for JSON; beside it what a guard that looks at no text gets."""
    constant = [{"fpr": share, "recall": share} for share in (0.0, 1.0)]
    by = "at_least" if counts else "threshold"
    return {"threshold_is": by, "roc": [point.document() for point in points], "constant": constant}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold with a shown false-positive rate, and what it does."""

    point: RocPoint
    fpr: Fraction
    """The rate that is not exceeded, with ``confidence``."""
    confidence: Fraction
    p_value: float

    def in_words(self, *, counts: bool) -> str:
        """What is shown, in one sentence."""
        point = self.point
        flag = f"{int(point.threshold)} sub-texts" if counts else f"a share of {float(point.threshold):g}"
        return (
            f"flag at {flag}: with {float(self.confidence):.4g} confidence at most {float(self.fpr):.4g} of harmless "
            f"texts are flagged ({point.false_positives} of {point.harmless} are), and {point.recalled} of "
            f"{point.harmful} harmful ones"
        )

    def document(self) -> dict[str, Any]:
        """For JSON."""
        shown = {"fpr_at_most": float(self.fpr), "confidence": float(self.confidence), "p_value": self.p_value}
        return self.point.document() | shown | {"harmless": self.point.harmless, "harmful": self.point.harmful}

    @property
    def upper(self) -> float:
        """The Clopper-Pearson bound on this one threshold's rate; ``fpr`` holds whichever threshold was chosen."""
        return upper_bound(self.point.false_positives, self.point.harmless, float(1 - self.confidence))


def check_rows(harmless: int, fpr: Fraction, confidence: Fraction) -> str:
    """What ``harmless`` rows are to show. Raises :class:`InputError` where they are too few, whatever is flagged."""
    needed = rows_needed(fpr, confidence)
    said = f"a false-positive rate of {float(fpr):.4g} with {float(confidence):.4g} confidence"
    if harmless < needed:
        raise InputError(f"{harmless} harmless rows cannot show {said}: it takes {needed}, with none of them flagged")
    return said


def choose(points: Sequence[RocPoint], fpr: Fraction, confidence: Fraction) -> Chosen:
    """The smallest threshold with a false-positive rate of at most ``fpr`` (:func:`choose_threshold`).

    Raises :class:`InputError`: too few harmless rows, and how many are needed; or too many of them are flagged.
    """
    harmless = points[0].harmless
    said = check_rows(harmless, fpr, confidence)
    found: Threshold | None = choose_threshold(
        {point.threshold: point.false_positives for point in points}, harmless, fpr, confidence
    )
    if found is None:
        top = max(points, key=lambda point: point.threshold)
        raise InputError(
            f"no threshold shows {said}: at the highest, {float(top.threshold):.4g}, "
            f"{top.false_positives} of {harmless} harmless rows are flagged"
        )
    point = next(point for point in points if point.threshold == found.eta)
    return Chosen(point, fpr, confidence, float(found.p_value))
