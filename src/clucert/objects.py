"""Keyword arguments of which ``model`` may be an object of Python, as a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from clucert.config import Config
from clucert.errors import UsageError
from clucert.models.functions import function_model
from clucert.section import refuse_unknown

C = TypeVar("C", bound=Config)


def config_of(kind: type[C], options: Mapping[str, Any], also: Iterable[str] = (), *, flagged: bool = False) -> C:
    """The configuration of keyword arguments, of which ``model`` may be an object, or hold some.

    Raises :class:`UsageError` for an unknown one, with the nearest known ones; ``also`` are those that the function has
    besides. Where texts are ``flagged`` without ``flag``, too, ``threshold`` is η.
    """
    fields = dict(options)
    refuse_unknown(fields, kind.model_fields, {*kind.model_fields, *also})
    if (flagged or fields.get("flag")) and "threshold" in fields and "flag_threshold" not in fields:
        fields["flag_threshold"] = fields.pop("threshold")  # As the flags: beside --flag, --threshold is η.
    names, given = models_of(fields.get("model"), deterministic=fields.get("deterministic"))
    if given:
        fields["model"] = names
        if len(given) == len(names) and all(getattr(model, "declared", False) for model in given.values()):
            fields["deterministic"] = True  # Said by the functions themselves: what runs record, and reports repeat.
    config = kind.of(**fields)
    return config.giving(given) if given else config


def models_of(model: object, *, deterministic: bool | None) -> tuple[list[str], dict[str, Any]]:
    """The names of models, and the objects among them by theirs."""
    each = list(model) if isinstance(model, list | tuple) else [model]
    names: list[str] = []
    given: dict[str, Any] = {}
    for one in each:
        if isinstance(one, str) or one is None:
            names.append(one or "")
            continue
        name = str(getattr(one, "name", None) or getattr(one, "__name__", None) or type(one).__name__)
        if name in given:
            raise UsageError(f"two models are called {name!r}: give functions of different names")
        given[name] = function_model(one, name, deterministic=deterministic)
        names.append(name)
    return names, given
