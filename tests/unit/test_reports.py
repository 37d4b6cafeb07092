"""Reports against scikit-learn, loops and brute force."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import log_loss

from embrm import heads
from embrm.core.arrays import Array
from embrm.core.data import Candidates, Features, Pairs
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.evaluation.reports import fit_and_check, pair_report, pool_report, report


def made(n: int = 400, members: int = 3, seed: int = 0) -> tuple[Reward, Pairs]:
    rng = np.random.default_rng(seed)
    features = Features({"joint": np.ones((2 * n, 1))}, prompt=np.repeat(np.arange(n // 4), 8))
    pairs = Pairs(features, np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2), weight=rng.uniform(0.5, 2, n))
    draws = rng.standard_normal((members, 2 * n)) + rng.standard_normal(2 * n)
    draws[:, ::2] += 0.7
    return Reward(draws, kind="members"), pairs


def test_pair_numbers_equal_scikit_learn_and_a_loop() -> None:
    reward, pairs = made()
    assert pairs.weight is not None
    found = pair_report(reward, pairs, seed=0)
    margin = reward.draws[:, pairs.chosen] - reward.draws[:, pairs.rejected]
    p = expit(margin).mean(axis=0)
    nll = log_loss(np.ones(len(p)), p, sample_weight=pairs.weight, labels=[0, 1])
    np.testing.assert_allclose(found.nll.estimate, nll)
    accuracy = np.average(reward.mean[pairs.chosen] > reward.mean[pairs.rejected], weights=pairs.weight)
    np.testing.assert_allclose(found.accuracy.estimate, accuracy)
    ece = 0.0
    for low in np.arange(0.5, 1, 0.05):
        confidence = np.maximum(p, 1 - p)
        inside = (confidence >= low) & (confidence < low + 0.05)
        if inside.any():
            gap = np.average((p > 0.5)[inside], weights=pairs.weight[inside]) - np.average(
                confidence[inside], weights=pairs.weight[inside]
            )
            ece += pairs.weight[inside].sum() / pairs.weight.sum() * abs(gap)
    np.testing.assert_allclose(found.ece.estimate, ece)
    assert (found.pairs, found.prompts) == (400, 100)
    assert found.accuracy.low < accuracy < found.accuracy.high


def test_ties_have_a_likelihood_and_no_accuracy() -> None:
    reward, pairs = made(40)
    tie = np.arange(40) % 2 == 0
    with_ties = Pairs(pairs.features, pairs.chosen, pairs.rejected, tie=tie)
    found = pair_report(reward, with_ties, seed=0)
    decided = pair_report(reward, with_ties.take(~tie), seed=0)
    np.testing.assert_allclose(found.accuracy.estimate, decided.accuracy.estimate)
    np.testing.assert_allclose(found.ece.estimate, decided.ece.estimate)
    p = expit(reward.draws[:, pairs.chosen] - reward.draws[:, pairs.rejected]).mean(axis=0)
    target = np.where(tie, 0.5, 1)
    np.testing.assert_allclose(found.nll.estimate, -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)))


def test_a_reward_that_says_nothing_is_at_chance() -> None:
    _, pairs = made(20)
    found = pair_report(Reward(np.zeros((1, 40)), kind="point"), pairs, seed=0)
    np.testing.assert_allclose(found.accuracy.estimate, 0.5)
    np.testing.assert_allclose(found.nll.estimate, np.log(2))
    np.testing.assert_allclose(found.ece.estimate, 0, atol=1e-12)


def test_huge_margins_stay_finite() -> None:
    _, pairs = made(20)
    draws = np.zeros((2, 40))
    draws[:, 1::2] = 5000
    np.testing.assert_allclose(pair_report(Reward(draws, kind="members"), pairs, seed=0).nll.estimate, 5000)


def test_intervals_follow_prompts_and_not_pairs() -> None:
    # All pairs of a prompt agree, so 20 prompts of 50 pairs are worth 20 observations: sd = sqrt(.25 / 19) = 0.115.
    n = 1000
    features = Features({"joint": np.ones((2 * n, 1))}, prompt=np.repeat(np.arange(20), 100))
    pairs = Pairs(features, np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2))
    draws = np.zeros((1, 2 * n))
    draws[0, ::2] = np.where(np.arange(n) // 50 % 2, 1, -1)
    found = pair_report(Reward(draws, kind="point"), pairs, seed=0).accuracy
    np.testing.assert_allclose(found.estimate, 0.5)
    np.testing.assert_allclose(found.high - found.low, 2 * stats.t.ppf(0.975, 19) * 0.115, rtol=0.2)


def test_one_prompt_has_numbers_and_no_interval() -> None:
    reward, pairs = made(4)
    found = pair_report(reward, pairs, seed=0)
    assert found.prompts == 1
    assert np.isfinite(found.accuracy.estimate)
    assert np.isnan(found.accuracy.low)


def pools(seed: int = 0, prompts: int = 12, size: int = 6) -> tuple[Reward, Candidates]:
    rng = np.random.default_rng(seed)
    n = prompts * size
    gold = rng.standard_normal(n)
    features = Features({"joint": np.ones((n, 1))}, prompt=np.repeat(np.arange(prompts), size), length=rng.random(n))
    candidates = Candidates(features, np.arange(prompts + 1) * size, gold=gold)
    return Reward(gold + rng.standard_normal((3, n)), kind="members"), candidates


def brute(value: Array, gold: Array, n: int) -> float:
    rows = [list(subset) for subset in combinations(range(value.shape[1]), n)]
    return float(np.mean([[g[r][np.argmax(v[r])] for r in rows] for v, g in zip(value, gold, strict=True)]))


def test_the_lines_of_a_pool_report_equal_brute_force_over_all_subsets() -> None:
    reward, candidates = pools()
    found = pool_report(reward, candidates, sizes=[1, 3, 6], seed=0)
    shape = (12, 6)
    assert candidates.gold is not None
    assert candidates.features.length is not None
    proxy, gold, length = (x.reshape(shape) for x in (reward.mean, candidates.gold, candidates.features.length))
    for i, n in enumerate((1, 3, 6)):
        for name, by in (("gold", proxy), ("oracle", gold), ("length", length)):
            np.testing.assert_allclose(found.reward[name].estimate[i], brute(by, gold, n))
        np.testing.assert_allclose(found.reward["proxy"].estimate[i], brute(proxy, proxy, n))
        np.testing.assert_allclose(found.reward["random"].estimate[i], gold.mean())
    standard = (gold - gold.mean(axis=1, keepdims=True)) / gold.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found.gain["gold"].estimate[1], brute(proxy, standard, 3))
    np.testing.assert_array_equal(found.gain["random"].estimate, 0)
    gained = {name: found.reward[name].estimate[1:] - gold.mean() for name in ("gold", "oracle")}
    np.testing.assert_allclose(found.of_oracle.estimate[1:], gained["gold"] / gained["oracle"])
    assert np.isnan(found.of_oracle.estimate[0])


@pytest.mark.parametrize("single", [True, False])
def test_pools_that_have_no_curve_are_refused(single: bool) -> None:
    reward, candidates = pools(prompts=1 if single else 2)
    offsets = candidates.offsets if single else np.array([0, 1, 12])
    odd = Candidates(candidates.features, offsets, gold=candidates.gold)
    message = "got a single prompt" if single else r"1 of 2 prompts have a single candidate, first: number 1"
    with pytest.raises(DataError, match=message):
        pool_report(reward, odd, seed=0)
    with pytest.raises(DataError, match="no gold rewards"):
        pool_report(reward, Candidates(candidates.features, offsets), seed=0)


def test_bad_pairs_are_refused() -> None:
    reward, pairs = made(8)
    with pytest.raises(DataError, match=r"reward must be of the 16 texts of the pairs, got 3"):
        pair_report(Reward(np.zeros((1, 3)), kind="point"), pairs, seed=0)
    with pytest.raises(DataError, match="all pairs are ties"):
        pair_report(reward, Pairs(pairs.features, pairs.chosen, pairs.rejected, tie=np.ones(8, dtype=bool)), seed=0)


@dataclass(frozen=True)
class Spy:
    """A recipe that remembers what it was trained on."""

    seen: list[Pairs]

    def fit(self, pairs: Pairs, *, seed: int) -> heads._head.FittedHead:
        self.seen.append(pairs)
        return heads.get("linear")(prior_precision=1.0).fit(pairs, seed=seed)


def test_what_is_measured_was_not_trained_on() -> None:
    rng = np.random.default_rng(0)
    features = Features({"joint": rng.standard_normal((200, 3))}, prompt=np.repeat(np.arange(20), 10))
    better = features.matrix("joint")[:, 0].reshape(100, 2)
    rows = np.arange(200).reshape(100, 2)
    pairs = Pairs(features, rows[np.arange(100), better.argmax(axis=1)], rows[np.arange(100), better.argmin(axis=1)])
    spy = Spy([])
    model, found = fit_and_check(spy, pairs, seed=0, fraction=0.3)
    assert found is not None
    assert found.prompts == 6
    assert len(spy.seen[0]) + found.pairs == 100
    assert found.accuracy.estimate > 0.8
    assert len(np.unique(spy.seen[0].prompt)) == 14
    assert report(model, pairs, seed=0).as_dict()["pairs"] == 100
    assert fit_and_check(spy, pairs, seed=0, fraction=0)[1] is None
    assert len(spy.seen[1]) == 100
    with pytest.raises(OptionError, match=r"fraction must be inside \[0, 1\), got 1"):
        fit_and_check(spy, pairs, seed=0, fraction=1)
