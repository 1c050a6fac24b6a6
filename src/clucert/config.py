"""The one configuration of a run, whether it comes from flags, a YAML file or Python. Each option is written here
once, in its section; those of a data set and a run are in :mod:`clucert.evaluate.runconfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, PrivateAttr, model_validator

from clucert.cache.location import CacheField
from clucert.redact import without_credentials
from clucert.section import Section, changes_of, option, options_of, parts_of
from clucert.types import PerturbationKind, RetainedKernel, Unit

if TYPE_CHECKING:
    from clucert.protocols import LanguageModel


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _shown_url(url: str | None) -> str | None:
    return url and without_credentials(url)


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]
"""A string that YAML may have read as a number, such as a label or a price."""

LEXICONS = ("default", "wide", "classes")
"""The packaged lexicons: strict or wide synonym pools as they come, or closed classes."""

Form = Literal["characters", "spelling", "synonyms"]
"""Canonical forms: look-alike characters, misspellings and closed synonym classes are one."""

Names = Annotated[list[str], BeforeValidator(_as_list)]
Forms = Annotated[list[Form], BeforeValidator(_as_list)]


def _as_groups(value: object) -> object:
    """``harmful,unsafe`` as a group of labels, and one group as a list of it."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        return given
    return [_as_group(each) for each in given]


def _as_group(value: object) -> object:
    """As a tuple: a strict reader of JSON takes no list for one."""
    if isinstance(value, str):
        return tuple(parts_of(value))
    return tuple(value) if isinstance(value, list) else value


LabelGroups = Annotated[list[tuple[str, ...]], BeforeValidator(_as_groups)]


def implied_method(model: object) -> str | None:
    """The method that a trained classifier brings, where it is asked alone: its file names both."""
    names = [model] if isinstance(model, str) else model
    if isinstance(names, list | tuple) and len(names) == 1 and str(names[0]).endswith(".clucert"):
        return str(names[0])
    return None


class TaskSection(Section, title="Task"):
    """What is asked."""

    task: str | None = option(None, "sst2, agnews, gsm8k, jailbreak, refusal, or a YAML file.", may_differ=True)
    labels: list[Text] | None = option(None, "Of a task of your own, comma-separated.", commas=True, may_differ=True)
    prompt: Path | None = option(None, "File for a task of your own: {text} stands for the text.", may_differ=True)
    judge: str | None = option(None, "Model that says whether an answer refused (task refusal).", unset="a phrase list")
    system_prompt: str | None = option(None, "System prompt of a task with free answers (refusal).")
    answer_tokens: int | None = option(
        None, "Longest answer, in tokens; one that is cut is no vote.", unset="16; gsm8k 400, refusal 64", ge=1
    )


class ModelSection(Section, title="Model"):
    """Whom to ask: one language model, or several that vote."""

    model: Names = option(
        ["smollm2"],
        "openai/NAME, vllm/NAME, llamacpp/FILE.gguf, python:FILE.py:FUNCTION, FILE.clucert, …; several vote.",
        may_differ=True,
        min_length=1,
    )
    helper_model: str | None = option(None, "Who refines and fills.", unset="the first --model")
    base_url: Annotated[str | None, PlainSerializer(_shown_url)] = option(
        None, "Server to use instead of the provider's own; with or without /v1.", users_own=True, repr=False
    )
    """Dumped without its user, password and secret parameters, which a server may want."""
    timeout: float = option(60.0, "Seconds to wait for one answer.", may_differ=True, gt=0)
    max_retries: int = option(5, "Tries after the first before a call counts as failed.", may_differ=True, ge=0)
    max_connections: int = option(32, "Calls under way at once.", may_differ=True, ge=1)
    max_answer_bytes: int = option(10_000_000, "Longest reply of a server that is read.", may_differ=True, ge=1000)
    ca_file: Path | None = option(
        None,
        "PEM file of authorities to trust.",
        unset="SSL_CERT_FILE, else the usual",
        may_differ=True,
        users_own=True,
    )
    temperature: float = option(0.0, "Of the base classifier.", ge=0)
    deterministic: bool | None = option(
        None, "Ask equal questions once / every sample anew.", unset="servers are probed", off="--sampled"
    )
    """None: as is known of the model; a callable samples, and a server at temperature 0 is probed."""
    accept_model_change: bool = option(
        False, "Go on, with the cache, though another model answers than before.", may_differ=True, users_own=True
    )


