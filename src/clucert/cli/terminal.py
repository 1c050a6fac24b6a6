"""What commands print on: everything passes :mod:`clucert.visible` on its way out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from clucert.visible import harmless_json, replaced, visible

if TYPE_CHECKING:
    from rich.console import Console


def echo(text: str = "", *, err: bool = False, bold: bool = False) -> None:
    """Print ``text`` and a line break, with ``err`` on standard error."""
    shown = visible(text, lines=True)
    click.echo(click.style(shown, bold=True) if bold else shown, err=err)


def echo_json(document: Any, **options: Any) -> None:
    """Print ``document`` as JSON."""
    click.echo(harmless_json(document, **options))


def console(*, err: bool = False) -> Console:
    """Standard output, or with ``err`` standard error, for styled text.

    What was not made visible before loses its control characters here.
    """
    from rich.console import Console
    from rich.text import Text

    class Harmless(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*map(_cleaned, objects), **options)

    def _cleaned(shown: Any) -> Any:
        if isinstance(shown, str):
            return replaced(shown)
        if isinstance(shown, Text) and not shown.plain.isprintable():
            shown = shown.copy()
            shown.plain = replaced(shown.plain)
        return shown

    stream = sys.stderr if err else sys.stdout
    return Harmless(highlight=False, soft_wrap=not stream.isatty(), stderr=err)
