"""Trained classifiers in files, ``spam.clucert``: a zip of JSON and NumPy arrays with their digests, and no pickle.

Reading one runs no code of the file: the JSON is checked field by field, arrays are read without objects, and an
estimator of scikit-learn's is read by skops, which makes types that it knows and no others.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clucert.border import first_problem, json_value
from clucert.errors import DataIntegrityError, InputError, MissingExtraError, shortened
from clucert.models.encoders import MINILM_INSTALL, MINILM_SHA256, MiniLmEncoder, minilm_sha256
from clucert.models.functions import class_names
from clucert.models.weights import sha256_of

SUFFIX = ".clucert"
FORMAT = 1
HEADER = "classifier.json"
COEF, INTERCEPT, ESTIMATOR = "coef.npy", "intercept.npy", "estimator.skops"
_MOST_BYTES = {HEADER: 2**22, COEF: 2**28, INTERCEPT: 2**20, ESTIMATOR: 2**32}
"""Of each part, unpacked: a hostile file must not ask for more."""
SKOPS = "pip install 'clucert[skops]'"

Class = str | int | float | bool


class Header(BaseModel):
    """What a file says of its classifier."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    format: int = Field(ge=1)
    clucert_version: str = ""
    kind: Literal["sentences", "skops"]
    classes: list[Class] = Field(min_length=2)
    method: dict[str, Any]
    """The exact method whose noise it was trained on, and with which it is certified unless another is named."""
    encoder: str | None = None
    """Of the kind ``sentences``: the digest of the encoder's weights."""
    trained: dict[str, Any] = Field(default_factory=dict)
    """What it was trained on, in words and numbers; nothing depends on it."""
    digests: dict[str, str]
    """SHA-256 of the other parts."""


class Predicts(Protocol):
    """What is wanted of a classifier that was trained."""

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """A row of probabilities for each text."""
        ...


@dataclass(frozen=True)
class SentenceModel:
    """Logistic regression on sentence embeddings.

    **Guarantee.** What it says of a text is a function of that text alone: each is encoded and multiplied by itself,
    for the last bits of an embedding depend on the batch that it is made in, and an exact certificate needs a function.
    """

    coef: NDArray[np.float64]
    """Shape (labels, dim), or (1, dim) for two labels: the log-odds of the second."""
    intercept: NDArray[np.float64]
    _encoder: MiniLmEncoder = field(default_factory=lambda: MiniLmEncoder(batch_size=1), repr=False, compare=False)

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Shape (len(texts), labels)."""
        rows = [self.coef @ row + self.intercept for row in self._encoder.encode(texts).astype(np.float64)]
        width = max(2, len(self.coef))
        return np.array([_softmax(row) for row in rows]).reshape(len(rows), width)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(scores) == 1:
        scores = np.array([0.0, scores[0]])
    weights: NDArray[np.float64] = np.exp(scores - scores.max())
    return np.asarray(weights / weights.sum(), np.float64)


@dataclass(frozen=True)
class Trained:
    """A classifier from a file. It is asked as a fitted scikit-learn classifier is."""

    header: Header
    model: Predicts
    digest: str
    """SHA-256 of the file."""

    deterministic = True

    @property
    def classes_(self) -> list[Class]:
        """The labels, as they were in the training data."""
        return self.header.classes

    def predict_proba(self, texts: Sequence[str]) -> Any:
        """A row of probabilities for each text, in the order of ``classes_``."""
        return self.model.predict_proba(texts)

    def predict(self, texts: Sequence[str]) -> list[Class]:
        """The likeliest class of each text."""
        return [self.classes_[int(np.argmax(row))] for row in self.predict_proba(texts)]


def write(path: Path, header: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Write the file, whole or not at all. Raises :class:`OSError` where it cannot be written."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    checked = Header.model_validate({**header, "format": FORMAT, "digests": digests})
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            # A fixed date: the same classifier is the same file.
            for name, data in {HEADER: checked.model_dump_json(indent=1).encode(), **parts}.items():
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def array_bytes(array: NDArray[Any]) -> bytes:
    """``array`` as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_header(path: str | Path) -> Header:
    """What the file says of itself. Raises :class:`InputError`, one line."""
    with _opened(path) as archive:
        return _header(archive, path)


