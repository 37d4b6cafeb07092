"""Best-of-n, exactly: what the best of n by a proxy is worth in gold, at which KL, and with which interval.

Two conventions, never mixed in one curve. `"population"`: a pool is a sample of the reference policy, and n responses
are drawn from it without replacement. `"support"`: the pool *is* the reference policy, uniform, drawn with replacement.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import xlog1py

from embrm.bestofn.curves import Curve, rank_curve
from embrm.bestofn.ranks import (
    Convention,
    as_pools,
    by_size,
    check_convention,
    population_weights,
    ranked,
    reach,
    support_weights,
    tie_mean,
)
from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError, OptionError
from embrm.metrics.intervals import Interval, bootstrap

EVERY_SIZE = 1000  # of a curve whose sizes nobody named


def curve(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    sizes: npt.ArrayLike | None = None,
    *,
    pool: Convention = "population",
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the exact expected gold and proxy of the best of n by `proxy`, for every n from one sort.

    Ties of the proxy are averaged. KL is `log n - (n - 1)/n` under "population" (a bound, reached when responses never
    repeat), and exact under "support", where n may also exceed the pool and need not be whole.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        sizes: the n wanted; None means those of `sizes_up_to` the smallest pool.
        pool: the convention, see the module.
        offsets: `(prompts + 1,)` boundaries of the pools of flat input; None means one pool.

    Raises:
        DataError: shapes differ, or a reward is not finite.
        OptionError: an n is below 1, or under "population" fractional or above a pool's size.

    Examples:
        >>> proxy, gold = [[1.0, 2.0, 3.0]], [[0.0, 1.0, 5.0]]
        >>> curve(proxy, gold).gold  # of the best of 1, 2 and 3: (0 + 1 + 5)/3, (1 + 5 + 5)/3, 5
        array([2.        , 3.66666667, 5.        ])
        >>> curve(proxy, gold, [2], pool="support").gold  # (1·0 + 3·1 + 5·5)/9
        array([3.11111111])
    """
    proxy, gold, offsets = as_pools(proxy, gold, offsets)
    smallest = int(np.diff(offsets).min())
    n = sizes_up_to(smallest) if sizes is None else np.atleast_1d(np.asarray(sizes))
    check_convention(pool)
    if n.ndim != 1 or n.size == 0 or not (n >= 1).all():
        raise OptionError(f"sizes must be numbers >= 1, got {n}")
    if pool == "population" and n.max() > smallest:
        raise OptionError(
            f"the smallest pool has {smallest} responses, so its best of {n.max()} is unknown; "
            "ask for smaller sizes, or take the pool as the policy itself with pool='support'"
        )
    of, bound = (population_weights, kl_bound(n)) if pool == "population" else (support_weights, None)

    def weights(sizes: npt.NDArray[np.number], N: int) -> Array:
        return of(sizes, N, top=reach(sizes, N))

    return rank_curve(
        proxy, gold, offsets=offsets, sizes=n, weights=weights, kl=None if bound is None else lambda N: bound
    )


def sizes_up_to(most: int) -> IntArray:
    """Return n from 1 to `most` in ascending order: every one, or above 1 000 that many in about equal ratios.

    Above some hundreds neighbours do not differ, and a curve of every n is as long as the pool, for each prompt.

    Examples:
        >>> sizes_up_to(4), len(sizes_up_to(100_000)) <= 1000
        (array([1, 2, 3, 4]), True)
    """
    if most <= EVERY_SIZE:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, EVERY_SIZE).round().astype(np.int64))


def kl_bound(sizes: npt.ArrayLike) -> Array:
    """Return `log n - (n - 1)/n`, which KL(best-of-n ‖ reference) never exceeds (Beirami et al. 2401.01879).

    Examples:
        >>> kl_bound([1, 2, 64]).round(3)
        array([0.   , 0.193, 3.175])
    """
    n = np.asarray(sizes, dtype=np.float64)
    return np.asarray(np.log(n) - (n - 1) / n)


