"""Detectors against direct transcriptions and known laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist, pdist
from scipy.stats import chi2, f
from sklearn.covariance import LedoitWolf

from embrm import detectors
from embrm.detectors._gaussian import FittedGaussian
from embrm.errors import DataError, MissingExtraError, OptionError

NORMAL = np.random.default_rng(0).normal


def test_mahalanobis_is_scikit_learns() -> None:
    x = NORMAL(size=(400, 6)) @ NORMAL(size=(6, 6))
    outputs = 3 * NORMAL(size=(50, 6))
    theirs = LedoitWolf().fit(x).mahalanobis(outputs)
    ours = detectors.get("mahalanobis")(alpha=None).fit(x).check(outputs)
    np.testing.assert_allclose(ours.scores, np.sqrt(theirs), rtol=1e-3)
    squared = detectors.get("mahalanobis")(alpha=None, squared=True).fit(x).check(outputs)
    np.testing.assert_allclose(squared.scores, theirs, rtol=1e-3)


def test_distances_by_a_product_are_those_of_the_triangular_solve() -> None:
    x = NORMAL(size=(500, 60)) @ np.diag(10.0 ** np.linspace(-3, 2, 60))
    gaussian = FittedGaussian.fit(x)
    outputs = 2 * NORMAL(size=(5000, 60))  # more than a chunk
    solved = solve_triangular(gaussian.root, (outputs - gaussian.mean).T / gaussian.unit, lower=True)
    np.testing.assert_allclose(gaussian.squared_distance(outputs), (solved**2).sum(axis=0), rtol=1e-12)


def test_all_equal_rows_are_no_reference() -> None:
    for name in ("mahalanobis", "caution", "dispersion", "mmd"):
        with pytest.raises(DataError, match="are all equal"):
            detectors.get(name)().fit(np.ones((100, 4)))


@pytest.mark.parametrize(("n", "share"), [(2000, 0.022), (200, 0.71)])
def test_fitted_chi_squared_p_values_are_miscalibrated_as_hotelling_says(n: int, share: float) -> None:
    k, alpha = 75, 0.01
    flagged = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        fitted = detectors.get("mop")(method="chi2", alpha=alpha).fit(rng.normal(size=(n, k)))
        flagged.append(fitted.check(rng.normal(size=(1000, k))).statistic)
    # For a new row, D^2 n (n - k) / (k (n^2 - 1)) ~ F(k, n - k).
    law = f.sf(chi2.isf(alpha, k) * n * (n - k) / (k * (n**2 - 1)), k, n - k)
    np.testing.assert_allclose(law, share, rtol=0.03)
    assert abs(np.mean(flagged) - law) < 4 * np.std(flagged, ddof=1) / 20**0.5
    assert np.std(flagged, ddof=1) / 20**0.5 < 0.1 * law


def test_the_calibrated_mop_keeps_its_level_there() -> None:
    flagged = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        fitted = detectors.get("mop")(alpha=0.01).fit(rng.normal(size=(200, 75)), seed=seed)
        flagged.append(fitted.check(rng.normal(size=(1000, 75))).statistic)
    assert abs(np.mean(flagged) - 0.01) < 4 * np.std(flagged, ddof=1) / 40**0.5


def test_chi_squared_mop_says_what_is_wrong_with_it() -> None:
    verdict = detectors.get("mop")(method="chi2").fit(NORMAL(size=(20, 30))).check(NORMAL(size=(5, 30)))
    assert any("p-values are not calibrated" in warning for warning in verdict.warnings)
    assert any("it is singular" in warning for warning in verdict.warnings)


def test_umap_sees_a_cluster_apart() -> None:
    pytest.importorskip("umap", reason="needs the extra umap")
    directions = np.linalg.qr(NORMAL(size=(20, 20)))[0]
    fitted = detectors.get("mop")(method="umap").fit(directions[0] + 0.2 * NORMAL(size=(150, 20)))
    apart, near = (fitted.check(directions[i] + 0.2 * NORMAL(size=(40, 20))) for i in (1, 0))
    assert apart.scores.mean() > near.scores.mean()


def test_umap_without_the_extra_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'embrm\[umap\]'"):
        detectors.get("mop")(method="umap").fit(NORMAL(size=(60, 3))).check(NORMAL(size=(5, 3)))


def test_neighbours_is_the_kth_distance_to_distinct_rows() -> None:
    x, outputs = NORMAL(size=(60, 4)).astype(np.float32), NORMAL(size=(9, 4)).astype(np.float32)
    expected = np.sort(cdist(outputs, x), axis=1)[:, 2]
    ours = detectors.get("neighbours")(k=3, alpha=None).fit(np.repeat(x, 4, axis=0)).check(outputs)
    np.testing.assert_allclose(ours.scores, expected, rtol=1e-5)


def test_caution_is_one_on_what_it_learnt_and_sees_a_broken_relation() -> None:
    e = NORMAL(size=(600, 6))
    h = np.tanh(e @ NORMAL(size=(6, 3)))
    both = np.concatenate([e, h], axis=1)
    detector = detectors.get("caution")(inputs=6, bottleneck=3, alpha=None)
    learnt = detector.fit(both[:500])
    np.testing.assert_allclose(learnt.check(both[:500]).statistic, 1, rtol=1e-6)
    broken = np.concatenate([e[500:], -h[500:]], axis=1)  # each part alone is as usual
    assert learnt.check(broken).statistic > 2 * learnt.check(both[500:]).statistic
    with pytest.raises(DataError, match="leaves none of the 9 columns"):
        detectors.get("caution")(inputs=9, alpha=None).fit(both)


def mmd2(x: np.ndarray, y: np.ndarray, width: float) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * width**2)))

    within = [np.mean([k(a, b) for a, b in itertools.permutations(z, 2)]) for z in (x, y)]
    return float(sum(within) - 2 * np.mean([k(a, b) for a in x for b in y]))


def test_mmd_and_its_permutation_test_transcribed() -> None:
    reference, outputs = NORMAL(size=(6, 2)).astype(np.float32), (1 + NORMAL(size=(4, 2))).astype(np.float32)
    verdict = detectors.get("mmd")(rounds=4999).fit(reference).check(outputs)
    joint = np.concatenate([outputs, reference])
    width = np.sqrt(np.median(pdist(joint) ** 2))
    np.testing.assert_allclose(verdict.details["width"], width, rtol=1e-5)
    np.testing.assert_allclose(verdict.statistic, mmd2(outputs, reference, width), rtol=1e-3, atol=1e-6)
    exact = [
        mmd2(joint[list(rows)], np.delete(joint, rows, axis=0), width) for rows in itertools.combinations(range(10), 4)
    ]
    expected = np.mean(np.array(exact) >= exact[0] - 1e-9)
    np.testing.assert_allclose(verdict.details["p_value"], expected, atol=4 * np.sqrt(expected * (1 - expected) / 5000))


def test_dispersion_transcribed() -> None:
    reference, outputs = 3 * NORMAL(size=(40, 3)), NORMAL(size=(12, 3))
    verdict = detectors.get("dispersion")().fit(reference).check(outputs)
    usual = np.mean(pdist(reference) ** 2)
    np.testing.assert_allclose(verdict.statistic, 1 - np.mean(pdist(outputs) ** 2) / usual, rtol=1e-5)
    others = [np.mean(cdist(outputs[[i]], np.delete(outputs, i, axis=0)) ** 2) for i in range(12)]
    np.testing.assert_allclose(verdict.scores, 1 - np.array(others) / usual, rtol=1e-5)


def test_dispersion_catches_one_constant_string() -> None:
    verdict = detectors.get("dispersion")().fit(NORMAL(size=(50, 8))).check(np.ones((20, 8)))
    np.testing.assert_allclose(verdict.statistic, 1, atol=1e-12)
    assert verdict.details["p_value"] == 0.001
    assert verdict.details["repeated"] == 19


def test_pairs_of_the_same_prompt_are_exchanged_with_each_other() -> None:
    # Prompts differ far more than the collapse within each: only the exchange of pairs sees it.
    centre = 100 * NORMAL(size=(40, 2))
    reference = centre * 1.01
    known, unknown = (
        detectors.get("dispersion")()
        .fit(reference, prompt=np.arange(40))
        .check(centre, prompt=prompt)
        .details["p_value"]
        for prompt in (np.arange(40), np.arange(40, 80))
    )
    assert known < 0.01
    assert unknown > 0.2


@pytest.mark.parametrize("name", ["dispersion", "mmd"])
def test_set_p_values_keep_their_level(name: str) -> None:
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        prompt = np.repeat(np.arange(30), 3)
        x, y = (rng.normal(size=(30, 4))[prompt] + 0.3 * rng.normal(size=(90, 4)) for _ in range(2))
        fitted = detectors.get(name)(rounds=99).fit(x, prompt=prompt, seed=seed)
        p.append(fitted.check(y, prompt=prompt + 30).details["p_value"])
    for level in (0.05, 0.2, 0.5):
        share = np.mean(np.array(p) <= level)
        assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / 200)


@pytest.mark.parametrize("name", ["dispersion", "mmd"])
def test_a_single_output_is_not_a_set(name: str) -> None:
    verdict = detectors.get(name)().fit(NORMAL(size=(20, 3))).check(NORMAL(size=(4, 3)), prompt=[1, 1, 1, 1])
    assert "p_value" not in verdict.details
    assert any("answer one prompt" in warning for warning in verdict.warnings)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mop", {"method": "knn"}, "method must be one of calibrated, chi2, umap"),
        ("neighbours", {"k": 0}, "k must be at least 1"),
        ("caution", {"hidden": 0}, "hidden must be at least 1"),
        ("mmd", {"rounds": 10}, r"below 1/\(rounds \+ 1\)"),
        ("dispersion", {"rows": 1}, "rows must be at least 2"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        detectors.get(name)(**options)


def test_too_few_neighbours_are_refused() -> None:
    with pytest.raises(DataError, match="needs 5 distinct reference rows, got 4"):
        detectors.get("neighbours")(alpha=None).fit(np.repeat(np.eye(4), 10, axis=0))
