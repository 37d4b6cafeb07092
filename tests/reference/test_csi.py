"""CSI against clusters worked out by hand, a direct transcription of its definition, and scikit-learn's DBSCAN."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import DBSCAN

from embrm import detectors
from embrm.core.arrays import Array
from embrm.detectors._dbscan import dbscan, nearest
from embrm.errors import DataError, OptionError

CSI = detectors.get("csi")

# Two clusters of four corners of a unit square, centred on (10.5, .5) and (.5, 20.5), and two lone points.
SQUARE = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
OUTPUTS = np.concatenate([SQUARE + np.array([10, 0]), SQUARE + np.array([0, 20]), [[-7.0, 0], [3.0, -5]]])
REFERENCE = np.array([[0.0, 0], [0.5, 16.5], [3.0, 0], [7.5, 0.5]])
# d of the first: to (7.5, .5) is 3; of the second: to (.5, 16.5) is 4; of the lone ones: 7 and 5, of their centroid
# (-2, -2.5): to (0, 0) is sqrt(10.25).
EXPECTED = {
    "drop": 4 * 3 + 4 * 4,
    "singletons": 4 * 3 + 4 * 4 + 7 + 5,
    "cluster": 4 * 3 + 4 * 4 + 2 * 10.25**0.5,
}


@pytest.mark.parametrize("noise", sorted(EXPECTED))
def test_hand_computed_clusters(noise: str) -> None:
    verdict = CSI(eps=1.1, min_samples=3, noise=noise).fit(REFERENCE).check(OUTPUTS)
    np.testing.assert_allclose(verdict.details["csi"], EXPECTED[noise], rtol=1e-12)
    np.testing.assert_allclose(verdict.details["per_sample"], EXPECTED[noise] / 10, rtol=1e-12)
    np.testing.assert_allclose(verdict.scores[:8], [3] * 4 + [4] * 4, rtol=1e-12)
    np.testing.assert_allclose(verdict.scores.sum(), EXPECTED[noise], rtol=1e-12)
    assert verdict.details["clusters"] == 2
    assert verdict.details["noise"] == 2


def test_duplicates_count_once_or_every_time() -> None:
    # Three copies of a lone point are a cluster of their own when all rows count, and noise when each text counts once.
    outputs = np.concatenate([OUTPUTS, [OUTPUTS[8]] * 2])
    recipe = {"eps": 1.1, "min_samples": 3, "noise": "singletons"}
    once = CSI(**recipe, duplicates="once").fit(REFERENCE).check(outputs)
    count = CSI(**recipe, duplicates="count").fit(REFERENCE).check(outputs)
    np.testing.assert_allclose(once.details["csi"], EXPECTED["singletons"], rtol=1e-12)
    np.testing.assert_allclose(count.details["csi"], EXPECTED["singletons"] + 2 * 7, rtol=1e-12)
    assert (once.details["clusters"], count.details["clusters"]) == (2, 3)
    np.testing.assert_allclose(once.scores, count.scores, rtol=1e-12)


def transcribed(outputs: Array, reference: Array, *, eps: float, noise: str) -> float:
    labels = DBSCAN(eps=eps, min_samples=5).fit(outputs).labels_
    total = 0.0
    for c in set(labels):
        members = outputs[labels == c]
        if c == -1 and noise == "drop":
            continue
        if c == -1 and noise == "singletons":
            total += cdist(members, reference).min(axis=1).sum()
        else:
            total += len(members) * cdist(members.mean(axis=0, keepdims=True), reference).min()
    return total


@pytest.mark.parametrize("noise", ["cluster", "drop", "singletons"])
@pytest.mark.parametrize("seed", range(5))
def test_the_definition_transcribed(seed: int, noise: str) -> None:
    # Clusters apart: a border row between two is the one thing that DBSCAN's definition leaves open.
    rng = np.random.default_rng(seed)
    centres = 8.0 * np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]])
    outputs = centres[rng.integers(4, size=150)] + 0.5 * rng.normal(size=(150, 3))
    outputs, reference = outputs.astype(np.float32), rng.normal(size=(80, 3)).astype(np.float32)
    verdict = CSI(eps=0.7, noise=noise).fit(reference).check(outputs)
    labels = DBSCAN(eps=0.7).fit(outputs).labels_
    assert labels.max() >= 1
    np.testing.assert_allclose(verdict.details["csi"], transcribed(outputs, reference, eps=0.7, noise=noise), rtol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_dbscan_has_the_cores_noise_and_components_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rng.integers(1, 900), rng.integers(1, 4))).round(2)  # rounded: with duplicates
    eps = rng.uniform(0.02, 0.6)
    theirs = DBSCAN(eps=eps, min_samples=5).fit(x)
    ours, core = dbscan(x, eps=eps, min_samples=5), theirs.core_sample_indices_
    np.testing.assert_array_equal(ours < 0, theirs.labels_ < 0)
    pairs = set(zip(ours[core], theirs.labels_[core], strict=True))
    assert len(pairs) == len(set(ours[core])) == len(set(theirs.labels_[core]))
    for row in np.flatnonzero((ours >= 0) & ~np.isin(np.arange(len(x)), core)):
        assert cdist(x[[row]], x[core][ours[core] == ours[row]]).min() <= eps


@pytest.mark.parametrize("width", [2, 40])  # by a tree, and by products of matrices
@pytest.mark.parametrize("k", [1, 4, 30])
def test_nearest_rows_are_those_of_all_distances(width: int, k: int) -> None:
    rng = np.random.default_rng(k)
    x, to = rng.normal(size=(50, width)) + 7, rng.normal(size=(30, width)) + 7
    distance, found = nearest(x, to, k=k)
    every = cdist(x, to)
    np.testing.assert_array_equal(found, np.argsort(every, axis=1)[:, :k])
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :k], rtol=1e-9)


def test_eps_reference_is_the_percentile_of_the_fifth_neighbour() -> None:
    reference = np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32)
    verdict = CSI().fit(reference).check(reference[:50] + 1)
    fifth = np.sort(cdist(reference, reference), axis=1)[:, 5]  # column 0 is the row itself
    np.testing.assert_allclose(verdict.details["eps"], np.percentile(fifth, 95), rtol=1e-6)


def test_the_statistic_is_zero_on_clean_outputs_where_the_raw_index_is_not() -> None:
    values, raw = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        details = CSI().fit(rng.normal(size=(400, 32)), seed=seed).check(rng.normal(size=(200, 32)))
        values.append(details.statistic)
        raw.append(details.details["per_sample"])
    error = np.std(values, ddof=1) / 20**0.5
    assert abs(np.mean(values)) < 3 * error
    assert np.mean(raw) > 3
    assert error < 0.05


def test_pca_is_the_projection_on_the_reference_axes() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(60, 5)) * [9, 5, 1, 1, 1]
    outputs = rng.normal(size=(30, 5))  # as many as the clean split: no set of it is drawn
    axes = np.linalg.svd(reference - reference.mean(axis=0), full_matrices=False)[2][:2]
    by_hand = CSI(eps=2.0).fit(reference @ axes.T).check(outputs @ axes.T)
    verdict = CSI(space="pca", eps=2.0).fit(reference).check(outputs)
    np.testing.assert_allclose(verdict.details["csi"], by_hand.details["csi"], rtol=1e-4)
    np.testing.assert_allclose(verdict.statistic, by_hand.statistic, rtol=1e-3, atol=1e-5)


def test_tsne_sees_a_cluster_apart() -> None:
    rng = np.random.default_rng(2)
    fitted = CSI(space="tsne").fit(rng.normal(size=(120, 10)))
    apart = fitted.check(9 + 0.1 * rng.normal(size=(40, 10)))
    assert apart.statistic > fitted.check(rng.normal(size=(40, 10))).statistic


def test_a_reference_of_one_prompt_has_no_clean_split() -> None:
    verdict = CSI(eps=1.1, min_samples=3).fit(REFERENCE, prompt=[7] * 4).check(OUTPUTS)
    assert verdict.statistic == verdict.details["per_sample"]
    assert any("no clean split" in warning for warning in verdict.warnings)


def test_the_clean_split_is_by_prompt() -> None:
    # Prompts lie far apart: a clean row whose own prompt stood on the other side would be near, not 100 away.
    prompt = np.repeat(np.arange(10), 20)
    reference = 100.0 * np.eye(10)[prompt] + np.random.default_rng(0).normal(size=(200, 10))
    verdict = CSI(eps=20.0).fit(reference, prompt=prompt).check(reference)
    assert verdict.details["clean_split"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 0.5, 1e-3, 0.0])
def test_a_collapsed_policy_costs_no_memory(spread: float) -> None:
    import tracemalloc

    rng = np.random.default_rng(0)
    reference = rng.normal(size=(6000, 64)).astype(np.float32)
    outputs = (1 + spread * rng.normal(size=(6000, 64))).astype(np.float32)
    fitted = CSI(duplicates="count").fit(reference)
    tracemalloc.start()
    fitted.check(outputs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # all pairs of neighbours would be 6000^2 x 8 = 288e6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": "umap"}, "space must be one of latent, pca, tsne"),
        ({"noise": "keep"}, "noise must be one of"),
        ({"duplicates": "no"}, "duplicates must be one of"),
        ({"eps": 0.0}, "eps must be 'reference' or a number > 0"),
        ({"eps": "auto"}, "eps must be 'reference' or a number > 0"),
        ({"min_samples": 0}, "min_samples must be at least 1"),
        ({"components": 0}, "components must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CSI(**options)


def test_eps_from_too_small_a_reference_is_refused() -> None:
    with pytest.raises(DataError, match="at least 6 distinct reference rows"):
        CSI().fit(np.repeat(np.eye(5), 3, axis=0))
