"""The one configuration of a run, whether it comes from flags, a YAML file or Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from clucert.cache.location import CacheField
from clucert.errors import UsageError
from clucert.redact import without_credentials


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _shown_url(url: str | None) -> str | None:
    return url and without_credentials(url)


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]
"""A string that YAML may have read as a number, such as a mask rate or a price."""

LEXICONS = ("default", "classes")
"""The packaged lexicons: synonym pools as they come, or closed classes."""

Form = Literal["characters", "spelling", "synonyms"]
"""Canonical forms: look-alike characters, misspellings and closed synonym classes are one."""

Names = Annotated[list[str], BeforeValidator(_as_list)]


class Config(BaseModel):
    """What to certify with. Fields left at None take the method's value, which may depend on the task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The base classifier: a task put to one language model, or to several that vote.
    task: str | None = None
    labels: list[str] | None = None
    prompt: Path | None = None
    model: Names = Field(default_factory=lambda: ["smollm2"], min_length=1)
    helper_model: str | None = None
    """Who refines and fills; the first of ``model`` when not given."""
    base_url: Annotated[str | None, PlainSerializer(_shown_url)] = Field(default=None, repr=False)
    """Dumped without its user, password and secret parameters, which a server may want."""
    timeout: float = Field(default=60.0, gt=0)
    max_retries: int = Field(default=5, ge=0)
    max_connections: int = Field(default=32, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    deterministic: bool | None = None
    """Whether equal questions always get equal answers. None: as is known of the model; a callable samples, and a
    server at temperature 0 is probed. False: every sample is asked anew."""
    accept_model_change: bool = False
    """Take whoever answers at an address for the model that answered there before, now or into the cache."""

    # How answers are asked for and read; the first two are for tasks whose answers are free text.
    judge: str | None = None
    """The model that says whether an answer refused; None is the phrase list."""
    system_prompt: str | None = None
    answer_tokens: int | None = Field(default=None, ge=1)
    """Tokens of an answer that are asked for, and read."""

    cache: CacheField = None
    """Where answers are kept, a file or ``postgresql+psycopg://…``; None is the user's cache folder, False nowhere."""

    # The method, and what is changed of it.
    method: str = "clucert"
    mask_rate: str | None = None
    recovery: str | None = None
    keep: int | Literal["each"] | None = None
    clustering: str | None = None
    threshold: float | None = None
    encoder: str | None = None
    refine: str | None = None
    refine_length: int | None = None
    recoveries: int | None = None
    retained_kernel: str | None = None
    perturbation: str | None = None
    q: str | None = None
    lexicon: Names = Field(default_factory=list)
    """TSV files of synonyms; ``default`` or ``classes`` among them names the packaged pools under them."""
    protect: list[str] = Field(default_factory=list)
    canonical: Annotated[list[Form], BeforeValidator(_as_list)] = Field(default_factory=list)
    """What every text is put into before anything else, when it is certified and when it is answered."""

    # What may be spent.
    max_requests: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    max_cost: float | None = Field(default=None, ge=0)
    price_input: Text | None = None
    price_output: Text | None = None
    price_cached: Text | None = None

    # The certificate.
    samples: int = Field(default=100, ge=1)
    certify_samples: int = Field(default=1000, ge=1)
    sampling: Literal["fixed", "staged", "auto"] = "fixed"
    """Algorithm 1; looks in stages that stop early; or every retention set where they are few, else in stages."""
    target_radius: int | None = Field(default=None, ge=0)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    gamma: float = Field(default=1.0, ge=0, le=1)
    seed: int = Field(default=0, ge=0)
    """For studies: the same seed, the same certificate. Unless it is given, what is deployed (``predict``, guards)
    draws from a secret key instead: whoever knows the noise can choose words against it."""
    show_samples: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, **fields: Any) -> Config:
        """A checked configuration. Raises :class:`UsageError`, one line, for the first field that is wrong."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = "--" + ".".join(map(str, first["loc"])).replace("_", "-")
            raise UsageError(f"{where}: {first['msg']} (got {first.get('input')!r})") from None

    @property
    def seeded(self) -> bool:
        """Whether the seed was given, and not left at its default."""
        return "seed" in self.model_fields_set

    @property
    def prices(self) -> dict[str, str | None]:
        """The user's own prices, as :func:`clucert.runtime.prices.find_price` takes them."""
        return {
            "price_input": self.price_input,
            "price_output": self.price_output,
            "price_cached": self.price_cached,
        }

    @property
    def lexicon_files(self) -> list[Path]:
        """The user's own entries."""
        return [Path(name) for name in self.lexicon if name not in LEXICONS]

    @property
    def method_overrides(self) -> dict[str, Any]:
        """The fields that change the method."""
        names = (
            "mask_rate",
            "recovery",
            "keep",
            "clustering",
            "threshold",
            "encoder",
            "refine",
            "refine_length",
            "recoveries",
            "retained_kernel",
            "perturbation",
            "q",
        )
        packaged = [name for name in self.lexicon if name in LEXICONS]
        return {name: getattr(self, name) for name in names} | {"lexicon": packaged[-1] if packaged else None}
