"""The random rules' expectations against enumeration, quadrature, Monte Carlo and known answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any, cast

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from embrm import bestofn
from embrm.bestofn import Convention
from embrm.bestofn import stochastic as expectations
from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError

RNG = np.random.default_rng(11)
PROXY, GOLD = RNG.normal(size=7), RNG.normal(size=7)


def test_poisson_known_answer_on_a_uniform_rank() -> None:
    """E[u] = 1 - 1/m + (1 - exp(-m))/m², the mean of the density (1 + mu) exp(m(u - 1))."""
    m = np.array([0.5, 2.0, 8.0, 30.0])
    u = (np.arange(100_000) + 0.5) / 100_000
    c = expectations.poisson(u, u, m, pool="support")
    np.testing.assert_allclose(c.gold, 1 - 1 / m + (1 - np.exp(-m)) / m**2, atol=1e-5)


@pytest.mark.parametrize("pool", ["population", "support"])
def test_poisson_is_the_mixture_of_best_of_n_curves(pool: Convention) -> None:
    m = np.array([0.0, 0.7, 3.0])
    c = expectations.poisson(PROXY, GOLD, m, pool=pool)
    n = np.arange(1, 200)
    law = stats.poisson(m[:, None]).pmf(n - 1)
    if pool == "population":
        n, law = n[:7], np.concatenate([law[:, :6], law[:, 6:].sum(axis=1, keepdims=True)], axis=1)
    np.testing.assert_allclose(c.gold, law @ bestofn.curve(PROXY, GOLD, n, pool=pool).gold, atol=1e-12)
    np.testing.assert_allclose(c.proxy, law @ bestofn.curve(PROXY, PROXY, n, pool=pool).gold, atol=1e-12)


def test_poisson_kl_is_that_of_the_mixed_choice() -> None:
    m = 3.0
    p = expectations.poisson_weights(np.array([m]), 7, pool="support")[0]
    c = expectations.poisson(PROXY, GOLD, [m], pool="support")
    np.testing.assert_allclose(c.kl[0], stats.entropy(p, np.full(7, 1 / 7)))
    # With a pool far above the rate, the population's is ∫ f log f.
    proxy = np.random.default_rng(0).normal(size=60)

    def density(u: float) -> float:
        return float((1 + m * u) * np.exp(m * (u - 1)))

    expected = integrate.quad(lambda u: density(u) * np.log(density(u)), 0, 1)[0]
    np.testing.assert_allclose(expectations.poisson(proxy, proxy, [m]).kl[0], expected, rtol=1e-9)
    mixture = stats.poisson(m).pmf(np.arange(60)) @ bestofn.kl_bound(np.arange(1, 61))
    assert expected < mixture  # the mixture of KLs is an upper bound, not the KL


def test_poisson_on_a_pool_smaller_than_its_rate_is_the_best_of_the_pool() -> None:
    c = expectations.poisson(PROXY, GOLD, [1e4])
    np.testing.assert_allclose(c.gold[0], GOLD[PROXY.argmax()])
    np.testing.assert_allclose(c.kl[0], bestofn.kl_bound(7), rtol=1e-9)


def pessimistic_by_simulation(
    proxy: Array, gold: Array, n: int, beta: float, cap: float, rng: np.random.Generator, runs: int
) -> Any:
    level = optimize.brentq(lambda x: np.maximum((proxy - x) / beta, 0).mean() - 1, proxy.min() - beta, proxy.max())
    accept = np.minimum(np.maximum((proxy - level) / beta, 0) / cap, 1)
    rows = rng.integers(len(proxy), size=(runs, n))
    taken = rng.uniform(size=rows.shape) < accept[rows]
    first = np.where(
        taken.any(axis=1), rows[np.arange(runs), taken.argmax(axis=1)], rng.integers(len(proxy), size=runs)
    )
    return gold[first]


def test_pessimistic_equals_simulation_of_its_algorithm() -> None:
    sizes = [1, 3, 20]
    c = expectations.pessimistic(PROXY, GOLD, sizes, beta=0.4, cap=3.0)
    for n, gold in zip(sizes, c.gold, strict=True):
        drawn = pessimistic_by_simulation(PROXY, GOLD, n, 0.4, 3.0, np.random.default_rng(n), 200_000)
        assert abs(drawn.mean() - gold) < 4 * drawn.std() / np.sqrt(len(drawn))


def test_pessimistic_acceptance_solves_its_equation_in_every_pool() -> None:
    bounds = np.array([0, 4, 5, 12])
    value = np.random.default_rng(0).normal(size=12) + 1e6
    accept = expectations.acceptance(value, bounds, beta=0.3, cap=100.0)
    np.testing.assert_allclose([100 * accept[a:b].mean() for a, b in pairwise(bounds)], 1, rtol=1e-6)


def test_pessimistic_without_a_cap_never_cuts_and_is_cautious_with_a_large_beta() -> None:
    accept = expectations.acceptance(PROXY, np.array([0, 7]), beta=0.3, cap=None)
    assert accept.max() == 1
    assert (accept[np.argsort(PROXY)[:-1]] < 1).all()
    cautious = expectations.pessimistic(PROXY, GOLD, [4], beta=1e9)
    np.testing.assert_allclose([cautious.gold[0], cautious.kl[0]], [GOLD.mean(), 0], atol=1e-6)


def test_soft_agrees_with_the_softmax_over_all_subsets() -> None:
    tau = 0.5
    c = expectations.soft(PROXY, GOLD, temperature=tau, seed=0, draws=4000)
    assert c.standard_error is not None
    for n in range(1, 8):
        subsets = np.array(list(combinations(range(7), n)))
        weight = special.softmax(PROXY[subsets] / tau, axis=1)
        for found, row in ((c.gold, GOLD), (c.proxy, PROXY)):
            exact = (weight * row[subsets]).sum(axis=1).mean()
            assert abs(found[n - 1] - exact) < 4 * c.standard_error[n - 1] * max(1, row.std() / GOLD.std()) + 1e-12
    assert c.standard_error[0] < 1e-12 < c.standard_error[3]


def test_soft_standard_error_is_the_scatter_of_repetitions() -> None:
    curves = [expectations.soft(PROXY, GOLD, [4], temperature=1.0, seed=s, draws=16) for s in range(200)]
    stated = np.sqrt(np.mean([c.standard_error[0] ** 2 for c in curves if c.standard_error is not None]))
    np.testing.assert_allclose(np.std([c.gold[0] for c in curves]), stated, rtol=0.15)


def test_soft_goes_from_best_of_n_to_a_random_response() -> None:
    best = bestofn.curve(PROXY, GOLD)
    np.testing.assert_allclose(expectations.soft(PROXY, GOLD, temperature=1e-9, seed=0).gold, best.gold, atol=1e-12)
    warm = expectations.soft(PROXY, GOLD, temperature=1e9, seed=0)
    assert warm.standard_error is not None
    assert (np.abs(warm.gold - GOLD.mean()) <= 4 * warm.standard_error + 1e-12).all()


def test_tilt_is_the_softmax_with_its_kl_in_each_prompt() -> None:
    bounds, betas = np.array([0, 3, 7]), [2.0, 0.3]
    prior = np.array([0.2, 0.3, 0.5, 0.1, 0.2, 0.3, 0.4])
    c = bestofn.tilt_curve(PROXY, GOLD, betas, reference=5 * prior, offsets=bounds)
    assert c.effective_size is not None
    for j, beta in enumerate(betas):
        p = [special.softmax(np.log(prior[a:b]) + PROXY[a:b] / beta) for a, b in pairwise(bounds)]
        pools = list(pairwise(bounds))
        np.testing.assert_allclose(c.gold_per_prompt[:, j], [w @ GOLD[a:b] for w, (a, b) in zip(p, pools, strict=True)])
        np.testing.assert_allclose(
            c.proxy_per_prompt[:, j], [w @ PROXY[a:b] for w, (a, b) in zip(p, pools, strict=True)]
        )
        kl = [stats.entropy(w, prior[a:b]) for w, (a, b) in zip(p, pools, strict=True)]
        np.testing.assert_allclose(c.kl[j], np.mean(kl))
        np.testing.assert_allclose(c.effective_size[:, j], [1 / (w**2).sum() for w in p])
    np.testing.assert_allclose(c.pool_mean, [prior[a:b] @ GOLD[a:b] for a, b in pools])
    assert not c.reliable.any()


def test_tilt_is_the_best_that_any_policy_does_at_its_kl() -> None:
    """π_β maximises E[r] - β KL: no other policy on the pool has more."""
    beta = 0.6
    c = bestofn.tilt_curve(PROXY, PROXY, [beta])

    def loss(logits: Array) -> float:
        p = special.softmax(logits)
        return -float(p @ PROXY - beta * stats.entropy(p, np.full(7, 1 / 7)))

    best = optimize.minimize(loss, np.zeros(7)).fun
    np.testing.assert_allclose(c.gold[0] - beta * c.kl[0], -best, atol=1e-8)


def test_tilt_goes_from_the_reference_to_the_best_it_can_choose() -> None:
    prior = np.ones(7)
    prior[PROXY.argmax()] = 0
    c = bestofn.tilt_curve(PROXY, GOLD, [1e-9, 1e9], reference=prior)
    second = np.argsort(PROXY)[-2]
    np.testing.assert_allclose(c.gold, [GOLD[second], (GOLD @ prior) / 6], atol=1e-7)


def test_a_tilt_over_a_large_uniform_pool_is_reliable_until_it_is_too_far() -> None:
    proxy = np.random.default_rng(0).normal(size=(3, 2000))
    np.testing.assert_array_equal(bestofn.tilt_curve(proxy, proxy, [1.0, 0.05]).reliable, [True, False])
    assert bestofn.curve(proxy, proxy, [1, 2]).reliable.all()


def test_win_rate_against_a_random_response() -> None:
    gold = np.array([3.0, 1, 1, 2])
    score = bestofn.win_score(gold)
    by_hand = [np.mean((g > gold) + 0.5 * (g == gold)) for g in gold]
    np.testing.assert_allclose(score, by_hand)
    both = bestofn.win_score(np.concatenate([gold, [7.0]]), offsets=[0, 4, 5])
    np.testing.assert_allclose(both, [*by_hand, 0.5])
    square = np.random.default_rng(0).normal(size=(5, 6))
    c = bestofn.curve(square, bestofn.win_score(square))
    np.testing.assert_allclose([c.gold[0], c.gold[-1]], [0.5, 1 - 0.5 / 6])


def test_oracle_fraction_is_one_for_the_oracle_and_zero_for_noise() -> None:
    rng = np.random.default_rng(0)
    gold, noise = rng.normal(size=(2, 500, 10))
    oracle = bestofn.curve(gold, gold)
    own = bestofn.oracle_fraction(oracle, oracle, seed=0)
    np.testing.assert_allclose(own.estimate[1:], 1)
    assert np.isnan(own.estimate[0])
    none = bestofn.oracle_fraction(bestofn.curve(noise, gold), oracle, seed=0)
    assert none.low[-1] < 0 < none.high[-1]
    half = bestofn.oracle_fraction(bestofn.curve(gold + noise, gold), oracle, seed=0)
    assert none.high[-1] < half.low[-1] < half.estimate[-1] < half.high[-1] < 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: expectations.poisson(PROXY, GOLD, [-1]), OptionError, "rates must be >= 0 and finite"),
        (
            lambda: expectations.poisson(PROXY, GOLD, [1], pool=cast(Any, "x")),
            OptionError,
            "pool must be 'population' or",
        ),
        (lambda: expectations.pessimistic(PROXY, GOLD, [0], beta=1.0), OptionError, "sizes must be > 0 and finite"),
        (lambda: expectations.pessimistic(PROXY, GOLD, [1], beta=0.0), OptionError, "beta must be > 0 and finite"),
        (lambda: expectations.pessimistic(PROXY, GOLD, [1], beta=1.0, cap=-1), OptionError, "cap must be > 0"),
        (lambda: expectations.soft(PROXY, GOLD, temperature=0, seed=0), OptionError, "temperature must be > 0"),
        (lambda: expectations.soft(PROXY, GOLD, temperature=1, seed=0, draws=1), OptionError, "draws must be at least"),
        (lambda: expectations.soft(PROXY, GOLD, [8], temperature=1, seed=0), OptionError, "smallest pool has 7"),
        (lambda: bestofn.tilt_curve(PROXY, GOLD, [0.0]), OptionError, "betas must be > 0 and finite"),
        (lambda: bestofn.tilt_curve(PROXY, GOLD, []), OptionError, "betas must be > 0 and finite"),
        (lambda: bestofn.tilt_curve(PROXY, GOLD, [1], reference=[1.0]), DataError, "one number for each of the 7 rows"),
        (lambda: bestofn.tilt_curve(PROXY, GOLD, [1], reference=-PROXY), DataError, "reference must be >= 0"),
        (lambda: bestofn.tilt_curve(PROXY, GOLD, [1], reference=0 * PROXY), DataError, "positive sum in every pool"),
        (
            lambda: bestofn.oracle_fraction(
                bestofn.curve(PROXY, GOLD, [1, 2]), bestofn.curve(GOLD, GOLD, [1, 3]), seed=0
            ),
            DataError,
            "must have the prompts and sizes of the other",
        ),
    ],
)
def test_bad_input_is_refused_with_the_way_out(
    call: Callable[..., object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
