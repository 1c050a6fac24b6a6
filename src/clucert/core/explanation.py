"""What the radii of a certificate say, in words, and why the published and the proved one differ."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.radius import Radius
from clucert.core.settings import Settings

THREATS = {
    "word": "any words",
    "synonym": "words of their synonym pools",
}
"""What words may become, by threat model."""

OPERATIONS = {
    "insert": "inserted anywhere",
    "append": "added before and behind the text",
    "delete": "deleted",
    "edit": "inserted, deleted, replaced or moved, in any mix",
    "word": "replaced by any other, one for one",
}
"""What may happen to tokens, by threat model, where their number may change."""

FIXED = "words may be replaced, one for one; what stands between them (punctuation, white space) is fixed"
"""Holds for every radius that counts words, and is printed with each."""

TOKENS = "tokens are counted: words and punctuation marks alike; white space between them is free"
"""The same for a noise that drops tokens."""


def fixed(certificate: Certificate) -> str:
    """What every radius of ``certificate`` counts, and what must stay as it is."""
    said = FIXED if certificate.settings.noise is None else TOKENS
    return f"{said}; counted in the canonical form of the text" if certificate.settings.canonical else said


def free_in_words(certificate: Certificate | ExactCertificate) -> list[str]:
    """What changes nothing because the text is put into canonical form; nothing where there is no answer."""
    if certificate.free is None or certificate.prediction is None:
        return []
    return [*certificate.free.in_words(certificate.settings.canonical)]


def domain_of(certificate: Certificate) -> str:
    """The text whose words a radius counts."""
    domain = certificate.subject.domain
    return "canonical" if domain == "original" and certificate.settings.canonical else domain


def radius_words(radius: Radius | None, attackable: int, total: int, domain: str) -> str:
    """``radius`` for people, with the text whose words it counts: "up to 3 of 12 words of the refined text"."""
    if radius is None:
        return "nothing"
    text = f"of {total} words of the {domain} text"
    if radius.nothing_to_attack:
        return f"nothing to attack (0 {text})"
    if radius.everything:
        return (
            f"all {attackable} attackable {text}" if attackable < total else f"all {total} words of the {domain} text"
        )
    count = f"{'up to ' if radius.words else ''}{radius.words} {text}"
    return count if attackable == total else f"{count} ({attackable} attackable)"


def proved_in_words(certificate: Certificate, threat: str, radius: Radius | None) -> tuple[str, str]:
    """What ``radius``, proved for ``threat``, says: how many words, and of what change to them."""
    count, change, limit, rests_on = _proved(certificate, threat, radius)
    return count, f"{change}{_kept(certificate)}{limit}{rests_on}"


def claim_in_words(certificate: Certificate, threat: str, radius: Radius) -> str:
    """The same for a sentence that says by itself what is kept and what that rests on."""
    count, change, limit, _ = _proved(certificate, threat, radius)
    return f"{count} {change}{limit}"


def _proved(certificate: Certificate, threat: str, radius: Radius | None) -> tuple[str, str, str, str]:
    """How many words, of what change, what that leaves out, and what it rests on."""
    if certificate.settings.noise is not None:
        return _operations(certificate, threat, radius)
    domain, size = domain_of(certificate), len(certificate.overlaps[threat].masked)
    count, change = radius_words(radius, size, certificate.n, domain), f"swapped for {THREATS[threat]}"
    if radius is None:
        return count, f"is proved about words of the {domain} text {change}", "", ""
    if radius.nothing_to_attack:
        return count, f"can be {change}", ": nothing was tested", ""
    if domain == "refined":
        return count, change, "; nothing is proved about the original text", ""
    return count, change, "", f", {no_assumption(certificate)}"


def no_assumption(certificate: Certificate) -> str:
    """The words "no assumption", and what is taken for granted of the backend all the same."""
    return f"no assumption{certificate.answers.taken if certificate.answers else ''}"


def confident(alpha: float) -> str:
    """1 − α in per cent, all its digits: 99.9999999 % is not 100 %."""
    return f"{(100 * (1 - Decimal(str(alpha)))).normalize():f}"


def decision(certificate: Certificate) -> str | None:
    """Flagged or passed, and why, in one sentence; None where the answer is a majority's."""
    flag = certificate.settings.flag
    if flag is None or flag.share is None:
        return None
    drawn, alpha, below = certificate.selection.drawn, certificate.settings.alpha, f"< {float(flag.share):g}"
    if certificate.exhaustive:
        return f"{'flagged: not' if certificate.flagged else 'passed:'} p({flag.name}) {below}"
    shown = f"shown by {drawn} votes to have p({flag.name}) {below} at level {alpha:g}"
    return f"flagged: not {shown}" if certificate.flagged else f"passed: {shown}"


def _kept(certificate: Certificate) -> str:
    """What is left as it was, where it is not an answer but a flag."""
    flag = certificate.settings.flag
    if flag is None or flag.share is None:
        return ""
    return f": still p({flag.name}) {'≥' if certificate.flagged else '<'} {float(flag.share):g}"


def _operations(certificate: Certificate, threat: str, radius: Radius | None) -> tuple[str, str, str, str]:
    change = OPERATIONS[threat]
    if radius is None:
        return "nothing", f"is proved about tokens {change}", "", ""
    tokens = "token" if radius.words == 1 and not radius.everything else "tokens"
    many = "all " if radius.everything else "up to " if radius.words else ""
    return f"{many}{radius.words} {tokens}", change, "", f", {no_assumption(certificate)}"


def gap(certificate: Certificate) -> str | None:
    """One sentence when less than half of the published radius is proved against any words; else None."""
    published, proved = certificate.radius, certificate.proved.get("word")
    if published is None or 2 * (proved.words if proved else 0) >= published.words:
        return None
    causes = list(_causes(certificate.settings, dropped=certificate.estimation.dropped > 0))
    if not causes:
        return None
    why, options = zip(*causes, strict=True)
    shown = proved.words if proved else "nothing"
    return (
        f"published {published.words}, proved {shown} against any words, because {' and '.join(why)}; "
        f"to prove more: {' and '.join(options)}"
    )


def _causes(settings: Settings, *, dropped: bool) -> Iterator[tuple[str, str]]:
    """(what keeps the published radius from being proved, what to do about it)."""
    if settings.recovery == "synonym":
        # Masked texts are so unlike the original that a filter by similarity would keep none.
        mask = "--recovery mask" + (" --clustering none" if settings.clustering != "none" else "")
        yield (
            "the pool of a masked word gives away which word it was (A1)",
            f"{mask} (any words), or --lexicon classes --retained-kernel canonical (any number of synonyms)",
        )
    if settings.clustering != "none" and dropped:
        yield (
            "every sample that the clustering drops counts against the answer (A3)",
            "--clustering none, or denoising per sample (--method clucert-per-sample)",
        )
    if settings.gamma < 1 and not settings.votes_only:
        yield f"gamma = {settings.gamma:g} is assumed, not proved (A2)", "--gamma 1 shows what is left without it"
