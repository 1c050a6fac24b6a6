"""The clustering filter: of N noised texts, keep those whose meaning most of them share.

A sample stays when its embedding has cosine similarity ≥ τ to the original's *and* lies in the largest cluster of those
that pass. This looks at the whole batch, which is assumption A3 of the published certificate; :func:`medoid_of_largest`
is the filter that keeps the proof, because it looks at recoveries of one masked text only.

All clusterers are pure functions of the *set* of rows: they work on the distinct rows in a canonical order, so
shuffling the samples shuffles the answer and changes nothing else, and copies of a text share its fate but count
one each when the largest cluster is sought.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clucert.errors import InputError, UnknownNameError
from clucert.protocols import Clusterer

Floats = NDArray[np.float32] | NDArray[np.float64]
Labels = NDArray[np.intp]

NOISE = -1
"""The label of a row that belongs to no cluster."""


@dataclass(frozen=True, slots=True)
class Denoiser:
    """The filter: ``clusterer`` over the samples whose cosine similarity to the original is at least ``threshold`` (τ).

    ``threshold=None`` checks no similarity. The clusterer ``none`` keeps every sample and ignores τ.

    Raises InputError when τ is outside [−1, 1], and when the clusterer ``threshold`` has none.
    """

    clusterer: Clusterer
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise InputError(f"the similarity threshold is a cosine: from -1 to 1, not {self.threshold}")
        if self.threshold is None and self.clusterer.name == "threshold":
            raise InputError("clustering 'threshold' needs a similarity threshold: give one, e.g. 0.5")

    @property
    def needs_embeddings(self) -> bool:
        """Whether anything can be dropped; if not, nobody needs to embed the samples."""
        return self.clusterer.name != "none"

    def select(self, embeddings: Floats, original: Floats) -> NDArray[np.bool_]:
        """Which unit rows, shape (N, d), stay against the original text's, shape (d,): a mask of shape (N,).

        The largest cluster is kept. Of equally large ones the one whose centroid is nearest to the original wins, then
        the one with the first sample. When no sample reaches τ, or the clusterer calls all of them noise, nothing is
        kept: every sample counts as dropped and the certificate abstains.
        """
        samples = len(embeddings)
        if not self.needs_embeddings or samples == 0:
            return np.ones(samples, np.bool_)
        # The float32 rounding of an encoder must not put a sample that repeats the original below τ = 1.
        near = np.asarray(embeddings @ original) >= (-np.inf if self.threshold is None else self.threshold - 1e-6)
        passed = np.flatnonzero(near)
        kept = np.zeros(samples, np.bool_)
        if len(passed):
            labels = self.clusterer(np.asarray(embeddings[passed], np.float32))
            kept[passed[_largest(labels, embeddings[passed], original)]] = True
        return kept


def medoid_of_largest(embeddings: Floats, clusterer: Clusterer | None = None) -> Labels:
    """For each of N masked texts, which of its k recoveries stands for all: shape (N, k, d) → (N,), or (k, d) → ().

    It is the medoid (greatest sum of similarities; then the lowest index) of the largest cluster of the k; of equally
    large clusters the one whose centroid is nearest to the mean of all k, then the one with the first recovery; with
    no cluster at all, the medoid of the k. Neither the original text nor another sample is looked at, so a vote for the
    chosen recovery is a vote of a fixed classifier, as the proved radius asks. ``clusterer`` defaults to complete
    linkage.

    Raises InputError when there are no recoveries to choose from.
    """
    rows = np.asarray(embeddings, np.float64)
    if rows.ndim not in (2, 3) or rows.shape[-2] == 0:
        raise InputError(f"recoveries must have shape (N, k, d) with k ≥ 1, not {rows.shape}")
    if rows.ndim == 2:
        return np.asarray(medoid_of_largest(rows[None], clusterer)[0])
    assign = clusterer or Agglomerative()
    # Rounded, so that similarities that differ by float noise alone tie.
    similarity = np.round(rows @ rows.transpose(0, 2, 1), 9)
    members = np.zeros(rows.shape[:2], np.bool_)
    for i, recoveries in enumerate(rows):
        largest = _largest(assign(recoveries.astype(np.float32)), recoveries, recoveries.mean(axis=0))
        members[i, largest if len(largest) else slice(None)] = True
    closeness = np.einsum("nij,nj->ni", similarity, members)
    return np.asarray(np.where(members, np.round(closeness, 8), -np.inf).argmax(axis=1))


def _largest(labels: Labels, rows: Floats, reference: Floats) -> Labels:
    """Indices of the rows in the largest cluster; none when all rows are noise."""
    clustered = labels[labels != NOISE]
    if len(clustered) == 0:
        return np.empty(0, np.intp)
    names, first, sizes = np.unique(clustered, return_index=True, return_counts=True)
    rivals = sizes == sizes.max()
    ranked = sorted(
        (-_cosine(rows[labels == name], reference), int(index), int(name))
        for name, index in zip(names[rivals], first[rivals], strict=True)
    )
    return np.flatnonzero(labels == ranked[0][2])


def _cosine(rows: Floats, reference: Floats) -> float:
    """Cosine between the rows' centroid and ``reference``, rounded so that float noise breaks no tie."""
    centroid = rows.mean(axis=0, dtype=np.float64)
    scale = float(np.linalg.norm(centroid)) * float(np.linalg.norm(reference))
    return round(float(centroid @ reference) / scale, 9) if scale > 0 else 0.0


