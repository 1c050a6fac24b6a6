"""A certificate for the terminal. Texts and labels are hostile: they are escaped, and control characters shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor
from typing import TYPE_CHECKING

from clucert.core.bounds import UNPARSED
from clucert.core.certificate import ASSUMPTIONS, Certificate
from clucert.core.channel import Sample
from clucert.core.exact import ExactCertificate
from clucert.core.exact_words import exact_in_words, flag_in_words
from clucert.core.explanation import (
    OPERATIONS,
    THREATS,
    confident,
    decision,
    domain_of,
    fixed,
    free_in_words,
    gap,
    no_assumption,
    proved_in_words,
    radius_words,
)
from clucert.core.radius import Radius
from clucert.models.legible import shown
from clucert.text_table import text_table
from clucert.types import Cost, Unread, Usage
from clucert.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from clucert.evaluate.roc import RocPoint


def print_certified(
    console: Console, certificate: Certificate, cost: Cost, samples: Iterable[Text] = (), *, unread: int = 0
) -> None:
    """Print the answer first, then what it rests on, then what it took, then ``samples`` (:func:`sample_lines`).

    Where answers were no votes, ``unread`` of them are shown, or one.
    """
    for line in _headline(certificate):
        put(console, line)
    console.print(_votes_table(certificate), soft_wrap=True)
    for line in _details(certificate, cost):
        put(console, line)
    for line in unread_lines(cost.unread, max(unread, 1)):
        put(console, line)
    for line in samples:
        put(console, line)


def unread_lines(unread: Sequence[Unread], limit: int) -> Iterable[Text]:
    """Answers that were no votes, one a line, and why they were none. Answers are hostile: they are escaped."""
    for answer in unread[:limit]:
        yield row("unparsed", safe(shown(answer.text, 200)), (f"  {answer.why}", "dim"))


def key_value_table(fields: Mapping[str, object]) -> str:
    """Two aligned columns of plain text."""
    return text_table([(name, _shown(value)) for name, value in fields.items()])


def rows_table(rows: Sequence[Mapping[str, object]], width: int | None = None, keys: int = 1) -> str:
    """Rows with the same fields as aligned columns of plain text (:func:`text_table`), numbers to the right."""
    if not rows:
        return ""
    names = list(rows[0])
    right = {i for i, name in enumerate(names) if all(isinstance(row[name], int | float | None) for row in rows)}
    return text_table([names, *([_shown(row[name]) for name in names] for row in rows)], right, width, keys)


def roc_text(points: Sequence[RocPoint], at: RocPoint, at_said: str, *, counts: bool, width: int | None = None) -> str:
    """The certified ROC as tables; of the threshold ``at``, which is ``at_said``, the recall under each threat."""
    from clucert.evaluate.roc import CONSTANT, curve_rows, threat_rows

    shown = "–" if at.fpr is None or at.recall() is None else f"fpr {at.fpr:.4g}, recall {at.recall():.4g}"
    parts = [
        "certified ROC: recall as it stands, and that survives so many changes",
        f"{rows_table(curve_rows(points, counts=counts), width)}\n",
        f"flagged at {at_said}: {shown}; recall that survives so many changes, by threat",
        f"{rows_table(threat_rows(at), width)}\n",
        CONSTANT,
    ]
    return "\n".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else safe(str(value)).plain


def safe(text: str, limit: int = 300) -> Text:
    """``text`` as plain text: markup inert, control and direction-changing characters visible, length bounded."""
    from rich.text import Text

    return Text(visible(text if len(text) <= limit else text[: limit - 1] + "…"))


def row(name: str, *parts: str | Text | tuple[str, str]) -> Text:
    """A line: a name in a column of its own, and what is said."""
    from rich.text import Text

    return Text.assemble((f"{name:<{NAME}}", "dim"), *parts)


def put(console: Console, line: Text) -> None:
    """Print a :func:`row`; on a terminal what is too long goes on below what is said, not below the name."""
    from rich.text import Text

    if not console.is_terminal or line.cell_len <= console.width or console.width < 40:
        console.print(line)
        return
    for i, part in enumerate(line[NAME:].wrap(console, console.width - NAME)):
        console.print(Text.assemble(line[:NAME] if not i else " " * NAME, part))


NAME = 12
"""Columns of a name."""


def _headline(certificate: Certificate) -> Iterable[Text]:
    subject = certificate.subject
    yield row("text", safe(subject.text))
    if subject.domain == "refined":
        yield row("refined to", safe(subject.noised_text))
    elif certificate.settings.canonical:
        yield row("canonical", safe(subject.noised_text))
    if certificate.prediction is None:
        if certificate.unreadable:
            yield row("prediction", ("none", "bold yellow"), f": {certificate.unreadable}")
            return
        yield row("prediction", ("abstained", "bold yellow"), f": {certificate.abstained}")
        return
    prediction = safe(certificate.prediction, 80)
    prediction.stylize("bold green")
    yield row("prediction", prediction)
    radius, attackable = certificate.radius, sum(subject.attackable)
    confidence = f"({confident(certificate.settings.alpha)} % confidence)"
    if why := decision(certificate):
        yield row("", safe(why))
        if certificate.unreadable:
            yield row("note", (safe(certificate.unreadable).plain, "yellow"))
    if not certificate.settings.published:
        yield row("radius", "none published, see the proved ones", f" {confidence}")
        yield from _proved(certificate)
        yield from _free(free_in_words(certificate))
        return
    yield row(
        "radius",
        (radius_words(radius, attackable, certificate.n, domain_of(certificate)), "bold"),
        f" {_may_change(radius)} {confidence}",
    )
    yield row("", *_assumes(certificate))
    yield from _proved(certificate)
    yield from _free(free_in_words(certificate))
    if why := gap(certificate):
        yield row("why", why)


def _proved(certificate: Certificate) -> Iterable[Text]:
    name = "proved"
    for threat, proved in certificate.proved.items():
        count, change = proved_in_words(certificate, threat, proved)
        yield row(name, (count, "bold"), f" {change}")
        name = ""


def _free(lines: Iterable[str]) -> Iterable[Text]:
    """What the canonical form allows any number of times."""
    for i, line in enumerate(lines):
        yield row("" if i else "free", (safe(line).plain, "bold"))


def _may_change(radius: Radius | None) -> str:
    if radius is not None and radius.nothing_to_attack:
        return "has a synonym pool: the noise changed nothing, and nothing was tested"
    return "may change and the answer stays"


def _assumes(certificate: Certificate) -> tuple[str, ...]:
    names = certificate.assumptions
    return (
        (f"assuming {', '.join(names)} (below)",)
        if names
        else (f"{no_assumption(certificate)}, words of the {domain_of(certificate)} text",)
    )


def _votes_table(certificate: Certificate) -> Text:
    from rich.text import Text

    lines = [("votes", "predict", "certify", "share", "bound")]
    selection, estimation, bounds = certificate.selection, certificate.estimation, certificate.bounds
    for label in dict.fromkeys([*selection.counts, *estimation.counts]):
        count = estimation.counts.get(label, 0)
        share = f"{count / estimation.kept:.3f}" if estimation.kept else "–"
        bound = "–"
        if bounds is not None and estimation.kept:
            is_winner = label == bounds.winner
            bound = f"≥ {float(bounds.low):.3f}" if is_winner else f"≤ {float(bounds.high.get(label, 1)):.3f}"
        lines.append((safe(label, 40).plain, str(selection.counts.get(label, 0)), str(count), share, bound))
    for name, attribute in ((UNPARSED.lower(), "unparsed"), ("dropped", "dropped")):
        row = (getattr(selection, attribute), getattr(estimation, attribute))
        if any(row):
            lines.append((f"({name})", str(row[0]), str(row[1]), "", ""))
    table = Text(text_table(lines, right=range(1, 5)))
    table.stylize("dim", 0, len(table.plain.partition("\n")[0]))
    return table


def _details(certificate: Certificate, cost: Cost) -> Iterable[Text]:
    settings, total = certificate.settings, cost.total
    for name in certificate.assumptions:
        yield row(name, ASSUMPTIONS[name])
    if certificate.prediction is not None:
        yield row("fixed", fixed(certificate))
    for note in certificate.notes:
        yield row("note", (note, "yellow"))
    base = settings.base
    where = f" at {base.base_url}" if base.base_url else ""
    reader = f", read by {base.reader}" if base.reader else ""
    asked = f"{' + '.join(base.models)}{where}, task {base.task or '–'} ({base.question}){reader}"
    yield row("classifier", safe(asked))
    yield row(
        "method",
        f"{settings.method}: {_noise(certificate)}, "
        f"recovery {settings.recovery}, clustering {settings.clustering}, threshold {settings.threshold}, "
        f"alpha {settings.alpha:g}, gamma {settings.gamma:g}",
    )
    if certificate.answers:
        yield row("answers", str(certificate.answers))
    yield from _sampler(certificate)
    seconds = sum(cost.seconds.values())
    slowest = sorted(cost.seconds.items(), key=lambda item: -item[1])
    spent = ", ".join(f"{work} {took:.1f}" for work, took in slowest if took >= 0.05)
    yield row(
        "cost",
        f"{calls_in_words(total, cost.reused)}; {cost.samples:,} samples, {total.cached:,} of the tokens cached, "
        f"{total.output:,} out{_estimated(total)}, {seconds:.1f} s ({spent}), "
        + ("noise from a secret key" if settings.seed is None else f"seed {settings.seed}"),
    )


def _estimated(total: Usage) -> str:
    return f" (an estimate for {total.estimated} calls: the server reports no usage)" if total.estimated else ""


def _sampler(certificate: Certificate) -> Iterable[Text]:
    """The proof is about g; what is deployed is a sample of it."""
    name, flag = "sampler", certificate.settings.flag
    otherwise = "mostly abstains" if flag is None else "lets it pass" if certificate.flagged else "flags it"
    for threat, radius in certificate.proved.items():
        here = certificate.agreement(threat, 0)
        if radius is not None and here is not None:
            edge = certificate.agreement(threat, radius.words) or 0.0
            # Rounded down: lower bounds.
            at, far = (f"{floor(100 * p) / 100:.2f}" for p in (here, edge))
            yield row(
                name,
                f"predict answers so with probability ≥ {at} on this text, ≥ {far} at the edge of the proved radius "
                f"({radius.words}, {_change(certificate, threat)}); else it {otherwise}",
            )
            name = ""


def print_exact(
    console: Console, certificate: ExactCertificate, cost: Cost, *, text: bool = False, beside: str | None = None
) -> None:
    """Print what an exact certificate proves, its votes, and what it took; with ``text`` the text first.

    ``beside`` is the answer of another classifier that is shown with it.
    """
    if text:
        put(console, row("text", safe(certificate.text)))
    answer = safe(certificate.prediction or "none", 80)
    answer.stylize("bold green" if certificate.prediction else "bold yellow")
    put(console, row("answer", answer, (f"  of {certificate.settings.method}, which is what is certified", "dim")))
    if beside is not None and beside != certificate.prediction:
        note = (
            f"another answer than {beside[:80]}, above: each certificate is about its own classifier, not the other's"
        )
        put(console, row("note", (safe(note).plain, "yellow")))
    if certificate.settings.flag is not None:
        state = "flagged" if certificate.is_flagged else "passed"
        put(console, row(state, safe(flag_in_words(certificate))))
    for name, said in exact_in_words(certificate):
        put(console, row(name, (safe(said).plain, "bold")))
    for line in _free(free_in_words(certificate)):
        put(console, line)
    for note in certificate.notes:
        put(console, row("note", safe(note)))
    counts = ", ".join(f"{safe(label, 40).plain} {count}" for label, count in certificate.counts.items())
    unparsed = f", unparsed {certificate.unparsed}" if certificate.unparsed else ""
    put(console, row("votes", f"{counts}{unparsed} of {sum(map(len, certificate.partitions))} sub-texts"))
    put(console, row("cost", calls_in_words(cost.total, cost.reused)))


def calls_in_words(total: Usage, reused: Usage) -> str:
    """The calls that were made; and where answers were reused, what it takes when none is. A function has no tokens."""

    def said(usage: Usage) -> str:
        calls = "1 call" if usage.calls == 1 else f"{usage.calls:,} calls"
        return calls + (f", {usage.input:,} tokens in" if total.input else "")

    made = total - reused
    if not reused.calls:
        return said(total)
    alone = f"without the cache {said(total)}"
    if not made.calls:
        return f"no call, all {total.calls:,} answers were reused ({alone})"
    return f"{said(made)}; {reused.calls:,} more answers were reused ({alone})"


def _change(certificate: Certificate, threat: str) -> str:
    return THREATS[threat] if certificate.settings.noise is None else OPERATIONS[threat]


def _noise(certificate: Certificate) -> str:
    settings, kernel = certificate.settings, certificate.settings.perturbation
    if kernel is not None:
        return f"{kernel.kind} of {float(kernel.q):g} % of the characters"
    if isinstance(settings.keep, int):
        return f"keeps {certificate.s} of {certificate.n} tokens"
    if settings.keep == "each":
        return f"each of {certificate.n} tokens kept with probability {float(1 - settings.mask_rate):g}"
    return f"mask rate {float(settings.mask_rate):g} (retains {certificate.s} of {certificate.n})"


def sample_lines(samples: Sequence[Sample], limit: int) -> Iterable[Text]:
    """At most ``limit`` noised texts that were kept, and as many that were dropped."""
    for kept in (True, False):
        rows = [sample for sample in samples if sample.kept == kept][:limit]
        for sample in rows:
            yield row("kept" if kept else "dropped", safe(sample.text), (f"  {sample.vote or ''}", "dim"))
