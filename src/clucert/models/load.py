"""From the names that users write (``provider/model``) to language models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clucert.errors import InputError, UnknownNameError
from clucert.models.function_files import PREFIX, is_function, load_function
from clucert.models.functions import function_model
from clucert.models.replies import MOST_BYTES
from clucert.models.trained import SUFFIX, read
from clucert.protocols import LanguageModel
from clucert.registry import Registry

MODELS = Registry(
    "model",
    "clucert.models",
    {
        "smollm2": "clucert.models.llamacpp:load_smollm2",
        "llamacpp": "clucert.models.llamacpp:load_local",
        "hf": "clucert.models.hf:load_hf",
        "openai": "clucert.models.openai:load_openai",
        "vllm": "clucert.models.openai:load_vllm",
        "ollama": "clucert.models.openai:load_ollama",
    },
)
"""Loaders by provider, each called as ``loader(model, options)`` with what stands after the first ``/``."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to reach a model. Keys come from the environment only (``OPENAI_API_KEY``), never from here."""

    base_url: str | None = None
    timeout: float = 60.0
    """Seconds for one try of one request."""
    max_retries: int = 5
    max_connections: int = 32
    max_answer_bytes: int = MOST_BYTES
    """Bytes of one reply that are read; a longer one is no answer."""
    ca_file: Path | None = None
    """Certificates of the authorities that are trusted, in place of the usual ones."""
    temperature: float = 0.0
    """What the task will sample at; above 0 a remote model is not deterministic."""
    deterministic: bool = False
    """The user's word that a server answers equal questions alike at temperature 0."""
    accept_model_change: bool = False
    """Take whoever answers at an address for the same model as before."""
    context: int = 4096
    """Longest prompt plus answer of a local GGUF model, in tokens."""


def load_model(name: str, options: ModelOptions | None = None) -> LanguageModel:
    """The model called ``smollm2``, ``llamacpp/<file.gguf>``, ``openai/<model>``, ``vllm/<model>``, ``ollama/<model>``,
    the function called ``python:FILE.py:NAME``, or the trained classifier in ``FILE.clucert``.

    Raises :class:`clucert.errors.UnknownNameError` for another provider; never falls back to a different one.
    """
    if is_function(name):
        return load_function(name, deterministic=True if options is not None and options.deterministic else None)
    if name.endswith(SUFFIX):
        trained = read(name)
        return function_model(trained, name, deterministic=True, identity=trained.digest)
    provider, _, model = name.partition("/")
    if provider not in MODELS:
        if ".py:" in name:
            raise InputError(f"{name!r} names no model: write  {PREFIX}{name.removeprefix('python/')}")
        raise UnknownNameError("model", provider, [*MODELS.names(), f"{PREFIX}FILE.py:FUNCTION", "FILE.clucert"])
    loader = MODELS.get(provider)
    if provider != "smollm2" and not model:
        raise InputError(f"{name!r} names no model: write  {provider}/<model>")
    loaded: LanguageModel = loader(model, options or ModelOptions())
    return loaded