# The clusterers. Each is its parameters and a call.


@dataclass(frozen=True, slots=True)
class Agglomerative:
    """Complete linkage on cosine distance, cut at ``diameter``: no two members of a cluster are farther apart.

    That bound on the diameter is what Lemma 1 of the paper asks of the kept cluster.
    """

    diameter: float = 0.8
    """Greatest cosine distance (1 − cos, from 0 to 2) between two members of a cluster."""
    name: str = field(default="agglomerative", init=False)

    def __post_init__(self) -> None:
        _require(0 <= self.diameter <= 2, "the diameter is a cosine distance, from 0 to 2")

    def __call__(self, embeddings: NDArray[np.float32]) -> Labels:
        """Cluster index of each row."""
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        distinct, inverse, _ = _canonical(embeddings)
        if len(distinct) < 2:
            return np.zeros(len(embeddings), np.intp)
        distances = squareform(cosine_distances(distinct), checks=False)
        tree = linkage(distances, method="complete")
        labels: Labels = fcluster(tree, self.diameter, criterion="distance").astype(np.intp) - 1
        return labels[inverse]


@dataclass(frozen=True, slots=True)
class KMeans:
    """``k`` means (fewer when there are fewer distinct rows) of unit vectors; the best of ``n_init`` seeded starts."""

    k: int = 2
    seed: int = 0
    n_init: int = 10
    name: str = field(default="kmeans", init=False)

    def __post_init__(self) -> None:
        _require(self.k >= 1 and self.n_init >= 1 and self.seed >= 0, "k and n_init start at 1, seed at 0")

    def __call__(self, embeddings: NDArray[np.float32]) -> Labels:
        """Cluster index of each row."""
        from sklearn import cluster
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        distinct, inverse, counts = _canonical(embeddings)
        k = min(self.k, len(distinct))
        if k < 2:
            return np.zeros(len(embeddings), np.intp)
        means = cluster.KMeans(n_clusters=k, n_init=self.n_init, random_state=self.seed)
        # Threads would add up a centroid in whatever order they finish.
        with threadpool_limits(1, user_api="openmp"):
            labels: Labels = means.fit_predict(distinct, sample_weight=counts).astype(np.intp)
        return labels[inverse]