class CacheSection(Section, title="Cache", may_differ=True, users_own=True):
    """Where answers are kept."""

    cache: CacheField = option(
        None, "File of answers, or postgresql+psycopg://USER@HOST/DB to share them.", unset="the user's cache folder"
    )
    """None is the user's cache folder, False nowhere."""


class MethodSection(Section, title="Method"):
    """How texts are noised and votes are filtered."""

    method: str = option("clucert", "clucert, ranmask, selfdenoise, smoothllm, …, or a YAML file.", may_differ=True)
    lexicon: Names = option(
        [],
        "default, wide (the paper's pools), classes (closed), or a TSV of yours on top. Repeatable.",
        may_differ=True,
    )
    protect: list[str] = option([], "Comma-separated words that recovery must leave alone.", commas=True)
    canonical: Forms | None = option(None, "Forms that come first: characters,spelling,synonyms.", commas=True)
    """What every text is put into before anything else, when it is certified and when it is answered."""


class MethodOptions(BaseModel):
    """What a method says, and its files: see :class:`clucert.methods.Method`, which checks what goes together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask_rate: Text = option("0.7", "m: share of the words that is masked, in (0, 1).")
    recovery: Literal["synonym", "mask", "ellipsis", "llm", "deletion", "characters"] = option(
        "synonym", "What becomes of the words that are not kept; characters is smoothllm's."
    )
    keep: int | Literal["each"] | None = option(None, "each (token, on its own), or a number (method deletion).")
    """What a sample keeps. None: ⌊(1 − m)·n⌋ of the words. Of deletion and ellipsis, ``each``: every token on its own,
    with probability 1 − m. Of deletion, a number: so many tokens, and m is not read."""
    clustering: str = option("agglomerative", "agglomerative, kmeans (or kmeans:3), hdbscan, threshold or none.")
    threshold: float | None = option(
        None, "τ: least cosine similarity to the original (beside --flag: η).", also="--similarity", ge=-1, le=1
    )
    """None keeps all."""
    min_confidence: float | None = option(
        None, "Least share that the model gives its label; what is below has no vote.", gt=0, le=1
    )
    """None takes every vote. It looks at one noised text alone, so the proof holds as well."""
    encoder: str = option("minilm", "minilm, or sbert/NAME with the extra clucert[sbert].")
    refine: Literal["off", "llm", "embedding"] = option("off", "Who chooses the words that matter before the noise.")
    refine_length: int | None = option(None, "L: words that refine keeps.", ge=1)
    recoveries: int = option(1, "k: recoveries of a masked text; the medoid of their cluster votes.", ge=1)
    """Above 1, the proof holds as well."""
    retained_kernel: RetainedKernel = option("keep", "What happens to retained words.")
    """With `lexicon: classes`, redraw and canonical certify any number of swaps."""
    perturbation: PerturbationKind | None = option(None, "How smoothllm changes characters.")
    q: Text | None = option(None, "Percent of the characters that smoothllm changes.")


@changes_of(MethodOptions)
class ChangeSection(Section, title="Changes of the method", may_differ=True):
    """The options of :class:`MethodOptions`; None takes the method's value, which may depend on the task."""


class FlagOptions(BaseModel):
    """What a method of either kind says of its answers, in place of the label with the most votes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flag: Names = option([], "Labels that flag a text, comma-separated; unparsed: what names none.", commas=True)
    """Merged before anything is compared: what is certified is whether a text is flagged."""
    flag_threshold: Text | None = option(None, "η: least share of votes that flags; --threshold beside --flag.")
    group: LabelGroups = option([], "Labels that are one class, such as harmful,unsafe. Repeatable.")


@changes_of(FlagOptions)
class FlagSection(Section, title="Flags and groups", may_differ=True):
    """The options of :class:`FlagOptions`; None takes the method's value."""


class ExactOptions(BaseModel):
    """What such a method, and nothing else, is asked for."""

    count: int = option(5, "Groups of words (K), of blocks and groups.", ge=1, le=500)
    hashes: int = option(1, "Ways to group by hashes (q), of groups and chunks.", ge=1, le=100)
    every: int | None = option(None, "About so many words in a chunk (B).", ge=1)
    """A chunk ends at a token whose hash is 0 mod B; None cuts at sentence ends."""
    size: int = option(10, "Words in a window.", ge=1)
    suffix: int = option(20, "Longest appended text of erase-and-check, in words (d).", ge=1, le=1000)
    unit: Unit = option("word", "What is kept, dropped and counted.")
    """A word is a token, and punctuation is among them."""
    scores: Literal["auto", "soft", "hard"] = option(
        "auto", "Add up label probabilities (auto: where the model gives them) or votes."
    )
    sharpness: float = option(8.0, "Of label probabilities: p^sharpness is added up.", gt=0, le=100)
    """Normalised. Probabilities that are only averaged prove little (1)."""
    at_least: int = option(1, "Flagged sub-texts that flag the text, where no share is given.", ge=1)


