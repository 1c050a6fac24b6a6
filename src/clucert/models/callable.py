"""Any Python callable as a base classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from clucert.errors import BadAnswerError, InputError
from clucert.protocols import Classifier
from clucert.tasks.classification import check_labels
from clucert.types import Predictions, Usage, Vote


class CallableClassifier:
    """``classify`` gets a list of texts and returns one label, label index, or None (UNPARSED) for each, in order.

    Anything else it returns is a :class:`BadAnswerError`, never a vote. ``deterministic`` is the caller's word that
    equal texts always get equal labels: they are then asked about once. Without it each draw is asked about, as a
    callable that draws at random would else have one draw counted as many.
    """

    def __init__(
        self,
        classify: Callable[[list[str]], Sequence[str | int]],
        labels: Sequence[str],
        *,
        name: str | None = None,
        deterministic: bool = False,
    ) -> None:
        check_labels(labels)
        self.name = name or str(getattr(classify, "__name__", type(classify).__name__))
        self.deterministic = deterministic
        self._labels = tuple(labels)
        self._classify = classify

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed label set."""
        return self._labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """Vote on each text, in order. A deterministic callable sees equal texts once; an empty batch not at all."""
        asked = list(dict.fromkeys(texts)) if self.deterministic else list(texts)
        if not asked:
            return Predictions(())
        found = self._classify(list(asked))
        if isinstance(found, str) or not hasattr(found, "__len__") or len(found) != len(asked):
            what = f"{len(found)} labels" if hasattr(found, "__len__") and not isinstance(found, str) else repr(found)
            raise BadAnswerError(f"{self.name} must return one label for each of {len(asked)} texts, got {what[:80]}")
        votes = [self._vote(label) for label in found]
        if self.deterministic:
            known = dict(zip(asked, votes, strict=True))
            votes = [known[text] for text in texts]
        return Predictions(tuple(votes), Usage(calls=len(asked)))

    def _vote(self, label: object) -> Vote:
        if label is None or (isinstance(label, str) and label in self._labels):
            return None if label is None else str(label)
        if not isinstance(label, bool | str):
            try:
                position = index(label)  # type: ignore[arg-type]  # NumPy's integers are no int
            except TypeError:
                position = -1
            if 0 <= position < len(self._labels):
                return self._labels[position]
        raise BadAnswerError(f"{self.name} returned {str(label)[:40]!r}, which is none of {list(self._labels)}")


class DeclaredClassifier:
    """``classifier`` with the user's word, which comes before its own, on whether equal texts get equal votes."""

    def __init__(self, classifier: Any, labels: Sequence[str], *, deterministic: bool) -> None:
        self.name = str(getattr(classifier, "name", type(classifier).__name__))
        self.deterministic = deterministic
        self._labels, self._classifier = tuple(labels), classifier

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed label set."""
        return self._labels

    def predict(self, texts: Sequence[str], *, first_draw: int = 0) -> Predictions:
        """The votes of the classifier."""
        found: Predictions = self._classifier.predict(texts, first_draw=first_draw)
        return found


def declared(classify: object, labels: Sequence[str], deterministic: bool | None) -> Classifier:
    """A callable, or whatever has ``predict``, as a classifier. It samples unless it, or ``deterministic``, says
    that it does not. Raises :class:`InputError` for anything else.
    """
    if isinstance(classify, Classifier):
        known = deterministic is None or deterministic == classify.deterministic
        return classify if known else DeclaredClassifier(classify, labels, deterministic=bool(deterministic))
    if hasattr(classify, "predict"):
        return DeclaredClassifier(classify, labels, deterministic=bool(deterministic))
    if not callable(classify):
        raise InputError(f"{type(classify).__name__} is no classifier: give a function from texts to labels")
    return CallableClassifier(classify, labels, deterministic=bool(deterministic))
