"""GGUF files, converted to safetensors once; the copies are kept."""

from __future__ import annotations

import hashlib
import shutil
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from clucert.errors import InputError
from clucert.models.weights import copies_folder

_FORMAT = 1
"""Raised when what is kept changes, so that older copies are not used."""
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def converted_gguf(path: Path, dtype: torch.dtype) -> Path:
    """The folder with the safetensors copy of a GGUF file in ``dtype``; made now if it is not there.

    The copy is named by the file's SHA-256 and appears whole or not at all. A 135M model takes 20 s and 270 MB in
    bfloat16. Raises :class:`InputError` when transformers cannot read the file.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = copies_folder() / f"{digest}-{str(dtype).removeprefix('torch.')}-v{_FORMAT}"
    if all((folder / name).is_file() for name in _NEEDED):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{digest[:12]}-", dir=folder.parent))
    try:
        _convert(path, dtype, scratch)
        _put_in_place(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def identity(folder: Path) -> str:
    """A digest of what a local model computes with: weights, configuration and tokenizer. 0.7 s a gigabyte."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", ".json", ".jinja"}):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _put_in_place(scratch: Path, folder: Path) -> None:
    if folder.exists() and not all((folder / name).is_file() for name in _NEEDED):
        shutil.rmtree(folder)
    # Another process may have put its copy there first: it is equal.
    with suppress(OSError):
        scratch.rename(folder)
    if not folder.is_dir():
        raise InputError(f"cannot write the converted model to {folder}: free space or set XDG_CACHE_HOME")


def _convert(path: Path, dtype: torch.dtype, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    except (ValueError, KeyError, IndexError, struct.error, RuntimeError) as error:
        raise InputError(f"transformers cannot read {path} ({error}): use llamacpp/ for it") from None
    _correct_pre_tokenizer(tokenizer, path)
    tokenizer.save_pretrained(folder)
    # The weights are plain numbers by now; transformers would refuse to save what it took for a quantised model.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.to(dtype).save_pretrained(folder, max_shard_size="1TB")


def _correct_pre_tokenizer(tokenizer: Any, path: Path) -> None:
    """Split digits before words where the file says so: transformers does not read that field."""
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    pre = GGUFReader(path).get_field("tokenizer.ggml.pre")
    if pre is not None and pre.contents() == "smollm":
        words = ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), words])
