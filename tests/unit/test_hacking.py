"""Thresholds and laws of rules: where planted gold turns, and what a planted law foretells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from embrm import bestofn, selectors
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.evaluation.hacking import laws, thresholds
from embrm.evaluation.rules import GoldPools, compare

PROMPTS, SIZE = 30, 60
RNG = np.random.default_rng(0)
SCORE = RNG.normal(size=PROMPTS * SIZE)
HACKED = SCORE - 0.5 * np.maximum(SCORE, 0) ** 2 + 0.1 * RNG.normal(size=len(SCORE))
OFFSETS = np.arange(PROMPTS + 1) * SIZE
POOLS = GoldPools.of(HACKED, OFFSETS)
POINT = Reward(SCORE[None], "point")


def test_thresholds_are_where_the_rules_own_curves_turn() -> None:
    rules = {name: selectors.get(name)() for name in ("mean", "poisson", "soft", "pessimistic", "thompson")}
    two = Reward(np.stack([SCORE, SCORE]), "members")
    found = thresholds(rules, two, POOLS)
    assert [(name, line.strength) for name, line in found.items()] == [
        ("mean", "best"), ("poisson", "poisson"), ("soft", "tilt"),
    ]  # fmt: skip
    around = found["mean"].at * np.array([0.98, 1, 1.02])
    assert rules["mean"].curve(two, HACKED, around, offsets=OFFSETS, pool="support", seed=0).gold.argmax() == 1
    around = found["poisson"].at * np.array([0.98, 1, 1.02])
    assert rules["poisson"].curve(two, HACKED, 1 + around, offsets=OFFSETS, pool="support", seed=0).gold.argmax() == 1

    def worth(inverse: float) -> float:
        share = special.softmax(inverse * SCORE.reshape(PROMPTS, SIZE), axis=1)
        return -float((share * HACKED.reshape(PROMPTS, SIZE)).sum(axis=1).mean())

    best = optimize.minimize_scalar(worth, bounds=(0.01, 8), method="bounded", options={"xatol": 1e-9})
    np.testing.assert_allclose(found["soft"].at, best.x, rtol=1e-5)


def test_a_threshold_is_of_the_penalised_reward_where_there_is_a_penalty() -> None:
    rules = {"penalised": selectors.get("penalised")(weight=1.0)}
    overdone = 0.5 * np.maximum(SCORE, 0) ** 2  # without it gold is the score
    assert np.isfinite(thresholds(rules, POINT, POOLS, penalty=np.zeros(len(SCORE)))["penalised"].at)
    assert thresholds(rules, POINT, POOLS, penalty=overdone)["penalised"].at == np.inf
    with pytest.raises(DataError, match="'penalised' needs penalty"):
        thresholds(rules, POINT, POOLS)


def test_laws_are_those_of_the_curves() -> None:
    n = [1, 2, 4, 8, 16, 32]
    rules = {name: selectors.get(name)() for name in ("mean", "best")}
    found = compare(rules, POINT, POOLS, sizes=n, seed=0)
    law = laws(found, seed=0)
    assert list(law) == ["mean", "best"]  # and no law of the oracle
    d = np.sqrt(bestofn.kl_bound(n))
    gain = found.curves["mean"].gold - POOLS.gold.mean()
    for points, name in ((6, "fit"), (5, "forecast")):
        alpha, beta = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1)[:points], gain[:points], rcond=None)[0]
        if name == "fit":
            np.testing.assert_allclose([law["mean"].fit.alpha.estimate, law["mean"].fit.beta.estimate], [alpha, beta])
            np.testing.assert_allclose(law["mean"].fit.peak_kl.estimate, (alpha / (2 * beta)) ** 2)
        else:
            error = alpha * d[-1] - beta * d[-1] ** 2 - gain[-1]
            np.testing.assert_allclose(law["mean"].forecast.error.estimate, error)
    assert law["mean"].fitted == 16
    assert law["mean"].as_dict().keys() == {"form", "alpha", "beta", "peak_kl", "residual", "fitted", "forecast"}


def test_too_few_sizes_have_no_law() -> None:
    found = compare({"mean": selectors.get("mean")()}, POINT, POOLS, sizes=[1, 2, 4], seed=0)
    with pytest.raises(OptionError, match=r"forecasts another, got n = \[1, 2, 4\]; give more"):
        laws(found, seed=0)
