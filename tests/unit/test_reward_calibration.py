"""Calibration measures by hand, temperatures that are known, abstention with the coverage that it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss

from embrm import Features, Pairs, Reward
from embrm.errors import DataError, OptionError
from embrm.evaluation.reports import pair_report
from embrm.metrics.calibration import Abstention, Preferences, calibration_report, fit_temperature, tempered


def preferences(n: int, *, seed: int = 0, sharpness: float = 1.0, per_prompt: int = 1) -> tuple[Reward, Pairs]:
    """Pairs drawn from Bradley–Terry with the reward, which is then made too sharp by a factor."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(scale=1.5, size=n)
    margin = np.repeat(margin[::per_prompt], per_prompt)[:n]  # the pairs of one prompt are alike
    uniform = np.repeat(rng.random(n)[::per_prompt], per_prompt)[:n]
    wins = uniform < expit(margin)
    reward = np.stack([margin, np.zeros(n)], axis=1).ravel() * sharpness
    first, second = np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)
    features = Features({"joint": np.zeros((2 * n, 1))}, prompt=np.repeat(np.arange(n) // per_prompt, 2))
    pairs = Pairs(features, np.where(wins, first, second), np.where(wins, second, first))
    return Reward(reward[None], kind="point"), pairs


def test_measures_are_those_of_scikit_learn() -> None:
    reward, pairs = preferences(500, sharpness=2.0)
    weight = np.random.default_rng(1).random(500)
    pairs = Pairs(pairs.features, pairs.chosen, pairs.rejected, weight=weight)
    measured = calibration_report(reward, pairs)
    p_first = expit(reward.draws[0, 0::2] - reward.draws[0, 1::2])
    won = (pairs.chosen % 2 == 0).astype(int)
    np.testing.assert_allclose(measured.nll, log_loss(won, p_first, sample_weight=weight), rtol=1e-9)
    np.testing.assert_allclose(measured.brier, brier_score_loss(won, p_first, sample_weight=weight), rtol=1e-9)


def test_reliability_by_hand() -> None:
    """Two pairs at P = 0.9 (one right, one wrong) and one tie at 0.62."""
    logits = np.log([0.9 / 0.1, 0.1 / 0.9, 0.62 / 0.38])
    features = Features({"joint": np.zeros((6, 1))}, prompt=np.zeros(6, dtype=int))
    reward = Reward(np.stack([logits, np.zeros(3)], axis=1).reshape(1, 6), kind="point")
    pairs = Pairs(features, np.array([0, 2, 4]), np.array([1, 3, 5]), tie=np.array([False, False, True]))
    measured = calibration_report(reward, pairs)
    np.testing.assert_allclose(measured.ece, 0.4)
    np.testing.assert_allclose(measured.brier, (0.01 + 0.81) / 2)
    tie = -(math.log(0.62) + math.log(0.38)) / 2
    np.testing.assert_allclose(measured.nll, (-math.log(0.9) - math.log(0.1) + tie) / 3)
    row = int(np.flatnonzero(measured.weight)[0])
    assert row in (7, 8)  # 0.9 is an edge: rounding decides the side
    np.testing.assert_allclose((measured.accuracy[row], measured.confidence[row], measured.weight[row]), (0.5, 0.9, 2))
    assert np.isnan(np.delete(measured.accuracy, row)).all()
    assert measured.as_dict()["accuracy"].count(None) == 9


def test_report_and_calibration_agree() -> None:
    reward, pairs = preferences(300, sharpness=3.0)
    report, measured = pair_report(reward, pairs, seed=0), calibration_report(reward, pairs)
    np.testing.assert_allclose(report.ece.estimate, measured.ece)
    np.testing.assert_allclose(report.nll.estimate, measured.nll)


def test_a_calibrated_reward_has_no_error_and_a_sharp_one_has() -> None:
    assert calibration_report(*preferences(40_000)).ece < 0.01
    assert calibration_report(*preferences(40_000, sharpness=4.0)).ece > 0.1


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 5.0])
def test_temperature_undoes_a_known_sharpness(sharpness: float) -> None:
    reward, pairs = preferences(40_000, sharpness=sharpness)
    temperature = fit_temperature(reward, pairs)
    np.testing.assert_allclose(temperature, sharpness, rtol=0.05)
    assert calibration_report(tempered(reward, temperature), pairs).ece < 0.01
    nll = [Preferences.of(tempered(reward, temperature * f), pairs).nll for f in (0.97, 1.0, 1.03)]
    assert nll[1] < min(nll[0], nll[2])


