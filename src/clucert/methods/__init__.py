"""Methods are configurations of one core: recovery, clustering and refine, named in YAML files to copy and change."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from clucert.border import read_text, yaml_fields
from clucert.config import FlagOptions, MethodOptions
from clucert.core.noise.characters import parse_q
from clucert.core.noise.retention import parse_mask_rate
from clucert.core.thresholds import Flag
from clucert.errors import InputError, UnknownNameError, UsageError
from clucert.methods.exact import ExactMethod
from clucert.models.trained import SUFFIX, read_header
from clucert.section import checked

CHARACTERS = ("perturbation", "q")
"""Options of the recovery ``characters`` (SmoothLLM), which masks nothing: ``mask_rate`` is 0 there."""


class Method(MethodOptions, FlagOptions):
    """One method. The fields of ``tasks`` override the others for the task of that name."""

    name: str
    description: str = ""
    lexicon: str = "default"
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tuned: dict[str, Any] | None = None
    """What the values were chosen on, as `clucert tune` writes it; None once one of them is changed."""

    @field_validator("mask_rate")
    @classmethod
    def _exact(cls, value: str) -> str:
        if value != "0":
            parse_mask_rate(value)
        return value

    @field_validator("q")
    @classmethod
    def _percent(cls, value: str | None) -> str | None:
        if value is not None:
            parse_q(value)
        return value

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.retained_kernel != "keep" and self.lexicon != "classes":
            raise ValueError(f"retained_kernel: {self.retained_kernel} needs closed classes: set  lexicon: classes")
        return self

    @model_validator(mode="after")
    def _characters(self) -> Self:
        if self.recovery != "characters":
            if any(getattr(self, name) is not None for name in CHARACTERS):
                raise ValueError(f"{' and '.join(CHARACTERS)} go with  recovery: characters  (method smoothllm)")
            if self.mask_rate == "0":
                raise ValueError("mask_rate 0 masks nothing: give a number above 0 and below 1")
        elif any(getattr(self, name) is None for name in CHARACTERS) or self.mask_rate != "0":
            raise ValueError(
                f'recovery: characters needs {", ".join(CHARACTERS)} and mask_rate: "0"; start from smoothllm'
            )
        elif self.retained_kernel == "redraw" or self.recoveries > 1:
            raise ValueError("recovery: characters has no masked words to redraw or to recover more than once")
        return self

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if self.recovery == "deletion" and self.keep is None:
            raise ValueError(
                "recovery: deletion needs  keep: each  or a number: an attacker changes what a share is of"
            )
        if self.keep is None:
            return self
        if self.recovery != "deletion" and (self.recovery, self.keep) != ("ellipsis", "each"):
            raise ValueError(f"keep: {self.keep} does not go with  recovery: {self.recovery}; start from deletion")
        if isinstance(self.keep, int) and self.keep < 1:
            raise ValueError("keep: give 1 or more tokens")
        plain = (self.clustering, self.refine, self.retained_kernel, self.recoveries) == ("none", "off", "keep", 1)
        if not plain or self.threshold is not None:
            raise ValueError(
                f"recovery: {self.recovery} keeps or drops tokens, and every sample votes: "
                "no clustering, threshold, refine, retained_kernel or recoveries"
            )
        return self

    @model_validator(mode="after")
    def _confident(self) -> Self:
        if self.min_confidence is None:
            return self
        if self.clustering != "none" or self.threshold is not None:
            raise ValueError("min_confidence is a filter of its own: add  clustering: none  (--clustering none)")
        if self.flag or self.recovery == "characters":
            raise ValueError("min_confidence goes with a majority and its radii: no flag, and no recovery: characters")
        return self

    def flags(self, labels: tuple[str, ...] | None) -> Flag | None:
        """When a text is flagged. Raises :class:`InputError` for labels that the task does not have."""
        if not self.flag:
            if self.flag_threshold is not None:
                example = labels[0] if labels else "harmful"
                raise InputError(f"a flag threshold needs the labels that flag a text, for example  --flag {example}")
            return None
        return Flag.of(self.flag, labels, share=self.flag_threshold)

    def for_task(self, task: str, **overrides: Any) -> Method:
        """The method with what was chosen for ``task``, then with ``overrides`` that are not None."""
        given = {name: value for name, value in overrides.items() if value is not None}
        if any(getattr(self, name) != value for name, value in given.items()):
            given["tuned"] = None
        return checked(type(self), {**self.model_dump(), **self.tasks.get(task, {}), **given}, f"method {self.name!r}")


def method_names() -> tuple[str, ...]:
    """Names of the packaged methods."""
    folder = resources.files(__name__)
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_method(name_or_path: str) -> Method:
    """A packaged method by name, a YAML file of the same form by path, or the one that a trained classifier brings.

    Raises :class:`UnknownNameError` for a name that is neither, :class:`InputError` for a malformed file, and
    :class:`UsageError` for a method that asks a fixed family of sub-texts (:func:`load_exact`).
    """
    method = load_any(name_or_path)
    if isinstance(method, ExactMethod):
        raise UsageError(
            f"{name_or_path} asks a fixed family of sub-texts and draws no samples: it certifies texts (clucert "
            "certify, SmoothedClassifier.prove) and data sets (clucert evaluate), and nothing else takes it"
        )
    return method


def load_exact(name_or_path: str) -> ExactMethod | None:
    """The method if it asks a fixed family of sub-texts, None if it samples. Raises like :func:`load_method`."""
    method = load_any(name_or_path)
    return method if isinstance(method, ExactMethod) else None


def load_any(name_or_path: str) -> Method | ExactMethod:
    """The method, of whichever kind. Raises like :func:`load_method`, but for no kind of method."""
    return _packaged(name_or_path) if name_or_path in method_names() else _read(name_or_path)


@lru_cache(maxsize=64)
def _packaged(name: str) -> Method | ExactMethod:
    """A method is frozen, and its file is part of the program: it is read once."""
    return _read(name)


def _read(name_or_path: str) -> Method | ExactMethod:
    fields = _fields(name_or_path)
    origin, named = f"method {name_or_path}", {"name": Path(name_or_path).stem, **fields}
    if "family" not in fields:
        return checked(Method, named, origin)
    return checked(ExactMethod, named, origin).check_file(fields, origin)


def proves(method: Method | ExactMethod) -> dict[str, Any]:
    """What certificates of ``method`` can prove if the votes allow it: the threats, in words, and whether exactly."""
    # A help page needs none of these, nor numpy.
    from clucert.core.noise.deletion import THREATS
    from clucert.core.noise.ellipsis import CollapsedMask
    from clucert.core.threats import BLIND

    if isinstance(method, ExactMethod):
        threats = method.noise().threats
        return {"proves": list(threats), "exact": True, "in_words": f"{_changes(threats)}; exactly"}
    proved: tuple[str, ...] = ("synonym",)
    if method.keep is not None:
        proved = CollapsedMask.threats if method.recovery == "ellipsis" else THREATS
        said = _changes(proved, ("replace", "insert", "delete", "move"))
    elif method.recovery == "characters":
        return {"proves": [], "exact": False, "in_words": "nothing: a baseline that votes"}
    elif method.recovery in BLIND:
        proved = ("word", "synonym")
        more = " and any number of synonyms of closed classes" if method.retained_kernel != "keep" else ""
        said = f"words replaced{more}"
    elif method.retained_kernel != "keep":
        said = "any number of synonyms of closed classes"
    else:
        return {
            "proves": ["synonym"],
            "exact": False,
            "in_words": "few swaps of synonyms; the published radius rests on assumptions",
        }
    return {"proves": list(proved), "exact": False, "in_words": f"{said}; at level 1 − α"}


_DONE = {
    "replace": "replaced",
    "word": "replaced",
    "insert": "inserted",
    "delete": "deleted",
    "move": "moved",
    "append": "added at the ends",
    "suffix": "appended",
    "ends": "before and behind, any number",
    "block": "inserted as blocks of any length",
}


def _changes(threats: Sequence[str], mixed: Sequence[str] = ("replace", "insert", "delete")) -> str:
    """``mixed`` are those that "edit" is any mix of."""
    held = {*threats, *(mixed if "edit" in threats else ())}
    said = ", ".join(dict.fromkeys(said for threat, said in _DONE.items() if threat in held))
    return f"words {said}{', in any mix' if 'edit' in threats else ''}"


def _fields(name_or_path: str) -> dict[str, Any]:
    if name_or_path.endswith(SUFFIX):
        return read_header(name_or_path).method
    if name_or_path.endswith((".yaml", ".yml")):
        return yaml_fields(read_text(Path(name_or_path)), name_or_path).values
    if name_or_path not in method_names():
        raise UnknownNameError("method", name_or_path, method_names())
    source = (resources.files(__name__) / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    return yaml_fields(source, name_or_path).values
