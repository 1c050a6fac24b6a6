"""Methods that ask every sub-text of a small fixed family: `family` in the method file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from clucert.config import (
    CertificateSection,
    ChangeSection,
    Config,
    ExactOptions,
    ExactSection,
    ExamplesSection,
    FlagOptions,
    SamplingSection,
)
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.core.settings import Base, Noise
from clucert.core.thresholds import Flag, merged_labels
from clucert.core.thresholds import Groups as LabelGroups
from clucert.errors import InputError, UsageError
from clucert.section import checked, flag, options_of

SAMPLES = (ChangeSection, SamplingSection, CertificateSection, ExamplesSection)
"""What they say, exact methods do not read."""

Family = Literal["blocks", "groups", "chunks", "each", "windows", "erase"]


@dataclass(frozen=True, slots=True)
class _Kind:
    noise: Callable[..., Noise]
    made_of: tuple[str, ...]
    """Fields of a method, in the order of the arguments of ``noise``. What only other families are made of changes
    nothing here, and is refused."""
    also: tuple[str, ...] = ()
    """Other fields that no other family reads."""


KINDS: Mapping[Family, _Kind] = {
    "blocks": _Kind(Blocks, ("count", "kept", "interleaved"), ("counts",)),
    "groups": _Kind(Groups, ("count", "key", "hashes", "kept")),
    "chunks": _Kind(Chunks, ("every", "key", "hashes")),
    "each": _Kind(Each, ()),
    "windows": _Kind(Windows, ("size",)),
    "erase": _Kind(EraseAndCheck, ("suffix",)),
}


class LabelBias(BaseModel):
    """The bias of each label, for sub-texts of at most ``words`` words (None: of any length), and the scale."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    words: int | None = Field(default=None, ge=1)
    of: dict[str, float]
    scale: float = Field(default=1.0, gt=0, le=100)
    """1 / temperature: softmax(scale · (log p − bias)) is sharpened, and added up."""

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a scale that changes nothing: documents of earlier versions stay as they were."""
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if (name, value) != ("scale", 1.0)}


class ExactMethod(ExactOptions, FlagOptions):
    """One such method. The fields of ``tasks`` override the others for the task of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    description: str = ""
    family: Family
    kept: int = Field(default=1, ge=1)
    """s: groups that a sub-text shows."""
    interleaved: bool = False
    """Of `blocks`: every K-th token instead of consecutive ones."""
    key: str = "clucert"
    """Of the hash; fixed before any text is seen, and may be public."""
    bias: tuple[LabelBias, ...] = ()
    """Taken off the log-probability of each label, and a scale, by length of the sub-text; fitted to validation texts
    that are cut in the same way (`clucert tune`). A mapping of labels alone is for every length."""
    counts: tuple[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1, le=500)]], ...] = ()
    """Of `blocks`: K by the number of units, [[20, 3], [60, 5]] for texts of at most 20 and 60; longer ones have
    `count`. Of no other family: where units can be added or removed, one more could regroup all."""
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """By model and task, what was tuned for that model; comes before ``tasks``."""
    tuned: dict[str, Any] | None = None
    """What the values were chosen on, as `clucert tune` writes it; None once one of them is changed."""

    @field_validator("bias", mode="before")
    @classmethod
    def _for_every_length(cls, given: Any) -> Any:
        if isinstance(given, dict):
            given = [{"of": given}] if given else []
        return tuple(given) if isinstance(given, list) else given  # A strict reader takes no list for a tuple.

    @field_validator("bias")
    @classmethod
    def _in_order(cls, given: tuple[LabelBias, ...]) -> tuple[LabelBias, ...]:
        words = [math.inf if bias.words is None else bias.words for bias in given]
        if words and (words != sorted(set(words)) or words[-1] < math.inf):
            raise ValueError("lengths must grow, and the last one has no `words`: it is for all that are longer")
        return given

    @model_validator(mode="after")
    def _flags(self) -> Self:
        self.noise()
        lengths = [most for most, _ in self.counts]
        if self.counts and (self.family != "blocks" or lengths != sorted(set(lengths))):
            raise ValueError("counts: lengths must grow, and only blocks may have them: others could be regrouped")
        self.by_length()
        return self

    def by_length(self) -> tuple[tuple[int | None, Blocks], ...]:
        """The blocks of each length; none where all texts have the same."""
        if not self.counts:
            return ()
        counts: list[tuple[int | None, int]] = [*self.counts, (None, self.count)]
        return tuple((most, Blocks(count, self.kept, self.interleaved)) for most, count in counts)

    def noise(self) -> Noise:
        """The family of sub-texts."""
        kind = KINDS[self.family]
        given = {name: getattr(self, name) for name in kind.made_of}
        return kind.noise(*({**given, "key": self.key.encode()}[name] for name in kind.made_of))

    def unread(self, names: Iterable[str]) -> tuple[str, str] | None:
        """The first of ``names`` that changes nothing in this method, and what it goes with; None where all do."""
        if found := self.of_others(names):
            return found
        for name in names:
            if name in ("scores", "sharpness") and self.flag and self.flag_threshold is None:
                return name, "--threshold where texts are flagged, as --at-least counts votes"
            if name == "sharpness" and self.scores == "hard":
                return name, "--scores auto or soft"
        return None

    def of_others(self, names: Iterable[str]) -> tuple[str, str] | None:
        """The first of ``names`` that other families alone are made of, and their names."""
        for name in names:
            families = _families_of(name)
            if families and self.family not in families:
                return name, readers_of(name)
        return None

    def for_base(self, base: Base, **overrides: Any) -> ExactMethod:
        """The method with what was chosen for the task and the model of ``base``, then ``overrides`` that are not None.

        Raises :class:`InputError` for a field that is wrong, and :class:`UsageError` for an override that would change
        nothing.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        if any(getattr(self, name, None) != value for name, value in given.items()):
            given["tuned"] = None
        tuned = self.models.get(base.models[0], {}).get(base.task, {}) if len(base.models) == 1 else {}
        chosen = {**self.model_dump(), **self.tasks.get(base.task, {}), **tuned, **given, "tasks": {}, "models": {}}
        method = checked(type(self), chosen, f"method {self.name!r}")
        if wrong := method.unread(given):
            name, belongs = wrong
            raise UsageError(f"{_written(name)} goes with {belongs}: {self.name} does not read it, leave it out")
        return method

    def check_file(self, fields: Mapping[str, Any], origin: str) -> Self:
        """The method, unless its file has a field of another family that is not what it is by default, as files that
        were written by `clucert tune` have. Raises :class:`InputError` for the first such field.
        """
        kind = type(self)
        for said in (fields, *(each for tasks in (self.tasks, *self.models.values()) for each in tasks.values())):
            read = checked(kind, {**self.model_dump(), **said}, origin)
            changed = [name for name in said if getattr(read, name) != kind.model_fields[name].default]
            if wrong := self.of_others(changed):
                raise InputError(f"{origin}: {wrong[0]} goes with {wrong[1]}: family {self.family} does not read it")
        return self

    def flags(self, labels: tuple[str, ...] | None) -> Flag | None:
        """When a text is flagged. Raises :class:`InputError` for labels that the task does not have."""
        if not self.flag:
            example = labels[0] if labels else "harmful"
            if self.family in ("windows", "erase"):
                raise InputError(
                    f"{self.name} flags texts: say which label, for example  --flag {example}, "
                    "or give the method file that  clucert tune --fpr  writes"
                )
            if self.flag_threshold is not None or self.at_least > 1:
                given = "a flag threshold" if self.flag_threshold is not None else f"--at-least {self.at_least}"
                raise InputError(f"{given} needs the labels that flag a text, for example  --flag {example}")
            return None
        return Flag.of(self.flag, labels, self.at_least, self.flag_threshold)

    def label_groups(self, labels: tuple[str, ...]) -> LabelGroups:
        """The labels that are one class. Raises :class:`InputError` for groups that the task cannot have."""
        if self.group:
            merged_labels(labels, tuple(self.group))
        return tuple(self.group)


def _families_of(field: str) -> tuple[Family, ...]:
    """Those that alone read it; none where all do."""
    return tuple(family for family, kind in KINDS.items() if field in (*kind.made_of, *kind.also))


def readers_of(field: str) -> str:
    """The methods that read it, as they are asked for."""
    families = _families_of(field) or tuple(family for family in KINDS if family != "each")
    *most, last = ("erase-and-check" if family == "erase" else family for family in families)
    return f"--method {', '.join(most)} or {last}" if most else f"--method {last}"


def own_fields(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored exact method without those that change nothing in its family."""
    return {n: v for n, v in parameters.items() if parameters.get("family") in (_families_of(n) or KINDS)}


def _written(name: str) -> str:
    return flag(name) if name in options_of(ExactOptions) else name


class ExactConfig(ExactSection, Config):
    """What to prove with. A method that samples has none of the first fields."""

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Checked values. Raises :class:`UsageError` for the first that is wrong, or that the method does not read."""
        config = super().of(**fields)
        refuse_sampling(fields, config)
        return config


def refuse_sampling(given: Mapping[str, Any], config: Config) -> None:
    """Raise :class:`UsageError` for an option that was given and says something of samples, where the method of
    ``config`` draws none. A seed may choose the rows of a study.
    """
    from clucert.methods import load_exact  # which imports this file

    if load_exact(config.method) is None:
        return
    of_samples = {name for section in SAMPLES for name in options_of(section)} | {"helper_model"}
    if getattr(config, "sample", None) is not None:
        of_samples.remove("seed")
    if wrong := next((name for name, value in given.items() if name in of_samples and value is not None), None):
        raise UsageError(f"{flag(wrong)} goes with methods that sample, which {config.method} does not: leave it out")
