"""Best-of-n, exactly: what the best of n by a proxy is worth in gold, at which KL, and with which interval.

Two conventions, never mixed in one curve. `"population"`: a pool is a sample of the reference policy, and n responses
are drawn from it without replacement. `"support"`: the pool *is* the reference policy, uniform, drawn with replacement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import xlog1py, xlogy

from embrm.errors import DataError, OptionError
from embrm.ranks import as_pools, by_size, population_weights, ranked, support_weights, tie_mean
from embrm.types import Array, IntArray

Convention: TypeAlias = Literal["population", "support"]
Statistic: TypeAlias = Callable[[Array], npt.ArrayLike]


@dataclass(frozen=True, eq=False)
class Curve:
    """What a rule's choices are worth as its one strength grows.

    Attributes:
        sizes: `(k,)` the strength: n of best-of-n, or what the function that made the curve says.
        kl: `(k,)` nats from the reference policy, mean over prompts.
        proxy, gold: `(k,)` expected rewards of the choice, means over prompts.
        proxy_per_prompt, gold_per_prompt: `(prompts, k)`.
        pool_mean, pool_sd: `(prompts,)` of gold over each pool (sd with ddof 0).
        standard_error: `(k,)` Monte Carlo error of `gold`, or None where it is exact.
        effective_size: `(prompts, k)` effective sample size of a reweighted pool, or None.
    """

    sizes: Array
    kl: Array
    proxy_per_prompt: Array
    gold_per_prompt: Array
    pool_mean: Array
    pool_sd: Array
    standard_error: Array | None = None
    effective_size: Array | None = None

    @property
    def proxy(self) -> Array:
        """Mean over prompts of the chosen response's proxy reward, `(k,)`."""
        return np.asarray(self.proxy_per_prompt.mean(axis=0))

    @property
    def gold(self) -> Array:
        """Mean over prompts of the chosen response's gold reward, `(k,)`."""
        return np.asarray(self.gold_per_prompt.mean(axis=0))

    @property
    def gain_per_prompt(self) -> Array:
        """Gold above a random response's in standard deviations of its pool, `(prompts, k)`; 0 if gold is constant."""
        gain = self.gold_per_prompt - self.pool_mean[:, None]
        sd = self.pool_sd[:, None]
        return np.divide(gain, sd, out=np.zeros_like(gain), where=sd > 0)

    def gold_at(self, kl: npt.ArrayLike) -> Array:
        """Return gold per prompt `(prompts, m)` at the given KLs `(m,)`, linear between the curve's points.

        Raises:
            OptionError: a KL lies outside the curve.
        """
        want = np.atleast_1d(np.asarray(kl, dtype=np.float64))
        order = np.argsort(self.kl, kind="stable")
        x = self.kl[order]
        if want.min() < x[0] or want.max() > x[-1]:
            raise OptionError(
                f"kl must lie inside the curve's {x[0]:.3g}..{x[-1]:.3g} nats, got {want}; extend `sizes`"
            )
        right = np.clip(np.searchsorted(x, want), 1, len(x) - 1)
        gap = x[right] - x[right - 1]
        share = np.divide(want - x[right - 1], gap, out=np.ones_like(gap), where=gap > 0)
        y = self.gold_per_prompt[:, order]
        return np.asarray(y[:, right - 1] * (1 - share) + y[:, right] * share)


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
        sizes: the n wanted; None means 1 to the smallest pool.
        pool: the convention, see the module.
        offsets: `(prompts + 1,)` boundaries of the pools of flat input; None means one pool.

    Raises:
        DataError: shapes differ, or a reward is not finite.
        OptionError: an n is below 1, or under "population" fractional or above a pool's size.
    """
    proxy, gold, offsets = as_pools(proxy, gold, offsets)
    smallest = int(np.diff(offsets).min())
    n = np.arange(1, smallest + 1) if sizes is None else np.atleast_1d(np.asarray(sizes))
    if pool not in ("population", "support"):
        raise OptionError(f"pool must be 'population' or 'support', got '{pool}'")
    if n.ndim != 1 or n.size == 0 or not (n >= 1).all():
        raise OptionError(f"sizes must be numbers >= 1, got {n}")
    if pool == "population" and n.max() > smallest:
        raise OptionError(
            f"the smallest pool has {smallest} responses, so its best of {n.max()} is unknown; "
            "ask for smaller sizes, or take the pool as the policy itself with pool='support'"
        )
    weights = population_weights if pool == "population" else support_weights
    return rank_curve(proxy, gold, offsets, n, lambda N: weights(n, N), kl_bound(n) if pool == "population" else None)


def rank_curve(
    proxy: Array,
    gold: Array,
    offsets: IntArray,
    sizes: npt.NDArray[np.number],
    weights: Callable[[int], Array],
    kl: Array | None,
) -> Curve:
    """Return the curve of any rule that sees only ranks.

    Args:
        proxy: `(m,)`.
        gold: `(m,)`.
        offsets: `(prompts + 1,)`.
        sizes: `(k,)` strengths of the rule.
        weights: pool size N → `(k, N)` probabilities of the ranks, worst first.
        kl: `(k,)` nats, or None for the exact KL from the uniform policy on the pool.
    """
    prompts, k = len(offsets) - 1, len(sizes)
    out_proxy, out_gold, out_kl = (np.empty((prompts, k)) for _ in range(3))
    mean, sd = np.empty(prompts), np.empty(prompts)
    for pools, rows in by_size(offsets):
        w = weights(rows.shape[1])
        p, g = proxy[rows], gold[rows]
        order, group = ranked(p)
        out_proxy[pools] = np.take_along_axis(p, order, axis=1) @ w.T
        out_gold[pools] = tie_mean(np.take_along_axis(g, order, axis=1), group) @ w.T
        mean[pools] = g.mean(axis=1)
        sd[pools] = np.where(np.ptp(g, axis=1) > 0, g.std(axis=1), 0)  # a constant's rounding is no spread
        if kl is None:
            out_kl[pools] = _tied_kl(w, group)
    kl = out_kl.mean(axis=0) if kl is None else kl
    return Curve(np.asarray(sizes), kl, out_proxy, out_gold, mean, sd)


def _tied_kl(weights: Array, group: IntArray | None) -> Array:
    """Return KL `(p, k)` (or `(1, k)`) of rank weights `(k, N)` whose ties share their probability evenly."""
    N = weights.shape[1]
    if group is None:
        return pool_kl(weights)[None, :]
    # Pools share few distinct ties (first rank, one past the last): each is computed once, then counted.
    first = np.flatnonzero(np.diff(group.ravel(), prepend=-1))
    last = np.append(first[1:], group.size)
    prompt, low = np.divmod(first, N)
    ties, which = np.unique(low * (N + 1) + low + last - first, return_inverse=True)
    low, high = np.divmod(ties, N + 1)
    total = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)
    mass = total[:, high] - total[:, low]
    terms = xlogy(mass, mass * N / (high - low))
    return np.asarray(csr_array((np.ones(len(which)), (prompt, which)), shape=(len(group), len(ties))) @ terms.T)


def pool_kl(probability: npt.ArrayLike, reference: npt.ArrayLike | None = None) -> Array:
    """Return KL `(...)` in nats of choice probabilities `(..., N)` from the reference policy on the same N responses.

    Args:
        probability: sums to 1 along the last axis.
        reference: the same for the reference policy; None means uniform.
    """
    p = np.asarray(probability, dtype=np.float64)
    q = np.full(p.shape[-1], 1 / p.shape[-1]) if reference is None else np.asarray(reference, dtype=np.float64)
    ratio = np.divide(p, q, out=np.ones(p.shape), where=p > 0)
    return np.asarray((p * np.log(ratio)).sum(axis=-1))


def kl_bound(sizes: npt.ArrayLike) -> Array:
    """Return `log n - (n - 1)/n`, which KL(best-of-n ‖ reference) never exceeds (Beirami et al. 2401.01879)."""
    n = np.asarray(sizes, dtype=np.float64)
    return np.asarray(np.log(n) - (n - 1) / n)


def kl_estimate(sizes: npt.ArrayLike, probability: npt.ArrayLike) -> Array:
    """Return the KL estimate for a discrete reference policy (Beirami et al. 2401.01879), elementwise.

    It is to be averaged over responses y drawn by best-of-n: `curve(proxy, kl_estimate(n, p), [n]).gold`.

    Args:
        sizes: n.
        probability: `π_ref(y)` inside (0, 1]; `sizes` and it are broadcast together.
    """
    n, e = np.asarray(sizes, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if not ((e > 0) & (e <= 1)).all():
        raise OptionError("probability must be inside (0, 1]; pass exp of the log-probabilities of whole responses")
    none = (1 - e) ** n
    hit = -np.expm1(xlog1py(n, -e))
    rest = np.where(e < 1, np.log(n) + (n - 1) * np.log1p(-np.where(e < 1, e, 0)) - (n - 1) / n, 0)
    return np.asarray(none * rest + hit * np.log(hit / e))


@dataclass(frozen=True, eq=False)
class Interval:
    """An estimate with its percentile bootstrap interval.

    Attributes:
        estimate, low, high: arrays of the statistic's shape.
        n: number of prompts that were resampled.
        level: the interval's nominal coverage.
    """

    estimate: Array
    low: Array
    high: Array
    n: int
    level: float

    @classmethod
    def of(cls, estimate: npt.ArrayLike, resampled: Array, *, n: int, level: float) -> Interval:
        """Return the percentile interval of resampled statistics `(draws, ...)`."""
        low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return cls(np.asarray(estimate, dtype=np.float64), np.asarray(low), np.asarray(high), n, level)


def resampled_means(values: Array, *, seed: int, draws: int, two_way: bool = False) -> Array:
    """Return bootstrap means `(draws, ...)` of `values` `(prompts, ...)`, or `(prompts, seeds, ...)` with `two_way`.

    Raises:
        DataError: there are fewer than two prompts (or seeds), or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    ways = 2 if two_way else 1
    if values.ndim < ways or min(values.shape[:ways]) < 2:
        names = "(prompts, seeds, ...)" if two_way else "(prompts, ...)"
        raise DataError(f"a bootstrap needs {names} with at least 2 of each, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(
            "a bootstrap needs finite values, got NaN or infinity; leave those prompts out and say how many"
        )
    rng = np.random.default_rng(seed)
    prompts = values.shape[0]
    means = np.tensordot(rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws) / prompts, values, axes=1)
    if two_way:
        seeds = values.shape[1]
        counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        means = np.einsum("bs,bs...->b...", counts, means)
    return np.asarray(means)


def bootstrap(
    values: npt.ArrayLike,
    *,
    seed: int,
    statistic: Statistic | None = None,
    draws: int = 2000,
    level: float = 0.95,
    two_way: bool = False,
) -> Interval:
    """Return a percentile interval by resampling prompts: the responses of one prompt are one cluster.

    Comparisons are paired by passing the differences per prompt.

    Args:
        values: `(prompts, ...)`; with `two_way` `(prompts, seeds, ...)`, and both axes are resampled.
        seed: of the resampling.
        statistic: a function of the mean over prompts (and seeds); None means that mean itself.
        draws: number of resamples.
        level: nominal coverage.
        two_way: see `values`.

    Raises:
        DataError: there are fewer than two prompts (or seeds), or a value is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    of = np.asarray if statistic is None else statistic
    means = resampled_means(values, seed=seed, draws=draws, two_way=two_way)
    estimate = of(values.mean(axis=(0, 1) if two_way else 0))
    return Interval.of(estimate, np.stack([np.asarray(of(m)) for m in means]), n=len(values), level=level)
