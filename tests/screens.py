"""What is printed, as text."""

from __future__ import annotations

from rich.console import Console

from clucert.certification import Certification
from clucert.render import print_certified


def verbose(made: Certification) -> str:
    """What ``clucert certify -v`` prints of it."""
    console = Console(width=120, highlight=False, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        print_certified(console, made.certificate, made.cost)
    return captured.get()
