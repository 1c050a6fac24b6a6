"""What an exact certificate says, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from clucert.core.bounds import UNPARSED
from clucert.core.exact import ExactCertificate
from clucert.core.noise.groups import Groups
from clucert.core.noise.votes import leads, rivals
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.radius import Radius

CHANGES = {
    "insert": "inserted anywhere",
    "delete": "deleted",
    "move": "moved",
    "replace": "replaced",
    "edit": "inserted, deleted or replaced, in any mix",
    "block": "of any length inserted anywhere",
    "ends": "before and behind the text",
    "suffix": "appended",
}
"""What an attacker does, by the name of the threat."""


def exact_in_words(certificate: ExactCertificate) -> Iterator[tuple[str, str]]:
    """A name and what is said, for each threat about which something is proved; why nothing is, otherwise."""
    price = price_in_words(certificate)
    said = list(threats_in_words(certificate))
    stays = stays_in_words(certificate)
    for i, change in enumerate(said):
        yield "" if i else "proved", f"{change}: {stays}" + ("" if i else f"  ({price})")
    if not said:
        yield "proved", f"nothing  ({price}): {missing_in_words(certificate)}"


def exact_sentences(certificate: ExactCertificate) -> list[str]:
    """The same, each as one sentence."""
    return [" ".join(f"{name} {said}".split()) for name, said in exact_in_words(certificate)]


def price_in_words(certificate: ExactCertificate) -> str:
    """What it took, and that nothing was drawn."""
    return f"{certificate.questions} question{'s' if certificate.questions != 1 else ''}, exact"


def stays_in_words(certificate: ExactCertificate) -> str:
    """What is as it was."""
    flag = certificate.settings.flag
    return "the answer stays" if flag is None else f"still {'flagged' if certificate.is_flagged else 'passed'}"


def threats_in_words(certificate: ExactCertificate) -> Iterator[str]:
    """What may be done to the text, "any 2 words inserted": one line for each threat with something proved."""
    proved, changes = dict(certificate.proved), CHANGES
    if (
        isinstance(certificate.settings.noise, Groups)
        and len({str(proved[t]) for t in ("insert", "delete", "move")}) == 1
    ):
        # One radius holds for any mix of the three; a replacement counts twice, so "edit" says no more than "replace".
        proved = {threat: proved[threat] for threat in ("insert", "replace")}
        changes = {**CHANGES, "insert": "inserted, deleted or moved, in any mix"}
    for threat, radius in proved.items():
        if radius is not None and (radius.words or radius.everything):
            counted = "block" if threat == "block" else certificate.settings.unit
            together = ", together" if threat == "ends" and not radius.everything else ""
            yield f"{radius_in_words(radius, counted)} {changes[threat]}{together}"


def better_counting(certificate: ExactCertificate) -> str | None:
    """The other way to count the same answers, where it proves something and this one nothing: no question more."""
    settings = certificate.settings
    if (
        any(threats_in_words(certificate))
        or settings.flag is not None
        or not any(shown.shares for shown in certificate.answers)
    ):
        return None
    other = replace(certificate, settings=replace(settings, soft=not settings.soft))
    if other.prediction != certificate.prediction or not any(threats_in_words(other)):
        return None
    flag = "hard" if settings.soft else "soft"
    proved = next(threats_in_words(other))
    return f"--method {settings.method} --scores {flag}: the same answers, counted so, prove {proved}"


def flag_in_words(certificate: ExactCertificate) -> str:
    """How much of the text is flagged, and how much flags it; nothing where no flag is set."""
    flag, total = certificate.settings.flag, sum(map(len, certificate.partitions))
    if flag is None:
        return ""
    if flag.share is None:
        return f"{certificate.flagged} of {total} sub-texts are {flag.name}, {flag.at_least} flag a text"
    return f"the share of {flag.name} is {float(certificate.flag_share):.3g}, {float(flag.share):g} flags a text"


def radius_in_words(radius: Radius, unit: str) -> str:
    """How many units may be changed: ``any 2 words``."""
    if radius.everything:
        return f"any number of {unit}s"
    return f"any {radius.words} {unit}{'s' if radius.words > 1 else ''}"


def missing_in_words(certificate: ExactCertificate) -> str:
    """Which lead was missing, and by how much."""
    settings, answer = certificate.settings, certificate.prediction
    if settings.flag is not None:
        return f"{flag_in_words(certificate)}, and one {settings.unit} can turn that{_short(certificate)}"
    if answer is None or isinstance(settings.noise, Windows | EraseAndCheck):
        return "no sub-text got a label"
    threat = settings.threats[0]
    short = []
    for rival in rivals(certificate.family, answer, certificate.classes):
        ahead = leads(certificate.family, answer, rival)
        lead = sum(map(sum, ahead), Fraction(0))
        short.append((lead - settings.noise.loss(ahead, threat, 1), lead, rival))
    gap, lead, rival = min(short)
    named = "what names no label" if rival == UNPARSED else rival
    if lead < 0:  # Only what names no label can lead the answer, which it never is.
        return f"{named} leads {answer} by {float(-lead):.2f}{_short(certificate)}"
    taken = f"one {settings.unit} {CHANGES[threat]} can take {float(lead - gap):.2f}"
    return f"{answer} leads {named} by {float(lead):.2f}, and {taken}{_short(certificate)}"


def _short(certificate: ExactCertificate) -> str:
    """That the text is too short for its sub-texts, and what to try: for the end of a reason."""
    noise, n, unit = certificate.settings.noise, certificate.n, certificate.settings.unit
    if isinstance(noise, Windows):
        few = f"{n} {unit}{'s' if n != 1 else ''}"
        return f"; the text has {few}, less than a window: try --size {max(1, n // 2)}" if n < noise.size else ""
    every = [i for part in certificate.partitions for i in part]
    empty = sum(i < 0 for i in every)
    return f"; {empty} of {len(every)} sub-texts are empty, which name no label" if empty else ""
