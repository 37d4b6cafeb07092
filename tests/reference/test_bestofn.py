"""Best-of-n against enumeration, quadrature and known answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise, product
from typing import Any, cast

import numpy as np
import pytest
from scipy import stats

from embrm import bestofn, metrics
from embrm.bestofn import Convention
from embrm.bestofn.ranks import population_weights, reach, support_weights
from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError


def best_by_enumeration(proxy: Array, gold: Array, n: int, *, replace: bool) -> float:
    """Mean gold over all ways to draw n of the pool, the tied best averaged."""
    rows = range(len(proxy))
    draws = product(rows, repeat=n) if replace else combinations(rows, n)
    values, count = 0.0, 0
    for draw in draws:
        chosen = np.asarray(draw)
        top = chosen[proxy[chosen] == proxy[chosen].max()]
        values, count = values + gold[top].mean(), count + 1
    return values / count


def probabilities_by_enumeration(proxy: Array, n: int, *, replace: bool) -> Array:
    rows = np.eye(len(proxy))
    return np.array([best_by_enumeration(proxy, row, n, replace=replace) for row in rows])


@pytest.fixture(params=["distinct", "tied", "all tied"])
def pool(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    gold = rng.normal(size=6)
    proxy = {"distinct": rng.normal(size=6), "tied": np.array([1.0, 0, 2, 1, 2, 1]), "all tied": np.ones(6)}
    return proxy[request.param], gold


@pytest.mark.parametrize("convention", ["population", "support"])
def test_curve_equals_enumeration_of_all_draws(pool: tuple[Array, Array], convention: Convention) -> None:
    proxy, gold = pool
    c = bestofn.curve(proxy, gold, [1, 2, 3, 4, 5], pool=convention)
    replace = convention == "support"
    for n, g, p in zip(c.sizes, c.gold, c.proxy, strict=True):
        np.testing.assert_allclose(g, best_by_enumeration(proxy, gold, n, replace=replace), atol=1e-12)
        np.testing.assert_allclose(p, best_by_enumeration(proxy, proxy, n, replace=replace), atol=1e-12)


def test_support_kl_is_that_of_the_enumerated_choice(pool: tuple[Array, Array]) -> None:
    proxy, gold = pool
    c = bestofn.curve(proxy, gold, [1, 2, 5], pool="support")
    for n, kl in zip(c.sizes, c.kl, strict=True):
        p = probabilities_by_enumeration(proxy, n, replace=True)
        np.testing.assert_allclose(kl, stats.entropy(p, np.full(6, 1 / 6)), atol=1e-12)


def test_pools_of_unequal_size_give_what_each_gives_alone() -> None:
    rng = np.random.default_rng(0)
    sizes = [5, 3, 7, 3]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    proxy, gold = rng.integers(0, 4, size=18).astype(float), rng.normal(size=18)
    for convention in ("population", "support"):
        together = bestofn.curve(proxy, gold, pool=convention, offsets=offsets)
        np.testing.assert_array_equal(together.sizes, [1, 2, 3])
        alone = [bestofn.curve(proxy[a:b], gold[a:b], [1, 2, 3], pool=convention) for a, b in pairwise(offsets)]
        np.testing.assert_allclose(together.gold_per_prompt, [c.gold for c in alone], atol=1e-12)
        np.testing.assert_allclose(together.proxy_per_prompt, [c.proxy for c in alone], atol=1e-12)
        np.testing.assert_allclose(together.kl, np.mean([c.kl for c in alone], axis=0), atol=1e-12)
        np.testing.assert_allclose(together.pool_mean, [gold[a:b].mean() for a, b in pairwise(offsets)])


def test_the_two_conventions_differ_at_the_whole_pool() -> None:
    """Known answers for a pool of 58 standard normal scores, in expectation over pools, at n = N = 58."""
    N = 58

    x, i = np.linspace(-9, 9, 4001), np.arange(1, N + 1)[:, None]
    density = stats.beta(i, N - i + 1).pdf(stats.norm.cdf(x)) * stats.norm.pdf(x)
    scores = np.trapezoid(x * density, x)
    population = bestofn.curve(scores, scores, [N])
    support = bestofn.curve(scores, scores, [N], pool="support")
    np.testing.assert_allclose([population.gold[0], support.gold[0]], [2.306, 2.127], atol=0.001)
    np.testing.assert_allclose(population.kl[0], np.log(N) - (N - 1) / N)
    # Read as a policy on the pool, the population's choice is a point mass.
    np.testing.assert_allclose(bestofn.pool_kl(population_weights([N], N)), np.log(N))
    np.testing.assert_allclose([np.log(N), support.kl[0]], [4.06, 3.04], atol=0.005)


def test_rank_weights_are_distributions_for_every_n() -> None:
    for N in (1, 2, 57, 500):
        n = np.arange(1, N + 1)
        for w in (population_weights(n, N), support_weights(n, N)):
            assert (w >= 0).all()
            np.testing.assert_allclose(w.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("convention", ["population", "support"])
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_far_from_the_best_are_left_out_where_they_have_no_weight(convention: Convention, ties: bool) -> None:
    rng = np.random.default_rng(0)
    n, N = rng.permutation(np.arange(1, 701)), 700
    proxy, gold = rng.normal(size=(2, 3, N))
    proxy = np.round(proxy, 2) if ties else proxy
    weights = (population_weights if convention == "population" else support_weights)(n, N)
    assert [reach(size, N) for size in (1, 46, 92, 700, np.inf)] == [700, 700, 351, 47, 1]
    ranks = np.sort(proxy, axis=1)
    worth = [[gold[row][proxy[row] == value].mean() for value in ranks[row]] for row in range(3)]
    c = bestofn.curve(proxy, gold, n, pool=convention)
    np.testing.assert_allclose(c.proxy_per_prompt, ranks @ weights.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(c.gold_per_prompt, worth @ weights.T, rtol=1e-12, atol=1e-12)
    if convention == "support":
        shared = [np.add.reduceat(weights, np.unique(row, return_index=True)[1], axis=1) for row in ranks]
        counts = [np.unique(row, return_counts=True)[1] / N for row in ranks]
        kl = [bestofn.pool_kl(p, q) for p, q in zip(shared, counts, strict=True)]
        np.testing.assert_allclose(c.kl, np.mean(kl, axis=0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("convention", ["population", "support"])
def test_curve_equals_simulated_draws_from_a_pool_of_real_size(convention: Convention) -> None:
    rng = np.random.default_rng(0)
    proxy, gold = np.round(rng.normal(size=57), 1), rng.normal(size=57)
    if convention == "population":
        rows = rng.uniform(size=(100_000, 57)).argpartition(8, axis=1)[:, :8]
    else:
        rows = rng.integers(57, size=(100_000, 8))
    rows = rng.permuted(rows, axis=1)  # so that the first of the tied best is a fair one of them
    chosen = gold[rows[np.arange(len(rows)), proxy[rows].argmax(axis=1)]]
    c = bestofn.curve(proxy, gold, [8], pool=convention)
    assert abs(chosen.mean() - c.gold[0]) < 4 * chosen.std() / np.sqrt(len(chosen))


def test_population_curve_is_unbiased_for_the_population() -> None:
    """The mean over many pools of the best of 4 of uniform scores is 4/5, whatever the pool's size."""
    proxy = np.random.default_rng(0).uniform(size=(40_000, 9))
    c = bestofn.curve(proxy, proxy, [4])
    error = c.gold_per_prompt.std() / np.sqrt(len(proxy))
    assert abs(c.gold[0] - 0.8) < 4 * error


