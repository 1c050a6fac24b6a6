"""The keyword arguments of the Python functions. By scripts/write_options.py from the sections' options."""

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

ExactName = Literal["blocks", "chunks", "erase-and-check", "groups", "windows"]
"""The packaged methods that prove exactly, with few questions."""


class _Asked(TypedDict, total=False):
    """Who is asked, and for which labels."""

    labels: Sequence[str | float] | None
    """Of a task of your own, comma-separated."""
    model: Model
    """openai/NAME, vllm/NAME, llamacpp/FILE.gguf, python:FILE.py:FUNCTION, FILE.clucert, …; several vote."""


class _Method(TypedDict, total=False):
    """Of functions that choose by it whether to sample."""

    method: str
    """clucert, ranmask, selfdenoise, smoothllm, …, or a YAML file."""


class _Common(TypedDict, total=False):
    """Of all functions."""

    task: str | None
    """sst2, agnews, gsm8k, jailbreak, refusal, or a YAML file."""
    prompt: str | Path | None
    """File for a task of your own: {text} stands for the text."""
    judge: str | None
    """Model that says whether an answer refused (task refusal)."""
    system_prompt: str | None
    """System prompt of a task with free answers (refusal)."""
    answer_tokens: int | None
    """Longest answer, in tokens; one that is cut is no vote."""
    helper_model: str | None
    """Who refines and fills."""
    base_url: str | None
    """Server to use instead of the provider's own; with or without /v1."""
    timeout: float
    """Seconds to wait for one answer."""
    max_retries: int
    """Tries after the first before a call counts as failed."""
    max_connections: int
    """Calls under way at once."""
    max_answer_bytes: int
    """Longest reply of a server that is read."""
    ca_file: str | Path | None
    """PEM file of authorities to trust."""
    temperature: float
    """Of the base classifier."""
    deterministic: bool | None
    """Ask equal questions once / every sample anew."""
    accept_model_change: bool
    """Go on, with the cache, though another model answers than before."""
    cache: str | Path | bool | None
    """File of answers, or postgresql+psycopg://USER@HOST/DB to share them."""
    lexicon: str | Sequence[str]
    """default, wide (the paper's pools), classes (closed), or a TSV of yours on top. Repeatable."""
    protect: Sequence[str]
    """Comma-separated words that recovery must leave alone."""
    canonical: FormName | Sequence[FormName] | None
    """Forms that come first: characters,spelling,synonyms."""
    mask_rate: str | float | None
    """m: share of the words that is masked, in (0, 1)."""
    recovery: Literal["synonym", "mask", "ellipsis", "llm", "deletion", "characters"] | None
    """What becomes of the words that are not kept; characters is smoothllm's."""
    keep: int | Literal["each"] | None
    """each (token, on its own), or a number (method deletion)."""
    clustering: str | None
    """agglomerative, kmeans (or kmeans:3), hdbscan, threshold or none."""
    threshold: float | None
    """τ: least cosine similarity to the original (beside --flag: η)."""
    min_confidence: float | None
    """Least share that the model gives its label; what is below has no vote."""
    encoder: str | None
    """minilm, or sbert/NAME with the extra clucert[sbert]."""
    refine: Literal["off", "llm", "embedding"] | None
    """Who chooses the words that matter before the noise."""
    refine_length: int | None
    """L: words that refine keeps."""
    recoveries: int | None
    """k: recoveries of a masked text; the medoid of their cluster votes."""
    retained_kernel: Literal["keep", "redraw", "canonical"] | None
    """What happens to retained words."""
    perturbation: Literal["swap", "patch", "insert"] | None
    """How smoothllm changes characters."""
    q: str | float | None
    """Percent of the characters that smoothllm changes."""
    flag: str | Sequence[str] | None
    """Labels that flag a text, comma-separated; unparsed: what names none."""
    flag_threshold: str | float | None
    """η: least share of votes that flags; --threshold beside --flag."""
    group: str | Sequence[str] | Sequence[Sequence[str]] | None
    """Labels that are one class, such as harmful,unsafe. Repeatable."""
    samples: int
    """N: samples that choose the answer."""
    certify_samples: int
    """N′: fresh samples that certify it."""
    sampling: Literal["fixed", "staged", "auto"]
    """As Algorithm 1, in stages that stop early, or (auto) every retention set where there are few."""
    seed: int
    """For studies: same seed, same certificate."""
    target_radius: int | None
    """Stop as soon as it is decided whether the radius reaches R."""
    alpha: float
    """α: the probability of a wrong certificate, at most."""
    gamma: float
    """γ: semantic recovery stability; below 1 is your assumption."""
    show_samples: int
    """Show K noised texts that were kept and K dropped; a study keeps them."""
    max_requests: int | None
    """Stop cleanly after K calls."""
    max_tokens: int | None
    """Stop cleanly after K tokens."""
    max_cost: float | None
    """Stop cleanly before this many US dollars are spent."""
    price_input: str | float | None
    """US dollars per million input tokens, where the list does not know."""
    price_output: str | float | None
    """The same for output tokens."""
    price_cached: str | float | None
    """The same for input tokens that the provider has cached."""


