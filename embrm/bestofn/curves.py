"""What a rule's choices are worth: the curve, and how it comes from the rule's weights on ranks or on rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from embrm.bestofn.ranks import FAR, by_size, ranked, tie_mean
from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.threads import one_thread
from embrm.errors import OptionError

TINY = np.finfo(np.float64).tiny
BLOCK = 1 << 22  # weights in memory at once
TOLERANCE = 0.05  # error of a mean over prompts that is tolerated, in standard deviations under the reference policy


def believable(effective_size: Array, bias: Array) -> BoolArray:
    """Return `(k,)` whether to believe means over prompts of pools that are importance samples of a policy.

    Their standard error, at most one over the root of the *summed* effective sample size, and their bias must both be
    within 0.05 standard deviations of the reward under the reference policy. Few rows a prompt do where there are many
    prompts: errors average out over them, and what is left is the bias of each.

    Args:
        effective_size: `(k, prompts)` of each pool, `1/Σp²`.
        bias: `(k,)` in those standard deviations.
    """
    return np.asarray((effective_size.sum(axis=1) >= TOLERANCE**-2) & (bias <= TOLERANCE))


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
        effective_size: `(prompts, k)` rows that a reweighted pool is worth, `1/Σp²`, or None for a rule of ranks.
        bias: `(k,)` of the means over prompts, as halves of the pools show it (see `embrm.bestofn.believable`), or None
            where it was not examined.
    """

    sizes: Array
    kl: Array
    proxy_per_prompt: Array
    gold_per_prompt: Array
    pool_mean: Array
    pool_sd: Array
    standard_error: Array | None = None
    effective_size: Array | None = None
    bias: Array | None = None

    @property
    def proxy(self) -> Array:
        """Mean over prompts of the chosen response's proxy reward, `(k,)`."""
        return np.asarray(self.proxy_per_prompt.mean(axis=0))

    @property
    def gold(self) -> Array:
        """Mean over prompts of the chosen response's gold reward, `(k,)`."""
        return np.asarray(self.gold_per_prompt.mean(axis=0))

    @property
    def reliable(self) -> BoolArray:
        """Whether the pools together say enough of the reference policy at each strength, `(k,)`; see `believable`."""
        if self.effective_size is None:
            return np.ones(len(self.sizes), dtype=bool)
        return believable(self.effective_size.T, np.zeros(len(self.sizes)) if self.bias is None else self.bias)

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

        Examples:
            >>> from embrm import bestofn
            >>> curve = bestofn.curve([[1.0, 2.0, 3.0]], [[0.0, 1.0, 5.0]])
            >>> curve.gold_at([0.0, 0.1]).round(2)
            array([[2.  , 2.86]])
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