def test_kl_bound_is_reached_in_the_limit_of_a_large_pool() -> None:
    kl = [bestofn.pool_kl(support_weights([8], N))[0] for N in (10, 100, 10_000)]
    assert kl[0] < kl[1] < kl[2] < bestofn.kl_bound(8)
    np.testing.assert_allclose(kl[2], bestofn.kl_bound(8), rtol=1e-3)


def test_kl_estimate_approaches_its_two_limits() -> None:
    np.testing.assert_allclose(bestofn.kl_estimate(16, 1e-12), bestofn.kl_bound(16), rtol=1e-8)
    np.testing.assert_allclose(bestofn.kl_estimate([1, 5, 400], 1.0), 0, atol=1e-12)
    np.testing.assert_allclose(bestofn.kl_estimate(10_000, 0.1), np.log(10), rtol=1e-9)


@pytest.mark.parametrize(("n", "N"), [(2, 5), (8, 50), (100, 50)])
def test_kl_estimate_is_near_the_exact_kl_where_the_bound_is_far(n: int, N: int) -> None:
    w = support_weights([n], N)[0]
    estimate = w @ bestofn.kl_estimate(n, np.full(N, 1 / N))
    exact = bestofn.pool_kl(w)
    assert abs(estimate - exact) <= abs(bestofn.kl_bound(n) - exact)
    np.testing.assert_allclose(estimate, exact, rtol=0.25)


def test_pool_kl_against_scipy() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), size=2)
    p[2] = 0
    p /= p.sum()
    np.testing.assert_allclose(bestofn.pool_kl(p, q), stats.entropy(p, q))