class _Exact(TypedDict, total=False):
    """Of exact methods."""

    count: int | None
    """Groups of words (K), of blocks and groups."""
    hashes: int | None
    """Ways to group by hashes (q), of groups and chunks."""
    every: int | None
    """About so many words in a chunk (B)."""
    size: int | None
    """Words in a window."""
    suffix: int | None
    """Longest appended text of erase-and-check, in words (d)."""
    unit: Literal["word", "sentence", "passage", "turn"] | None
    """What is kept, dropped and counted."""
    scores: Literal["auto", "soft", "hard"] | None
    """Add up label probabilities (auto: where the model gives them) or votes."""
    sharpness: float | None
    """Of label probabilities: p^sharpness is added up."""
    at_least: int | None
    """Flagged sub-texts that flag the text, where no share is given."""


class ProveOptions(_Asked, _Common, _Exact, total=False):
    """Of an exact certificate, beside its ``method``."""


class CertifyOptions(_Asked, _Method, _Common, total=False):
    """Of a certificate: the fields of :class:`clucert.config.Config`."""


class SmoothOptions(_Method, _Common, total=False):
    """Of a smoothed classifier of one's own: all but the model."""


class AnyMethodOptions(_Method, _Common, _Exact, total=False):
    """Of a classifier of one's own, by a method of either kind."""


class StudyOptions(_Asked, _Method, _Common, _Exact, total=False):
    """Of a study: the fields of :class:`clucert.evaluate.runconfig.StudyConfig`."""

    format: Literal["csv", "tsv", "jsonl", "parquet"] | None
    """Of the file, where its name does not say."""
    quoted: bool
    """Whether CSV and TSV use quotes."""
    header: bool
    """Whether CSV and TSV begin with column names; else columns are called 1, 2, …"""
    encoding: str | None
    """Of the file, such as latin-1, cp1252 or utf-16."""
    text_column: str | None
    """Column of the text."""
    label_column: str | None
    """Column of the gold label."""
    id_column: str | None
    """Column that names a row."""
    label_map: Mapping[str | float, str | float]
    """What labels mean, such as 0=ham,1=spam. Repeatable."""
    limit: int | None
    """The first K rows only."""
    sample: int | None
    """K rows at random, by --seed."""
    skip_malformed: bool
    """Leave malformed rows out and list them."""
    attack_column: str | None
    """Column of suffixes or attacked prompts."""
    run_dir: str | Path | None
    """Where the run is kept; an existing one goes on."""
    batch: bool
    """Ask through the provider's batch API: cheaper, slower by hours."""
    shard: str | None
    """i/n: every n-th row from row i on. The command without it merges the shards."""
    in_flight: int | None
    """Inputs worked on at a time."""
    engine: str
    """Where inputs are worked on: local, or ray with clucert[ray] (docs/cluster.md)."""
    ray_address: str | None
    """A running cluster, HOST:PORT or auto."""
    workers: int | None
    """Ray processes that hold the models."""
    worker_cpus: int | None
    """CPU cores of a worker."""
    worker_gpus: float | None
    """GPUs of a worker."""
    worker_env: Sequence[str]
    """Another variable that workers need, by its name. Repeatable."""
    fail_fast: bool
    """Stop at the first input that fails."""
    fail_under: str | Sequence[str]
    """Gate such as certacc@1=0.6; a miss exits with 3. Repeatable."""
    leave_out_failed: bool
    """Leave failed rows out of the means."""
    junit: str | Path | None
    """Write JUnit XML about inputs and gates."""
    sarif: str | Path | None
    """Write SARIF about rows that are not proved."""
