"""The page's templates: every string of a run is escaped, and shows what is invisible in it."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

from clucert.visible import visible

if TYPE_CHECKING:
    from jinja2 import Environment


def text(value: object) -> str:
    """``value`` for people, in one line: control, direction-changing and surrogate characters made visible."""
    return visible(str(value))


def packaged(name: str) -> str:
    """A file of ``page/``."""
    return (resources.files("clucert.report") / "page" / name).read_text(encoding="utf-8").strip()


def environment() -> Environment:
    """Templates of ``page/``. What they insert is escaped, but for charts and :class:`markupsafe.Markup`.

    A chart is an element that the XML library writes and escapes; Markup is made of files of this package, never of a
    run's strings. A name that is not defined raises; None is left out.
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
    from markupsafe import Markup

    if isinstance(value, Element):
        return Markup(tostring(value, encoding="unicode"))  # noqa: S704
    if isinstance(value, Markup):
        return value
    return "" if value is None else text(value)