def kl_estimate(sizes: npt.ArrayLike, probability: npt.ArrayLike) -> Array:
    """Return the KL estimate for a discrete reference policy (Beirami et al. 2401.01879), elementwise.

    It is to be averaged over responses y drawn by best-of-n: `curve(proxy, kl_estimate(n, p), [n]).gold`.

    Args:
        sizes: n.
        probability: `π_ref(y)` inside (0, 1]; `sizes` and it are broadcast together.

    Raises:
        OptionError: a probability is outside (0, 1].

    Examples:
        >>> kl_estimate(16, [1e-9, 0.1, 1.0]).round(3)  # the bound, less of it, nothing
        array([1.835, 1.756, 0.   ])
    """
    n, e = np.asarray(sizes, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if not ((e > 0) & (e <= 1)).all():
        raise OptionError("probability must be inside (0, 1]; pass exp of the log-probabilities of whole responses")
    none = (1 - e) ** n
    hit = -np.expm1(xlog1py(n, -e))
    rest = np.where(e < 1, np.log(n) + (n - 1) * np.log1p(-np.where(e < 1, e, 0)) - (n - 1) / n, 0)
    return np.asarray(none * rest + hit * np.log(hit / e))


def win_score(gold: npt.ArrayLike, *, offsets: npt.ArrayLike | None = None) -> Array:
    """Return each row's win rate by gold against a response drawn uniformly from its pool, ties counting half.

    Of the shape of `gold`. `curve(proxy, win_score(gold))` is then the win rate of best-of-n; a random choice has 1/2.

    Args:
        gold: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        offsets: `(prompts + 1,)`.

    Examples:
        >>> win_score([[0.0, 5.0, 5.0, 9.0]])
        array([[0.125, 0.5  , 0.5  , 0.875]])
    """
    shape = np.shape(gold)
    _, flat, bounds = as_pools(gold, gold, offsets)
    score = np.empty(len(flat))
    for _, rows in by_size(bounds):
        order, group = ranked(flat[rows])
        rank = np.broadcast_to(np.arange(rows.shape[1]) + 0.5, rows.shape)
        score[np.take_along_axis(rows, order, axis=1)] = tie_mean(rank, group) / rows.shape[1]
    return score.reshape(shape)


def oracle_fraction(
    curve: Curve, oracle: Curve, *, seed: int, level: float = 0.95, cluster: npt.ArrayLike | None = None
) -> Interval:
    """Return the gold gain over a random response as a fraction of the oracle's at the same size, `(k,)`.

    The ratio of the means over prompts, with its bootstrap interval; NaN where the oracle gains nothing (n = 1).

    Args:
        curve: of the proxy.
        oracle: `curve(gold, gold, sizes)` of the same pools and sizes.
        seed: of the bootstrap.
        level: nominal coverage.
        cluster: `(prompts,)`, see `embrm.metrics.intervals.bootstrap`.

    Raises:
        DataError: the two curves are not of the same prompts and sizes.

    Examples:
        >>> import numpy as np
        >>> gold, noise = np.random.default_rng(0).normal(size=(2, 500, 16))
        >>> proxy, n = gold + noise, [16]  # a correlation of 0.71 with gold
        >>> found = oracle_fraction(curve(proxy, gold, n), curve(gold, gold, n), seed=0)
        >>> bool(found.low[0] < 0.71 < found.high[0])
        True
    """
    if not np.array_equal(curve.sizes, oracle.sizes) or len(curve.pool_mean) != len(oracle.pool_mean):
        raise DataError("the oracle's curve must have the prompts and sizes of the other; pass it the same `sizes`")
    gains = [c.gold_per_prompt - c.pool_mean[:, None] for c in (curve, oracle)]

    def ratio(mean: Array) -> Array:
        none = np.full(mean.shape[1], np.nan)
        return np.asarray(np.divide(mean[0], mean[1], out=none, where=mean[1] > 1e-12 * np.abs(mean[1]).max()))

    return bootstrap(np.stack(gains, axis=1), seed=seed, statistic=ratio, level=level, cluster=cluster)
