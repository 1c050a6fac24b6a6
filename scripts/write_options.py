"""Write ``src/clucert/options.py``: the keyword arguments of the Python functions, typed, from the sections' options.

``python scripts/write_options.py`` after an option was changed; a test holds the file against the sections.
"""

from __future__ import annotations

import textwrap
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

from clucert.cache.location import CacheField
from clucert.config import Config, Forms, LabelGroups, Names, Text
from clucert.evaluate.runconfig import StudyConfig
from clucert.methods.exact import ExactConfig
from clucert.section import Section, options_of, sections

FILE = Path(__file__).parents[1] / "src/clucert/options.py"

HEAD = '''"""The keyword arguments of the Python functions. By scripts/write_options.py from the sections' options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict


class Predicts(Protocol):
    """A classifier with scikit-learn's methods."""

    def predict(self, X: Any, /) -> Any:  # noqa: N803
        """A label for each text."""
        ...


Model = str | Sequence[str] | Callable[..., Any] | Predicts
"""A model's name, several that vote, or an object: a function of a text or of a list, an estimator, a pipeline."""

FormName = Literal["characters", "spelling", "synonyms"]
"""Canonical forms."""

ExactName = Literal["blocks", "groups", "chunks", "windows", "erase-and-check"]
"""The packaged methods that prove exactly, with few questions."""
'''

KNOWN: list[tuple[Any, str]] = [
    (CacheField, "str | Path | bool | None"),
    (Names, "str | Sequence[str]"),
    (Forms, "FormName | Sequence[FormName]"),
    (LabelGroups, "str | Sequence[str] | Sequence[Sequence[str]]"),
    (Text, "str | float"),
]
"""Annotations that take more than they hold."""


def written(kind: Any) -> str:  # noqa: PLR0911 - a case of each kind
    """``kind`` as a reader and a type checker want it."""
    if (known := next((text for annotation, text in KNOWN if kind == annotation), None)) is not None:
        return known
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(part for a in arguments for part in written(a).split(" | ")))
    if origin is typing.Annotated:
        return written(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]".replace("'", '"')
    if origin is list:
        return f"Sequence[{written(arguments[0])}]"
    if origin is dict:
        return f"Mapping[{written(arguments[0])}, {written(arguments[1])}]"
    if kind is Path:
        return "str | Path"
    return "None" if kind is type(None) else str(kind.__name__)


Literal = typing.Literal


def fields(config: type[Section], without: frozenset[str]) -> str:
    """The options of ``config``, one a line, with their help."""
    lines = []
    for section in sections(config):
        for name, (field, _) in options_of(section).items():
            if name in without:
                continue
            kind: Any = field.annotation
            if field.metadata:
                kind = typing.Annotated[(kind, *field.metadata)]
            shown = "Model" if name == "model" else written(_plain(section, name) or kind)
            lines.append(f"    {name}: {shown}")
            said = " ".join((field.description or "").split()).replace('"', "'")
            lines += textwrap.wrap(f'"""{said}"""', 116, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _plain(section: type[Section], name: str) -> Any:
    """The annotation as it is written in the section, whose validators are the key of :data:`KNOWN`."""
    hints = typing.get_type_hints(section, include_extras=True)
    return hints.get(name)


def made() -> str:
    """The file."""
    parts = [
        ("ProveOptions", "Of an exact certificate, beside its ``method``.", ExactConfig, frozenset({"method"})),
        ("CertifyOptions", "Of a certificate: the fields of :class:`clucert.config.Config`.", Config, frozenset()),
        (
            "SmoothOptions",
            "Of a smoothed classifier of one's own: all but the model.",
            Config,
            frozenset({"model", "labels"}),
        ),
        (
            "StudyOptions",
            "Of a study: the fields of :class:`clucert.evaluate.runconfig.StudyConfig`.",
            StudyConfig,
            frozenset({"data"}),
        ),
    ]
    classes = [
        f'class {name}(TypedDict, total=False):\n    """{text}"""\n\n{fields(config, without)}\n'
        for name, text, config, without in parts
    ]
    return "\n\n".join([HEAD, *classes])


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
