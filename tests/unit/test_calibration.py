"""Conformal p-values: uniform on clean rows of new prompts, and refused where alpha is out of their reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, kstest, mannwhitneyu

from embrm import detectors
from embrm.core.arrays import Array, IntArray
from embrm.detectors._calibrated import ConformalScores, split_by_prompt
from embrm.errors import DataError, OptionError


def p_value_of_one_clean_row(name: str, n: int, k: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    verdict = detectors.get(name)().fit(rng.normal(size=(n, k)), seed=seed).check(rng.normal(size=(1, k)))
    assert verdict.p_values is not None
    return float(verdict.p_values[0])


@pytest.mark.parametrize("name", ["mahalanobis", "mop", "neighbours"])
@pytest.mark.parametrize("k", [32, 128])
def test_p_values_of_fresh_splits_are_uniform(name: str, k: int) -> None:
    p = [p_value_of_one_clean_row(name, 200, k, seed) for seed in range(200)]
    assert kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mahalanobis", "mop", "neighbours", "caution"])
@pytest.mark.parametrize(("n", "k", "splits"), [(200, 32, 1000), (200, 128, 1000), (2000, 32, 400), (2000, 128, 400)])
def test_p_values_of_many_fresh_splits_are_uniform(name: str, n: int, k: int, splits: int) -> None:
    splits = splits // 4 if name == "caution" else splits
    p = [p_value_of_one_clean_row(name, n, k, seed) for seed in range(splits)]
    assert kstest(p, "uniform").pvalue > 1e-3


def of_prompts(count: int, rows: int, rng: np.random.Generator) -> tuple[Array, IntArray]:
    """Rows that differ far more between prompts than inside one."""
    prompt = np.repeat(np.arange(count), rows)
    return rng.normal(size=(count, 4))[prompt] + 0.1 * rng.normal(size=(count * rows, 4)), prompt


def test_rows_of_new_prompts_are_flagged_with_probability_alpha() -> None:
    shares: list[Any] = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, prompt = of_prompts(40, 8, rng)
        outputs, new = of_prompts(20, 8, rng)
        fitted = detectors.get("mahalanobis")(alpha=0.1).fit(x, prompt=prompt, seed=seed)
        shares.append(fitted.check(outputs, prompt=100 + new).flagged_fraction)
    assert abs(np.mean(shares) - 0.1) < 4 * np.std(shares, ddof=1) / 300**0.5
    assert np.std(shares) / 300**0.5 < 0.01


def test_a_split_by_row_would_flag_far_too_many() -> None:
    # The trap that the split by prompt avoids, so that this test can tell the two apart.
    shares: list[Any] = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        x, _ = of_prompts(40, 8, rng)
        outputs, _ = of_prompts(20, 8, rng)
        shares.append(detectors.get("neighbours")(alpha=0.1, k=2).fit(x, seed=seed).check(outputs).flagged_fraction)
    assert np.mean(shares) > 0.4


def test_p_values_by_hand() -> None:
    calibration = ConformalScores(np.array([1.0, 2.0, 2.0, 3.0]))
    np.testing.assert_allclose(
        calibration.p_values(np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0])), [1, 1, 0.8, 0.4, 0.4, 0.2]
    )


def test_one_row_of_each_prompt_calibrates() -> None:
    counts = np.zeros(6)
    prompt = np.array([0, 0, 0, 1, 1, 2])
    for seed in range(3000):
        rng = np.random.default_rng(seed)
        kept = ConformalScores.of(np.arange(6.0), prompt, alpha=0.5, rng=rng).scores.astype(int)
        assert prompt[kept].tolist() == [0, 1, 2]
        counts[kept] += 1
    assert chisquare(counts[:3]).pvalue > 1e-3
    assert chisquare(counts[3:5]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("prompts", "alpha", "calibrating"),
    [(50, 0.05, 19), (38, 0.05, 19), (80, 0.05, 39), (200, 0.05, 99), (200, 0.01, 99), (10, 0.5, 5), (100, 0.03, 33)],
)
def test_as_many_prompts_calibrate_as_make_alpha_attainable(prompts: int, alpha: float, calibrating: int) -> None:
    prompt = np.repeat(np.arange(prompts), 3)
    held = split_by_prompt(prompt, alpha=alpha, rng=np.random.default_rng(0))
    assert len(np.unique(prompt[held])) == calibrating
    assert not set(prompt[held]) & set(prompt[~held])


def test_an_alpha_below_the_smallest_p_value_is_refused_with_the_numbers() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(
        OptionError, match=r"below 1/\(n \+ 1\) = 0.0625.* n = 15 .*reference's 30.*at least 38 prompts"
    ):
        detectors.get("mahalanobis")().fit(x)
    with pytest.raises(OptionError, match=r"below 1/\(n \+ 1\) = 0.0909.* n = 10 .*at least 19 prompts"):
        detectors.get("conformal")().fit(x[:10, 0])
    detectors.get("conformal")().fit(x[:19, 0])


def test_without_alpha_the_whole_reference_is_learnt() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    verdict = detectors.get("mahalanobis")(alpha=None).fit(x).check(x)
    assert verdict.p_values is None
    assert verdict.flagged is None
    assert verdict.flagged_fraction is None
    assert verdict.scores.shape == (30,)


def test_outputs_of_learnt_prompts_are_told() -> None:
    rng = np.random.default_rng(0)
    x, prompt = of_prompts(40, 3, rng)
    fitted = detectors.get("mahalanobis")().fit(x, prompt=prompt)
    assert any("63 of 120 outputs answer prompts" in w for w in fitted.check(x, prompt=prompt).warnings)
    assert fitted.check(x, prompt=prompt + 1000).warnings == ()


def test_the_set_p_value_is_uniform_on_clean_sets_of_prompts() -> None:
    p = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, prompt = of_prompts(60, 5, rng)
        outputs, new = of_prompts(30, 5, rng)
        fitted = detectors.get("mahalanobis")().fit(x, prompt=prompt, seed=seed)
        p.append(fitted.check(outputs, prompt=100 + new).details["p_value"])
    assert kstest(p, "uniform").pvalue > 1e-3


def test_a_set_of_one_has_its_rows_p_value() -> None:
    fitted = detectors.get("conformal")(alpha=0.1).fit(range(1, 20))
    for x in (-1.0, 10.5, 99.0):
        verdict = fitted.check([x])
        exact = mannwhitneyu([x], np.arange(1.0, 20.0), alternative="greater", method="exact").pvalue
        assert verdict.p_values is not None
        assert verdict.details["p_value"] == verdict.p_values[0] == pytest.approx(exact)


def test_tied_scores_are_no_evidence() -> None:
    verdict = detectors.get("conformal")().fit(np.ones(50)).check(np.ones(5))
    np.testing.assert_array_equal(verdict.p_values, np.ones(5))
    assert verdict.details["p_value"] == 1


@pytest.mark.parametrize("name", ["caution", "conformal", "mahalanobis", "mop", "neighbours", "dispersion", "mmd"])
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_alpha_is_a_probability(name: str, alpha: float) -> None:
    with pytest.raises(OptionError, match="alpha must be inside"):
        detectors.get(name)(alpha=alpha)


@pytest.mark.parametrize("name", ["conformal", "mop"])
def test_a_detector_that_is_only_its_p_values_needs_alpha(name: str) -> None:
    with pytest.raises(OptionError, match="alpha must be a number"):
        detectors.get(name)(alpha=None)


def test_conformal_takes_one_number_a_row() -> None:
    with pytest.raises(DataError, match="reference must have the reference's 1 columns, got 2"):
        detectors.get("conformal")().fit(np.zeros((50, 2)))
