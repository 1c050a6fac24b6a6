"""Local models on transformers and torch: a folder, a hub name, or a GGUF file, on the CPU or a CUDA device.

Nothing here imports torch; :func:`load` does, and names the extra when it is missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clucert.errors import MissingExtraError

if TYPE_CHECKING:
    from clucert.models.hf.model import HFModel

HF_COMMAND = "pip install 'clucert[hf]'"


@dataclass(frozen=True, slots=True)
class HFOptions:
    """How to run a model; each None is chosen from what the machine has."""

    device: str | None = None
    """``cpu``, ``cuda``, ``cuda:1``. None: the first CUDA device, else the CPU."""
    dtype: str | None = None
    """``float32``, ``bfloat16`` or ``float16``. None: bfloat16 where the hardware multiplies it, else float32."""
    batch_size: int | None = None
    """Most queries computed together. None: 128 on a CPU, 512 on a CUDA device. Halved when memory runs out."""
    deterministic: bool | None = None
    """None: measured at loading. True: where batches would change an answer, each query is computed alone."""
    threads: int | None = None
    """CPU threads of this process's torch. None: torch's own choice."""


def load_hf(model: str, options: object) -> HFModel:
    """``hf/<name>``: a hub name, a local folder or a GGUF file, on the best device here through transformers.

    ``options`` are for servers; :func:`load` chooses what suits this machine.
    """
    return load(model)


def load(name: str, options: HFOptions | None = None) -> HFModel:
    """The model of ``hf/<name>``: ``smollm2``, a path that ends in ``.gguf``, a local folder, or a hub name.

    Raises :class:`MissingExtraError` without the extra, :class:`clucert.errors.InputError` when nothing loadable is
    there, :class:`clucert.errors.ModelUnavailableError` when the hub does not answer.
    """
    # Read once, when torch loads its OpenMP: threads that spin at barriers take the cores from other processes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from clucert.models.hf.model import load_model
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "clucert":
            raise
        raise MissingExtraError(f"the local backend hf/ ({error.name})", HF_COMMAND) from error
    return load_model(name, options or HFOptions())
