"""Bootstrap intervals over prompts, and over prompts and seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array
from embrm.core.progress import tracked
from embrm.errors import DataError

Statistic: TypeAlias = Callable[[Array], npt.ArrayLike]
_ENTRIES = 2**20  # of the counts of resamples that are in memory at once


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

    def __getitem__(self, index: int) -> Interval:
        """Return the interval of one entry along the first axis."""
        return Interval(self.estimate[index], self.low[index], self.high[index], self.n, self.level)

    @classmethod
    def of(cls, estimate: npt.ArrayLike, resampled: Array, *, n: int, level: float) -> Interval:
        """Return the percentile interval of resampled statistics `(draws, ...)`."""
        # An observed resample, not a point between two: a statistic may be infinite in some resamples.
        low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest")
        return cls(np.asarray(estimate, dtype=np.float64), np.asarray(low), np.asarray(high), n, level)


def resampled_means(
    values: Array, *, seed: int, draws: int, two_way: bool = False, cluster: npt.ArrayLike | None = None
) -> Array:
    """Return bootstrap means `(draws, ...)` of `values` `(prompts, ...)`, or `(prompts, seeds, ...)` with `two_way`.

    Args:
        values: see above.
        seed: of the resampling.
        draws: number of resamples.
        two_way: whether the second axis is resampled too.
        cluster: `(prompts,)` which cluster each prompt belongs to, such as its topic: whole clusters are then drawn,
            and the mean is that of their prompts. None draws prompts.

    Raises:
        DataError: there are fewer than two prompts (clusters, seeds), or a value is not finite.
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
    sizes = None
    if cluster is not None:
        values, sizes = _cluster_sums(values, np.asarray(cluster))
    rng = np.random.default_rng(seed)
    n = len(values)
    flat, out = values.reshape(n, -1), np.empty((draws, *values.shape[ways:]))
    rows = max(_ENTRIES // n, 1)
    for start in tracked(range(0, draws, rows), "resamples"):
        part = out[start : start + rows]
        counts = _counts(rng, n, len(part))
        means = counts @ flat / (n if sizes is None else (counts @ sizes)[:, None])
        if two_way:
            seeds = values.shape[1]
            means = np.einsum("bs,bs...->b...", _counts(rng, seeds, len(part)), means.reshape(-1, *values.shape[1:]))
            means /= seeds
        part[:] = means.reshape(part.shape)
    return out


def _cluster_sums(values: Array, cluster: npt.NDArray[np.generic]) -> tuple[Array, Array]:
    """Return the sums of each cluster's prompts `(clusters, ...)`, and how many they are."""
    if cluster.shape != values.shape[:1]:
        raise DataError(f"every prompt needs its cluster, got shape {cluster.shape} for {len(values)} prompts")
    number = np.unique(cluster, return_inverse=True)[1]
    sizes = np.bincount(number).astype(np.float64)
    if len(sizes) < 2:
        raise DataError(f"a bootstrap needs at least 2 clusters, got 1 of {len(values)} prompts")
    sums = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(sums, number, values)
    return sums, sizes


def _counts(rng: np.random.Generator, n: int, draws: int) -> Array:
    """Return how often each of n is drawn when n are drawn with replacement, `(draws, n)`."""
    drawn = rng.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)


def bootstrap(
    values: npt.ArrayLike,
    *,
    seed: int,
    statistic: Statistic | None = None,
    draws: int = 2000,
    level: float = 0.95,
    two_way: bool = False,
    cluster: npt.ArrayLike | None = None,
) -> Interval:
    """Return a percentile interval by resampling prompts, or whole clusters of them such as topics.

    Comparisons are paired by passing the differences per prompt.

    Args:
        values: `(prompts, ...)`; with `two_way` `(prompts, seeds, ...)`, and both axes are resampled.
        seed: of the resampling.
        statistic: a function of the mean over prompts (and seeds); None means that mean itself.
        draws: number of resamples.
        level: nominal coverage.
        two_way: see `values`.
        cluster: see `resampled_means`.

    Raises:
        DataError: there are fewer than two prompts (clusters, seeds), or a value is not finite.

    Examples:
        >>> found = bootstrap([0.0, 1.0] * 50, seed=0)  # a share of one half among 100 prompts: its error is 0.05
        >>> float(found.estimate), bool(0.37 < found.low < 0.43), bool(0.57 < found.high < 0.63)
        (0.5, True, True)
    """
    values = np.asarray(values, dtype=np.float64)
    of = np.asarray if statistic is None else statistic
    means = resampled_means(values, seed=seed, draws=draws, two_way=two_way, cluster=cluster)
    estimate = of(values.mean(axis=(0, 1) if two_way else 0))
    return Interval.of(estimate, np.stack([np.asarray(of(m)) for m in means]), n=len(values), level=level)
