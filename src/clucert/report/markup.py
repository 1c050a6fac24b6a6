"""The page's templates: every string of a run is escaped, and shows what is invisible in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clucert.render import safe

if TYPE_CHECKING:
    from jinja2 import Environment


def text(value: object) -> str:
    """``value`` for people, in one line: control, direction-changing and surrogate characters made visible."""
    string = str(value)
    return safe(string, max(len(string), 1)).plain


def environment() -> Environment:
    """Templates of ``page/``. What they insert is escaped, unless it is a :class:`markupsafe.Markup`.

    Markup is made of files of this package, and of what a library escaped: never of a run's strings. A name that is
    not defined raises; None is left out.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("clucert.report", "page"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: object) -> object:
    if hasattr(value, "__html__"):
        return value
    return "" if value is None else text(value)