def test_gains_are_in_pool_sds_and_zero_for_constant_gold() -> None:
    gold = np.array([0.0, 1, 4])
    c = bestofn.curve(gold, gold)
    np.testing.assert_allclose(c.gain_per_prompt[0, [0, -1]], [0, (4 - 5 / 3) / gold.std()], atol=1e-12)
    moved = bestofn.curve(gold, 7 * gold - 100)
    np.testing.assert_allclose(moved.gain_per_prompt, c.gain_per_prompt, atol=1e-10)
    constant = np.full(3, 0.1)
    assert constant.std() > 0  # by rounding alone
    np.testing.assert_array_equal(bestofn.curve(gold, constant).gain_per_prompt, 0)


def test_gold_at_kl_interpolates_and_refuses_to_extrapolate() -> None:
    rng = np.random.default_rng(0)
    c = bestofn.curve(*rng.normal(size=(2, 10, 20)))
    kl = [0.0, 0.5, 1.0, c.kl[-1]]
    expected = [np.interp(kl, c.kl, g) for g in c.gold_per_prompt]
    np.testing.assert_allclose(c.gold_at(kl), expected, atol=1e-12)
    with pytest.raises(OptionError, match="kl must lie inside the curve's"):
        c.gold_at(9.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: bestofn.curve(p, p, [1, 5]), OptionError, "the smallest pool has 4 responses, so its best of 5"),
        (lambda p: bestofn.curve(p, p, [0]), OptionError, "sizes must be numbers >= 1"),
        (lambda p: bestofn.curve(p, p, []), OptionError, "sizes must be numbers >= 1"),
        (lambda p: bestofn.curve(p, p, [1.5]), OptionError, "n must be whole"),
        (
            lambda p: bestofn.curve(p, p, pool=cast(Any, "sample")),
            OptionError,
            "'population' or 'support', got 'sample'",
        ),
        (lambda p: bestofn.curve(p, p[:, :3]), DataError, r"got \(3, 4\) and \(3, 3\)"),
        (lambda p: bestofn.curve(p[None], p[None]), DataError, "must both be"),
        (lambda p: bestofn.curve(p[:0], p[:0]), DataError, "the pools are empty"),
        (lambda p: bestofn.curve(p, p * np.nan), DataError, "gold must be finite"),
        (lambda p: bestofn.curve(p, p, offsets=[0, 12]), DataError, "offsets belong to flat"),
        (lambda p: bestofn.curve(p.ravel(), p.ravel(), offsets=[0, 5, 5, 12]), DataError, "1 pools are empty"),
        (lambda p: bestofn.kl_estimate(2, [0.0]), OptionError, r"probability must be inside \(0, 1\]"),
        (lambda p: metrics.bootstrap(p[:1], seed=0), DataError, "at least 2 of each, got shape"),
        (lambda p: metrics.bootstrap(p[:, :1], seed=0, two_way=True), DataError, "at least 2 of each"),
        (lambda p: metrics.bootstrap(p * np.inf, seed=0), DataError, "needs finite values"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(
    call: Callable[..., object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(np.arange(12.0).reshape(3, 4) + 1)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(2, 3, size=(400, 2))
    b = metrics.bootstrap(x, seed=1, draws=20_000)
    half = 1.96 * x.std(axis=0) / 20
    np.testing.assert_allclose(b.estimate, x.mean(axis=0))
    np.testing.assert_allclose([b.low, b.high], [x.mean(axis=0) - half, x.mean(axis=0) + half], atol=0.02)
    assert (b.n, b.level) == (400, 0.95)


def test_bootstrap_statistic_sees_the_resampled_mean() -> None:
    x = np.random.default_rng(0).normal(2, 1, size=(50, 2))
    plain = metrics.bootstrap(x, seed=1)
    ratio = metrics.bootstrap(x, seed=1, statistic=lambda m: m[0] / m[1])
    np.testing.assert_allclose(ratio.estimate, plain.estimate[0] / plain.estimate[1])
    assert ratio.low < ratio.estimate < ratio.high


def test_two_way_bootstrap_is_wide_when_seeds_differ_and_prompts_do_not() -> None:
    effect = np.random.default_rng(0).normal(size=20)
    x = np.broadcast_to(effect, (300, 20))
    one, two = (metrics.bootstrap(x, seed=0, two_way=way) for way in (False, True))
    np.testing.assert_allclose((one.high - one.low).max(), 0, atol=1e-12)
    half = stats.t.ppf(0.975, 19) * effect.std(ddof=1) / np.sqrt(20)
    np.testing.assert_allclose(two.high - two.low, 2 * half, rtol=0.1)
