"""Options of the command line. Those of a configuration are made from its sections: none is named here."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from clucert.errors import UnknownNameError, UsageError
from clucert.section import Hint, Section, flag, options_of, parts_of, sections

F = TypeVar("F", bound=Callable[..., Any])
Kind = type[Section]


_TEXT = re.compile(r"-{1,2}(?![A-Za-z-])(?=.)", re.DOTALL)
"""No option begins so: a negative number, a bullet."""


class Command(click.Command):
    """A command whose help shows its options in groups, and whose arguments may begin with a minus."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take ``-5 degrees`` for the text that it is, unless an option wants it for its value."""
        valued = {
            name
            for param in self.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        options: list[str] = []
        texts: list[str] = []
        left = iter(args)
        for arg in left:
            if arg == "--":
                texts += left
            elif _TEXT.match(arg):
                texts.append(arg)
            else:
                options.append(arg)
                options += itertools.islice(left, int(arg in valued))
        return super().parse_args(ctx, [*options, "--", *texts] if texts else options)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then one group for each section."""
        groups: dict[str, list[tuple[str, str]]] = {}
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for option in sorted(options, key=lambda option: isinstance(option, Option)):
            if record := option.get_help_record(ctx):
                groups.setdefault(getattr(option, "group", "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Option(click.Option):
    """An option of a group of the help."""

    def __init__(self, *names: Any, group: str, **more: Any) -> None:
        super().__init__(*names, **more)
        self.group = group


HELP_WIDTH = 72
"""Characters of a flag with its values on one line of the help."""


class Choice(click.Choice):  # type: ignore[type-arg]  # click 8.1 has no parameter for it
    """One of a few values; another one is met with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raise :class:`UsageError` for what is none of them."""
        if value not in self.choices:
            raise UsageError(f"{param.opts[0] if param else ''}: {UnknownNameError('value', value, self.choices)}")
        return value


class Commas(click.ParamType):  # type: ignore[type-arg]
    """A list that is written with commas."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Its parts; one with a comma stands in double quotes."""
        return parts_of(value) if isinstance(value, str) else value


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


def options(section: Kind, *only: str, **defaults: Any) -> Callable[[F], F]:
    """Add the options of ``section``, or ``only`` these of it, with other ``defaults`` where a command has its own."""

    def added(command: F) -> F:
        found = options_of(section)
        for name in reversed(only or tuple(found)):
            for option in _flags(section, name, *found[name], defaults.get(name)):
                command = option(command)
        return command

    return added


def config_options(config: Kind, without: tuple[Kind, ...] = ()) -> Callable[[F], F]:
    """Add the options of every section of ``config``, some left out, to a command."""

    def added(command: F) -> F:
        for section in reversed([section for section in sections(config) if section not in without]):
            command = options(section)(command)
        return command

    return added


def _flags(section: Kind, name: str, field: FieldInfo, hint: Hint, default: Any) -> Iterator[Callable[[F], F]]:
    """The flag of an option, and ``--no-NAME`` where False is among its values. Not given is None, or ``default``."""
    kinds = _kinds(field.annotation)
    shown = hint.unset or _shown(field.get_default(call_default_factory=True) if default is None else default)
    text = f"{field.description}{f'  [{shown}]' if shown else ''}"
    written, group = flag(name), str(section.model_config["title"])
    more: dict[str, Any] = {"default": default, "help": text, "cls": Option, "group": group}
    if False in kinds:
        yield click.option(
            f"--no-{written[2:]}", is_flag=True, default=None, help=f"Without a {name}.", cls=Option, group=group
        )
    if kinds == [bool] and (hint.off or field.default is not False):
        written += f"/{hint.off or f'--no-{written[2:]}'}"
    elif kinds == [bool]:
        more["is_flag"] = True
    elif all(isinstance(kind, str) for kind in kinds):
        more["type"] = Choice(kinds)
        if len(written) + sum(len(kind) + 1 for kind in kinds) > HELP_WIDTH:
            more["metavar"] = "NAME"
            more["help"] = f"{more['help']}  One of {', '.join(kinds)}."
    elif hint.commas:
        more["type"] = Commas()
    elif kinds[0] in (list, dict, tuple):
        more["multiple"] = True
    elif kinds == [Path]:
        more["type"] = click.Path(path_type=Path)
    else:
        more["type"] = kinds[0] if kinds in ([int], [float]) else str
    if hint.also:
        yield click.option(hint.also, **{**more, "help": f"The same as {written}, whatever else is given."})
    if kinds == [dict]:
        more["callback"] = lambda _ctx, _param, pairs: pairs_of(written, pairs) if pairs else None
    yield click.option(written, **more)


def _kinds(annotation: Any) -> list[Any]:
    """What a value may be: the types of a union, the values of a Literal. None is left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return [kind for argument in arguments for kind in _kinds(argument)]
    if origin is Annotated:
        return _kinds(arguments[0])
    if origin is Literal:
        return list(arguments)
    return [] if annotation is NoneType else [origin or annotation]


def _shown(default: Any) -> str:
    if isinstance(default, bool) or default is None:
        return ""
    if isinstance(default, list | tuple | dict):
        return ", ".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def given_flags(flags: dict[str, Any], *, flagged: bool = False) -> dict[str, Any]:
    """The flags that were given, as fields of the configuration.

    Beside ``--flag``, and where texts are ``flagged`` without it, ``--threshold`` is η; τ is ``--similarity`` then.
    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if (flagged or "flag" in given) and "threshold" in given:
        if "flag_threshold" in given:
            raise UsageError("--threshold is --flag-threshold beside --flag: give one of them (τ is --similarity)")
        given["flag_threshold"] = given.pop("threshold")
    if "similarity" in given:
        given["threshold"] = given.pop("similarity")
    for name in [name for name in given if name.startswith("no_")]:
        if given.pop(name):
            given[name.removeprefix("no_")] = False
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def pairs_of(written: str, values: Sequence[str]) -> dict[str, str]:
    """Read ``0=ham,1=spam``. Raises :class:`UsageError` for what is no mapping, or maps one thing twice."""
    found: dict[str, str] = {}
    for pair in (pair for value in values for pair in parts_of(value)):
        key, equals, label = (part.strip() for part in pair.partition("="))
        if not (equals and key and label):
            raise UsageError(f"{written}: {pair!r} is not WRITTEN=LABEL: write it like 0=ham,1=spam")
        if found.setdefault(key, label) != label:
            raise UsageError(f"{written}: {key!r} cannot be both {found[key]!r} and {label!r}")
    return found