def test_temperature_of_separable_pairs_ends_at_the_bound() -> None:
    reward, pairs = preferences(50)
    ordered = Pairs(
        pairs.features,
        np.where(reward.draws[0, 0::2] > 0, pairs.chosen // 2 * 2, pairs.chosen // 2 * 2 + 1),
        np.where(reward.draws[0, 0::2] > 0, pairs.chosen // 2 * 2 + 1, pairs.chosen // 2 * 2),
    )
    assert fit_temperature(reward, ordered) < 0.02


def test_tempered_scales_all_that_has_the_units_of_reward() -> None:
    reward = Reward(np.ones((2, 3)), kind="members", sigma=np.full((2, 3), 4.0), reference=np.array([2.0, 6.0]))
    cool = tempered(reward, 2.0)
    assert cool.sigma is not None
    assert cool.reference is not None
    np.testing.assert_array_equal(cool.draws, np.full((2, 3), 0.5))
    np.testing.assert_array_equal(cool.sigma, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(cool.reference, [1.0, 3.0])
    with pytest.raises(OptionError, match="temperature must be > 0"):
        tempered(reward, 0.0)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_coverage_is_what_was_promised_even_where_calibration_is_not(sharpness: float) -> None:
    coverage = []
    for seed in range(200):
        reward, pairs = preferences(600, seed=seed, sharpness=sharpness)
        fitted = Abstention.fit(reward, pairs.take(np.arange(99)), alpha=0.2, seed=seed)
        coverage.append(fitted.decide(reward, pairs.take(np.arange(99, 600))).coverage)
    assert abs(np.mean(coverage) - 0.8) < 4 * np.std(coverage) / 200**0.5


def test_pairs_of_one_prompt_count_once() -> None:
    reward, pairs = preferences(400, per_prompt=10)
    assert Abstention.fit(reward, pairs, alpha=0.2, seed=0).prompts == 40


def test_decided_pairs_are_the_surer_ones() -> None:
    reward, pairs = preferences(4000)
    fitted = Abstention.fit(reward, pairs.take(np.arange(1000)), alpha=0.05, seed=0)
    held = pairs.take(np.arange(1000, 4000))
    decisions = fitted.decide(reward, held)
    confidence = Preferences.of(reward, held).confidence
    assert 0.2 < decisions.abstained < 0.9
    assert confidence[decisions.decided].min() > confidence[~decisions.decided].max()
    assert decisions.accuracy > Preferences.of(reward, held).correct.mean() + 0.05


def test_plausible_sets_by_hand() -> None:
    p = np.array([0.9, 0.5, 0.2])
    both = Abstention(threshold=0.6, alpha=0.1, prompts=9).plausible(p)
    np.testing.assert_array_equal(both, [[True, True, False], [False, True, True]])
    neither = Abstention(threshold=0.3, alpha=0.4, prompts=9).plausible(p)
    np.testing.assert_array_equal(neither, [[True, False, False], [False, False, True]])


def test_bad_input_is_refused() -> None:
    reward, pairs = preferences(9)
    with pytest.raises(OptionError, match=r"alpha = 0.05 needs at least 19 prompts with decided pairs, got 9"):
        Abstention.fit(reward, pairs, alpha=0.05, seed=0)
    Abstention.fit(reward, pairs, alpha=0.1, seed=0)
    with pytest.raises(OptionError, match="alpha must be inside"):
        Abstention.fit(reward, pairs, alpha=1.0, seed=0)
    with pytest.raises(DataError, match="reward must be of the 18 texts"):
        calibration_report(Reward(np.zeros((1, 3)), kind="point"), pairs)
    tied = Pairs(pairs.features, pairs.chosen, pairs.rejected, tie=np.ones(9, dtype=bool))
    with pytest.raises(DataError, match="all pairs are ties"):
        calibration_report(reward, tied)
