"""A certificate for the terminal. Texts and labels are hostile: they are escaped, and control characters shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor
from typing import TYPE_CHECKING

from clucert.bounds import UNPARSED
from clucert.certificate import ASSUMPTIONS, Certificate
from clucert.channel import Sample
from clucert.driver import Cost
from clucert.gap import gap
from clucert.radius import Radius

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from clucert.api import Certification

THREATS = {
    "word": "any words",
    "synonym": "words of their synonym pools",
}


def print_certified(console: Console, certification: Certification, *, samples: int = 0) -> None:
    """Print the answer first, then what it rests on, then what it took."""
    certificate = certification.certificate
    for line in _headline(certificate):
        console.print(line)
    console.print(_votes_table(certificate))
    for line in _details(certificate, certification.cost):
        console.print(line)
    if samples:
        for block in _samples(certification.samples, samples):
            console.print(block)


def key_value_table(fields: Mapping[str, object]) -> str:
    """Two aligned columns of plain text."""
    width = max(map(len, fields), default=0)
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in fields.items())


def rows_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same fields as aligned columns of plain text, numbers to the right."""
    if not rows:
        return ""
    cells = [list(rows[0]), *[[_shown(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [all(isinstance(row[name], int | float | None) for row in rows) for name in rows[0]]
    lines = [
        "  ".join(c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True))
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else safe(str(value)).plain


def safe(text: str, limit: int = 300) -> Text:
    """``text`` as plain text: markup inert, control and direction-changing characters visible, length bounded."""
    from rich.text import Text

    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return Text("".join(c if c.isprintable() else _visible(c) for c in shown))


def _visible(character: str) -> str:
    if character in "\n\t\r":
        return " "
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def radius_words(radius: Radius | None, attackable: int, total: int) -> str:
    """For people: "up to 3 of 12 words"."""
    if radius is None:
        return "none"
    if attackable == 0:
        return f"none of {total} words"
    if radius.everything:
        return f"all {attackable} attackable of {total} words" if attackable < total else f"all {total} words"
    count = f"{'up to ' if radius.words else ''}{radius.words} of {total} words"
    return count if attackable == total else f"{count} ({attackable} attackable)"


def _row(name: str, *parts: str | Text | tuple[str, str]) -> Text:
    from rich.text import Text

    return Text.assemble((f"{name:<12}", "dim"), *parts)


def _headline(certificate: Certificate) -> Iterable[Text]:
    subject = certificate.subject
    yield _row("text", safe(subject.text))
    if subject.domain == "refined":
        yield _row("refined to", safe(subject.noised_text))
    if certificate.prediction is None:
        yield _row("prediction", ("abstained", "bold yellow"), f": {certificate.abstained}")
        return
    prediction = safe(certificate.prediction, 80)
    prediction.stylize("bold green")
    yield _row("prediction", prediction)
    attackable = sum(subject.attackable)
    yield _row(
        "radius",
        (radius_words(certificate.radius, attackable, certificate.n), "bold"),
        f" of the {subject.domain} text may change and the answer stays"
        f" ({_percent(1 - certificate.settings.alpha)} confidence)",
    )
    yield _row("", *_assumes(certificate))
    for threat, radius in certificate.proved.items():
        size = len(certificate.overlaps[threat].masked)
        yield _row(
            "proved" if threat == "word" else "",
            (radius_words(radius, size, certificate.n), "bold"),
            f" swapped for {THREATS[threat]}, no assumption",
        )
    if why := gap(certificate):
        yield _row("why", why)


def _assumes(certificate: Certificate) -> tuple[str, ...]:
    names = certificate.assumptions
    return (f"assuming {', '.join(names)} (below)",) if names else ("no assumption",)


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _votes_table(certificate: Certificate) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("votes", "predict", "certify", "share", "bound"):
        table.add_column(column, justify="left" if column == "votes" else "right", header_style="dim")
    selection, estimation, bounds = certificate.selection, certificate.estimation, certificate.bounds
    for label in dict.fromkeys([*selection.counts, *estimation.counts]):
        count = estimation.counts.get(label, 0)
        share = f"{count / estimation.kept:.3f}" if estimation.kept else "–"
        bound = "–"
        if bounds is not None and estimation.kept:
            is_winner = label == bounds.winner
            bound = f"≥ {float(bounds.low):.3f}" if is_winner else f"≤ {float(bounds.high.get(label, 1)):.3f}"
        table.add_row(safe(label, 40), str(selection.counts.get(label, 0)), str(count), share, bound)
    for name, attribute in ((UNPARSED.lower(), "unparsed"), ("dropped", "dropped")):
        row = (getattr(selection, attribute), getattr(estimation, attribute))
        if any(row):
            table.add_row(f"({name})", *map(str, row), "", "")
    return table


def _details(certificate: Certificate, cost: Cost) -> Iterable[Text]:
    settings, total = certificate.settings, cost.total
    for name in certificate.assumptions:
        yield _row(name, ASSUMPTIONS[name])
    for note in certificate.notes:
        yield _row("note", (note, "yellow"))
    base = settings.base
    where = f" at {base.base_url}" if base.base_url else ""
    reader = f", read by {base.reader}" if base.reader else ""
    asked = f"{' + '.join(base.models)}{where}, task {base.task or '–'} ({base.question}){reader}"
    yield _row("classifier", safe(asked))
    yield _row(
        "method",
        f"{settings.method}: {_noise(certificate)}, "
        f"recovery {settings.recovery}, clustering {settings.clustering}, threshold {settings.threshold}, "
        f"alpha {settings.alpha:g}, gamma {settings.gamma:g}",
    )
    if certificate.answers:
        yield _row("answers", str(certificate.answers))
    yield from _sampler(certificate)
    seconds = sum(cost.seconds.values())
    slowest = sorted(cost.seconds.items(), key=lambda item: -item[1])
    spent = ", ".join(f"{work} {took:.1f}" for work, took in slowest if took >= 0.05)
    yield _row(
        "cost",
        f"{total.calls} calls for {cost.samples} samples, {total.input} tokens in ({total.cached} cached), "
        f"{total.output} out, {seconds:.1f} s ({spent}), "
        + ("noise from a secret key" if settings.seed is None else f"seed {settings.seed}"),
    )


def _sampler(certificate: Certificate) -> Iterable[Text]:
    """The proof is about g; what is deployed is a sample of it."""
    name = "sampler"
    for threat, radius in certificate.proved.items():
        here = certificate.agreement(threat, 0)
        if radius is not None and here is not None:
            edge = certificate.agreement(threat, radius.words) or 0.0
            # Rounded down: lower bounds.
            at, far = (f"{floor(100 * p) / 100:.2f}" for p in (here, edge))
            yield _row(
                name,
                f"predict answers so with probability ≥ {at} on this text, ≥ {far} after {radius.words} words "
                f"swapped for {THREATS[threat]}; else it mostly abstains",
            )
            name = ""


def _noise(certificate: Certificate) -> str:
    settings, kernel = certificate.settings, certificate.settings.perturbation
    if kernel is not None:
        return f"{kernel.kind} of {float(kernel.q):g} % of the characters"
    return f"mask rate {float(settings.mask_rate):g} (retains {certificate.s} of {certificate.n})"


def _samples(samples: Iterable[Sample], limit: int) -> Iterable[Text]:
    for kept in (True, False):
        rows = [sample for sample in samples if sample.kept == kept][:limit]
        for sample in rows:
            yield _row("kept" if kept else "dropped", safe(sample.text), (f"  {sample.vote or ''}", "dim"))