def read(path: str | Path, trusted: Sequence[str] = ()) -> Trained:
    """The classifier of a file. ``trusted`` names further types that skops may make.

    Raises :class:`InputError` for what is no such file, :class:`DataIntegrityError` where a part is not the one that
    was written, and :class:`MissingExtraError` where it needs skops, which is not installed.
    """
    with _opened(path) as archive:
        header = _header(archive, path)
        wanted = (COEF, INTERCEPT) if header.kind == "sentences" else (ESTIMATOR,)
        parts = {name: _part(archive, name, path) for name in wanted}
    for name, data in parts.items():
        if hashlib.sha256(data).hexdigest() != header.digests.get(name):
            raise DataIntegrityError(f"{path}: {name} is damaged: train it again")
    digest = sha256_of(Path(path).expanduser())
    if header.kind == "skops":
        return Trained(header, _estimator(parts[ESTIMATOR], path, trusted), digest)
    if header.encoder != minilm_sha256():
        there = f"install its own ({MINILM_INSTALL})" if header.encoder == MINILM_SHA256 else "train it again here"
        raise DataIntegrityError(
            f"{path} was trained on another sentence encoder than is here (clucert weights): {there}"
        )
    return Trained(header, _sentences(parts, len(header.classes), path), digest)


def _opened(path: str | Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(Path(path).expanduser())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        raise InputError(f"{path} is no trained classifier: clucert train writes them") from None


def _part(archive: zipfile.ZipFile, name: str, path: str | Path) -> bytes:
    most = _MOST_BYTES[name]
    try:
        with archive.open(name) as stream:
            data = stream.read(most + 1)
    except KeyError:
        raise InputError(f"{path} is no trained classifier: it has no {name}") from None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DataIntegrityError(f"{path}: {name} is damaged ({shortened(str(error), 80)})") from None
    if len(data) > most:
        raise InputError(f"{path}: {name} has more than {most:,} bytes")
    return data


def _header(archive: zipfile.ZipFile, path: str | Path) -> Header:
    try:
        fields = json_value(_part(archive, HEADER, path), str(path))
        newer = fields.get("format") if isinstance(fields, dict) else None
        if isinstance(newer, int) and newer > FORMAT:
            raise InputError(f"{path} has format {newer}, newer than {FORMAT}: upgrade")
        header = Header.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path}: {first_problem(error)}") from None
    if len(set(class_names(header.classes))) < len(header.classes):
        raise InputError(f"{path}: classes: two have one name")
    return header


def _sentences(parts: Mapping[str, bytes], classes: int, path: str | Path) -> SentenceModel:
    coef, intercept = (_array(parts[name], name, path) for name in (COEF, INTERCEPT))
    rows = 1 if classes == 2 else classes
    if coef.shape != (rows, MiniLmEncoder.dim) or intercept.shape != (rows,):
        raise InputError(f"{path}: its arrays have the shapes {coef.shape} and {intercept.shape}")
    return SentenceModel(coef, intercept)


def _array(data: bytes, name: str, path: str | Path) -> NDArray[np.float64]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise InputError(f"{path}: {name} is no array: {shortened(str(error), 80)}") from None
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or not np.isfinite(array).all():
        raise InputError(f"{path}: {name} must hold finite numbers of 64 bits")
    return array


def _estimator(data: bytes, path: str | Path, trusted: Sequence[str]) -> Predicts:
    skops = skops_io()
    strange = [name for name in skops.get_untrusted_types(data=data) if name not in trusted]
    if strange:
        raise InputError(
            f"{path} holds types that skops does not know: {', '.join(strange)[:200]}; where you trust them, load it "
            "in Python with  clucert.sklearn.load(path, trusted=[…])"
        )
    estimator: Predicts = skops.loads(data, trusted=list(trusted))
    return estimator


def skops_io() -> Any:
    """The library that keeps scikit-learn's estimators without pickle. Raises :class:`MissingExtraError`."""
    try:
        import skops.io
    except ImportError:
        raise MissingExtraError("skops, which keeps estimators of scikit-learn's", SKOPS) from None
    return skops.io
