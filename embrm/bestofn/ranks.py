"""Pools as ranks: rows grouped by pool size, sorted, with their ties, and what best-of-n weighs each rank by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray, as_vector, check_offsets
from embrm.errors import DataError, OptionError

NEGLIGIBLE = 1e-200  # a probability; products that end near the smallest number of a float take many times as long
FAR = 46.0  # ranks from the top, times n/N, below which at most exp(-46) = 1e-20 of the probability lies

Convention: TypeAlias = Literal["population", "support"]


def check_convention(pool: str) -> None:
    """Raise OptionError unless `pool` is one of the two conventions."""
    if pool not in get_args(Convention):
        raise OptionError(f"pool must be 'population' or 'support', got '{pool}'")


def as_pools(proxy: npt.ArrayLike, gold: npt.ArrayLike, offsets: npt.ArrayLike | None) -> tuple[Array, Array, IntArray]:
    """Return flat proxy `(m,)`, gold `(m,)` and boundaries `(prompts + 1,)` of rectangular or ragged pools.

    Raises:
        DataError: shapes differ, rewards are not finite, pools are empty, or a rectangle comes with offsets.
    """
    p, g = np.asarray(proxy, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if p.shape != g.shape or p.ndim not in (1, 2):
        raise DataError(f"proxy and gold must both be (prompts, pool) or flat (m,), got {p.shape} and {g.shape}")
    if p.size == 0:
        raise DataError(f"the pools are empty (shape {p.shape}); at least one response is needed")
    if p.ndim == 2:
        if offsets is not None:
            raise DataError("offsets belong to flat (m,) rewards; pass proxy.ravel() and gold.ravel(), or no offsets")
        offsets = np.arange(len(p) + 1) * p.shape[1]
    flat = (as_vector(x.ravel(), name, x.size, np.float64) for name, x in (("proxy", p), ("gold", g)))
    return *flat, check_offsets(offsets, p.size)  # type: ignore[return-value]


def by_size(offsets: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield pools of equal size N together: their numbers `(p,)` and their rows `(p, N)`."""
    sizes = np.diff(offsets)
    for n in np.unique(sizes):
        pools = np.flatnonzero(sizes == n)
        yield pools, offsets[pools, None] + np.arange(n)


def ranked(values: Array) -> tuple[IntArray, IntArray | None]:
    """Return the ascending order of each row of `(p, N)`, and the number of the tie of each sorted entry, or None.

    Ties are numbered through all rows, `(p, N)`.
    """
    order = np.argsort(values, axis=1)
    s = np.take_along_axis(values, order, axis=1)
    fresh: BoolArray = np.ones(s.shape, dtype=bool)
    np.not_equal(s[:, 1:], s[:, :-1], out=fresh[:, 1:])
    return order, None if fresh.all() else np.cumsum(fresh).reshape(s.shape) - 1


def tie_mean(values: Array, group: IntArray | None) -> Array:
    """Return `values` `(p, N)` averaged within the ties that `ranked` found."""
    if group is None:
        return values
    flat = group.ravel()
    means = np.bincount(flat, weights=values.ravel()) / np.bincount(flat)
    return np.asarray(means[group])


def reach(sizes: npt.ArrayLike, pool: int) -> int:
    """Return how many ranks from the top hold all of best-of-n's probability but 1e-20, for the smallest of the sizes.

    None of the n is among the best j with probability `C(N - j, n)/C(N, n)` or `(1 - j/N)^n`, at most `exp(-jn/N)`.
    """
    return min(pool, int(FAR * pool / np.min(sizes)) + 1)


def population_weights(sizes: npt.ArrayLike, pool: int, *, top: int | None = None) -> Array:
    """Return `(k, pool)` probabilities that rank i (worst first) is the best of n drawn without replacement.

    `C(i - 1, n - 1) / C(N, n)`, from the top down: `w_N = n/N`, `w_{i-1} = w_i (i - n)/(i - 1)`. With `top` only those
    of so many best ranks, `(k, top)`.

    Raises:
        OptionError: an n is fractional.
    """
    n = np.asarray(sizes, dtype=np.float64)[:, None]
    if (n != np.round(n)).any():
        raise OptionError(f"without replacement n must be whole, got {n.ravel()}")
    i = np.arange(pool, 1, -1)[: None if top is None else top - 1]
    steps = np.concatenate([n / pool, np.maximum(i - n, 0) / (i - 1)], axis=1)
    return np.asarray(np.cumprod(steps, axis=1)[:, ::-1])


def support_weights(sizes: npt.ArrayLike, pool: int, *, top: int | None = None) -> Array:
    """Return `(k, pool)` probabilities that rank i (worst first) is the best of n drawn with replacement.

    `F_i^n - F_{i-1}^n` with `F_i = i/N`; n need not be whole. Probabilities below 1e-200 are 0. With `top` only those
    of so many best ranks, `(k, top)`.
    """
    edges = np.arange(0 if top is None else pool - top, pool + 1) / pool
    weights = np.diff(edges ** np.asarray(sizes, dtype=np.float64)[:, None], axis=1)
    weights[weights < NEGLIGIBLE] = 0
    return weights