@dataclass(frozen=True, slots=True)
class Hdbscan:
    """HDBSCAN on cosine distance; rows in no dense region are noise, and so are fewer than ``min_cluster_size`` rows.

    A batch may be one cluster, as noised texts of one original often are. HDBSCAN would then keep its densest core
    only; here the tree is cut at ``epsilon`` instead.
    """

    min_cluster_size: int = 5
    epsilon: float = 0.3
    """Cosine distance at which a batch that is one cluster is cut."""
    name: str = field(default="hdbscan", init=False)

    def __post_init__(self) -> None:
        _require(self.min_cluster_size >= 2, "min_cluster_size starts at 2")
        _require(0 < self.epsilon <= 2, "epsilon is a cosine distance above 0, at most 2")

    def __call__(self, embeddings: NDArray[np.float32]) -> Labels:
        """Cluster index of each row, −1 for noise."""
        from sklearn import cluster

        if len(embeddings) < self.min_cluster_size:
            return np.full(len(embeddings), NOISE, np.intp)
        distinct, inverse, _ = _canonical(embeddings)
        if len(distinct) == 1:
            return np.zeros(len(embeddings), np.intp)
        # Copies make a region dense, so all rows take part, in canonical order.
        order = np.argsort(inverse, kind="stable")
        where = inverse[order]
        model = cluster.HDBSCAN(
            min_cluster_size=self.min_cluster_size,
            metric="precomputed",
            allow_single_cluster=True,
            copy=False,
        )
        found = model.fit_predict(cosine_distances(distinct)[np.ix_(where, where)])
        # scikit-learn's own cluster_selection_epsilon fails with a TypeError on numpy 2.4.
        if found.max() <= 0:
            found = model.dbscan_clustering(self.epsilon, min_cluster_size=self.min_cluster_size)
        labels = np.empty(len(embeddings), np.intp)
        labels[order] = found
        return labels


@dataclass(frozen=True, slots=True)
class OneCluster:
    """No clustering: ``threshold`` leaves the filtering to τ, ``none`` filters nothing."""

    name: str = "threshold"

    def __call__(self, embeddings: NDArray[np.float32]) -> Labels:
        """One cluster of all rows."""
        return np.zeros(len(embeddings), np.intp)


def cosine_distances(rows: Floats) -> NDArray[np.float64]:
    """``1 − cos`` between rows other than 0: float64, shape (N, N), symmetric, 0 on the diagonal."""
    unit = np.asarray(rows, np.float64)
    # Rows of float32 have unit length up to 1e-7 only, which would set two copies apart.
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    distances: NDArray[np.float64] = np.clip(1.0 - unit @ unit.T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    return np.maximum(distances, distances.T)


def _canonical(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.float32], Labels, Labels]:
    """The distinct rows in an order of their own, where each row went, and how often each occurs."""
    rows = np.ascontiguousarray(embeddings + np.float32(0))  # −0.0 and 0.0 are one number but two bit patterns
    if len(rows) == 0:
        return rows, np.empty(0, np.intp), np.empty(0, np.intp)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return rows[first], inverse, counts


# Names. A specification is a name, or a name with parameters: "kmeans", "kmeans:3", "kmeans:k=3,seed=1".

_CLUSTERERS: dict[str, type[Any]] = {"agglomerative": Agglomerative, "kmeans": KMeans, "hdbscan": Hdbscan}
CLUSTERERS = (*_CLUSTERERS, "threshold", "none")
"""The names that :func:`load_clusterer` knows."""


def load_clusterer(specification: str = "agglomerative") -> Clusterer:
    """The clusterer that is meant by a name, or by a name with parameters.

    ``agglomerative:0.5`` sets the first parameter (the diameter), ``kmeans:k=3,seed=1`` sets them by name.

    Raises UnknownNameError when no clusterer, or no parameter of it, has this name, and InputError for a value that is
    no number or out of its range.
    """
    name, _, arguments = specification.partition(":")
    if name in ("threshold", "none"):
        _require(not arguments, f"clustering {name!r} takes no parameters")
        return OneCluster(name)
    if name not in _CLUSTERERS:
        raise UnknownNameError("clusterer", name, CLUSTERERS)
    kind = _CLUSTERERS[name]
    types = {f.name: type(f.default) for f in dataclasses.fields(kind) if f.init}
    values: dict[str, Any] = {}
    for argument in filter(None, arguments.split(",")):
        key, equals, value = argument.partition("=")
        key, value = (key.strip(), value) if equals else (next(iter(types)), key)
        if key not in types:
            raise UnknownNameError(f"parameter of {name}", key, types)
        values[key] = _number(types[key], value.strip(), key)
    clusterer: Clusterer = kind(**values)
    return clusterer


def _number(kind: type, value: str, key: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{key} must be {kind.__name__}, not {value!r}") from None


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)