@changes_of(ExactOptions)
class ExactSection(Section, title="Exact methods", may_differ=True):
    """The options of an exact method; None takes the method's value."""


class SamplingSection(Section, title="Samples"):
    """How many votes are drawn."""

    samples: int = option(100, "N: samples that choose the answer.", ge=1)
    certify_samples: int = option(1000, "N′: fresh samples that certify it.", ge=1)
    sampling: Literal["fixed", "staged", "auto"] = option(
        "fixed", "As Algorithm 1, in stages that stop early, or (auto) every retention set where there are few."
    )
    seed: int = option(0, "For studies: same seed, same certificate.", ge=0)
    """Unless it is given, what is deployed (``predict``, guards) draws from a secret key instead: whoever knows the
    noise can choose words against it."""


class CertificateSection(Section, title="Certificate"):
    """What is certified."""

    target_radius: int | None = option(None, "Stop as soon as it is decided whether the radius reaches R.", ge=0)
    alpha: float = option(0.05, "α: the probability of a wrong certificate, at most.", gt=0, lt=1)
    gamma: float = option(1.0, "γ: semantic recovery stability; below 1 is your assumption.", ge=0, le=1)


class ExamplesSection(Section, title="Shown samples"):
    """What is shown of the noise."""

    show_samples: int = option(0, "Show K noised texts that were kept and K dropped; a study keeps them.", ge=0)


class SpendingSection(Section, title="Spending", may_differ=True):
    """What may be spent."""

    max_requests: int | None = option(None, "Stop cleanly after K calls.", ge=0)
    max_tokens: int | None = option(None, "Stop cleanly after K tokens.", ge=0)
    max_cost: float | None = option(None, "Stop cleanly before this many US dollars are spent.", ge=0)
    price_input: Text | None = option(None, "US dollars per million input tokens, where the list does not know.")
    price_output: Text | None = option(None, "The same for output tokens.")
    price_cached: Text | None = option(None, "The same for input tokens that the provider has cached.")


class Config(  # the fields of the last section come first
    SpendingSection, ExamplesSection, CertificateSection, SamplingSection, FlagSection, ChangeSection, MethodSection,
    CacheSection, ModelSection, TaskSection,
):  # fmt: skip
    """What to certify with."""

    _given: dict[str, LanguageModel] = PrivateAttr(default_factory=dict)

    @property
    def given(self) -> Mapping[str, LanguageModel]:
        """Models that Python gave as objects, by name: they are asked in place of any that has to be loaded."""
        return self._given

    def giving(self, models: Mapping[str, LanguageModel]) -> Self:
        """The same with these models as objects."""
        made = self.model_copy()
        made._given = dict(models)
        return made

    @model_validator(mode="before")
    @classmethod
    def _trained(cls, given: Any) -> Any:
        """A classifier that was trained on noise is certified with the same unless a method is named."""
        implied = implied_method(given.get("model")) if isinstance(given, dict) and "method" not in given else None
        return {**given, "method": implied} if implied else given

    @property
    def seeded(self) -> bool:
        """Whether the seed was given, and not left at its default."""
        return "seed" in self.model_fields_set

    @property
    def prices(self) -> dict[str, str | None]:
        """The user's own prices, as :func:`clucert.runtime.prices.find_price` takes them."""
        return {name: value for name, value in self if name.startswith("price_")}

    @property
    def lexicon_files(self) -> list[Path]:
        """The user's own entries."""
        return [Path(name) for name in self.lexicon if name not in LEXICONS]

    @property
    def method_overrides(self) -> dict[str, Any]:
        """The fields that change the method."""
        packaged = [name for name in self.lexicon if name in LEXICONS]
        changes = {
            name: getattr(self, name) for section in (ChangeSection, FlagSection) for name in options_of(section)
        }
        return changes | {"lexicon": packaged[-1] if packaged else None}


GUARD: dict[str, Any] = {"method": "clucert-no-refine", "samples": 10, "certify_samples": 40, "cache": False}
"""What a guard does unless told otherwise: each answer costs N + N′ calls, and prompts are nobody's to keep."""
