"""Each rule's effective reward or probability against its formula, its limits, or the frequencies of what it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize, special, stats

from embrm import selectors
from embrm.bestofn import Convention
from embrm.core.arrays import Array, IntArray
from embrm.core.results import Reward

OFFSETS = np.array([0, 6, 10])
RNG = np.random.default_rng(5)
DRAWS = RNG.normal(size=(5, 10))
SIGMA = RNG.uniform(0.1, 1, size=(5, 10))
MEMBERS = Reward(DRAWS, "members", sigma=SIGMA)
POSTERIOR = Reward(DRAWS, "posterior")


def value(name: str, reward: Reward = MEMBERS, **options: Any) -> Array:
    return selectors.get(name)(**options)(reward, offsets=OFFSETS, penalty=np.arange(10.0), seed=0).value


def frequencies(rule: Any, reward: Reward, *, pools: int = 100_000) -> Array:
    """How often each row of one pool is chosen, over many equal pools."""
    n = len(reward)
    sigma = None if reward.sigma is None else np.tile(reward.sigma, pools)
    many = Reward(np.tile(reward.draws, pools), reward.kind, sigma=sigma)
    index: IntArray = rule(many, offsets=np.arange(pools + 1) * n, seed=3).index
    return np.bincount(index % n, minlength=n) / pools


def test_effective_rewards_are_their_formulas() -> None:
    mean, sd = DRAWS.mean(axis=0), DRAWS.std(axis=0)
    np.testing.assert_allclose(value("best"), DRAWS[0])
    np.testing.assert_allclose(value("best", member=2), DRAWS[2])
    np.testing.assert_allclose(value("best", POSTERIOR), mean)
    np.testing.assert_allclose(value("mean"), mean)
    np.testing.assert_allclose(value("median"), np.median(DRAWS, axis=0))
    np.testing.assert_allclose(value("worst_case"), DRAWS.min(axis=0))
    np.testing.assert_allclose(value("worst_case", POSTERIOR, quantile=0.3), np.quantile(DRAWS, 0.3, axis=0))
    np.testing.assert_allclose(value("uncertainty_weighted", weight=0.7), mean - 0.7 * sd**2)
    np.testing.assert_allclose(value("lower_bound", weight=0.7), mean - 0.7 * sd)
    np.testing.assert_allclose(value("penalised", weight=0.7), mean - 0.7 * np.arange(10))
    exponential = -0.5 * special.logsumexp(-DRAWS / 0.5, axis=0, b=1 / 5)
    np.testing.assert_allclose(value("effective", temperature=0.5), exponential)


def test_weight_zero_is_the_mean_and_nothing_else() -> None:
    for name in ("uncertainty_weighted", "lower_bound", "penalised"):
        np.testing.assert_array_equal(value(name, weight=0), value("mean"))


def test_effective_goes_from_the_worst_case_to_the_mean() -> None:
    np.testing.assert_allclose(value("effective", temperature=1e-6), DRAWS.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(value("effective", temperature=1e12), DRAWS.mean(axis=0), atol=1e-9)


def test_gaussian_effective_reward_is_mean_minus_half_variance_over_temperature_until_the_worst_draw() -> None:
    variance = DRAWS.var(axis=0)
    np.testing.assert_allclose(value("effective", temperature=50, form="gaussian"), DRAWS.mean(axis=0) - variance / 100)
    np.testing.assert_allclose(value("effective", temperature=1e-3, form="gaussian"), DRAWS.min(axis=0))
    # For Gaussian draws the two forms agree.
    many = Reward(np.random.default_rng(0).normal(1, 0.5, size=(200_000, 2)), "posterior")
    both = [selectors.get("effective")(form=form)(many).value for form in ("exponential", "gaussian")]
    np.testing.assert_allclose(both[0], both[1], atol=0.005)
    np.testing.assert_allclose(both[1], 1 - 0.25 / 2, atol=0.005)


def test_robust_mixes_the_surest_member_with_the_worst() -> None:
    nominal = np.array([DRAWS[SIGMA[:, j].argmin(), j] for j in range(10)])
    np.testing.assert_allclose(value("robust", robustness=0), nominal)
    np.testing.assert_allclose(value("robust", robustness=1), DRAWS.min(axis=0))
    np.testing.assert_allclose(value("robust", robustness=0.3), 0.7 * nominal + 0.3 * DRAWS.min(axis=0))
    single = min(DRAWS, key=np.mean)
    np.testing.assert_allclose(value("robust", robustness=0.3, scope="global"), 0.7 * nominal + 0.3 * single)


def test_members_are_centred_on_the_training_texts_before_they_are_compared() -> None:
    shifted = Reward(DRAWS + np.arange(5)[:, None] * 100, "members", reference=np.arange(5) * 100.0)
    np.testing.assert_allclose(value("worst_case", shifted), DRAWS.min(axis=0), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("thompson", {}),
        ("soft", {"temperature": 0.5}),
        ("poisson", {"rate": 2.5}),
        ("poisson", {"rate": 2.5, "pool": "support"}),
        ("pessimistic", {"beta": 0.3, "cap": 4.0, "draws": 3}),
    ],
)
def test_probabilities_are_the_frequencies_of_the_choices(name: str, options: dict[str, Any]) -> None:
    rule = selectors.get(name)(**options)
    reward = Reward(DRAWS[:, :6], "members")
    probability = rule(reward, seed=0).probability
    error = np.sqrt(probability * (1 - probability) / 1e5)
    assert (np.abs(frequencies(rule, reward) - probability) <= 4.5 * error + 1e-12).all()


def test_thompson_takes_each_members_best_equally_often() -> None:
    expected = np.bincount(DRAWS[:, :6].argmax(axis=1), minlength=6) / 5
    choice = selectors.get("thompson")()(Reward(DRAWS[:, :6], "members"), seed=0)
    np.testing.assert_allclose(choice.probability, expected)
    assert any(np.array_equal(choice.value, d) for d in DRAWS[:, :6])


def test_soft_is_softmax_and_goes_from_the_best_to_uniform() -> None:
    r = DRAWS.mean(axis=0)[:6]

    def probability(temperature: float) -> Array:
        rule = selectors.get("soft")(temperature=temperature)
        found: Array = rule(MEMBERS, offsets=OFFSETS, seed=0).probability[:6]
        return found

    np.testing.assert_allclose(probability(0.4), special.softmax(r / 0.4))
    np.testing.assert_allclose(probability(1e-9), np.eye(6)[r.argmax()], atol=1e-12)
    np.testing.assert_allclose(probability(1e9), 1 / 6, atol=1e-9)


@pytest.mark.parametrize("pool", ["population", "support"])
def test_poisson_goes_from_a_random_response_to_the_best(pool: Convention) -> None:
    r = DRAWS.mean(axis=0)[:6]

    def probability(rate: float) -> Array:
        rule = selectors.get("poisson")(rate=rate, pool=pool)
        found: Array = rule(MEMBERS, offsets=OFFSETS, seed=0).probability[:6]
        return found

    np.testing.assert_allclose(probability(0), 1 / 6)
    np.testing.assert_allclose(probability(1e4), np.eye(6)[r.argmax()], atol=1e-9)


def test_poisson_under_support_is_the_mixture_of_best_of_n_by_its_definition() -> None:
    r = DRAWS.mean(axis=0)[:6]
    rank = r.argsort().argsort()
    n = np.arange(1, 80)
    law = stats.poisson(2.5).pmf(n - 1)
    expected = (law * (((rank[:, None] + 1) / 6) ** n - (rank[:, None] / 6) ** n)).sum(axis=1)
    rule = selectors.get("poisson")(rate=2.5, pool="support")
    np.testing.assert_allclose(rule(MEMBERS, offsets=OFFSETS, seed=0).probability[:6], expected)


def test_pessimistic_weights_have_mean_one_and_limits() -> None:
    r = DRAWS.mean(axis=0)[:6]

    def probability(beta: float, **options: Any) -> Array:
        rule = selectors.get("pessimistic")(beta=beta, **options)
        found: Array = rule(MEMBERS, offsets=OFFSETS, seed=0).probability[:6]
        return found

    np.testing.assert_allclose(probability(1e9), 1 / 6, rtol=1e-6)
    np.testing.assert_allclose(probability(1e-9, draws=10_000), np.eye(6)[r.argmax()], atol=1e-9)
    # With draws without end the choice is the regularised optimum itself: weights relu((r - λ)/β) of mean one.
    p = probability(0.2, draws=10**6)
    level = optimize.brentq(lambda x: np.maximum((r - x) / 0.2, 0).mean() - 1, r.min() - 1, r.max(), xtol=1e-14)
    np.testing.assert_allclose(6 * p, np.maximum((r - level) / 0.2, 0), atol=1e-9)
