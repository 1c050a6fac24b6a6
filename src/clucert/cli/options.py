"""Options that several commands share: what to ask, whom, and how to smooth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from clucert.config import Config
from clucert.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_TASK = (
    click.option("--task", help="sst2, agnews, gsm8k, jailbreak, refusal, or a YAML file of your own."),
    click.option("--labels", help="Comma-separated labels of a task of your own; with --prompt."),
    click.option(
        "--prompt",
        type=click.Path(path_type=Path),
        help="File with the prompt of a task of your own; {text} stands for the text.",
    ),
    click.option("--judge", help="Model that says whether an answer refused (task refusal).  [a phrase list]"),
    click.option("--system-prompt", help="System prompt of a task with free answers (refusal)."),
    click.option(
        "--answer-tokens",
        type=int,
        help="Longest answer, in tokens; one that is cut is no vote.  [16; gsm8k 400, refusal 64]",
    ),
)
DETERMINISTIC = click.option(
    "--deterministic/--sampled",
    default=None,
    help="Equal questions always get equal answers: ask once / ask every sample.  [servers are probed]",
)
_MODEL = (
    click.option(
        "--model",
        multiple=True,
        help="smollm2 (default), openai/NAME, vllm/NAME, ollama/NAME, llamacpp/FILE.gguf. Several form an ensemble.",
    ),
    click.option("--helper-model", help="Who refines and fills; the first --model when not given."),
    click.option("--base-url", help="Server to use instead of the provider's own; with or without /v1."),
    click.option("--timeout", type=float, help="Seconds to wait for one answer.  [60]"),
    click.option("--max-retries", type=int, help="Tries after the first before a call counts as failed.  [5]"),
    click.option("--max-connections", type=int, help="Calls under way at once.  [32]"),
    click.option("--temperature", type=float, help="Of the base classifier.  [0]"),
    DETERMINISTIC,
    click.option(
        "--accept-model-change",
        is_flag=True,
        default=None,
        help="Go on, and use the cache, though the server says that another model answers than before.",
    ),
)
CACHE_HELP = "File to keep answers in, or postgresql+psycopg://USER@HOST/DB to share them.  [the user's cache folder]"
_CACHE = (
    click.option("--cache", help=CACHE_HELP),
    click.option("--no-cache", is_flag=True, help="Do not read or write the cache."),
)
_METHOD_NAME = (
    click.option("--method", help="clucert (default), ranmask, selfdenoise, smoothllm, …, or a YAML file."),
)
_METHOD = (
    click.option("--mask-rate", help="m: share of the words that is masked, in (0, 1)."),
    click.option("--recovery", help="synonym, mask, ellipsis, llm, deletion, or characters (smoothllm)."),
    click.option("--keep", help="each (token, on its own), or a number of tokens (method deletion)."),
    click.option("--clustering", help="agglomerative, kmeans, hdbscan, threshold or none."),
    click.option("--threshold", type=float, help="τ: least cosine similarity of a noised text to the original."),
    click.option("--encoder", help="minilm, or sbert/NAME with the extra clucert[sbert]."),
    click.option("--refine", help="off, llm or embedding."),
    click.option("--refine-length", type=int, help="L: words that refine keeps."),
    click.option("--recoveries", type=int, help="k: recoveries of a masked text; the medoid of their cluster votes."),
    click.option("--perturbation", help="swap, patch or insert: how smoothllm changes characters."),
    click.option("--q", help="Percent of the characters that smoothllm changes."),
    click.option("--retained-kernel", help="keep, redraw or canonical: what happens to retained words."),
    click.option(
        "--lexicon",
        multiple=True,
        help="default, classes (closed synonym classes), or a TSV of your own on top of either. Repeatable.",
    ),
    click.option("--protect", help="Comma-separated words that recovery must leave alone."),
)
_SAMPLES = (
    click.option("--samples", type=int, help="N: samples that choose the answer.  [100]"),
    click.option("--certify-samples", type=int, help="N′: fresh samples that certify it.  [1000]"),
)
_CERTIFICATE = (
    click.option(
        "--sampling", help="fixed (Algorithm 1), staged (stop early) or auto (every retention set where few)."
    ),
    click.option("--target-radius", type=int, help="Stop as soon as it is decided whether the radius reaches R."),
    click.option("--alpha", type=float, help="Probability that the certificate is wrong.  [0.05]"),
    click.option("--gamma", type=float, help="γ: semantic recovery stability; below 1 is your assumption.  [1]"),
)
_SEED = (click.option("--seed", type=int, help="For studies: same seed, same certificate.  [0]"),)


label_map_option = click.option(
    "--label-map",
    multiple=True,
    help="What the label column means, such as 0=ham,1=spam. Repeatable.  [what the task declares; numbers of unknown "
    "meaning are refused]",
)

leave_out_failed_option = click.option(
    "--leave-out-failed",
    is_flag=True,
    default=None,
    help="Leave failed rows out of the shares and means.  [they count as not certified]",
)


def config_options(command: F) -> F:
    """Add every option of :class:`clucert.config.Config` to a command."""
    for option in reversed((*_TASK, *_MODEL, *_CACHE, *_METHOD_NAME, *_METHOD, *_SAMPLES, *_CERTIFICATE, *_SEED)):
        command = option(command)
    return command


def defence_options(command: F) -> F:
    """Add the options that say how texts are noised and what is certified.

    Not the method, the numbers of samples and the seed: their defaults are the command's own.
    """
    for option in reversed((*_METHOD, *_CERTIFICATE)):
        command = option(command)
    return command


def given_flags(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as fields of the configuration."""
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    if given.pop("no_cache", False):
        given["cache"] = False
    if "label_map" in given:
        given["label_map"] = label_map_of(given["label_map"])
    for name in ("labels", "protect"):
        if isinstance(given.get(name), str):
            given[name] = [part.strip() for part in given[name].split(",")]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def config_of(flags: dict[str, Any], **more: Any) -> Config:
    """The configuration that the given flags make; what was not given keeps its default."""
    return Config.of(**given_flags(flags), **more)


def label_map_of(written: Sequence[str]) -> dict[str, str]:
    """Read ``0=ham,1=spam``. Raises :class:`UsageError` for what is no mapping, or maps one thing twice."""
    found: dict[str, str] = {}
    for pair in ",".join(written).split(","):
        key, equals, label = (part.strip() for part in pair.partition("="))
        if not (equals and key and label):
            raise UsageError(f"--label-map: {pair!r} is not WRITTEN=LABEL: write it like 0=ham,1=spam")
        if found.setdefault(key, label) != label:
            raise UsageError(f"--label-map: {key!r} cannot be both {found[key]!r} and {label!r}")
    return found
