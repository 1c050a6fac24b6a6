"""Methods that ask every sub-text of a small fixed family: `family` in the method file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clucert.core.exact import Flag, Noise, Unit
from clucert.core.noise.groups import Blocks, Chunks, Each, Groups
from clucert.core.noise.windows import EraseAndCheck, Windows
from clucert.errors import InputError
from clucert.section import Section, changes_of, checked, option

Family = Literal["blocks", "groups", "chunks", "each", "windows", "erase"]


class ExactMethod(BaseModel):
    """One such method. The fields of ``tasks`` override the others for the task of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    family: Family
    count: int = option(5, "Groups of words (K), of blocks and groups.", ge=1, le=500)
    kept: int = Field(default=1, ge=1)
    """s: groups that a sub-text shows."""
    interleaved: bool = False
    """Of `blocks`: every K-th token instead of consecutive ones."""
    hashes: int = option(1, "Ways to group by hashes (q), of groups and chunks.", ge=1, le=100)
    key: str = "clucert"
    """Of the hash; fixed before any text is seen, and may be public."""
    every: int | None = option(None, "About so many words in a chunk (B).", ge=1)
    """A chunk ends at a token whose hash is 0 mod B; None cuts at sentence ends."""
    size: int = option(10, "Words in a window.", ge=1)
    suffix: int = option(20, "Longest appended text of erase-and-check, in words (d).", ge=1, le=1000)
    unit: Unit = option("word", "What is kept, dropped and counted.")
    """A word is a token, and punctuation is among them."""
    scores: Literal["auto", "soft", "hard"] = option(
        "auto", "Add up label probabilities (auto: where the model gives them) or votes."
    )
    sharpness: float = Field(default=8.0, gt=0, le=100)
    """Of soft scores: p^sharpness, normalised. Probabilities that are only averaged prove little (1)."""
    bias: dict[str, float] = Field(default_factory=dict)
    """Taken off the log-probability of each label; chosen on validation texts that are cut in the same way."""
    flag: tuple[str, ...] = option(
        (), "Labels that flag a text, comma-separated; for windows and erase-and-check.", commas=True
    )
    at_least: int = option(1, "Flagged sub-texts that flag the text.", ge=1)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _flags(self) -> Self:
        self.noise()
        return self

    def noise(self) -> Noise:
        """The family of sub-texts."""
        key = self.key.encode()
        match self.family:
            case "blocks":
                return Blocks(self.count, self.kept, self.interleaved)
            case "groups":
                return Groups(self.count, key, self.hashes, self.kept)
            case "chunks":
                return Chunks(self.every, key, self.hashes)
            case "each":
                return Each()
            case "windows":
                return Windows(self.size)
            case "erase":
                return EraseAndCheck(self.suffix)

    def for_task(self, task: str, **overrides: Any) -> ExactMethod:
        """The method with what was chosen for ``task``, then with ``overrides`` that are not None.

        Raises :class:`InputError` for a field that is wrong.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        return checked(type(self), {**self.model_dump(), **self.tasks.get(task, {}), **given}, f"method {self.name!r}")

    def flags(self, labels: tuple[str, ...] | None) -> Flag | None:
        """When a text is flagged. Raises :class:`InputError` for labels that the task does not have."""
        if not self.flag:
            if self.family in ("windows", "erase"):
                raise InputError(f"{self.name} flags texts: say which label, for example  --flag harmful")
            return None
        if unknown := [label for label in self.flag if label not in (labels or ())]:
            raise InputError(f"--flag {unknown[0]}: it is none of the labels {', '.join(labels or ())}")
        return Flag(self.flag, self.at_least)


@changes_of(ExactMethod)
class ExactSection(Section, title="Exact methods"):
    """The options of an exact method; None takes the method's value."""
