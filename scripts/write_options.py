"""Write ``src/clucert/options.py``: the keyword arguments of the Python functions, typed, from the sections' options.

``python scripts/write_options.py`` after an option was changed; a test holds the file against the sections.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from clucert.cache.location import CacheField
from clucert.config import Config, Form, Forms, LabelGroups, Names, Text
from clucert.evaluate.runconfig import StudyConfig
from clucert.methods import load_exact, method_names
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

FormName = {forms}
"""Canonical forms."""

ExactName = {exact}
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

KINDS: dict[str, tuple[str, type[Section], frozenset[str]]] = {
    "ProveOptions": ("Of an exact certificate, beside its ``method``.", ExactConfig, frozenset({"method"})),
    "CertifyOptions": ("Of a certificate: the fields of :class:`clucert.config.Config`.", Config, frozenset()),
    "SmoothOptions": (
        "Of a smoothed classifier of one's own: all but the model.",
        Config,
        frozenset({"model", "labels"}),
    ),
    "AnyMethodOptions": (
        "Of a classifier of one's own, by a method of either kind.",
        ExactConfig,
        frozenset({"model", "labels"}),
    ),
    "StudyOptions": (
        "Of a study: the fields of :class:`clucert.evaluate.runconfig.StudyConfig`.",
        StudyConfig,
        frozenset({"data"}),
    ),
}
"""What it is about, the configuration, and which of its options are left out."""

SHARED: dict[str, tuple[str, frozenset[str]]] = {
    "_Asked": ("Who is asked, and for which labels.", frozenset(KINDS) - {"SmoothOptions", "AnyMethodOptions"}),
    "_Method": ("Of functions that choose by it whether to sample.", frozenset(KINDS) - {"ProveOptions"}),
    "_Common": ("Of all functions.", frozenset(KINDS)),
    "_Exact": ("Of exact methods.", frozenset({"ProveOptions", "AnyMethodOptions", "StudyOptions"})),
}
"""Classes of the options that just these kinds have, which inherit them."""


def written(kind: Any) -> str:  # noqa: PLR0911 - a case of each kind
    """``kind`` as a reader and a type checker want it."""
    if (known := next((text for annotation, text in KNOWN if kind == annotation), None)) is not None:
        return known
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(part for a in arguments for part in written(a).split(" | ")))
    if origin is Annotated:
        return written(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin is list:
        return f"Sequence[{written(arguments[0])}]"
    if origin is dict:
        return f"Mapping[{written(arguments[0])}, {written(arguments[1])}]"
    if kind is Path:
        return "str | Path"
    return "None" if kind is type(None) else str(kind.__name__)


def _literal(values: Iterable[str]) -> str:
    return f"Literal[{', '.join(map(repr, values))}]".replace("'", '"')


def fields(config: type[Section]) -> dict[str, str]:
    """The options of ``config`` as lines of a class, with their help."""
    lines = {}
    for section in sections(config):
        # As they are written in the section: their validators are the key of KNOWN.
        kinds = get_type_hints(section, include_extras=True)
        for name, (field, _) in options_of(section).items():
            shown = "Model" if name == "model" else written(kinds[name])
            said = " ".join((field.description or "").split()).replace('"', "'")
            told = textwrap.wrap(f'"""{said}"""', 116, initial_indent="    ", subsequent_indent="    ")
            lines[name] = "\n".join([f"    {name}: {shown}", *told])
    return lines


def _class(name: str, bases: Iterable[str], text: str, lines: Iterable[str]) -> str:
    body = "\n".join(lines)
    return f'class {name}({", ".join(bases)}, total=False):\n    """{text}"""\n\n{body}\n'


def made() -> str:
    """The file. What several kinds have is written once, and inherited."""
    known = fields(StudyConfig)
    have = {kind: fields(config).keys() - without for kind, (_, config, without) in KINDS.items()}
    owners = {name: frozenset(kind for kind in KINDS if name in have[kind]) for name in known}

    def of(kinds: frozenset[str]) -> Iterable[str]:
        return (lines for name, lines in known.items() if owners[name] == kinds)

    classes = [_class(name, ["TypedDict"], text, of(kinds)) for name, (text, kinds) in SHARED.items()]
    for kind, (text, _, _) in KINDS.items():
        bases = [name for name, (_, kinds) in SHARED.items() if kind in kinds]
        classes.append(_class(kind, bases, text, of(frozenset({kind}))))
    exact = _literal(name for name in method_names() if load_exact(name))
    return "\n\n".join([HEAD.format(forms=written(Form), exact=exact), *classes])


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
