import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clucert.core.denoise import (
    Agglomerative,
    Denoiser,
    Hdbscan,
    KMeans,
    OneCluster,
    cosine_distances,
    load_clusterer,
    medoid_of_largest,
)
from clucert.errors import InputError, UnknownNameError
from clucert.protocols import Clusterer

Rows = NDArray[np.float32]
CLUSTERERS = [Agglomerative(), Agglomerative(0.3), KMeans(3, n_init=2), Hdbscan(3), OneCluster(), OneCluster("none")]
by_name = pytest.mark.parametrize("clusterer", CLUSTERERS, ids=repr)
quick = settings(deadline=None, max_examples=25)


def unit(rows: NDArray[np.float64]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def around(centre: int, size: int, *, spread: float, seed: int = 0, dim: int = 16) -> Rows:
    """Rows near one axis."""
    rng = np.random.default_rng(seed)
    return unit(np.eye(dim)[centre] + spread * rng.normal(size=(size, dim)))


@st.composite
def batches(draw: st.DrawFn, least: int = 1) -> Rows:
    """Unit rows: a few blobs of any spread, copies among them, in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(least, 40))
    dim = draw(st.sampled_from([2, 3, 8]))
    centres = rng.normal(size=(draw(st.integers(1, 4)), dim))
    spread = draw(st.sampled_from([0.01, 0.2, 1.0]))
    rows = centres[rng.integers(len(centres), size=size)] + spread * rng.normal(size=(size, dim))
    copied = draw(st.sampled_from([0.0, 0.5]))
    return unit(np.where((rng.random(size) < copied)[:, None], rows[0], rows))


# Clusterers


@by_name
@quick
@given(rows=batches(), seed=st.integers(0, 1000))
def test_shuffling_the_samples_shuffles_the_clusters(clusterer: Clusterer, rows: Rows, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    np.testing.assert_array_equal(clusterer(rows[order]), clusterer(rows)[order])


@by_name
@quick
@given(rows=batches())
def test_every_row_has_a_label_and_copies_share_it(clusterer: Clusterer, rows: Rows) -> None:
    twice = clusterer(np.concatenate([rows, rows]))
    assert twice.shape == (2 * len(rows),)
    assert twice.dtype == np.intp
    np.testing.assert_array_equal(twice[: len(rows)], twice[len(rows) :])


@by_name
@pytest.mark.parametrize("size", [0, 1, 2, 50])
def test_identical_rows_are_never_split(clusterer: Clusterer, size: int) -> None:
    labels = clusterer(np.repeat(around(0, 1, spread=0.1), size, axis=0))
    assert labels.shape == (size,)
    assert len(set(labels.tolist())) == min(size, 1)


@quick
@given(rows=batches(least=2), diameter=st.floats(0, 2))
def test_complete_linkage_bounds_the_diameter_of_every_cluster(rows: Rows, diameter: float) -> None:
    labels = Agglomerative(diameter)(rows)
    distances = cosine_distances(rows)
    together = labels[:, None] == labels[None, :]
    assert distances[together].max() <= diameter + 1e-9


@quick
@given(rows=batches(least=2), diameter=st.floats(0, 2))
def test_complete_linkage_merges_all_it_may(rows: Rows, diameter: float) -> None:
    """Two clusters are left apart only when together they would break the bound."""
    labels = Agglomerative(diameter)(rows)
    distances = cosine_distances(rows)
    for a in np.unique(labels):
        for b in np.unique(labels[labels > a]):
            assert distances[np.ix_(labels == a, labels == b)].max() > diameter - 1e-9


def test_cosine_distances_agree_with_scipy() -> None:
    from scipy.spatial.distance import cdist

    rows = around(0, 20, spread=1.0)
    np.testing.assert_allclose(cosine_distances(rows), cdist(rows, rows, "cosine"), atol=1e-6)


@pytest.mark.parametrize("clusterer", [Agglomerative(), KMeans(), Hdbscan()], ids=repr)
def test_two_blobs_are_told_apart(clusterer: Clusterer) -> None:
    rows = np.concatenate([around(0, 30, spread=0.05), around(1, 20, spread=0.05, seed=1)])
    labels = clusterer(rows)
    assert len(set(labels[:30].tolist())) == len(set(labels[30:].tolist())) == 1
    assert labels[0] != labels[30]


def test_k_means_weighs_copies() -> None:
    """A text that was drawn often pulls its centroid as often as it was drawn."""
    few = unit(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]))
    assert KMeans(2)(few)[1] == KMeans(2)(few)[0]
    often = np.concatenate([few, np.repeat(few[:1], 200, axis=0), np.repeat(few[1:2], 200, axis=0)])
    labels = KMeans(2)(often)
    assert labels[1] != labels[0]


def test_hdbscan_marks_outliers() -> None:
    rows = np.concatenate([around(0, 30, spread=0.02), around(5, 1, spread=0.0), around(9, 1, spread=0.0)])
    labels = Hdbscan()(rows)
    assert set(labels[30:].tolist()) == {-1}
    assert (labels[:30] >= 0).mean() > 0.8
    assert set(Hdbscan(5)(rows[:4]).tolist()) == {-1}


# The filter


@by_name
@quick
@given(rows=batches(), threshold=st.none() | st.floats(-1, 1))
def test_the_kept_are_one_largest_cluster(clusterer: Clusterer, rows: Rows, threshold: float | None) -> None:
    if clusterer.name == "threshold" and threshold is None:
        return
    kept = Denoiser(clusterer, threshold).select(rows, rows[0])
    assert kept.shape == (len(rows),)
    if clusterer.name == "none":
        assert kept.all()
        return
    near = rows @ rows[0] >= (-2 if threshold is None else threshold - 1e-6)
    assert not kept[~near].any()
    labels = clusterer(rows[near])
    sizes = np.unique_counts(labels[labels >= 0]).counts
    assert kept.sum() == (sizes.max() if len(sizes) else 0)
    assert len(set(labels[kept[near]].tolist())) <= 1


@by_name
@quick
@given(rows=batches(), seed=st.integers(0, 1000))
def test_shuffling_the_samples_shuffles_what_is_kept(clusterer: Clusterer, rows: Rows, seed: int) -> None:
    denoiser = Denoiser(clusterer, 0.2)
    original = unit(np.ones(rows.shape[1]) + rows[0])
    order = np.random.default_rng(seed).permutation(len(rows))
    before, after = denoiser.select(rows, original), denoiser.select(rows[order], original)
    assert before.sum() == after.sum()
    # Two equally large and equally near clusters are told apart by order alone.
    if not np.array_equal(after, before[order]):
        centroids = [rows[mask].mean(axis=0) for mask in (before, after[np.argsort(order)])]
        cosines = [c @ original / np.linalg.norm(c) for c in centroids]
        assert cosines[0] == pytest.approx(cosines[1], abs=1e-6)


@quick
@given(rows=batches(), diameter=st.floats(0.01, 1.5))
def test_the_kept_cluster_is_no_wider_than_its_diameter(rows: Rows, diameter: float) -> None:
    kept = Denoiser(Agglomerative(diameter)).select(rows, rows[0])
    assert cosine_distances(rows[kept]).max() <= diameter + 1e-9


def test_the_larger_of_two_meanings_is_kept() -> None:
    rows = np.concatenate([around(1, 20, spread=0.05, seed=1), around(0, 30, spread=0.05)])
    np.testing.assert_array_equal(Denoiser(Agglomerative(0.5)).select(rows, rows[0]), np.arange(50) >= 20)


def test_a_tie_goes_to_the_cluster_nearest_to_the_original() -> None:
    rows = np.concatenate([around(0, 9, spread=0.05), around(1, 9, spread=0.05, seed=1)])
    for axis, expected in ((0, np.arange(18) < 9), (1, np.arange(18) >= 9)):
        original = unit(np.eye(16)[axis] + 0.3)
        np.testing.assert_array_equal(Denoiser(Agglomerative(0.5)).select(rows, original), expected)


def test_a_perfect_tie_goes_to_the_first_sample() -> None:
    rows = np.eye(3, dtype=np.float32)[[2, 1]]
    original = unit(np.ones(3))
    for order in ([0, 1], [1, 0]):
        kept = Denoiser(Agglomerative(0.1)).select(rows[order], original)
        np.testing.assert_array_equal(kept, [True, False])


@by_name
def test_nothing_over_the_threshold_keeps_nothing(clusterer: Clusterer) -> None:
    rows = around(0, 12, spread=0.01)
    kept = Denoiser(clusterer, 0.9).select(rows, np.eye(16, dtype=np.float32)[3])
    assert kept.all() if clusterer.name == "none" else not kept.any()


def test_a_sample_that_repeats_the_original_passes_any_threshold() -> None:
    rows = around(0, 200, spread=1.0)
    for row in rows:
        assert Denoiser(OneCluster(), 1.0).select(row[None], row).all()


def test_all_noise_keeps_nothing() -> None:
    kept = Denoiser(Hdbscan(5)).select(np.eye(4, dtype=np.float32), unit(np.ones(4)))
    assert kept.tolist() == [False] * 4


@by_name
def test_no_samples_are_no_trouble(clusterer: Clusterer) -> None:
    kept = Denoiser(clusterer, 0.5).select(np.empty((0, 8), np.float32), np.ones(8, np.float32))
    assert kept.shape == (0,)


def test_only_no_clustering_needs_no_embeddings() -> None:
    assert not Denoiser(load_clusterer("none"), 0.5).needs_embeddings
    assert Denoiser(load_clusterer("threshold"), 0.5).needs_embeddings
    assert Denoiser(load_clusterer()).needs_embeddings


@pytest.mark.parametrize("threshold", [1.5, -2.0, float("nan")])
def test_a_threshold_is_a_cosine(threshold: float) -> None:
    with pytest.raises(InputError, match="from -1 to 1"):
        Denoiser(Agglomerative(), threshold)


def test_threshold_alone_needs_one() -> None:
    with pytest.raises(InputError, match="needs a similarity threshold"):
        Denoiser(OneCluster("threshold"))


# The recoveries of one masked text


def brute_medoid(rows: Rows, clusterer: Clusterer) -> int:
    labels = clusterer(rows)
    groups = [np.flatnonzero(labels == name) for name in np.unique(labels[labels >= 0])] or [np.arange(len(rows))]
    mean = rows.mean(axis=0, dtype=np.float64)

    def rank(group: NDArray[np.intp]) -> tuple[int, float, int]:
        centroid = rows[group].mean(axis=0, dtype=np.float64)
        scale = np.linalg.norm(centroid) * np.linalg.norm(mean)
        return (-len(group), -round(float(centroid @ mean / scale), 9), int(group[0]))

    group = min(groups, key=rank)
    return int(min(group, key=lambda i: (round(float(cosine_distances(rows)[i, group].sum()), 7), i)))


@pytest.mark.parametrize("clusterer", [Agglomerative(0.4), Hdbscan(3), KMeans(2, n_init=1)], ids=repr)
@quick
@given(rows=batches(least=1))
def test_the_medoid_is_the_brute_force_one(clusterer: Clusterer, rows: Rows) -> None:
    found = int(medoid_of_largest(rows, clusterer))
    expected = brute_medoid(rows, clusterer)
    if found != expected:
        # Sums that differ in their last digits only are a tie that rounding may call either way.
        members = clusterer(rows) == clusterer(rows)[expected]
        sums = cosine_distances(rows)[:, members].sum(axis=1)
        assert members[found]
        assert sums[found] == pytest.approx(sums[expected], abs=1e-6)


def test_many_masked_texts_at_once_are_as_many_one_by_one() -> None:
    rng = np.random.default_rng(3)
    rows = unit(rng.normal(size=(50, 1, 12)) + 0.6 * rng.normal(size=(50, 6, 12)))
    together = medoid_of_largest(rows)
    assert together.shape == (50,)
    assert together.tolist() == [int(medoid_of_largest(row)) for row in rows]
    assert len(set(together.tolist())) > 1


def test_the_medoid_shares_the_meaning_of_most() -> None:
    rows = np.concatenate([around(1, 2, spread=0.05), around(0, 5, spread=0.05)])
    assert int(medoid_of_largest(rows)) >= 2


def test_equal_recoveries_are_the_first() -> None:
    assert int(medoid_of_largest(np.repeat(around(0, 1, spread=0.3), 4, axis=0))) == 0
    pair = np.eye(2, dtype=np.float32)
    assert int(medoid_of_largest(pair)) == 0


@pytest.mark.parametrize("shape", [(0, 4), (3, 0, 4), (4,)])
def test_no_recoveries_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="recoveries must have shape"):
        medoid_of_largest(np.empty(shape, np.float32))


# Names


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("agglomerative", Agglomerative()),
        ("agglomerative:0.5", Agglomerative(0.5)),
        ("agglomerative:diameter=0.5", Agglomerative(0.5)),
        ("kmeans:3", KMeans(3)),
        ("kmeans:k=3, seed=7", KMeans(3, seed=7)),
        ("hdbscan:10,epsilon=0.2", Hdbscan(10, epsilon=0.2)),
        ("threshold", OneCluster("threshold")),
        ("none", OneCluster("none")),
    ],
)
def test_a_specification_is_a_name_with_parameters(specification: str, expected: Clusterer) -> None:
    assert load_clusterer(specification) == expected
    assert load_clusterer(specification).name == specification.partition(":")[0]


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("aglomerative", "did you mean 'agglomerative'"),
        ("dbscan", "did you mean 'hdbscan'"),
        ("", "unknown clusterer ''"),
        ("kmeans:clusters=3", "unknown parameter of kmeans 'clusters': known: k, n_init, seed"),
    ],
)
def test_an_unknown_name_says_the_known_ones(specification: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load_clusterer(specification)


@pytest.mark.parametrize(
    "specification",
    [
        "kmeans:0",
        "kmeans:two",
        "kmeans:2.5",
        "kmeans:seed=-1",
        "hdbscan:1",
        "hdbscan:5,epsilon=0",
        "agglomerative:3",
        "agglomerative:nan",
        "none:1",
        "threshold:0.5",
    ],
)
def test_a_value_out_of_range_is_refused(specification: str) -> None:
    with pytest.raises(InputError):
        load_clusterer(specification)
