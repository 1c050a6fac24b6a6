"""Options, each written once: a field of a section. Flags, help, YAML keys, printed configurations, manifests and what
two runs may differ in derive from it.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from clucert.errors import InputError, UnknownNameError, UsageError
from clucert.redact import redact


class Section(BaseModel):
    """Options that belong together: a group of the help, called by the ``title``. A configuration inherits them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    may_differ: ClassVar[bool] = False
    """Whether a run may go on with another value, or what the value comes to is compared in another form."""
    users_own: ClassVar[bool] = False
    """Whether a manifest, which may come from anybody, records the value and never decides it."""

    def __init_subclass__(cls, *, may_differ: bool = False, users_own: bool = False, **config: Any) -> None:
        super().__init_subclass__(**config)
        cls.may_differ, cls.users_own = may_differ, users_own

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Checked values. Raises :class:`UsageError`, one line, for the first that is wrong."""
        refuse_unknown(fields, cls.model_fields)
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            name, what = problem(error)
            raise UsageError(f"{flag(name)}: {what}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Hint:
    """What the type and the default of an option do not say."""

    unset: str = ""
    """What the help shows as the default where that is None."""
    also: str = ""
    """Another name of the flag, which means the same whatever else is given."""
    off: str = ""
    """The flag for False, where it is not ``--no-NAME``."""
    commas: bool = False
    """Whether a list is written with commas; otherwise its flag is repeated."""
    may_differ: bool | None = None
    """In place of the section's."""
    users_own: bool | None = None


def flag(name: str) -> str:
    """How an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


def option(default: Any, text: str, **more: Any) -> Any:
    """A field with the help ``text`` and a flag; ``more`` are fields of :class:`Hint`, and limits as pydantic's."""
    hint = Hint(**{f.name: more.pop(f.name) for f in dataclasses.fields(Hint) if f.name in more})
    return Field(default, description=text, json_schema_extra={"hint": hint}, **more)  # type: ignore[dict-item]


def options_of(model: type[BaseModel]) -> dict[str, tuple[FieldInfo, Hint]]:
    """The fields of ``model`` that are options."""
    found: dict[str, tuple[FieldInfo, Hint]] = {}
    for name, field in model.model_fields.items():
        extra: Any = field.json_schema_extra
        if isinstance(extra, dict) and "hint" in extra:
            found[name] = field, extra["hint"]
    return found


def parts_of(written: str) -> list[str]:
    """The parts of a list that is written with commas; between double quotes a comma is one of the text."""
    if written.count('"') % 2:
        return [part.strip() for part in written.split(",")]
    parts = [""]
    for i, piece in enumerate(written.split('"')):
        first, *more = [piece] if i % 2 else piece.split(",")
        parts[-1] += first
        parts += more
    return [part.strip() for part in parts]


M = TypeVar("M", bound=BaseModel)
S = TypeVar("S", bound=Section)


def changes_of(model: type[BaseModel]) -> Callable[[type[S]], type[S]]:
    """Fill an empty section with the options of ``model``: each is None where ``model`` is to keep its own value."""

    def filled(section: type[S]) -> type[S]:
        fields: dict[str, Any] = {}
        for name, (field, hint) in options_of(model).items():
            kind: Any = field.annotation
            if field.metadata:
                kind = operator.getitem(Annotated, (kind, *field.metadata))
            fields[name] = kind | None, option(None, field.description or "", **dataclasses.asdict(hint))
        marks = {"may_differ": section.may_differ, "users_own": section.users_own}
        kept: Any = {"__cls_kwargs__": {"title": section.model_config["title"], **marks}}
        kept |= {"__doc__": section.__doc__, "__module__": section.__module__}
        return cast("type[S]", create_model(section.__name__, __base__=Section, **kept, **fields))

    return filled


def sections(config: type[Section]) -> Iterator[type[Section]]:
    """What ``config`` consists of, in the order of its fields."""
    return (base for base in reversed(config.__mro__) if base.__bases__ == (Section,))


def marked(config: type[Section], mark: str) -> frozenset[str]:
    """The options of ``config`` that are ``may_differ`` or ``users_own``."""
    found = {
        name: getattr(section, mark) if getattr(hint, mark) is None else getattr(hint, mark)
        for section in sections(config)
        for name, (_, hint) in options_of(section).items()
    }
    return frozenset(name for name, is_so in found.items() if is_so)


def shared(kind: type, *sources: object) -> dict[str, Any]:
    """The fields of the dataclass ``kind`` that ``sources`` have by the same names; of several, the last one's."""
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: getattr(source, name) for source in sources for name in names if hasattr(source, name)}


def nearest(name: str, known: Iterable[str]) -> str:
    """What else ``name`` may be: the nearest of the ``known`` ones, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name.replace("-", "_"), names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"


def refuse_unknown(given: Iterable[str], known: Collection[str], offered: Iterable[str] | None = None) -> None:
    """Raise :class:`UsageError` for an option that is not ``known``, with the nearest of those that are ``offered``
    (None: of the known ones).
    """
    if unknown := next((name for name in given if name not in known), None):
        raise UsageError(f"unknown option {unknown!r}: {nearest(unknown, known if offered is None else offered)}")


def problem(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong, "" for all together, and what is wrong: with the known values, if they are few."""
    first = error.errors()[0]
    name, value = str(next(iter(first["loc"]), "")), first.get("input")
    if first["type"] == "literal_error" and isinstance(value, str):
        return name, str(UnknownNameError("value", value, re.findall(r"'([^']+)'", first["ctx"]["expected"])))
    message = first["msg"].removeprefix("Value error, ")
    return name, f"{message} (got {redact(repr(value), limit=80)})" if name else message


def checked(model: type[M], fields: Mapping[str, Any], origin: str) -> M:
    """A model of ``fields``. Raises :class:`InputError`, one line, for the first that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        name, what = problem(error)
        raise InputError(f"{origin}: {name or 'value'}: {what}") from None


def _written(annotation: Any) -> Any:
    """As it stands in the source."""
    return getattr(annotation, "__forward_arg__", annotation)


F = TypeVar("F", bound=Callable[..., Any])


def spelled_out(
    options: type, config: type[Section] | None = None, changed: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Name every key of the TypedDict ``options`` in the signature of a function that takes them as keywords.

    Type checkers read ``Unpack``; consoles and notebooks complete by the signature, and show what it says: the defaults
    of ``config``, or those that the function has ``changed``.
    """
    known = {
        name: field.get_default(call_default_factory=True) for name, field in (config or Section).model_fields.items()
    }
    known |= changed or {}

    def named(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        taken = {p.name for p in own}
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=known.get(name, ...), annotation=_written(kind)
            )
            for name, kind in options.__annotations__.items()
            if name not in taken
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return named