@one_thread
def rank_curve(
    proxy: Array,
    gold: Array,
    *,
    offsets: IntArray,
    sizes: npt.NDArray[np.number],
    weights: Callable[[npt.NDArray[Any], int], Array],
    kl: Callable[[int], Array] | None = None,
) -> Curve:
    """Return the curve of any rule that sees only ranks.

    Args:
        proxy: `(m,)`.
        gold: `(m,)`.
        offsets: `(prompts + 1,)`.
        sizes: `(k,)` strengths of the rule.
        weights: strengths `(k,)` and pool size N → probabilities of the ranks, worst first: `(k, N)`, or `(k, R)` of
            the R best where the others have none. Called for some neighbouring strengths at a time, within a factor of
            two of each other where they are large: memory grows with N and k, and not with their product, and so does
            time, where R falls as the strength grows.
        kl: pool size → `(k,)` nats; None means the exact KL from the uniform policy on the pool.
    """
    prompts, k = len(offsets) - 1, len(sizes)
    out_proxy, out_gold = np.empty((prompts, k)), np.empty((prompts, k))
    total_kl = np.zeros(k)
    mean, sd = np.empty(prompts), np.empty(prompts)
    for pools, rows in by_size(offsets):
        p, g = proxy[rows], gold[rows]
        order, group = ranked(p)
        ranks, worth = np.take_along_axis(p, order, axis=1), tie_mean(np.take_along_axis(g, order, axis=1), group)
        ties = None if kl is not None or group is None else _counted_ties(group)
        for some in _blocks(sizes, most=max(BLOCK // rows.shape[1], 1)):
            w = weights(sizes[some], rows.shape[1])
            best = slice(rows.shape[1] - w.shape[1], None)
            out_proxy[pools, some], out_gold[pools, some] = ranks[:, best] @ w.T, worth[:, best] @ w.T
            if kl is None:
                total_kl[some] += _tied_kl(w, ties, N=rows.shape[1], pools=len(pools))
        mean[pools] = g.mean(axis=1)
        sd[pools] = np.where(np.ptp(g, axis=1) > 0, g.std(axis=1), 0)  # a constant's rounding is no spread
        if kl is not None:
            total_kl += len(pools) * kl(rows.shape[1])
    return Curve(np.asarray(sizes), total_kl / prompts, out_proxy, out_gold, mean, sd)


def _blocks(sizes: npt.NDArray[np.number], *, most: int) -> Iterator[slice]:
    """Yield runs of at most so many neighbouring strengths, whose logarithms to base 2, above those of `FAR`, agree."""
    doubling = np.floor(np.log2(np.maximum(sizes / FAR, 1)))
    ends = np.append(np.flatnonzero(doubling[1:] != doubling[:-1]) + 1, len(sizes))
    for low, high in pairwise(np.append(0, ends)):
        for start in range(low, high, most):
            yield slice(start, min(start + most, high))


def _counted_ties(group: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the distinct ties of pools as first rank and one past the last, and how often each is there, `(t,)`."""
    N = group.shape[1]
    first = np.flatnonzero(np.diff(group.ravel(), prepend=-1))
    last = np.append(first[1:], group.size)
    low = first % N
    ties, count = np.unique(low * (N + 1) + low + last - first, return_counts=True)
    return *np.divmod(ties, N + 1), count


def _tied_kl(weights: Array, ties: tuple[IntArray, IntArray, IntArray] | None, *, N: int, pools: int) -> Array:
    """Return KL `(k,)`, summed over pools of N, of weights `(k, R)` on their best R ranks; a tie shares its own evenly.

    Pools share few distinct ties, so each is computed once, then counted.
    """
    R = weights.shape[1]
    if ties is None:
        return pools * np.asarray(rel_entr(weights, 1 / N).sum(axis=1))
    low, high, count = (part[ties[1] > N - R] for part in ties)
    total = np.concatenate([np.zeros((1, len(weights))), np.cumsum(weights, axis=1).T])
    kl = np.zeros(len(weights))
    for start in range(0, len(low), 256):  # what is computed stays in the cache
        a, b = low[start : start + 256], high[start : start + 256]
        mass = total[b - (N - R)] - total[np.maximum(a - (N - R), 0)]
        ratio = mass * (N / (b - a))[:, None]
        # A mass of 0 adds 0, whatever stands for its logarithm; scipy's xlogy takes three times as long as numpy's log.
        mass *= np.log(np.maximum(ratio, TINY, out=ratio), out=ratio)
        kl += count[start : start + 256] @ mass
    return kl


@one_thread
def row_curve(
    proxy: Array,
    gold: Array,
    *,
    offsets: IntArray,
    sizes: Array,
    probability: Callable[[float], Array],
) -> Curve:
    """Return the curve of any rule that is known by its probability of each row of a uniform pool, with its exact KL.

    Args:
        proxy: `(m,)`.
        gold: `(m,)`.
        offsets: `(prompts + 1,)`.
        sizes: `(k,)` strengths of the rule.
        probability: a strength → `(m,)`, summing to 1 in every pool.
    """
    counts, starts = np.diff(offsets), offsets[:-1]
    reference = np.repeat(1 / counts, counts)
    table = np.empty((4, len(counts), len(sizes)))
    for j, strength in enumerate(sizes):
        p = probability(float(strength))
        rows = np.stack([p * proxy, p * gold, rel_entr(p, reference), p * p])
        table[:, :, j] = np.add.reduceat(rows, starts, axis=1)
    mean = np.add.reduceat(reference * gold, starts)
    spread = np.maximum.reduceat(gold, starts) > np.minimum.reduceat(gold, starts)
    variance = np.add.reduceat(reference * (gold - np.repeat(mean, counts)) ** 2, starts)
    sd = np.where(spread, np.sqrt(variance), 0)
    return Curve(sizes, table[2].mean(axis=0), table[0], table[1], mean, sd, effective_size=1 / table[3])


def pool_kl(probability: npt.ArrayLike, reference: npt.ArrayLike | None = None) -> Array:
    """Return KL `(...)` in nats of choice probabilities `(..., N)` from the reference policy on the same N responses.

    Args:
        probability: sums to 1 along the last axis.
        reference: the same for the reference policy; None means uniform.

    Examples:
        >>> pool_kl([[0.5, 0.5], [1.0, 0.0]]).round(3)
        array([0.   , 0.693])
    """
    p = np.asarray(probability, dtype=np.float64)
    q = 1 / p.shape[-1] if reference is None else np.asarray(reference, dtype=np.float64)
    return np.asarray(rel_entr(p, q).sum(axis=-1))
