"""A certificate on one screen: the answer, what is proved, what is published, and the price of each.

Texts and labels are hostile: they are escaped, and control characters shown. ``-v`` prints :mod:`clucert.render`'s
account of votes, bounds and assumptions instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.exact_words import (
    better_counting,
    flag_in_words,
    missing_in_words,
    price_in_words,
    stays_in_words,
    threats_in_words,
)
from clucert.core.explanation import (
    claim_in_words,
    confident,
    decision,
    domain_of,
    fixed,
    free_in_words,
    gap,
    proved_in_words,
    radius_words,
)
from clucert.core.words import split
from clucert.models.legible import READABLE
from clucert.render import calls_in_words, put, row, safe, unread_lines
from clucert.types import Cost

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a name, what is said, and what it rests on or took."""

    name: str
    said: str
    price: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """One change that is proved to leave the answer: in the first sentence, and on a line of its own."""

    claim: str
    said: str
    price: str


def summary_of(certificate: Certificate | None, exact: Sequence[ExactCertificate], cost: Cost) -> str:
    """What :func:`print_summary` prints, as plain text for 120 columns."""
    from rich.console import Console

    console = Console(width=120, highlight=False, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        print_summary(console, certificate, exact, cost)
    return captured.get().rstrip()


def verdict(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> str:
    """One sentence: the answer, what is proved to leave it as it is, and at what price."""
    proofs = [(_answer(each), proof) for each in exact for proof in _exact(each)]
    if certificate is not None:
        proofs += [(_answer(certificate), proof) for proof in _sampled(certificate)]
    if not proofs:
        return _nothing(certificate, exact)
    answer = proofs[0][0]
    mine = [proof for its, proof in proofs if its == answer]
    shown = list(dict.fromkeys(proof.claim for proof in mine))[:MOST_SAID]
    prices = "; ".join(dict.fromkeys(proof.price for proof in mine))
    others = {*map(_answer, exact), *([_answer(certificate)] if certificate else [])} - {answer}
    apart = f". Another classifier answers otherwise ({', '.join(sorted(others))})" if others else ""
    return f"{answer} is proved to stay with {', or '.join(shown)} ({prices}){apart}"


MOST_SAID = 4
"""Changes that the first sentence names; all stand below it."""


def _answer(certificate: Certificate | ExactCertificate) -> str:
    """What is answered, and whether that flags the text."""
    answer = certificate.prediction or "no answer"
    if certificate.settings.flag is None or certificate.prediction is None:
        return answer
    flagged = certificate.is_flagged if isinstance(certificate, ExactCertificate) else certificate.flagged
    return f"{answer} ({'flagged' if flagged else 'passed'})"


def _nothing(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> str:
    """The first sentence where nothing is proved."""
    if certificate is None:
        return f"{_answer(exact[0])}, and nothing is proved"
    if certificate.prediction is None:
        return f"no answer, and nothing is proved: {certificate.unreadable or certificate.abstained}"
    radius = certificate.radius
    known = [each for each in (radius, *certificate.proved.values()) if each is not None]
    if known and all(each.nothing_to_attack for each in known):
        return f"{_answer(certificate)}, and nothing was tested: no word of the text can be attacked"
    words = radius.words if radius else 0
    many = "a change of 1 word" if words == 1 else f"changes of up to {words} words"
    claimed = (
        f"; that it stays under {many} is a claim that rests on {', '.join(certificate.assumptions)}" if words else ""
    )
    return f"{_answer(certificate)}, and nothing is proved{claimed}"


def print_summary(
    console: Console,
    certificate: Certificate | None,
    exact: Sequence[ExactCertificate],
    cost: Cost,
    *,
    unread: int = 0,
    more: str = "",
) -> None:
    """Print what holds for one text: a sampled certificate, exact ones, or both.

    ``cost`` is that of all together; ``more``, behind it, says where there is more to read.
    """
    console.print(safe(verdict(certificate, exact), 600), style="bold")
    for line in _text(certificate, exact):
        put(console, line)
    lines = [*_answers(certificate, exact), *_proofs(certificate, exact), *_free(certificate, exact)]
    lines += _published(certificate)
    lines += _reasons(certificate, exact)
    if cost.unread and certificate is None and all(each.prediction is None for each in exact):
        lines.append(Line("try", READABLE))
    for text in _aligned([*lines, *_cost(cost, certificate, more)], console.width if console.is_terminal else 120):
        put(console, text)
    for text in unread_lines(cost.unread, max(unread, 1)):
        put(console, text)


def _text(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Text]:
    if certificate is None:
        yield row("text", safe(exact[0].text))
        if exact[0].settings.canonical:
            yield row("canonical", safe(" ".join(exact[0].pieces)))
        return
    subject = certificate.subject
    yield row("text", _marked(certificate) if domain_of(certificate) == "original" else safe(subject.text))
    if domain_of(certificate) == "canonical":
        yield row("canonical", _marked(certificate))
    if subject.domain == "refined":
        yield row("refined to", _marked(certificate))


def _marked(certificate: Certificate) -> Text:
    """The text that was noised, with the words underlined that the noise can change."""
    from rich.text import Text

    subject = certificate.subject
    parts, marked = split(subject.noised_text), Text()
    if parts.words != subject.words or len(subject.noised_text) > 300:
        return safe(subject.noised_text)
    for gap_before, word, attackable in zip(parts.gaps, parts.words, subject.attackable, strict=False):
        shown = safe(word)
        if attackable and not all(subject.attackable):
            shown.stylize("underline")
        marked.append_text(safe(gap_before)).append_text(shown)
    return marked.append_text(safe(parts.gaps[-1]))


def _answers(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Line]:
    """One line for each answer, with the methods that give it where they differ."""
    answers: dict[str | None, list[str]] = {}
    if certificate is not None:
        answers.setdefault(certificate.prediction, []).append(certificate.settings.method)
    for each in exact:
        answers.setdefault(each.prediction, []).append(each.settings.method)
    name = "answer"
    for answer, methods in answers.items():
        who = f"of {' and '.join(methods)}" if len(answers) > 1 else ""
        yield Line(
            name,
            _none(certificate, methods) if answer is None else answer,
            who,
            "bold green" if answer else "bold yellow",
        )
        name = ""
    yield from _decisions(certificate, exact)
    if len(answers) > 1:
        yield Line("", "each line below is about the classifier that it names, and its answer", style="yellow")


def _decisions(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Line]:
    """Flagged or passed, and why, where a flag is set."""
    several = len(exact) + (certificate is not None) > 1
    if certificate is not None and (why := decision(certificate)):
        yield Line("", why, f"of {certificate.settings.method}" if several else "")
        if certificate.unreadable:
            yield Line("note", certificate.unreadable, style="yellow")
    for each in exact:
        if each.settings.flag is not None:
            state = "flagged" if each.is_flagged else "passed"
            yield Line("", f"{state}: {flag_in_words(each)}", f"of {each.settings.method}" if several else "")


def _none(certificate: Certificate | None, methods: Sequence[str]) -> str:
    if certificate is None or certificate.settings.method not in methods:
        return "none: no sub-text got a label"
    if certificate.unreadable:
        return f"none: {certificate.unreadable}"
    return f"abstained: {certificate.abstained}"


def _proofs(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Line]:
    proofs = [*(proof for each in exact for proof in _exact(each)), *_sampled(certificate)]
    said = [Line("", proof.said, proof.price, "bold") for proof in proofs]
    for i, line in enumerate(said or [Line("", "nothing")]):
        yield Line("" if i else "proved", line.said, line.price, line.style)


def _exact(certificate: ExactCertificate) -> Iterator[Proof]:
    for change in threats_in_words(certificate):
        said = f"{change}: {stays_in_words(certificate)}" if certificate.settings.flag else change
        yield Proof(change, said, f"{certificate.settings.method}, {price_in_words(certificate)}")


def _sampled(certificate: Certificate | None) -> Iterator[Proof]:
    if certificate is None or certificate.prediction is None:
        return
    for threat, radius in certificate.proved.items():
        if radius is not None and not radius.nothing_to_attack and (radius.words or radius.everything):
            said = " ".join(proved_in_words(certificate, threat, radius))
            yield Proof(claim_in_words(certificate, threat, radius), said, _sampled_price(certificate))


def _sampled_price(certificate: Certificate) -> str:
    settings = certificate.settings
    drawn = certificate.selection.drawn + certificate.estimation.drawn
    samples = "every sample" if certificate.exhaustive else f"{drawn:,} samples, {confident(settings.alpha)} %"
    return f"{settings.method}, {samples}"


def _free(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Line]:
    """What the canonical form allows any number of times: the same for every method that answers."""
    sentences = free_in_words(certificate) if certificate else []
    sentences = sentences or next(filter(None, map(free_in_words, exact)), [])
    for i, sentence in enumerate(sentences):
        yield Line("" if i else "free", sentence, style="bold")


def _published(certificate: Certificate | None) -> Iterator[Line]:
    """The paper's radius, and what it assumes."""
    if certificate is None or certificate.prediction is None or not certificate.settings.published:
        return
    radius, subject = certificate.radius, certificate.subject
    names = ", ".join(certificate.assumptions)
    said = radius_words(radius, sum(subject.attackable), certificate.n, domain_of(certificate))
    change = "" if radius is None or radius.nothing_to_attack else " may change"
    yield Line("published", f"{said}{change}", f"{_sampled_price(certificate)}{f'; assumes {names}' if names else ''}")


def _reasons(certificate: Certificate | None, exact: Sequence[ExactCertificate]) -> Iterator[Line]:
    """For each method that proves nothing, what was missing."""
    for each in exact:
        if not any(threats_in_words(each)):
            yield Line("why", f"{each.settings.method} proves nothing: {missing_in_words(each)}")
            if advice := better_counting(each):
                yield Line("try", advice)
    if certificate is not None and certificate.prediction is not None and (why := gap(certificate)):
        yield Line("why", why)
    if certificate is not None and certificate.prediction is not None:
        yield Line("fixed", fixed(certificate))
    notes = [*(certificate.notes if certificate else ()), *(note for each in exact for note in each.notes)]
    for note in dict.fromkeys(notes):
        yield Line("note", note, style="yellow")


def _cost(cost: Cost, certificate: Certificate | None, more: str) -> Iterator[Line]:
    seconds = sum(cost.seconds.values())
    seed = ""
    if certificate is not None:
        drawn = certificate.settings.seed
        seed = ", noise from a secret key" if drawn is None else f", seed {drawn}"
    calls = calls_in_words(cost.total, cost.reused)
    yield Line("cost", f"{calls}, {seconds:.1f} s{seed}{more}")


def _aligned(lines: Sequence[Line], width: int) -> Iterator[Text]:
    """Prices in a column of their own where they fit; behind what they are the price of, otherwise."""
    from rich.cells import cell_len

    shown = [(line, safe(line.said, 600).plain, safe(line.price).plain) for line in lines]
    column = max((cell_len(said) for _, said, price in shown if price), default=0)
    fits = 12 + column + 2 + max((cell_len(price) for _, _, price in shown), default=0) <= width
    for line, said, price in shown:
        space = " " * (column - cell_len(said)) if fits else ""
        behind = (f"{space}  {price}" if fits else f"  ({price})") if price else ""
        yield row(line.name, (said, line.style), (behind, "dim"))
