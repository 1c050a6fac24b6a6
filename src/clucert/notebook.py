"""What notebooks show: certificates and runs as small tables, and bars of progress. Texts and labels are escaped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from clucert.core.certificate import Certificate
from clucert.core.exact import ExactCertificate
from clucert.core.words import split
from clucert.text_table import text_table
from clucert.visible import visible

LONGEST = 600
"""Characters of a text that are shown."""
MARK = "text-decoration: underline; text-underline-offset: 3px"
CELL = 'style="text-align: left; vertical-align: top; padding: 2px 14px 2px 0"'
MUTED = 'style="opacity: .65"'

Cells = Sequence[str]
"""Of HTML."""


@contextmanager
def shown_progress(progress: object, unit: str) -> Generator[Callable[[int, int], None] | None]:
    """``(done, total)`` drawn as a bar: with ``progress`` True, or, where it is None, in a notebook that has tqdm."""
    if progress is False or callable(progress) or (progress is None and not in_notebook()):
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    with tqdm(unit=f" {unit}", leave=False) as bar:

        def watch(done: int, total: int) -> None:
            if bar.total != total:
                bar.total = total
            bar.update(done - bar.n)

        yield watch


def in_notebook() -> bool:
    """Whether a kernel runs this, and somebody looks at it."""
    return "ipykernel" in sys.modules


def certificate_html(certificate: Certificate | None, exact: Sequence[ExactCertificate], cost: str) -> str:
    """One text: the answer, the words that noise can change underlined, and by threat what is proved of it."""
    rows: list[Cells] = []
    if certificate is not None:
        rows += _sampled_rows(certificate)
    for each in exact:
        rows += _exact_rows(each)
    answers = [(certificate.settings.method, certificate.prediction)] if certificate is not None else []
    answers += [(each.settings.method, each.prediction) for each in exact]
    text = _marked(certificate) if certificate is not None else _shortened(exact[0].text)
    head = ("threat", "the answer stays under", "method", "how")
    return _card(
        f"<div>{text}</div><div>{_answered(answers)}</div>{table(head, rows)}<div {MUTED}>{escape(cost)}</div>"
    )


def _answered(answers: Sequence[tuple[str, str | None]]) -> str:
    """The answer, and whose it is where they differ."""
    different = list(dict.fromkeys(answer for _, answer in answers))
    parts = []
    for answer in different:
        whose = ", ".join(method for method, given in answers if given == answer)
        said = "abstained" if answer is None else answer
        of = f" <span {MUTED}>({escape(whose)})</span>" if len(different) > 1 else ""
        parts.append(f"<b>{escape(said)}</b>{of}")
    return "; ".join(parts)


def _sampled_rows(certificate: Certificate) -> Iterable[Cells]:
    from clucert.core.explanation import confident, proved_in_words, radius_words

    method = certificate.settings.method
    sampled = f"{certificate.votes.drawn:,} samples, {confident(certificate.settings.alpha)} %"
    for threat, radius in certificate.proved.items():
        said = " ".join(part for part in proved_in_words(certificate, threat, radius) if part)
        yield threat, f"<b>{_count(radius)}</b> <span {MUTED}>{escape(said)}</span>", escape(method), escape(sampled)
    if certificate.radius is not None:
        subject = certificate.subject
        said = radius_words(certificate.radius, sum(subject.attackable), len(subject.words), subject.domain)
        assumed = f"; assumes {', '.join(certificate.assumptions)}" if certificate.assumptions else ""
        yield (
            f"<span {MUTED}>published</span>",
            f"{_count(certificate.radius)} <span {MUTED}>{escape(said)}</span>",
            escape(method),
            escape(sampled + assumed),
        )


def _exact_rows(certificate: ExactCertificate) -> Iterable[Cells]:
    from clucert.core.exact_words import CHANGES, price_in_words

    for threat, radius in certificate.proved.items():
        change = f"{certificate.settings.unit}s {CHANGES.get(threat, threat)}"
        yield (
            escape(threat),
            f"<b>{_count(radius)}</b> <span {MUTED}>{escape(change)}</span>",
            escape(certificate.settings.method),
            escape(price_in_words(certificate)),
        )


def _count(radius: Any) -> str:
    """How many: never more than was proved, and not a 0 where nothing was."""
    if radius is not None and radius.nothing_to_attack:
        return "nothing to change"
    if radius is None or not (radius.words or radius.everything):
        return "nothing"
    if radius.endless:
        return "any number"
    return f"{radius.words}{' (all there are)' if radius.everything else ''}"


def _marked(certificate: Certificate) -> str:
    subject = certificate.subject
    parts = split(subject.noised_text)
    if parts.words != subject.words or len(subject.noised_text) > LONGEST:
        return _shortened(subject.text)
    shown = []
    for before, word, attackable in zip(parts.gaps, parts.words, subject.attackable, strict=False):
        written = escape(visible(word))
        shown.append(escape(visible(before)))
        shown.append(f'<span style="{MARK}">{written}</span>' if attackable else written)
    return "".join(shown) + escape(visible(parts.gaps[-1]))


def _shortened(text: str) -> str:
    return escape(visible(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"))


class Shown:
    """A result that is shown as what it says in a sentence, with a table below where there is the room."""

    __slots__ = ()

    def shown(self) -> tuple[str, Sequence[Mapping[str, object]], Sequence[str]]:
        """The sentence, the rows of the table, and remarks."""
        raise NotImplementedError

    def __str__(self) -> str:
        said, rows, notes = self.shown()
        head = list(rows[0]) if rows else []
        lines = [head, *([visible(_cell(row.get(name))) for name in head] for row in rows)]
        return "\n".join([visible(said), *([text_table(lines)] if rows else []), *map(visible, notes)])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {visible(self.shown()[0])}>"

    def _repr_html_(self) -> str:
        said, rows, notes = self.shown()
        head = list(rows[0]) if rows else []
        body = [[escape(visible(_cell(row.get(name)))) for name in head] for row in rows]
        told = "".join(f"<div {MUTED}>{escape(visible(note))}</div>" for note in notes)
        below = table([escape(name) for name in head], body) if rows else ""
        return _card(f"<div>{escape(visible(said))}</div>{below}{told}")


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """Cells of HTML as a table."""
    titles = "".join(f"<th {CELL}>{title}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td {CELL}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table style="border: 0; margin: 6px 0"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'


def _card(inner: str) -> str:
    return f'<div style="font-family: system-ui, sans-serif; font-size: 13px; max-width: 900px">{inner}</div>'
