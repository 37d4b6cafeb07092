"""Bootstrap draws of one number from prompts and seeds, widened where there are few of either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError
from embrm.metrics.intervals import LEVEL, Units, draw_counts, stretched_two_ways
from embrm.metrics.significance import share_against

SampleStatistic: TypeAlias = Callable[[list[Array]], Array]


@dataclass(frozen=True, eq=False)
class Sample:
    """An estimate and how it varies over resamples.

    Attributes:
        estimate: of all prompts and seeds.
        draws: `(b,)` of the resamples, widened.
        n: prompts, of all groups.
        seeds: seeds.
        clusters: clusters of prompts that were drawn, of all groups.
        freedom: degrees of freedom of the Student law whose tails the draws should have; infinite for a normal one.
    """

    estimate: float
    draws: Array
    n: int
    seeds: int
    clusters: int
    freedom: float = np.inf

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval."""
        return self.interval_at(LEVEL)

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return the ends of the interval of a level, such as 0.9 for two one-sided tests at 5 %."""
        # An observed draw, not a point between two: some statistics have a tail without end.
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2], method="nearest")
        return float(low), float(high)

    def beyond(self, value: float, *, above: bool) -> float:
        """Return the one-sided p-value against a number on this side of `value`: the chance to be at or beyond it.

        It is the share of the draws there. Outside the 95 % interval too few draws are left to count, and of many
        claims corrected together none could ever be sure: there the tail is that of Student's law, which takes over
        where the interval ends.
        """
        share = share_against(self.draws >= value if above else self.draws <= value)
        middle, end = float(np.median(self.draws)), self.interval[int(above)]
        if share >= (1 - LEVEL) / 2 or end == middle:
            return share
        from scipy.stats import t

        return float(t.sf((value - middle) / (end - middle) * t.ppf((1 + LEVEL) / 2, self.freedom), self.freedom))

    @property
    def error(self) -> float:
        """Standard error: half of the 95 % interval, by the quantile of its law."""
        from scipy.stats import t

        low, high = self.interval
        return float((high - low) / 2 / t.ppf((1 + LEVEL) / 2, self.freedom))

    @property
    def detectable(self) -> float:
        """Return the smallest effect that a sample like this one finds with a probability of 80 %."""
        from scipy.stats import norm

        # The spread of the middle 95 %, which a statistic's rare wild draws leave alone.
        low, high = self.interval
        return float((norm.ppf(0.975) + norm.ppf(0.8)) * (high - low) / (2 * norm.ppf(0.975)))


def resample(
    groups: Sequence[Array],
    statistic: SampleStatistic,
    *,
    draws: int,
    crossed: bool = True,
    clusters: Sequence[IntArray | None] = (),
) -> Sample:
    """Return the two-way bootstrap over clusters of prompts and seeds of a statistic of means.

    Wordings of one topic are not independent, so clusters are drawn and not prompts; what few of them, or few seeds,
    call for is in `embrm.metrics.intervals`.

    Args:
        groups: of independent clusters, `(prompts, seeds, ...)` each; one seed is not resampled.
        statistic: means of each group `(b, ...)` → `(b,)`.
        draws: number of resamples.
        crossed: whether all groups have the same seeds; else theirs are independent.
        clusters: for each group which cluster each prompt belongs to, `(prompts,)`, or None where each is its own.

    Raises:
        DataError: a group has fewer than two clusters, or a value is not finite.
    """
    drawn = [_Clustered.of(x, c) for x, c in zip(groups, clusters or [None] * len(groups), strict=True)]
    rng = np.random.default_rng(0)

    def redrawn(*, clusters: bool, seeds: bool) -> Array:
        shared = draw_counts(rng, groups[0].shape[1], draws, drawn=seeds)
        means = []
        for group in drawn:
            own = shared if crossed else draw_counts(rng, group.sums.shape[1], draws, drawn=seeds)
            of_clusters = group.means(draw_counts(rng, len(group.sizes), draws, drawn=clusters))
            means.append(np.einsum("bs,bs...->b...", own / own.shape[1], of_clusters))
        return statistic(means)

    units = Units(sum(len(group.sizes) for group in drawn), len(drawn))
    count = [group.sums.shape[1] for group in (drawn[:1] if crossed else drawn)]
    seeds = Units(sum(count), len(count))
    widened, square = stretched_two_ways(redrawn, units, seeds)
    estimate = statistic([x.mean(axis=(0, 1))[None] for x in groups])
    freedom = _freedom(float(square), [part.freedom for part in (units, seeds) if part.freedom])
    return Sample(float(estimate[0]), widened, sum(map(len, groups)), seeds.drawn, units.drawn, freedom)


@dataclass(frozen=True, eq=False)
class _Clustered:
    """Sums of each cluster's prompts `(clusters, seeds, ...)`, and how many they are."""

    sums: Array
    sizes: IntArray

    @classmethod
    def of(cls, x: Array, cluster: IntArray | None) -> _Clustered:
        number = np.arange(len(x)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
        if len(number) != len(x):
            raise DataError(f"every prompt needs its cluster, got {len(number)} for {len(x)} prompts")
        sizes = np.bincount(number)
        if len(sizes) < 2 or not np.isfinite(x).all():
            raise DataError(
                f"a bootstrap needs at least 2 clusters of prompts and finite values, got {len(sizes)} and an array of "
                f"shape {x.shape}"
            )
        sums = np.zeros((len(sizes), *x.shape[1:]))
        np.add.at(sums, number, x)
        return cls(sums, sizes)

    def means(self, counts: Array) -> Array:
        """Return the mean over prompts when each cluster is drawn so often `(b, clusters)`: `(b, seeds, ...)`."""
        total = counts @ self.sums.reshape(len(self.sums), -1)
        return np.asarray((total / (counts @ self.sizes)[:, None]).reshape(len(counts), *self.sums.shape[1:]))


def _freedom(square: float, parts: Sequence[int]) -> float:
    """Return the degrees of freedom of the Student law with that squared quantile; infinite where nothing varies."""
    from scipy.optimize import brentq
    from scipy.stats import t

    few, many = min(parts), max(parts)
    if np.isnan(square) or few == many:
        return np.inf if np.isnan(square) else float(few)
    at = (1 + LEVEL) / 2
    # Where one part is nearly all of the variance, a rounding may leave the sum outside its ends.
    inside = np.clip(square, t.ppf(at, many) ** 2, t.ppf(at, few) ** 2)
    return float(brentq(lambda freedom: t.ppf(at, freedom) ** 2 - inside, few, many))
