"""A scikit-learn classifier of texts that is trained on noise, and certified.

>>> from clucert.sklearn import CertifiedClassifier
>>> model = CertifiedClassifier(noise="blocks", count=7).fit(texts, labels)  # doctest: +SKIP
>>> model.predict(["WIN a prize now"]), model.certified_score(texts, labels)  # doctest: +SKIP
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from clucert.build import exact_smoother
from clucert.certification import ExactCertification
from clucert.core.exact import ExactCertificate, ExactSmoother
from clucert.core.noise import votes
from clucert.core.settings import Base
from clucert.core.smoothing import side_by_side
from clucert.errors import InputError, UsageError
from clucert.methods import load_exact
from clucert.methods.exact import ExactMethod
from clucert.models import trained
from clucert.models.encoders import MiniLmEncoder, minilm_sha256
from clucert.models.functions import class_names
from clucert.models.trained import SentenceModel
from clucert.runtime.blocking import BlockingExecutor
from clucert.runtime.callable_classifiers import CallableClassifier
from clucert.runtime.computation import Backends

TOGETHER = 256
"""Texts whose sub-texts the estimator is asked about in one call."""


class RowsError(InputError, ValueError):
    """Rows that cannot be trained on or answered; a ValueError, as scikit-learn's tools expect."""


class SentenceClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression on the embeddings of the packaged sentence encoder; needs no download.

    ``C`` is the inverse of the regularisation. Labels weigh alike, however many rows they have.
    """

    def __init__(self, C: float = 1.0) -> None:  # noqa: N803 - scikit-learn's own name
        self.C = C

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Encode the texts and fit."""
        texts = texts_of(X)
        inner = LogisticRegression(C=self.C, max_iter=1000, class_weight="balanced")
        inner.fit(MiniLmEncoder().encode(texts).astype(np.float64), y)
        self.classes_ = inner.classes_
        self.coef_, self.intercept_ = inner.coef_, inner.intercept_
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Shape (texts, classes); a function of each text alone."""
        check_is_fitted(self)
        return SentenceModel(self.coef_, self.intercept_).predict_proba(texts_of(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The likeliest class of each text."""
        found: NDArray[Any] = np.asarray(self.classes_)[np.argmax(self.predict_proba(X), axis=1)]
        return found

    def __sklearn_tags__(self) -> Any:
        return _of_texts(super().__sklearn_tags__())


class CertifiedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose answers are proved to stay under changes of the text.

    A text is cut into the few sub-texts of ``noise``, the estimator answers each, and their label probabilities (or
    votes) are added up: that is what ``predict`` answers, and what ``certify`` proves things about, exactly, without a
    probability of error.

    Parameters
    ----------
        estimator: a scikit-learn classifier of texts, such as a pipeline that begins with a vectoriser; it has to
            answer equal texts alike. None: the packaged sentence encoder with logistic regression.
        noise: a method of few questions: ``groups`` (words inserted, deleted, moved, replaced), ``blocks`` (replaced),
            ``chunks``, or a method file.
        count: groups or blocks of a text (K); None: the method's own.
        sharpness: of label probabilities; None: the method's own.
        copies: noised copies of each row that ``fit`` trains on beside the row.
        copies_of: the method (a name or what :func:`clucert.methods.load_exact` loads) that cuts these copies, where
            another than ``noise`` will cut the texts: ``windows`` for the classifier of a gate. None: ``noise``.
        random_state: of the choice of those copies.

    Attributes
    ----------
        classes_: the labels, sorted.
        estimator_: the estimator that was trained.
        method_: the method that is certified with.

    """

    def __init__(
        self,
        estimator: Any = None,
        noise: str = "groups",
        *,
        count: int | None = None,
        sharpness: float | None = None,
        copies: int = 2,
        copies_of: str | ExactMethod | None = None,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.noise = noise
        self.count = count
        self.sharpness = sharpness
        self.copies = copies
        self.copies_of = copies_of
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Train on the texts and on noised copies of them. Raises :class:`InputError` for what are no texts."""
        texts = texts_of(X)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(texts, labels)
        check_classification_targets(labels)
        self.classes_, counts = np.unique(labels, return_counts=True)
        if len(self.classes_) < 2:
            raise RowsError(
                f"a classifier needs two classes or more, and all rows have one class, {self.classes_[0]!r}"
            )
        self.method_ = self._method()
        self._commonest = int(np.argmax(counts))
        copied, of = self._noised(texts)
        self.estimator_ = clone(SentenceClassifier() if self.estimator is None else self.estimator)
        self.estimator_.fit(_array(texts + copied), np.concatenate([labels, labels[of]]))
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The answer to each text: the class with the largest total over its sub-texts.

        A text without words has no sub-text, and gets the commonest class of the training rows.
        """
        found = [self._answer(certificate) for certificate in self._certificates(X)]
        return np.asarray(self.classes_)[np.array(found, dtype=np.intp)]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """The mean score of each class over the sub-texts, which is what is compared; shape (texts, classes)."""
        rows = []
        for certificate in self._certificates(X):
            totals = votes.total(certificate.family) if certificate else {}
            row = np.array([float(totals.get(name, 0)) for name in self._names])
            if not row.sum():
                row[self._commonest] = 1.0
            rows.append(row / row.sum())
        return np.array(rows).reshape(len(rows), len(self.classes_))

    def certify(self, X: ArrayLike) -> list[ExactCertification]:  # noqa: N803
        """A certificate for each text. Raises :class:`InputError` for a text without words."""
        smoother, texts = self._smoother, texts_of(X)
        if (bare := next((i for i, text in enumerate(texts) if not smoother.has_units(text)), None)) is not None:
            raise RowsError(f"text {bare} has no words: there is nothing to certify")
        return [ExactCertification(found, self.method_) for found in self._run(smoother, texts)]

    def certified_score(self, X: ArrayLike, y: ArrayLike, *, radius: int = 1, threat: str | None = None) -> float:  # noqa: N803
        """The share of rows that are right and stay so under any ``radius`` operations of ``threat``.

        The threat is one that the noise speaks of (``insert``, ``delete``, ``move``, ``replace``, ``edit``); None: its
        first. A text without words is not certified.
        """
        known = self._smoother.settings.threats
        if threat is not None and threat not in known:
            raise UsageError(f"{self.noise} proves nothing of {threat!r}: its threats are {', '.join(known)}")
        return float(np.mean(self.outcomes(X, y, radius=radius)[1][threat or known[0]]))

    def outcomes(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        *,
        radius: int = 1,
    ) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.bool_]]]:
        """Of each row, whether the answer is right, and by threat whether it is right and stays so under any ``radius``
        operations.
        """
        labels, certificates = column_or_1d(y, warn=True), self._certificates(X)
        check_consistent_length(certificates, labels)
        answers = np.asarray(self.classes_)[[self._answer(each) for each in certificates]]
        right: NDArray[np.bool_] = np.asarray(answers == labels)
        proved = {
            threat: right & np.array([each is not None and _reaches(each, threat, radius) for each in certificates])
            for threat in self._smoother.settings.threats
        }
        return right, proved

    def save(self, path: str | Path) -> Path:
        """Write it as a file that ``--model`` and :func:`load` read: JSON and arrays, no pickle.

        An estimator other than the default one is written by skops (``pip install 'clucert[skops]'``).
        """
        check_is_fitted(self)
        file = Path(path)
        estimator = self.estimator_
        default = type(estimator) is SentenceClassifier
        parts = (
            {
                trained.COEF: trained.array_bytes(estimator.coef_.astype(np.float64)),
                trained.INTERCEPT: trained.array_bytes(estimator.intercept_.astype(np.float64)),
            }
            if default
            else {trained.ESTIMATOR: trained.skops_io().dumps(estimator)}
        )
        header = {
            "clucert_version": version("clucert"),
            "kind": "sentences" if default else "skops",
            "classes": np.asarray(self.classes_).tolist(),
            "method": self.method_.model_dump(mode="json", exclude={"tasks", "models"}),
            "encoder": minilm_sha256() if default else None,
            "trained": {"copies": self.copies, "commonest": self._commonest},
        }
        trained.write(file, header, parts)
        return file

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Any:
        return _of_texts(super().__sklearn_tags__())

    def _method(self) -> ExactMethod:
        method = self._asking(self.noise)
        if flags_texts(method):
            raise UsageError(
                f"{self.noise} flags texts, and a classifier answers with a class: take groups or blocks, "
                f"and copies_of={self.noise!r} to train it for a gate"
            )
        return method.for_base(Base(("estimator",), ""), count=self.count, sharpness=self.sharpness)

    def _copying(self) -> ExactMethod:
        given = self.copies_of
        if given is None:
            return self.method_
        method = self._asking(given) if isinstance(given, str) else given
        # What it flags plays no part in how it cuts, but has to be a label.
        return method.model_copy(update={"flag": [self._names[0]], "group": []}) if flags_texts(method) else method

    @staticmethod
    def _asking(name: str) -> ExactMethod:
        method = load_exact(name)
        if method is None:
            raise UsageError(f"{name} draws samples: smooth it with clucert.smooth, or take groups, blocks or chunks")
        return method

    @property
    def _names(self) -> tuple[str, ...]:
        return class_names(np.asarray(self.classes_).tolist())

    @property
    def _smoother(self) -> ExactSmoother:
        check_is_fitted(self)
        return exact_smoother(self.method_, Base((type(self.estimator_).__name__,), ""), self._names)

    def _noised(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
        """Noised copies, and the row that each is of. A text that is all of its own sub-text is copied, too."""
        if self.copies < 0:
            raise UsageError(f"copies: give 0 or more, not {self.copies}")
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        smoother = exact_smoother(self._copying(), Base(("estimator",), ""), self._names)
        copied, of = [], []
        for row, text in enumerate(texts):
            asked = smoother.cut(text).asked if smoother.has_units(text) else ()
            for _ in range(self.copies if asked else 0):
                copied.append(asked[rng.integers(len(asked))])
                of.append(row)
        return copied, np.array(of, dtype=np.intp)

    def _certificates(self, X: ArrayLike) -> list[ExactCertificate | None]:  # noqa: N803
        """The certificate of each text; None of one without words."""
        smoother, texts = self._smoother, texts_of(X)
        asked = [i for i, text in enumerate(texts) if smoother.has_units(text)]
        found: list[ExactCertificate | None] = [None] * len(texts)
        for i, certificate in zip(asked, self._run(smoother, [texts[i] for i in asked]), strict=True):
            found[i] = certificate
        return found

    def _run(self, smoother: ExactSmoother, texts: Sequence[str]) -> Iterator[ExactCertificate]:
        executor = BlockingExecutor(Backends(self._classifier()))
        try:
            for start in range(0, len(texts), TOGETHER):
                steps = [functools.partial(smoother.steps, text) for text in texts[start : start + TOGETHER]]
                yield from executor.run(functools.partial(side_by_side, steps))[0]
        finally:
            executor.close()

    def _classifier(self) -> CallableClassifier:
        estimator, names = self.estimator_, self._names
        places = {name: i for i, name in enumerate(class_names(np.asarray(estimator.classes_).tolist()))}

        def answers(texts: list[str]) -> list[Any]:
            if hasattr(estimator, "predict_proba"):
                columns = [places[name] for name in names]
                return [row[columns] for row in np.asarray(estimator.predict_proba(_array(texts)))]
            return list(class_names(np.asarray(estimator.predict(_array(texts))).tolist()))

        return CallableClassifier(answers, names, name=type(estimator).__name__, deterministic=True)

    def _answer(self, certificate: ExactCertificate | None) -> int:
        if certificate is None or certificate.prediction is None:
            return self._commonest
        return self._names.index(certificate.prediction)


def flags_texts(method: ExactMethod) -> bool:
    """Whether a method says of a text that it is flagged or not, and names no class."""
    return method.family in ("windows", "erase") or bool(method.flag or method.group)


def load(path: str | Path, trusted: Sequence[str] = ()) -> CertifiedClassifier:
    """The classifier that :meth:`CertifiedClassifier.save` or ``clucert train`` wrote. No code of the file is run.

    ``trusted`` names types beyond scikit-learn's that skops may make. Raises :class:`InputError`, one line, for what is
    no such file, and :class:`clucert.errors.DataIntegrityError` for one that is damaged.
    """
    read = trained.read(path, trusted)
    made = CertifiedClassifier(copies=int(read.header.trained.get("copies", 2)))
    made.classes_ = np.array(read.header.classes)
    method = load_exact(str(path))
    if method is None:
        raise RowsError(f"{path}: its method draws samples")
    made.method_ = method
    made.noise, made.count, made.sharpness = made.method_.name, made.method_.count, made.method_.sharpness
    made._commonest = int(read.header.trained.get("commonest", 0)) % len(made.classes_)
    if isinstance(read.model, SentenceModel):
        made.estimator_ = SentenceClassifier()
        made.estimator_.classes_ = made.classes_
        made.estimator_.coef_, made.estimator_.intercept_ = read.model.coef, read.model.intercept
    else:
        made.estimator_ = read.model
        made.estimator = read.model
    return made


def texts_of(X: Any) -> list[str]:  # noqa: N803
    """The texts of a list, an array or a series. Raises :class:`InputError` for anything else, naming the first row."""
    if isinstance(X, str | bytes):
        raise RowsError("give a list of texts: put the one text into a list")
    if hasattr(X, "columns"):
        raise RowsError("give one column of texts, not a table: X['text']")
    values = X.tolist() if hasattr(X, "tolist") else list(X)
    if wrong := next(((i, value) for i, value in enumerate(values) if not isinstance(value, str)), None):
        raise RowsError(f"texts are strings, and row {wrong[0]} is {type(wrong[1]).__name__}: {wrong[1]!r:.40}")
    return values


def _array(texts: Sequence[str]) -> NDArray[Any]:
    """Of objects: NumPy's own strings are as wide as the longest, and cut at a zero character."""
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made


def _reaches(certificate: ExactCertificate, threat: str, radius: int) -> bool:
    found = certificate.proved[threat]
    return found is not None and found.reaches(radius)


def _of_texts(tags: Any) -> Any:
    tags.input_tags.two_d_array = False
    tags.input_tags.one_d_array = True
    tags.input_tags.string = True
    return tags
